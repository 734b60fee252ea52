"""Blocks of feature rows on a GPU: copied there, computed and copied back on streams of their own.

While the writer has one block, the next comes back and the one after it is computed: three buffers on either side.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy.typing as npt
import torch

from wakeword_core.errors import DataError
from wakeword_core.features.blocks import Block, copy_older
from wakeword_core.features.rows import Indices, RowComputer
from wakeword_core.features.timings import Timings
from wakeword_core.features.transfer import on_device

log = logging.getLogger(__name__)

_BUFFERS = 3
_VRAM_SHARE = 0.5
_FLOATS_A_SAMPLE = 12
"""Floats that a sample of a row takes on its way to features: frames overlap threefold, spectra as much again."""


_EXHAUSTED = ("CUFFT_INTERNAL_ERROR", "CUFFT_ALLOC_FAILED", "CUBLAS_STATUS_ALLOC_FAILED")
"""What libraries say that take memory of their own."""


@dataclass(frozen=True)
class Coming:
    """A block on its way to pinned memory, and the events before and after its computing and its copy."""

    block: Block
    on_host: torch.Tensor
    marks: tuple[torch.cuda.Event, ...]


class CudaBlocks:
    """Puts blocks in the GPU's queue, from one thread, and waits for them where they are written, in another."""

    threads = 1
    waiting = _BUFFERS - 1
    across_parts = True

    def __init__(self, computer: RowComputer, rows: int, timings: Timings, batch: int) -> None:
        """`rows`: most rows of a block."""
        self._computer, self._timings = computer, timings
        shape = (rows, computer.features.frontend.bands, computer.frames)
        there = [torch.empty(shape, dtype=computer.dtype, device=computer.device) for _ in range(_BUFFERS)]
        here = [torch.empty(shape, dtype=computer.dtype, pin_memory=True) for _ in range(_BUFFERS)]
        self._buffers = cycle(zip(there, here, strict=True))
        self._streams = torch.cuda.Stream(computer.device), torch.cuda.Stream(computer.device)
        for stream in self._streams:  # the buffers and the noise were made on the default one
            stream.wait_stream(torch.cuda.default_stream(computer.device))
        self._batch = FittingBatch(min(batch, _batch_in_vram(computer)), self._free)

    def __call__(self, block: Block) -> Coming:
        """Put a block in the queue; its buffers are used again for the third block after it."""
        count = block.last - block.first
        there, here = (buffer[:count] for buffer in next(self._buffers))
        compute, back = self._streams
        marks = tuple(torch.cuda.Event(enable_timing=True) for _ in range(4))
        with torch.inference_mode():
            with torch.cuda.stream(compute):
                block.work.sound.wait_on(compute)
                marks[0].record()
                self._compute(block, there)
                marks[1].record()
            with torch.cuda.stream(back):
                back.wait_event(marks[1])
                marks[2].record()
                here.copy_(there, non_blocking=True)
                marks[3].record()
        return Coming(block, here, marks)

    def close(self) -> None:
        """Wait until the GPU uses none of the memory that is about to be freed."""
        for stream in self._streams:
            stream.synchronize()

    def _free(self) -> None:
        self.close()
        self._computer.forget_graphs()
        torch.cuda.empty_cache()

    def _compute(self, block: Block, target: torch.Tensor) -> None:
        computer = self._computer
        for rows in computer.batches(block.work, block.first, block.last, self._batch.size):
            for piece, mel in self._batch.pieces(rows, lambda piece: computer.compute(block.work, piece)):
                target.index_copy_(0, on_device(piece - block.first, computer.device), mel)

    def finish(self, coming: Coming) -> npt.NDArray[Any]:
        """Features [rows, bands, frames] of a block, in pinned memory, once they are there."""
        marks = coming.marks
        marks[3].synchronize()
        self._timings.add("compute", marks[0].elapsed_time(marks[1]) / 1e3)
        self._timings.add("copy to host", marks[2].elapsed_time(marks[3]) / 1e3)
        if coming.block.first == 0:
            self._timings.add("copy to device", coming.block.work.sound.copy_seconds())
        found: npt.NDArray[Any] = coming.on_host.numpy()
        copy_older(coming.block, found, self._timings)
        return found


class FittingBatch:
    """How many rows a GPU computes at once: half as many whenever its memory is exhausted."""

    def __init__(self, size: int, free: Callable[[], None] = torch.cuda.empty_cache) -> None:
        """`free` gives back what memory it can."""
        self.size, self._free = size, free

    def pieces(
        self, rows: Indices, compute: Callable[[Indices], torch.Tensor]
    ) -> Iterator[tuple[Indices, torch.Tensor]]:
        """Yield (some of `rows`, their features) until all are done; DataError when a single row is too much."""
        start = 0
        while start < len(rows):
            piece = rows[start : start + self.size]
            features = self._tried(piece, compute)
            if features is None:  # outside of the except clause, whose traceback keeps what filled the memory
                self.size = len(piece) // 2
                self._free()
                log.warning("the GPU's memory is exhausted: %d rows at once from here on", self.size)
                continue
            yield piece, features
            start += len(piece)

    def _tried(self, piece: Indices, compute: Callable[[Indices], torch.Tensor]) -> torch.Tensor | None:
        """Features of some rows, or None where the memory does not hold them."""
        try:
            return compute(piece)
        except RuntimeError as error:
            if not (isinstance(error, torch.OutOfMemoryError) or any(name in str(error) for name in _EXHAUSTED)):
                raise
            if len(piece) > 1:
                return None
            raise DataError(
                "the GPU's memory is too small for a single row of features; free some of it, or set "
                "training.device=cpu"
            ) from error


def _batch_in_vram(computer: RowComputer) -> int:
    free, _ = torch.cuda.mem_get_info(computer.device)
    row_bytes = computer.margin * _FLOATS_A_SAMPLE * 4
    return max(1, int(free * _VRAM_SHARE) // row_bytes)
