"""What is wrong with a disk or a database, in a sentence that says what to do."""

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from wakeword_core.errors import WakewordError, sentence_of
from wakeword_pipeline.orchestration.home import home_path
from wakeword_pipeline.search import DATABASE
from wakeword_pipeline.tracking.database import FULL, IO_ERROR, LOCKED, NOT_OPENED, READ_ONLY, unusable

_DATABASE_PACKAGES = ("sqlite3", "sqlalchemy", "alembic")
_ROOM, _PERMISSION = "free some space or choose another --home", "make it writable or choose another --home"
_DISK_FAULTS = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _ROOM),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), _PERMISSION),
    errno.EIO: "look after that disk, and run the command again",
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "raise the limit on open files (ulimit -n), and run it again"),
}
_DATABASE_FAULTS = {
    **dict.fromkeys((FULL, IO_ERROR), _ROOM),
    **dict.fromkeys((READ_ONLY, NOT_OPENED), _PERMISSION),
    LOCKED: "another process is at work there; run the command again when it has ended",
}


def fault_in_words(error: BaseException) -> str:
    """Say what is wrong with a disk or a database, and what to do; empty for any other error."""
    if isinstance(error, WakewordError):
        return str(error)
    chain = list(_chain(error))
    first = chain[-1]
    reason = " ".join(str(first).split())
    for code, advice in _DISK_FAULTS.items():
        if isinstance(first, OSError) and first.errno == code and first.filename:
            return f"{first.filename}: {os.strerror(code)}; {advice}"
        if os.strerror(code) in reason:  # libraries for tables, features and weights have errors of their own
            return f"{reason}; {advice}"
    if any(type(cause).__module__.partition(".")[0] in _DATABASE_PACKAGES for cause in chain):
        return _database_fault(home_path(), reason)
    if type(first).__module__.startswith("mlflow"):
        return unusable(home_path() / "mlflow.db", reason)
    return sentence_of(error) if isinstance(error, OSError) and error.strerror else ""


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it was raised from; Dagster and MLflow raise theirs without saying from what."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        wrapped = type(cause).__module__.startswith(("dagster", "mlflow"))
        cause = cause.__cause__ or (cause.__context__ if wrapped else None)


def _database_fault(home: Path, reason: str) -> str:
    mlflow, searches, dagster = home / "mlflow.db", home / DATABASE, home / "dagster"
    paths = (mlflow, searches, *sorted(dagster.rglob("*.db")))
    words = next((words for words in _DATABASE_FAULTS if words in reason), "")
    damaged = next((path for path in paths if path.is_dir() or (not words and _is_damaged(path))), None)
    if damaged == mlflow:
        return unusable(mlflow, reason)
    if damaged == searches:
        return (
            f"{searches}, in which searches keep their trials, is damaged ({reason}); restore it from a backup or move "
            "it away: then the next search begins anew, and finds again what earlier trials have built"
        )
    if damaged:
        return (
            f"{damaged}, one of Dagster's databases, is damaged ({reason}); restore {dagster} from a backup or move it "
            "away: then the next build makes it anew, and nothing is lost but the history of runs in the UI"
        )
    if words:
        return f"a database in {home} cannot be written ({words}); {_DATABASE_FAULTS[words]}"
    return (
        f"a database in {home} cannot be used ({reason}); run the command again, and if that fails, move {dagster} away"
    )


def _is_damaged(path: Path) -> bool:
    """Tell whether there is a database that SQLite, or Alembic, which changes its tables, cannot use."""
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
            if "alembic_version" not in tables:
                return True
            heads = connection.execute("SELECT * FROM alembic_version").fetchall()
            return len(heads) != 1 or connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",)
    except sqlite3.Error:
        return path.exists()
