"""Runs of killed builds are closed, those of living builds are not."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.events import EngineEventData

from wakeword_pipeline.orchestration.runs import BUILD_TAG, close_abandoned_runs, close_lost_runs, running


@pytest.fixture
def instance(tmp_path: Path):
    with dg.instance_for_test(temp_dir=str(tmp_path)) as found:
        yield found


def created(instance: dg.DagsterInstance, tags: dict[str, str]) -> dg.DagsterRun:
    @dg.op
    def nothing() -> None: ...

    @dg.job
    def job() -> None:
        nothing()

    return instance.create_run_for_job(job, tags=tags)


def started(instance: dg.DagsterInstance, tags: dict[str, str]) -> dg.DagsterRun:
    run = created(instance, tags)
    event = dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, job_name="job")
    instance.report_dagster_event(event, run.run_id)
    return run


def status(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRunStatus:
    return instance.get_run_by_id(run.run_id).status


def test_a_killed_build_is_closed_and_a_living_one_kept(instance, tmp_path: Path) -> None:
    dead, alive, foreign = (started(instance, tags) for tags in ({BUILD_TAG: "dead"}, {BUILD_TAG: "alive"}, {}))
    never, next_of_alive, by_hand = (
        created(instance, tags) for tags in ({BUILD_TAG: "dead"}, {BUILD_TAG: "alive"}, {})
    )  # not started yet
    code = (
        "import sys, time; from pathlib import Path; from wakeword_pipeline.orchestration.runs import running\n"
        "with running(Path(sys.argv[1]), 'dead'): print('held', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    with running(tmp_path, "alive"):
        assert close_abandoned_runs(tmp_path, instance) == 0
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        assert close_abandoned_runs(tmp_path, instance) == 2
    assert status(instance, dead) == status(instance, never) == dg.DagsterRunStatus.FAILURE
    assert status(instance, next_of_alive) == status(instance, by_hand) == dg.DagsterRunStatus.NOT_STARTED
    assert status(instance, alive) == status(instance, foreign) == dg.DagsterRunStatus.STARTED


def test_a_finished_build_leaves_no_lock(tmp_path: Path) -> None:
    with running(tmp_path, "one"):
        assert list(tmp_path.rglob("*.lock"))
    assert not list(tmp_path.rglob("*.lock"))


def in_process(instance: dg.DagsterInstance, run: dg.DagsterRun, pid: int, ago: float = 0.0) -> dg.DagsterRun:
    data = EngineEventData({"pid": dg.MetadataValue.text(str(pid))})
    event = dg.DagsterEvent(dg.DagsterEventType.ENGINE_EVENT.value, job_name=run.job_name, event_specific_data=data)
    instance.report_dagster_event(event, run.run_id, timestamp=time.time() - ago)
    return run


def test_a_run_that_went_down_with_its_daemon_is_closed_and_no_other(instance) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    lost = in_process(instance, started(instance, {}), gone.pid)
    others = [
        in_process(instance, started(instance, {}), os.getpid()),
        in_process(instance, started(instance, {BUILD_TAG: "by hand"}), gone.pid),
        started(instance, {}),
    ]
    assert close_lost_runs(instance) == 1
    assert status(instance, lost) == dg.DagsterRunStatus.FAILURE
    assert {status(instance, run) for run in others} == {dg.DagsterRunStatus.STARTED}
    assert close_lost_runs(instance) == 0


def test_a_process_that_began_after_a_run_is_not_the_runs(instance) -> None:
    """As after a reboot, when the id of the run's process is that of another one."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    lost = in_process(instance, started(instance, {}), process.pid, ago=60)
    alive = in_process(instance, started(instance, {}), process.pid)
    assert close_lost_runs(instance) == 1
    process.communicate(b"")
    assert status(instance, lost) == dg.DagsterRunStatus.FAILURE
    assert status(instance, alive) == dg.DagsterRunStatus.STARTED
