"""Features: windows of log-mels of a split, in the training split in several augmented views."""

from dataclasses import asdict

from wakeword_core.features.settings import AUGMENTED_ROWS, EVERY_SPLIT
from wakeword_core.files import digest
from wakeword_core.graph.stage import CheckRun, Input, Stage, StageRun, Verdict, check, verdict_on
from wakeword_core.graph.stages.shards import STAGE as SHARDS
from wakeword_core.stage_names import MANIFEST, SYNTHETIC_FACET
from wakeword_core.store.artifacts import Artifact


def make(run: StageRun) -> None:
    """Cut, augment and transform the recordings of the split's shards."""
    from wakeword_core.features.build import build_features
    from wakeword_core.features.picture import sample_mels
    from wakeword_core.features.store import PARTS_FOLDER

    assert run.split is not None
    shards = run.inputs[f"audio_shards[{run.split}]"]
    summary = build_features(
        shards.path,
        run.split,
        run.config,
        run.device_of_tasks,
        run.out,
        run.parts,
        run.progress,
        synthetic_sources=run.inputs[MANIFEST].figures["synthetic"],
        sums=shards.sums,
        workers=run.workers,
        made_before=lambda: run.made_before(STAGE, f"{PARTS_FOLDER}/*.h5"),
    )
    (run.out / "mels.png").write_bytes(
        sample_mels(run.out, run.config.features.frontend, run.config.data.audio.sample_rate)
    )
    figures = asdict(summary)
    timings, run.content = figures.pop("timings"), figures.pop("content")
    run.figures = {"split": run.split, **figures, **timings}


def features_consistent(features: Artifact, run: CheckRun) -> Verdict:
    """Fail where values are not finite, or rows, labels and origins are not those of the shards."""
    from wakeword_core.features.windows import verify_features

    assert run.split is not None
    shards, synthetic = run.inputs[f"audio_shards[{run.split}]"], run.inputs[MANIFEST].figures["synthetic"]
    verified = {name.rpartition("/")[2] for name, sha256 in features.sums.items() if sha256 in run.verified}
    problems = verify_features(features.path, shards.path, run.split, run.config, synthetic, verified)
    return verdict_on(problems, f"{features.figures['rows']} windows are finite and match their shards")


def no_short_cuts(features: Artifact, run: CheckRun) -> Verdict:
    """Warn where wake words can be told from all other speech in training by how they were recorded alone."""
    from wakeword_core.features.short_cuts import LEAST_RECORDINGS, find_short_cuts, looked_at

    if run.split != "train":
        return Verdict(True, "only what is learnt from is looked at")
    shards, limit = run.inputs[f"audio_shards[{run.split}]"].path, run.config.checks.short_cut_auc
    decides = run.config.subset("features", "data.audio.sample_rate")
    basis = {"looked_at": digest([looked_at(shards), decides, limit])}
    for _, earlier in run.passed_by():
        if earlier.figures.get("looked_at") == basis["looked_at"]:
            return Verdict(True, earlier.description, earlier.figures)
    found = find_short_cuts(shards, run.config.features, run.config.data.audio.sample_rate)
    if not found:
        few = f"there are fewer than {LEAST_RECORDINGS} recordings of wake words, or of other speech, with any sound"
        return Verdict(True, f"{few}: nothing can be said of how they were recorded", basis)
    # what does not tell them from one kind of recordings does not pay
    least = min(found, key=lambda one: one.together)
    name, auc = next(iter(least.alone.items()))
    word, other = least.medians[name]
    description = (
        f"by how they were recorded alone, wake words are told from {least.role.replace('_', ' ')}s with a ROC-AUC of "
        f"{least.together:.3f} ({limit:g} are allowed), most by {name}: {auc:.3f} by itself, median {word:.2f} against "
        f"{other:.2f}"
    )
    figures = {**basis, "against": {one.role: one.figures for one in found}}
    if least.together <= limit:
        return Verdict(True, description, figures)
    advice = "a model may learn that instead of the word; add other words that were recorded as the wake word was"
    return Verdict(False, f"{description}; {advice}", figures)


_INPUTS = (Input("audio_shards", split="same"), Input(MANIFEST, facet=SYNTHETIC_FACET))

STAGE = Stage(
    name="mel_features",
    # rows of an older part are known by what was drawn for them, not by their sound, which is the shards'
    version=f"{SHARDS.version}.5",
    make=make,
    inputs=_INPUTS,
    settings=EVERY_SPLIT,
    settings_of_training=AUGMENTED_ROWS,
    group="features",
    kinds=("pytorch", "hdf5"),
    description=__doc__,
    checks=(
        check(features_consistent, inputs=_INPUTS),
        check(
            no_short_cuts,
            blocking=False,
            inputs=(Input("audio_shards", split="same"),),
            limits=("checks.short_cut_auc",),
        ),
    ),
    libraries=("torch", "pymicro-features", *SHARDS.libraries),
    partitioned=True,
    gpu=True,
)
