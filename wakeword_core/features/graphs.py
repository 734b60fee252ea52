"""CUDA graphs for functions of one tensor: a shape that comes again is recorded once and replayed from then on."""

from collections.abc import Callable
from typing import TypeAlias

import torch

Function: TypeAlias = Callable[[torch.Tensor], torch.Tensor]
MOST_GRAPHS = 16
"""Shapes beyond these are computed as they come."""


class Recurring:
    """Calls a function, from the second time on a shape is seen through a recording of it.

    What it returns is overwritten by the next call, so it is used before, on the same stream.
    """

    def __init__(self, function: Function, record: Callable[[Function, torch.Tensor], Function] | None = None) -> None:
        self._function, self._record = function, record or CudaRecorder()
        self._recorded: dict[torch.Size, Function | None] = {}
        """None for a shape that was seen once"""

    def __call__(self, given: torch.Tensor) -> torch.Tensor:
        """The function of a tensor."""
        shape = given.shape
        if self._recorded.get(shape) is None:
            if shape not in self._recorded:
                if len(self._recorded) < MOST_GRAPHS:
                    self._recorded[shape] = None
                return self._function(given)
            self._recorded[shape] = self._record(self._function, given)
        return (self._recorded[shape] or self._function)(given)


class CudaRecorder:
    """Records functions as CUDA graphs that share their memory, since one at a time is replayed."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, function: Function, example: torch.Tensor) -> Function:
        """A replay of the function for tensors such as the example. Raises torch.OutOfMemoryError."""
        given = example.clone()
        graph = torch.cuda.CUDAGraph()
        torch.cuda.current_stream().synchronize()
        # other threads go on copying meanwhile
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            result = function(given)

        def replay(other: torch.Tensor) -> torch.Tensor:
            given.copy_(other)
            graph.replay()
            return result

        return replay
