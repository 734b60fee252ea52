"""CMVN: mean and deviation of each band, of the training split alone; of none where the device has none."""

from wakeword_core.graph.stage import CheckRun, Input, Stage, StageRun, Verdict, check
from wakeword_core.store.artifacts import Artifact

FILE = "cmvn.json"


def make(run: StageRun) -> None:
    """Measure the training split's valid frames, of a kind of features that is normalised."""
    from wakeword_core.features.cmvn import NOT_NORMALISED, Cmvn, are_normalised, measure
    from wakeword_core.features.store import FeatureFile

    features = FeatureFile(run.inputs["mel_features[train]"].path)
    if not are_normalised(features):
        Cmvn.of_nothing(features.n_mels).save(run.out / FILE)
        run.figures = {"note": NOT_NORMALISED}
        return
    cmvn, frames = measure(features, run.progress)
    cmvn.save(run.out / FILE)
    run.figures = {"frames": frames, "mean_of_means": float(cmvn.mean.mean()), "mean_deviation": float(cmvn.std.mean())}


def normalises(statistics: Artifact, run: CheckRun) -> Verdict:
    """Fail where normalised training windows do not have mean 0 and variance 1, or the device's numbers are changed."""
    from wakeword_core.features.cmvn import (
        MEAN_TOLERANCE,
        NOT_NORMALISED,
        VARIANCE_TOLERANCE,
        Cmvn,
        are_normalised,
        check_cmvn,
    )
    from wakeword_core.features.store import FeatureFile

    train, cmvn = FeatureFile(run.inputs["mel_features[train]"].path), Cmvn.load(statistics.file(FILE))
    if not are_normalised(train):
        return Verdict(cmvn.changes_nothing, NOT_NORMALISED)
    figures = check_cmvn(train, cmvn)
    passed = figures["worst_mean"] < MEAN_TOLERANCE and figures["worst_variance"] < VARIANCE_TOLERANCE
    worst = f"worst mean {figures['worst_mean']:.1e}, worst variance off by {figures['worst_variance']:.1e}"
    return Verdict(passed, f"training data normalised: {worst}", figures)


STAGE = Stage(
    name="cmvn_stats",
    version="1",
    make=make,
    inputs=(Input("mel_features", split="train"),),
    settings=(),
    group="features",
    kinds=("numpy",),
    description=__doc__,
    checks=(check(normalises, inputs=(Input("mel_features", split="train"),)),),
)
