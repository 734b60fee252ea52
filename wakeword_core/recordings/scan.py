"""Which recordings there are in all sources, by the hash of their bytes; an unchanged tree is never read again."""

import json
import logging
import os
import shutil
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import compress, islice
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from wakeword_core.config import SourceConfig
from wakeword_core.cores import available_cores, map_in_threads
from wakeword_core.errors import DataError
from wakeword_core.files import digest, hash_file, parse_json
from wakeword_core.progress import Progress, silent
from wakeword_core.recordings.corrections import Correction
from wakeword_core.recordings.data_sets.files import unpacked_of
from wakeword_core.recordings.forgotten import NOTHING_FORGOTTEN, Forgotten
from wakeword_core.recordings.labels import speaker_groups
from wakeword_core.recordings.row import hash_rows, hash_table
from wakeword_core.recordings.sources import LeftOut, SourceFile, State, find_recordings, locate
from wakeword_core.recordings.tables import read_table

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

_CACHE_VERSION = 3
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS files
    (path TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, inode INTEGER NOT NULL,
     ctime_ns INTEGER NOT NULL, sha256 TEXT NOT NULL)
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS facts
    (sha256 TEXT NOT NULL, kind TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (sha256, kind))
    WITHOUT ROWID;
PRAGMA user_version = {_CACHE_VERSION};
"""
_DAMAGED = "damaged-"
_ASKED_AT_ONCE = 500
_READ_AT_ONCE = 4_096
_SAVE_EVERY = 2_000
_NOTHING = ("", *State(), "")
"""What comes after the last row of the cache."""
_COLUMNS = {"source": "str", "path": "str", "recording_id": "str", "size": "int64", "error": "str"}
"""Of a listing, with the type that pandas gives them."""


class ScanCache:
    """(absolute path, state) -> SHA-256, and what was measured of each SHA-256; kept in SQLite.

    The SHA-256 of a file that holds no sound is empty.
    """

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
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError) and not self.path.is_dir():  # no damage: locked, or readonly
                advice = "is another process using it?" if "locked" in str(error) else "free space or make it writable"
                raise DataError(f"the scan cache {self.path} cannot be opened ({error}); {advice}") from error
            log.warning(
                "the scan cache %s cannot be used (%s); it is made anew, and recordings are read again",
                self.path,
                error,
            )
            self.path.replace(self.path.with_suffix(f".{_DAMAGED}{time.time_ns()}"))
            for ending in ("-journal", "-wal", "-shm"):
                self.path.with_name(self.path.name + ending).unlink(missing_ok=True)
            self._connection = _open_cache(self.path)

    def close(self) -> None:
        """Close the file; everything remembered is already on disk."""
        self._connection.close()

    def hashes(self, root: Path) -> Iterator[tuple[Any, ...]]:
        """Yield (path relative to `root`, the numbers of its state, SHA-256) of each remembered file, by path."""
        low, high = f"{root}{os.sep}", f"{root}{chr(ord(os.sep) + 1)}"
        query = (
            f"SELECT substr(path, {len(low) + 1}), size, mtime_ns, inode, ctime_ns, sha256 FROM files "  # noqa: S608  a number
            "WHERE path > ? AND path < ? ORDER BY path LIMIT ?"
        )
        after = low
        while True:
            with self._transaction():
                rows = self._connection.execute(query, (after, high, _READ_AT_ONCE)).fetchall()
            yield from rows
            if len(rows) < _READ_AT_ONCE:
                return
            after = low + rows[-1][0]

    def remember_hashes(self, rows: Iterable[tuple[str, State, str]]) -> None:
        """Store rows (absolute path, state, SHA-256), all or none."""
        with self._transaction():
            self._connection.executemany(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)",
                ((path, *state, sha256) for path, state, sha256 in rows),
            )

    def forget_hash(self, path: Path) -> None:
        """Let a file be read again, whatever its state is: its bytes are not those that were hashed."""
        with self._transaction():
            self._connection.execute("DELETE FROM files WHERE path = ?", (str(path),))

    def facts(self, kind: str, recording_ids: Iterable[str]) -> Iterator[tuple[str, Any]]:
        """Yield (recording_id, remembered value of `kind`) for those that have one, a few in memory at a time."""
        waiting = iter(recording_ids)
        while batch := list(islice(waiting, _ASKED_AT_ONCE)):
            places = ",".join("?" * len(batch))
            query = f"SELECT sha256, value FROM facts WHERE kind = ? AND sha256 IN ({places})"  # noqa: S608  question marks only
            with self._transaction():
                rows = self._connection.execute(query, (kind, *batch)).fetchall()
            try:
                values = json.loads(f"[{','.join(value for _, value in rows)}]")  # faster than one by one
            except (TypeError, ValueError):
                values = [_value_or_none(value) for _, value in rows]
            pairs = zip(rows, values, strict=True)
            yield from ((recording_id, value) for (recording_id, _), value in pairs if value is not None)

    def remember_facts(self, rows: Iterable[tuple[str, str, Any]]) -> None:
        """Store rows (recording_id, kind, JSON value), all or none."""
        encoded = [(recording_id, kind, json.dumps(value, allow_nan=False)) for recording_id, kind, value in rows]
        with self._transaction():
            self._connection.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?, ?)", encoded)

    def forget(self, recording_ids: Iterable[str]) -> None:
        """Remove everything that is remembered of some recordings, from the file's free pages and damaged files too."""
        for damaged in self.folder.glob(f"{self.path.stem}.{_DAMAGED}*"):
            if damaged.is_dir() and not damaged.is_symlink():
                shutil.rmtree(damaged)
            else:
                damaged.unlink()
        waiting = iter(recording_ids)
        while batch := list(islice(waiting, _ASKED_AT_ONCE)):
            places = ",".join("?" * len(batch))
            with self._transaction():
                for table in ("facts", "files"):
                    self._connection.execute(f"DELETE FROM {table} WHERE sha256 IN ({places})", batch)  # noqa: S608  names from above

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            with self._connection:
                yield
        except sqlite3.Error as error:
            raise DataError(f"the scan cache {self.path} failed ({error}); free some space or remove it") from error


@dataclass(frozen=True)
class Listing:
    """Every recording of every source."""

    columns: dict[str, list[Any]]
    """As `rows`, which load pandas; to tell that nothing changed, that is not needed."""
    fingerprint: str
    """Hash over (source, path, recording_id) of every row, what tables state about them, and the missing sources."""
    stated: "dict[str, pd.DataFrame]" = field(default_factory=dict)
    """Source -> what its table states, a row for each of its rows, for sources that are tables."""
    missing: dict[str, str] = field(default_factory=dict)
    """Source -> why nothing of it could be listed."""
    forgotten: int = 0
    """Files that are there and must not be used."""
    left_out: dict[str, LeftOut] = field(default_factory=dict)
    """Source -> what is in its folder and is not listed."""
    corrections: dict[str, Correction] = field(default_factory=dict)
    """recording_id -> what people said of it, of those that are listed."""
    silenced: frozenset[str] = frozenset()
    """Bytes (SHA-256) of those that are left out because of their speaker alone, and not forgotten themselves yet."""

    def joined(self, other: "Listing") -> "Listing":
        """Join the recordings of other sources to these."""
        return Listing(
            {name: values + other.columns[name] for name, values in self.columns.items()},
            digest([self.fingerprint, other.fingerprint]),
            self.stated | other.stated,
            self.missing | other.missing,
            self.forgotten + other.forgotten,
            self.left_out | other.left_out,
            self.corrections | other.corrections,
            self.silenced | other.silenced,
        )

    @cached_property
    def rows(self) -> "pd.DataFrame":
        """Return a row for each recording: source, path (relative), recording_id (SHA-256 of the bytes), size, error.

        `error` is empty, or says why the file could not even be read; its recording_id is then made from its name.
        """
        import pandas as pd

        return pd.DataFrame({name: pd.Series(self.columns[name], dtype=kind) for name, kind in _COLUMNS.items()})


@dataclass(frozen=True)
class _Listed:
    """Files of one source, sorted, each once; and the rows of its table, which may name a file twice."""

    source: SourceConfig
    root: Path
    files: list[SourceFile]
    table: "pd.DataFrame | None"
    left_out: LeftOut = field(default_factory=LeftOut)
    forgotten: int = 0
    """Recordings of a data set that are not unpacked, since they must not be used."""


def scan(
    sources: Sequence[SourceConfig],
    cache: ScanCache,
    progress: Progress = silent,
    *,
    threads: int = 0,
    missing: Literal["report", "fail"] = "report",
    forgotten: Forgotten = NOTHING_FORGOTTEN,
    problems: Mapping[str, str] = MappingProxyType({}),
    corrections: Mapping[str, Correction] = MappingProxyType({}),
) -> Listing:
    """List and hash every recording, on so many `threads` (0: one a core); one whose state is remembered is not opened.

    A source that is missing or broken, or has one of the `problems`, is left out and named, or, with `missing="fail"`,
    a DataError. What is `forgotten` is counted, and listed no more than if it were not there; the
    `corrections` of what is listed change the fingerprint.
    """
    listed: list[_Listed] = []
    failed = dict(problems)
    for source in (source for source in sources if source.name not in problems):
        try:
            listed.append(_listed(source, cache))
        except DataError as error:
            failed[source.name] = str(error)
    if failed and missing == "fail":
        raise DataError("; ".join(failed.values()))
    columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
    left_out = {files.source.name: files.left_out for files in listed}
    stated, forgotten_files, silenced = {}, sum(files.forgotten for files in listed), set[str]()
    while listed:
        files = listed.pop(0)  # so that its files are forgotten once they are rows
        rows_of_source, table = _scanned(files, cache, progress, threads or available_cores()), files.table
        if forgotten.tombstones:
            stated_speakers = table["speaker"].tolist() if table is not None and "speaker" in table else None
            speakers, _ = speaker_groups(
                files.source, rows_of_source["path"], rows_of_source["recording_id"], stated_speakers
            )
            kept = [not forgot for forgot in forgotten.among(rows_of_source["recording_id"], speakers)]
            judged = zip(rows_of_source["recording_id"], rows_of_source["error"], kept, strict=True)
            silenced.update(recording_id for recording_id, error, keep in judged if not (error or keep))
            rows_of_source = {name: list(compress(values, kept)) for name, values in rows_of_source.items()}
            table = None if table is None else table[kept].reset_index(drop=True)
            forgotten_files += kept.count(False)
        for name, values in rows_of_source.items():
            columns[name] += values
        if table is not None:
            stated[files.source.name] = table.drop(columns="path")
    fingerprint = hash_rows(zip(columns["source"], columns["path"], columns["recording_id"], strict=True))
    if failed or stated:
        fingerprint = digest([fingerprint, failed, {name: hash_table(frame) for name, frame in stated.items()}])
    corrected = {name: corrections[name] for name in sorted(corrections.keys() & columns["recording_id"])}
    if corrected:
        fingerprint = digest([fingerprint, [one.revision for one in corrected.values()]])
    silenced -= forgotten.recordings
    return Listing(columns, fingerprint, stated, failed, forgotten_files, left_out, corrected, frozenset(silenced))


def _listed(source: SourceConfig, cache: ScanCache) -> _Listed:
    root = source.root.resolve()
    if not source.is_table:
        files, left_out = find_recordings(source, lambda others: _remembered(root, others, cache))
        if left_out.no_sound:
            cache.remember_hashes((str(root / file.path), file.state, "") for file in left_out.no_sound)
        return _Listed(source, root, files, None, left_out)
    left_out, forgotten = unpacked_of(source) if source.columns is not None else (LeftOut(), 0)
    table = read_table(source)
    return _Listed(source, root, list(locate(source, sorted(set(table["path"])))), table, left_out, forgotten)


def _scanned(listed: _Listed, cache: ScanCache, progress: Progress, threads: int) -> dict[str, list[Any]]:
    name, files = listed.source.name, listed.files
    recording_ids, errors = _hashes(listed, cache, progress, threads)
    for index in errors:
        recording_ids[index] = digest(["unreadable", name, files[index].path])
    columns: dict[str, list[Any]] = {
        "source": [name] * len(files),
        "path": [file.path for file in files],
        "recording_id": recording_ids,
        "size": [file.state.size for file in files],
        "error": [errors.get(index, "") for index in range(len(files))],
    }
    if listed.table is None:
        return columns
    places = {file.path: index for index, file in enumerate(files)}
    order = [places[path] for path in listed.table["path"]]
    return {name: [values[place] for place in order] for name, values in columns.items()}


def _hashes(listed: _Listed, cache: ScanCache, progress: Progress, threads: int) -> tuple[list[str], dict[int, str]]:
    """SHA-256 of each file, empty for those that cannot be read, whose errors are returned by their place."""
    files, what = listed.files, f"hash {listed.source.name}"
    remembered = _remembered(listed.root, files, cache)
    recording_ids = [sha256 or "" for sha256 in remembered]
    errors = {index: file.error for index, file in enumerate(files) if file.error}
    unread = [index for index, sha256 in enumerate(recording_ids) if not sha256 and index not in errors]
    done = len(files) - len(unread)
    progress(what, done, len(files))
    fresh: list[tuple[str, State, str]] = []

    def work(index: int) -> str | OSError:
        return _hash_or_error(listed.root / files[index].path)

    try:
        for index, sha256 in map_in_threads(work, unread, threads):
            file = files[index]
            if isinstance(sha256, OSError):
                errors[index] = f"cannot be read ({sha256.strerror})"
            else:
                recording_ids[index] = sha256
                fresh.append((str(listed.root / file.path), file.state, sha256))
            done += 1
            progress(what, done, len(files))
            if len(fresh) >= _SAVE_EVERY:
                cache.remember_hashes(fresh)
                fresh.clear()
    finally:
        cache.remember_hashes(fresh)
    return recording_ids, errors


def _remembered(root: Path, files: Sequence[SourceFile], cache: ScanCache) -> list[str | None]:
    """The remembered hash of each file, sorted by path; None where there is none."""
    hashes: list[str | None] = []
    rows = cache.hashes(root) if files else iter(())
    known = next(rows, _NOTHING)
    for path, state, error in files:
        while known[0] and known[0] < path:  # both are sorted
            known = next(rows, _NOTHING)
        hashes.append(known[-1] if known[0] == path and not error and known[1:-1] == state else None)
    return hashes


def _value_or_none(text: Any) -> Any:
    """What the cache remembers, or None for what is damaged: it is measured again."""
    try:
        return parse_json(text)
    except (TypeError, ValueError):
        return None


def _hash_or_error(path: Path) -> str | OSError:
    try:
        return hash_file(path)
    except OSError as error:
        return error


def _open_cache(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=60.0)
    try:
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA secure_delete = ON")  # or what a row was before would stay where it was in the file
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
