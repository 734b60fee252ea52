"""The model: trained, tuned on what it wrongly fires at, and calibrated."""

from typing import Any

import dagster as dg

from wakeword_core.store.artifacts import Artifact
from wakeword_pipeline.assets.ingest import OWNERS
from wakeword_pipeline.checks import check_specs
from wakeword_pipeline.graph import inputs_of
from wakeword_pipeline.materialize import materialize
from wakeword_pipeline.pools import GPU_POOL
from wakeword_pipeline.resources import ProjectResource
from wakeword_pipeline.tracking import TRAINED, TUNED, MlflowResource

GROUP = "model"


@dg.asset(
    deps=inputs_of("trained_model"),
    group_name=GROUP,
    kinds={"pytorch", "mlflow"},
    owners=OWNERS,
    pool=GPU_POOL,
    check_specs=check_specs("trained_model"),
)
def trained_model(
    context: dg.AssetExecutionContext, project: ProjectResource, mlflow: MlflowResource
) -> dg.MaterializeResult:
    """The network after training, the averaged weights of its last or best epoch, with its curve, in MLflow."""
    training = mlflow.lazy_training(context.run.run_id)
    opened = project.open(on_epoch=training.log_epoch)

    def link(artifact: Artifact, built: bool, passed: bool) -> dict[str, Any]:
        run_id = training.run_of(opened, artifact, built)
        # with mining, the candidate is what becomes of this model
        registered = passed and not opened.config.mining.enabled
        return {"mlflow_run_id": run_id, **(mlflow.register(run_id, opened.config.slug) if registered else {})}

    with training.of(opened):
        return materialize(context, opened, link)


@dg.asset(
    deps=inputs_of("mined_negatives"),
    group_name=GROUP,
    kinds={"pytorch", "parquet"},
    owners=OWNERS,
    pool=GPU_POOL,
    check_specs=check_specs("mined_negatives"),
)
def mined_negatives(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    """Clips of the training split that the trained model takes for a wake word; none unless mining is enabled."""
    return materialize(context, project.open())


@dg.asset(
    deps=inputs_of("tuned_model"),
    group_name=GROUP,
    kinds={"pytorch", "mlflow"},
    owners=OWNERS,
    pool=GPU_POOL,
    check_specs=check_specs("tuned_model"),
)
def tuned_model(
    context: dg.AssetExecutionContext, project: ProjectResource, mlflow: MlflowResource
) -> dg.MaterializeResult:
    """The network after some epochs with the mined clips (kept if validation does not suffer, or in any case)."""
    tuning = mlflow.lazy_training(context.run.run_id, TUNED)
    opened = project.open(on_epoch=tuning.log_epoch)

    def link(artifact: Artifact, built: bool, passed: bool) -> dict[str, Any]:
        if not opened.config.mining.enabled:
            return {}
        run_id = tuning.run_of(opened, artifact, built) if artifact.figures["tuned"] else ""
        shown = {"mlflow_run_id": run_id} if run_id else {}
        weights = run_id if artifact.figures["kept"] else mlflow.find(artifact.inputs[TRAINED]["key"])
        return {**shown, **(mlflow.register(weights, opened.config.slug) if passed and weights else {})}

    with tuning.of(opened):
        return materialize(context, opened, link)


@dg.asset(
    deps=inputs_of("calibrated_model"),
    group_name=GROUP,
    kinds={"pytorch"},
    owners=OWNERS,
    check_specs=check_specs("calibrated_model"),
)
def calibrated_model(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    """The model with its calibration, detector and operating points, all set on validation."""
    return materialize(context, project.open())
