"""Mining: clips of the training split that the trained network takes for a wake word; none unless it is enabled."""

from wakeword_core.graph.stage import CheckRun, Input, Stage, StageRun, Verdict, check, verdict_on
from wakeword_core.store.artifacts import Artifact


def make(run: StageRun) -> None:
    """Listen to the training split with the trained network; no clips where mining is off."""
    from wakeword_core.mining.clips import write_clips

    config, shards = run.config, run.inputs["audio_shards[train]"].path
    if not config.mining.enabled:
        write_clips(shards, [], config.data.audio.sample_rate, run.out)
        run.figures = {"enabled": False, "clips": 0}
        return
    from wakeword_core.mining.miner import mine
    from wakeword_core.models.scoring import load_model

    model, _ = load_model(run.inputs["trained_model"].path)
    found = mine(model, shards, config, run.device_of_tasks, run.out, run.progress, run.workers)
    run.figures = {"enabled": True, **found}


def mined_from_training(clips: Artifact, run: CheckRun) -> Verdict:
    """Fail where a clip comes from a recording that is not in the training split."""
    from wakeword_core.mining.clips import check_mined_recordings, read_clips
    from wakeword_core.recordings.manifest import read_manifest

    rows = read_clips(clips.path)
    recordings = read_manifest(
        run.inputs["raw_manifest"].path, columns=("recording_id", "source", "path", "split", "status")
    )
    fine = f"the recordings of all {len(rows)} clips are in the training split alone"
    return verdict_on(check_mined_recordings(rows, recordings), fine)


def clips_verify(clips: Artifact, run: CheckRun) -> Verdict:
    """Fail where rows, ids or sound of the clips are not as they were written."""
    from wakeword_core.mining.clips import read_clips
    from wakeword_core.shards.packed_split import verify_shards

    rows = read_clips(clips.path)
    return verdict_on(verify_shards(clips.path, rows, clips.sums), f"{len(rows)} clips verify")


STAGE = Stage(
    name="mined_negatives",
    version="3",
    make=make,
    inputs=(Input("trained_model"), Input("audio_shards", split="train")),
    settings=("mining.search", "features.windows", "features.context"),
    switch="mining.enabled",
    group="model",
    kinds=("pytorch", "parquet"),
    description=__doc__,
    checks=(check(mined_from_training, inputs=(Input("raw_manifest", facet="train"),)), check(clips_verify)),
    gpu=True,
)
