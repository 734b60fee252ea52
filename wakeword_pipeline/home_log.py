"""The log file of a home: what the command line and Dagster's runs log, bounded in size and age, without secrets."""

import logging
import os
import re
import sys
import time
from datetime import UTC, datetime
from functools import cache
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from wakeword_core.errors import WakewordError, reason_of
from wakeword_core.store.locks import exclusive
from wakeword_core.text import printable

LOGGERS = ("wakeword_core", "wakeword_pipeline")
"""Whose lines the project writes."""
FOLDER = "logs"
FILE = "wakeword.log"
_BYTES, _BACKUPS = 2_000_000, 4
_DAYS = 30
"""After so many days a file is begun anew, and after as many more the old one is removed."""
_HANDLER = "wakeword home"
_HIDDEN = "***"
_SECRET_NAMES = re.compile(r"SECRET|TOKEN|PASSWORD|PASSWD|CREDENTIAL|API_?KEY|ACCESS_KEY|POSTGRES_URL")
_SHORTEST_SECRET = 6
"""Characters; anything shorter would be hidden in the middle of words."""
_SECRETS = (
    (re.compile(r"(://)(?:[^/\s@]+|[^/\s@:]*:[^\s@]+)@"), rf"\1{_HIDDEN}@"),  # a password may have a slash
    (
        re.compile(r"([?&][\w-]*(?:sig|signature|credential|token|key|password)=)[^&\s]+", re.IGNORECASE),
        rf"\1{_HIDDEN}",
    ),
    (re.compile(r"\b(Bearer|Basic)\s+[\w.~+/=-]{6,}", re.IGNORECASE), rf"\1 {_HIDDEN}"),
)
"""Names and passwords in addresses, signatures of addresses, and headers that say who asks."""

log = logging.getLogger(__name__)


def log_to_home(home: Path) -> None:
    """Write the project's log lines to the log file of this home as well, from now on and instead of another home's.

    Where that cannot be written, a warning says so, once in a process, and nothing else changes.
    """
    path = home.resolve() / FOLDER / FILE
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = next((one for one in loggers[0].handlers if isinstance(one, _HomeLog)), None)
    if before is not None and Path(before.baseFilename) == path and path.exists():
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = _HomeLog(path)
    except (OSError, WakewordError) as error:
        _warn(str(path), reason_of(error))
        return
    for logger in loggers:
        if before is not None:
            logger.removeHandler(before)
        logger.addHandler(handler)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.INFO)
    if before is not None:
        before.close()


@cache
def _warn(path: str, reason: str) -> None:
    """Say once of a file, for each reason, that nothing is kept in it: each step of a build asks for it anew."""
    log.warning("%s cannot be written (%s), so log lines are not kept", path, reason)


def without_secrets(text: str) -> str:
    """Hide in a text what lets somebody in: parts of addresses and headers, and values of the environment."""
    for name, value in os.environ.items():
        if _SECRET_NAMES.search(name.upper()) and len(value) >= _SHORTEST_SECRET:
            text = text.replace(value, _HIDDEN)
    for pattern, shown in _SECRETS:
        text = pattern.sub(shown, text)
    return text


class _HomeLog(RotatingFileHandler):
    """A rotated file that several processes write to: who finds it full rotates it, and the others go on in the new."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, maxBytes=_BYTES, backupCount=_BACKUPS, encoding="utf-8", errors="backslashreplace")
        self.set_name(_HANDLER)
        self.setFormatter(_Formatter())
        with self._alone():
            for number in range(1, _BACKUPS + 1):
                backup = Path(f"{path}.{number}")
                if backup.is_file() and time.time() - backup.stat().st_mtime > _DAYS * 86_400:
                    backup.unlink()
            if _is_old(path):
                super().doRollover()

    def _alone(self) -> Any:
        return exclusive(Path(self.baseFilename).with_name(f".{FILE}.lock"))

    def _open(self) -> TextIOWrapper:
        how = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        return open(os.open(self.baseFilename, how, 0o600), "a", encoding=self.encoding, errors=self.errors)

    def shouldRollover(self, record: logging.LogRecord) -> bool:  # noqa: N802
        self._follow()
        return bool(super().shouldRollover(record))

    def doRollover(self) -> None:  # noqa: N802
        with self._alone():
            if not self._follow():  # else another process was quicker
                super().doRollover()

    def _follow(self) -> bool:
        """Go on in the file that has the name now, and return whether that is another one."""
        try:
            there = os.stat(self.baseFilename)
        except FileNotFoundError:
            there = None
        here = os.fstat(self.stream.fileno()) if self.stream else None
        if there and here and (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino):
            return False
        if self.stream:
            self.stream.close()
        self.stream = self._open()
        return True

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Say that lines are not kept any more, and let a build go on; a line that cannot be formed is lost alone."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError | WakewordError):
            super().handleError(record)
            return
        for name in LOGGERS:
            logging.getLogger(name).removeHandler(self)
        _warn(self.baseFilename, reason_of(error))


def _is_old(path: Path) -> bool:
    """Return whether the first line of a log is older than a file may get; what has no time is old."""
    with path.open("rb") as file:
        first = file.readline(64).split(b" ", 1)[0].decode(errors="replace")
    if not first:
        return False
    try:
        return (datetime.now(UTC) - datetime.fromisoformat(first)).days >= _DAYS
    except (ValueError, TypeError):
        return True


class PrintableFormatter(logging.Formatter):
    """Writes what others chose, such as file names, so that it changes nothing but itself on a terminal."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802, D102
        record.message = printable(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802, D102
        return "\n".join(map(printable, super().formatException(ei).split("\n")))


class _Formatter(PrintableFormatter):
    """Writes `2026-11-29T13:27:36.123+00:00 INFO [4711] wakeword_core.shards: message`."""

    def __init__(self) -> None:
        super().__init__("%(when)s %(levelname)s [%(process)d] %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        record.when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        return without_secrets(super().format(record))
