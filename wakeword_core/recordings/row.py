"""What is known of a recording wherever it is listed or kept: one row for the manifest, the shards and mined clips."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
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


def plain_rows(frame: "pd.DataFrame") -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a table as tuples of Python's values: where they are text, pandas takes three times as long."""
    return zip(*(frame[name].tolist() for name in frame.columns), strict=True)


def places_by_id(rows: "pd.DataFrame") -> dict[str, str]:
    """Return where each recording of manifest rows lies, below the name of its source, by `recording_id`."""
    return dict(zip(rows["recording_id"].tolist(), (rows["source"] + "/" + rows["path"]).tolist(), strict=True))


def row_schema(row: type[RecordingRow] = RecordingRow) -> "pa.Schema":
    """Return the Parquet schema of a table of such rows."""
    import pyarrow as pa

    types = {str: pa.string(), bool: pa.bool_(), int: pa.int64(), float: pa.float64()}
    return pa.schema([(field.name, types[field.type]) for field in fields(row)])  # type: ignore[index]


def require_types(table: "pa.Table", row: type[RecordingRow] = RecordingRow) -> None:
    """Raise ValueError where a column of a table that anybody may have written is of another kind than a row's."""
    import pyarrow.types as kinds

    def kind_of(column: "pa.DataType") -> str:
        if kinds.is_string(column) or kinds.is_large_string(column):
            return "text"
        return "numbers" if kinds.is_integer(column) or kinds.is_floating(column) else str(column)

    for field in row_schema(row):
        if field.name in table.column_names:
            stored = table.schema.field(field.name).type
            if kind_of(stored) != kind_of(field.type):
                raise ValueError(f"its {field.name} is of type {stored}")
