"""Features: windows of log-mels of a split, in the training split in several augmented views."""

from dataclasses import asdict

from wakeword_core.features.settings import AUGMENTED_ROWS, EVERY_SPLIT
from wakeword_core.graph.stage import CheckRun, Input, Stage, StageRun, Verdict, check, verdict_on
from wakeword_core.graph.stages.shards import STAGE as SHARDS
from wakeword_core.store.artifacts import Artifact


def make(run: StageRun) -> None:
    """Cut, augment and transform the recordings of the split's shards."""
    from wakeword_core.features.build import build_features
    from wakeword_core.features.picture import sample_mels

    assert run.split is not None
    summary = build_features(
        run.inputs[f"audio_shards[{run.split}]"].path,
        run.split,
        run.config,
        run.device,
        run.out,
        run.parts,
        run.progress,
    )
    # a view of the parts: its bytes differ from one build to the next, while what is in it does not
    run.volatile = {f"{run.split}.h5"}
    (run.out / "mels.png").write_bytes(
        sample_mels(run.out, run.config.features.frontend, run.config.data.audio.sample_rate)
    )
    figures = asdict(summary)
    timings = figures.pop("timings")
    run.figures = {"split": run.split, **figures, **timings}


def features_consistent(features: Artifact, run: CheckRun) -> Verdict:
    """Fail where values are not finite, or rows and labels are not those of the shards."""
    from wakeword_core.features.windows import verify_features

    assert run.split is not None
    problems = verify_features(features.path, run.inputs[f"audio_shards[{run.split}]"].path, run.split, run.config)
    return verdict_on(problems, f"{features.figures['rows']} windows are finite and match their shards")


STAGE = Stage(
    name="mel_features",
    # rows of an older part are known by what was drawn for them, not by their sound, which is the shards'
    version=f"{SHARDS.version}.3",
    make=make,
    inputs=(Input("audio_shards", split="same"),),
    settings=EVERY_SPLIT,
    settings_of_training=AUGMENTED_ROWS,
    group="features",
    kinds=("pytorch", "hdf5"),
    description=__doc__,
    checks=(check(features_consistent, inputs=(Input("audio_shards", split="same"),)),),
    libraries=("torch", *SHARDS.libraries),
    partitioned=True,
    gpu=True,
)
