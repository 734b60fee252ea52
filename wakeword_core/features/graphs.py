"""CUDA graphs for functions of one tensor: a shape that comes again is recorded once and replayed from then on."""

import logging
from collections.abc import Callable
from typing import TypeAlias

import torch

Function: TypeAlias = Callable[[torch.Tensor], torch.Tensor]
log = logging.getLogger(__name__)

MOST_GRAPHS = 16
"""Shapes beyond these are computed as they come."""
_AS_IT_COMES = 64
"""One call in so many is: a graph uses the plans of cuFFT that it was recorded with, and torch destroys those that are
not used for long."""


class Recurring:
    """Calls a function, from the second time on a shape is seen through a recording of it.

    What it returns is overwritten by the next call, so it is used before, on the same stream. A shape that cannot be
    recorded is computed as it comes.
    """

    def __init__(self, function: Function, record: Callable[[Function, torch.Tensor], Function] | None = None) -> None:
        self._function, self._record = function, record or CudaRecorder()
        self._seen: set[torch.Size] = set()
        self._recorded: dict[torch.Size, Function] = {}
        self._calls = 0

    def __call__(self, given: torch.Tensor) -> torch.Tensor:
        """The function of a tensor."""
        shape = given.shape
        self._calls += 1
        if shape in self._seen and shape not in self._recorded and len(self._recorded) < MOST_GRAPHS:
            self._recorded[shape] = self._recording(given)
        self._seen.add(shape)
        if self._calls % _AS_IT_COMES == 0:
            return self._function(given)
        return self._recorded.get(shape, self._function)(given)

    def forget(self) -> None:
        """Free the memory of all recordings."""
        self._seen.clear()
        self._recorded.clear()

    def _recording(self, given: torch.Tensor) -> Function:
        try:
            return self._record(self._function, given)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            log.warning("tensors of %s are computed without a CUDA graph: %s", tuple(given.shape), error)
            return self._function


class CudaRecorder:
    """Records functions as CUDA graphs that share their memory, since one at a time is replayed."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, function: Function, example: torch.Tensor) -> Function:
        """A replay of the function for tensors such as the example. Raises torch.OutOfMemoryError."""
        given = example.clone()
        graph = torch.cuda.CUDAGraph()
        # other threads go on copying meanwhile
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            result = function(given)

        def replay(other: torch.Tensor) -> torch.Tensor:
            given.copy_(other)
            graph.replay()
            return result

        return replay
