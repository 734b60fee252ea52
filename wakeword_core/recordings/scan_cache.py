"""What is remembered about files and recordings, so that an unchanged tree is never read again."""

import json
import logging
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from wakeword_core.errors import DataError

log = logging.getLogger(__name__)

_CACHE_VERSION = 2
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS files
    (path TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, sha256 TEXT NOT NULL)
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS facts
    (sha256 TEXT NOT NULL, kind TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (sha256, kind))
    WITHOUT ROWID;
PRAGMA user_version = {_CACHE_VERSION};
"""
_ASKED_AT_ONCE = 500
_READ_AT_ONCE = 4_096


class ScanCache:
    """(absolute path, size, modification time) -> SHA-256, and what was measured of each SHA-256; kept in SQLite."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "scan.sqlite"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(
                f"cannot write the scan cache to {folder}: {error.strerror}; choose another --home"
            ) from error
        try:
            self._connection = _open_cache(self.path)
        except sqlite3.OperationalError as error:  # locked or not writable, which is no damage
            raise DataError(
                f"the scan cache {self.path} cannot be opened ({error}); is another process using it?"
            ) from error
        except sqlite3.DatabaseError as error:
            log.warning(
                "the scan cache %s cannot be used (%s); it is made anew, and recordings are read again",
                self.path,
                error,
            )
            self.path.replace(self.path.with_suffix(f".damaged-{time.time_ns()}"))
            for ending in ("-journal", "-wal", "-shm"):
                self.path.with_name(self.path.name + ending).unlink(missing_ok=True)
            self._connection = _open_cache(self.path)

    def close(self) -> None:
        """Close the file; everything remembered is already on disk."""
        self._connection.close()

    def hashes(self, root: Path) -> Iterator[tuple[str, int, int, str]]:
        """(path relative to `root`, size, mtime_ns, SHA-256) of every remembered file below it, sorted by path."""
        low, high = f"{root}{os.sep}", f"{root}{chr(ord(os.sep) + 1)}"
        query = (
            f"SELECT substr(path, {len(low) + 1}), size, mtime_ns, sha256 FROM files WHERE path > ? AND path < ? "
            "ORDER BY path LIMIT ?"
        )
        after = low
        while True:
            with self._transaction():
                rows = self._connection.execute(query, (after, high, _READ_AT_ONCE)).fetchall()
            yield from rows
            if len(rows) < _READ_AT_ONCE:
                return
            after = low + rows[-1][0]

    def remember_hashes(self, rows: Iterable[tuple[str, int, int, str]]) -> None:
        """Store rows (absolute path, size, mtime_ns, SHA-256), all or none."""
        with self._transaction():
            self._connection.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", rows)

    def facts(self, kind: str, ids: Iterable[str]) -> Iterator[tuple[str, Any]]:
        """(SHA-256, remembered value of `kind`) for those of `ids` that have one, a few in memory at a time."""
        waiting = iter(ids)
        while some := list(islice(waiting, _ASKED_AT_ONCE)):
            places = ",".join("?" * len(some))
            query = f"SELECT sha256, value FROM facts WHERE kind = ? AND sha256 IN ({places})"
            with self._transaction():
                rows = self._connection.execute(query, (kind, *some)).fetchall()
            values = json.loads(f"[{','.join(value for _, value in rows)}]")  # faster than one by one
            yield from ((sha256, value) for (sha256, _), value in zip(rows, values, strict=True))

    def remember_facts(self, rows: Iterable[tuple[str, str, Any]]) -> None:
        """Store rows (SHA-256, kind, JSON value), all or none."""
        encoded = [(sha256, kind, json.dumps(value, allow_nan=False)) for sha256, kind, value in rows]
        with self._transaction():
            self._connection.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?, ?)", encoded)

    def forget_facts(self, ids: Iterable[str]) -> None:
        """Remove everything that was measured of some recordings, from the file's free pages too."""
        with self._transaction():
            self._connection.execute("PRAGMA secure_delete = ON")
            self._connection.executemany("DELETE FROM facts WHERE sha256 = ?", [(one,) for one in ids])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            with self._connection:
                yield
        except sqlite3.Error as error:
            raise DataError(f"the scan cache {self.path} failed ({error}); free some space or remove it") from error


def _open_cache(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=60.0)
    try:
        connection.execute("PRAGMA synchronous = NORMAL")
        # in this order: another process may make both in between
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if not tables:
            connection.executescript(f"BEGIN IMMEDIATE;{_SCHEMA}COMMIT;")
        elif version != _CACHE_VERSION or not {"files", "facts"} <= tables:
            raise sqlite3.DatabaseError(f"it has version {version}, not {_CACHE_VERSION}")
        verdict = connection.execute("PRAGMA quick_check").fetchone()[0]
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
    except BaseException:
        connection.close()
        raise
    return connection
