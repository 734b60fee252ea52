"""Tasks for workers in other processes, which find them by the name of this module."""

import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from wakeword_core.errors import ChangedRecordingError, DataError

log = logging.getLogger("wakeword_core.tasks")


def square(number: int) -> tuple[int, int]:
    """Return the square, and which process made it."""
    log.info("squaring %d", number)
    log.debug("which nobody asked for")
    return number * number, os.getpid()


def die_at(folder: Path, deaths: dict[int, int], number: int) -> int:
    """Die of a number so many times, then return it."""
    if deaths.get(number, 0) > len(list(folder.glob(f"{number}.*"))):
        (folder / f"{number}.{time.monotonic_ns()}").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def die_once(value: Any, mark: Path) -> Any:
    """Return the value, but die where the mark is not there yet."""
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return value


def fail_at(wrong: int, number: int) -> int:
    """Return the number, or raise what is wrong with it."""
    log.warning("looking at %d", number)
    if number == wrong:
        raise [DataError("it is odd"), ChangedRecordingError("robin", "/r/robin.wav"), KeyError("mine")][number - 1]
    return number


def wait_for(path: Path, seconds: float, number: int) -> int:
    """Say that it began, wait until a file is there or the time is over, and return the number."""
    (path.parent / f"began.{number}").touch()
    end = time.monotonic() + seconds
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.05)
    return number


def paths_of_modules(number: int) -> list[str]:
    """Return where this process looks for modules."""
    return sys.path
