"""What a file of a data set holds: its recordings as bytes, and what is said of each, with a few in memory at a time.

A file is a Parquet or Arrow table with the recordings in a column, as Hugging Face's `datasets` writes them, or a tar
whose files belong together by name, as WebDataset has them. Nothing in it is believed: names, sizes and types are
looked at before anything is read by them.
"""

import os
import re
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

from wakeword_core.config.base import lookup
from wakeword_core.config.recordings import ColumnsConfig
from wakeword_core.config.remote import TAR_SUFFIXES
from wakeword_core.errors import DataError, reason_of
from wakeword_core.files import parse_json
from wakeword_core.recordings.data_sets.arrow_batches import require_small_batches
from wakeword_core.recordings.sources import NOT_AUDIO, as_text
from wakeword_core.sound_formats import SOUND_ENDINGS, sound_format
from wakeword_core.store.parts import is_usable_path

if TYPE_CHECKING:
    import pyarrow as pa

FROM_PATH = "@path"
"""Instead of a column of splits: the names of the files say it."""
EMPTY, TOO_LARGE = "cells without the bytes of a recording", "recordings above data.health.max_file_mb"
NO_FILE, UNUSABLE_NAME = "links and devices in a tar", "names in a tar that lead out of it or that no file can have"
NO_JSON = "recordings whose .json cannot be read"
AUDIO, _ARROW_FILE, _ARROW_STREAM = "audio", b"ARROW1", 8
"""The column of recordings where none is named; how an Arrow file begins, and where in it the stream does."""
_SPLIT_NAMES = {
    "train": "train", "training": "train", "val": "val", "validation": "val", "valid": "val", "dev": "val",
    "eval": "val", "test": "test", "testing": "test",
}  # fmt: skip
"""What splits are called elsewhere, and here."""
_BYTES_AT_ONCE, _BUFFER_BYTES = 64 << 20, 1 << 20
_MOST_BATCH_BYTES = 1 << 30
"""Of memory for a record batch of an Arrow file: 1,000 recordings of half a minute."""
_MOST_TEXT_BYTES, _MOST_HEADER_BYTES = 1 << 20, 1 << 20
_MOST_NAMED, _MOST_COLUMNS = 30, 1_000


class BrokenFileError(DataError):
    """Why nothing of a file of a data set can be used: the end of a sentence about it, as in "it cannot be read"."""


class Member(NamedTuple):
    """A recording of a data set, or why there is none in its place."""

    path: str
    """What its file calls it; empty where that gives it no name."""
    content: bytes
    stated: Sequence[str]
    """What is said of it, in the order of `ColumnsConfig.stated`; empty texts state nothing."""
    refused: str = ""


class Wanted(NamedTuple):
    """What is to be read of a file of a data set."""

    name: str
    """Its path in the data set."""
    columns: ColumnsConfig
    most_bytes: int
    """Of a recording; a larger one is refused."""
    there: set[str]
    """Where the names of the columns that it has are added."""


def read_members(path: Path, wanted: Wanted, most_total: int) -> Iterator[Member]:
    """Yield the recordings of a file.

    BrokenFileError where it is damaged or lacks a column, and DataError where it is a tar or a Parquet file that says
    it holds more than `most_total` bytes.
    """
    import pyarrow as pa

    read: Callable[[Path, Wanted], Iterator[Member]]
    if path.name.lower().endswith(TAR_SUFFIXES):
        read = partial(_of_tar, most_total=most_total)
    else:
        read = partial(_of_parquet, most_total=most_total) if path.suffix.lower() == ".parquet" else _of_arrow
    try:
        yield from read(path, wanted)
    except (
        OSError, EOFError, ValueError, LookupError, TypeError, ArithmeticError, MemoryError, zlib.error,
        tarfile.TarError, pa.ArrowException,
    ) as error:  # fmt: skip
        raise BrokenFileError(f"cannot be read ({reason_of(error)})") from error


def require_room(name: str, total: int, most_total: int) -> None:
    """Raise DataError where a file of a data set holds more bytes than may be unpacked."""
    if total > most_total:
        raise DataError(
            f"{name} of a data set holds more than the {most_total / 1e9:,.3g} GB that compute.copies_gb leaves; raise "
            "that, or exclude the file"
        )


def _of_parquet(path: Path, wanted: Wanted, most_total: int) -> Iterator[Member]:
    """Yield the recordings of a Parquet file, row by row: each could be the longest value of a dictionary."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, page_checksum_verification=True, buffer_size=_BUFFER_BYTES) as file:
        layout = Layout(file.schema_arrow, wanted)
        groups = [file.metadata.row_group(index) for index in range(file.metadata.num_row_groups)]
        parts = [group.column(index) for group in groups for index in range(group.num_columns)]
        wanted_parts = [part for part in parts if part.path_in_schema.split(".")[0] in layout.columns]
        require_room(wanted.name, sum(part.total_uncompressed_size for part in wanted_parts), most_total)
        for batch in file.iter_batches(1, columns=layout.columns):
            yield from layout.members(batch)


def _of_arrow(path: Path, wanted: Wanted) -> Iterator[Member]:
    """Yield the recordings of an Arrow file or stream, batch by batch, and row by row, as of a Parquet file.

    A file is a stream as well, which its footer, if it were believed, might divide otherwise.
    """
    import pyarrow as pa

    with path.open("rb") as raw:
        begin = _ARROW_STREAM if raw.read(len(_ARROW_FILE)) == _ARROW_FILE else 0
        raw.seek(begin)
        require_small_batches(raw, _MOST_BATCH_BYTES)
    # not mapped to memory: a file that is cut while it is read would end the process
    with pa.OSFile(os.fspath(path)) as file:
        file.seek(begin)
        reader = pa.ipc.open_stream(file)
        layout = Layout(reader.schema, wanted)
        for batch in reader:
            batch.validate(full=True)  # else its offsets may lead anywhere
            for row in range(batch.num_rows):
                yield from layout.members(batch.slice(row, 1))


class Layout:
    """Where a table has its recordings, and what is said of them.

    BrokenFileError, which names the columns that are there, where one that is named is not or is of the wrong kind.
    """

    def __init__(self, schema: "pa.Schema", wanted: Wanted) -> None:
        columns, self._name, self._most_bytes = wanted.columns, wanted.name, wanted.most_bytes
        wanted.there.update(schema.names)
        self._classes, self._stated = _class_names(schema), list(columns.stated.items())
        self._audio = _place(schema, columns.audio or AUDIO)
        self._places = {column: _place(schema, column) for _, column in self._stated if column != FROM_PATH}
        kind: Any = _kind(schema, self._audio)
        if not _is_bytes(kind) and not (_has_field(kind, "bytes") and _is_bytes(kind.field("bytes").type)):
            raise BrokenFileError(
                f"has {kind} in its column {columns.audio or AUDIO!r}, but recordings must be bytes, or "
                "{bytes, path}; a table of paths is a source without columns"
            )
        self.columns = sorted({place[0] for place in (self._audio, *self._places.values())})

    def members(self, batch: "pa.RecordBatch | pa.Table") -> Iterator[Member]:
        """Yield the recordings of some rows."""
        import pyarrow as pa
        import pyarrow.compute as pc

        cells, paths = _values(batch, self._audio), None
        if pa.types.is_struct(cells.type):
            if _has_field(cells.type, "path") and cells.type.field("path").type in (pa.string(), pa.large_string()):
                paths = pc.struct_field(cells, "path").to_pylist()
            cells = pc.struct_field(cells, "bytes")
        sizes = pc.fill_null(pc.binary_length(cells), 0).to_pylist()
        texts = [self._texts(batch, what, column) for what, column in self._stated]
        said = zip(*texts, strict=True) if texts else [()] * len(sizes)
        for index, (size, stated) in enumerate(zip(sizes, said, strict=True)):
            path = (paths[index] if paths else None) or ""
            refused = EMPTY if not size else TOO_LARGE if size > self._most_bytes else ""
            yield Member(path, b"" if refused else cells[index].as_py(), stated, refused)

    def _texts(self, batch: "pa.RecordBatch | pa.Table", what: str, column: str) -> list[str]:
        import pyarrow as pa
        import pyarrow.compute as pc

        if column == FROM_PATH:
            return [split_of_path(self._name)] * batch.num_rows
        values, classes = _values(batch, self._places[column]), self._classes.get(column)
        if pa.types.is_dictionary(values.type):
            values = values.cast(values.type.value_type)
        if classes and pa.types.is_integer(values.type):
            known = pc.and_(pc.greater_equal(values, 0), pc.less(values, len(classes)))
            values = pc.take(pa.array(classes, pa.string()), pc.if_else(known, values, None))
        if pa.types.is_nested(values.type) or _is_bytes(values.type):
            raise BrokenFileError(f"has {values.type} in its column {column!r}, but a {what} must be text or a number")
        texts = pc.fill_null(pc.utf8_trim_whitespace(values.cast(pa.string())), "").to_pylist()
        return [_split(text) for text in texts] if what == "split" else texts


def split_of_path(path: str) -> str:
    """Return the split that the names in a path tell of, the last first: data/validation-0.parquet; or nothing."""
    words = [word for name in reversed(path.casefold().split("/")) for word in re.split(r"[._-]", name)]
    return next((_SPLIT_NAMES[word] for word in words if word in _SPLIT_NAMES), "")


def _split(text: str) -> str:
    return _SPLIT_NAMES.get(text.casefold(), text)


def _place(schema: "pa.Schema", column: str) -> list[str]:
    """Return the names that lead to a column, or a part of one, such as meta.speaker."""
    place = [column] if column in schema.names else column.split(".")
    if schema.names.count(place[0]) == 1 and _kind(schema, place) is not None:
        return place
    there = ", ".join(schema.names[:_MOST_NAMED]) + (", ..." if len(schema.names) > _MOST_NAMED else "")
    raise BrokenFileError(f"has no column {column!r}, or several (it has {there}); name one of its columns")


def _kind(schema: "pa.Schema", place: Sequence[str]) -> "pa.DataType | None":
    kind = schema.field(place[0]).type
    for name in place[1:]:
        if not _has_field(kind, name):
            return None
        kind = kind.field(name).type
    return kind


def _has_field(kind: Any, name: str) -> bool:
    import pyarrow as pa

    return pa.types.is_struct(kind) and kind.get_field_index(name) >= 0


def _is_bytes(kind: Any) -> bool:
    import pyarrow as pa

    return any(is_kind(kind) for is_kind in (pa.types.is_binary, pa.types.is_large_binary))


def _values(batch: "pa.RecordBatch | pa.Table", place: Sequence[str]) -> "pa.Array | pa.ChunkedArray":
    import pyarrow.compute as pc

    values = batch.column(place[0])
    for name in place[1:]:
        values = pc.struct_field(values, name)
    return values


def _class_names(schema: "pa.Schema") -> dict[str, list[str]]:
    """Column -> the names that its numbers stand for, as `datasets` writes them into a table."""
    try:
        features = lookup(parse_json((schema.metadata or {}).get(b"huggingface", b"{}")), "info.features", {})
    except ValueError:
        return {}
    described = features.items() if isinstance(features, dict) else ()
    named = ((column, lookup(feature, "names")) for column, feature in described)
    return {
        column: names
        for column, names in named
        if isinstance(names, list) and all(isinstance(name, str) for name in names)
    }


class _Entry(tarfile.TarInfo):
    """An entry of a tar, whose name is not read into memory whatever size it claims to have."""

    def _proc_member(self, archive: tarfile.TarFile) -> "_Entry":
        if self.size > _MOST_HEADER_BYTES and not self.isreg() and self.type not in tarfile.REGULAR_TYPES:
            raise tarfile.ReadError(f"an entry that is no file claims {self.size:,} bytes")
        return super()._proc_member(archive)  # type: ignore[misc]


def _of_tar(path: Path, wanted: Wanted, most_total: int) -> Iterator[Member]:
    """Yield the recordings of a tar, read once from front to end; what has one name but for its ending is a sample.

    Where nothing is said of them, files such as 1.a.wav and 1.b.wav need not be held together in memory.
    """
    found, total, sample = _Found(wanted), 0, _Sample()
    mode: Any = "r|" if path.name.lower().endswith(".tar") else "r|gz"
    with tarfile.open(path, mode, tarinfo=_Entry) as archive:
        for entry in archive:
            archive.members = []  # type: ignore[attr-defined] # else it remembers all of them
            total += entry.size
            require_room(wanted.name, total, most_total)
            inner = entry.name.removeprefix("./")
            parts = PurePosixPath(inner)
            if entry.isdir() or parts.name.startswith("."):
                continue
            key, _, ending = parts.name.partition(".")
            if sample.key != (where := f"{parts.parent}/{key}"):
                yield from sample.members(found)
                sample = _Sample(where)
            if refused := _refused(entry, inner, wanted.most_bytes):
                yield Member(inner, b"", (), refused)
            else:
                content = archive.extractfile(entry).read()  # type: ignore[union-attr]
                sample.add(inner, ending, content, wanted.columns.audio)
                if sample.bytes > found.most_bytes:
                    if found.is_asked:
                        raise BrokenFileError(f"has more than {sample.bytes / 1e6:,.0f} MB in files called {where}.*")
                    yield from sample.members(found)
                    sample = _Sample(where)
        yield from sample.members(found)
    if total:  # of an empty one nothing can be said
        found.require_all()


def _refused(entry: tarfile.TarInfo, name: str, most_bytes: int) -> str:
    if not entry.isreg() or entry.issparse():
        return NO_FILE
    if not is_usable_path(name) or as_text(name) != name:
        return UNUSABLE_NAME
    return TOO_LARGE if entry.size > most_bytes else ""


class _Sample:
    """Files of a tar that belong together: recordings, and texts by the ending of their file."""

    def __init__(self, key: str = "") -> None:
        self.key, self.bytes = key, 0
        self._recordings: list[tuple[str, bytes]] = []
        self._texts: dict[str, bytes] = {}
        self._others: list[str] = []

    def add(self, name: str, ending: str, content: bytes, wanted: str | None) -> None:
        """Sort a file by what it is; `wanted` is the ending of recordings where it is named."""
        self.bytes += len(content)
        promised = SOUND_ENDINGS.get(PurePosixPath(name).suffix.lower())
        is_sound = ending == wanted if wanted else bool(promised or sound_format(BytesIO(content)))
        if is_sound:
            self._recordings.append((name, content))
        elif len(content) <= _MOST_TEXT_BYTES:
            self._texts[ending] = content
        if not is_sound:
            self._others.append(name)

    def members(self, found: "_Found") -> Iterator[Member]:
        """Yield its recordings with what its texts say; without any, its files are no audio."""
        try:
            stated, refused = found.stated(self._texts), ""
        except ValueError:
            stated, refused = [], NO_JSON
        for name, content in self._recordings:
            yield Member(name, content, stated, refused or ("" if content else EMPTY))
        if not self._recordings:
            yield from (Member(name, b"", (), NOT_AUDIO) for name in self._others)


class _Found:
    """What is said of the samples of a tar, and which columns any of them has."""

    def __init__(self, wanted: Wanted) -> None:
        self._stated, self._name, self._there = list(wanted.columns.stated.items()), wanted.name, wanted.there
        self._met: set[str] = set()
        self.is_asked = any(column != FROM_PATH for _, column in self._stated)
        """Whether the texts of a sample say anything that is wanted."""
        self.most_bytes = 2 * wanted.most_bytes if self.is_asked else _BYTES_AT_ONCE
        """Of a sample."""

    def stated(self, texts: Mapping[str, bytes]) -> list[str]:
        """Return what is said of one sample; ValueError where JSON that is wanted is none."""
        values: dict[str, str] = {}
        for ending, content in texts.items():
            values.update(self._fields(ending, content))
        if len(self._there) < _MOST_COLUMNS:
            self._there.update(values)
        self._met.update(column for _, column in self._stated if column in values)
        said = [
            split_of_path(self._name) if column == FROM_PATH else values.get(column, "") for _, column in self._stated
        ]
        return [_split(text) if what == "split" else text for (what, _), text in zip(self._stated, said, strict=True)]

    def _fields(self, ending: str, content: bytes) -> Iterable[tuple[str, str]]:
        if not ending.endswith("json"):
            return [(ending, content.decode(errors="replace").strip())]
        try:
            fields = parse_json(content)
        except ValueError:
            if any(column.startswith(f"{ending}.") for _, column in self._stated):
                raise
            return []
        return _flat(fields, ending) if isinstance(fields, dict) else []

    def require_all(self) -> None:
        """Raise BrokenFileError where no sample had a column that is named."""
        for _, column in self._stated:
            if column not in self._met and column != FROM_PATH:
                there = ", ".join(sorted(self._there)[:_MOST_NAMED]) or "none"
                raise BrokenFileError(f"has no column {column!r} (its columns are {there}); name one of its columns")


def _flat(fields: Mapping[str, Any], prefix: str) -> Iterable[tuple[str, str]]:
    for name, value in fields.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}.{name}")
        elif isinstance(value, str | int | float):
            yield f"{prefix}.{name}", str(value).strip()
