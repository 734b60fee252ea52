"""One Parquet shard as a file: its columns, its facts, and reading it back row group by row group."""

import hashlib
import itertools
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

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


def row_digest(facts: Mapping[str, Any], data: Wav) -> str:
    """Return the SHA-256 (hex) of all that a shard says of a recording and of its WAV file: by it a row is known."""
    values = [facts[name] for name in row_columns()]
    total = hashlib.sha256(canonical_json([None if value != value else value for value in values]).encode())
    total.update(data)
    return total.hexdigest()


def write_recordings(path: Path, rows: Iterable[tuple[RecordingRow, Wav]], sample_rate: int) -> list[int]:
    """Write (row, WAV file) to a Parquet file as they come; return the CRC-32 of each WAV file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema(sample_rate)
    digests: list[str] = []
    sums: list[int] = []
    waiting: list[tuple[RecordingRow, Wav]] = []
    waiting_bytes = 0
    with pq.ParquetWriter(
        path,
        schema,
        compression="none",
        # the first names the row, and so does its digest, so that no two are the same
        use_dictionary=[field.name for field in row_schema() if pa.types.is_string(field.type)][1:],
        write_statistics=False,
        write_page_checksum=True,
    ) as writer:
        for row, data in rows:
            digests.append(row_digest(vars(row), data))
            sums.append(zlib.crc32(data))
            waiting.append((row, data))
            waiting_bytes += len(data)
            if waiting_bytes >= _ROW_GROUP_BYTES:
                writer.write_table(_table(waiting, digests[-len(waiting) :], schema))
                waiting.clear()
                waiting_bytes = 0
        if waiting or not digests:
            writer.write_table(_table(waiting, digests[len(digests) - len(waiting) :], schema))
        writer.add_key_value_metadata({_FACTS: json.dumps({"sample_rate": sample_rate})})
    return sums


def _schema(sample_rate: int) -> "pa.Schema":
    """The columns, with the feature types that Hugging Face `datasets` keeps under the metadata key "huggingface"."""
    import pyarrow as pa

    features: dict[str, Any] = {"audio": {"sampling_rate": sample_rate, "_type": "Audio"}}
    for field in row_schema():
        features[field.name] = {"dtype": "string" if pa.types.is_string(field.type) else "float64", "_type": "Value"}
    features[DIGEST] = {"dtype": "string", "_type": "Value"}
    audio = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return pa.schema([pa.field("audio", audio), *row_schema(), pa.field(DIGEST, pa.string())], metadata=metadata)


def _table(rows: Sequence[tuple[RecordingRow, Wav]], digests: Sequence[str], schema: "pa.Schema") -> "pa.Table":
    import pyarrow as pa

    names = pa.array([f"{row.recording_id}.wav" for row, _ in rows], pa.string())
    columns = [pa.StructArray.from_arrays([_binary([data for _, data in rows]), names], names=["bytes", "path"])]
    columns += [pa.array([getattr(row, field.name) for row, _ in rows], field.type) for field in row_schema()]
    columns.append(pa.array(digests, pa.string()))
    return pa.Table.from_arrays(columns, schema=schema)


def _binary(values: Sequence[Wav]) -> "pa.Array":
    import pyarrow as pa

    ends = np.cumsum([0, *(len(value) for value in values)], dtype=np.int64)
    if ends[-1] > np.iinfo(np.int32).max:
        raise DataError("it holds more than 2 GB of audio, which no shard can hold; cut it in pieces")
    buffers = [None, pa.py_buffer(ends.astype(np.int32)), pa.py_buffer(b"".join(values))]
    return pa.Array.from_buffers(pa.binary(), len(values), buffers)


def raw_rows(path: Path) -> Iterator[tuple[dict[str, Any], memoryview]]:
    """Yield (all columns but the audio, WAV bytes) of every row, one row group in memory at a time."""
    for group in range(len(_group_ends(path))):
        yield from _read_group(path, group)


class RowReader:
    """The rows of a shard by their numbers, one row group in memory: where numbers rise, each group is read once."""

    def __init__(self, path: Path) -> None:
        self._path, self._ends = path, _group_ends(path)
        self._begin, self._rows = 0, list[tuple[dict[str, Any], memoryview]]()

    def row(self, number: int) -> tuple[dict[str, Any], memoryview]:
        """Return (all columns but the audio, WAV bytes) of one row; ArtifactError where there is none."""
        if not self._begin <= number < self._begin + len(self._rows):
            group = int(np.searchsorted(self._ends, number, "right"))
            if number < 0 or group == len(self._ends):
                raise _damaged(self._path, f"it has no row {number}")
            self._rows = _read_group(self._path, group)
            self._begin = int(self._ends[group]) - len(self._rows)
        return self._rows[number - self._begin]


def read_table(path: Path, names: Sequence[str]) -> "pa.Table":
    """Read some columns of a shard in its order, not its audio."""
    import pyarrow.parquet as pq

    with reading(path, _ADVICE, _STATE):
        table = pq.read_table(path, columns=list(names), page_checksum_verification=True)
        require_types(table)
    return table.replace_schema_metadata(None)


def read_column(path: Path, name: str) -> list[Any]:
    """Read one column of a shard in its order, not its audio."""
    values: list[Any] = read_table(path, [name]).column(name).to_pylist()
    return values


def _group_ends(path: Path) -> npt.NDArray[np.int64]:
    """Read up to which row each row group of a shard goes: [groups]."""
    import pyarrow.parquet as pq

    with reading(path, _ADVICE, _STATE):
        metadata = pq.read_metadata(path)
        return np.cumsum([metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)], dtype=int)


def _read_group(path: Path, group: int) -> list[tuple[dict[str, Any], memoryview]]:
    """Read a row group of a shard, its page checksums verified: columns, and audio that is not copied."""
    import pyarrow.parquet as pq

    schema = _schema(0)
    with reading(path, _ADVICE, _STATE), pq.ParquetFile(path, page_checksum_verification=True) as file:
        table = file.read_row_group(group).combine_chunks()
        if lacking := set(schema.names) - set(table.column_names):
            raise ValueError(f"no column {sorted(lacking)[0]}")
        if table.schema.field("audio").type != schema.field("audio").type:
            raise ValueError(f"its audio is of type {table.schema.field('audio').type}")
        require_types(table)
        return list(zip(table.drop_columns(["audio"]).to_pylist(), _wavs(table), strict=True))


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


def as_recording(path: Path, columns: Mapping[str, Any], data: Wav) -> Recording:
    """Return a row of the shard at `path` as a recording; ArtifactError when its audio is damaged.

    The samples are a view of `data`: whoever keeps them keeps the row group that they were read with.
    """
    try:
        pcm, _ = decode_wav(data)
    except DataError as error:
        raise _damaged(path, f"recording {columns['recording_id']}: {error}") from error
    return Recording(audio=pcm, **{name: columns[name] for name in row_columns()})


def read_recordings(path: Path) -> Iterator[Recording]:
    """Yield each recording of a shard, `as_recording`, by row group; ArtifactError if damaged."""
    for columns, data in raw_rows(path):
        yield as_recording(path, columns, data)


def read_sample_rate(path: Path) -> int:
    """Read the rate that the writer noted for all recordings of a shard; ArtifactError if it is damaged."""
    import pyarrow.parquet as pq

    with reading(path, _ADVICE, _STATE):
        metadata = pq.read_metadata(path).metadata or {}
        rate = int(parse_json(metadata[_FACTS.encode()])["sample_rate"])
    return rate
