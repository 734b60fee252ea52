"""A full build as recorded Dagster runs: the manifest; each split by itself; the rest."""

import logging
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import dagster as dg

from wakeword_core.config.loading import save_config
from wakeword_core.errors import WakewordError
from wakeword_core.graph.project import Project
from wakeword_core.graph.status import State, status
from wakeword_core.stage_names import RAW_AUDIO
from wakeword_pipeline.orchestration.automation import observe_job
from wakeword_pipeline.orchestration.definitions import define
from wakeword_pipeline.orchestration.due import MANIFEST, Phase, plan, recorded
from wakeword_pipeline.orchestration.resources import ProjectResource
from wakeword_pipeline.orchestration.runs import BUILD_TAG, close_abandoned_runs, running

log = logging.getLogger(__name__)

_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
"""On the terminal our own log lines are enough; Dagster's run log, which holds them too, is in the UI."""


class BuildFailedError(WakewordError):
    """A run or a blocking check failed."""


@dataclass
class Outcome:
    """What a build did: artifact names that were built and found complete, and seconds."""

    built: list[str] = field(default_factory=list)
    reused: list[str] = field(default_factory=list)
    seconds: float = 0.0
    manifest_key: str = ""
    """Key of the manifest, where it was part of the build."""


def run_build(project: Project, select: Sequence[str] = ()) -> Outcome:
    """Materialize, recorded in Dagster; returns at once when all is complete, recorded and checked.

    Configuration and recordings are those of the start: what is edited or arrives meanwhile is for the next build.
    """
    started = time.monotonic()
    phases = plan(project, select)
    instance = dg.DagsterInstance.get()
    outcome = Outcome()
    if _nothing_to_do(project, phases, instance):
        outcome.reused = [name for phase in phases for name in _names(phase)]
        outcome.seconds = time.monotonic() - started
        return outcome
    close_abandoned_runs(project.home, instance)
    build = uuid.uuid4().hex[:12]
    config_path = project.home / "dagster" / "builds" / f"{build}.yaml"
    save_config(project.config, config_path)
    with running(project.home, build), project.store.in_use():
        for phase in phases:
            if MANIFEST not in phase.assets:
                project.pinned_fingerprint = project.fingerprint()
            pinned = project.pinned_fingerprint
            bound = ProjectResource(config_path=str(config_path), home=str(project.home), fingerprint=pinned)
            definitions = define(bound)
            if MANIFEST in phase.assets:
                observe = definitions.resolve_job_def(observe_job.name)
                observe.execute_in_process(instance=instance, tags=_tags(build), run_config=_QUIET)
            _run_phase(phase, build, instance, definitions, outcome)
            project.pinned_fingerprint = project.pinned_fingerprint or _listed(project, outcome)
    outcome.seconds = time.monotonic() - started
    return outcome


def _tags(build: str) -> dict[str, str]:
    """Of a run in this process; were it killed, the daemon has no worker to start again."""
    return {BUILD_TAG: build, "dagster/max_retries": "0"}


def _listed(project: Project, outcome: Outcome) -> str:
    """The recordings' content that the manifest of this build is about."""
    manifest = project.store.find(MANIFEST, outcome.manifest_key)
    return manifest.inputs[RAW_AUDIO]["content"] if manifest else ""


def _run_phase(
    phase: Phase, build: str, instance: dg.DagsterInstance, definitions: dg.Definitions, outcome: Outcome
) -> None:
    where = f" of {phase.partition}" if phase.partition else ""
    log.info("materializing %s%s", ", ".join(phase.assets), where)
    result = definitions.resolve_implicit_global_asset_job_def().execute_in_process(
        asset_selection=[dg.AssetKey(name) for name in phase.assets],
        instance=instance,
        partition_key=phase.partition,
        tags=_tags(build),
        run_config=_QUIET,
        raise_on_error=False,
    )
    for event in result.get_asset_materialization_events():
        found = event.step_materialization_data.materialization
        name = found.asset_key.to_user_string() + (f"[{phase.partition}]" if phase.partition else "")
        (outcome.reused if found.metadata["reused"].value else outcome.built).append(name)
        if name == MANIFEST:
            outcome.manifest_key = str(found.metadata["artifact_key"].value)
    failed = [f"{event.step_key}{where}: {_reason(event)}" for event in result.all_events if event.is_step_failure]
    failed += [
        f"check {check.check_name} of {check.asset_key.to_user_string()}{where}: {check.description}"
        for check in result.get_asset_check_evaluations()
        if not check.passed and check.blocking and check.severity is dg.AssetCheckSeverity.ERROR
    ]
    if failed or not result.success:
        raise BuildFailedError(failed[-1] if failed else f"run {result.run_id} failed; see it in `wakeword ui`")


def _reason(event: dg.DagsterEvent) -> str:
    data = event.step_failure_data
    if data.user_failure_data and data.user_failure_data.description:
        return data.user_failure_data.description
    error = data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip() if error else "failed"


def _names(phase: Phase) -> Iterator[str]:
    for name in phase.assets:
        yield f"{name}[{phase.partition}]" if phase.partition else name


def _nothing_to_do(project: Project, phases: Sequence[Phase], instance: dg.DagsterInstance) -> bool:
    """Whether every asset is complete, recorded in this Dagster instance with that content, and passed its checks."""
    states = {state.name: state for state in status(project)}
    wanted = [states[name] for phase in phases for name in _names(phase)]
    if any(state.state != "fresh" for state in wanted):
        return False
    return all(recorded(state, instance) and _passed(project, state) for state in wanted)


def _passed(project: Project, state: State) -> bool:
    """Whether all checks of an artifact were made, and none of them stops a build."""
    verdicts = project.recorded_verdicts(state.stage, state.split)
    return verdicts is not None and not any(verdict.stops for verdict in verdicts)
