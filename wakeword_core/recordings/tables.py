"""Tables of recordings (CSV, TSV, Parquet): which files there are, and what is stated about each."""

import csv
import difflib
import os
import posixpath
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wakeword_core.config import ROLES, SPLITS, SourceConfig
from wakeword_core.errors import DataError
from wakeword_core.recordings.walk import Found, chooser, file_state, inside

if TYPE_CHECKING:
    import pandas as pd

STATED = ("label", "speaker", "licence", "role", "split")
"""Columns a table may have besides path; an empty cell states nothing."""
_ALSO_CALLED = {"license": "licence", "file_name": "path"}
_ALLOWED: dict[str, Sequence[str]] = {"role": ROLES, "split": SPLITS}
_CLOSE = 0.75
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_REFUSED = "cannot be read (a path that leads outside its source's folder; copy the recording into it)"
_NO_NAME = "cannot be read (no file can have this name)"


def read_table(source: SourceConfig) -> "pd.DataFrame":
    """The rows that the source's patterns choose: path, and those of `STATED` that the table has, all as text.

    DataError when the table is missing or broken, has no column path, a misspelt one, or a role or split that is none.
    """
    import pandas as pd

    table = source.path
    if not table.is_file():
        state = "is not a file" if os.path.lexists(table) else "does not exist"
        raise DataError(f"the table {table} of source {source.name!r} {state}; correct its path under data.sources")
    columns = _parquet(table, source.name) if table.suffix.lower() == ".parquet" else _text(table, source.name)
    rows = pd.DataFrame(columns, dtype="str")
    _check_rows(rows, source)
    rows["path"] = [posixpath.normpath(path) for path in rows["path"]]
    chosen = chooser(source)
    rows = rows[[chosen(path) for path in rows["path"]]].reset_index(drop=True)
    if rows.empty:
        raise DataError(f"the table {table} of source {source.name!r} has no rows that include and exclude leave")
    return rows


def locate(root: str, paths: Iterable[str]) -> Iterator[Found]:
    """What lies at each path relative to the resolved folder `root`; a path that leaves it is not looked at."""
    within: dict[str, bool] = {}
    for path in paths:
        if "\0" in path:
            yield Found(path, 0, 0, _NO_NAME)
            continue
        whole = posixpath.join(root, path)  # an absolute path replaces the root
        folder = posixpath.dirname(whole)
        if folder not in within:
            within[folder] = not posixpath.isabs(path) and inside(folder, root)
        safe = within[folder] and (not os.path.islink(whole) or inside(whole, root))
        yield Found(path, *(file_state(whole) if safe else (0, 0, _REFUSED)))


def _text(table: Path, name: str) -> dict[str, list[str]]:
    where = f"the table {table} of source {name!r}"
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, delimiter=_DELIMITERS[table.suffix.lower()], strict=True)
            header = next(lines, [])
            places = _columns(header, where)
            columns: dict[str, list[str]] = {column: [] for column in places}
            for fields in lines:
                if not fields:
                    continue
                if len(fields) != len(header):
                    raise DataError(
                        f"line {lines.line_num} of {where} has {len(fields)} fields, but its header {len(header)}; "
                        "quote fields that hold the delimiter"
                    )
                for column, place in places.items():
                    columns[column].append(fields[place].strip())
    except csv.Error as error:
        raise DataError(f"line {lines.line_num} of {where} is broken ({error}); correct it") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{where} is not UTF-8 text (byte {error.start:,}); save it as UTF-8") from error
    except OSError as error:
        raise DataError(f"{where} cannot be read ({error.strerror})") from error
    return columns


def _parquet(table: Path, name: str) -> dict[str, list[str]]:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    where = f"the table {table} of source {name!r}"
    try:
        with pq.ParquetFile(table) as file:
            header = file.schema_arrow.names
            places = _columns(header, where)
            content = file.read(columns=[header[place] for place in places.values()])
        texts = {column: content[header[place]].cast(pa.large_string()) for column, place in places.items()}
        return {column: pc.utf8_trim_whitespace(pc.fill_null(text, "")).to_pylist() for column, text in texts.items()}
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{where} cannot be read ({' '.join(str(error).split())}); write it again") from error


def _columns(header: Sequence[str], where: str) -> dict[str, int]:
    """Known column -> its place in the header; others are left alone, but what looks like a slip is an error."""
    names = [name.strip().casefold() for name in header]
    names = [_ALSO_CALLED.get(name, name) for name in names]
    known = ("path", *STATED)
    twice = [name for name in known if names.count(name) > 1]
    if twice:
        raise DataError(f"{where} has two columns {twice[0]!r}; remove one")
    for name in names:
        close = difflib.get_close_matches(name, [one for one in known if one not in names], 1, _CLOSE)
        if close and name not in known:
            raise DataError(f"{where} has a column {name!r}; did you mean {close[0]!r}? Rename or remove it")
    if "path" not in names:
        shown = ", ".join(header) or "no columns"
        raise DataError(f"{where} has no column path (it has {shown}); name the column of the files so")
    return {name: names.index(name) for name in known if name in names}


def _check_rows(rows: "pd.DataFrame", source: SourceConfig) -> None:
    where = f"of the table {source.path} of source {source.name!r}"
    empty = rows.index[rows["path"] == ""]
    if len(empty):
        raise DataError(f"row {empty[0] + 1} {where} has no path; fill it in, or remove the row")
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
