"""Tables of recordings as sources: which files they name, and what they state of each."""

import csv
import difflib
import os
import posixpath
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from wakeword_core.config import ROLES, SPLITS, SourceConfig
from wakeword_core.errors import DataError
from wakeword_core.recordings.sources import chooser
from wakeword_core.text import printable

if TYPE_CHECKING:
    import pandas as pd

SPAN = ("speech_start", "speech_end")
"""Columns that say where the word is in a recording that holds other speech besides, in seconds."""
STATED = ("label", "speaker", "licence", "role", "split", *SPAN)
"""Columns a table may have besides path; an empty cell states nothing."""
_ALSO_CALLED = {"license": "licence", "file_name": "path"}
_SPEAKER_IN_COMMON_VOICE, _CLIPS_IN_COMMON_VOICE = "client_id", "clips"
_ALLOWED: dict[str, Sequence[str]] = {"role": ROLES, "split": SPLITS}
_CLOSE = 0.75
_MOST_ROWS, _MOST_COLUMNS, _MOST_BYTES = 3_000_000, 1_000, 1 << 30
"""Of a table: what a small file may not grow beyond as it is read."""


def read_table(source: SourceConfig) -> "pd.DataFrame":
    """Read the rows that the source's patterns choose: path, and what the table has of `STATED`, all as text.

    DataError when the table is missing or broken, has no column path, a misspelt one, or a role or split that is none.
    """
    import pandas as pd

    table = source.table
    if not table.is_file():
        state = "is not a file" if os.path.lexists(table) else "does not exist"
        raise DataError(f"the table {table} of source {source.name!r} {state}; correct its path under data.sources")
    columns = _parquet(table, source.name) if table.suffix.lower() == ".parquet" else _text(table, source.name)
    rows = pd.DataFrame(columns, dtype="str")
    _check_rows(rows, source)
    rows["path"] = _paths(rows["path"], source.root)
    chosen = chooser(source) if source.columns is None else lambda path: True
    rows = rows[[chosen(path) for path in rows["path"]]].reset_index(drop=True)
    if rows.empty:
        raise DataError(f"the table {table} of source {source.name!r} has no rows that include and exclude leave")
    return rows


def _paths(stated: Iterable[str], root: Path) -> list[str]:
    """The paths of a table as paths below its folder, whoever wrote them.

    Windows' backslashes, ~ and $HOME are understood (no other variable: a table must not read the environment), and
    Common Voice leaves out the folder clips.
    """
    clips = (root / _CLIPS_IN_COMMON_VOICE).is_dir()
    home = os.path.expanduser("~")
    bases = {path.rstrip("/") + "/" for path in (os.path.abspath(root), os.path.realpath(root))}
    paths = []
    for path in stated:
        if path.startswith(("~/", "$HOME/", "${HOME}/")):
            path = posixpath.join(home, path.partition("/")[2])
        if "\\" in path and not os.path.lexists(root / path):
            path = path.replace("\\", "/")
        path = posixpath.normpath(path)
        for base in bases:
            path = path.removeprefix(base)
        if clips and "/" not in path and not os.path.lexists(root / path):
            path = f"{_CLIPS_IN_COMMON_VOICE}/{path}"
        paths.append(path)
    return paths


def _text(table: Path, name: str) -> dict[str, list[str]]:
    where = f"the table {table} of source {name!r}"
    try:
        if table.stat().st_size > _MOST_BYTES:
            raise _too_large(where, f"{table.stat().st_size / 1e6:,.0f} MB")
        if table.suffix.lower() == ".csv":
            return _fields(table, where, ",", csv.QUOTE_MINIMAL)
        with table.open(encoding="utf-8-sig") as file:
            if _SPEAKER_IN_COMMON_VOICE in file.readline().split("\t"):
                return _fields(table, where, "\t", csv.QUOTE_NONE)  # a quote is what somebody said
        try:
            return _fields(table, where, "\t", csv.QUOTE_MINIMAL)
        except _MisshapenError as error:
            try:
                return _fields(table, where, "\t", csv.QUOTE_NONE)
            except _MisshapenError:
                raise error from None
    except UnicodeDecodeError as error:
        raise DataError(f"{where} is not UTF-8 text (byte {error.start:,}); save it as UTF-8") from error
    except OSError as error:
        raise DataError(f"{where} cannot be read ({error.strerror})") from error


class _MisshapenError(DataError):
    """A line has other fields than the header, or quotes that do not fit."""


def _fields(table: Path, where: str, delimiter: str, quoting: Literal[0, 3]) -> dict[str, list[str]]:
    unquoted = _unquoted if quoting == csv.QUOTE_NONE else str.strip
    with table.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file, delimiter=delimiter, quoting=quoting, strict=True)
        try:
            header = [unquoted(field) for field in next(filter(None, lines), [])]
            places = _columns(header, where)
            columns: dict[str, list[str]] = {column: [] for column in places}
            for fields in lines:
                if not fields:
                    continue
                if len(fields) != len(header):
                    raise _MisshapenError(
                        f"line {lines.line_num} of {where} has {len(fields)} fields, but its header {len(header)}; "
                        "quote fields that hold the delimiter"
                    )
                if lines.line_num > _MOST_ROWS:
                    raise _too_large(where, f"more than {_MOST_ROWS:,} lines")
                for column, place in places.items():
                    columns[column].append(unquoted(fields[place]))
        except csv.Error as error:
            raise _MisshapenError(f"line {lines.line_num} of {where} is broken ({error}); correct it") from error
    return columns


def _unquoted(field: str) -> str:
    """A field of a plain table without the quotes around it, if somebody quoted it all the same."""
    field = field.strip()
    quoted = len(field) > 1 and field[0] == field[-1] == '"'
    return field[1:-1].replace('""', '"').strip() if quoted else field


def _too_large(where: str, size: str) -> DataError:
    return DataError(
        f"{where} has {size}, but at most {_MOST_ROWS:,} rows, {_MOST_COLUMNS:,} columns and "
        f"{_MOST_BYTES / 1e6:,.0f} MB are read; split it"
    )


def _parquet(table: Path, name: str) -> dict[str, list[str]]:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    where = f"the table {table} of source {name!r}"
    try:
        metadata = pq.read_metadata(table)
        if metadata.num_rows > _MOST_ROWS:
            raise _too_large(where, f"{metadata.num_rows:,} rows")
        if metadata.num_columns > _MOST_COLUMNS:
            raise _too_large(where, f"{metadata.num_columns:,} columns")
        schema = pq.read_schema(table)
        header = schema.names
        places = _columns(header, where)
        wanted = [header[place] for place in places.values()]
        for column in wanted:
            if pa.types.is_nested(kind := schema.field(column).type):
                raise DataError(f"the column {column} of {where} holds {kind}, but must be text; write it as text")
        with pq.ParquetFile(table, read_dictionary=wanted) as file:  # a text that is repeated is there once
            stated = _stated_bytes(metadata, wanted)
            if stated > _MOST_BYTES:
                raise _too_large(where, f"{stated / 1e6:,.0f} MB")
            content = file.read(columns=wanted)
        size = sum(_text_bytes(chunk) for column in content.columns for chunk in column.chunks)
        if size > _MOST_BYTES:
            raise _too_large(where, f"{size / 1e6:,.0f} MB of text")
        texts = {column: content[header[place]].cast(pa.large_string()) for column, place in places.items()}
        return {column: pc.utf8_trim_whitespace(pc.fill_null(text, "")).to_pylist() for column, text in texts.items()}
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{where} cannot be read ({' '.join(str(error).split())}); write it again") from error


def _stated_bytes(metadata: Any, wanted: Sequence[str]) -> int:
    """How many bytes the pages of some columns have once they are unpacked."""
    chunks = (
        metadata.row_group(group).column(column)
        for group in range(metadata.num_row_groups)
        for column in range(metadata.num_columns)
    )
    return sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema in wanted)


def _text_bytes(chunk: Any) -> int:
    """How many bytes the texts of a column have once each row has its own."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_dictionary(chunk.type):
        return int(chunk.nbytes)
    return pc.sum(pc.take(pc.binary_length(chunk.dictionary), chunk.indices)).as_py() or 0


def _columns(header: Sequence[str], where: str) -> dict[str, int]:
    """Known column -> its place in the header; others are left alone, but what looks like a slip is an error."""
    if len(header) > _MOST_COLUMNS:
        raise _too_large(where, f"{len(header):,} columns")
    names = [name.strip().casefold() for name in header]
    names = [_ALSO_CALLED.get(name, name) for name in names]
    if "speaker" not in names:
        names = ["speaker" if name == _SPEAKER_IN_COMMON_VOICE else name for name in names]
    known = ("path", *STATED)
    twice = [name for name in known if names.count(name) > 1]
    if twice:
        raise DataError(f"{where} has two columns {twice[0]!r}; remove one")
    missing = [column for column in known if column not in (*names, *SPAN)]  # many names are like a span's
    for name in names:
        close = difflib.get_close_matches(name, missing, 1, _CLOSE)
        if close and name not in known:
            raise DataError(f"{where} has a column {name!r}; did you mean {close[0]!r}? Rename or remove it")
    if "path" not in names:
        columns = ", ".join(header) or "no columns"
        other = next((mark for mark in ";,\t|" if len(header) == 1 and mark in header[0]), "")
        advice = (
            f"separate columns as its ending says, not by {other!r}" if other else "name the column of the files so"
        )
        raise DataError(f"{where} has no column path (it has {columns}); {advice}")
    if (half := [column for column in SPAN if column in names]) and len(half) < len(SPAN):
        raise DataError(f"{where} has a column {half[0]}, but {' and '.join(SPAN)} go together; add the other")
    return {name: names.index(name) for name in known if name in names}


def _check_rows(rows: "pd.DataFrame", source: SourceConfig) -> None:
    where = f"of the table {source.table} of source {source.name!r}"
    empty = rows.index[rows["path"] == ""]
    if len(empty):
        raise DataError(f"row {empty[0] + 1} {where} has no path; fill it in, or remove the row")
    if "licence" in rows and (misshapen := [text for text in rows["licence"].unique() if printable(text) != text]):
        number = rows.index[rows["licence"] == misshapen[0]][0] + 1
        raise DataError(
            f"row {number} {where} has the licence {misshapen[0]!r}, but it must be one line without control characters"
        )
    if SPAN[0] in rows:
        _check_spans(rows, where)
    for column, allowed in _ALLOWED.items():
        if column not in rows:
            continue
        wrong = rows.index[~rows[column].isin(["", *allowed])]
        if len(wrong):
            value = rows.at[wrong[0], column]
            raise DataError(
                f"row {wrong[0] + 1} {where} has the {column} {value!r}, but it must be empty or one of "
                f"{', '.join(allowed)}"
            )


def _check_spans(rows: "pd.DataFrame", where: str) -> None:
    import pandas as pd

    spans = rows[list(SPAN)]
    start, end = (pd.to_numeric(spans[column], errors="coerce") for column in SPAN)
    is_span = (start >= 0) & (start < end) & (end < float("inf"))
    wrong = rows.index[~is_span & (spans != "").any(axis=1)]
    if len(wrong):
        stated = " to ".join(spans.loc[wrong[0]])
        raise DataError(
            f"row {wrong[0] + 1} {where} says that the word is from {stated}, but it must be from some second to a "
            f"later one ({', '.join(SPAN)}), or both cells empty"
        )
