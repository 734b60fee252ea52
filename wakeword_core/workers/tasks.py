"""A task as a worker does it: in a process of its own, here or elsewhere, from which its log comes back as well."""

import functools
import hashlib
import logging
import platform
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from wakeword_core import __version__
from wakeword_core.errors import ClusterError, WakewordError, sentence_of
from wakeword_core.python import library_versions

Task = TypeVar("Task")
Result = TypeVar("Result")

_PACKAGE = Path(__file__).parents[1]
_LOGGER = _PACKAGE.name
_LIBRARIES = ("h5py", "numpy", "onnxruntime", "pyarrow", "silero-vad", "soundfile", "soxr", "torch")
"""Those whose results are in artifacts."""
_DIGEST_DIGITS = 12


@dataclass(frozen=True)
class Outcome(Generic[Result]):
    """What came of a task: its result or why there is none, and what it logged: (logger, level, line)."""

    result: Result | None = None
    error: WakewordError | None = None
    lines: list[tuple[str, int, str]] = field(default_factory=list)

    def unpack(self) -> Result:
        """Log here what was logged there; then return the result, or raise the error."""
        for logger, level, line in self.lines:
            logging.getLogger(logger).log(level, "%s", line)
        if self.error is not None:
            raise self.error
        return self.result  # type: ignore[return-value]


class _Lines(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[tuple[str, int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append((record.name, record.levelno, record.getMessage()))


def perform(function: Callable[[Task], Result], task: Task, name: str) -> Outcome[Result]:
    """Do a task in this process, which is a worker and does nothing besides; an unforeseen error gets its name."""
    logger, handler = logging.getLogger(_LOGGER), _Lines()
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)
    try:
        return Outcome(function(task), None, handler.lines)
    except WakewordError as error:
        return Outcome(None, error, handler.lines)
    except Exception as error:  # which the other process may not be able to read
        return Outcome(None, WakewordError(f"{name}: {sentence_of(error)}"), handler.lines)
    finally:
        logger.removeHandler(handler)


@dataclass(frozen=True)
class Expected:
    """What must hold on a machine of a cluster, so that its results are those of the machine that asks."""

    software: Mapping[str, str]
    folder: Path
    """A folder that both must see."""

    def require(self) -> None:
        """ClusterError where something is different here, naming both versions."""
        machine = f"the machine {socket.gethostname()} of the cluster"
        for name, version in self.software.items():
            here = software().get(name, "none")
            if here != version:
                raise ClusterError(
                    f"{machine} has {name} {here}, and this one {name} {version}: results could differ; install the "
                    "same on both"
                )
        if not self.folder.is_dir():
            raise ClusterError(
                f"{machine} has no folder {self.folder}: workers read and write files by their paths, so that the home "
                "and the recordings must lie in folders that all machines share"
            )


def perform_there(function: Callable[[Task], Result], task: Task, name: str, expected: Expected) -> Outcome[Result]:
    """Do a task on a machine of a cluster, if that is as `expected`."""
    try:
        expected.require()
    except ClusterError as error:
        return Outcome(None, error)
    return perform(function, task, name)


@functools.cache
def software() -> dict[str, Any]:
    """Return the versions of all that the results depend on besides the processor, by name."""
    code = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py")):
        code.update(path.read_bytes())
    return {
        "Python": platform.python_version(),
        "wakeword": f"{__version__} ({code.hexdigest()[:_DIGEST_DIGITS]})",
        **library_versions(_LIBRARIES),
    }
