"""Locks between processes: the system takes them away when their holder dies, however it dies."""

import errno
import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wakeword_core.errors import ArtifactError

log = logging.getLogger(__name__)


@contextmanager
def exclusive(path: Path, meanwhile: str = "") -> Iterator[None]:
    """Hold the lock alone; waits for others, and logs what they do `meanwhile` unless that takes but a moment."""
    with _opened(path) as descriptor:
        _wait(descriptor, fcntl.LOCK_EX, meanwhile)
        yield


@contextmanager
def shared(path: Path, meanwhile: str) -> Iterator[None]:
    """Hold the lock together with others; waits for who has it alone, and logs what that one does `meanwhile`."""
    with _opened(path) as descriptor:
        _wait(descriptor, fcntl.LOCK_SH, meanwhile)
        yield


@contextmanager
def alone(path: Path, refused: str) -> Iterator[None]:
    """Hold the lock alone; ArtifactError with the sentence `refused` when anybody has it."""
    with _opened(path) as descriptor:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ArtifactError(refused) from None
        yield


def is_held(path: Path) -> bool:
    """Return whether any process has the lock now; no file is made."""
    try:
        with _opened(path, os.O_RDONLY | os.O_NONBLOCK) as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


@contextmanager
def _opened(path: Path, how: int = os.O_RDWR | os.O_CREAT) -> Iterator[int]:
    """Open a lock's file, whose bytes are never touched: a home may come from anybody, and its locks be links."""
    try:
        descriptor = os.open(path, how | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ArtifactError(f"{path} is a link, and a lock never is one; remove it") from error
        if not how & os.O_CREAT and error.errno == errno.ENOENT:
            raise
        raise ArtifactError(f"cannot write to {path.parent}: {error.strerror}; choose another --home") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _wait(descriptor: int, kind: int, meanwhile: str) -> None:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        if meanwhile:
            log.warning("%s; waiting for it", meanwhile)
        fcntl.flock(descriptor, kind)
