"""The asset graph, made from the stages: an asset a stage, which builds or finds its artifact and shows it."""

import logging
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import dagster as dg

from wakeword_core.config import SPLITS, Config
from wakeword_core.errors import WakewordError
from wakeword_core.files import read_json
from wakeword_core.graph.packages import require_packages
from wakeword_core.graph.project import Project
from wakeword_core.graph.promotion import decide
from wakeword_core.graph.stage import Check, Input, Judgement, Stage
from wakeword_core.graph.stages import STAGES
from wakeword_core.graph.stages.bundle import CARD_JSON
from wakeword_core.runtime.exported import CARD_MARKDOWN
from wakeword_core.stage_names import BUNDLE, CHAMPION, COMPARISON
from wakeword_core.store.artifacts import Artifact, artifact_name
from wakeword_core.text import markdown, printable
from wakeword_pipeline.orchestration.due import CODE_VERSION_TAG, code_version
from wakeword_pipeline.orchestration.faults import fault_in_words
from wakeword_pipeline.orchestration.home import gpu_slot
from wakeword_pipeline.orchestration.metadata import artifact_metadata, epoch_event, figures_metadata
from wakeword_pipeline.orchestration.resources import ProjectResource, current_build
from wakeword_pipeline.tracking.trackers import EachEpoch, Tracker, Trackers
from wakeword_pipeline.tracking.training_runs import TRAINED, TUNED, MlflowResource, Training
from wakeword_pipeline.tracking.versions import mirror

log = logging.getLogger(__name__)

OWNERS = ["team:wakeword"]
GPU_POOL = "gpu"
"""Shows in Dagster which assets use the GPU. What lets only one use it at a time is `gpu_slot`."""
_MLFLOW = "MLflow"
_WARNING_SHARE = 0.8
"""Share of the age at which an asset becomes stale from which the UI warns."""

_SEVERITIES = {"error": dg.AssetCheckSeverity.ERROR, "warning": dg.AssetCheckSeverity.WARN}
_SPLITS = dg.StaticPartitionsDefinition(list(SPLITS))


@contextmanager
def failures_in_words() -> Iterator[None]:
    """Turn an error with a sentence for people into a Dagster failure that shows the sentence."""
    try:
        yield
    except WakewordError as error:
        raise dg.Failure(description=printable(error), allow_retries=False) from error
    except Exception as error:
        if sentence := fault_in_words(error):
            raise dg.Failure(description=printable(sentence), allow_retries=False) from error
        raise


@dg.observable_source_asset(group_name="ingest", description="The configured folders of recordings.")
def raw_audio(project: dg.ResourceParam[ProjectResource]) -> dg.DataVersion:
    """Return a hash of every recording's bytes and name as data version; unchanged files are not read again."""
    with failures_in_words():
        opened = project.open()
        version = dg.DataVersion(opened.fingerprint())
    if build := current_build.get():
        build.listed = opened.listed  # of which the manifest is made next
    return version


observe_job = dg.define_asset_job(
    "observe_raw_audio", selection=["raw_audio"], description="Checks whether the recordings changed."
)


@dg.asset_check(
    asset=raw_audio, name="sources_listed", description="Every source of recordings is there and can be listed."
)
def sources_listed(project: dg.ResourceParam[ProjectResource]) -> dg.AssetCheckResult:
    """Warn of sources that are missing or broken; the others are used."""
    with failures_in_words():
        missing = project.open().listing().missing
    problems = "; ".join(f"{name}: {problem}" for name, problem in missing.items())
    return dg.AssetCheckResult(
        passed=not missing,
        severity=dg.AssetCheckSeverity.WARN,
        description=markdown(problems) or "every source of recordings was listed",
    )


def materialize(
    context: dg.AssetExecutionContext, stage: Stage, resource: ProjectResource, mlflow: MlflowResource
) -> dg.MaterializeResult:
    """Build or find a stage's artifact, and return its content hash as data version, its metadata and its checks."""
    training = Training(mlflow, context.run.run_id, stage.name) if stage.name in (TRAINED, TUNED) else None
    followers: dict[str, Tracker] = {
        "Dagster": EachEpoch(lambda record: context.log_event(epoch_event(stage.name, record)), at_once=True)
    }
    if training:
        followers[_MLFLOW] = EachEpoch(training.log_epoch)
    trackers = Trackers(followers)
    with failures_in_words():
        project = resource.open(trackers.epoch)
    tags = {CODE_VERSION_TAG: code_version(stage, project.config)}  # by the settings of this run, not those of the UI
    if stage.name not in project.stages:
        why = "this configuration has no such stage"
        return dg.MaterializeResult(
            data_version=dg.DataVersion("off"),
            tags=tags,
            metadata={"enabled": False, "reused": True},
            check_results=[
                dg.AssetCheckResult(passed=True, check_name=check.name, description=why) for check in stage.checks
            ],
        )
    with failures_in_words():
        require_packages(project, [key.to_user_string() for key in context.run.asset_selection or ()])
    split = next((split for split in SPLITS if context.has_partition_key and split == context.partition_key), None)
    slot = gpu_slot(project.home) if stage.gpu else nullcontext()
    logged = training.of(project) if training else nullcontext()
    with failures_in_words(), slot, project.store.in_use(), logged:
        with trackers.follow(project, stage.name):
            artifact, built = project.build(stage.name, split)
        verdicts = project.verdicts(stage.name, split)
        for verdict in verdicts:
            if not verdict.passed:
                name = artifact_name(stage.name, split)
                log.warning("check %s of %s: %s", verdict.check, name, verdict.description)
        metadata = {**artifact_metadata(artifact), "reused": not built}
        # a training whose MLflow does not answer is entered by the next build
        if (record := _RECORDERS.get(stage.name)) and _MLFLOW not in trackers.stuck:
            passed = not any(verdict.failed for verdict in verdicts)
            metadata |= record(_Made(project, artifact, built, passed, mlflow, training))
    return dg.MaterializeResult(
        data_version=dg.DataVersion(artifact.content),
        tags=tags,
        metadata=metadata,
        check_results=check_results(verdicts),
    )


def check_results(verdicts: Iterable[Judgement]) -> list[dg.AssetCheckResult]:
    """Turn verdicts of checks into Dagster's check results."""
    return [
        dg.AssetCheckResult(
            passed=verdict.passed,
            check_name=verdict.check,
            description=markdown(verdict.description),  # which Dagster reads as Markdown
            severity=_SEVERITIES[verdict.severity],
            metadata=figures_metadata(verdict.figures),
        )
        for verdict in verdicts
    ]


@dataclass(frozen=True)
class _Made:
    project: Project
    artifact: Artifact
    built: bool
    """Whether it was built now, and not found."""
    passed: bool
    """Whether no check failed with an error."""
    mlflow: MlflowResource
    training: Training | None

    @property
    def name(self) -> str:
        return self.project.config.unique_name

    def run_id(self) -> str:
        assert self.training is not None
        return self.training.run_of(self.artifact, self.built)


def _record_training(made: _Made) -> dict[str, Any]:
    run_id = made.run_id()
    # with mining, the candidate is what becomes of this model
    registered = made.passed and not made.project.config.mining.enabled
    return {"mlflow_run_id": run_id, **(made.mlflow.register(run_id, made.name) if registered else {})}


def _record_tuning(made: _Made) -> dict[str, Any]:
    if not made.project.config.mining.enabled:
        return {}
    figures = made.artifact.figures
    run_id = made.run_id() if figures["tuned"] else ""
    weights = run_id if figures["kept"] else made.mlflow.find(made.artifact.inputs[TRAINED]["key"])
    registered = made.mlflow.register(weights, made.name) if made.passed and weights else {}
    return {**({"mlflow_run_id": run_id} if run_id else {}), **registered}


def _record_bundle(made: _Made) -> dict[str, Any]:
    text = made.artifact.file(CARD_MARKDOWN).read_text(encoding="utf-8")
    card = read_json(made.artifact.file(CARD_JSON))
    weights = [made.project.require(stage).key for stage in (TUNED, TRAINED)]
    version = made.mlflow.describe(made.name, weights, text, _version_tags(made.artifact, card))
    registered = {} if version is None else {"mlflow_model": made.name, "mlflow_model_version": version}
    return {"model_card": dg.MetadataValue.md(text), **registered}


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


def _record_decision(made: _Made) -> dict[str, Any]:
    entry = decide(made.project)
    mirror(made.project)
    role = made.project.registry().role(entry.key)
    return {"role": role, "decision": entry.decision, "because": entry.reason}


_RECORDERS = {TRAINED: _record_training, TUNED: _record_tuning, BUNDLE: _record_bundle, COMPARISON: _record_decision}
"""Record artifacts of these stages in MLflow or the registry, and return metadata about that."""


def _asset(stage: Stage, config: Config) -> dg.AssetsDefinition:
    edges = [edge for edge in stage.inputs if edge.decides(config)]

    @dg.asset(
        name=stage.name,
        deps=_dependencies(edges),
        partitions_def=_SPLITS if stage.partitioned else None,
        group_name=stage.group,
        kinds=set(stage.kinds),
        code_version=code_version(stage, config),
        owners=OWNERS,
        description=stage.description,
        pool=GPU_POOL if stage.gpu else None,
        check_specs=[_check_spec(stage, check) for check in stage.checks],
        freshness_policy=_policy(config.checks.stale_after),
    )
    def asset(
        context: dg.AssetExecutionContext, project: dg.ResourceParam[ProjectResource], mlflow: MlflowResource
    ) -> dg.MaterializeResult:
        return materialize(context, stage, project, mlflow)

    return asset


def _check_spec(stage: Stage, check: Check) -> dg.AssetCheckSpec:
    """Return what Dagster knows of a check; by split, since the last result would hide those of the others."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)  # of splits of checks, which tests try
        return dg.AssetCheckSpec(
            check.name,
            asset=stage.name,
            description=check.description,
            blocking=check.blocking,
            partitions_def=_SPLITS if stage.partitioned else None,
        )


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


def define_assets(
    project: ProjectResource,
    config: Config,
    graph: Iterable[Stage] = STAGES,
    resource: dg.ResourceDefinition | None = None,
) -> dg.Definitions:
    """Define the assets of a project, their checks, and the resources that they use.

    With `resource`, which is the project's, a run can be given another configuration, home or other settings.
    """
    return dg.Definitions(
        assets=assets_of(config, graph),
        asset_checks=[sources_listed],
        resources={"project": resource or project, "mlflow": MlflowResource(home=project.home)},
        jobs=[observe_job],
        executor=dg.in_process_executor,
    )
