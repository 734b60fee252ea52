"""Feature parts, each computed from one shard: by all of this machine, or by the workers of others, some at a time."""

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import torch

from wakeword_core.config import Config, Split
from wakeword_core.cores import torch_threads
from wakeword_core.features.cuda import CudaBlocks
from wakeword_core.features.materials import Materials, materials_for
from wakeword_core.features.pipeline import READERS, Block, CpuBlocks, Timings, decoded_shards, reader_threads
from wakeword_core.features.rows import Decoded, OlderRows, RowComputer, ShardRows
from wakeword_core.features.settings import feature_settings
from wakeword_core.features.store import Columns, write_part
from wakeword_core.features.windows import Synthetic, plan_windows
from wakeword_core.files import canonical_json, require_space
from wakeword_core.prefetch import prefetch
from wakeword_core.python import library_versions
from wakeword_core.store.parts import Parts
from wakeword_core.workers.base import Workers

_PARTS_A_GPU_TASK = 8
"""Parts that one task of another machine computes on a GPU, whose buffers are made once for all."""


@dataclass(frozen=True)
class Part:
    """A part to be built."""

    shard: Path
    key: str
    """hash of what it is made from"""
    target: Path


@dataclass(frozen=True)
class Counts:
    """How many rows a part has, and how many of them were computed."""

    rows: int
    computed: int


@dataclass(frozen=True)
class Recipe:
    """All that parts are made by besides their shards, as it is handed to other processes."""

    config: str
    """as JSON"""
    split: Split
    device: str
    mixed_in: Path
    """shards whose noise and rooms are mixed in"""
    synthetic: Synthetic
    parts: Path
    older: tuple[Path, ...]
    """parts of the last build, whose rows are taken where they are the same"""

    def computer(self, materials: Materials | None) -> tuple[RowComputer, OlderRows]:
        """Return what computes rows, and what has some already; `materials` are collected where they are not given."""
        config, parts = Config.model_validate_json(self.config), Parts(self.parts)
        rate = config.data.audio.sample_rate
        materials = materials or materials_for(self.mixed_in, self.split, config.features, rate, config.seed)
        computer = RowComputer(config, self.split, materials, torch.device(self.device), self.synthetic)
        return computer, OlderRows(self.older, lambda part: parts.entry(part, read=True) is not None)


def build_parts(
    recipe: Recipe, materials: Materials, missing: Sequence[Part], workers: Workers, timings: Timings
) -> Generator[tuple[Part, Counts]]:
    """Write parts, each from its shard, and yield them as they are whole.

    This machine uses all its cores or its GPU for one after the other; of others each core, or GPU, has its own.
    """
    if not missing:
        return
    on_gpu = recipe.device.startswith("cuda")
    if not workers.elsewhere:
        computer, older = recipe.computer(materials)
        built = _build_here(computer, older, missing, workers.cores, reader_threads(on_gpu), timings)
        with closing(built):
            yield from zip(missing, built, strict=True)
        return
    some = _PARTS_A_GPU_TASK if on_gpu else 1
    tasks = workers.map_unordered(
        partial(_build_there, recipe),
        [missing[start : start + some] for start in range(0, len(missing), some)],
        lambda task: f"features of {recipe.split}, shard {task[0].shard.name}",
        device=recipe.device,
    )
    with closing(tasks):
        for task, (counts, seconds) in tasks:
            for stage, spent in seconds.items():
                timings.add(stage, spent)
            yield from zip(task, counts, strict=True)


def _build_there(recipe: Recipe, parts: Sequence[Part]) -> tuple[list[Counts], dict[str, float]]:
    """Build parts in another process on one core or a GPU: their counts, and seconds by stage of the work."""
    timings = Timings(threads_by_stage(recipe.device, 1, READERS))
    return list(_build_here(*_computer_there(recipe), parts, 1, READERS, timings)), timings.seconds


@lru_cache(maxsize=1)
def _computer_there(recipe: Recipe) -> tuple[RowComputer, OlderRows]:
    """What all parts of a build have in common, which takes a while to read: once in a process."""
    return recipe.computer(None)


def _build_here(
    computer: RowComputer, older: OlderRows, parts: Sequence[Part], threads: int, readers: int, timings: Timings
) -> Generator[Counts]:
    shards = decoded_shards([part.shard for part in parts], computer.margin, timings, readers)
    builder = _PartBuilder(computer, older, threads, timings)
    with closing(shards) as decoded, torch_threads(1), closing(builder.build(decoded, parts)) as built:
        for shard_rows in built:
            yield Counts(len(shard_rows), shard_rows.to_compute())


@dataclass(frozen=True)
class _PreparedPart:
    part: Part
    shard_rows: ShardRows
    columns: Columns
    blocks: list[Block]


class _PartBuilder:
    """Builds parts on a CPU or a GPU; rows that older parts have are copied from them."""

    def __init__(self, computer: RowComputer, older: OlderRows, threads: int, timings: Timings) -> None:
        self._computer, self._older, self._timings = computer, older, timings
        self._attributes = file_attributes(computer.config, computer.split)
        on_gpu = computer.device.type == "cuda"
        self._compute = CudaBlocks(computer, timings) if on_gpu else CpuBlocks(computer, threads, timings)
        self._prepare_part = timings.timed("prepare", self._prepare)

    def build(self, decoded: Iterable[Decoded], parts: Sequence[Part]) -> Generator[ShardRows]:
        """Write parts, each from its decoded shard; yields the rows of each when it is whole."""
        begun: deque[_PreparedPart] = deque()
        prepared = (self._prepare_part(*pair) for pair in zip(parts, decoded, strict=True))
        with closing(self._compute), closing(self._computed(prepared, begun)) as computed:
            for first in computed:
                ready = begun.popleft()
                rest = islice(computed, len(ready.blocks) - 1)
                blocks = (self._compute.finish(block) for block in chain([first], rest))
                timed = self._timings.consumed("write", blocks)
                write_part(ready.part.target, len(ready.shard_rows), timed, ready.columns, self._attributes)
                yield ready.shard_rows

    def _prepare(self, part: Part, decoded: Decoded) -> _PreparedPart:
        computer, config = self._computer, self._computer.config
        rate = config.data.audio.sample_rate
        plan = plan_windows(decoded.recordings, computer.split, config.features, rate, config.seed, computer.synthetic)
        draws = computer.draw(plan)
        shard_rows = computer.prepare(decoded, plan, draws, self._older.find(plan, draws))
        columns = computer.columns(decoded.recordings, shard_rows)
        needed = len(shard_rows) * computer.features.row_bytes(computer.split)
        require_space(part.target.parent, needed, f"feature part {part.target.stem} of {computer.split}")
        step = self._compute.block_rows(len(shard_rows))
        starts = range(0, max(len(shard_rows), 1), step)
        blocks = [Block(shard_rows, start, min(start + step, len(shard_rows))) for start in starts]
        return _PreparedPart(part, shard_rows, columns, blocks)

    def _computed(self, prepared: Iterator[_PreparedPart], begun: deque[_PreparedPart]) -> Generator[Any]:
        """Yield blocks of all parts as they are computed; a part is in `begun` before its first block comes."""

        def blocks_of(part: _PreparedPart) -> list[Block]:
            begun.append(part)
            return part.blocks

        compute = self._compute
        # a part at a time on a CPU, so that no more shards are held than `decoded` reads ahead
        parts = map(blocks_of, prepared)
        for blocks in [chain.from_iterable(parts)] if compute.across_parts else parts:
            with closing(prefetch(compute, blocks, compute.threads, compute.waiting, self._timings.ready)) as computed:
                yield from computed


def threads_by_stage(kind: str, threads: int, readers: int) -> dict[str, int]:
    """List the stages of a build, and how many threads (or copies at once) do each."""
    if kind == "cuda":
        on_gpu = dict.fromkeys(("compute", "copy to host"), 1)
        return {"read": readers, "prepare": 1, **on_gpu, "copy": 1, "write": 1}
    return {"read": readers, "prepare": 1, "compute": threads, "copy": threads, "write": 1}


def file_attributes(config: Config, split: Split) -> dict[str, str]:
    """Return what every file says of itself: no time, since equal inputs give equal bytes, and artifact.json has it."""
    return {
        "config_json": canonical_json(feature_settings(config, split)),
        "labels_json": canonical_json(list(config.labels)),
        "label2id_json": canonical_json({label: index for index, label in enumerate(config.labels)}),
        "versions_json": canonical_json(library_versions(("torch", "h5py", "numpy"))),
    }
