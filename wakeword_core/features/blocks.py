"""Blocks of feature rows, computed on all cores or on a GPU, ready for the writer."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from wakeword_core.errors import DataError
from wakeword_core.features.rows import Indices, RowComputer, Work
from wakeword_core.features.store import copy_rows
from wakeword_core.features.timings import Timings

log = logging.getLogger(__name__)

_CPU_BLOCKS_A_THREAD = 2
_CPU_BATCH_SAMPLES = 1 << 20
"""Samples that a CPU core transforms at once: more of them would leave its cache."""
_GPU_BUFFERS = 2
"""One is filled while the other is written."""
_VRAM_SHARE = 0.5
_FLOATS_A_SAMPLE = 12
"""Floats that a sample of a row takes on its way to features: frames overlap threefold, spectra as much again."""


@dataclass(frozen=True)
class Block:
    """Rows `first` to `last` of a shard that is worked on."""

    work: Work
    first: int
    last: int


class BlockComputer(Protocol):
    """Computes blocks on some threads, at most `waiting` of them while one is written."""

    threads: int
    waiting: int

    def __call__(self, block: Block) -> npt.NDArray[Any]:
        """Features [rows, bands, frames] of a block."""
        ...


class CpuBlocks:
    """A block a thread, each with one thread an operation: else a batch waits for all cores at every one."""

    def __init__(self, computer: RowComputer, threads: int, timings: Timings, batch: int) -> None:
        self.computer, self.timings = computer, timings
        self.batch = min(batch, max(1, _CPU_BATCH_SAMPLES // computer.row))
        self.threads, self.waiting = threads, threads * _CPU_BLOCKS_A_THREAD

    def __call__(self, block: Block) -> npt.NDArray[Any]:
        """Features [rows, bands, frames] of a block."""
        computer = self.computer
        shape = (block.last - block.first, computer.features.frontend.bands, computer.frames)
        # numpy asks the system for large pages, of which a fresh block takes a few instead of thousands
        result = np.empty(shape, np.float16 if computer.dtype is torch.float16 else np.float32)
        _copy_older(block, result, self.timings)
        features = torch.from_numpy(result)
        with self.timings.measure("compute"), torch.inference_mode():
            for rows in computer.batches(block.work, block.first, block.last, self.batch):
                features.index_copy_(0, torch.from_numpy(rows - block.first), computer.compute(block.work, rows))
        return result


class CudaBlocks:
    """One thread that keeps the GPU busy while the block before is written from pinned memory."""

    threads = 1
    waiting = 1

    def __init__(self, computer: RowComputer, rows: int, timings: Timings, batch: int) -> None:
        """`rows`: most rows of a block."""
        self.computer, self.timings = computer, timings
        shape = (rows, computer.features.frontend.bands, computer.frames)
        self._on_device = torch.empty(shape, dtype=computer.dtype, device=computer.device)
        on_host = [torch.empty(shape, dtype=computer.dtype, pin_memory=True) for _ in range(_GPU_BUFFERS)]
        self._on_host = cycle(on_host)
        self._batch = FittingBatch(min(batch, _batch_in_vram(computer)))

    def __call__(self, block: Block) -> npt.NDArray[Any]:
        """Features [rows, bands, frames] of a block, in pinned memory that is used again for the block after next."""
        computer, count = self.computer, block.last - block.first
        on_device, on_host = self._on_device[:count], next(self._on_host)[:count]
        marks = [torch.cuda.Event(enable_timing=True) for _ in range(3)]
        with torch.inference_mode():
            marks[0].record()
            for rows in computer.batches(block.work, block.first, block.last, self._batch.size):
                for piece, mel in self._batch.pieces(rows, lambda piece: computer.compute(block.work, piece)):
                    on_device.index_copy_(0, torch.from_numpy(piece - block.first).to(computer.device), mel)
            marks[1].record()
            on_host.copy_(on_device, non_blocking=True)
            marks[2].record()
        marks[2].synchronize()
        self.timings.add("compute", marks[0].elapsed_time(marks[1]) / 1e3)
        self.timings.add("copy to host", marks[1].elapsed_time(marks[2]) / 1e3)
        found: npt.NDArray[Any] = on_host.numpy()
        _copy_older(block, found, self.timings)
        return found


def _copy_older(block: Block, features: npt.NDArray[Any], timings: Timings) -> None:
    older = block.work.older
    if older is not None:
        with timings.measure("copy"):
            copy_rows(older.part, older.rows[block.first : block.last], features)


class FittingBatch:
    """How many rows a GPU computes at once: half as many whenever its memory is exhausted."""

    def __init__(self, size: int) -> None:
        self.size = size

    def pieces(
        self, rows: Indices, compute: Callable[[Indices], torch.Tensor]
    ) -> Iterator[tuple[Indices, torch.Tensor]]:
        """Yield (some of `rows`, their features) until all are done; DataError when a single row is too much."""
        start = 0
        while start < len(rows):
            piece = rows[start : start + self.size]
            try:
                features = compute(piece)
            except torch.OutOfMemoryError as error:
                if len(piece) == 1:
                    raise DataError(
                        "the GPU's memory is too small for a single row of features; free some of it, or set "
                        "training.device=cpu"
                    ) from error
                self.size = len(piece) // 2
                log.warning("the GPU's memory is exhausted: %d rows at once from here on", self.size)
                torch.cuda.empty_cache()
                continue
            yield piece, features
            start += len(piece)


def _batch_in_vram(computer: RowComputer) -> int:
    free, _ = torch.cuda.mem_get_info(computer.device)
    row_bytes = computer.margin * _FLOATS_A_SAMPLE * 4
    return max(1, int(free * _VRAM_SHARE) // row_bytes)


def block_rows(rows: int, threads: int, row_bytes: int, batch: int, most_bytes: int) -> int:
    """Rows of a block: about a thread's share of a part's rows, in whole batches, and no more bytes than allowed."""
    share = -(-rows // threads)
    whole = max(batch, share // batch * batch)
    return max(1, min(whole, most_bytes // row_bytes))
