"""What ships: the model as one ONNX file, what it is worth, and the same in INT8."""

import dagster as dg

from wakeword_pipeline.assets.features import mel_features
from wakeword_pipeline.assets.ingest import OWNERS, audio_shards, raw_manifest
from wakeword_pipeline.assets.model import calibrated_model, trained_model, tuned_model
from wakeword_pipeline.automation import on_change
from wakeword_pipeline.checks import check_specs
from wakeword_pipeline.materialize import materialize
from wakeword_pipeline.partitions import only
from wakeword_pipeline.resources import ProjectResource

GROUP = "delivery"


@dg.asset(
    deps=[calibrated_model],
    group_name=GROUP,
    kinds={"onnx"},
    owners=OWNERS,
    check_specs=check_specs("onnx_model"),
    automation_condition=on_change(),
)
def onnx_model(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    """The model as ONNX files that carry their own card: of windows of features, and of a stream of samples."""
    return materialize(context, project.open())


@dg.asset(
    deps=[
        onnx_model,
        calibrated_model,
        trained_model,
        tuned_model,
        raw_manifest,
        dg.AssetDep(mel_features, partition_mapping=only("train", "test")),
        dg.AssetDep(audio_shards, partition_mapping=only("train", "test")),
    ],
    group_name=GROUP,
    kinds={"onnx", "html"},
    owners=OWNERS,
    check_specs=check_specs("metrics_report"),
    automation_condition=on_change(),
)
def metrics_report(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    """What a user will feel: the exported model on continuous audio from recordings nobody trained or tuned on."""
    return materialize(context, project.open())


@dg.asset(
    deps=[onnx_model, dg.AssetDep(mel_features, partition_mapping=only("train", "test"))],
    group_name=GROUP,
    kinds={"onnx"},
    owners=OWNERS,
    check_specs=check_specs("int8_model"),
    automation_condition=on_change(),
)
def int8_model(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    """The ONNX model in 8-bit integers, ranges set on training windows, compared on the test split."""
    return materialize(context, project.open())
