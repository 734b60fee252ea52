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

_ROOMS_LISTED, _ROOMS_NAMED = 200, 5
"""Recordings of rooms in the table of a check, and in its sentence."""


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


def rooms_fit(shards: Artifact, run: CheckRun) -> Verdict:
    """Measure recordings of rooms; warn of those without a direct path, too long or too quiet."""
    from wakeword_core.recordings.manifest import read_manifest
    from wakeword_core.recordings.rooms import measure_room
    from wakeword_core.shards.packed_split import iter_recordings

    columns = ("recording_id", "path", "sample_rate", "role", "split", "status")
    listed = read_manifest(run.inputs["raw_manifest"].path, split=run.split, columns=columns)
    known = listed[listed["role"] == "rir"].set_index("recording_id")
    if known.empty:
        return Verdict(True, "there are no recordings of rooms in this split")
    rate, rooms, wrong, count = run.config.data.audio.sample_rate, list[dict[str, str | float]](), list[str](), 0
    for recording in iter_recordings(shards.path, roles=("rir",)):
        count += 1
        room, path = measure_room(recording.audio, rate), str(known["path"][recording.recording_id])
        problems = room.problems(run.config.checks.longest_rt60_seconds)
        wrong += [f"{path} {' and '.join(problems)}"] if problems else []
        if len(rooms) < _ROOMS_LISTED:
            measured = {name: "unknown" if value != value else value for name, value in asdict(room).items()}
            own_rate = int(known["sample_rate"][recording.recording_id])
            rooms.append({"recording": path, "problems": ", ".join(problems), "sample_rate": own_rate, **measured})
    if not wrong:
        return Verdict(True, f"{count} recordings of rooms are fit to be mixed in", {"rooms": rooms})
    listed_few = "; ".join(wrong[:_ROOMS_NAMED])
    return Verdict(
        False,
        f"{len(wrong)} of {count} recordings of rooms are not fit to be mixed in: {listed_few}; leave them out, cut "
        "them or record them anew",
        {"rooms": rooms},
    )


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
    checks=(
        check(shards_verify, inputs=(Input("raw_manifest", facet="split"),)),
        check(
            rooms_fit,
            blocking=False,
            inputs=(Input("raw_manifest", facet="split"),),
            limits=("checks.longest_rt60_seconds", "data.audio.sample_rate"),
        ),
    ),
    libraries=("soundfile", "soxr"),
    partitioned=True,
)
