"""FP16: the exported model in float16, compared with it on the test."""

from wakeword_core.graph.stage import CheckRun, Input, Stage, StageRun, Verdict, check
from wakeword_core.runtime.exported import FP16_FILE, MODEL_FILE
from wakeword_core.store.artifacts import Artifact


def make(run: StageRun) -> None:
    """Convert the weights, and compare on the test."""
    from wakeword_core.export.comparison import compare_with_fp32
    from wakeword_core.export.float16 import convert_fp16

    onnx, half = run.inputs["onnx_model"].file(MODEL_FILE), run.out / FP16_FILE
    convert_fp16(onnx, half)
    run.figures = compare_with_fp32(onnx, half, "fp16", run.inputs["mel_features[test]"].path)


def fp16_faithful(model: Artifact, run: CheckRun) -> Verdict:
    """Fail where F1 on the test falls."""
    allowed, figures = run.config.export.int8.max_f1_drop, model.figures
    drop = figures["f1_fp32"] - figures["f1_fp16"]
    description = f"F1 {figures['f1_fp32']:.4f} -> {figures['f1_fp16']:.4f} (a drop of {allowed} is allowed)"
    return Verdict(drop <= allowed, description, {"f1_drop": drop})


STAGE = Stage(
    name="fp16_model",
    version="2",
    make=make,
    inputs=(Input("onnx_model"), Input("mel_features", split="test")),
    settings=(),
    group="delivery",
    kinds=("onnx",),
    description=__doc__,
    checks=(check(fp16_faithful, limits=("export.int8.max_f1_drop",)),),
)
