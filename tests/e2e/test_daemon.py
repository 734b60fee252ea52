"""What the daemon does by itself on a home with the project's dagster.yaml: workers that died, assets that aged."""

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
from daemon import daemon, wait_until
from dagster._core.definitions.freshness import FreshnessState
from dagster._core.scheduler.instigation import InstigatorType
from tiny_project import tiny_project

from wakeword_pipeline.orchestration.home import prepare_home

pytestmark = [pytest.mark.server, pytest.mark.slow]
SETTINGS = """
checks: {stale_after_hours: 1, unheard_error: 1}
automation: {rebuild_on_change: true, check_seconds: 5, quiet_seconds: 0}
"""
EAGER = {"FRESHNESS_DAEMON_INTERVAL_SECONDS": "2", "DAGSTER_EVENT_LOG_CONSUMER_DAEMON_INTERVAL_SECONDS": "1"}
"""The daemon looks at assets and at failed runs more often than every 30 and 5 seconds."""
AGES = {"cmvn_stats": 0, "trained_model": 54 * 60, "onnx_model": 2 * 60 * 60}
"""Seconds since these assets were last materialized."""


@dataclass(frozen=True)
class Watched:
    home: Path
    instance: dg.DagsterInstance


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A home with a running daemon and a sensor that begins to build, and some assets of different ages."""
    folder = tmp_path_factory.mktemp("watched")
    home, config = folder / "home", tiny_project(folder, SETTINGS)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("DAGSTER_HOME", "WAKEWORD_DAGSTER", "WAKEWORD_HOME", "WAKEWORD_CONFIG"):
            patch.setenv(name, "")  # so that it is put back
        prepare_home(home, config)
        with dg.DagsterInstance.get() as instance:
            for name, age in AGES.items():
                materialized_before(instance, name, age)
            with daemon(home, config, **EAGER):
                yield Watched(home, instance)


def materialized_before(instance: dg.DagsterInstance, asset: str, seconds: float) -> None:
    then = time.time() - seconds
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dagster._core.instance.methods.event_methods.get_current_timestamp", lambda: then)
        instance.report_runless_asset_event(dg.AssetMaterialization(asset))


def worker_in_a_step(instance: dg.DagsterInstance) -> tuple[str, int] | None:
    """The run and the process id of a worker that is in the middle of a step."""
    for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
        events = [entry.dagster_event for entry in instance.all_logs(run.run_id) if entry.dagster_event]
        if any(event.is_step_start for event in events):
            pids = [event.engine_event_data.metadata.get("pid") for event in events if event.is_engine_event]
            return run.run_id, int(next(pid.value for pid in pids if pid))
    return None


def test_a_worker_that_is_killed_is_started_again(watched: Watched) -> None:
    found: list[tuple[str, int]] = []

    def kill_one() -> bool:
        worker = worker_in_a_step(watched.instance)
        if worker is None:
            return False
        os.kill(worker[1], signal.SIGKILL)
        found.append(worker)
        (sensor,) = watched.instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)
        watched.instance.stop_sensor(sensor.instigator_origin_id, sensor.selector_id, None)  # which has done its part
        return True

    wait_until(lambda: watched.instance.get_runs_count() > 0, watched.home, every=0.5)
    wait_until(kill_one, watched.home, every=0.05)
    killed = found[0][0]
    again = dg.RunsFilter(tags={"dagster/parent_run_id": killed}, statuses=[dg.DagsterRunStatus.SUCCESS])
    wait_until(lambda: bool(watched.instance.get_runs(again)), watched.home)
    assert watched.instance.get_run_by_id(killed).status is dg.DagsterRunStatus.FAILURE
    (retried,) = watched.instance.get_runs(dg.RunsFilter(tags={"dagster/parent_run_id": killed}))
    assert retried.tags["dagster/retry_number"] == "1"
    made = watched.instance.get_latest_materialization_event(dg.AssetKey("raw_manifest"))
    assert made.run_id == retried.run_id


def test_assets_that_nobody_builds_stop_being_fresh(watched: Watched) -> None:
    keys = [dg.AssetKey(name) for name in AGES]

    def states() -> list[FreshnessState | None]:
        records = watched.instance.get_freshness_state_records(keys)
        return [records[key].freshness_state if key in records else None for key in keys]

    expected = [FreshnessState.PASS, FreshnessState.WARN, FreshnessState.FAIL]
    wait_until(lambda: states() == expected, watched.home)
