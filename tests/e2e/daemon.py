"""Dagster as `wakeword ui` runs it, its daemon alone or with its web pages; its runs in this process; what it made."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import dagster as dg
import psutil
import pytest
from hostile import hostile_folder, ran_in
from listening import listening

from wakeword_pipeline.orchestration.definitions import define
from wakeword_pipeline.orchestration.resources import ProjectResource

_SECONDS = 400
"""A build takes less, on a machine that does other things besides."""
_LOG = "dagster.log"
ROOT = Path(__file__).parents[2]


@contextmanager
def daemon(home: Path, config: Path, **environment: str) -> Iterator[None]:
    """While it runs, sensors and schedules that are on do what they say; its output is in `home/dagster.log`."""
    with _running(home, config, "--service", "daemon", **environment):
        yield


@contextmanager
def instance_of(home: Path) -> Iterator[dg.DagsterInstance]:
    """What Dagster recorded in a home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WAKEWORD_DAGSTER", str(home / "dagster"))
        with dg.DagsterInstance.from_config(str(home / "dagster")) as found:
            yield found


@contextmanager
def web_pages(home: Path, config: Path) -> Iterator[str]:
    """The address of Dagster's pages while they and the daemon run."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    with _running(home, config, "--port", str(port)) as process:

        def is_up() -> bool:
            assert process.poll() is None, (home / _LOG).read_text()
            return _answers(f"{address}/server_info")

        wait_until(is_up, home)
        yield address
        children = psutil.Process(process.pid).children(recursive=True)
        assert listening(process.pid) == {"127.0.0.1"}
        process.terminate()
        assert process.wait(timeout=60) == 0 and not psutil.wait_procs(children, timeout=30)[1]


@contextmanager
def _running(home: Path, config: Path, *options: str, **environment: str) -> Iterator[subprocess.Popen]:
    home.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "wakeword_pipeline.cli", "ui", "--config", str(config), *options]
    environment = {"PYTHONPATH": str(ROOT), **os.environ, **environment, "WAKEWORD_HOME": str(home)}
    folder = hostile_folder(Path(tempfile.mkdtemp()) / "recordings")
    with (home / _LOG).open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            yield process
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=60)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what outlived it, as a worker may
            process.wait()
    assert ran_in(folder) == set()
    shutil.rmtree(folder.parent)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=10) as answer:
            return answer.status == 200
    except OSError:
        return False


def built_by(
    sensor: dg.SensorDefinition, resource: ProjectResource, instance: dg.DagsterInstance
) -> Iterator[list[str]]:
    """Evaluate the sensor and execute what it asks for, as the daemon does, until it asks for nothing more."""
    cursor, idle = None, 0
    while idle < 2:
        with dg.build_sensor_context(instance=instance, cursor=cursor, resources={"project": resource}) as context:
            asked = sensor(context)
        cursor, idle = asked.cursor, 0 if asked.run_requests else idle + 1
        for request in asked.run_requests or ():
            done = define(resource).resolve_implicit_global_asset_job_def().execute_in_process(
                asset_selection=request.asset_selection,
                partition_key=request.partition_key,
                run_config=request.run_config,
                instance=instance,
            )  # fmt: skip
            assert done.success
            made = (one.step_materialization_data.materialization for one in done.get_asset_materialization_events())
            yield [one.asset_key.to_user_string() for one in made if not one.metadata["reused"].value]


def going_on(instance: dg.DagsterInstance) -> bool:
    """Whether a run has not ended yet."""
    ended = {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}
    return any(run.status not in ended for run in instance.get_runs(limit=5))


def materialized(instance: dg.DagsterInstance, assets: Iterable[str], since: float) -> set[str]:
    """Which of the assets, as `asset` or `asset[split]`, were materialized after a time in seconds of the epoch."""
    found = (
        record.asset_materialization
        for name in assets
        for record in instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=dg.AssetKey(name), after_timestamp=since), limit=100
        ).records
    )
    return {one.asset_key.to_user_string() + (f"[{one.partition}]" if one.partition else "") for one in found if one}


def wait_until(holds: Callable[[], bool], home: Path, every: float = 1.0) -> None:
    """Look every second or so; an error with Dagster's last words when it takes too long."""
    deadline = time.monotonic() + _SECONDS
    while not holds():
        assert time.monotonic() < deadline, (home / _LOG).read_text()[-4_000:]
        time.sleep(every)
