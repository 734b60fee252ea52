"""Facts of recordings by their bytes, as columns: what was measured for one manifest is known for the next."""

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from wakeword_core.files import as_type, parse_json, reading

if TYPE_CHECKING:
    import pyarrow as pa

MEASURES = "measures.parquet"
HEADER: dict[str, Any] = {"sample_rate": 0, "channels": 0, "frames": 0, "seconds": np.nan}
LEVELS: dict[str, Any] = {"peak": np.nan, "rms_dbfs": np.nan, "clipped_ratio": np.nan, "finite": True}
SPEECH: dict[str, Any] = {"speech_ratio": np.nan, "speech_start": np.nan, "speech_end": np.nan, "heard": np.nan}
FINGERPRINT: dict[str, Any] = {"fingerprint": b""}
"""Empty where nothing can be told."""
_KINDS = b"kinds"
"""What a table says beside its columns: of which kinds these are, each by how it was measured."""
_PUT_AT_ONCE = 4_096


class Measures:
    """Facts about the distinct recordings of a manifest: one array a fact, which a row finds by its recording."""

    def __init__(self, recording_ids: pd.Series, earlier: "pa.Table | None" = None) -> None:
        self._row_places, distinct = pd.factorize(recording_ids)
        self._recording_ids: list[str] = distinct.tolist()
        self._places = {recording_id: place for place, recording_id in enumerate(self._recording_ids)}
        self._earlier = None if earlier is None else _rows_of(earlier, self._recording_ids)
        self._kinds: dict[str, Facts] = {}

    def column(self, kind: str, defaults: Mapping[str, Any], asked: pd.Series) -> "Facts":
        """Make room for the facts of one kind; of the rows that are `asked` for, an earlier table's of it are known."""
        facts = self._kinds[kind] = Facts(self._places, self._row_places, defaults)
        if self._earlier is not None and kind in _kinds_of(self._earlier):
            wanted = np.zeros(len(self._places), bool)
            wanted[self._row_places[asked.to_numpy()]] = True
            facts.put_all(self._earlier, wanted)
        return facts

    def table(self) -> "pa.Table":
        """Return a row for each recording, nulls where facts are not known: what is `earlier` to the next manifest."""
        import pyarrow as pa

        columns: dict[str, Any] = {"recording_id": self._recording_ids}
        for facts in self._kinds.values():
            columns |= facts.columns()
        return pa.table(columns, _schema().with_metadata({_KINDS: json.dumps(list(self._kinds))}))


def _schema() -> "pa.Schema":
    import pyarrow as pa

    types = {int: pa.int64(), float: pa.float64(), bool: pa.bool_(), bytes: pa.binary()}
    defaults = HEADER | LEVELS | SPEECH | FINGERPRINT
    return pa.schema({"recording_id": pa.string(), **{name: types[type(one)] for name, one in defaults.items()}})


def _kinds_of(table: "pa.Table") -> list[str]:
    return as_type(list[str], parse_json(table.schema.metadata[_KINDS]))


def _rows_of(earlier: "pa.Table", recording_ids: list[str]) -> "pa.Table":
    """Return the row of each recording, nulls where there is none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    large = {pa.string(): pa.large_string(), pa.binary(): pa.large_binary()}  # a column of others has at most 2 GiB
    fields = [field.with_type(large.get(field.type, field.type)) for field in earlier.schema]
    earlier = earlier.cast(pa.schema(fields, earlier.schema.metadata))
    known = earlier.column("recording_id").combine_chunks()
    return earlier.take(pc.index_in(pa.array(recording_ids, known.type), value_set=known))


class Facts:
    """The facts of one kind, by recording; `error` among them is kept beside."""

    def __init__(self, places: dict[str, int], row_places: np.ndarray, defaults: Mapping[str, Any]) -> None:
        self._places, self._row_places, self._defaults = places, row_places, defaults
        self._values = {
            name: np.full(len(places), default, dtype=object if isinstance(default, bytes) else None)
            for name, default in defaults.items()
        }
        self._errors: dict[int, str] = {}
        self._known = np.zeros(len(places), dtype=bool)

    def put(self, measured: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        """Remember (recording, facts), some thousands at a time; what is not among the facts keeps its default."""
        waiting = iter(measured)
        while batch := list(islice(waiting, _PUT_AT_ONCE)):
            places = [self._places[recording_id] for recording_id, _ in batch]
            self._known[places] = True
            for name, values in self._values.items():
                values[places] = [facts.get(name, self._defaults[name]) for _, facts in batch]
            self._errors.update(
                (place, facts["error"]) for place, (_, facts) in zip(places, batch, strict=True) if "error" in facts
            )

    def put_all(self, table: "pa.Table", wanted: np.ndarray) -> None:
        """Remember what a table, which is in the order of the recordings, has of the wanted ones; nulls are unknown."""
        import pyarrow as pa

        for name, values in self._values.items():
            column = table.column(name).combine_chunks()
            self._known = wanted & column.is_valid().to_numpy(zero_copy_only=False)
            values[self._known] = column.filter(pa.array(self._known)).to_numpy(zero_copy_only=False)

    def columns(self) -> "dict[str, pa.Array]":
        """Return the facts of all recordings as columns of a table: nulls where they are not known, or an error is."""
        import pyarrow as pa

        known = self._known.copy()
        known[list(self._errors)] = False
        return {name: pa.array(values, mask=~known) for name, values in self._values.items()}

    def unknown(self, rows: pd.Series) -> list[str]:
        """Return the recordings of chosen rows of which nothing is known, sorted: the cache finds neighbours faster."""
        recording_ids = list(self._places)
        places = pd.unique(self._row_places[rows.to_numpy() & ~self.known])
        return sorted(recording_ids[place] for place in places)

    @property
    def known(self) -> np.ndarray:
        """Tell whether each row's recording has been measured, bool [rows]."""
        return self._known[self._row_places]

    def values(self, name: str) -> np.ndarray:
        """Return a fact of each row, [rows]."""
        return self._values[name][self._row_places]

    def add_to(self, rows: pd.DataFrame, error_column: str = "") -> None:
        """Add a column a fact to `rows`, and the errors if they have a column."""
        for name in self._values:
            rows[name] = self.values(name)
        if error_column:
            rows[error_column] = [self._errors.get(place, "") for place in self._row_places.tolist()]


def read_measures(path: Path, columns: Sequence[str] | None = None) -> "pa.Table":
    """Read what was measured for a manifest, all or some columns; ArtifactError where it is damaged."""
    import pyarrow.parquet as pq

    with reading(path, "build the manifest again"):
        if not pq.read_schema(path).equals(_schema()):
            raise ValueError("it has other columns")
        table = pq.read_table(path, columns=columns, page_checksum_verification=True)
        _kinds_of(table)
    return table
