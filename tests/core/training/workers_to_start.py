"""What processes of a training may do instead of training; they import it by name."""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from wakeword_core.errors import ConfigError
from wakeword_core.progress import Progress
from wakeword_core.training.distributed import MemoryFullError, join_ranks
from wakeword_core.training.run import Job


def _first() -> bool:
    return os.environ["RANK"] == "0"


def is_killed(job: Job, out: Path, progress: Progress, on_epoch: Callable[[Any], None]) -> None:
    """The second dies while the first waits for it."""
    with join_ranks("cpu") as ranks:
        if not ranks.first:
            os.kill(os.getpid(), signal.SIGKILL)
        ranks.wait()


def breaks(job: Job, out: Path, progress: Progress, on_epoch: Callable[[Any], None]) -> None:
    raise RuntimeError("a bug")


def fails(job: Job, out: Path, progress: Progress, on_epoch: Callable[[Any], None]) -> None:
    """One finds a wrong setting; the other would wait for it."""
    if not _first():
        raise ConfigError("diverged")
    time.sleep(60)


def wants_fewer_rows(job: Job, out: Path, progress: Progress, on_epoch: Callable[[Any], None]) -> None:
    if job.micro_batch != 4:
        raise MemoryFullError({0: 8, 8: 4}[job.micro_batch])
    raise ConfigError("4 rows at once")


def finishes_its_batch(job: Job, out: Path, progress: Progress, on_epoch: Callable[[Any], None]) -> None:
    """It goes on until a signal comes, and then takes its time."""

    def stop(*_: object) -> None:
        time.sleep(0.2)
        (out / f"saved {os.environ['RANK']}").touch()
        sys.exit(1)

    signal.signal(signal.SIGTERM, stop)
    while True:
        progress("training", 1, 1)
        time.sleep(0.05)


def never_finishes_its_batch(job: Job, out: Path, progress: Progress, on_epoch: Callable[[Any], None]) -> None:
    """The first tells by its progress that both are there, and by a file that it was asked to end."""
    signal.signal(signal.SIGTERM, lambda *_: (out / f"asked {os.environ['RANK']}").touch())
    (out / f"pid {os.environ['RANK']}").write_text(str(os.getpid()))
    while True:
        if len(list(out.glob("pid *"))) == 2:
            progress("training", 1, 1)
        time.sleep(0.02)


def tells_where_it_listens(job: Job, out: Path, progress: Progress, on_epoch: Callable[[Any], None]) -> None:
    with join_ranks("cpu") as ranks:
        ranks.wait()
        ends = [one.laddr.ip for one in psutil.Process().net_connections("inet")]
        ranks.wait()
    private = (out / "checkpoints" / "processes").stat().st_mode & 0o777
    raise ConfigError(f"{sorted(set(ends))} {private:o}")
