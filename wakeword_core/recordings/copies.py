"""Local copies of sources that lie in a store elsewhere: listed anew at each scan, and fetched where they changed.

A copy is a folder like any other to all that reads recordings. Beside it lies `<name>.json`, which says whether the
copy is whole, and has of each file the mark by which the store tells that it changed (its etag, or when it was written)
and its size. A copy that was cut off is not used before it is whole.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from wakeword_core.config import SourceConfig
from wakeword_core.config.remote import CACHE_VARIABLE, INDEX_SUFFIXES, require_allowed
from wakeword_core.cores import map_in_threads
from wakeword_core.errors import DataError, RemoteError, WakewordError, reason_of
from wakeword_core.files import (
    as_type,
    contained,
    digest,
    parse_json,
    read_json,
    remove_abandoned_parts,
    replacing,
    require_space,
    write_json,
)
from wakeword_core.progress import Progress, silent
from wakeword_core.recordings.data_sets.files import STATE
from wakeword_core.recordings.sources import chooser
from wakeword_core.store.locks import exclusive
from wakeword_core.store.objects import WEAK, Entry, Objects
from wakeword_core.store.parts import is_usable_path

log = logging.getLogger(__name__)

_AT_ONCE = 8
_SAVE_EVERY = 1_000
_GIGABYTE = 1e9
_MOST_FILE_BYTES = 2**60
_MOST_LIST_BYTES = 256 * 2**20
_UNKNOWN = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True)
class _Kept:
    """A file of a copy: what its store's mark and size were when it was fetched."""

    mark: str
    size: int


@dataclass(frozen=True)
class _Line:
    """A file as a list on a web server names it."""

    path: str
    size: Annotated[int, Field(ge=0, le=_MOST_FILE_BYTES)] | None = None
    etag: str | None = None


@dataclass(frozen=True)
class _Index:
    whole_for: str
    """What was chosen when all of it was there; empty while some of it is not."""
    files: dict[str, _Kept]


def refresh_copies(sources: Iterable[SourceConfig], most_gb: float, progress: Progress = silent) -> dict[str, str]:
    """Bring the copies of sources by URL up to date, and return what is wrong with those that cannot be used, by name.

    A source that cannot be reached keeps its last copy, with a warning. All copies together take at most `most_gb`.
    """
    left, problems = most_gb * _GIGABYTE, dict[str, str]()
    users: dict[Path, list[SourceConfig]] = {}
    for source in sources:
        if source.url and not source.is_hub:
            require_allowed(source.url, f"the path of source {source.name!r}")
            users.setdefault(source.folder, []).append(source)
    for root, together in users.items():
        try:
            with _locked(root.parent, together[0].url):
                left -= _Copy(together).refresh(left, progress)
        except WakewordError as error:
            problems |= dict.fromkeys((source.name for source in together), str(error))
    return problems


@contextmanager
def _locked(folder: Path, url: str) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"{url} cannot be copied to {folder} ({reason_of(error)}); name another folder as {CACHE_VARIABLE}"
        ) from error
    with exclusive(folder / ".lock", f"another process copies {url}"):
        remove_abandoned_parts(folder)
        yield


class _Copy:
    """The copy that sources of one URL share: what any of them chooses is in it."""

    def __init__(self, sources: Sequence[SourceConfig]) -> None:
        self._sources, self._root, self._url = sources, sources[0].folder, sources[0].url
        self._name = " and ".join(source.name for source in sources)
        self._choice = digest(sorted(_choice(source) for source in sources))
        self._index = self._root.with_name(f"{self._root.name}.json")
        try:
            self._known = as_type(_Index, read_json(self._index))
        except (OSError, ValueError):
            self._known = _Index("", {})

    def refresh(self, most_bytes: float, progress: Progress) -> int:
        """Fetch what changed and remove what is gone; return the bytes of all of it."""
        name, url = self._name, self._url
        is_list = url.endswith(INDEX_SUFFIXES) and url.startswith("http")
        folder, _, index = url.rpartition("/") if is_list else (url, "", "")
        try:
            objects = Objects(folder)
            wanted = self._chosen(_entries_of_list(objects, index) if index else objects.list())
        except RemoteError as error:
            if not self._is_whole():
                raise DataError(f"source {name!r} cannot be copied: {error}") from error
            log.warning("source %r is used as it was copied last: %s", name, error)
            return sum(kept.size for kept in self._known.files.values())
        if not wanted:
            raise DataError(f"source {name!r} has no files at {url}; correct its path, or its include")
        total = sum(entry.size for entry in wanted.values())
        if total > most_bytes:
            raise DataError(
                f"source {name!r} has {total / _GIGABYTE:,.3g} GB at {url}, more than compute.copies_gb leaves; raise "
                "that, or choose fewer files with include"
            )
        marks = {path: _Kept(_mark(entry), entry.size) for path, entry in wanted.items()}
        there = {path: kept for path, kept in marks.items() if self._has(path, kept)}
        changed = [entry for path, entry in wanted.items() if path not in there]
        require_space(self._root.parent, sum(entry.size for entry in changed), f"copying source {name!r}")
        try:
            self._remember(there, whole=not changed)
            self._remove_all_but(there)
            self._fetch(objects, changed, marks, progress)
        except (RemoteError, OSError) as error:
            raise DataError(f"source {name!r} is not copied whole: {reason_of(error)}; run again to go on") from error
        return total

    def _chosen(self, entries: Iterable[Entry]) -> dict[str, Entry]:
        """Return what the sources take of a store; names that are no file's, such as with `..`, are left out."""
        takes = [_taker(source) for source in self._sources]
        wanted = {}
        for entry in entries:
            if not entry.name:
                continue  # an empty object that stands for the folder itself, as consoles of stores make them
            if not is_usable_path(entry.name):
                self._leave_out(entry, "is no name that a file can have")
            elif any(take(entry.name) for take in takes):
                wanted[entry.name] = entry
        for path in wanted.keys() & _folders(wanted):
            if (folder := wanted.pop(path)).size:  # else it stands for the folder
                self._leave_out(folder, "is the name of a folder, too")
        return wanted

    def _leave_out(self, entry: Entry, because: str) -> None:
        log.warning("source %r: %r %s; it is left out", self._name, entry.name, because)

    def _is_whole(self) -> bool:
        """Tell whether all that is chosen now was copied once, and is there."""
        known = self._known
        return known.whole_for == self._choice and all(self._has(path, kept) for path, kept in known.files.items())

    def _has(self, path: str, kept: _Kept) -> bool:
        file = self._root / path
        return self._known.files.get(path) == kept and file.is_file() and file.stat().st_size == kept.size

    def _remove_all_but(self, there: Iterable[str]) -> None:
        """Remove what the sources do not have, or no longer as it is here, and folders that are empty then."""
        wanted = {self._root / path for path in there}
        for path in reversed(list(self._root.rglob("*"))):
            if path.is_dir() and not path.is_symlink():
                with suppress(OSError):  # it is not empty
                    path.rmdir()
            elif path not in wanted:
                path.unlink()

    def _fetch(
        self, objects: Objects, changed: Sequence[Entry], marks: Mapping[str, _Kept], progress: Progress
    ) -> None:
        """Fetch files, several at once; what is there by then is remembered whatever happens."""
        done, fetched = dict(self._known.files), 0

        def fetch(entry: Entry) -> None:
            with replacing(contained(self._root, entry.name)) as part, part.open("wb") as file:
                try:
                    for chunk in objects.stream(entry.name, etag=entry.etag):
                        file.write(chunk)
                        if file.tell() > entry.size:
                            break
                    as_listed = file.tell() == entry.size
                except FileNotFoundError:
                    as_listed = False
                if not as_listed:
                    raise RemoteError(f"{objects.url}/{entry.name} is being changed")
            done[entry.name] = marks[entry.name]

        try:
            for _ in map_in_threads(fetch, changed, _AT_ONCE):
                fetched += 1
                progress(f"copy {self._name}", fetched, len(changed))
                if fetched % _SAVE_EVERY == 0:
                    self._remember(done, whole=False)
        finally:
            self._remember(done, whole=fetched == len(changed))

    def _remember(self, files: Mapping[str, _Kept], *, whole: bool) -> None:
        index = _Index(self._choice if whole else "", dict(files))
        if index != self._known:
            write_json(self._index, asdict(index))
            self._known = index


def _choice(source: SourceConfig) -> list[Any]:
    """Return all that `_taker` decides by."""
    return [source.columns is not None, source.is_table, source.path.name, source.include, source.exclude]


def _taker(source: SourceConfig) -> Callable[[str], bool]:
    """Return a function that tells which files of a store a source needs: those around a table, a data set's own."""
    if source.columns is not None:
        if source.folder != source.path:
            return lambda path: path == source.path.name
        chosen = chooser(source)
        return lambda path: chosen(path) or path.endswith(STATE)
    return (lambda path: True) if source.is_table else chooser(source)


def _folders(paths: Iterable[str]) -> set[str]:
    """Return every folder that one of the files is in, at any depth."""
    folders: set[str] = set()
    for path in paths:
        while (path := path.rpartition("/")[0]) and path not in folders:
            folders.add(path)
    return folders


def _entries_of_list(objects: Objects, index: str) -> Iterator[Entry]:
    """Yield what a list on a web server names: a file a line, or a JSON object with path, and perhaps size and etag."""
    text = objects.read(index, _MOST_LIST_BYTES)
    if text is None:
        raise RemoteError(f"{objects.url} has no {index}")
    try:
        lines = [line for line in map(str.strip, text.decode().split("\n")) if line]
        listed = [as_type(_Line, parse_json(line)) if index.endswith(".jsonl") else _Line(line) for line in lines]
    except ValueError as error:
        raise RemoteError(f"{objects.url}/{index} is no list of files ({reason_of(error)})") from None
    asked = set()
    for line in listed:
        if (line.size is not None and line.etag) or not is_usable_path(line.path):
            # weak, since it need not be what the server has for an etag
            yield Entry(line.path, line.size or 0, _UNKNOWN, f"{WEAK}{line.etag}")
        else:
            asked.add(line.path)
    for path, found in map_in_threads(objects.look, asked, _AT_ONCE):
        if found is None:
            raise RemoteError(f"{objects.url}/{index} names {path}, which there is not")
        yield found


def _mark(entry: Entry) -> str:
    return entry.etag or entry.modified.isoformat()
