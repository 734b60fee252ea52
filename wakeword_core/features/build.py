"""Shards to feature parts, one part a shard: planned, reused where nothing changed, else computed and written in order.

Memory is bounded by a few shards and blocks of rows, whatever the number of recordings.
"""

import importlib.metadata
import logging
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wakeword_core.config import Config, Split
from wakeword_core.cores import available_cores, torch_threads
from wakeword_core.errors import DataError
from wakeword_core.features.cuda import CudaBlocks
from wakeword_core.features.materials import materials_for
from wakeword_core.features.pipeline import Block, CpuBlocks, Timings, decoded_shards, reader_threads
from wakeword_core.features.rows import Decoded, OlderRows, RowComputer, ShardRows
from wakeword_core.features.settings import feature_settings
from wakeword_core.features.store import PARTS_FOLDER, Columns, FeatureFile, rows_in_order, write_part, write_split
from wakeword_core.features.windows import Synthetic, plan_windows
from wakeword_core.files import canonical_json, digest, hash_file, require_space
from wakeword_core.interrupts import Stopped, finishing
from wakeword_core.prefetch import prefetch
from wakeword_core.progress import Progress, silent
from wakeword_core.shards.packed_split import read_index, shard_paths
from wakeword_core.store.parts import LatestParts, Parts

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FeaturesSummary:
    """What was built and what reused, how much audio, and how fast."""

    rows: int
    dead: int
    """rows of the parts that do not count any more"""
    recordings: int
    rows_by_label: dict[str, int]
    parts: int
    parts_built: int
    parts_reused: int
    window_seconds: float
    noise_seconds: float
    rooms: int
    rows_computed: int
    """the others were taken from parts, or from rows of older ones"""
    rows_per_second: float
    """of the parts that were built"""
    content: str
    """hash of the rows that count, in their order"""
    timings: dict[str, Any]


@dataclass(frozen=True)
class Part:
    """A part to be built."""

    shard: Path
    key: str
    """hash of what it is made from"""
    target: Path


def build_features(
    shards: Path,
    split: Split,
    config: Config,
    device: str,
    out: Path,
    parts: Parts,
    progress: Progress = silent,
    mixed_in: Path | None = None,
    synthetic_sources: Collection[str] = (),
    sums: Mapping[str, str] | None = None,
) -> FeaturesSummary:
    """Compute the features of one split: `out/parts/*.h5` and `out/<split>.h5` over them.

    Augmented views have the noise and the rooms of the shards themselves, or of those in the folder `mixed_in`. The
    recordings of `synthetic_sources` are made from text or computed. `sums` are the SHA-256 (hex) of the shards by
    name, where they are known: then only those are read whose parts are not there.
    Parts whose shard and settings are unchanged are taken from `parts`. A signal to stop is obeyed when the part that
    is being written is whole; raises Stopped if its handler lets the process go on, and DataError when nothing can be
    cut.
    """
    # the features of microcontrollers are computed on a CPU alone, in whole numbers
    device = "cpu" if config.features.frontend.kind == "micro" else device
    kind = torch.device(device).type
    rate = config.data.audio.sample_rate
    materials = materials_for(mixed_in or shards, split, config.features, rate, config.seed)
    synthetic = Synthetic.of(shards, split, synthetic_sources, config.features.augment)
    attributes = _attributes(config, split)
    made_with = [attributes["config_json"], split, materials.key, sorted(synthetic.sources), sorted(synthetic.words)]
    readers = reader_threads(on_gpu=kind == "cuda")
    latest = LatestParts(parts, [split, attributes, kind])
    planned = _plan_parts(shard_paths(shards), made_with, sums or {}, readers, out / PARTS_FOLDER)
    missing = [part for part in planned if not parts.link(part.key, part.target)]
    progress(f"features {split}", len(planned) - len(missing), len(planned))

    threads = config.compute.workers or available_cores()
    timings = Timings(_threads_by_stage(kind, threads, readers))
    rows = computed = 0
    if missing:
        computer = RowComputer(config, split, materials, torch.device(device), synthetic)
        shards_ahead = decoded_shards([part.shard for part in missing], computer.margin, timings, readers)
        with finishing() as asked_to_stop, closing(shards_ahead) as decoded, torch_threads(1):
            builder = PartBuilder(computer, parts, latest.keys, threads, attributes, timings)
            with closing(builder.build(missing, decoded, asked_to_stop)) as built:
                for number, shard_rows in enumerate(built, 1):
                    rows, computed = rows + len(shard_rows), computed + shard_rows.to_compute()
                    progress(f"features {split}", len(planned) - len(missing) + number, len(planned))
    latest.remember([part.key for part in planned])
    figures = timings.figures()
    if missing:
        log.info("features of %s: %d rows; the slowest step was %s", split, computed, figures["bottleneck"])

    targets = [part.target for part in planned]
    write_split(out / f"{split}.h5", targets, attributes, rows_in_order(targets, read_index(shards)))
    file = FeatureFile(out)
    if not len(file):
        raise DataError(f"the {split} split has no recording to compute features from; see the manifest's summary")
    rows_by_class = np.bincount(file.column("labels"), minlength=len(config.labels)).tolist()
    return FeaturesSummary(
        rows=len(file),
        dead=file.dead,
        recordings=len(np.unique(file.column("recording_ids"))),
        rows_by_label=dict(zip(config.labels, rows_by_class, strict=True)),
        parts=len(planned),
        parts_built=len(missing),
        parts_reused=len(planned) - len(missing),
        window_seconds=round(len(file) * config.features.row_samples(split) / rate, 1),
        noise_seconds=round(materials.noise.seconds, 1),
        rooms=len(materials.rooms),
        rows_computed=computed,
        rows_per_second=round(rows / figures["wall_seconds"], 1) if rows else 0.0,
        content=file.content(),
        timings=figures,
    )


@dataclass(frozen=True)
class _PreparedPart:
    part: Part
    shard_rows: ShardRows
    columns: Columns
    blocks: list[Block]


class PartBuilder:
    """Builds parts on a CPU or a GPU; rows that `older` parts in `parts` have are copied from them."""

    def __init__(
        self,
        computer: RowComputer,
        parts: Parts,
        older: Sequence[str],
        threads: int,
        attributes: dict[str, str],
        timings: Timings,
    ) -> None:
        self._computer, self._parts, self._attributes, self._timings = computer, parts, attributes, timings
        paths = [path for key in older if parts.entry(path := parts.path(key)) is not None]
        self._older = OlderRows(paths, lambda part: parts.entry(part, read=True) is not None)
        on_gpu = computer.device.type == "cuda"
        self._compute = CudaBlocks(computer, timings) if on_gpu else CpuBlocks(computer, threads, timings)
        self._prepare_part = timings.timed("prepare", self._prepare)

    def build(
        self, missing: Sequence[Part], decoded: Iterable[Decoded], asked_to_stop: Callable[[], bool]
    ) -> Generator[ShardRows]:
        """Write parts, each from its decoded shard, and keep them; yields the rows of each when it is whole.

        Raises Stopped, between two parts, when `asked_to_stop` says so.
        """
        begun: deque[_PreparedPart] = deque()
        prepared = (self._prepare_part(*pair) for pair in zip(missing, decoded, strict=True))
        with closing(self._compute), closing(self._computed(prepared, begun)) as computed:
            for number, first in enumerate(computed, 1):
                ready = begun.popleft()
                rest = islice(computed, len(ready.blocks) - 1)
                blocks = (self._compute.finish(block) for block in chain([first], rest))
                timed = self._timings.consumed("write", blocks)
                write_part(ready.part.target, len(ready.shard_rows), timed, ready.columns, self._attributes)
                self._parts.keep(ready.part.key, ready.part.target)
                yield ready.shard_rows
                if number < len(missing) and asked_to_stop():
                    raise Stopped

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


def _plan_parts(
    shards: Sequence[Path], made_with: Sequence[Any], sums: Mapping[str, str], readers: int, folder: Path
) -> list[Part]:
    """Each shard's part, by what it is made from: the shard, and what it is `made_with`."""
    hashes = prefetch(lambda shard: sums.get(shard.name) or hash_file(shard), shards, readers, len(shards))
    return [
        Part(shard, digest([shard_hash, *made_with]), folder / f"{shard.stem}.h5")
        for shard, shard_hash in zip(shards, hashes, strict=True)
    ]


def _threads_by_stage(kind: str, threads: int, readers: int) -> dict[str, int]:
    """Stages of a build, and how many threads (or copies at once) do each."""
    if kind == "cuda":
        on_gpu = dict.fromkeys(("compute", "copy to host"), 1)
        return {"read": readers, "prepare": 1, **on_gpu, "copy": 1, "write": 1}
    return {"read": readers, "prepare": 1, "compute": threads, "copy": threads, "write": 1}


def _attributes(config: Config, split: Split) -> dict[str, str]:
    """Attributes of every file. No time stamp: equal inputs must give equal bytes; artifact.json says when."""
    versions = {name: importlib.metadata.version(name) for name in ("torch", "h5py", "numpy")}
    return {
        "config_json": canonical_json(feature_settings(config, split)),
        "labels_json": canonical_json(list(config.labels)),
        "label2id_json": canonical_json({label: index for index, label in enumerate(config.labels)}),
        "versions_json": canonical_json(versions),
    }
