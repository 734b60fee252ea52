"""A build in this process: Dagster runs of what is due, until nothing is due any more."""

import logging
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import dagster as dg

from wakeword_core.config.loading import save_config
from wakeword_core.errors import WakewordError
from wakeword_core.graph.project import Place, Project
from wakeword_core.graph.promotion import set_aside_damaged
from wakeword_core.stage_names import COMPARISON, MANIFEST, RAW_AUDIO
from wakeword_core.store.artifacts import artifact_name
from wakeword_pipeline.orchestration.assets import define_assets, observe_job
from wakeword_pipeline.orchestration.due import Phase, due, failed_checks, places
from wakeword_pipeline.orchestration.resources import ProjectResource, current_build
from wakeword_pipeline.orchestration.runs import BUILD_TAG, close_abandoned_runs, running

log = logging.getLogger(__name__)

_MOST_TIMES = 3
"""What is compared with the champion is made again where another model becomes champion during the build."""
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
"""On the terminal our own log lines are enough; Dagster's run log, which holds them too, is in the UI."""


class BuildFailedError(WakewordError):
    """A run or a blocking check failed."""


@dataclass
class Outcome:
    """The names of the artifacts that a build made, and of those that were complete already."""

    built: list[str] = field(default_factory=list)
    reused: list[str] = field(default_factory=list)


def run_build(project: Project, instance: dg.DagsterInstance, select: Sequence[str] = ()) -> Outcome:
    """Make the runs that are due until none is; returns at once when nothing is due.

    What is to be built on is read before; what the disk changed is set aside and built again.
    Configuration, recordings and the champion to start from are those of the start: what is edited, arrives or is
    promoted meanwhile is for the next build.
    BuildFailedError as soon as a step fails, and at the end where a blocking check has failed, now or before.
    """
    built: list[str] = []
    if project.pinned_champion is None:
        project.pinned_champion = project.models.champion_to_start_from()
    if (COMPARISON, None) in places(project, select):
        set_aside_damaged(project)
    phases = due(project, instance, select)
    if phases:
        close_abandoned_runs(project.home, instance)
        build = _Build(project, instance)
        made: Counter[Place] = Counter()
        with build.going_on():
            while phases:
                for phase in phases:
                    if project.set_aside_damaged(phase.places):
                        break  # what a phase is to be built on is built again first
                    if min(made[place] for place in phase.places) >= _MOST_TIMES:
                        raise BuildFailedError(
                            f"{phase} was built just now, but is due again; `wakeword status` says why"
                        )
                    made.update(phase.places)
                    built += build.make(phase)
                for place in made:
                    if project.find(*place):
                        project.verdicts(*place)  # the champion that data are compared with may be another by now
                phases = due(project, instance, select, made)
                if phases == [Phase((COMPARISON,))] and made[COMPARISON, None] >= _MOST_TIMES:
                    log.warning(
                        "Other builds of this home change its champion; run again to compare with the last one."
                    )
                    break
    if failed := failed_checks(project, select):
        raise BuildFailedError("; ".join(failed.values()))
    names = [artifact_name(*place) for place in places(project, select)]
    return Outcome(built, [name for name in names if name not in built])


class _Build:
    def __init__(self, project: Project, instance: dg.DagsterInstance) -> None:
        self._project, self._instance = project, instance
        self._name = uuid.uuid4().hex[:12]
        self._config_path = project.home / "dagster" / "builds" / f"{self._name}.yaml"
        save_config(project.config, self._config_path)

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Hold the locks that show others that this build is running, and let stages report to the project."""
        with running(self._project.home, self._name), self._project.store.in_use():
            token = current_build.set(self._project)
            try:
                yield
            finally:
                current_build.reset(token)

    def make(self, phase: Phase) -> list[str]:
        """Make the run of a phase, and return the names of the artifacts that were built.

        A check that stops what is downstream in the run is no error here: that is not due any more.
        """
        project = self._project
        if MANIFEST not in phase.assets:
            project.pinned_fingerprint = project.fingerprint()
        project.listed = None  # what there is now is observed before a manifest is made
        bound = ProjectResource(
            config_path=str(self._config_path),
            home=str(project.home),
            fingerprint=project.pinned_fingerprint,
            champion=project.pinned_champion,
        )
        definitions = define_assets(bound, project.config, project.graph)
        if MANIFEST in phase.assets:
            self._execute(definitions.resolve_job_def(observe_job.name))
        log.info("building %s", phase)
        result = self._execute(
            definitions.resolve_implicit_global_asset_job_def(),
            asset_selection=[dg.AssetKey(name) for name in phase.assets],
            partition_key=phase.partition,
        )
        built = []
        for event in result.get_asset_materialization_events():
            made = event.step_materialization_data.materialization
            stage = made.asset_key.to_user_string()
            if not made.metadata["reused"].value:
                built.append(artifact_name(stage, phase.partition))
            if stage == MANIFEST and not project.pinned_fingerprint:
                manifest = project.store.find(MANIFEST, str(made.metadata["artifact_key"].value))
                project.pinned_fingerprint = manifest.inputs[RAW_AUDIO]["content"] if manifest else ""
        return built

    def _execute(
        self,
        job: dg.JobDefinition,
        asset_selection: Sequence[dg.AssetKey] | None = None,
        partition_key: str | None = None,
    ) -> dg.ExecuteInProcessResult:
        result = job.execute_in_process(
            asset_selection=asset_selection,
            partition_key=partition_key,
            instance=self._instance,
            # of a run in this process; were it killed, the daemon has no worker to start again
            tags={BUILD_TAG: self._name, "dagster/max_retries": "0"},
            run_config=_QUIET,
            raise_on_error=False,
        )
        stopped = {
            check.asset_key.to_user_string()
            for check in result.get_asset_check_evaluations()
            if check.blocking and not check.passed and check.severity is dg.AssetCheckSeverity.ERROR
        }
        failures = [event for event in result.all_events if event.is_step_failure]
        for event in failures:
            if _is_interrupt(event):
                raise KeyboardInterrupt
            if event.step_key not in stopped:
                raise BuildFailedError(f"{artifact_name(str(event.step_key), partition_key)}: {_reason(event)}")
        if not result.success and not failures:
            raise BuildFailedError(f"run {result.run_id} failed; see it in `wakeword ui`")
        return result


def _is_interrupt(event: dg.DagsterEvent) -> bool:
    """Tell whether a step was ended by SIGINT or SIGTERM, for which Dagster has an error of its own."""
    error = event.step_failure_data.error
    while error is not None:
        if error.cls_name == dg.DagsterExecutionInterruptedError.__name__:
            return True
        error = error.cause
    return False


def _reason(event: dg.DagsterEvent) -> str:
    failure = event.step_failure_data
    if failure.user_failure_data and failure.user_failure_data.description:
        return failure.user_failure_data.description
    error = failure.error
    if error is None:
        return "failed"
    for line in error.to_string().splitlines():
        log.debug("%s", line)
    while error.cause is not None:
        error = error.cause
    first_line = next(iter(error.message.strip().splitlines()), "failed")
    return f"{first_line}; `wakeword ui` shows its traceback, as does --verbose"
