"""Feature parts from decoded shards: each is planned, computed in blocks and written, in order."""

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from wakeword_core.ahead import ahead
from wakeword_core.features.blocks import Block, BlockComputer, CpuBlocks, block_rows
from wakeword_core.features.feed import Decoded
from wakeword_core.features.rows import RowComputer, Work, rows_in
from wakeword_core.features.store import Columns, write_part
from wakeword_core.features.timings import Timings
from wakeword_core.features.windows import plan_windows
from wakeword_core.files import require_space
from wakeword_core.store.artifacts import Parts

_BLOCK_BYTES = 16 << 20
_GPU_BLOCK_BYTES = 256 << 20
"""Most features that are computed and written as one piece."""


@dataclass(frozen=True)
class Part:
    """A part to be: its shard, the key of what it is made from, where it goes, and what stood in its place before."""

    shard: Path
    key: str
    target: Path
    older: Path | None


@dataclass(frozen=True)
class _Prepared:
    """A part whose rows are ready to be computed, in blocks."""

    part: Part
    work: Work
    columns: Columns
    blocks: list[Block]


class PartBuilder:
    """Builds parts on a CPU or a GPU; rows that an older part in `parts` has are copied from it."""

    def __init__(
        self, computer: RowComputer, parts: Parts, threads: int, attributes: dict[str, str], timings: Timings
    ) -> None:
        self._computer, self._parts, self._attributes, self._timings = computer, parts, attributes, timings
        self._row_bytes = computer.features.row_bytes(computer.split)
        self._compute, self._batch, self._most = self._block_computer(threads)

    def build(self, missing: Iterable[Part], decoded: Iterable[Decoded]) -> Generator[tuple[Part, Work]]:
        """Write parts, each from its decoded shard; yields each, and what it was made of, when it is whole."""
        begun: deque[_Prepared] = deque()
        prepared = (self._prepare(part, one) for part, one in zip(missing, decoded, strict=True))
        with closing(self._compute), closing(self._computed(prepared, begun)) as computed:
            for first in computed:
                one = begun.popleft()
                rest = islice(computed, len(one.blocks) - 1)
                blocks = (self._compute.finish(block) for block in chain([first], rest))
                write_part(one.part.target, len(one.work), blocks, one.columns, self._attributes, self._timings)
                yield one.part, one.work

    def _prepare(self, part: Part, decoded: Decoded) -> _Prepared:
        computer = self._computer
        with self._timings.measure("prepare"):
            config = computer.config
            plan = plan_windows(decoded.shard, computer.split, config.features, config.data.sample_rate, config.seed)
            draws = computer.draw(plan)
            older = None
            if part.older is not None and self._parts.entry(part.older, read=True) is not None:
                older = rows_in(part.older, plan, draws)
            work = computer.prepare(decoded, plan, draws, older)
            columns = computer.columns(decoded.shard, work)
        require_space(
            part.target.parent, len(work) * self._row_bytes, f"feature part {part.target.stem} of {computer.split}"
        )
        rows = block_rows(len(work), self._compute.threads, self._row_bytes, self._batch, self._most)
        starts = range(0, max(len(work), 1), rows)
        return _Prepared(part, work, columns, [Block(work, first, min(first + rows, len(work))) for first in starts])

    def _computed(self, prepared: Iterator[_Prepared], begun: deque[_Prepared]) -> Generator[Any]:
        """Blocks of all parts as they are computed; the part is in `begun` before its first block comes."""

        def blocks_of(one: _Prepared) -> list[Block]:
            begun.append(one)
            return one.blocks

        if self._compute.across_parts:
            yield from self._ahead(chain.from_iterable(map(blocks_of, prepared)))
        else:  # a part at a time, so that no more shards are held than `decoded` reads ahead
            for one in prepared:
                yield from self._ahead(blocks_of(one))

    def _ahead(self, blocks: Iterable[Block]) -> Generator[Any]:
        compute = self._compute
        with closing(ahead(compute, blocks, compute.threads, compute.waiting, self._timings.ready)) as computed:
            yield from computed

    def _block_computer(self, threads: int) -> tuple[BlockComputer, int, int]:
        """What computes blocks on the device, the rows of its batches, and the most bytes of a block."""
        computer, features = self._computer, self._computer.features
        if computer.device.type == "cuda":
            from wakeword_core.features.cuda_blocks import CudaBlocks

            rows = max(1, _GPU_BLOCK_BYTES // self._row_bytes)
            return CudaBlocks(computer, rows, self._timings, features.gpu_batch_windows), rows, _GPU_BLOCK_BYTES
        return CpuBlocks(computer, threads, self._timings, features.batch_windows), features.batch_windows, _BLOCK_BYTES
