"""Blocks of feature rows on a GPU, computed and copied back one after the other while earlier ones are written."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy.typing as npt
import torch

from wakeword_core.errors import DataError
from wakeword_core.features.frontend import on_device
from wakeword_core.features.pipeline import Block, Timings, copy_reused
from wakeword_core.features.rows import Indices, RowComputer

log = logging.getLogger(__name__)

BLOCK_BYTES = 256 << 20
"""Most features that are computed and written as one piece."""
_BUFFERS = 3
"""Blocks in pinned memory: one that is written, one that is there, and one that is on its way."""
_VRAM_SHARE = 0.5
_FLOATS_A_SAMPLE = 12
"""Floats that a sample of a row takes on its way to features: frames overlap threefold, spectra as much again."""
_EXHAUSTED = ("CUFFT_INTERNAL_ERROR", "CUFFT_ALLOC_FAILED", "CUBLAS_STATUS_ALLOC_FAILED")
"""Errors of libraries that take memory of their own and get none."""


@dataclass(frozen=True)
class PendingBlock:
    """A block on its way to pinned memory, and the events before and after its computing and after its copy."""

    block: Block
    on_host: torch.Tensor
    marks: tuple[torch.cuda.Event, ...]


class CudaBlocks:
    """Puts blocks in the GPU's queue, from one thread, and waits for them where they are written, in another."""

    threads = 1
    waiting = _BUFFERS - 1
    across_parts = True

    def __init__(self, computer: RowComputer, timings: Timings) -> None:
        self._computer, self._timings = computer, timings
        self._copy = timings.timed("copy", copy_reused)
        self._rows = max(1, BLOCK_BYTES // computer.features.row_bytes(computer.split))
        shape = (self._rows, computer.features.frontend.bands, computer.frames)
        self._on_gpu = torch.empty(shape, dtype=computer.dtype, device=computer.device)
        self._on_host = cycle([torch.empty(shape, dtype=computer.dtype, pin_memory=True) for _ in range(_BUFFERS)])
        self._batch = FittingBatch(min(computer.config.compute.gpu_batch_windows, _batch_in_vram(computer)), self._free)

    def block_rows(self, rows: int) -> int:
        """Return as many as the buffers hold, whatever the part."""
        return self._rows

    def __call__(self, block: Block) -> PendingBlock:
        """Put a block in the queue; its place in pinned memory is used again for the third block after it."""
        count = block.last - block.first
        on_gpu, on_host = self._on_gpu[:count], next(self._on_host)[:count]
        marks = tuple(torch.cuda.Event(enable_timing=True) for _ in range(3))
        with torch.inference_mode():
            marks[0].record()
            self._compute(block, on_gpu)
            marks[1].record()
            on_host.copy_(on_gpu, non_blocking=True)
            marks[2].record()
        return PendingBlock(block, on_host, marks)

    def close(self) -> None:
        """Wait until the GPU uses none of the memory that is about to be freed."""
        torch.cuda.synchronize(self._computer.device)

    def _free(self) -> None:
        self.close()
        torch.cuda.empty_cache()

    def _compute(self, block: Block, target: torch.Tensor) -> None:
        computer, shard_rows = self._computer, block.shard_rows
        for rows in computer.batches(shard_rows, block.first, block.last, self._batch.size):
            for piece, mel in self._batch.pieces(rows, lambda piece: computer.compute(shard_rows, piece)):
                target.index_copy_(0, on_device(piece - block.first, computer.device), mel)

    def finish(self, pending: PendingBlock) -> npt.NDArray[Any]:
        """Wait for a block; returns its features [rows, bands, frames] in pinned memory."""
        marks = pending.marks
        marks[2].synchronize()
        self._timings.add("compute", marks[0].elapsed_time(marks[1]) / 1e3)
        self._timings.add("copy to host", marks[1].elapsed_time(marks[2]) / 1e3)
        features: npt.NDArray[Any] = pending.on_host.numpy()
        if pending.block.shard_rows.reused is not None:
            self._copy(pending.block, features)
        return features


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
                "the GPU's memory is too small for a single row of features; free some of it, or set compute.device=cpu"
            ) from error


def _batch_in_vram(computer: RowComputer) -> int:
    free, _ = torch.cuda.mem_get_info(computer.device)
    row_bytes = computer.margin * _FLOATS_A_SAMPLE * 4
    return max(1, int(free * _VRAM_SHARE) // row_bytes)
