"""Which files lie in a folder of recordings; links are followed only where they stay in it."""

import logging
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from wakeword_core.config import SourceConfig
from wakeword_core.errors import DataError

log = logging.getLogger(__name__)

AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".au"})
_OTHER_SOUND = frozenset({".m4a", ".aac", ".wma", ".mp4", ".amr", ".webm", ".3gp", ".caf"})
"""Sound that is not read: it is mentioned, so that nobody wonders where it went."""
_EVERYTHING = ("**/*",)
_OUTSIDE = "a link that leads outside its source's folder; copy the recording into it"
_NO_FILE = "no ordinary file"


class Found(NamedTuple):
    """A file of a source: its path relative to the root (with /), size in bytes, mtime, and why it cannot be read."""

    path: str
    size: int
    mtime_ns: int
    error: str


def list_recordings(source: SourceConfig) -> list[str]:
    """Relative paths of a source's recordings, sorted; raises as `find_recordings`."""
    return [found.path for found in find_recordings(source)]


def find_recordings(source: SourceConfig) -> list[Found]:
    """A folder's recordings, sorted by path; hidden files and folders are left out.

    DataError when the folder is missing or cannot be listed, when nothing in it matches, or when a folder in it is a
    link to somewhere outside. A link to a file outside is listed with an error.
    """
    root = source.path
    if not root.is_dir():
        state = "is not a folder" if root.exists() else "does not exist"
        raise DataError(f"the folder {root} of source {source.name!r} {state}; correct its path under data.sources")
    found, others = _chosen(source, os.path.realpath(root))
    readable = ", ".join(sorted(suffix.removeprefix(".") for suffix in AUDIO_SUFFIXES))
    if others:
        log.warning("%d files of source %r, such as %s, are not read: convert them to one of %s",
                    len(others), source.name, others[0], readable)  # fmt: skip
    if not found:
        raise DataError(
            f"source {source.name!r} has no recordings: no file of type {readable} in {root} matches include "
            f"{', '.join(source.include)}" + (f" and not exclude {', '.join(source.exclude)}" if source.exclude else "")
        )
    found.sort()
    for one in found:
        if not one.path.isascii() and one.path.encode(errors="ignore").decode() != one.path:
            raise DataError(f"source {source.name!r} has a file whose name is not valid text: {one.path!r}; rename it")
    return found


def chooser(source: SourceConfig) -> Callable[[str], bool]:
    """Whether a relative path is one that `include` takes and `exclude` does not leave out."""
    included, excluded = any_glob(source.include), any_glob(source.exclude)
    if source.include == _EVERYTHING and not source.exclude:
        return lambda path: True
    return lambda path: included(path) and not excluded(path)


def any_glob(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Whether a relative path matches one of the glob patterns."""
    if not patterns:
        return lambda path: False
    match = re.compile("|".join(f"(?:{_glob_regex(pattern)})" for pattern in patterns)).fullmatch
    return lambda path: match(path) is not None


def inside(path: str, base: str) -> bool:
    """Whether `path`, its links resolved, lies in the resolved folder `base`."""
    real = os.path.realpath(path)
    return real == base or real.startswith(base.rstrip(os.sep) + os.sep)


def file_state(path: str) -> tuple[int, int, str]:
    """Size, mtime in ns and an empty error of what `path` leads to; the error says why it cannot be read."""
    try:
        return _checked(os.stat(path))
    except OSError as error:
        return _unread(error.strerror)


def _checked(state: os.stat_result) -> tuple[int, int, str]:
    if not stat.S_ISREG(state.st_mode):  # opening a pipe would wait for ever
        return _unread(_NO_FILE)
    return state.st_size, state.st_mtime_ns, ""


def _unread(why: str | None) -> tuple[int, int, str]:
    return 0, 0, f"cannot be read ({why})"


def _chosen(source: SourceConfig, base: str) -> tuple[list[Found], list[str]]:
    """The recordings below `base` that the source's patterns choose, and other sound; both unsorted."""
    chosen = chooser(source)
    found: list[Found] = []
    others: list[str] = []
    for prefix, entry in _walk(base, source):
        name = entry.name
        suffix = name[name.rfind(".") :].lower()
        path = prefix + name
        if suffix in AUDIO_SUFFIXES:
            if chosen(path):
                found.append(_found(path, entry, base))
        elif suffix in _OTHER_SOUND and chosen(path):
            others.append(path)
    return found, sorted(others)


def _found(path: str, entry: os.DirEntry[str], base: str) -> Found:
    if entry.is_symlink():
        return Found(path, *(file_state(entry.path) if inside(entry.path, base) else _unread(_OUTSIDE)))
    try:
        return Found(path, *_checked(entry.stat(follow_symlinks=False)))
    except OSError as error:
        return Found(path, *_unread(error.strerror))


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


@lru_cache(maxsize=256)
def _glob_regex(pattern: str) -> str:
    """A glob as a regular expression on a whole relative path: * and ? stay within a folder, ** crosses folders."""
    pieces = re.findall(r"\*\*/|\*\*|\*|\?|\[[^\]]+\]|.", pattern.removeprefix("./"), flags=re.DOTALL)
    special = {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(special.get(piece) or _glob_set(piece) for piece in pieces)


def _glob_set(piece: str) -> str:
    if len(piece) < 3 or not piece.startswith("["):
        return re.escape(piece)
    inside = piece[1:-1].replace("\\", "\\\\")
    return f"[^{inside[1:]}]" if inside.startswith("!") else f"[{inside.replace('^', chr(92) + '^')}]"
