"""Which recordings there are, and what is remembered about them so that an unchanged tree is never read again."""

import json
import logging
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from wakeword_core.audio import AUDIO_SUFFIXES
from wakeword_core.config import SourceConfig
from wakeword_core.errors import DataError
from wakeword_core.files import digest, hash_file
from wakeword_core.progress import Progress, silent

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

_OTHER_SOUND = frozenset({".m4a", ".aac", ".wma", ".mp4", ".amr", ".webm", ".3gp", ".caf"})
"""Sound that is not read: it is mentioned, so that nobody wonders where it went."""
_CACHE_VERSION = 2
_SCHEMA = f"""
CREATE TABLE files (path TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, sha256 TEXT NOT NULL)
    WITHOUT ROWID;
CREATE TABLE facts (sha256 TEXT NOT NULL, kind TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (sha256, kind))
    WITHOUT ROWID;
PRAGMA user_version = {_CACHE_VERSION};
"""
_SAVE_EVERY = 500
_WAITING_A_WORKER = 8

Stat = tuple[int, int]
"""Size in bytes and modification time in nanoseconds."""


@dataclass(frozen=True)
class Listing:
    """Every recording of every source: columns source, path (relative), id (SHA-256 of the bytes), size, error.

    `error` is empty, or says why the file could not even be read; its id is then made from its name.
    """

    rows: pd.DataFrame
    fingerprint: str
    """Hash over (source, path, id) of every row."""


class ScanCache:
    """(absolute path, size, modification time) -> SHA-256, and what was measured of each SHA-256; kept in SQLite."""

    def __init__(self, folder: Path) -> None:
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

    def hashes(self, root: Path) -> dict[str, tuple[Stat, str]]:
        """Path -> ((size, mtime_ns), SHA-256) of every remembered file below `root`."""
        low, high = f"{root}{os.sep}", f"{root}{chr(ord(os.sep) + 1)}"
        with self._transaction():
            query = "SELECT * FROM files WHERE path >= ? AND path < ?"
            rows = self._connection.execute(query, (low, high)).fetchall()
        return {path: ((size, mtime_ns), sha256) for path, size, mtime_ns, sha256 in rows}

    def remember_hashes(self, rows: Iterable[tuple[str, int, int, str]]) -> None:
        """Store rows (absolute path, size, mtime_ns, SHA-256), all or none."""
        with self._transaction():
            self._connection.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", rows)

    def facts(self, kind: str, ids: Iterable[str]) -> dict[str, Any]:
        """SHA-256 -> the remembered value of `kind`, for those of `ids` that have one."""
        with self._transaction():
            self._connection.execute("CREATE TEMP TABLE IF NOT EXISTS wanted (sha256 TEXT PRIMARY KEY) WITHOUT ROWID")
            self._connection.execute("DELETE FROM wanted")
            self._connection.executemany("INSERT OR IGNORE INTO wanted VALUES (?)", ((one,) for one in ids))
            rows = self._connection.execute(
                "SELECT sha256, value FROM wanted JOIN facts USING (sha256) WHERE kind = ?", (kind,)
            ).fetchall()
        return {sha256: json.loads(value) for sha256, value in rows}

    def remember_facts(self, rows: Iterable[tuple[str, str, Any]]) -> None:
        """Store rows (SHA-256, kind, JSON value), all or none."""
        encoded = [(sha256, kind, json.dumps(value, allow_nan=False)) for sha256, kind, value in rows]
        with self._transaction():
            self._connection.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?, ?)", encoded)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            with self._connection:
                yield
        except sqlite3.Error as error:
            raise DataError(f"the scan cache {self.path} failed ({error}); free some space or remove it") from error


def list_recordings(source: SourceConfig) -> list[str]:
    """Relative paths (with /) of a source's recordings, sorted; hidden files and folders are left out.

    DataError when the folder is missing or cannot be listed, when nothing in it matches, or when a folder in it is a
    link to somewhere outside.
    """
    root = source.path
    if not root.is_dir():
        state = "is not a folder" if root.exists() else "does not exist"
        raise DataError(f"the folder {root} of source {source.name!r} {state}; correct its path under data.sources")
    included, excluded = _any_glob(source.include), _any_glob(source.exclude)
    wanted = [path for path in _walk(root, source.name, excluded) if included(path) and not excluded(path)]
    found = sorted(path for path in wanted if Path(path).suffix.lower() in AUDIO_SUFFIXES)
    others = [path for path in wanted if Path(path).suffix.lower() in _OTHER_SOUND]
    readable = ", ".join(sorted(suffix.removeprefix(".") for suffix in AUDIO_SUFFIXES))
    if others:
        log.warning("%d files of source %r, such as %s, are not read: convert them to one of %s",
                    len(others), source.name, others[0], readable)  # fmt: skip
    if not found:
        raise DataError(
            f"source {source.name!r} has no recordings: no file of type {readable} in {root} matches include "
            f"{', '.join(source.include)}" + (f" and not exclude {', '.join(source.exclude)}" if source.exclude else "")
        )
    for path in found:
        if not path.encode(errors="ignore").decode() == path:
            raise DataError(f"source {source.name!r} has a file whose name is not valid text: {path!r}; rename it")
    return found


def scan(
    sources: Sequence[SourceConfig], cache: ScanCache, progress: Progress = silent, *, workers: int = 0
) -> Listing:
    """List and hash every recording; a file whose size and modification time are remembered is not opened."""
    frames = [_scan_source(source, cache, progress, workers) for source in sources]
    rows = pd.concat(frames, ignore_index=True) if frames else _listing_frame("", [], [], [], [])
    return Listing(rows, digest(rows[["source", "path", "id"]].to_numpy().tolist()))


def in_threads(work: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[tuple[Item, Result]]:
    """Yield (item, work(item)) as they finish, on `workers` threads (0: one a core); only a few wait in memory."""
    workers = workers or len(os.sched_getaffinity(0))
    waiting = iter(items)
    running: dict[Future[Result], Item] = {}
    with ThreadPoolExecutor(workers) as pool:
        try:
            while True:
                for item in islice(waiting, workers * _WAITING_A_WORKER - len(running)):
                    running[pool.submit(work, item)] = item
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(future), future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _open_cache(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=60.0)
    try:
        connection.execute("PRAGMA synchronous = NORMAL")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
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


def _scan_source(source: SourceConfig, cache: ScanCache, progress: Progress, workers: int) -> pd.DataFrame:
    paths = list_recordings(source)
    root = source.path.resolve()
    known = cache.hashes(root)
    ids, sizes, errors = [""] * len(paths), [0] * len(paths), [""] * len(paths)
    unread: list[tuple[int, Path, Stat]] = []
    for index, relative in enumerate(paths):
        path = root / relative
        try:
            stat = _inside_stat(path, root)
        except OSError as error:
            errors[index] = f"cannot be read ({error.strerror})"
            continue
        sizes[index] = stat[0]
        remembered = known.get(str(path))
        if remembered and remembered[0] == stat:
            ids[index] = remembered[1]
        else:
            unread.append((index, path, stat))

    fresh: list[tuple[str, int, int, str]] = []
    done = len(paths) - len(unread)
    progress(f"hash {source.name}", done, len(paths))
    try:
        for (index, path, stat), sha256 in in_threads(lambda job: _hash_or_error(job[1]), unread, workers):
            if isinstance(sha256, OSError):
                errors[index] = f"cannot be read ({sha256.strerror})"
            else:
                ids[index] = sha256
                fresh.append((str(path), *stat, sha256))
            done += 1
            progress(f"hash {source.name}", done, len(paths))
            if len(fresh) >= _SAVE_EVERY:
                cache.remember_hashes(fresh)
                fresh.clear()
    finally:
        cache.remember_hashes(fresh)
    for index, error_text in enumerate(errors):
        if error_text:
            ids[index] = digest(["unreadable", source.name, paths[index]])
    return _listing_frame(source.name, paths, ids, sizes, errors)


def _listing_frame(source: str, paths: list[str], ids: list[str], sizes: list[int], errors: list[str]) -> pd.DataFrame:
    columns: Mapping[str, Any] = {"source": source, "path": paths, "id": ids, "size": sizes, "error": errors}
    return pd.DataFrame(columns, columns=["source", "path", "id", "size", "error"])


def _hash_or_error(path: Path) -> str | OSError:
    try:
        return hash_file(path)
    except OSError as error:
        return error


def _inside_stat(path: Path, root: Path) -> Stat:
    if path.is_symlink() and not path.resolve().is_relative_to(root):
        raise OSError(0, "a link that leads outside its source's folder; copy the recording into it")
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def _walk(root: Path, name: str, excluded: Callable[[str], bool]) -> Iterator[str]:
    """Relative paths of the files below `root`; links to folders inside it are not followed."""

    def fail(error: OSError) -> None:
        raise DataError(f"cannot list {error.filename} of source {name!r}: {error.strerror}") from error

    base = root.resolve()
    for folder, folders, files in os.walk(base, onerror=fail):
        relative = os.path.relpath(folder, base).replace(os.sep, "/")
        prefix = "" if relative == "." else f"{relative}/"
        folders[:] = sorted(one for one in folders if not one.startswith("."))
        for one in folders:
            link = Path(folder, one)
            if link.is_symlink() and not link.resolve().is_relative_to(base) and not excluded(f"{prefix}{one}/x"):
                raise DataError(
                    f"{link} in source {name!r} is a link to a folder outside {root}; add {link.resolve()} as a source "
                    "of its own, or exclude the link"
                )
        yield from (f"{prefix}{one}" for one in files if not one.startswith("."))


def _any_glob(patterns: Sequence[str]) -> Callable[[str], bool]:
    if not patterns:
        return lambda path: False
    match = re.compile("|".join(f"(?:{_glob_regex(pattern)})" for pattern in patterns)).fullmatch
    return lambda path: match(path) is not None


@lru_cache(maxsize=256)
def _glob_regex(pattern: str) -> str:
    """A glob as a regular expression on a whole relative path: * and ? stay within a folder, ** crosses folders."""
    pieces = re.findall(r"\*\*/|\*\*|\*|\?|\[[^\]]+\]|.", pattern.removeprefix("./"), flags=re.DOTALL)
    special = {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(special.get(piece) or _glob_set(piece) for piece in pieces)


def _glob_set(piece: str) -> str:
    if len(piece) < 3 or not piece.startswith("["):
        return re.escape(piece)
    inside = piece[1:-1].replace("\\", "\\\\")
    return f"[^{inside[1:]}]" if inside.startswith("!") else f"[{inside.replace('^', chr(92) + '^')}]"
