"""Calibration: what makes scores mean what they say, the detector, and the thresholds; all set on validation."""

from wakeword_core.files import read_json
from wakeword_core.graph.stage import CheckRun, Input, Stage, StageRun, Verdict, check
from wakeword_core.stage_names import MANIFEST, SYNTHETIC_FACET
from wakeword_core.store.artifacts import Artifact

_NLL_TOLERANCE = 1e-6


def make(run: StageRun) -> None:
    """Calibrate the scores, choose the detector, and read off a threshold for each operating point."""
    from wakeword_core.evaluation.streams.operating_points import calibrate_model

    run.figures = calibrate_model(
        run.inputs["tuned_model"].path,
        run.inputs["mel_features[val]"].path,
        run.inputs["audio_shards[val]"].path,
        run.config,
        run.out,
        run.progress,
        run.inputs[MANIFEST].figures["synthetic"],
    )


def nll_not_worse(model: Artifact, run: CheckRun) -> Verdict:
    """Fail where calibration made the likelihood of validation's labels worse."""
    figures = read_json(model.file("calibration.json"))
    passed = figures["nll_after"] <= figures["nll_before"] + _NLL_TOLERANCE
    description = (
        f"NLL on validation {figures['nll_before']:.4f} -> {figures['nll_after']:.4f}, "
        f"ECE {figures['ece_before']:.4f} -> {figures['ece_after']:.4f}, by {figures['method']} calibration"
    )
    return Verdict(passed, description, figures)


STAGE = Stage(
    name="calibrated_model",
    version="9",
    make=make,
    inputs=(
        Input("tuned_model"),
        Input("mel_features", split="val"),
        Input("audio_shards", split="val"),
        Input(MANIFEST, facet=SYNTHETIC_FACET),
    ),
    settings=(
        "seed",
        "data.audio",
        "evaluation.streams",
        "evaluation.conditions.tuning",
        "evaluation.detector",
        "evaluation.tuning",
        "evaluation.calibration",
        "evaluation.operating_points",
    ),
    group="model",
    kinds=("pytorch",),
    description=__doc__,
    checks=(check(nll_not_worse),),
)
