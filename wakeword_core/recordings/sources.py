"""Which recordings a source has: sound in its folder, or what lies where its table says; and what else is there."""

import hashlib
import os
import posixpath
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from wakeword_core.config import SourceConfig
from wakeword_core.config.globs import glob_regex
from wakeword_core.errors import ChangedRecordingError, DataError
from wakeword_core.files import hash_file, inside
from wakeword_core.sound_formats import INSTALL_MEDIA, MEDIA, SOUND_ENDINGS, Source, av_version, sound_format

_EVERYTHING = ("**/*",)
OUTSIDE = "a link that leads outside its source's folder; name where it leads in link_roots, or copy the recording"
_NO_FILE = "no ordinary file"
_REFUSED = "cannot be read (a path that leads outside its source's folder; copy the recording into it)"
_NO_NAME = "cannot be read (no file can have this name)"
NOT_AUDIO, HIDDEN, NOT_CHOSEN = "not audio", "hidden", "not chosen by include and exclude"
OTHER_NAME = "other names of recordings"
NEEDS_PYAV = f"files that PyAV reads ({INSTALL_MEDIA})"
FOLDER_UNREAD, FOLDER_OUTSIDE = "folders that cannot be listed", "linked folders that lead outside (link_roots)"
_EXPECTED = (NOT_AUDIO, HIDDEN, NOT_CHOSEN, OTHER_NAME)
"""Reasons for which nobody needs to do anything."""
_INODES = 2**63
"""SQLite's integers have a sign."""
WHOLE_FILE_BYTES = 16 << 20
"""A file up to this size is read once, so that what is used is what was hashed."""


class State(NamedTuple):
    """What tells whether a file is still the one that was read: size in bytes, times in ns, and its inode."""

    size: int = 0
    mtime_ns: int = 0
    inode: int = 0
    ctime_ns: int = 0

    @classmethod
    def of(cls, stat: os.stat_result) -> "State":
        """Read it off what the system says of a file."""
        inode = stat.st_ino % _INODES
        return cls(stat.st_size, stat.st_mtime_ns, inode, stat.st_ctime_ns)


@contextmanager
def as_hashed(path: Path, recording_id: str) -> Iterator[Source]:
    """Yield the bytes of a recording, or its path if they are many; ChangedRecordingError when they are others now."""
    changed = ChangedRecordingError(str(path), str(path))
    before = State.of(path.stat())
    source: Source = path.read_bytes() if before.size <= WHOLE_FILE_BYTES else path
    now = hash_file(source) if isinstance(source, Path) else hashlib.sha256(source).hexdigest()
    if now != recording_id:
        raise changed
    yield source
    if isinstance(source, Path) and State.of(path.stat()) != before:
        raise changed


class SourceFile(NamedTuple):
    """A file of a source: its path relative to the root (with /), its state, and why it cannot be read."""

    path: str
    state: State
    error: str = ""


@dataclass
class LeftOut:
    """Files and folders that are there and are no recordings: how many for each reason, and the first of them."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    no_sound: list[SourceFile] = field(default_factory=list)
    """Files that were just looked into and hold no sound, to be remembered."""

    def add(self, reason: str, path: str, count: int = 1) -> None:
        """Count one more, or more of which this is the first."""
        path = as_text(path)
        self.counts[reason] += count
        self.examples[reason] = min(path, self.examples.get(reason, path))

    @property
    def unexpected(self) -> list[str]:
        """Say what somebody should look at, a part of a sentence for each reason."""
        return [self._counted(reason) for reason in sorted(self.counts) if reason not in _EXPECTED]

    def __str__(self) -> str:
        return ", ".join(map(self._counted, sorted(self.counts)))

    def _counted(self, reason: str) -> str:
        return f"{self.counts[reason]} {reason}, such as {self.examples[reason]}"


Remembered = Callable[[Sequence[SourceFile]], Sequence[str | None]]
"""Tells of files, sorted by path: the hash of a recording, an empty text where there is no sound, None if not known."""


def find_recordings(
    source: SourceConfig, remembered: Remembered = lambda files: [None] * len(files)
) -> tuple[list[SourceFile], LeftOut]:
    """List a folder's recordings, sorted by path, known by their endings or else by their first bytes.

    What is no recording, or cannot be looked at, is counted. DataError when the folder is missing or
    cannot be listed, or when nothing in it is a recording. A file that cannot be used is listed with an error.
    """
    root, left_out = source.path, LeftOut()
    if not root.is_dir():
        if root.exists():
            raise DataError(
                f"{root} of source {source.name!r} is a file, and no table (.csv, .tsv or .parquet) or data set; name "
                "the folder that it lies in as its path under data.sources"
            )
        raise DataError(
            f"the folder {root} of source {source.name!r} does not exist; correct its path under data.sources"
        )
    files, others = _chosen(source, os.path.realpath(root), left_out)
    others.sort()
    # what a store keeps by hash alone is known by the link that has its name
    both = (*files, *others) if others else ()
    named = {file.state for file in both if not file.error and _promised(file.path)}
    for file, known in zip(others, remembered(others), strict=True):
        if file.state in named and not _promised(file.path):
            left_out.add(OTHER_NAME, file.path)
        else:
            files += _recording(root, file, known, left_out)
    if not files:
        raise DataError(
            f"source {source.name!r} has no recordings: no file in {root} that matches include "
            f"{', '.join(source.include)}"
            + (f" and not exclude {', '.join(source.exclude)}" if source.exclude else "")
            + " is sound that can be read"
            + (f" (left out: {left_out})" if left_out.counts else "")
        )
    return sorted(files), left_out


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


def allowed_folders(source: SourceConfig) -> list[str]:
    """Return the resolved folders that the files of a source must lie in, its own first."""
    return [os.path.realpath(folder) for folder in (source.root, *source.link_roots)]


def file_state(file: str | os.DirEntry[str]) -> tuple[State, str]:
    """Return the state of what `file` leads to, and an error that says why it cannot be read, if it cannot."""
    try:
        status = os.stat(file) if isinstance(file, str) else file.stat()
    except OSError as error:
        return State(), _unread(error.strerror)
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
        return State(), _unread(_NO_FILE)
    return State.of(status), ""


def _unread(why: str | None) -> str:
    return f"cannot be read ({why})"


def _chosen(source: SourceConfig, base: str, left_out: LeftOut) -> tuple[list[SourceFile], list[SourceFile]]:
    """What the patterns choose below `base`: recordings by their endings, and other files; both unsorted."""
    chosen, folders = chooser(source), allowed_folders(source)
    files: list[SourceFile] = []
    others: list[SourceFile] = []
    for prefix, entry in walk(base, source, folders, left_out):
        name = entry.name
        path = prefix + name
        kind = _promised(name)
        if name.startswith("."):
            if kind:
                left_out.add(HIDDEN, path)
        elif not chosen(as_text(path)):
            left_out.add(NOT_CHOSEN, path)
        else:
            outside = entry.is_symlink() and not inside(entry.path, folders)
            file = SourceFile(path, State(), _unread(OUTSIDE)) if outside else SourceFile(path, *file_state(entry))
            if kind and kind not in MEDIA:
                files.append(_with_text_as_name(file))
            else:
                others.append(file)
    return files, others


def _promised(path: str) -> str | None:
    return SOUND_ENDINGS.get(path[path.rfind(".") :].lower())


def _recording(root: Path, file: SourceFile, known: str | None, left_out: LeftOut) -> list[SourceFile]:
    """The file if it is sound that can be read, by its first bytes where it is not known; else it is counted."""
    promised = _promised(file.path)
    if file.error:
        if promised:
            return [_with_text_as_name(file)]
        left_out.add(NOT_AUDIO if _NO_FILE in file.error else file.error, file.path)
        return []
    kind = known
    if known is None or (promised and not av_version()):
        try:
            with open(os.path.join(root, file.path), "rb") as raw:
                kind = sound_format(raw) or promised or ""
        except OSError as error:
            left_out.add(_unread(error.strerror), file.path)
            return []
        if kind in MEDIA and not av_version():
            left_out.add(NEEDS_PYAV, file.path)
            return []
        if not kind and as_text(file.path) == file.path:
            left_out.no_sound.append(file)
    if kind:
        return [_with_text_as_name(file)]
    left_out.add(NOT_AUDIO, file.path)
    return []


def _with_text_as_name(file: SourceFile) -> SourceFile:
    """The file, or what stands for one whose name no table, page or terminal could hold."""
    text = as_text(file.path)
    return file if text == file.path else SourceFile(text, State(), _unread("its name is not UTF-8; rename it"))


def as_text(path: str) -> str:
    """Return a path in which bytes that are no UTF-8 are written as \\x.."""
    return path if path.isascii() else os.fsencode(path).decode("utf-8", "backslashreplace")


def walk(
    base: str, source: SourceConfig, allowed: Sequence[str], left_out: LeftOut
) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield (folder relative to `base` with a /, entry) of everything but folders; each folder is visited once.

    A link to a folder counts where the folder is not met without it, as when it is hidden.
    """
    chosen, excluded = chooser(source), any_glob(source.exclude)

    def may_hold_recordings(folder: str) -> bool:
        folder = as_text(folder)
        return not excluded(folder) and any(chosen(f"{folder}/x{ending}") for ending in SOUND_ENDINGS)

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
                    hidden = entry.name.startswith(".")
                    if entry.is_dir(follow_symlinks=False):
                        folders += [] if hidden else [(f"{prefix}{entry.name}/", entry.path)]
                    elif entry.is_symlink() and os.path.isdir(entry.path):  # is_dir() fails on a circle of links
                        if hidden:
                            continue
                        if inside(entry.path, allowed):
                            links.append((f"{prefix}{entry.name}/", entry.path))
                        elif may_hold_recordings(prefix + entry.name):
                            left_out.add(FOLDER_OUTSIDE, prefix + entry.name)
                    else:
                        yield prefix, entry
        except OSError as error:
            if folder == base:
                where = error.filename or folder
                raise DataError(f"cannot list {where} of source {source.name!r}: {error.strerror}") from error
            if may_hold_recordings(prefix.rstrip("/")):
                left_out.add(FOLDER_UNREAD, prefix.rstrip("/"))
        if not folders:
            links.sort(reverse=True)  # the order a folder is listed in is chance


def locate(source: SourceConfig, paths: Iterable[str]) -> Iterator[SourceFile]:
    """Yield what lies at each path relative to the source's root; a path that leaves its folders is not looked at."""
    root, *others = allowed_folders(source)
    within: dict[str, bool] = {}
    for path in paths:
        if "\0" in path:
            yield SourceFile(path, State(), _NO_NAME)
            continue
        whole = posixpath.join(root, path)  # an absolute path replaces the root
        folder = posixpath.dirname(whole)
        if folder not in within:
            within[folder] = not posixpath.isabs(path) and inside(folder, [root, *others])
        safe = within[folder] and (not os.path.islink(whole) or inside(whole, [root, *others]))
        yield SourceFile(path, *(file_state(whole) if safe else (State(), _REFUSED)))
