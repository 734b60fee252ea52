"""Errors that are meant for a person: one sentence that says what is wrong, where, and what to do."""

import re
import traceback
from pathlib import Path

_IN_A_PACKAGE = re.compile(r".*/((?:wakeword_core|wakeword_pipeline)/.*)")
_LONGEST_REASON, _LONGEST_NAME = 200, 100
_ONNXRUNTIME = "Status Message: "
"""What onnxruntime writes before what it says itself."""


class WakewordError(Exception):
    """Base of every error this project raises for its user; the command line prints it as one line and exits 1."""


class ConfigError(WakewordError):
    """A wrong setting: names the field, the value and what is allowed; the command line exits 2."""


class DataError(WakewordError):
    """Recordings or derived files that cannot be used as they are."""


class ChangedRecordingError(DataError):
    """A recording whose bytes are not those that were hashed: the scan cache must forget its path."""

    def __init__(self, name: str, path: str) -> None:
        super().__init__(name, path)
        self.path = path

    def __str__(self) -> str:
        return f"{self.args[0]}: its bytes changed since the scan; run again to scan it anew"


class ArtifactError(WakewordError):
    """A stored artifact that is missing, incomplete or damaged."""


class RemoteError(WakewordError):
    """A store elsewhere that cannot be reached, or that refuses what is asked of it."""


class ClusterError(WakewordError):
    """A cluster that cannot be reached, or whose machines are not fit to work for this one."""


class MissingDependencyError(WakewordError):
    """An optional package or system library that a feature needs is not installed."""


def reason_of(error: Exception) -> str:
    """Return what an error of a library says, as one short line for the middle of a sentence.

    Of the errors that pydantic finds in data, it is the first, with its place.
    """
    from pydantic_core import ValidationError

    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        *around, name = (str(part)[:_LONGEST_NAME] for part in first["loc"] or ("",))
        group = ".".join(around)
        if first["type"] == "missing":
            return f"{group} lacks {name!r}".strip()
        place = ".".join(filter(None, (group, name)))
        return f"{place}: {first['msg']}".removeprefix(": ")
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    words = " ".join(str(error).split()).rpartition(_ONNXRUNTIME)[2]
    if isinstance(error, KeyError):
        return f"it lacks {words}"
    return words[:_LONGEST_REASON] or type(error).__name__


def sentence_of(error: Exception) -> str:
    """Write as one sentence an error that nothing else has a sentence for."""
    if isinstance(error, MemoryError):
        return "there is not enough memory; close other programs, or work on less at once"
    if isinstance(error, OSError) and error.strerror:
        names = " and ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
        return f"{names}: {error.strerror}" if names else error.strerror
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    place = ""
    for frame in traceback.extract_tb(error.__traceback__):
        if inside := _IN_A_PACKAGE.search(Path(frame.filename).as_posix()):
            place = f" in {inside[1]}, line {frame.lineno}"
    first_line = next(iter(str(error).strip().splitlines()), "without a message")
    return f"an unexpected error{place}: {name}: {first_line}; please report it"
