"""Shards to feature parts, one part a shard: read ahead, computed on all cores or a GPU, written in order.

Memory is bounded by a few shards and blocks of rows, whatever the number of recordings.
"""

import importlib.metadata
import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wakeword_core.ahead import ahead
from wakeword_core.config import Config, FeaturesConfig, Split
from wakeword_core.cores import available_cores, torch_threads
from wakeword_core.errors import DataError
from wakeword_core.features.blocks import Block, CpuBlocks
from wakeword_core.features.feed import Strategy, choose_strategy, decoded_shards, joined, reader_threads
from wakeword_core.features.materials import NOTHING, Materials, materials_for
from wakeword_core.features.part_builder import Part, PartBuilder
from wakeword_core.features.rows import RowComputer, Work, clean_rows
from wakeword_core.features.settings import feature_settings
from wakeword_core.features.store import PARTS_FOLDER, Columns, part_contents, write_split
from wakeword_core.features.timings import Timings
from wakeword_core.features.windows import plan_windows
from wakeword_core.files import canonical_json, digest, hash_file
from wakeword_core.interrupts import finishing
from wakeword_core.progress import Progress, silent
from wakeword_core.shards.packed_split import Shard, read_shard, shard_paths
from wakeword_core.shards.shard_file import SHARDS_VERSION
from wakeword_core.store.artifacts import Parts
from wakeword_core.store.latest_parts import LatestParts

log = logging.getLogger(__name__)

VERSION = "4"
"""Enters every part's key: raise it when the same shard and settings give other numbers."""
_CONTAINER_MEMORY = Path("/sys/fs/cgroup/memory.max")
_MEMORY_SHARE = 0.25
"""Of the machine's memory, for decoded shards, where the configuration does not say."""


@dataclass(frozen=True)
class FeaturesSummary:
    """What was built, parts made and reused, audio seconds of all rows, and how fast it was."""

    rows: int
    recordings: int
    rows_by_label: dict[str, int]
    parts: int
    parts_built: int
    parts_reused: int
    window_seconds: float
    noise_seconds: float
    rooms: int
    strategy: Strategy
    rows_computed: int
    """the others were taken from parts, or from rows of older ones"""
    rows_per_second: float
    """of the parts that were built"""
    timings: dict[str, Any]


@dataclass(frozen=True)
class Rows:
    """Rows in memory: mel [rows, n_mels, frames] and the columns of the store, each [rows]."""

    mel: np.ndarray[Any, Any]
    columns: Columns


def build_features(
    shards: Path,
    split: Split,
    config: Config,
    device: str,
    out: Path,
    parts: Parts,
    progress: Progress = silent,
    mixed_in: Path | None = None,
) -> FeaturesSummary:
    """Compute the features of one split: `out/parts/*.h5` and `out/<split>.h5` over them.

    Augmented views have the noise and the rooms of the shards themselves, or of those in the folder `mixed_in`.
    Parts whose shard and settings are unchanged are taken from `parts`. A signal to stop is obeyed when the part that
    is being written is whole. Raises DataError when nothing can be cut.
    """
    paths = shard_paths(shards)
    materials = materials_for(mixed_in or shards, split, config)
    attributes = _attributes(config, split)
    readers = reader_threads(on_gpu=torch.device(device).type == "cuda")
    hashes = ahead(hash_file, paths, readers, len(paths))
    latest = LatestParts(parts, [VERSION, SHARDS_VERSION, split, attributes, torch.device(device).type])
    planned = [
        Part(
            path,
            _key(one, split, materials, attributes),
            out / PARTS_FOLDER / f"{path.stem}.h5",
            latest.find(index, len(paths)),
        )
        for index, (path, one) in enumerate(zip(paths, hashes, strict=True))
    ]
    missing = [part for part in planned if not parts.link(part.key, part.target)]
    made = len(planned) - len(missing)
    progress(f"features {split}", made, len(planned))
    threads = config.features.workers or available_cores()
    timings = Timings(_lanes(device, threads, readers))
    strategy = _strategy([part.shard for part in missing], config.features, readers)
    rows = computed = 0
    if missing:
        computer = RowComputer(config, split, materials, torch.device(device))
        waiting = decoded_shards([part.shard for part in missing], strategy, computer.margin, out, timings, readers)
        with finishing() as asked_to_stop, waiting as decoded, torch_threads(1):
            builder = PartBuilder(computer, parts, threads, attributes, timings)
            with closing(builder.build(missing, decoded)) as build:
                for part, work in build:
                    parts.keep(part.key, part.target)
                    rows, made = rows + len(work), made + 1
                    computed += len(work) if work.older is None else int((work.older.rows < 0).sum())
                    progress(f"features {split}", made, len(planned))
                    if asked_to_stop():
                        break
            if made < len(planned):
                raise KeyboardInterrupt
    latest.remember([part.key for part in planned])
    figures = timings.figures()
    if missing:
        log.info("features %s: %d rows, %s is what the others wait for", split, computed, figures["bottleneck"])
    contents = [part_contents(part.target) for part in planned]
    total = sum(one.rows for one in contents)
    if total == 0:
        raise DataError(f"the {split} split has no recording to compute features from; see the manifest's summary")
    write_split(out / f"{split}.h5", [part.target for part in planned], attributes)
    by_label = sum((one.labels for one in contents), Counter())
    return FeaturesSummary(
        rows=total,
        recordings=sum(one.recordings for one in contents),
        rows_by_label={label: by_label[index] for index, label in enumerate(config.labels)},
        parts=len(planned),
        parts_built=len(missing),
        parts_reused=len(planned) - len(missing),
        window_seconds=round(total * config.features.row_samples(split) / config.data.sample_rate, 1),
        noise_seconds=round(materials.noise.seconds, 1),
        rooms=len(materials.rooms),
        strategy=strategy,
        rows_computed=computed,
        rows_per_second=round(rows / figures["wall_seconds"], 1) if rows else 0.0,
        timings=figures,
    )


def shifted_windows(shards: Path, split: Split, config: Config, shifts_ms: Sequence[int]) -> Iterator[list[Rows]]:
    """The clean windows of each shard, cut later by each of some milliseconds (earlier below 0) than in the features.

    Yields, shard by shard, the rows of each shift; a shift of 0 gives what `build_features` stores, in its order.
    """
    computer = RowComputer(config, split, NOTHING, torch.device("cpu"))
    rate = config.data.sample_rate
    for shard in ahead(read_shard, shard_paths(shards), 1, 1):
        plan = clean_rows(plan_windows(shard, split, config.features, rate, config.seed))
        shifted = [replace(plan, start=plan.start + round(shift * rate / 1_000)) for shift in shifts_ms]
        decoded = joined(shard, computer.margin)
        yield [_rows(computer, shard, computer.prepare(decoded, one, computer.draw(one))) for one in shifted]


def _rows(computer: RowComputer, shard: Shard, work: Work) -> Rows:
    blocks = CpuBlocks(computer, 1, Timings({}), computer.features.batch_windows)
    return Rows(blocks(Block(work, 0, len(work))), computer.columns(shard, work))


def _key(shard: str, split: Split, materials: Materials, attributes: dict[str, str]) -> str:
    """Key of the part that is made from a shard with that hash."""
    return digest([VERSION, shard, attributes["config_json"], split, materials.key])


def _lanes(device: str, threads: int, readers: int) -> dict[str, int]:
    """Kinds of work, and how many threads (or copies at once) do each."""
    if torch.device(device).type == "cuda":
        on_gpu = dict.fromkeys(("copy to device", "compute", "copy to host"), 1)
        return {"read": readers, "prepare": 1, **on_gpu, "copy": 1, "write": 1}
    return {"read": readers, "prepare": 1, "compute": threads, "copy": threads, "write": 1}


def _strategy(shards: Sequence[Path], features: FeaturesConfig, readers: int) -> Strategy:
    if features.strategy != "auto":
        return features.strategy
    memory = features.memory_gb * 1e9 or _machine_memory() * _MEMORY_SHARE
    return choose_strategy([path.stat().st_size for path in shards] or [0], memory, readers)


def _machine_memory() -> float:
    """Bytes of memory that this process may use: the machine's, or its container's."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(machine, int(_CONTAINER_MEMORY.read_text(encoding="ascii")))
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        return machine


def _attributes(config: Config, split: Split) -> dict[str, str]:
    """Attributes of every file. No time stamp: equal inputs must give equal bytes; artifact.json says when."""
    versions = {name: importlib.metadata.version(name) for name in ("torch", "h5py", "numpy")}
    return {
        "config_json": canonical_json({**feature_settings(config, split), "version": VERSION}),
        "labels_json": canonical_json(list(config.labels)),
        "label2id_json": canonical_json({label: index for index, label in enumerate(config.labels)}),
        "versions_json": canonical_json(versions),
    }
