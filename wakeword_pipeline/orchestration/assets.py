"""The asset graph, made from the stages: an asset a stage, which builds or finds its artifact and shows it."""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg

from wakeword_core.config import SPLITS, Config
from wakeword_core.errors import WakewordError
from wakeword_core.files import read_json
from wakeword_core.graph.project import Project
from wakeword_core.graph.promotion import decide
from wakeword_core.graph.stage import Input, Judgement, Stage
from wakeword_core.graph.stages import STAGES
from wakeword_core.graph.stages.bundle import CARD_JSON, CARD_MARKDOWN
from wakeword_core.stage_names import CHAMPION
from wakeword_core.store.artifacts import Artifact, artifact_name
from wakeword_core.store.locks import exclusive
from wakeword_pipeline.orchestration.metadata import artifact_metadata, figures_metadata
from wakeword_pipeline.orchestration.resources import ProjectResource
from wakeword_pipeline.tracking.training_runs import TRAINED, TUNED, MlflowResource
from wakeword_pipeline.tracking.versions import mirror

log = logging.getLogger(__name__)

OWNERS = ["team:wakeword"]
GPU_POOL = "gpu"
"""Shows in Dagster which assets use the GPU. What lets only one use it at a time is `gpu_slot`."""
_WARNING_SHARE = 0.8
"""Share of the age at which an asset becomes stale from which the UI warns."""

_SEVERITIES = {"error": dg.AssetCheckSeverity.ERROR, "warning": dg.AssetCheckSeverity.WARN}
_SPLITS = dg.StaticPartitionsDefinition(list(SPLITS))

Extra = Callable[[Artifact, bool, bool], dict[str, Any]]
"""Returns further metadata of (an artifact, whether it was built now, whether it passed its blocking checks)."""


@contextmanager
def failures_in_words() -> Iterator[None]:
    """Turn an error with a sentence for people into a Dagster failure that shows the sentence."""
    try:
        yield
    except WakewordError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error


@contextmanager
def gpu_slot(home: Path) -> Iterator[None]:
    """Hold the one slot on the GPU that all processes of a home share; waits while another has it."""
    home.mkdir(parents=True, exist_ok=True)
    with exclusive(home / "gpu.lock", "another run uses the GPU"):
        yield


@dg.observable_source_asset(group_name="ingest", description="The configured folders of recordings.")
def raw_audio(project: ProjectResource) -> dg.DataVersion:
    """Return a hash of every recording's bytes and name as data version; unchanged files are not read again."""
    with failures_in_words():
        return dg.DataVersion(project.open().fingerprint())


observe_job = dg.define_asset_job(
    "observe_raw_audio", selection=["raw_audio"], description="Checks whether the recordings changed."
)


@dg.asset_check(
    asset=raw_audio, name="sources_listed", description="Every source of recordings is there and can be listed."
)
def sources_listed(project: ProjectResource) -> dg.AssetCheckResult:
    """Warn of sources that are missing or broken; the others are used."""
    with failures_in_words():
        missing = project.open().listing().missing
    problems = "; ".join(f"{name}: {problem}" for name, problem in missing.items())
    return dg.AssetCheckResult(
        passed=not missing,
        severity=dg.AssetCheckSeverity.WARN,
        description=problems or "every source of recordings was listed",
    )


def materialize(
    context: dg.AssetExecutionContext,
    stage: Stage,
    project: Project,
    extra: Extra = lambda artifact, built, passed: {},
) -> dg.MaterializeResult:
    """Build or find a stage's artifact, and return its content hash as data version, its metadata and its checks."""
    if stage.name not in project.stages:
        why = "this configuration has no such stage"
        return dg.MaterializeResult(
            data_version=dg.DataVersion("off"),
            metadata={"enabled": False, "reused": True},
            check_results=[
                dg.AssetCheckResult(passed=True, check_name=check.name, description=why) for check in stage.checks
            ],
        )
    split = next((split for split in SPLITS if context.has_partition_key and split == context.partition_key), None)
    slot = gpu_slot(project.home) if stage.gpu else nullcontext()
    with failures_in_words(), slot, project.store.in_use():
        artifact, built = project.build(stage.name, split)
        verdicts = project.verdicts(stage.name, split)
        passed = not any(verdict.failed for verdict in verdicts)
        for verdict in verdicts:
            if not verdict.passed:
                name = artifact_name(stage.name, split)
                log.warning("check %s of %s: %s", verdict.check, name, verdict.description)
        metadata = {**artifact_metadata(artifact), "reused": not built, **extra(artifact, built, passed)}
    return dg.MaterializeResult(
        data_version=dg.DataVersion(artifact.content),
        metadata=metadata,
        check_results=check_results(verdicts),
    )


def check_results(verdicts: Iterable[Judgement]) -> list[dg.AssetCheckResult]:
    """Turn verdicts of checks into Dagster's check results."""
    return [
        dg.AssetCheckResult(
            passed=verdict.passed,
            check_name=verdict.check,
            description=verdict.description,
            severity=_SEVERITIES[verdict.severity],
            metadata=figures_metadata(verdict.figures),
        )
        for verdict in verdicts
    ]


def _trained_model(
    context: dg.AssetExecutionContext, stage: Stage, project: ProjectResource, mlflow: MlflowResource
) -> dg.MaterializeResult:
    training = mlflow.lazy_training(context.run.run_id)
    opened = project.open(on_epoch=training.log_epoch)

    def link(artifact: Artifact, built: bool, passed: bool) -> dict[str, Any]:
        run_id = training.run_of(artifact, built)
        # with mining, the candidate is what becomes of this model
        registered = passed and not opened.config.mining.enabled
        return {"mlflow_run_id": run_id, **(mlflow.register(run_id, opened.config.slug) if registered else {})}

    with training.of(opened):
        return materialize(context, stage, opened, link)


def _tuned_model(
    context: dg.AssetExecutionContext, stage: Stage, project: ProjectResource, mlflow: MlflowResource
) -> dg.MaterializeResult:
    tuning = mlflow.lazy_training(context.run.run_id, TUNED)
    opened = project.open(on_epoch=tuning.log_epoch)

    def link(artifact: Artifact, built: bool, passed: bool) -> dict[str, Any]:
        if not opened.config.mining.enabled:
            return {}
        run_id = tuning.run_of(artifact, built) if artifact.figures["tuned"] else ""
        metadata = {"mlflow_run_id": run_id} if run_id else {}
        weights = run_id if artifact.figures["kept"] else mlflow.find(artifact.inputs[TRAINED]["key"])
        return {**metadata, **(mlflow.register(weights, opened.config.slug) if passed and weights else {})}

    with tuning.of(opened):
        return materialize(context, stage, opened, link)


def _model_bundle(
    context: dg.AssetExecutionContext, stage: Stage, project: ProjectResource, mlflow: MlflowResource
) -> dg.MaterializeResult:
    opened = project.open()

    def describe(artifact: Artifact, built: bool, passed: bool) -> dict[str, Any]:
        text = artifact.file(CARD_MARKDOWN).read_text(encoding="utf-8")
        card = read_json(artifact.file(CARD_JSON))
        weights = [opened.require(stage).key for stage in (TUNED, TRAINED)]
        version = mlflow.describe(opened.config.slug, weights, text, _version_tags(artifact, card))
        registered = {} if version is None else {"mlflow_model": opened.config.slug, "mlflow_model_version": version}
        return {"model_card": dg.MetadataValue.md(text), **registered}

    return materialize(context, stage, opened, describe)


def _version_tags(artifact: Artifact, card: dict[str, Any]) -> dict[str, str]:
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


def _champion_comparison(
    context: dg.AssetExecutionContext, stage: Stage, project: ProjectResource, mlflow: MlflowResource
) -> dg.MaterializeResult:
    opened = project.open()

    def enter(artifact: Artifact, built: bool, passed: bool) -> dict[str, Any]:
        entry = decide(opened)
        mirror(opened)
        return {"role": opened.registry().role(entry.key), "decision": entry.decision, "because": entry.reason}

    return materialize(context, stage, opened, enter)


def _plain(
    context: dg.AssetExecutionContext, stage: Stage, project: ProjectResource, mlflow: MlflowResource
) -> dg.MaterializeResult:
    return materialize(context, stage, project.open())


_BODIES = {
    "trained_model": _trained_model,
    "tuned_model": _tuned_model,
    "model_bundle": _model_bundle,
    "champion_comparison": _champion_comparison,
}
"""Assets that also record their artifact in MLflow or the registry."""


def _asset(stage: Stage, config: Config) -> dg.AssetsDefinition:
    body = _BODIES.get(stage.name, _plain)
    edges = [edge for edge in stage.inputs if edge.decides(config)]

    @dg.asset(
        name=stage.name,
        deps=_dependencies(edges),
        partitions_def=_SPLITS if stage.partitioned else None,
        group_name=stage.group,
        kinds=set(stage.kinds),
        owners=OWNERS,
        description=stage.description,
        pool=GPU_POOL if stage.gpu else None,
        check_specs=[
            dg.AssetCheckSpec(check.name, asset=stage.name, description=check.description, blocking=check.blocking)
            for check in stage.checks
        ],
        freshness_policy=_policy(config.checks.stale_after),
    )
    def asset(
        context: dg.AssetExecutionContext, project: ProjectResource, mlflow: MlflowResource
    ) -> dg.MaterializeResult:
        return body(context, stage, project, mlflow)

    return asset


def _dependencies(edges: Iterable[Input]) -> list[dg.AssetDep]:
    """Return the assets of the inputs, with their partitions, so that another split does not make the asset stale."""
    splits: dict[str, list[str]] = {}
    for edge in edges:
        if edge.stage == CHAMPION:  # an artifact of an earlier build: the asset would depend on itself
            continue
        splits.setdefault(edge.stage, []).extend([edge.split] if edge.split not in (None, "same") else [])
    return [
        dg.AssetDep(name, partition_mapping=dg.SpecificPartitionsPartitionMapping(keys) if keys else None)
        for name, keys in splits.items()
    ]


def _policy(stale_after: timedelta | None) -> dg.FreshnessPolicy | None:
    """Return the policy by which Dagster's daemon marks what nobody has built for so long; None: never."""
    if stale_after is None:
        return None
    return dg.FreshnessPolicy.time_window(fail_window=stale_after, warn_window=stale_after * _WARNING_SHARE)


def assets_of(config: Config, graph: Iterable[Stage] = STAGES) -> list[dg.AssetsDefinition | dg.SourceAsset]:
    """Make the assets of a graph, each with the edges that decide about its result under a configuration."""
    return [raw_audio, *(_asset(stage, config) for stage in graph)]


def define_assets(project: ProjectResource, config: Config, graph: Iterable[Stage] = STAGES) -> dg.Definitions:
    """Define the assets of a project, their checks, and the resources that they use."""
    return dg.Definitions(
        assets=assets_of(config, graph),
        asset_checks=[sources_listed],
        resources={"project": project, "mlflow": MlflowResource(home=project.home)},
        jobs=[observe_job],
        executor=dg.in_process_executor,
    )
