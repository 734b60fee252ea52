"""Blocks of feature rows, computed on all cores, ready for the writer."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from wakeword_core.features.rows import RowComputer, Work
from wakeword_core.features.store import copy_rows
from wakeword_core.features.timings import Timings

_CPU_BLOCKS_A_THREAD = 2
_CPU_BATCH_SAMPLES = 1 << 20
"""Samples that a CPU core transforms at once: more of them would leave its cache."""


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
    across_parts: bool
    """whether those may be of the next part, whose shard is held then"""

    def __call__(self, block: Block) -> Any:
        """Compute a block, or begin to."""
        ...

    def finish(self, begun: Any) -> npt.NDArray[Any]:
        """Features [rows, bands, frames] of a block that was begun, where it is written."""
        ...

    def close(self) -> None:
        """Wait for what is under way."""
        ...


class CpuBlocks:
    """A block a thread, each with one thread an operation: else a batch waits for all cores at every one."""

    across_parts = False

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
        copy_older(block, result, self.timings)
        features = torch.from_numpy(result)
        with self.timings.measure("compute"), torch.inference_mode():
            for rows in computer.batches(block.work, block.first, block.last, self.batch):
                features.index_copy_(0, torch.from_numpy(rows - block.first), computer.compute(block.work, rows))
        return result

    def finish(self, begun: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """It is finished."""
        return begun

    def close(self) -> None:
        """Nothing is under way."""


def copy_older(block: Block, features: npt.NDArray[Any], timings: Timings) -> None:
    """Put the rows of a block that an older part has in their places."""
    older = block.work.older
    if older is not None:
        with timings.measure("copy"):
            copy_rows(older.part, older.rows[block.first : block.last], features)


def block_rows(rows: int, threads: int, row_bytes: int, batch: int, most_bytes: int) -> int:
    """Rows of a block: about a thread's share of a part's rows, in whole batches, and no more bytes than allowed."""
    share = -(-rows // threads)
    whole = max(batch, share // batch * batch)
    return max(1, min(whole, most_bytes // row_bytes))
