"""The steps of a feature build: shards are read ahead, blocks of rows computed on all cores, and both are timed."""

import resource
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from wakeword_core.cores import available_cores
from wakeword_core.features.rows import Decoded, RowComputer, ShardRows, join_recordings
from wakeword_core.features.store import copy_rows
from wakeword_core.prefetch import prefetch
from wakeword_core.shards.packed_split import read_shard

READERS = 2
"""Threads that read and decode shards; each holds one more."""
_MOST_READERS = 8
_BLOCK_BYTES = 16 << 20
"""Most features that a core computes and that are written as one piece."""
_CPU_BLOCKS_A_THREAD = 2
_CPU_BATCH_SAMPLES = 1 << 20
"""Samples that a CPU core transforms at once: more of them would leave its cache."""

Given = ParamSpec("Given")
Result = TypeVar("Result")


def reader_threads(on_gpu: bool) -> int:
    """Choose how many threads read: more where a GPU computes, and the cores have nothing else to do."""
    return max(READERS, min(_MOST_READERS, available_cores() - 2)) if on_gpu else READERS


class Timings:
    """A stopwatch for work on several threads; each second is counted once, under one name."""

    def __init__(self, threads: dict[str, int]) -> None:
        """`threads`: stage of the work -> threads that do it."""
        self._threads = threads
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._ready: list[int] = []
        self._lock = threading.Lock()
        self._started = time.perf_counter()

    def add(self, stage: str, seconds: float) -> None:
        """Count seconds that were measured elsewhere, such as by a GPU's own clock."""
        with self._lock:
            self._seconds[stage] += seconds

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds by stage, so far."""
        return dict(self._seconds)

    def timed(self, stage: str, work: Callable[Given, Result]) -> Callable[Given, Result]:
        """Wrap a function so that its calls count as work of `stage`."""

        def measured(*args: Given.args, **kwargs: Given.kwargs) -> Result:
            started = time.perf_counter()
            try:
                return work(*args, **kwargs)
            finally:
                self.add(stage, time.perf_counter() - started)

        return measured

    def consumed(self, stage: str, items: Iterable[Result]) -> Iterator[Result]:
        """Yield the items; the time from each until the next is asked for counts as work of `stage`."""
        for item in items:
            started = time.perf_counter()
            yield item
            self.add(stage, time.perf_counter() - started)

    def ready(self, blocks: int) -> None:
        """Note how many computed blocks wait for the writer as it takes the next."""
        self._ready.append(blocks)

    def figures(self) -> dict[str, Any]:
        """Return the stages, which one the others wait for, blocks that waited on average, seconds and peak memory."""
        wall = time.perf_counter() - self._started
        stages: list[dict[str, Any]] = [
            {
                "stage": stage,
                "seconds": round(self._seconds[stage], 3),
                "threads": threads,
                "busy": round(self._seconds[stage] / threads / wall, 3),
            }
            for stage, threads in self._threads.items()
        ]
        return {
            "stages": stages,
            "bottleneck": max(stages, key=lambda stage: stage["busy"])["stage"],
            "blocks_ready": round(sum(self._ready) / len(self._ready), 2) if self._ready else 0.0,
            "wall_seconds": round(wall, 3),
            "peak_rss_mb": round(_peak_rss() / 1e6, 1),
            "peak_vram_mb": round((torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0) / 1e6, 1),
        }


def _peak_rss() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def decoded_shards(paths: Sequence[Path], margin: int, timings: Timings, readers: int = READERS) -> Generator[Decoded]:
    """Yield shards in order, read ahead on threads, with `margin` samples of silence around each."""

    def read(path: Path) -> Decoded:
        return join_recordings(read_shard(path), margin)

    return prefetch(timings.timed("read", read), paths, readers, readers)


@dataclass(frozen=True)
class Block:
    """Rows `first` to `last` of a shard."""

    shard_rows: ShardRows
    first: int
    last: int


class CpuBlocks:
    """Computes a block a thread, each with one thread an operation: else a batch waits for all cores at every one.

    `waiting`: how many blocks are computed or ready at most while one is written.
    """

    across_parts = False
    """whether blocks of the next part are computed while one is written: its shard is held then"""

    def __init__(self, computer: RowComputer, threads: int, timings: Timings) -> None:
        self._computer = computer
        self._batch = min(computer.config.compute.batch_windows, max(1, _CPU_BATCH_SAMPLES // computer.row))
        self.threads, self.waiting = threads, threads * _CPU_BLOCKS_A_THREAD
        self._copy = timings.timed("copy", copy_reused)
        self._compute = timings.timed("compute", self._compute_rows)

    def block_rows(self, rows: int) -> int:
        """Choose about a thread's share of a part's rows."""
        row_bytes = self._computer.features.row_bytes(self._computer.split)
        return block_rows(rows, self.threads, row_bytes, self._computer.config.compute.batch_windows, _BLOCK_BYTES)

    def __call__(self, block: Block) -> npt.NDArray[Any]:
        """Compute features [rows, bands, frames] of a block."""
        computer = self._computer
        shape = (block.last - block.first, computer.features.frontend.bands, computer.frames)
        # numpy asks the system for large pages, of which a fresh block takes a few instead of thousands
        features = np.empty(shape, np.float16 if computer.dtype is torch.float16 else np.float32)
        if block.shard_rows.reused is not None:
            self._copy(block, features)
        self._compute(block, torch.from_numpy(features))
        return features

    @torch.inference_mode()
    def _compute_rows(self, block: Block, features: torch.Tensor) -> None:
        computer = self._computer
        for rows in computer.batches(block.shard_rows, block.first, block.last, self._batch):
            features.index_copy_(0, torch.from_numpy(rows - block.first), computer.compute(block.shard_rows, rows))

    def finish(self, begun: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return a computed block, which is finished already."""
        return begun

    def close(self) -> None:
        """Return at once: nothing is under way."""


def copy_reused(block: Block, features: npt.NDArray[Any]) -> None:
    """Copy the rows of a block that older parts have to their places in `features` [rows, bands, frames]."""
    reused = block.shard_rows.reused
    if reused is not None:
        part, rows = (array[block.first : block.last] for array in (reused.part, reused.rows))
        for number in np.unique(part[rows >= 0]).tolist():
            copy_rows(reused.parts[number], np.where(part == number, rows, -1), features)


def block_rows(rows: int, threads: int, row_bytes: int, batch: int, most_bytes: int) -> int:
    """Choose the rows of a block: about a thread's share, in whole batches, and no more bytes than allowed."""
    share = -(-rows // threads)
    whole = max(batch, share // batch * batch)
    return max(1, min(whole, most_bytes // row_bytes))
