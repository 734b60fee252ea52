"""Data sets as sources: their recordings are unpacked once, beside a table that lists them, and read from there.

A row of a Parquet file cannot be read without all of its row group, and a recording is read several times, in the order
of a hash: to be hashed, measured and packed. Unpacked, each is a file as in any other source, and nothing that reads
recordings knows of data sets; but the disk has its bytes twice. Cost follows the change: each file of a data set is
unpacked by itself, whole or not at all, and again only when it is another file.

A source's folder has `recordings/`, with a folder for each file of the data set; `rows/`, tables of what is said of
their recordings; `recordings.parquet`, all of these together; and `index.json`, which says in which state the files
were and what of them is not used.
"""

import hashlib
import logging
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from wakeword_core.config import SourceConfig
from wakeword_core.config.recordings import ColumnsConfig
from wakeword_core.config.remote import CACHE_VARIABLE, require_allowed
from wakeword_core.errors import DataError, RemoteError, WakewordError, reason_of
from wakeword_core.files import digest, reading, replacing, require_space, write_json
from wakeword_core.progress import Progress, silent
from wakeword_core.recordings.data_sets.files import INDEX, DataFile, Index, Unpacked, hub_files, local_files
from wakeword_core.recordings.data_sets.members import BrokenFileError, Member, require_room
from wakeword_core.recordings.forgotten import Forgotten
from wakeword_core.recordings.sources import LeftOut, as_text
from wakeword_core.sound_formats import SOUND_ENDINGS, sound_format
from wakeword_core.store.locks import exclusive
from wakeword_core.store.parts import is_usable_path

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

NO_SOUND = "recordings of a data set that are no sound"
_MOST_CHARACTERS = 1_000
LONG_TEXT = f"recordings of which a text of more than {_MOST_CHARACTERS:,} characters is said"
_GIGABYTE, _MEGABYTE = 1e9, 1e6
_SAVE_SECONDS = 5.0
_ENDINGS = {kind: ending for ending, kind in reversed(SOUND_ENDINGS.items())}
"""The usual ending of each format."""
_CHANGED = "is being changed; run again when it is at rest"


def unpack_data_sets(
    sources: Iterable[SourceConfig],
    forgotten: Forgotten,
    most_gb: float,
    max_file_mb: float,
    progress: Progress = silent,
) -> dict[str, str]:
    """Unpack what changed of all data sets, and return what is wrong with those that cannot be used, by name.

    Together they take at most `most_gb`. A recording above `max_file_mb`, or that is `forgotten`, is not unpacked.
    """
    left, problems = int(most_gb * _GIGABYTE), dict[str, str]()
    for source in sources:
        if source.columns is None:
            continue
        if source.is_hub:
            require_allowed(source.url, f"the path of source {source.name!r}")
        try:
            with _locked(source):
                unpacking = _Unpacking(source, source.columns, forgotten, left, int(max_file_mb * _MEGABYTE))
                left -= unpacking.refresh(progress)
        except WakewordError as error:
            problems[source.name] = str(error)
    return problems


def remove_forgotten(sources: Iterable[SourceConfig], forgotten: Forgotten) -> None:
    """Remove what is forgotten from what is unpacked of all data sets."""
    for source in sources:
        if source.columns is not None and source.unpacked.is_dir():
            with _locked(source):
                _write(source, _without(source, _known(source), forgotten))


@contextmanager
def _locked(source: SourceConfig) -> Iterator[None]:
    folder = source.unpacked
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"source {source.name!r} cannot be unpacked to {folder} ({reason_of(error)}); name another folder as "
            f"{CACHE_VARIABLE}"
        ) from error
    with exclusive(folder / ".lock", f"another process unpacks source {source.name!r}"):
        yield


class _Unpacking:
    """One source that is unpacked, as far as it is not yet."""

    def __init__(
        self, source: SourceConfig, columns: ColumnsConfig, forgotten: Forgotten, most_bytes: int, largest: int
    ) -> None:
        self._source, self._columns, self._forgotten = source, columns, forgotten
        self._most_bytes, self._largest = most_bytes, largest
        chosen = source.model_dump(mode="json", include={"columns", "include", "exclude", "link_roots"})
        self._choice = digest([chosen, largest])
        self._part = source.unpacked / "part"
        """Folder of what of a file is not whole yet."""
        self._done: dict[str, Unpacked] = {}

    def refresh(self, progress: Progress) -> int:
        """Unpack what changed, remove what is gone or forgotten, and return the bytes of all that is there."""
        known = _known(self._source)
        if known.choice != self._choice:
            _write(self._source, Index(self._choice, self._forgotten.digest, problem=self._broken_off("it was ended")))
            known = _known(self._source)
        known = _without(self._source, known, self._forgotten)
        self._done = dict(known.files)
        try:
            index = self._refreshed(known, progress)
        except (WakewordError, OSError) as error:
            problem = self._broken_off(reason_of(error)) if isinstance(error, OSError) else str(error)
            _write(self._source, replace(known, files=self._done, problem=problem))
            raise DataError(problem) from error
        finally:
            shutil.rmtree(self._part, ignore_errors=True)
        _write(self._source, index)
        return sum(file.bytes for file in index.files.values())

    def _refreshed(self, known: Index, progress: Progress) -> Index:
        name, left_out = self._source.name, LeftOut()
        try:
            files = self._files(left_out)
        except RemoteError as error:
            if known.problem or not self._source.table.is_file():
                raise
            log.warning("source %r is used as it was unpacked last: %s", name, error)
            return known
        marks = {path: file.mark() for path, file in files.items()}
        self._done = {path: file for path, file in known.files.items() if self._is_there(path, file, marks)}
        gone = known.files.keys() - self._done.keys()
        changed = {path: files[path] for path in sorted(files.keys() - self._done.keys())}
        if gone or changed:
            self._note(known)  # first, so that after a kill it names nothing that is not there
        for path in gone:
            self._remove(path)
        require_space(self._source.unpacked, sum(file.size for file in changed.values()), f"unpacking source {name!r}")
        saved, left = time.monotonic(), self._most_bytes - sum(file.bytes for file in self._done.values())
        for count, (path, file) in enumerate(changed.items(), 1):
            self._done[path] = self._unpack(path, file, marks[path], left)
            left -= self._done[path].bytes
            progress(f"unpack {name}", count, len(changed))
            if time.monotonic() - saved > _SAVE_SECONDS:
                self._note(known)
                saved = time.monotonic()
        counts = {reason: (count, left_out.examples[reason]) for reason, count in left_out.counts.items()}
        index = Index(self._choice, self._forgotten.digest, self._done, counts)
        if not any(file.recordings for file in self._done.values()):
            raise DataError(f"source {name!r} has no recordings: {_why(index)}")
        return index

    def _files(self, left_out: LeftOut) -> dict[str, DataFile]:
        if self._source.is_hub:
            return hub_files(self._source, self._columns, self._largest)
        return local_files(self._source, self._columns, self._largest, self._most_bytes, left_out)

    def _note(self, known: Index) -> None:
        """Write what is there by now, as long as it is not all."""
        _write(self._source, replace(known, files=self._done, problem=self._broken_off("it was ended")))

    def _broken_off(self, reason: str) -> str:
        return f"source {self._source.name!r} is not unpacked whole: {reason}; run again to go on"

    def _is_there(self, path: str, file: Unpacked, marks: Mapping[str, str]) -> bool:
        is_whole = (self._source.root / path).is_dir() and _rows(self._source, path).is_file()
        return marks.get(path) == file.mark and (is_whole or bool(file.problem))

    def _unpack(self, path: str, file: DataFile, mark: str, most_bytes: int) -> Unpacked:
        """Unpack one file, whole or not at all."""
        part = self._part
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        self._remove(path)
        contents, there, problem = _Contents(path, part, self._forgotten, most_bytes), set[str](), ""
        try:
            for member in file.members(there):
                contents.put(member)
        except BrokenFileError as error:
            problem = str(error)
        columns = tuple(sorted(there))
        if (is_changed := file.mark() != mark) or problem:
            again = is_changed or self._source.is_hub
            return Unpacked("" if again else mark, _CHANGED if is_changed else problem, columns=columns)
        (self._source.root / path).parent.mkdir(parents=True, exist_ok=True)
        part.rename(self._source.root / path)
        _write_table(_rows(self._source, path), contents.table(list(self._columns.stated)))
        refused = {reason: (count, f"{path}/{first}") for reason, (count, first) in contents.refused.items()}
        return Unpacked(mark, "", len(contents.paths), contents.bytes, refused, contents.forgotten, columns)

    def _remove(self, path: str) -> None:
        shutil.rmtree(self._source.root / path, ignore_errors=True)
        _rows(self._source, path).unlink(missing_ok=True)


class _Contents:
    """The recordings of one file, as they are written below a folder."""

    def __init__(self, name: str, folder: Path, forgotten: Forgotten, most_bytes: int) -> None:
        self._name, self._folder, self._forgotten, self._most_bytes = name, folder, forgotten, most_bytes
        self._folders, self._count = set[str](), 0
        self.paths: dict[str, None] = {}
        self._recording_ids: list[str] = []
        self._stated: list[Sequence[str]] = []
        self.bytes, self.forgotten = 0, 0
        self.refused: dict[str, tuple[int, str]] = {}

    def put(self, member: Member) -> None:
        """Write one, unless it is refused, forgotten or no sound; DataError where all together are too much."""
        self._count += 1
        kind = sound_format(BytesIO(member.content)) or SOUND_ENDINGS.get(_ending(member.path))
        is_long = any(len(text) > _MOST_CHARACTERS for text in member.stated)
        if refused := member.refused or (LONG_TEXT if is_long else "" if kind else NO_SOUND):
            name = as_text(member.path[:_MOST_CHARACTERS]) or f"row {self._count}"
            count, first = self.refused.get(refused, (0, name))
            self.refused[refused] = count + 1, first
            return
        recording_id = hashlib.sha256(member.content).hexdigest()
        if recording_id in self._forgotten.recordings:
            self.forgotten += 1
            return
        self.bytes += len(member.content)
        require_room(self._name, self.bytes, self._most_bytes)
        path = self._free(member.path, kind or "")
        target = self._folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(member.content)
        self.paths[path] = None
        self._folders.update(map(str, PurePosixPath(path).parents))
        self._recording_ids.append(recording_id)
        self._stated.append(member.stated)

    def _free(self, path: str, kind: str) -> str:
        """Return a recording's own path where a file can have it and none has it yet, else its number."""
        ending = _ending(path) if _ending(path) in SOUND_ENDINGS else _ENDINGS.get(kind, f".{kind}")
        own = path if path.lower().endswith(ending) else path + ending
        if path and is_usable_path(own) and as_text(own) == own and not self._is_taken(own):
            return own
        number = f"{self._count:07d}{ending}"
        while self._is_taken(number):
            number = f"_{number}"
        return number

    def _is_taken(self, path: str) -> bool:
        above = map(str, PurePosixPath(path).parents)
        return path in self.paths or path in self._folders or any(folder in self.paths for folder in above)

    def table(self, stated: Sequence[str]) -> "pa.Table":
        """Return a row for each recording: its path below the data set's folder, its id, and what is said of it."""
        import pyarrow as pa

        said = zip(*self._stated, strict=True) if self._stated else ((),) * len(stated)
        columns = {what: pa.array(texts, pa.string()) for what, texts in zip(stated, said, strict=True)}
        paths = pa.array([f"{self._name}/{path}" for path in self.paths], pa.string())
        return pa.table({"path": paths, "recording_id": pa.array(self._recording_ids, pa.string()), **columns})


def _ending(path: str) -> str:
    return PurePosixPath(path).suffix.lower()


def _why(index: Index) -> str:
    """Say why there is nothing in a data set: the first problem, or the first reason."""
    for path, file in index.files.items():
        if file.problem:
            return f"{path} {file.problem}"
    refused = (entry for file in index.files.values() for entry in file.refused.items())
    counts = [f"{count} {reason}, such as {first}" for reason, (count, first) in refused]
    return ", ".join(counts) or "its files are empty, or all of it is forgotten"


def _rows_folder(source: SourceConfig) -> Path:
    return source.unpacked / "rows"


def _rows(source: SourceConfig, path: str) -> Path:
    return _rows_folder(source) / f"{path}.rows"


def _known(source: SourceConfig) -> Index:
    """Read the index. Where unpacking was broken off, what it does not name, and so nobody would remove, is removed."""
    known = Index.of(source)
    if known.problem:
        whole = {source.root / path for path in known.files}
        for folder, inner, files in os.walk(source.root):
            inner[:] = [name for name in inner if Path(folder, name) not in whole]
            for name in files:
                Path(folder, name).unlink()
        named = {_rows(source, path) for path in known.files}
        for table in _rows_folder(source).rglob("*"):
            if table.is_file() and table not in named:
                table.unlink()
    return known


def _without(source: SourceConfig, known: Index, forgotten: Forgotten) -> Index:
    """Remove what is forgotten since then from what is unpacked."""
    if known.forgotten == forgotten.digest:
        return known
    whole = {path: file for path, file in known.files.items() if not file.problem}
    left = {path: _forget_in(source, path, file, forgotten) for path, file in whole.items()}
    return replace(known, files=known.files | left, forgotten=forgotten.digest)


def _forget_in(source: SourceConfig, path: str, file: Unpacked, forgotten: Forgotten) -> Unpacked:
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = _read_table(source, path)
    is_forgotten = pc.is_in(rows["recording_id"], pa.array(sorted(forgotten.recordings), pa.string()))
    paths = rows.filter(is_forgotten)["path"].to_pylist()
    if not paths:
        return file
    for forgotten_path in paths:
        (source.root / forgotten_path).unlink(missing_ok=True)
    _write_table(_rows(source, path), rows.filter(pc.invert(is_forgotten)))
    return replace(file, recordings=file.recordings - len(paths), forgotten=file.forgotten + len(paths))


def _write(source: SourceConfig, index: Index) -> None:
    """Write the table of all recordings and then the index, unless they are there; with a problem there is no table."""
    import pyarrow as pa

    if index == Index.of(source) and (index.problem or source.table.is_file()):
        return
    if index.problem:
        source.table.unlink(missing_ok=True)
    else:
        used = [path for path in sorted(index.files) if not index.files[path].problem]
        _write_table(source.table, pa.concat_tables([_read_table(source, path) for path in used]))
    write_json(source.unpacked / INDEX, asdict(index))


def _read_table(source: SourceConfig, path: str) -> "pa.Table":
    import pyarrow.parquet as pq

    file = _rows(source, path)
    with reading(file, f"remove {source.unpacked}"):
        return pq.read_table(file, page_checksum_verification=True)


def _write_table(path: Path, table: "pa.Table") -> None:
    import pyarrow.parquet as pq

    with replacing(path) as part:
        pq.write_table(table, part, write_page_checksum=True)
