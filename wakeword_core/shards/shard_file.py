"""One Parquet shard as a file: its columns, its facts, and reading it back row group by row group."""

import itertools
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wakeword_core.audio import Pcm, decode_wav
from wakeword_core.errors import ArtifactError, DataError
from wakeword_core.files import parse_json, reading
from wakeword_core.recordings.row import RecordingRow, require_types, row_columns, row_schema

if TYPE_CHECKING:
    import pyarrow as pa

Wav = bytes | memoryview
"""The bytes of a mono 16-bit WAV file at the shards' rate."""

_ROW_GROUP_BYTES = 16 << 20
"""A row group is what a reader holds at once; one recording is never cut."""
_FACTS = "wakeword"
_STATE, _ADVICE = "is damaged", "build audio_shards again"


@dataclass(frozen=True)
class Recording(RecordingRow):
    """One recording: int16 [samples] at the shards' rate, and what it is."""

    audio: Pcm


def write_recordings(path: Path, rows: Iterable[tuple[RecordingRow, Wav]], sample_rate: int) -> list[int]:
    """Write (row, WAV file) to a Parquet file as they come; return the CRC-32 of each WAV file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema(sample_rate)
    sums: list[int] = []
    waiting: list[tuple[RecordingRow, Wav]] = []
    waiting_bytes = 0
    with pq.ParquetWriter(
        path,
        schema,
        compression="none",
        # the first names the row, so that no two are the same
        use_dictionary=[field.name for field in row_schema() if pa.types.is_string(field.type)][1:],
        write_statistics=False,
        write_page_checksum=True,
    ) as writer:
        for row, data in rows:
            sums.append(zlib.crc32(data))
            waiting.append((row, data))
            waiting_bytes += len(data)
            if waiting_bytes >= _ROW_GROUP_BYTES:
                writer.write_table(_table(waiting, schema))
                waiting.clear()
                waiting_bytes = 0
        if waiting or not sums:
            writer.write_table(_table(waiting, schema))
        writer.add_key_value_metadata({_FACTS: json.dumps({"sample_rate": sample_rate})})
    return sums


def _schema(sample_rate: int) -> "pa.Schema":
    """The columns, with the feature types that Hugging Face `datasets` keeps under the metadata key "huggingface"."""
    import pyarrow as pa

    features: dict[str, Any] = {"audio": {"sampling_rate": sample_rate, "_type": "Audio"}}
    for field in row_schema():
        features[field.name] = {"dtype": "string" if pa.types.is_string(field.type) else "float64", "_type": "Value"}
    audio = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return pa.schema([pa.field("audio", audio), *row_schema()], metadata=metadata)


def _table(rows: Sequence[tuple[RecordingRow, Wav]], schema: "pa.Schema") -> "pa.Table":
    import pyarrow as pa

    names = pa.array([f"{row.recording_id}.wav" for row, _ in rows], pa.string())
    columns = [pa.StructArray.from_arrays([_binary([data for _, data in rows]), names], names=["bytes", "path"])]
    columns += [pa.array([getattr(row, field.name) for row, _ in rows], field.type) for field in row_schema()]
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
    for table in _row_groups(path):
        yield from zip(table.drop_columns(["audio"]).to_pylist(), _wavs(table), strict=True)


def read_checksums(path: Path) -> list[tuple[str, int]]:
    """Read (recording_id, CRC-32 of the WAV file) of every row from the disk; ArtifactError if that fails."""
    sums: list[tuple[str, int]] = []
    for table in _row_groups(path):
        sums += zip(table.column("recording_id").to_pylist(), map(zlib.crc32, _wavs(table)), strict=True)
    return sums


def read_column(path: Path, name: str) -> list[Any]:
    """Read one column of a shard in its order, not its audio."""
    import pyarrow.parquet as pq

    with reading(path, _ADVICE, _STATE):
        table = pq.read_table(path, columns=[name], page_checksum_verification=True)
        values: list[Any] = table.column(name).to_pylist()
    return values


def _row_groups(path: Path) -> Iterator["pa.Table"]:
    """Every row group of a shard, its page checksums verified, one in memory at a time."""
    import pyarrow.parquet as pq

    audio = _schema(0).field("audio").type
    with reading(path, _ADVICE, _STATE), pq.ParquetFile(path, page_checksum_verification=True) as file:
        for group in range(file.num_row_groups):
            table = file.read_row_group(group).combine_chunks()
            if lacking := {"audio", *row_columns()} - set(table.column_names):
                raise ValueError(f"no column {sorted(lacking)[0]}")
            if table.schema.field("audio").type != audio:
                raise ValueError(f"its audio is of type {table.schema.field('audio').type}")
            require_types(table)
            yield table


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


def read_recordings(path: Path, roles: Sequence[str] | None = None) -> Iterator[Recording]:
    """Yield each recording (of some roles) of a shard, one row group in memory at a time; ArtifactError if damaged."""
    if roles is not None and set(roles).isdisjoint(read_column(path, "role")):
        return
    for columns, data in raw_rows(path):
        if roles is None or columns["role"] in roles:
            try:
                pcm, _ = decode_wav(data)
            except DataError as error:
                raise _damaged(path, f"recording {columns['recording_id']}: {error}") from error
            yield Recording(audio=pcm, **columns)


def read_sample_rate(path: Path) -> int:
    """Read the rate that the writer noted for all recordings of a shard; ArtifactError if it is damaged."""
    import pyarrow.parquet as pq

    with reading(path, _ADVICE, _STATE):
        metadata = pq.read_metadata(path).metadata or {}
        rate = int(parse_json(metadata[_FACTS.encode()])["sample_rate"])
    return rate
