"""One Parquet shard as a file: its columns, its sums, and reading it back row group by row group."""

import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wakeword_core.audio import Pcm, decode_wav, encode_wav
from wakeword_core.errors import ArtifactError, DataError

if TYPE_CHECKING:
    import pyarrow as pa

SHARDS_VERSION = 1
"""Part of every shard's key; raised when the same recordings would give other bytes."""
TEXT_COLUMNS = ("id", "label", "role", "speaker", "source")
SPEECH_COLUMNS = ("speech_start", "speech_end")
_ROW_GROUP_BYTES = 16 << 20
"""A row group is what a reader holds at once; one recording is never cut."""
_SUMS = "wakeword"


@dataclass(frozen=True)
class Recording:
    """One recording: int16 [samples] at the shards' rate, and what it is; times in seconds, NaN where unknown."""

    id: str
    label: str
    role: str
    speaker: str
    source: str
    seconds: float
    speech_start: float
    speech_end: float
    audio: Pcm


def write_recordings(path: Path, rows: Iterable[tuple[Any, Pcm]], sample_rate: int) -> list[int]:
    """Write (manifest row, int16 [samples]) to a Parquet file as they come; the CRC-32 of each WAV file."""
    import pyarrow.parquet as pq

    schema = _schema(sample_rate)
    sums: list[int] = []
    whole = hashlib.sha256()
    waiting: list[tuple[Any, bytes, float]] = []
    waiting_bytes = 0
    with pq.ParquetWriter(
        path,
        schema,
        compression="none",
        use_dictionary=list(TEXT_COLUMNS[1:]),
        write_statistics=False,
        write_page_checksum=True,
    ) as writer:
        for row, pcm in rows:
            data = encode_wav(pcm, sample_rate)
            sums.append(zlib.crc32(data))
            whole.update(data)
            waiting.append((row, data, len(pcm) / sample_rate))
            waiting_bytes += len(data)
            if waiting_bytes >= _ROW_GROUP_BYTES:
                writer.write_table(_table(waiting, schema))
                waiting.clear()
                waiting_bytes = 0
        if waiting or not sums:
            writer.write_table(_table(waiting, schema))
        facts = {"version": SHARDS_VERSION, "rows": len(sums), "sample_rate": sample_rate, "audio": whole.hexdigest()}
        writer.add_key_value_metadata({_SUMS: json.dumps(facts, sort_keys=True)})
    return sums


def _schema(sample_rate: int) -> "pa.Schema":
    """The columns, with the feature types that Hugging Face `datasets` keeps under the metadata key "huggingface"."""
    import pyarrow as pa

    numbers = ("seconds", *SPEECH_COLUMNS)
    features: dict[str, Any] = {"audio": {"sampling_rate": sample_rate, "_type": "Audio"}}
    features |= {name: {"dtype": "string", "_type": "Value"} for name in TEXT_COLUMNS}
    features |= {name: {"dtype": "float64", "_type": "Value"} for name in numbers}
    audio = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
    fields = [pa.field("audio", audio), *(pa.field(name, pa.string()) for name in TEXT_COLUMNS)]
    fields += [pa.field(name, pa.float64()) for name in numbers]
    return pa.schema(fields, metadata={"huggingface": json.dumps({"info": {"features": features}})})


def _table(rows: Sequence[tuple[Any, bytes, float]], schema: "pa.Schema") -> "pa.Table":
    import pyarrow as pa

    columns: dict[str, Any] = {"audio": [{"bytes": data, "path": f"{row.id}.wav"} for row, data, _ in rows]}
    columns |= {name: [getattr(row, name) for row, _, _ in rows] for name in TEXT_COLUMNS}
    columns["seconds"] = [seconds for _, _, seconds in rows]
    columns |= {name: [float(getattr(row, name)) for row, _, _ in rows] for name in SPEECH_COLUMNS}
    return pa.Table.from_pydict(columns, schema=schema)


def raw_rows(path: Path) -> Iterator[tuple[dict[str, Any], str, memoryview]]:
    """(other columns, id, WAV bytes) of every row, one row group in memory at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group).combine_chunks()
                audio = table.column("audio").combine_chunks().field("bytes")
                others = table.drop_columns(["audio"]).to_pylist()
                for index, other in enumerate(others):
                    yield other, other["id"], memoryview(audio[index].as_buffer())
    except (OSError, KeyError, pa.ArrowException) as error:
        raise ArtifactError(f"{path} is damaged ({str(error).splitlines()[0]}); build audio_shards again") from error


def read_recordings(path: Path, roles: Sequence[str] | None = None) -> Iterator[Recording]:
    """Every recording (of some roles) of one shard, one row group in memory at a time; ArtifactError if damaged."""
    for other, one, data in raw_rows(path):
        if roles is None or other["role"] in roles:
            try:
                pcm, _ = decode_wav(data)
            except DataError as error:
                raise ArtifactError(f"{path} is damaged: recording {one}: {error}; build audio_shards again") from error
            yield Recording(audio=pcm, **other)


def file_sums(path: Path) -> dict[str, Any]:
    """What the writer noted: version, rows, sample_rate, and audio: the SHA-256 over all WAV bytes in order."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_metadata(path).metadata or {}
        facts: dict[str, Any] = json.loads(metadata[_SUMS.encode()])
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise ArtifactError(f"{path} is damaged (no sums: {error}); build audio_shards again") from error
    return facts


def check_sums(path: Path) -> list[str]:
    """Read all audio of one shard; a sentence if it is not what was written, bit for bit."""
    facts = file_sums(path)
    whole, count = hashlib.sha256(), 0
    for _, _, data in raw_rows(path):
        whole.update(data)
        count += 1
    if count != facts["rows"]:
        return [f"{path} has {count} recordings, {facts['rows']} were written; build audio_shards again"]
    if whole.hexdigest() != facts["audio"]:
        return [f"{path} holds other audio than was written; build audio_shards again"]
    return []
