"""One Parquet shard as a file: its columns, its facts, and reading it back row group by row group."""

import hashlib
import itertools
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from wakeword_core.audio import Pcm, decode_wav
from wakeword_core.errors import ArtifactError, DataError
from wakeword_core.files import canonical_json, parse_json, reading
from wakeword_core.recordings.row import RecordingRow, require_types, row_columns, row_schema

if TYPE_CHECKING:
    import pyarrow as pa

Wav = bytes | memoryview
"""The bytes of a mono 16-bit WAV file at the shards' rate."""
RawRow = tuple[tuple[Any, ...], Wav]
"""What a shard says of a recording, in the order of `row_columns`, and its WAV file."""

_ROW_GROUP_BYTES = 16 << 20
"""A row group is what a reader holds at once; one recording is never cut."""
DIGEST = "digest"
"""The column with the `row_digest` of each row."""
_FACTS = "wakeword"
_STATE, _ADVICE = "is damaged", "build audio_shards again"


@dataclass(frozen=True)
class Recording(RecordingRow):
    """One recording: int16 [samples] at the shards' rate, and what it is."""

    audio: Pcm


def row_digest(facts: Sequence[Any], data: Wav) -> str:
    """Return the SHA-256 (hex) of a row's columns, as `row_columns` orders them, and of its WAV file."""
    total = hashlib.sha256(canonical_json([None if value != value else value for value in facts]).encode())
    total.update(data)
    return total.hexdigest()


@dataclass(frozen=True)
class Sums:
    """Size in bytes, SHA-256 (hex) and CRC-32 of a file as it was written."""

    size: int
    sha256: str
    crc32: int


class _Summed:
    """A file to write to, which is summed up on the way."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._sha256, self._crc32, self._size = file, hashlib.sha256(), 0, 0
        self.closed = False

    def write(self, data: bytes) -> int:
        self._sha256.update(data)
        self._crc32 = zlib.crc32(data, self._crc32)
        self._size += len(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()

    def sums(self) -> Sums:
        return Sums(self._size, self._sha256.hexdigest(), self._crc32)


def write_recordings(path: Path, rows: Iterable[tuple[RecordingRow, Wav]], sample_rate: int) -> Sums:
    """Write (row, WAV file) to a Parquet file as they come; return the sums of what was written."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema(sample_rate)
    facts_of = attrgetter(*row_columns())
    written, waiting, waiting_bytes = 0, list[RawRow](), 0
    with (
        path.open("wb", buffering=0) as file,
        pq.ParquetWriter(
            summed := _Summed(file),
            schema,
            compression="none",
            # the first names the row, and so does its digest, so that no two are the same
            use_dictionary=[field.name for field in row_schema() if pa.types.is_string(field.type)][1:],
            write_statistics=False,
            write_page_checksum=True,
        ) as writer,
    ):
        for row, data in rows:
            waiting.append((facts_of(row), data))
            waiting_bytes += len(data)
            if waiting_bytes >= _ROW_GROUP_BYTES:
                writer.write_table(_table(waiting, schema))
                written += len(waiting)
                waiting.clear()
                waiting_bytes = 0
        if waiting or not written:
            writer.write_table(_table(waiting, schema))
        writer.add_key_value_metadata({_FACTS: json.dumps({"sample_rate": sample_rate})})
    return summed.sums()


def _schema(sample_rate: int) -> "pa.Schema":
    """The columns, with the feature types that Hugging Face `datasets` keeps under the metadata key "huggingface"."""
    import pyarrow as pa

    features: dict[str, Any] = {"audio": {"sampling_rate": sample_rate, "_type": "Audio"}}
    for field in row_schema():
        features[field.name] = {"dtype": "string" if pa.types.is_string(field.type) else "float64", "_type": "Value"}
    features[DIGEST] = {"dtype": "string", "_type": "Value"}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return pa.schema(
        [pa.field("audio", _audio_type()), *row_schema(), pa.field(DIGEST, pa.string())], metadata=metadata
    )


def _audio_type() -> "pa.DataType":
    import pyarrow as pa

    return pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])


def _table(rows: Sequence[RawRow], schema: "pa.Schema") -> "pa.Table":
    import pyarrow as pa

    facts = dict(zip(row_columns(), zip(*(facts for facts, _ in rows), strict=True), strict=bool(rows)))
    data = [one for _, one in rows]
    names = pa.array([f"{recording_id}.wav" for recording_id in facts.get("recording_id", ())], pa.string())
    columns = [pa.StructArray.from_arrays([_binary(data), names], names=["bytes", "path"])]
    columns += [pa.array(facts.get(field.name, ()), field.type) for field in row_schema()]
    columns.append(pa.array([row_digest(*row) for row in rows], pa.string()))
    return pa.Table.from_arrays(columns, schema=schema)


def _binary(values: Sequence[Wav]) -> "pa.Array":
    import pyarrow as pa

    ends = np.cumsum([0, *(len(value) for value in values)], dtype=np.int64)
    if ends[-1] > np.iinfo(np.int32).max:
        raise DataError("it holds more than 2 GB of audio, which no shard can hold; cut it in pieces")
    buffers = [None, pa.py_buffer(ends.astype(np.int32)), pa.py_buffer(b"".join(values))]
    return pa.Array.from_buffers(pa.binary(), len(values), buffers)


def raw_rows(path: Path) -> Iterator[RawRow]:
    """Yield every row of a shard, one row group in memory at a time."""
    reader = RowReader(path)
    return reader.rows(0, len(reader))


class RowReader:
    """The rows of a shard by their numbers, one row group in memory: where numbers rise, each group is read once."""

    def __init__(self, path: Path) -> None:
        self._path, self._ends = path, _group_ends(path)
        self._begin, self._group = 0, list[RawRow]()

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def rows(self, begin: int, end: int) -> Iterator[RawRow]:
        """Yield the rows from one number up to another; ArtifactError where there are none of these."""
        if not 0 <= begin <= end <= len(self):
            raise _damaged(self._path, f"it has no rows {begin} to {end}")
        while begin < end:
            if not self._begin <= begin < self._begin + len(self._group):
                group = int(np.searchsorted(self._ends, begin, "right"))
                self._group = []  # before the next is read: one is in memory
                self._group = _read_group(self._path, group)
                self._begin = int(self._ends[group]) - len(self._group)
            here = self._group[begin - self._begin : end - self._begin]
            begin += len(here)
            yield from here


def read_table(path: Path, names: Sequence[str]) -> "pa.Table":
    """Read some columns of a shard in its order, not its audio."""
    import pyarrow.parquet as pq

    with reading(path, _ADVICE, _STATE):
        table = pq.read_table(path, columns=list(names), page_checksum_verification=True)
        require_types(table)
    return table.replace_schema_metadata(None)


def _group_ends(path: Path) -> npt.NDArray[np.int64]:
    """Read up to which row each row group of a shard goes: [groups]."""
    import pyarrow.parquet as pq

    with reading(path, _ADVICE, _STATE):
        metadata = pq.read_metadata(path)
        return np.cumsum([metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)], dtype=int)


def _read_group(path: Path, group: int) -> list[RawRow]:
    """Read a row group of a shard, its page checksums verified; audio is not copied."""
    import pyarrow.parquet as pq

    names = row_columns()
    with reading(path, _ADVICE, _STATE), pq.ParquetFile(path, page_checksum_verification=True) as file:
        table = file.read_row_group(group, columns=["audio", *names]).combine_chunks()
        if lacking := {"audio", *names} - set(table.column_names):
            raise ValueError(f"no column {sorted(lacking)[0]}")
        if table.schema.field("audio").type != _audio_type():
            raise ValueError(f"its audio is of type {table.schema.field('audio').type}")
        require_types(table)
        facts = (table.column(name).to_numpy().tolist() for name in names)
        return list(zip(zip(*facts, strict=True), _wavs(table), strict=True))


def _wavs(table: "pa.Table") -> Iterator[memoryview]:
    """The audio of one row group, not copied."""
    for chunk in table.column("audio").chunks:
        if not len(chunk):
            continue
        column = chunk.field("bytes")
        data = memoryview(column.buffers()[2] or b"")
        ends = np.frombuffer(column.buffers()[1], np.int32)[column.offset : column.offset + len(column) + 1].tolist()
        for begin, end in itertools.pairwise(ends):
            yield data[begin:end]


def _damaged(path: Path, why: str) -> ArtifactError:
    return ArtifactError(f"{path} {_STATE} ({why}); {_ADVICE}")


def as_recording(path: Path, facts: Sequence[Any], data: Wav, *, copies: bool = False) -> Recording:
    """Return a row of the shard at `path` as a recording; ArtifactError when its audio is damaged.

    Unless it `copies` them, the samples are a view of `data`: who keeps them keeps the row group they were read with.
    """
    try:
        pcm, _ = decode_wav(data)
    except DataError as error:
        raise _damaged(path, f"recording {facts[0]}: {error}") from error
    return Recording(*[*facts, pcm.copy() if copies else pcm])


def read_recordings(path: Path) -> Iterator[Recording]:
    """Yield each recording of a shard, `as_recording`, by row group; ArtifactError if damaged."""
    for facts, data in raw_rows(path):
        yield as_recording(path, facts, data)


def read_sample_rate(path: Path) -> int:
    """Read the rate that the writer noted for all recordings of a shard; ArtifactError if it is damaged."""
    import pyarrow.parquet as pq

    with reading(path, _ADVICE, _STATE):
        metadata = pq.read_metadata(path).metadata or {}
        rate = int(parse_json(metadata[_FACTS.encode()])["sample_rate"])
    return rate
