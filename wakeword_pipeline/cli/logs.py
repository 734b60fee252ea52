"""Log lines, the start-up banner and progress bars, on one console so that they do not break each other."""

import ctypes
import functools
import json
import logging
import os
import platform
import sys
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from wakeword_core import __version__
from wakeword_core.config import Config
from wakeword_core.config.models import architecture
from wakeword_core.cores import machine_memory
from wakeword_core.errors import ConfigError
from wakeword_core.progress import ProgressLines, begins_again
from wakeword_core.text import printable
from wakeword_pipeline.home_log import LOGGERS, PrintableFormatter

LEVEL_VARIABLE = "WAKEWORD_LOG_LEVEL"
FORMAT_VARIABLE = "WAKEWORD_LOG_FORMAT"
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_FORMATS = ("text", "json")
_STYLES = {"DEBUG": "dim", "INFO": "", "WARNING": "yellow", "ERROR": "bold red", "CRITICAL": "bold red"}
_HANDLER = "wakeword"

log = logging.getLogger(__name__)


@functools.cache
def console() -> Console:
    """Return the console on standard error that log lines and bars share."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def setup_logging(level: str | None = None) -> None:
    """Write the project's log lines to standard error, with the time since now; a second call replaces the first.

    `level` wins over WAKEWORD_LOG_LEVEL (default INFO); WAKEWORD_LOG_FORMAT is text or json. Raises ConfigError.
    """
    level = _choice(LEVEL_VARIABLE, level or os.environ.get(LEVEL_VARIABLE) or "INFO", _LEVELS)
    handler: logging.Handler
    if _json_wanted():
        handler = logging.StreamHandler()
        handler.setFormatter(_JsonFormatter())
    else:
        handler = _ConsoleHandler()
        handler.setFormatter(_ElapsedFormatter())
    handler.set_name(_HANDLER)
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers = [*(other for other in logger.handlers if other.name != _HANDLER), handler]
        logger.setLevel(level)
        # A library may put a handler on the root, and every line would come twice.
        logger.propagate = False


def banner(config: Config, home: Path, device: str | None = None) -> None:
    """Log in a few lines what is built, from which data, on which device (`device`, or this machine's)."""
    sources, training = config.data.sources, config.training
    data = ["synthetic speech"] if config.synthesis.enabled else []
    if sources:
        more = f" and {len(sources) - 6} more" if len(sources) > 6 else ""
        data.append(", ".join(f"{source.name} ({source.role})" for source in sources[:6]) + more)
    log.info("wakeword %s, Python %s, torch %s", __version__, platform.python_version(), metadata.version("torch"))
    log.info("device   %s", device or describe_device(config.compute.device))
    log.info("phrase   %s", config.phrase)
    log.info("data     %s", " and ".join(data) or "none")
    log.info(
        "model    %s, %d views, up to %d epochs, seed %d",
        architecture(training.model),
        config.features.augment.views,
        training.schedule.epochs,
        config.seed,
    )
    log.info("home     %s", home)


def describe_device(name: str) -> str:
    """Describe the device that `compute.device` means on this machine, and its memory."""
    # Importing torch takes seconds; without a driver its answer is known.
    if name != "cpu" and _has_cuda_driver():
        import torch

        if torch.cuda.is_available():
            properties = torch.cuda.get_device_properties(0)
            return f"cuda: {properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    return f"cpu: {os.cpu_count()} cores, {machine_memory() / 2**30:.0f} GiB"


class Bars:
    """Show progress: `with Bars() as progress:` gives a stage's callback, with one bar for each `what`.

    On a terminal a bar appears once its work has taken `delay` seconds and goes when it is done; elsewhere log lines
    are written.
    """

    def __init__(self, delay: float = 2.0) -> None:
        screen = console()
        self._drawn = screen.is_terminal and not screen.is_dumb_terminal and not _json_wanted()
        self._lines = ProgressLines()
        self._delay = delay
        self._seen: dict[str, tuple[float, int]] = {}
        """When the work started, and how far it was."""
        self._bars: dict[str, TaskID] = {}
        self._display: Progress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._display:
            self._display.stop()
            self._display = None
        self._bars.clear()

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show that `done` of `total` units of `what` are done (0 total: unknown)."""
        if not self._drawn:
            self._lines(what, done, total)
            return
        now = time.monotonic()
        started, reached = self._seen.get(what, (now, -1))
        if begins_again(done, total, reached):
            started = now
        self._seen[what] = (started, done)
        if 0 < total <= done:
            if self._display and what in self._bars:
                self._display.remove_task(self._bars.pop(what))
        elif now - started >= self._delay:
            self._draw(what, done, total)

    def _draw(self, what: str, done: int, total: int) -> None:
        if self._display is None:
            self._display = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=console(),
                transient=True,
                # Standard output may be a pipe that somebody parses: what is printed must stay there.
                redirect_stdout=sys.stdout.isatty(),
            )
            self._display.start()
        if what not in self._bars:
            self._bars[what] = self._display.add_task(printable(what), total=total or None, completed=done)
        self._display.update(self._bars[what], completed=done, total=total or None)


def _choice(name: str, value: str, allowed: tuple[str, ...]) -> str:
    for choice in allowed:
        if value.strip().lower() == choice.lower():
            return choice
    raise ConfigError(f"{name} is {value!r}, but must be {', '.join(allowed[:-1])} or {allowed[-1]}")


def _json_wanted() -> bool:
    return _choice(FORMAT_VARIABLE, os.environ.get(FORMAT_VARIABLE) or "text", _FORMATS) == "json"


def _has_cuda_driver() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


class _ElapsedFormatter(PrintableFormatter):
    """Writes `   12.3s INFO    wakeword_core.shards: message`, the time counted from when it was made."""

    def __init__(self) -> None:
        super().__init__("%(elapsed)8.1fs %(levelname)-7s %(name)s: %(message)s")
        self._start = time.monotonic()

    def format(self, record: logging.LogRecord) -> str:
        record.elapsed = time.monotonic() - self._start
        return super().format(record)


class _JsonFormatter(_ElapsedFormatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "elapsed": round(time.monotonic() - self._start, 3),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class _ConsoleHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        try:
            console().print(Text(self.format(record), style=_STYLES.get(record.levelname, "")))
        except Exception:
            self.handleError(record)
