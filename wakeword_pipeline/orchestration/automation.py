"""Builds that start by themselves: a sensor for changed recordings, and a nightly schedule; both are off by default.

The sensor asks the planner what is due. Keys decide about that, and not times, so only what the change reaches is
built: a renamed recording needs a new manifest and nothing else, one of the validation split leaves the network alone.
"""

import json
import time
from dataclasses import asdict, dataclass, replace
from typing import Any

import dagster as dg

from wakeword_core.config import AutomationConfig
from wakeword_core.config.loading import AUTO, PRESETS
from wakeword_core.files import digest
from wakeword_core.graph.project import Project
from wakeword_core.stage_names import MANIFEST, RAW_AUDIO
from wakeword_pipeline.orchestration.assets import failures_in_words
from wakeword_pipeline.orchestration.build import run_build
from wakeword_pipeline.orchestration.due import Phase, due, failed_checks
from wakeword_pipeline.orchestration.resources import ProjectResource, config_of_run

SENSOR = "rebuild_on_change"
NIGHTLY = "nightly_build"
_RUN_KEY_TAG = "dagster/run_key"
_FAILED = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
_GOING = (
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)


@dataclass(frozen=True)
class Watch:
    """What the sensor remembers from one look at the recordings to the next."""

    seen: str = ""
    """Fingerprint of the recordings."""
    since: float = 0.0
    """When they were first seen like that, in seconds of the epoch."""
    building: str = ""
    """Fingerprint of the recordings that a build has begun for, until it has finished."""

    @classmethod
    def of(cls, cursor: str | None) -> "Watch":
        """Read the sensor's cursor; a new watch where there is none."""
        return cls(**json.loads(cursor)) if cursor else cls()

    @property
    def cursor(self) -> str:
        """The sensor's cursor for the next look."""
        return json.dumps(asdict(self))


def look(watch: Watch, project: Project, instance: dg.DagsterInstance, now: float) -> tuple[Watch, list[Phase], str]:
    """Look at the recordings; return what to remember, which runs to begin, and why there are none."""
    fingerprint, quiet = project.fingerprint(), project.config.automation.quiet_seconds
    if fingerprint != watch.seen:
        return (
            replace(watch, seen=fingerprint, since=now),
            [],
            "the recordings have changed; the build waits until they stop changing",
        )
    if now - watch.since < quiet:
        return watch, [], f"the recordings changed less than {quiet} s ago; the build waits until they stop changing"
    if watch.building != fingerprint and _is_listed(fingerprint, project, instance):
        return watch, [], "the recordings have not changed"
    phases = due(project, instance)
    if not phases:
        stopped = "; ".join(failed_checks(project).values())
        return replace(watch, building=""), [], stopped or "everything is built from these recordings"
    return replace(watch, building=fingerprint), phases, ""


def rebuild_sensor(automation: AutomationConfig) -> dg.SensorDefinition:
    """Make the sensor that rebuilds what depends on changed recordings, one phase of the graph after the other."""

    @dg.sensor(
        name=SENSOR,
        target=dg.AssetSelection.all(),
        minimum_interval_seconds=automation.check_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING
        if automation.rebuild_on_change
        else dg.DefaultSensorStatus.STOPPED,
        description="Rebuilds what depends on changed recordings, and nothing else.",
    )
    def rebuild_on_change(
        context: dg.SensorEvaluationContext, project: dg.ResourceParam[ProjectResource]
    ) -> dg.SensorResult | dg.SkipReason:
        going = context.instance.get_runs(dg.RunsFilter(statuses=list(_GOING)), limit=1)
        if going:
            return dg.SkipReason(f"run {going[0].run_id[:8]} has not finished yet")
        with failures_in_words():
            opened = project.open()
            watch, phases, why = look(Watch.of(context.cursor), opened, context.instance, time.time())
            if not phases:
                return dg.SensorResult(skip_reason=why, cursor=watch.cursor)
            requests = [_request(phase, project, opened, watch) for phase in phases]
        failed = [
            run
            for request in requests
            for run in context.instance.get_runs(
                dg.RunsFilter(tags={_RUN_KEY_TAG: str(request.run_key)}, statuses=_FAILED), limit=1
            )
        ]
        if failed:
            reason = f"run {failed[0].run_id[:8]} did not finish; run it again, or change what made it fail"
            return dg.SensorResult(skip_reason=reason, cursor=watch.cursor)
        seen = dg.AssetObservation(RAW_AUDIO, tags={"dagster/data_version": watch.building})
        return dg.SensorResult(run_requests=requests, cursor=watch.cursor, asset_events=[seen])

    return rebuild_on_change


def nightly_schedule(automation: AutomationConfig) -> dg.ScheduleDefinition:
    """Make the schedule of the nightly build, which brings everything up to date, whatever changed."""
    return dg.ScheduleDefinition(
        name=NIGHTLY,
        job=build_all,
        cron_schedule=automation.nightly_cron,
        default_status=dg.DefaultScheduleStatus.RUNNING if automation.nightly else dg.DefaultScheduleStatus.STOPPED,
    )


@dg.op
def build_everything(context: dg.OpExecutionContext, project: dg.ResourceParam[ProjectResource]) -> None:
    """Build what is due, in runs of its own."""
    with failures_in_words():
        run_build(project.open(), context.instance)


@dg.job(description="Builds whatever is not fresh, as `wakeword run` does.")
def build_all() -> None:
    """Run the one step of the nightly build."""
    build_everything()


@dg.static_partitioned_config(partition_keys=[*PRESETS, AUTO])
def _with_preset(preset: str) -> dict[str, Any]:
    return config_of_run({"settings": {"preset": preset}})


@dg.job(
    config=_with_preset,
    description="Builds the same with a preset, which is chosen as the partition, in place of the configuration's own.",
)
def build_preset() -> None:
    """Run the one step of a build with a preset."""
    build_everything()


def _is_listed(fingerprint: str, project: Project, instance: dg.DagsterInstance) -> bool:
    """Tell whether the newest manifest in Dagster lists these recordings: then only settings can have changed.

    Cheaper than the project's status, which is asked for only when there is something to do.
    """
    event = instance.get_latest_materialization_event(dg.AssetKey(MANIFEST))
    if event is None or event.asset_materialization is None:
        return False
    key = str(event.asset_materialization.metadata["artifact_key"].value)
    manifest = project.store.find(MANIFEST, key)
    return manifest is not None and manifest.inputs[RAW_AUDIO]["content"] == fingerprint


def _request(phase: Phase, project: ProjectResource, opened: Project, watch: Watch) -> dg.RunRequest:
    """Request the run of a phase, once for the recordings since they last changed, and the same settings and start.

    The manifest is of the recordings as its run finds them; what follows is of those that it lists.
    """
    champion = opened.models.champion_to_start_from()
    started = [] if champion is None else [champion]
    key = digest([asdict(phase), watch.building, watch.since, opened.config.model_dump(mode="json"), *started])
    fingerprint = "" if MANIFEST in phase.assets else watch.building
    pinned = asdict(replace(project, fingerprint=fingerprint, champion=champion))
    return dg.RunRequest(
        run_key=key,
        asset_selection=[dg.AssetKey(name) for name in phase.assets],
        partition_key=phase.partition,
        run_config=config_of_run(pinned),
    )
