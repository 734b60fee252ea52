"""What is known of a recording wherever it is listed or kept: one row for the manifest, the shards and mined clips."""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class RecordingRow:
    """A recording: what is said, by whom and where it is from. Times are in seconds, NaN where they are unknown."""

    recording_id: str
    """SHA-256 of its bytes (hex), which it is known by everywhere; of a mined clip, of its sound as a WAV file."""
    label: str
    role: str
    speaker: str
    source: str
    seconds: float
    speech_start: float
    speech_end: float


def row_columns(row: type[RecordingRow] = RecordingRow) -> tuple[str, ...]:
    """Return the columns of a table of such rows, in order."""
    return tuple(field.name for field in fields(row))


def row_schema(row: type[RecordingRow] = RecordingRow) -> "pa.Schema":
    """Return the Parquet schema of a table of such rows."""
    import pyarrow as pa

    types = {str: pa.string(), bool: pa.bool_(), int: pa.int64(), float: pa.float64()}
    return pa.schema([(field.name, types[field.type]) for field in fields(row)])  # type: ignore[index]
