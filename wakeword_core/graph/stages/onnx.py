"""ONNX: the calibrated model in one file with its card, and the same as it streams where its front end is in ONNX."""

from dataclasses import asdict

from wakeword_core.graph.stage import CheckRun, Input, Stage, StageRun, Verdict, check, verdict_on
from wakeword_core.runtime.exported import MODEL_FILE
from wakeword_core.store.artifacts import Artifact

PARITY_WINDOWS = 256
"""Of validation, on which scores of an exported model are compared."""


def make(run: StageRun) -> None:
    """Export the forms that there are with their card, and measure what they cost."""
    from wakeword_core.evaluation.streams.operating_points import OperatingPoints
    from wakeword_core.export.cost import cpu_ms_per_second, needs
    from wakeword_core.export.onnx_export import export_onnx
    from wakeword_core.export.streaming import streaming_figures
    from wakeword_core.models.scoring import load_model
    from wakeword_core.store.graph import keys_behind

    calibrated = run.inputs["calibrated_model"]
    model, card = load_model(calibrated.path)
    card = {
        **card,
        "phrase": run.config.phrase,
        **OperatingPoints.load(calibrated.path).card(),
        "keys": {"onnx_model": run.key, "calibrated_model": calibrated.key, **keys_behind(run.store, calibrated)},
    }
    summary = export_onnx(model, card, run.config.export.onnx, run.out)
    path = run.out / MODEL_FILE
    run.figures = {
        **asdict(summary),
        **streaming_figures(path, run.config.export.onnx.parity_tolerance, run.out),
        **{f"device_{name}": value for name, value in asdict(needs(path)).items()},
        "cpu_ms_per_s": cpu_ms_per_second(path),
    }


def equals_torch(model: Artifact, run: CheckRun) -> Verdict:
    """Fail where scores differ from torch's on windows of validation."""
    from wakeword_core.export.onnx_export import parity
    from wakeword_core.features.store import spread_windows
    from wakeword_core.models.scoring import load_model

    in_torch, _ = load_model(run.inputs["calibrated_model"].path)
    windows = spread_windows(run.inputs["mel_features[val]"].path, PARITY_WINDOWS)
    difference = parity(in_torch, model.file(MODEL_FILE), windows)
    allowed = run.config.export.onnx.parity_tolerance
    description = (
        f"largest difference from torch over {len(windows)} windows is {difference:.1e}, {allowed:.0e} allowed"
    )
    return Verdict(difference <= allowed, description, {"max_difference": difference})


def fits_platform(model: Artifact, run: CheckRun) -> Verdict:
    """Fail where the configured device has too little flash, memory or time for the model."""
    from wakeword_core.export.cost import needs, problems

    platform = run.config.export.platform
    if platform is None:
        return Verdict(True, "export.platform names no device to fit on")
    needed = needs(model.file(MODEL_FILE))
    return verdict_on(problems(needed, platform), f"fits {platform}: {needed.described()}")


STAGE = Stage(
    name="onnx_model",
    version="6",
    make=make,
    inputs=(Input("calibrated_model"),),
    settings=("phrase", "export.onnx"),
    group="delivery",
    kinds=("onnx",),
    description=__doc__,
    checks=(
        check(
            equals_torch,
            inputs=(Input("calibrated_model"), Input("mel_features", split="val")),
            limits=("export.onnx.parity_tolerance",),
        ),
        check(fits_platform, limits=("export.platform",)),
    ),
)
