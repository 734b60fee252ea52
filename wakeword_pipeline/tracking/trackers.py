"""What follows a training besides: each tracker is told of its beginning, its epochs and its end, and may fail."""

import json
import logging
import os
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

    def start(self, followed: Followed) -> None:
        """Begin, or go on with a training that was stopped, before the first epoch that is new."""

    def epoch(self, record: EpochRecord) -> None:
        """Take the figures of an epoch."""

    def end(self, figures: Mapping[str, float] | None) -> None:
        """Take the final figures, or None where the training failed or was stopped."""


class EachEpoch(Tracker):
    """Hands each epoch to a function."""

    def __init__(self, function: Callable[[EpochRecord], None]) -> None:
        self._function = function

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
    """Follows a training with several trackers at once. They begin with its first new epoch."""

    def __init__(self, always: Mapping[str, Tracker]) -> None:
        """Follow with these, by their names, and with those that the configuration of the training names."""
        self._following: dict[str, Tracker] = dict(always)
        self._start: Callable[[], Followed] | None = None

    @contextmanager
    def follow(self, project: Project, stage: str) -> Iterator[None]:
        """Follow the training that `stage` may be while the project builds it."""
        tracking = project.config.tracking
        known = {"tensorboard": TensorBoard, "wandb": lambda: WeightsAndBiases(tracking.wandb_mode)}
        self._following |= {name: known[name]() for name in tracking.trackers}
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
        if self._start is None:  # else none has begun
            self._tell(lambda tracker: tracker.end(figures))

    def _tell(self, what: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._following.items()):
            try:
                what(tracker)
            except Exception as error:  # whatever it is: a training is worth more than its picture
                del self._following[name]
                log.warning("%s follows this training no further, which goes on without it: %s", name, _reason(error))
                log.debug("The error was raised here:", exc_info=error)


def _reason(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"{error.name} is not installed: {install_command(_EXTRA)}"
    return reason_of(error) or type(error).__name__


def _followed(project: Project, stage: str) -> Followed:
    key = project.expected_key(stage)
    name = run_name(project.config, stage, key)
    return Followed(project.home / TRACKERS, name, key, stage, settings_of(project.config, stage))
