"""What follows a training besides: each tracker is told of its beginning, its epochs and its end, and may fail."""

import json
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wakeword_core.errors import ConfigError, WakewordError, reason_of
from wakeword_core.graph.project import Project
from wakeword_core.python import install_command
from wakeword_core.training.records import EpochRecord
from wakeword_pipeline.tracking import TRACKERS
from wakeword_pipeline.tracking.training_runs import figures_of, run_name, settings_of

log = logging.getLogger(__name__)

_EXTRA = "trackers"
_PROJECT = "wakeword"
_KEY_VARIABLE = "WANDB_API_KEY"
_SETTINGS: dict[str, Any] = {
    **{"silent": True, "console": "off", "symlink": False, "host": ""},
    **{"disable_git": True, "disable_code": True, "save_code": False, "x_save_requirements": False},
    **{"x_disable_machine_info": True, "x_disable_stats": True, "x_disable_meta": True},
    **{"init_timeout": 60.0, "finish_timeout": 60.0, "finish_timeout_raises": True},
}
"""Of Weights & Biases: it prints nothing, tells nothing of this machine and its code, and waits for its server so many
seconds at most; what was not sent by then is kept, and `wandb sync` sends it."""

_PATIENCE_SECONDS = 150.0
"""That all trackers together have at the end: as long as Weights & Biases waits for its server, twice, and some."""
_MOST_WAITING = 10_000
"""Epochs that a tracker may be behind."""


@dataclass(frozen=True)
class Followed:
    """A training as trackers know it."""

    folder: Path  # of all trackers
    name: str  # of the model, with the beginning of the artifact's key
    key: str
    stage: str
    settings: Mapping[str, Any]  # that it depends on, by dotted name

    def own_folder(self, *names: str) -> Path:
        """Return a folder in that of all trackers; WakewordError where a link would lead elsewhere."""
        path = self.folder
        for name in names:
            path = path / name
            if path.is_symlink():
                raise WakewordError(f"{path} is a link, which no home has there; remove it")
        path.mkdir(parents=True, exist_ok=True)
        return path


class Tracker:
    """Follows one training; whatever it raises is told once, and ends its following."""

    at_once = False
    """Whether it is told in the thread of the training, which waits for it."""

    def start(self, followed: Followed) -> None:
        """Begin, or go on with a training that was stopped, before the first epoch that is new."""

    def epoch(self, record: EpochRecord) -> None:
        """Take the figures of an epoch."""

    def end(self, figures: Mapping[str, float] | None) -> None:
        """Take the final figures, or None where the training failed or was stopped."""


class EachEpoch(Tracker):
    """Hands each epoch to a function."""

    def __init__(self, function: Callable[[EpochRecord], None], *, at_once: bool = False) -> None:
        self._function, self.at_once = function, at_once

    def epoch(self, record: EpochRecord) -> None:
        """Call the function."""
        self._function(record)


class TensorBoard(Tracker):
    """Writes event files, which `tensorboard --logdir HOME/trackers/tensorboard` shows."""

    def start(self, followed: Followed) -> None:
        """Open a folder of the training's own; a training that goes on adds a file to it."""
        from torch.utils.tensorboard import SummaryWriter

        self._last = 0
        self._writer = SummaryWriter(str(followed.own_folder("tensorboard", followed.name)))
        self._writer.add_text("settings", f"```\n{json.dumps(dict(followed.settings), indent=1, default=str)}\n```")

    def epoch(self, record: EpochRecord) -> None:
        """Write each figure as a curve."""
        for name, value in figures_of(record).items():
            self._writer.add_scalar(f"epoch/{name}", value, record.epoch)
        self._last = record.epoch
        self._writer.flush()

    def end(self, figures: Mapping[str, float] | None) -> None:
        """Write the final figures and close the file."""
        for name, value in (figures or {}).items():
            self._writer.add_scalar(f"final/{name}", value, self._last)
        self._writer.close()


class WeightsAndBiases(Tracker):
    """Has a run in Weights & Biases, which is kept in the home unless it is to be sent."""

    def __init__(self, mode: str) -> None:
        self._mode = mode

    def start(self, followed: Followed) -> None:
        """Begin a run whose id is the artifact's key, or go on with it; nothing is told of this machine and its code.

        ConfigError where it is to be sent and no key is there: wandb would ask for one and wait.
        """
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # or what goes wrong is sent, offline or not
        import wandb

        if self._mode == "online" and not os.environ.get(_KEY_VARIABLE):
            raise ConfigError(f"{_KEY_VARIABLE} is not set, which tracking.wandb_mode online needs")
        folder = followed.own_folder("wandb").parent  # wandb makes its own in it
        self._run = wandb.init(
            project=_PROJECT,
            id=followed.key,
            name=followed.name,
            config=dict(followed.settings),
            tags=[followed.stage],
            resume="allow" if self._mode == "online" else None,
            settings=wandb.Settings(mode=self._mode, root_dir=str(folder), **_SETTINGS),
        )

    def epoch(self, record: EpochRecord) -> None:
        """Log the figures, with the epoch as step."""
        self._run.log(figures_of(record), step=record.epoch)

    def end(self, figures: Mapping[str, float] | None) -> None:
        """Log the final figures and end the run, as failed where there are none."""
        self._run.summary.update({f"final_{name}": value for name, value in (figures or {}).items()})
        self._run.finish(exit_code=1 if figures is None else 0)


class Trackers:
    """Follows a training with several trackers at once. They begin with its first new epoch.

    Each has a thread of its own, so that one that waits for a disk or a network holds nobody up, and is told of
    everything in order. At the end they are waited for, for some time.
    """

    def __init__(self, always: Mapping[str, Tracker], patience_seconds: float = _PATIENCE_SECONDS) -> None:
        """Follow with these, by their names, and with those that the configuration of the training names."""
        self._always, self._patience_seconds = dict(always), patience_seconds
        self._following: list[_Following] = []
        self._start: Callable[[], Followed] | None = None

    @property
    def stuck(self) -> set[str]:
        """The names of those that did not come back in time."""
        return {one.name for one in self._following if one.stuck}

    @contextmanager
    def follow(self, project: Project, stage: str) -> Iterator[None]:
        """Follow the training that `stage` may be while the project builds it."""
        tracking = project.config.tracking
        known = {"tensorboard": TensorBoard, "wandb": lambda: WeightsAndBiases(tracking.wandb_mode)}
        trackers = self._always | {name: known[name]() for name in tracking.trackers}
        self._following = [_Following(name, tracker) for name, tracker in trackers.items()]
        self._start = lambda: _followed(project, stage)
        try:
            yield
        except BaseException:
            self._end(None)
            raise
        if self._has_begun:
            artifact = project.find(stage)
            figures = artifact.figures if artifact else {}
            self._end({name: float(value) for name, value in figures.items() if isinstance(value, int | float)})

    @property
    def _has_begun(self) -> bool:
        return self._start is None

    def epoch(self, record: EpochRecord) -> None:
        """Tell all of an epoch, and before the first one that it begins."""
        if self._start is not None:
            followed, self._start = self._start(), None
            self._tell(lambda tracker: tracker.start(followed))
        self._tell(lambda tracker: tracker.epoch(record))

    def _end(self, figures: Mapping[str, float] | None) -> None:
        if not self._has_begun:
            return
        self._tell(lambda tracker: tracker.end(figures))
        until = time.monotonic() + self._patience_seconds
        for one in self._following:
            one.finish()
        for one in self._following:
            one.wait(until)

    def _tell(self, what: Callable[[Tracker], None]) -> None:
        for one in self._following:
            one.tell(what)


class _Following:
    """One tracker that follows a training, until it fails or does not come back."""

    def __init__(self, name: str, tracker: Tracker) -> None:
        self.name, self._tracker = name, tracker
        self.stuck = False
        self._ended = False
        self._waiting: queue.Queue[Callable[[Tracker], None] | None] = queue.Queue(_MOST_WAITING)
        self._thread = threading.Thread(target=self._run, name=f"tracker {name}", daemon=True)

    def tell(self, what: Callable[[Tracker], None]) -> None:
        """Let the tracker be told of something, in its turn."""
        if self._tracker.at_once:
            self._do(what)
            return
        if self._thread.ident is None:
            self._thread.start()
        self._put(what)

    def finish(self) -> None:
        """Let it end after all that it is still to be told of."""
        if self._thread.ident is not None:
            self._put(None)

    def wait(self, until: float) -> None:
        """Wait until it has ended, or until a moment of the monotonic clock."""
        if self._thread.ident is not None and not self.stuck:
            self._thread.join(max(0.0, until - time.monotonic()))
            if self._thread.is_alive():
                self._give_up("it does not come back; see whether its disk or network answers")

    def _put(self, what: Callable[[Tracker], None] | None) -> None:
        try:
            self._waiting.put_nowait(what)
        except queue.Full:
            self._give_up(f"it is {_MOST_WAITING:,} messages behind")

    def _run(self) -> None:
        while (what := self._waiting.get()) is not None:
            self._do(what)

    def _do(self, what: Callable[[Tracker], None]) -> None:
        if self._ended:
            return
        try:
            what(self._tracker)
        except Exception as error:  # whatever it is: a training is worth more than its picture
            self._warn(_reason(error))
            log.debug("The error was raised here:", exc_info=error)

    def _give_up(self, why: str) -> None:
        self.stuck = True
        self._warn(why)

    def _warn(self, why: str) -> None:
        if not self._ended:
            self._ended = True
            log.warning("%s follows this training no further, which goes on without it: %s", self.name, why)


def _reason(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"{error.name} is not installed: {install_command(_EXTRA)}"
    return reason_of(error) or type(error).__name__


def _followed(project: Project, stage: str) -> Followed:
    key = project.expected_key(stage)
    name = run_name(project.config, stage, key)
    return Followed(project.home / TRACKERS, name, key, stage, settings_of(project.config, stage))
