"""Whatever goes wrong in a command is one line that says what to do."""

import errno
import json
import re
import sqlite3
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device", "/a/\x1b[2Jb"), r"/a/\x1b[2Jb: No space left on device"),
        (OSError(5, "Input/output error"), "Input/output error"),
        (MemoryError(), "there is not enough memory; close other programs, or work on less at once"),
        (KeyError("nothing\nmore"), r"an unexpected error: KeyError: 'nothing\nmore'; please report it"),
        (json.JSONDecodeError("odd\nlines", "x", 0), "an unexpected error: json.decoder.JSONDecodeError: odd"),
        (RecursionError(), "an unexpected error: RecursionError: without a message; please report it"),
    ],
)
def test_whatever_is_left_is_one_line_and_1(monkeypatch, failing, error: Exception, said: str) -> None:
    from wakeword_pipeline.cli.commands import status

    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(status, "show_status", fails)
    code, plain = failing("status")
    assert code == 1 and len(plain.splitlines()) == 1 and "Traceback" not in plain
    assert said in re.sub(r" in wakeword_pipeline/cli/making.py, line \d+", "", plain)
    assert plain.endswith("; run again with --verbose for the traceback\n")
    code, verbose = failing("--verbose", "status")
    assert code == 1 and "Traceback" in verbose and said.partition(":")[0] in verbose and "run again" not in verbose


class OfALibraryError(Exception):
    """As Dagster and MLflow have: it does not say what it was raised from."""

    __module__ = "mlflow.exceptions"


def of_a_library(error: Exception) -> Exception:
    wrapped = OfALibraryError(f"INTERNAL_ERROR: {error}")
    wrapped.__context__ = error
    return wrapped


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/h/x"), "/h/x: No space left on device; free some space or"),
        (OSError(errno.EROFS, "Read-only file system", "/h/x"), "/h/x: Read-only file system; make it writable or"),
        (PermissionError(errno.EACCES, "Permission denied", "/h/x"), "/h/x: Permission denied; make it writable or"),
        (OSError(errno.EIO, "Input/output error"), "[Errno 5] Input/output error; look after that disk"),
        (OSError("Unable to create file (errno = 28, error message = 'No space left on device')"), "; free some space"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "(os error 28); free some"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "/h/x"), "/h/x: No such file or directory"),
        (sqlite3.OperationalError("database or disk is full"), "(database or disk is full); free some"),
        (sqlite3.OperationalError("attempt to write a readonly database"), "(readonly database); make it writable"),
        (sqlite3.OperationalError("database is locked"), "another process is at work there; run the command again"),
        (sqlite3.DatabaseError("file is not\na database"), "cannot be used (file is not a database); run the command"),
        (of_a_library(sqlite3.OperationalError("database or disk is full")), "(database or disk is full); free some"),
    ],
)  # fmt: skip
def test_a_fault_of_a_disk_or_a_database_is_one_line(
    monkeypatch, failing, tmp_path: Path, error: Exception, said: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("wakeword_pipeline.cli.commands.status.show_status", fail)
    monkeypatch.setenv("WAKEWORD_HOME", str(tmp_path))
    status, message = failing("status")
    assert status == 1 and said in message and len(message.strip().splitlines()) == 1
    assert "Traceback" in failing("--verbose", "status")[1]


def test_a_mistake_of_ours_is_not_called_a_fault_of_a_disk(monkeypatch, failing) -> None:
    def fail(*_: object, **__: object) -> None:
        try:
            (Path("/") / "nowhere" / "x").read_text()
        except OSError:
            raise ZeroDivisionError from None

    monkeypatch.setattr("wakeword_pipeline.cli.commands.status.show_status", fail)
    status, message = failing("status")
    assert status == 1 and "an unexpected error" in message and "ZeroDivisionError" in message
