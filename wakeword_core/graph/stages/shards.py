"""Shards: a split's recordings, decoded and shuffled, in Parquet that Hugging Face `datasets` reads."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from wakeword_core.errors import ChangedRecordingError
from wakeword_core.graph.stage import CheckRun, Input, Stage, StageRun, Verdict, check, never, verdict_on
from wakeword_core.graph.stages.manifest import all_sources
from wakeword_core.store.artifacts import Artifact

if TYPE_CHECKING:
    import pandas as pd


def make(run: StageRun) -> None:
    """Decode the split's recordings and pack them in the order of a hash."""
    from wakeword_core.shards.building import build_shards

    config = run.config
    sources = all_sources(config.data.sources, run.inputs.get("synthetic_speech"))
    try:
        summary = build_shards(
            _rows(run),
            {source.name: source.root for source in sources},
            config.data.audio.sample_rate,
            config.shards,
            run.workers,
            config.seed,
            run.out,
            run.parts,
            run.progress,
            config.compute.retries,
            {source.name: source.link_roots for source in sources},
            run.recordings.forgotten(),
            lambda: run.made_before(STAGE, "[0-9]*.parquet"),
        )
    except ChangedRecordingError as error:
        run.recordings.scan_cache().forget_hash(Path(error.path))  # so that running again does read it again
        raise
    figures = asdict(summary)
    run.content = figures.pop("content")
    run.figures = {"split": run.split, **figures}


def _rows(run: StageRun | CheckRun) -> "pd.DataFrame":
    """Read what shards need to know of the split's usable recordings."""
    from wakeword_core.recordings.manifest import read_manifest
    from wakeword_core.recordings.row import row_columns
    from wakeword_core.shards.packing import ShardRow

    columns = (*row_columns(ShardRow), "split", "status")
    return read_manifest(run.inputs["raw_manifest"].path, split=run.split, columns=columns)


def shards_verify(shards: Artifact, run: CheckRun) -> Verdict:
    """Fail where rows, ids or sound are not those of the manifest."""
    from wakeword_core.shards.packed_split import verify_shards

    rows = _rows(run)
    problems = verify_shards(shards.path, rows, shards.sums, run.verified)
    return verdict_on(problems, f"{len(rows)} recordings verify")


STAGE = Stage(
    name="audio_shards",
    version="4",
    make=make,
    # the manifest says which recordings of synthetic speech count; where they lie decides nothing
    inputs=(Input("raw_manifest", facet="split"), Input("synthetic_speech", decides=never)),
    settings=("seed", "data.audio.sample_rate", "shards.shard_mb", "shards.count"),
    group="ingest",
    kinds=("python", "parquet"),
    description=__doc__,
    checks=(check(shards_verify, inputs=(Input("raw_manifest", facet="split"),)),),
    libraries=("soundfile", "soxr"),
    partitioned=True,
)
