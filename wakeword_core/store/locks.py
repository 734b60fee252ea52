"""Locks between processes: the system takes them away when their holder dies, however it dies."""

import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from wakeword_core.errors import ArtifactError

log = logging.getLogger(__name__)


@contextmanager
def exclusive(path: Path, meanwhile: str = "") -> Iterator[None]:
    """Hold the lock alone; waits for others, and logs what they do `meanwhile` unless that takes but a moment."""
    with _opened(path) as file:
        _wait(file, fcntl.LOCK_EX, meanwhile)
        yield


@contextmanager
def shared(path: Path, meanwhile: str) -> Iterator[None]:
    """Hold the lock together with others; waits for who has it alone, and logs what that one does `meanwhile`."""
    with _opened(path) as file:
        _wait(file, fcntl.LOCK_SH, meanwhile)
        yield


@contextmanager
def alone(path: Path, refused: str) -> Iterator[None]:
    """Hold the lock alone; ArtifactError with the sentence `refused` when anybody has it."""
    with _opened(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ArtifactError(refused) from None
        yield


def is_held(path: Path) -> bool:
    """Return whether any process has the lock now; no file is made."""
    if not path.is_file():
        return False
    with path.open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _opened(path: Path) -> IO[str]:
    try:
        return path.open("w")
    except OSError as error:
        raise ArtifactError(f"cannot write to {path.parent}: {error.strerror}; choose another --home") from error


def _wait(file: IO[str], kind: int, meanwhile: str) -> None:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        if meanwhile:
            log.warning("%s; waiting for it", meanwhile)
        fcntl.flock(file, kind)
