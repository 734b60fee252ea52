"""Pieces of artifacts that are made once and shared: what a file is, where a piece is kept, and the latest ones."""

import logging
import os
import re
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from wakeword_core.files import (
    as_type,
    digest,
    file_state,
    hash_file,
    lasting_state,
    link_or_copy,
    read_json,
    write_json,
)

log = logging.getLogger(__name__)

_GENERATION_LENGTH = 8
SEGMENT = r"([^/\\\x00-\x1f.]|\.[^/\\\x00-\x1f.]|\.\.[^/\\\x00-\x1f])[^/\\\x00-\x1f]*"
"""A name of a file or folder that is neither `.` nor `..`."""
_USABLE_PATH = re.compile(f"{SEGMENT}(/{SEGMENT})*")
_MOST_PATH_BYTES, _MOST_NAME_BYTES = 1_000, 236
"""Of a path, and of each name in it: a file that is being written has one that is 19 longer, and 255 are possible."""

PathPart = Annotated[str, Field(pattern=f"^{SEGMENT}$", max_length=200)]
"""A stage, a key or anything else from a home that becomes one part of a path, and leads nowhere else."""


def is_usable_path(path: str) -> bool:
    """Tell whether a relative path from elsewhere can be that of a file here, and leads nowhere else."""
    content = path.encode(errors="replace")
    fits = len(content) <= _MOST_PATH_BYTES and max(map(len, content.split(b"/"))) <= _MOST_NAME_BYTES
    return fits and _USABLE_PATH.fullmatch(path) is not None


MadeBefore = Callable[[], "Mapping[Path, FileEntry]"]
"""Finds files that were made as parts are now, for instance by another machine."""


@dataclass(frozen=True)
class FileEntry:
    """Size in bytes and SHA-256 of one file of an artifact."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    size: Annotated[int, Field(ge=0, strict=True)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Parts:
    """Pieces of artifacts that are made once and shared, named by what they are made from.

    A part of one `generation` (any JSON value: the versions of a stage and its libraries) is never used in another.
    """

    def __init__(self, root: Path, generation: Any = None) -> None:
        self.root = root
        self.generation = "" if generation is None else f"{digest(generation)[:_GENERATION_LENGTH]}-"
        self.entries: dict[Path, FileEntry] = {}
        """Sizes and hashes of the files that were linked or kept, so that they need not be read again."""

    def path(self, key: str) -> Path:
        """Return where the part `key` of this generation lies, or would lie."""
        return self.root / f"{self.generation}{key}"

    def link(self, key: str, target: Path) -> bool:
        """Link the part `key` to `target` and return True, if it is there and whole."""
        part = self.path(key)
        entry = self.entry(part)
        if entry is None:
            if part.is_symlink() or (part.is_file() and self.note(part).is_file()):  # else another build is keeping it
                log.warning("part %s is damaged and will be made again", part)
                part.unlink()
            return False
        known = _read_hashes.get(file_state(part.stat()))
        link_or_copy(part, target)
        if known is not None:  # another name changes the state of a file, but not its bytes
            _read_hashes[file_state(part.stat())] = known
        self.entries[target] = entry
        return True

    def keep(self, key: str, made: Path, entry: FileEntry | None = None) -> None:
        """Keep the finished file `made` as the part `key`; it is read unless its size and hash are known."""
        self.root.mkdir(parents=True, exist_ok=True)
        part = self.path(key)
        link_or_copy(made, part)
        self.entries[made] = entry = entry or FileEntry(made.stat().st_size, hash_file(made))
        _read_hashes[file_state(made.stat())] = entry.sha256
        write_json(self.note(part), {**asdict(entry), "seen": _identity(part)})

    def move(self, made: Path, target: Path) -> None:
        """Rename a file that was linked or kept; it need not be read again."""
        target.parent.mkdir(parents=True, exist_ok=True)
        made.replace(target)
        if made in self.entries:
            self.entries[target] = self.entries.pop(made)

    def facts(self, key: str) -> dict[str, Any]:
        """Return what was noted about the part `key` besides its size and hash: JSON values by name."""
        try:
            facts = read_json(self.note(self.path(key)))["facts"]
            return facts if isinstance(facts, dict) else {}
        except (OSError, ValueError, TypeError, KeyError):
            return {}

    def add_facts(self, key: str, facts: Mapping[str, Any]) -> None:
        """Note more about the part `key`, which is kept already."""
        note = self.note(self.path(key))
        write_json(note, {**read_json(note), "facts": {**self.facts(key), **facts}})

    def entry(self, part: Path, *, read: bool = False) -> FileEntry | None:
        """Return size and hash of a part, or None where it is missing or not what was kept.

        Without `read`, its bytes are read only if the file was touched since it was kept: a disk that changes them by
        itself is found when the artifact is verified.
        """
        if part.is_symlink():
            return None
        try:
            note = read_json(self.note(part))
            entry, seen = FileEntry(note["size"], note["sha256"]), note.get("seen")
            if seen == _identity(part) and not read:
                return entry
            return entry if entry == FileEntry(part.stat().st_size, hash_file(part)) else None
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None

    @staticmethod
    def note(part: Path) -> Path:
        """Return the path of the file that keeps size and hash of a part."""
        return part.with_name(f"{part.name}.json")


_read_hashes: dict[tuple[int, ...], str] = {}
"""SHA-256 of files that this process has read, by all that changes when a file does."""


def read_hash(path: Path, *, again: bool = True) -> str:
    """Return the SHA-256 (hex) of a file's bytes, empty where it cannot be read; not `again` if it was read already."""
    try:
        state = lasting_state(path)
        if state is None:
            return hash_file(path)
        if again or state not in _read_hashes:
            _read_hashes[state] = hash_file(path)
        return _read_hashes[state]
    except OSError:
        return ""


def changed_files(
    folder: Path, entries: Mapping[str, FileEntry], since: int, *, read: bool, again: bool
) -> tuple[list[str], set[str]]:
    """Return which files of a folder are not what their entries say, and which were touched after a time in ns.

    Without `read`, only the latter are read; not `again`: none that this process has read since it was last written.
    """
    stats = _stats(folder, entries)
    touched = {name for name, state in stats.items() if state.st_mtime_ns > since}
    wrong = [
        name
        for name, entry in entries.items()
        if name not in stats
        or stats[name].st_size != entry.size
        or ((read or name in touched) and read_hash(folder / name, again=again) != entry.sha256)
    ]
    return wrong, touched


def _stats(folder: Path, names: Iterable[str]) -> dict[str, os.stat_result]:
    """The state of those files that lie in a folder itself: a name or a link may lead out of it."""
    root, states = os.path.realpath(folder), {}
    is_inside = cache(lambda parent: os.path.realpath(parent) == parent)
    for name in names:
        path = os.path.join(root, name)
        with suppress(OSError):
            state = os.lstat(path)
            if stat.S_ISREG(state.st_mode) and is_inside(os.path.dirname(path)):
                states[name] = state
    return states


def _identity(path: Path) -> list[int]:
    """Return what changes when a file is written or replaced: size, time of modification in ns, inode."""
    state = path.stat()
    return [state.st_size, state.st_mtime_ns, state.st_ino]


class LatestParts:
    """Remembers the parts of the last build of `place` (any JSON value that tells builds apart), in order.

    Only a hint: whoever takes something from an older part has to compare by itself what that one holds.
    """

    def __init__(self, parts: Parts, place: Any) -> None:
        self._parts = parts
        self._path = parts.root / f"latest-{digest([place, parts.generation])[:20]}.json"
        self.keys: list[str] = []
        self.layout = ""
        """What the last build said of how its parts divide what they hold."""
        try:
            remembered = as_type(_Remembered, read_json(self._path))
            self.keys, self.layout = remembered.keys, remembered.layout
        except (OSError, ValueError):
            pass

    def take(self, made_before: "MadeBefore", layout: str = "") -> None:
        """Where no build is remembered, link the whole ones of files that were made alike elsewhere as its parts."""
        for path, entry in {} if self.keys else made_before().items():
            if read_hash(path, again=False) == entry.sha256:
                with suppress(OSError):  # what cannot be taken is made anew
                    self._parts.keep(entry.sha256, path, entry)
                    self.keys, self.layout = [*self.keys, entry.sha256], layout

    def remember(self, keys: Sequence[str], layout: str = "") -> None:
        """Remember these as the latest parts."""
        if (list(keys), layout) != (self.keys, self.layout):
            self.keys, self.layout = list(keys), layout
            write_json(self._path, {"keys": self.keys, "layout": layout})


@dataclass(frozen=True)
class _Remembered:
    __pydantic_config__ = ConfigDict(extra="forbid")

    keys: list[PathPart]
    layout: str
