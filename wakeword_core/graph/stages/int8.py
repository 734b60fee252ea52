"""INT8: the exported model in 8-bit integers, compared with it on the test, and tested in continuous sound itself."""

from wakeword_core.config import SPLITS, Config
from wakeword_core.graph.stage import CheckRun, Input, Severity, Stage, StageRun, Verdict, check
from wakeword_core.runtime.exported import INT8_FILE, MODEL_FILE
from wakeword_core.store.artifacts import Artifact


def is_trained_for_integers(config: Config) -> bool:
    """Return whether the network learns how its integers are rounded."""
    return bool(config.training.quantization.epochs)


def make(run: StageRun) -> None:
    """Set ranges on training windows, choose among them on validation, and compare on the test."""
    from wakeword_core.export.comparison import stream_figures
    from wakeword_core.export.formats import ALIKE
    from wakeword_core.export.int8 import make_int8
    from wakeword_core.export.tflite.fake_quantize import trained_integers
    from wakeword_core.models.scoring import load_model

    train, val, test = (run.inputs[f"mel_features[{split}]"].path for split in SPLITS)
    model, trained = run.inputs["onnx_model"].file(MODEL_FILE), None
    if is_trained_for_integers(run.config):
        trained = trained_integers(load_model(run.inputs["calibrated_model"].path)[0])
    figures = make_int8(model, train, val, test, run.config, run.out, trained)
    streams = run.inputs["audio_shards[test]"].path
    # of a network that streams, windows say the same at more than twice the cost
    streamed = figures.get("streaming_native", False) and figures["streaming_parity"] <= ALIKE
    run.figures = figures | stream_figures(run.out / INT8_FILE, streams, run.config, run.progress, streamed=streamed)


def int8_faithful(model: Artifact, run: CheckRun) -> Verdict:
    """Fail where F1 on the test falls; warn where the file is hardly smaller."""
    export, figures = run.config.export, model.figures
    drop, ratio = figures["f1_fp32"] - figures["f1_int8"], figures["size_ratio"]
    description = (
        f"F1 {figures['f1_fp32']:.4f} -> {figures['f1_int8']:.4f} (a drop of {export.int8.max_f1_drop} is allowed), "
        f"size {ratio:.1%} of fp32 ({export.int8.max_ratio:.0%} allowed)"
    )
    accurate, small = drop <= export.int8.max_f1_drop, ratio <= export.int8.max_ratio
    # of a network of many small layers the graph itself is half of the file, which no calibration makes smaller
    severity: Severity | None = "warning" if accurate else None
    return Verdict(accurate and small, description, {"f1_drop": drop, "size_ratio": ratio}, severity)


STAGE = Stage(
    name="int8_model",
    version="7",
    make=make,
    inputs=(
        Input("onnx_model"),
        Input("calibrated_model", decides=is_trained_for_integers),
        *(Input("mel_features", split=split) for split in SPLITS),
        Input("audio_shards", split="test"),
    ),
    settings=(
        "labels",
        "seed",
        "data.audio",
        "evaluation.streams",
        "evaluation.conditions.tuning",
        "evaluation.operating_points",
        "export.int8",
    ),
    group="delivery",
    kinds=("onnx",),
    description=__doc__,
    checks=(check(int8_faithful, limits=("export.int8.max_f1_drop", "export.int8.max_ratio")),),
)
