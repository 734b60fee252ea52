"""The Dagster instance of a home: one run at a time on the GPU, and PostgreSQL in the place of sqlite."""

import os
import pwd
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.scheduler.instigation import InstigatorType

from wakeword_core.errors import ConfigError
from wakeword_pipeline.orchestration.home import prepare_home

WORK = """
import sys, time
from pathlib import Path
import dagster as dg
from wakeword_pipeline.orchestration.assets import GPU_POOL
from wakeword_pipeline.orchestration.home import gpu_slot

@dg.asset(pool=GPU_POOL)
def trained():
    with gpu_slot(Path(sys.argv[1])), open(sys.argv[2], "a") as log:
        print("begin", time.monotonic(), file=log, flush=True)
        time.sleep(1.0)
        print("end", time.monotonic(), file=log, flush=True)

with dg.DagsterInstance.get() as instance:
    assert dg.materialize([trained], instance=instance).success
"""
"""A run that says when it held the GPU."""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("WAKEWORD_HOME", "WAKEWORD_CONFIG", "WAKEWORD_DAGSTER", "WAKEWORD_POSTGRES_URL", "DAGSTER_HOME"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return tmp_path / "home"


def run_beside_each_other(home: Path, log: Path) -> list[tuple[str, float]]:
    """What two processes say, in order of time."""
    command = [sys.executable, "-W", "ignore", "-c", WORK, str(home), str(log)]
    started = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in range(2)]
    for process in started:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors.decode()
    said = (line.split() for line in log.read_text().splitlines())
    return sorted(((what, float(when)) for what, when in said), key=lambda one: one[1])


def test_two_runs_take_turns_on_the_gpu(home: Path, tmp_path: Path) -> None:
    prepare_home(home, tmp_path / "wakeword.yaml")
    with dg.DagsterInstance.get():  # makes the tables, which two processes at once must not
        pass
    assert [what for what, _ in run_beside_each_other(home, tmp_path / "log")] == ["begin", "end"] * 2


def test_the_instance_watches_and_retries_crashed_workers_and_forgets_old_ticks(home: Path, tmp_path: Path) -> None:
    prepare_home(home, tmp_path / "wakeword.yaml")
    with dg.DagsterInstance.get() as instance:
        assert instance.run_monitoring_enabled and instance.run_retries_enabled and not instance.telemetry_enabled
        assert instance.run_retries_max_retries == 2 and not instance.run_retries_retry_on_asset_or_op_failure
        purged = instance.get_tick_retention_settings(InstigatorType.SENSOR)
        assert sorted(purged.values()) == [-1, 7, 30, 30]


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a PostgreSQL server of the test's own."""
    binaries = next((path for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"))), None)
    binaries = binaries or (Path(found).parent if (found := shutil.which("initdb")) else None)
    if binaries is None:
        pytest.skip("PostgreSQL is not installed")
    folder = tmp_path_factory.mktemp("postgres")
    user: list[str] = []
    if os.geteuid() == 0:  # which the server refuses to be
        user = ["setpriv", "--reuid", "nobody", "--regid", str(pwd.getpwnam("nobody").pw_gid), "--clear-groups"]
        os.chown(folder, pwd.getpwnam("nobody").pw_uid, -1)
        for parent in (folder, *list(folder.parents)[:3]):
            parent.chmod(parent.stat().st_mode | 0o055)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data = folder / "data"
    subprocess.run(
        [*user, str(binaries / "initdb"), "-D", str(data), "-U", "wakeword", "--auth=trust", "--no-sync"],
        check=True,
        capture_output=True,
        cwd=folder,
    )
    server = subprocess.Popen(
        [*user, str(binaries / "postgres"), "-D", str(data), "-h", "127.0.0.1", "-p", str(port), "-k", str(folder)],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        ready = [str(binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
        deadline = time.monotonic() + 60
        while subprocess.run(ready, check=False).returncode:
            assert server.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        yield f"postgresql://wakeword@127.0.0.1:{port}/postgres"
    finally:
        server.terminate()
        server.wait(timeout=60)


@pytest.mark.server
def test_runs_and_events_are_in_postgres_where_the_environment_names_it(
    home: Path, tmp_path: Path, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAKEWORD_POSTGRES_URL", postgres)
    prepare_home(home, tmp_path / "wakeword.yaml")
    assert postgres not in (home / "dagster" / "dagster.yaml").read_text()
    with dg.DagsterInstance.get() as instance:
        assert type(instance.run_storage).__module__.startswith("dagster_postgres")
    assert [what for what, _ in run_beside_each_other(home, tmp_path / "log")] == ["begin", "end"] * 2
    with dg.DagsterInstance.get() as instance:
        assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.SUCCESS] * 2
        assert instance.get_latest_materialization_event(dg.AssetKey("trained")) is not None
    assert not list((home / "dagster").rglob("*.db"))


def test_postgres_without_its_library_is_one_sentence(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAKEWORD_POSTGRES_URL", "postgresql://somewhere/else")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"-m pip install -e '/.*\[postgres\]'"):
        prepare_home(home, tmp_path / "wakeword.yaml")
