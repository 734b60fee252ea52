"""The files that a data set has, and what is known of those that were unpacked."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from wakeword_core.config import SourceConfig
from wakeword_core.config.base import lookup
from wakeword_core.config.recordings import ColumnsConfig
from wakeword_core.config.remote import DATA_SUFFIXES, HubName
from wakeword_core.errors import DataError
from wakeword_core.files import as_type, inside, read_json
from wakeword_core.recordings.data_sets.hub import read_split, splits_on_hub
from wakeword_core.recordings.data_sets.members import Member, Wanted, read_members
from wakeword_core.recordings.sources import NOT_CHOSEN, OUTSIDE, LeftOut, State, as_text, chooser, walk
from wakeword_core.store.parts import is_usable_path

INDEX = "index.json"
"""Beside the table of what is unpacked."""
STATE = "state.json"
"""Beside the Arrow files that `save_to_disk` writes: it names them, since others may lie there."""
_NOT_SAVED = f"Arrow files that {STATE} beside them does not name"
_UNUSABLE = "files of the data set whose name no copy can have"


@dataclass(frozen=True)
class Unpacked:
    """What became of a file of a data set."""

    mark: str
    """Its state when it was read; empty: it is to be read again."""
    problem: str = ""
    """Why nothing of it is used, the end of a sentence."""
    recordings: int = 0
    bytes: int = 0
    refused: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Reason -> how many of its recordings are not used for it, and the first of them."""
    forgotten: int = 0
    columns: tuple[str, ...] = ()
    """What it has to choose from, sorted."""


@dataclass(frozen=True)
class Index:
    """What is unpacked of a data set."""

    choice: str = ""
    """Hash of the settings that decide what is unpacked."""
    forgotten: str = ""
    """Hash of what is forgotten, none of which is there."""
    files: dict[str, Unpacked] = field(default_factory=dict)
    left_out: dict[str, tuple[int, str]] = field(default_factory=dict)
    """As `Unpacked.refused`, of what is beside the files of the data set."""
    problem: str = ""
    """Why nothing of it can be used."""

    @classmethod
    def of(cls, source: SourceConfig) -> "Index":
        """Read that of a source; an empty one where there is none."""
        try:
            return as_type(cls, read_json(source.unpacked / INDEX))
        except (OSError, ValueError):
            return cls()


@dataclass(frozen=True)
class DataFile:
    """A file of a data set, or a split of the hub's, and what reads it."""

    mark: Callable[[], str]
    """Return its state now: another whenever its bytes may be others; empty when it is gone."""
    members: Callable[[set[str]], Iterator[Member]]
    """Yield its recordings, and add the names of its columns to a set."""
    size: int = 0


def unpacked_of(source: SourceConfig) -> tuple[LeftOut, int]:
    """Return what of a data set is not used, and how many recordings are forgotten; DataError where none is there."""
    index = Index.of(source)
    if index.problem or not source.table.is_file():
        raise DataError(index.problem or f"the data set {source.path} of source {source.name!r} is not unpacked yet")
    left_out = LeftOut()
    refused = [index.left_out, *(file.refused for file in index.files.values())]
    for reason, (count, first) in (entry for reasons in refused for entry in reasons.items()):
        left_out.add(reason, first, count)
    for name, file in index.files.items():
        if file.problem:
            left_out.add(f"files of the data set, one of which {file.problem}", name)
    return left_out, sum(file.forgotten for file in index.files.values())


def hub_files(source: SourceConfig, columns: ColumnsConfig, most_bytes: int) -> dict[str, DataFile]:
    """Return the splits of a data set on the hub, by name; RemoteError when it cannot be asked."""
    named = HubName.of(source.url)
    revision, splits = splits_on_hub(named)
    pinned, chosen = named._replace(revision=revision), chooser(source)

    def of(split: str) -> DataFile:
        return DataFile(lambda: revision, lambda there: read_split(pinned, Wanted(split, columns, most_bytes, there)))

    return {split: of(split) for split in splits if is_usable_path(split) and chosen(split)}


def local_files(
    source: SourceConfig, columns: ColumnsConfig, most_bytes: int, most_total: int, left_out: LeftOut
) -> dict[str, DataFile]:
    """Return the files of a data set that lie here, by their path below its folder; DataError when there are none.

    What is not taken is counted. A link must not lead out of the folder and the source's `link_roots`.
    """
    path = source.path

    def of(place: Path, name: str) -> DataFile:
        return DataFile(
            lambda: _state(place),
            lambda there: read_members(place, Wanted(name, columns, most_bytes, there), most_total),
            place.stat().st_size,
        )

    if path.is_file():
        if not path.name.lower().endswith(DATA_SUFFIXES):
            raise DataError(
                f"{path} of source {source.name!r} is no data set ({', '.join(DATA_SUFFIXES)}); leave out its columns"
            )
        return {path.name: of(path, path.name)}
    if not path.is_dir():
        raise DataError(f"the data set {path} of source {source.name!r} does not exist; correct its path")
    found = {name: of(place, name) for name, place in _in_folder(source, left_out)}
    if not found:
        unused = f" (left out: {left_out})" if left_out.counts else ""
        raise DataError(
            f"source {source.name!r} has no file of a data set in {path} ({', '.join(DATA_SUFFIXES)}) that include "
            f"takes and exclude leaves{unused}; a folder of recordings is a source without columns"
        )
    return found


def _in_folder(source: SourceConfig, left_out: LeftOut) -> Iterator[tuple[str, Path]]:
    base, chosen, saved = os.path.realpath(source.path), chooser(source), dict[str, set[str]]()
    allowed = [base, *(os.path.realpath(folder) for folder in source.link_roots)]
    for prefix, entry in walk(base, source, allowed, left_out):
        name, kind = prefix + entry.name, entry.name.lower()
        if kind.startswith(".") or not kind.endswith(DATA_SUFFIXES):
            continue
        if prefix not in saved:
            saved[prefix] = _saved_files(Path(base, prefix))
        if not is_usable_path(name) or as_text(name) != name:
            left_out.add(_UNUSABLE, name)
        elif not chosen(name):
            left_out.add(NOT_CHOSEN, name)
        elif kind.endswith(".arrow") and saved[prefix] and entry.name not in saved[prefix]:
            left_out.add(_NOT_SAVED, name)
        elif entry.is_symlink() and not inside(entry.path, allowed):
            left_out.add(OUTSIDE, name)
        elif not entry.is_file():
            left_out.add("no ordinary files", name)
        else:
            yield name, Path(entry.path)


def _saved_files(folder: Path) -> set[str]:
    """Return the Arrow files that `save_to_disk` says it wrote to a folder; none where it says nothing."""
    try:
        listed = lookup(read_json(folder / STATE), "_data_files", [])
        return {str(lookup(file, "filename")) for file in listed} if isinstance(listed, list) else set()
    except (OSError, ValueError):
        return set()


def _state(path: Path) -> str:
    try:
        return ":".join(map(str, State.of(path.stat())))
    except OSError:
        return ""
