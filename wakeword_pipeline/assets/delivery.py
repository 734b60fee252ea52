"""What ships: the model as one ONNX file, what it is worth, and the same in INT8."""

import dagster as dg

from wakeword_pipeline.assets.ingest import OWNERS
from wakeword_pipeline.checks import check_specs
from wakeword_pipeline.graph import inputs_of
from wakeword_pipeline.materialize import materialize
from wakeword_pipeline.resources import ProjectResource

GROUP = "delivery"


@dg.asset(
    deps=inputs_of("onnx_model"),
    group_name=GROUP,
    kinds={"onnx"},
    owners=OWNERS,
    check_specs=check_specs("onnx_model"),
)
def onnx_model(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    """Normalisation, network, temperature and softmax in one ONNX file that carries its own card."""
    return materialize(context, project.open())


@dg.asset(
    deps=inputs_of("metrics_report"),
    group_name=GROUP,
    kinds={"onnx", "html"},
    owners=OWNERS,
    check_specs=check_specs("metrics_report"),
)
def metrics_report(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    """What a user will feel: the exported model on continuous audio from recordings nobody trained or tuned on."""
    return materialize(context, project.open())


@dg.asset(
    deps=inputs_of("int8_model"),
    group_name=GROUP,
    kinds={"onnx"},
    owners=OWNERS,
    check_specs=check_specs("int8_model"),
)
def int8_model(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    """The ONNX model in 8-bit integers, ranges set on training windows, compared on the test split."""
    return materialize(context, project.open())
