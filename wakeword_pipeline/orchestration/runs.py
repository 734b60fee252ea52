"""Runs in Dagster: closing those whose process is gone, and finding what the last builds made."""

import logging
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import psutil

from wakeword_core.errors import WakewordError
from wakeword_core.store.graph import NodeId
from wakeword_core.store.locks import exclusive, is_held

log = logging.getLogger(__name__)

BUILD_TAG = "wakeword/build"
_RUNS_AT_ONCE = 100
_CLOCK_SECONDS = 2.0
"""How much later than it was the start of a process may appear to be."""
_ALIVE = (dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING)


@contextmanager
def running(home: Path, build: str) -> Iterator[None]:
    """Hold a build's lock while it runs; the system releases it when the process dies, however it dies."""
    lock = _lock_of(home, build)
    lock.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(lock, f"another process has the build {build}"):
        try:
            yield
        finally:
            lock.unlink()


def close_abandoned_runs(home: Path, instance: dg.DagsterInstance) -> int:
    """Mark the runs of killed builds as failed, also those that were never started; return how many there were."""
    closed = 0
    for run in instance.get_runs(dg.RunsFilter(statuses=[*_ALIVE, dg.DagsterRunStatus.NOT_STARTED])):
        build = run.tags.get(BUILD_TAG)
        if build is None or is_held(_lock_of(home, build)):
            continue
        instance.report_run_failed(run, "the process that ran this build is gone; it was killed or lost power")
        _lock_of(home, build).unlink(missing_ok=True)
        closed += 1
    if closed:
        log.info("Closed %d run%s of a build that was killed.", closed, "s" if closed > 1 else "")
    return closed


def close_lost_runs(instance: dg.DagsterInstance) -> int:
    """Mark runs as failed whose daemon went down with them, as in a power cut, and return how many there were.

    The next daemon, which must not run yet, starts them again. Builds of the command line are left out.
    """
    lost = [
        run
        for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
        if BUILD_TAG not in run.tags and _has_lost_its_process(run, instance)
    ]
    for run in lost:
        instance.report_run_failed(run, "the process of this run and the daemon that watched it are both gone")
    if lost:
        log.info("Closed %d run%s of a daemon that went down.", len(lost), "s" if len(lost) > 1 else "")
    return len(lost)


def require_rest(home: Path, instance: dg.DagsterInstance, what: str) -> None:
    """Raise WakewordError while a run is at work: its next step reads what the last one made."""
    close_abandoned_runs(home, instance)
    alive = instance.get_runs(dg.RunsFilter(statuses=list(_ALIVE)))
    if alive:
        raise WakewordError(
            f"{what} must wait: Dagster run {alive[0].run_id} is at work; run it again when that has ended, or end the "
            "run in `wakeword ui`"
        )


def last_builds(instance: dg.DagsterInstance, count: int) -> set[NodeId]:
    """Return the artifacts of the last `count` builds that failed nowhere; all runs with one build tag are a build.

    A run that the UI started is a build of its own. Runs that made no artifact do not count.
    """
    builds: defaultdict[str, set[NodeId]] = defaultdict(set)
    failed: set[str] = set()
    cursor: str | None = None
    while True:
        runs = instance.get_runs(cursor=cursor, limit=_RUNS_AT_ONCE)
        for run in runs:
            build = run.tags.get(BUILD_TAG, run.run_id)
            if run.status is not dg.DagsterRunStatus.SUCCESS:
                failed.add(build)
            elif len(_good(builds, failed)) <= count:  # the last of them may have older runs still
                builds[build] |= _artifacts(instance, run.run_id)
        if len(runs) < _RUNS_AT_ONCE or len(_good(builds, failed)) > count:
            kept = _good(builds, failed)[:count]
            return set().union(*(builds[build] for build in kept))
        cursor = runs[-1].run_id


def _lock_of(home: Path, build: str) -> Path:
    return home / "dagster" / "builds" / f"{build}.lock"


def _has_lost_its_process(run: dg.DagsterRun, instance: dg.DagsterInstance) -> bool:
    """Tell whether a run's process is known and gone; since a reboot another process may have its id."""
    for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        pid = entry.get_dagster_event().engine_event_data.metadata.get("pid")
        if pid is not None:
            try:
                return psutil.Process(int(str(pid.value))).create_time() > entry.timestamp + _CLOCK_SECONDS
            except psutil.NoSuchProcess:
                return True
    return False


def _good(builds: dict[str, set[NodeId]], failed: set[str]) -> list[str]:
    """Return the builds that made something and failed nowhere so far, the newest first."""
    return [build for build, artifacts in builds.items() if artifacts and build not in failed]


def _artifacts(instance: dg.DagsterInstance, run_id: str) -> set[NodeId]:
    artifacts = set()
    for record in instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION).records:
        made = record.event_log_entry.asset_materialization
        if made is not None and "artifact_key" in made.metadata:
            artifacts.add((made.asset_key.to_user_string(), str(made.metadata["artifact_key"].value)))
    return artifacts
