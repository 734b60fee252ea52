"""Local copies of sources that lie in a store elsewhere: listed anew at each scan, and fetched where they changed.

A copy is a folder like any other to all that reads recordings. Beside it lies `<name>.json`, which says whether the
copy is whole, and has of each file the mark by which the store tells that it changed (its etag, or when it was written)
and its size. A copy that was cut off is not used before it is whole.
"""

import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from wakeword_core.config import SourceConfig
from wakeword_core.config.remote import INDEX_SUFFIXES, require_allowed
from wakeword_core.errors import DataError, RemoteError, reason_of
from wakeword_core.files import as_type, contained, parse_json, read_json, replacing, require_space, write_json
from wakeword_core.progress import Progress, silent
from wakeword_core.recordings.scan import map_unordered
from wakeword_core.recordings.sources import chooser
from wakeword_core.store.locks import exclusive
from wakeword_core.store.objects import Entry, Objects
from wakeword_core.store.parts import SEGMENT

log = logging.getLogger(__name__)

_AT_ONCE = 8
_SAVE_EVERY = 1_000
_GIGABYTE = 1e9
_USABLE_NAME = re.compile(f"{SEGMENT}(/{SEGMENT})*")
_LONGEST_NAME = 1_000
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
    size: int | None = None
    etag: str | None = None


@dataclass(frozen=True)
class _Index:
    whole: bool
    files: dict[str, _Kept]


def refresh_copies(sources: Iterable[SourceConfig], most_gb: float, progress: Progress = silent) -> dict[str, str]:
    """Bring the copies of sources by URL up to date, and return what is wrong with those that cannot be used, by name.

    A source that cannot be reached keeps its last copy, with a warning. All copies together take at most `most_gb`.
    """
    left, problems = most_gb * _GIGABYTE, {}
    for source in sources:
        if source.url:
            require_allowed(source.url, f"the path of source {source.name!r}")
            source.root.parent.mkdir(parents=True, exist_ok=True)
            with exclusive(source.root.parent / ".lock", f"another process copies {source.url}"):
                try:
                    left -= _Copy(source).refresh(left, progress)
                except DataError as error:
                    problems[source.name] = str(error)
    return problems


class _Copy:
    def __init__(self, source: SourceConfig) -> None:
        self._source, self._root = source, source.root
        self._index = self._root.with_name(f"{self._root.name}.json")
        try:
            self._known = as_type(_Index, read_json(self._index))
        except (OSError, ValueError):
            self._known = _Index(False, {})

    def refresh(self, most_bytes: float, progress: Progress) -> int:
        """Fetch what changed and remove what is gone; return the bytes of all of it."""
        name, url = self._source.name, self._source.url
        is_list = url.endswith(INDEX_SUFFIXES) and url.startswith("http")
        folder, _, index = url.rpartition("/") if is_list else (url, "", "")
        try:
            objects = Objects(folder)
            wanted = self._chosen(_entries_of_list(objects, index) if index else objects.list())
        except RemoteError as error:
            if not self._known.whole or not all(self._has(path, kept) for path, kept in self._known.files.items()):
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
        """Return what the source takes of a store; names that are no file's, such as with `..`, are left out."""
        takes = (lambda path: True) if self._source.is_table else chooser(self._source)
        wanted = {}
        for entry in entries:
            if not _is_usable(entry.name):
                log.warning(
                    "source %r: %r is no name that a file can have; it is left out", self._source.name, entry.name
                )
            elif takes(entry.name):
                wanted[entry.name] = entry
        return wanted

    def _has(self, path: str, kept: _Kept) -> bool:
        file = self._root / path
        return self._known.files.get(path) == kept and file.is_file() and file.stat().st_size == kept.size

    def _remove_all_but(self, there: Iterable[str]) -> None:
        """Remove what the source does not have, or no longer as it is here."""
        wanted = {self._root / path for path in there}
        for path in list(self._root.rglob("*")):
            if path not in wanted and (path.is_symlink() or not path.is_dir()):
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
            for _ in map_unordered(fetch, changed, _AT_ONCE):
                fetched += 1
                progress(f"copy {self._source.name}", fetched, len(changed))
                if fetched % _SAVE_EVERY == 0:
                    self._remember(done, whole=False)
        finally:
            self._remember(done, whole=fetched == len(changed))

    def _remember(self, files: Mapping[str, _Kept], *, whole: bool) -> None:
        index = _Index(whole, dict(files))
        if index != self._known:
            write_json(self._index, asdict(index))
            self._known = index


def _is_usable(name: str) -> bool:
    return len(name) <= _LONGEST_NAME and _USABLE_NAME.fullmatch(name) is not None


def _entries_of_list(objects: Objects, index: str) -> Iterator[Entry]:
    """Yield what a list on a web server names: a file a line, or a JSON object with path, and perhaps size and etag."""
    text = objects.read(index, _MOST_LIST_BYTES)
    if text is None:
        raise RemoteError(f"{objects.url} has no {index}")
    try:
        lines = [line for line in map(str.strip, text.decode().splitlines()) if line]
        listed = [as_type(_Line, parse_json(line)) if index.endswith(".jsonl") else _Line(line) for line in lines]
    except ValueError as error:
        raise RemoteError(f"{objects.url}/{index} is no list of files ({reason_of(error)})") from None
    asked = set()
    for line in listed:
        if (line.size is not None and line.etag) or not _is_usable(line.path):
            yield Entry(line.path, line.size or 0, _UNKNOWN, line.etag)
        else:
            asked.add(line.path)
    for path, found in map_unordered(objects.look, asked, _AT_ONCE):
        if found is None:
            raise RemoteError(f"{objects.url}/{index} names {path}, which there is not")
        yield found


def _mark(entry: Entry) -> str:
    return entry.etag or entry.modified.isoformat()
