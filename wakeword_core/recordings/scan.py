"""Which recordings there are in all sources, by the hash of their bytes; an unchanged tree is never read again."""

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from itertools import compress, islice
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from wakeword_core.config import SourceConfig
from wakeword_core.cores import available_cores
from wakeword_core.errors import DataError
from wakeword_core.files import canonical_json, digest, hash_file
from wakeword_core.progress import Progress, silent
from wakeword_core.recordings.forgotten import NOTHING_FORGOTTEN, Forgotten
from wakeword_core.recordings.scan_cache import ScanCache
from wakeword_core.recordings.splits import speaker_groups
from wakeword_core.recordings.tables import locate, read_table
from wakeword_core.recordings.walk import Found, find_recordings, list_recordings

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Listing", "ScanCache", "hash_rows", "in_threads", "list_recordings", "scan"]

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

_SAVE_EVERY = 2_000
_WAITING_A_WORKER = 8
_HASHED_AT_ONCE = 4_096
_NOTHING = ("", 0, 0, "")
"""What comes after the last row of the cache."""
_COLUMNS = {"source": "str", "path": "str", "id": "str", "size": "int64", "error": "str"}
"""Of a listing, with the type that pandas gives them."""


@dataclass(frozen=True)
class Listing:
    """Every recording of every source."""

    columns: dict[str, list[Any]]
    """As `rows`, which load pandas; to tell that nothing changed, that is not needed."""
    fingerprint: str
    """Hash over (source, path, id) of every row, what tables state about them, and the sources that are missing."""
    stated: "dict[str, pd.DataFrame]" = field(default_factory=dict)
    """Source -> what its table states, a row for each of its rows, for sources that are tables."""
    missing: dict[str, str] = field(default_factory=dict)
    """Source -> why nothing of it could be listed."""
    forgotten: int = 0
    """Files that are there and must not be used."""

    @cached_property
    def rows(self) -> "pd.DataFrame":
        """A row each: source, path (relative), id (SHA-256 of the bytes), size, error.

        `error` is empty, or says why the file could not even be read; its id is then made from its name.
        """
        import pandas as pd

        return pd.DataFrame({name: pd.Series(self.columns[name], dtype=kind) for name, kind in _COLUMNS.items()})


@dataclass(frozen=True)
class _Listed:
    """Files of one source, sorted, each once; and the rows of its table, which may name a file twice."""

    source: SourceConfig
    root: Path
    found: list[Found]
    table: "pd.DataFrame | None"


def scan(
    sources: Sequence[SourceConfig],
    cache: ScanCache,
    progress: Progress = silent,
    *,
    workers: int = 0,
    missing: Literal["report", "fail"] = "report",
    forgotten: Forgotten = NOTHING_FORGOTTEN,
) -> Listing:
    """List and hash every recording; a file whose size and modification time are remembered is not opened.

    A source that is missing or broken is logged and left out, or, with `missing="fail"`, a DataError. What is
    `forgotten` is counted, and listed no more than if it were not there.
    """
    listed: list[_Listed] = []
    failed: dict[str, str] = {}
    for source in sources:
        try:
            listed.append(_listed(source))
        except DataError as error:
            failed[source.name] = str(error)
    if failed and missing == "fail":
        raise DataError("; ".join(failed.values()))
    for name, problem in failed.items():
        log.warning("source %r is left out: %s", name, problem)
    columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
    stated, left_out = {}, 0
    while listed:
        one = listed.pop(0)  # so that its files are forgotten once they are rows
        found, table = _scanned(one, cache, progress, workers), one.table
        if forgotten.anything:
            named = table["speaker"].tolist() if table is not None and "speaker" in table else None
            speakers, _ = speaker_groups(one.source, found["path"], found["id"], named)
            kept = [not gone for gone in forgotten.among(found["id"], speakers)]
            found = {name: list(compress(values, kept)) for name, values in found.items()}
            table = None if table is None else table[kept].reset_index(drop=True)
            left_out += kept.count(False)
        for name, values in found.items():
            columns[name] += values
        if table is not None:
            stated[one.source.name] = table.drop(columns="path")
    rows = zip(columns["source"], columns["path"], columns["id"], strict=True)
    fingerprint = _hash_parts(iter(lambda: list(islice(rows, _HASHED_AT_ONCE)), []))
    if failed or stated:
        fingerprint = digest([fingerprint, failed, {name: hash_rows(frame) for name, frame in stated.items()}])
    return Listing(columns, fingerprint, stated, failed, left_out)


def hash_rows(frame: "pd.DataFrame") -> str:
    """SHA-256 (hex) of a frame's rows as JSON lists, missing values as null; a part of them in memory at a time."""
    parts = (frame.iloc[start : start + _HASHED_AT_ONCE] for start in range(0, len(frame), _HASHED_AT_ONCE))
    return _hash_parts(part.astype(object).where(part.notna(), None).to_numpy().tolist() for part in parts)


def in_threads(work: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[tuple[Item, Result]]:
    """Yield (item, work(item)) as they finish, on `workers` threads (0: one a core); only a few wait in memory."""
    workers = workers or available_cores()
    waiting = iter(items)
    running: dict[Future[Result], Item] = {}
    finished: SimpleQueue[Future[Result]] = SimpleQueue()
    with ThreadPoolExecutor(workers) as pool:
        try:
            while True:
                for item in islice(waiting, workers * _WAITING_A_WORKER - len(running)):
                    future = pool.submit(work, item)
                    running[future] = item
                    future.add_done_callback(finished.put)  # a tenth of what asking all futures costs
                if not running:
                    return
                future = finished.get()
                yield running.pop(future), future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _listed(source: SourceConfig) -> _Listed:
    root = source.root.resolve()
    if not source.is_table:
        return _Listed(source, root, find_recordings(source), None)
    table = read_table(source)
    return _Listed(source, root, list(locate(str(root), sorted(set(table["path"])))), table)


def _scanned(listed: _Listed, cache: ScanCache, progress: Progress, workers: int) -> dict[str, list[Any]]:
    """The columns of one source: a row for each file, or for each row of its table."""
    name, found = listed.source.name, listed.found
    ids, errors = _hashes(listed, cache, progress, workers)
    for index in errors:
        ids[index] = digest(["unreadable", name, found[index].path])
    columns: dict[str, list[Any]] = {
        "source": [name] * len(found),
        "path": [one.path for one in found],
        "id": ids,
        "size": [one.size for one in found],
        "error": [errors.get(index, "") for index in range(len(found))],
    }
    if listed.table is None:
        return columns
    places = {one.path: index for index, one in enumerate(found)}
    order = [places[path] for path in listed.table["path"]]
    return {name: [values[place] for place in order] for name, values in columns.items()}


def _hashes(listed: _Listed, cache: ScanCache, progress: Progress, workers: int) -> tuple[list[str], dict[int, str]]:
    """SHA-256 of each file, empty for those that cannot be read, whose errors are returned by their place."""
    found, what = listed.found, f"hash {listed.source.name}"
    ids, unread = _remembered(listed, cache)
    errors = {index: one.error for index, one in enumerate(found) if one.error}
    done = len(found) - len(unread)
    progress(what, done, len(found))
    fresh: list[tuple[str, int, int, str]] = []

    def work(index: int) -> str | OSError:
        return _hash_or_error(listed.root / found[index].path)

    try:
        for index, sha256 in in_threads(work, unread, workers):
            one = found[index]
            if isinstance(sha256, OSError):
                errors[index] = f"cannot be read ({sha256.strerror})"
            else:
                ids[index] = sha256
                fresh.append((str(listed.root / one.path), one.size, one.mtime_ns, sha256))
            done += 1
            progress(what, done, len(found))
            if len(fresh) >= _SAVE_EVERY:
                cache.remember_hashes(fresh)
                fresh.clear()
    finally:
        cache.remember_hashes(fresh)
    return ids, errors


def _remembered(listed: _Listed, cache: ScanCache) -> tuple[list[str], list[int]]:
    """The remembered hash of each file, empty where there is none, and the places of readable files without one."""
    ids, unread = [""] * len(listed.found), []
    rows = cache.hashes(listed.root)
    known, known_size, known_mtime, sha256 = next(rows, _NOTHING)
    for index, (path, size, mtime_ns, error) in enumerate(listed.found):
        if error:
            continue
        while known and known < path:  # both are sorted
            known, known_size, known_mtime, sha256 = next(rows, _NOTHING)
        if known == path and known_size == size and known_mtime == mtime_ns:
            ids[index] = sha256
        else:
            unread.append(index)
    return ids, unread


def _hash_parts(parts: Iterable[Sequence[Sequence[Any]]]) -> str:
    """SHA-256 (hex) of rows as JSON lists, of which a part comes at a time: the same however they are cut."""
    total, between = hashlib.sha256(b"["), b""
    for rows in filter(None, parts):
        total.update(between + canonical_json(rows)[1:-1].encode())
        between = b","
    total.update(b"]")
    return total.hexdigest()


def _hash_or_error(path: Path) -> str | OSError:
    try:
        return hash_file(path)
    except OSError as error:
        return error
