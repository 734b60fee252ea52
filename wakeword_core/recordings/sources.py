"""Which recordings a source has: the files of its folder, or those that its table names and what it states of each."""

import csv
import difflib
import os
import posixpath
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from wakeword_core.config import ROLES, SPLITS, SourceConfig
from wakeword_core.errors import DataError
from wakeword_core.globs import glob_regex
from wakeword_core.text import printable

if TYPE_CHECKING:
    import pandas as pd

AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".au"})
_OTHER_SOUND = frozenset({".m4a", ".aac", ".wma", ".mp4", ".amr", ".webm", ".3gp", ".caf"})
"""Sound that is not read: it is mentioned, so that nobody wonders where it went."""
_EVERYTHING = ("**/*",)
_OUTSIDE = "a link that leads outside its source's folder; copy the recording into it"
_NO_FILE = "no ordinary file"


class SourceFile(NamedTuple):
    """A file of a source: its path relative to the root (with /), size in bytes, mtime, and why it cannot be read."""

    path: str
    size: int
    mtime_ns: int
    error: str


def find_recordings(source: SourceConfig) -> tuple[list[SourceFile], str]:
    """List a folder's recordings, sorted by path, and say what other sound there is, which is not read; empty if none.

    Hidden files and folders are left out. DataError when the folder is missing or cannot be listed, when nothing in it
    matches, or when a folder in it is a link to somewhere outside. A link to a file outside is listed with an error.
    """
    root = source.path
    if not root.is_dir():
        state = "is not a folder" if root.exists() else "does not exist"
        raise DataError(f"the folder {root} of source {source.name!r} {state}; correct its path under data.sources")
    files, other_sound = _chosen(source, os.path.realpath(root))
    readable = ", ".join(sorted(suffix.removeprefix(".") for suffix in AUDIO_SUFFIXES))
    remark = ""
    if other_sound:
        remark = (
            f"{len(other_sound)} files of source {source.name!r}, such as {other_sound[0]}, are not read: "
            f"convert them to one of {readable}"
        )
    if not files:
        raise DataError(
            f"source {source.name!r} has no recordings: no file of type {readable} in {root} matches include "
            f"{', '.join(source.include)}" + (f" and not exclude {', '.join(source.exclude)}" if source.exclude else "")
            + (f"; {remark}" if remark else "")
        )  # fmt: skip
    files.sort()
    for file in files:
        if not file.path.isascii() and file.path.encode(errors="ignore").decode() != file.path:
            raise DataError(f"source {source.name!r} has a file whose name is not valid text: {file.path!r}; rename it")
    return files, remark


def chooser(source: SourceConfig) -> Callable[[str], bool]:
    """Return a function that tells whether `include` takes a relative path and `exclude` does not leave it out."""
    included, excluded = any_glob(source.include), any_glob(source.exclude)
    if source.include == _EVERYTHING and not source.exclude:
        return lambda path: True
    return lambda path: included(path) and not excluded(path)


def any_glob(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Return a function that tells whether a relative path matches one of the glob patterns."""
    if not patterns:
        return lambda path: False
    match = re.compile("|".join(f"(?:{glob_regex(pattern)})" for pattern in patterns)).fullmatch
    return lambda path: match(path) is not None


def inside(path: str, base: str) -> bool:
    """Tell whether `path`, its links resolved, lies in the resolved folder `base`."""
    real = os.path.realpath(path)
    return real == base or real.startswith(base.rstrip(os.sep) + os.sep)


def file_state(file: str | os.DirEntry[str]) -> tuple[int, int, str]:
    """Return size, mtime in ns and error of what `file` leads to; the error, if any, says why it cannot be read."""
    try:
        state = os.stat(file) if isinstance(file, str) else file.stat()
    except OSError as error:
        return _unread(error.strerror)
    if not stat.S_ISREG(state.st_mode):  # opening a pipe would wait for ever
        return _unread(_NO_FILE)
    return state.st_size, state.st_mtime_ns, ""


def _unread(why: str | None) -> tuple[int, int, str]:
    return 0, 0, f"cannot be read ({why})"


def _chosen(source: SourceConfig, base: str) -> tuple[list[SourceFile], list[str]]:
    """The recordings below `base` that the source's patterns choose, and other sound; both unsorted."""
    chosen = chooser(source)
    files: list[SourceFile] = []
    other_sound: list[str] = []
    for prefix, entry in _walk(base, source):
        name = entry.name
        suffix = name[name.rfind(".") :].lower()
        path = prefix + name
        if suffix in AUDIO_SUFFIXES:
            if chosen(path):
                outside = entry.is_symlink() and not inside(entry.path, base)
                files.append(SourceFile(path, *(_unread(_OUTSIDE) if outside else file_state(entry))))
        elif suffix in _OTHER_SOUND and chosen(path):
            other_sound.append(path)
    return files, sorted(other_sound)


def _walk(base: str, source: SourceConfig) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """(folder relative to `base` with a /, entry) of everything but folders; each folder is visited once.

    A link to a folder counts where the folder is not met without it, as when it is hidden.
    """
    excluded = any_glob(source.exclude)
    folders, links = [("", base)], list[tuple[str, str]]()
    visited: set[tuple[int, int]] = set()
    while folders or links:
        prefix, folder = folders.pop() if folders else links.pop()
        try:
            state = os.stat(folder)
            if (state.st_dev, state.st_ino) in visited:
                continue
            visited.add((state.st_dev, state.st_ino))
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        folders.append((f"{prefix}{entry.name}/", entry.path))
                    elif entry.is_symlink() and os.path.isdir(entry.path):  # is_dir() fails on a circle of links
                        if _followed(entry, prefix, base, source, excluded):
                            links.append((f"{prefix}{entry.name}/", entry.path))
                    else:
                        yield prefix, entry
        except OSError as error:
            where = error.filename or folder
            raise DataError(f"cannot list {where} of source {source.name!r}: {error.strerror}") from error
        if not folders:
            links.sort(reverse=True)  # the order a folder is listed in is chance


def _followed(
    entry: os.DirEntry[str], prefix: str, base: str, source: SourceConfig, excluded: Callable[[str], bool]
) -> bool:
    """Whether the linked folder is to be visited; DataError when it leads outside and is not excluded."""
    if inside(entry.path, base):
        return True
    if excluded(f"{prefix}{entry.name}/x"):
        return False
    target = os.path.realpath(entry.path)
    raise DataError(
        f"{entry.path} in source {source.name!r} is a link to a folder outside {source.path}; add {Path(target)} as a "
        "source of its own, or exclude the link"
    )


STATED = ("label", "speaker", "licence", "role", "split")
"""Columns a table may have besides path; an empty cell states nothing."""
_ALSO_CALLED = {"license": "licence", "file_name": "path"}
_ALLOWED: dict[str, Sequence[str]] = {"role": ROLES, "split": SPLITS}
_CLOSE = 0.75
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_REFUSED = "cannot be read (a path that leads outside its source's folder; copy the recording into it)"
_NO_NAME = "cannot be read (no file can have this name)"


def read_table(source: SourceConfig) -> "pd.DataFrame":
    """Read the rows that the source's patterns choose: path, and what the table has of `STATED`, all as text.

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


def locate(root: str, paths: Iterable[str]) -> Iterator[SourceFile]:
    """Yield what lies at each path relative to the resolved folder `root`; a path that leaves it is not looked at."""
    within: dict[str, bool] = {}
    for path in paths:
        if "\0" in path:
            yield SourceFile(path, 0, 0, _NO_NAME)
            continue
        whole = posixpath.join(root, path)  # an absolute path replaces the root
        folder = posixpath.dirname(whole)
        if folder not in within:
            within[folder] = not posixpath.isabs(path) and inside(folder, root)
        safe = within[folder] and (not os.path.islink(whole) or inside(whole, root))
        yield SourceFile(path, *(file_state(whole) if safe else (0, 0, _REFUSED)))


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
        close = difflib.get_close_matches(name, [column for column in known if column not in names], 1, _CLOSE)
        if close and name not in known:
            raise DataError(f"{where} has a column {name!r}; did you mean {close[0]!r}? Rename or remove it")
    if "path" not in names:
        columns = ", ".join(header) or "no columns"
        raise DataError(f"{where} has no column path (it has {columns}); name the column of the files so")
    return {name: names.index(name) for name in known if name in names}


def _check_rows(rows: "pd.DataFrame", source: SourceConfig) -> None:
    where = f"of the table {source.path} of source {source.name!r}"
    empty = rows.index[rows["path"] == ""]
    if len(empty):
        raise DataError(f"row {empty[0] + 1} {where} has no path; fill it in, or remove the row")
    if "licence" in rows and (odd := [text for text in rows["licence"].unique() if printable(text) != text]):
        number = rows.index[rows["licence"] == odd[0]][0] + 1
        raise DataError(
            f"row {number} {where} has the licence {odd[0]!r}, but it must be one line without control characters"
        )
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
