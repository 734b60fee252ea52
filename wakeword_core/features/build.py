"""Shards to feature parts, one part a shard: planned, reused where nothing changed, else computed and written in order.

Memory is bounded by a few shards and blocks of rows, whatever the number of recordings.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wakeword_core.config import Config, Split
from wakeword_core.errors import DataError
from wakeword_core.features.heard import write_page
from wakeword_core.features.materials import materials_for
from wakeword_core.features.parts import Part, Recipe, build_parts, file_attributes, threads_by_stage
from wakeword_core.features.pipeline import Timings, reader_threads
from wakeword_core.features.rows import RowComputer
from wakeword_core.features.settings import AUGMENTED_SPLIT
from wakeword_core.features.store import PARTS_FOLDER, FeatureFile, rows_in_order, write_split
from wakeword_core.features.windows import Synthetic
from wakeword_core.files import digest, hash_file
from wakeword_core.interrupts import Stopped, finishing
from wakeword_core.prefetch import prefetch
from wakeword_core.progress import Progress, silent
from wakeword_core.shards.packed_split import read_index, shard_paths
from wakeword_core.store.parts import LatestParts, MadeBefore, Parts
from wakeword_core.workers.base import Workers
from wakeword_core.workers.local import LocalWorkers

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
    workers: Workers | None = None,
    made_before: MadeBefore = dict,
) -> FeaturesSummary:
    """Compute the features of one split: `out/parts/*.h5` and `out/<split>.h5` over them, and a page to hear some.

    Augmented views have the noise and the rooms of the shards themselves, or of those in the folder `mixed_in`. The
    recordings of `synthetic_sources` are made from text or computed. `sums` are the SHA-256 (hex) of the shards by
    name, where they are known: then only those are read whose parts are not there. Who computes are the `workers`, or
    this machine as the settings say; `device` is theirs.
    Parts whose shard and settings are unchanged are taken from `parts`, and rows from the last build's or, where there
    is none, from those that were `made_before`. A signal to stop is obeyed when the part that
    is being written is whole; raises Stopped if its handler lets the process go on, and DataError when nothing can be
    cut.
    """
    device = "cpu" if config.features.frontend.on_cpu_alone else device
    kind = torch.device(device).type
    workers = workers or LocalWorkers(config.compute.workers)
    rate = config.data.audio.sample_rate
    materials = materials_for(mixed_in or shards, split, config.features, rate, config.seed)
    synthetic = Synthetic.of(shards, split, synthetic_sources, config.features.augment)
    attributes = file_attributes(config, split)
    made_with = [attributes["config_json"], split, materials.key, sorted(synthetic.sources), sorted(synthetic.words)]
    readers = reader_threads(on_gpu=kind == "cuda")
    latest = LatestParts(parts, [split, attributes, kind])
    latest.take(made_before)
    older = [path for key in latest.keys if parts.entry(path := parts.path(key)) is not None]
    planned = _plan_parts(shard_paths(shards), made_with, sums or {}, readers, out / PARTS_FOLDER)
    missing = [part for part in planned if not parts.link(part.key, part.target)]
    progress(f"features {split}", len(planned) - len(missing), len(planned))

    recipe = Recipe(config.model_dump_json(), split, device, mixed_in or shards, synthetic, parts.root, tuple(older))
    timings = Timings(threads_by_stage(kind, workers.cores, readers))
    done = len(planned) - len(missing)
    rows = computed = 0
    with finishing() as asked_to_stop, closing(build_parts(recipe, materials, missing, workers, timings)) as built:
        for part, counts in built:
            parts.keep(part.key, part.target)
            done, rows, computed = done + 1, rows + counts.rows, computed + counts.computed
            progress(f"features {split}", done, len(planned))
            if done < len(planned) and asked_to_stop():
                raise Stopped
    latest.remember([part.key for part in planned])
    figures = timings.figures()
    if missing:
        log.info("features of %s: %d rows; the slowest step was %s", split, computed, figures["bottleneck"])

    targets = [part.target for part in planned]
    write_split(out / f"{split}.h5", targets, attributes, rows_in_order(targets, read_index(shards)))
    file = FeatureFile(out)
    if not len(file):
        raise DataError(f"the {split} split has no recording to compute features from; see the manifest's summary")
    if split == AUGMENTED_SPLIT:
        write_page(out, shards, RowComputer(config, split, materials, torch.device("cpu"), synthetic))
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


def _plan_parts(
    shards: Sequence[Path], made_with: Sequence[Any], sums: Mapping[str, str], readers: int, folder: Path
) -> list[Part]:
    """Each shard's part, by what it is made from: the shard, and what it is `made_with`."""
    hashes = prefetch(lambda shard: sums.get(shard.name) or hash_file(shard), shards, readers, len(shards))
    return [
        Part(shard, digest([shard_hash, *made_with]), folder / f"{shard.stem}.h5")
        for shard, shard_hash in zip(shards, hashes, strict=True)
    ]
