"""What is known of a recording wherever it is listed or kept: one row for the manifest, the shards and mined clips."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from wakeword_core.files import canonical_json

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_HASHED_AT_ONCE = 4_096


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


def hash_rows(rows: Iterable[Sequence[Any]]) -> str:
    """Hash rows as JSON lists (SHA-256, hex), with a part in memory at a time."""
    total, between, waiting = hashlib.sha256(b"["), b"", iter(rows)
    while part := list(islice(waiting, _HASHED_AT_ONCE)):
        total.update(between + canonical_json(part)[1:-1].encode())
        between = b","
    total.update(b"]")
    return total.hexdigest()


def hash_table(frame: "pd.DataFrame") -> str:
    """Hash the rows of a table as `hash_rows` does, missing values as null."""
    parts = (frame.iloc[start : start + _HASHED_AT_ONCE] for start in range(0, len(frame), _HASHED_AT_ONCE))
    rows = chain.from_iterable(map(plain_rows, parts))
    return hash_rows([None if one != one else one for one in row] for row in rows)


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
