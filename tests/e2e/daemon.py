"""Dagster's daemon as `wakeword ui` runs it, and what it materialized."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

_SECONDS = 400
"""A build takes less, on a machine that does other things besides."""


@contextmanager
def daemon(home: Path, config: Path) -> Iterator[None]:
    """While it runs, sensors and schedules that are on do what they say; its output is in `home/daemon.log`."""
    environment = {**os.environ, "WAKEWORD_HOME": str(home)}
    command = [sys.executable, "-m", "wakeword_pipeline.cli", "ui", "--service", "daemon", "--config", str(config)]
    with (home / "daemon.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=60)


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


def wait_until(holds: Callable[[], bool], home: Path) -> None:
    """Look every second; an error with the daemon's last words when it takes too long."""
    deadline = time.monotonic() + _SECONDS
    while not holds():
        assert time.monotonic() < deadline, (home / "daemon.log").read_text()[-4_000:]
        time.sleep(1)
