"""A search for recordings through the contents of a store: every table, shard, feature file and mined clip."""

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from wakeword_core.errors import ArtifactError

_PARQUET, _HDF5 = b"PAR1", b"\x89HDF"
"""How files that hold recordings begin, whatever they are called."""
_ID, _ORIGIN, _FILE_IDS = "id", "origin", "file_ids"
"""Columns that name recordings: of tables and shards, of tables of mined clips, and of features."""


@dataclass(frozen=True)
class Search:
    """How many files a search looked through, in which of them something was found, and which cannot be read."""

    files: int
    holders: list[Path]
    unreadable: list[Path]


def search(root: Path, ids: Collection[str]) -> Search:
    """Look for recordings, and clips that were mined from them, in all files below `root` that hold any.

    Files are told by their content: reusable pieces, unfinished builds and what was set aside are looked through too.
    """
    wanted = set(ids) | clips_of(root, ids)
    files, holders, unreadable = 0, [], []
    for path in _distinct_files(root):
        try:
            held = held_ids(path)
        except ArtifactError:
            unreadable.append(path)
            continue
        files += held is not None
        if held is not None and not wanted.isdisjoint(held):
            holders.append(path)
    return Search(files, holders, unreadable)


def clips_of(root: Path, ids: Collection[str]) -> set[str]:
    """The clips that any table below `root` tells to be mined from some recordings."""
    found: set[str] = set()
    for path in _distinct_files(root):
        if _begins(path) != _PARQUET:
            continue
        try:
            columns = _table_columns(path, (_ID, _ORIGIN))
        except ArtifactError:
            continue  # the search itself says so
        if len(columns) == 2:
            found |= {clip for clip, origin in zip(*columns, strict=True) if origin in ids}
    return found


def held_ids(path: Path) -> set[str] | None:
    """The recordings that a file holds or tells of; None when it is no such file, ArtifactError when it is damaged."""
    kind = _begins(path)
    if kind == _PARQUET:
        columns = _table_columns(path, (_ID, _ORIGIN))
        return set().union(*columns) if columns else None
    return _feature_ids(path) if kind == _HDF5 else None


def _distinct_files(root: Path) -> Iterator[Path]:
    """Every ordinary file below a folder in order, one of the names of each."""
    seen: set[tuple[int, int]] = set()
    for folder, _, names in sorted(os.walk(root)):
        for path in (Path(folder, name) for name in sorted(names)):
            stat = path.lstat()
            if path.is_file() and not path.is_symlink() and (stat.st_dev, stat.st_ino) not in seen:
                seen.add((stat.st_dev, stat.st_ino))
                yield path


def _begins(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(len(_PARQUET))


def _table_columns(path: Path, names: Collection[str]) -> list[list[str]]:
    """Those of the named columns that a Parquet file has."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            there = [name for name in names if name in file.schema_arrow.names]
            table = file.read(columns=there)
        return [table.column(name).to_pylist() for name in there]
    except (OSError, pa.ArrowException) as error:
        raise ArtifactError(f"{path} cannot be read ({error}); delete it") from error


def _feature_ids(path: Path) -> set[str] | None:
    import h5py

    try:
        with h5py.File(path) as file:
            # a view holds nothing of its own: its parts are files too
            if _FILE_IDS not in file or file[_FILE_IDS].is_virtual:
                return None
            return {one.decode() for one in file[_FILE_IDS][:]}
    except (OSError, RuntimeError) as error:
        raise ArtifactError(f"{path} cannot be read ({error}); delete it") from error
