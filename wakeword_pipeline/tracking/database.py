"""MLflow's database as a file of SQLite's: where it says that files are, which runs it knows, and if it is usable."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from wakeword_core.errors import WakewordError

_LOCATIONS = (
    *(("experiments", "artifact_location"), ("runs", "artifact_uri"), ("logged_models", "artifact_location")),
    *(("model_versions", "source"), ("model_versions", "storage_location")),
)
"""Tables and columns that say where files are."""
FULL, IO_ERROR, READ_ONLY, NOT_OPENED, LOCKED = (
    *("database or disk is full", "disk I/O error", "readonly database", "unable to open database file"),
    "database is locked",
)
"""What SQLite says that is wrong with a disk, or with the moment, and not with the database."""


def unusable(database: Path, reason: str) -> str:
    """Say that the database cannot be used, why, and what to do."""
    return (
        f"{database}, in which MLflow keeps trainings, cannot be used ({reason}); restore it from a backup or move it "
        "away: then the next build makes a new one, and `wakeword gc` names copies of models that it does not know"
    )


def follow_home(database: Path, experiment: str, files: Path) -> bool:
    """Let the locations of an experiment's files be in the folder `files`, and return whether they were elsewhere.

    They are absolute, and a home may be moved: what began with the experiment's folder begins with the new one.
    """
    now = files.as_uri()
    with _opened(database) as connection:
        connection.execute("BEGIN IMMEDIATE")
        query = "SELECT artifact_location FROM experiments WHERE name = ?"
        row = connection.execute(query, (experiment,)).fetchone()
        before = row[0].rstrip("/") if row and row[0] else now
        if before == now:
            return False
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        for table, column in _LOCATIONS:
            if table in tables:
                connection.execute(
                    f"UPDATE {table} SET {column} = ?1 || substr({column}, length(?2) + 1) "  # noqa: S608  names from above
                    f"WHERE {column} = ?2 OR substr({column}, 1, length(?2) + 1) = ?2 || '/'",
                    (now, before),
                )
        return True


def known_runs(database: Path) -> set[str]:
    """Return the ids of all runs but those that were deleted in MLflow, which leaves their files."""
    with _opened(database) as connection:
        return {
            run_id for (run_id,) in connection.execute("SELECT run_uuid FROM runs WHERE lifecycle_stage = 'active'")
        }


@contextmanager
def _opened(database: Path) -> Iterator[sqlite3.Connection]:
    """Open the database for one transaction; WakewordError where it is none, or not MLflow's."""
    try:
        if database.is_dir():
            raise sqlite3.DatabaseError("it is a folder")
        with closing(sqlite3.connect(database)) as connection, connection:
            yield connection
    except sqlite3.DatabaseError as error:
        if any(words in str(error) for words in (FULL, IO_ERROR, READ_ONLY, NOT_OPENED, LOCKED)):
            raise
        raise WakewordError(unusable(database, str(error))) from error
