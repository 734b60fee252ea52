"""What ships: the model as one ONNX file, what it is worth, the same in INT8, and whether it becomes champion."""

from typing import Any

import dagster as dg

from wakeword_core.files import read_json
from wakeword_core.graph.promotion import decide
from wakeword_core.graph.stages.bundle import CARD_JSON, CARD_MARKDOWN
from wakeword_core.store.artifacts import Artifact
from wakeword_pipeline.assets.ingest import OWNERS
from wakeword_pipeline.checks import check_specs
from wakeword_pipeline.graph import inputs_of
from wakeword_pipeline.materialize import materialize
from wakeword_pipeline.registry import mirror
from wakeword_pipeline.resources import ProjectResource
from wakeword_pipeline.tracking import TRAINED, TUNED, MlflowResource

GROUP = "delivery"


@dg.asset(
    deps=inputs_of("onnx_model"),
    group_name=GROUP,
    kinds={"onnx"},
    owners=OWNERS,
    check_specs=check_specs("onnx_model"),
)
def onnx_model(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    """The model as ONNX files that carry their own card: of windows of features, and of a stream of samples."""
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
    """The ONNX model in 8-bit integers: ranges set on training windows, chosen on validation, compared on the test."""
    return materialize(context, project.open())


@dg.asset(
    deps=inputs_of("fp16_model"),
    group_name=GROUP,
    kinds={"onnx"},
    owners=OWNERS,
    check_specs=check_specs("fp16_model"),
)
def fp16_model(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    """The ONNX model in float16, compared on the test split."""
    return materialize(context, project.open())


@dg.asset(
    deps=inputs_of("model_bundle"),
    group_name=GROUP,
    kinds={"onnx", "markdown", "mlflow"},
    owners=OWNERS,
    check_specs=check_specs("model_bundle"),
)
def model_bundle(
    context: dg.AssetExecutionContext, project: ProjectResource, mlflow: MlflowResource
) -> dg.MaterializeResult:
    """What is handed on: the models with their history inside and the model card, which the registry shows too."""
    opened = project.open()

    def describe(artifact: Artifact, built: bool, passed: bool) -> dict[str, Any]:
        text = artifact.file(CARD_MARKDOWN).read_text(encoding="utf-8")
        card = read_json(artifact.file(CARD_JSON))
        weights = [opened.require(stage).key for stage in (TUNED, TRAINED)]
        version = mlflow.describe(opened.config.slug, weights, text, _registry_tags(artifact, card))
        shown = {} if version is None else {"mlflow_model": opened.config.slug, "mlflow_model_version": version}
        return {"model_card": dg.MetadataValue.md(text), **shown}

    return materialize(context, opened, describe)


@dg.asset(
    deps=inputs_of("champion_comparison"),
    group_name=GROUP,
    kinds={"onnx", "mlflow"},
    owners=OWNERS,
    check_specs=check_specs("champion_comparison"),
)
def champion_comparison(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    """The new model beside the champion on the same test, and whether it takes its place: the registry's gate."""
    opened = project.open()

    def enter(artifact: Artifact, built: bool, passed: bool) -> dict[str, Any]:
        entry = decide(opened)
        mirror(opened)
        return {"role": opened.registry().role(entry.key), "decision": entry.decision, "because": entry.reason}

    return materialize(context, opened, enter)


def _registry_tags(artifact: Artifact, card: dict[str, Any]) -> dict[str, str]:
    test, data = card["metrics"]["test"], card["data"]
    return {
        "bundle_key": artifact.key,
        "onnx_key": artifact.inputs["onnx_model"]["key"],
        "manifest_key": artifact.inputs["raw_manifest"]["key"],
        "commercial_use": data["learnt_from"]["commercial_use"],
        "without_licence": ", ".join(data["without_licence"]) or "none",
        "recordings": str(data["recordings"]),
        "hours": f"{data['hours']:.2f}",
        "threshold": f"{card['model']['threshold']:.6g}",
        "frr": f"{test['frr']:.4f}",
        "fah": f"{test['fah']:.4f}",
        "background_hours": f"{test['background_hours']:.3f}",
    }
