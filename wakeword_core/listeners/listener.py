"""Whatever hears wake words, as a stream of scores; and the models of this project among them.

Any cutting of the sound gives the same scores. The time of a score is the end of the sound that had been heard when it
was given, so that times of different listeners can be compared.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from wakeword_core import __version__
from wakeword_core.config import NEGATIVE_LABEL, DetectorConfig
from wakeword_core.runtime.detector import Handicaps
from wakeword_core.runtime.live import stream_scorer
from wakeword_core.runtime.model import AnyModel, scored

OURS = "wakeword"

Times = NDArray[np.float64]
Scores = NDArray[Any]
Pcm = NDArray[np.int16]


class StreamingScorer(Protocol):
    """What gives the scores of a stream."""

    def reset(self) -> None:
        """Begin a new stream."""

    def push(self, chunk: Pcm) -> tuple[Times, Scores]:
        """Take int16 [samples] and return the times [k] and scores that they complete."""


class Listener(ABC):
    """Something that hears wake words, as a stream of scores; `files` are what a device has to hold.

    `threshold` is the one that it ships with. `labels` are its classes, the negatives first; `phrase` is empty where
    nothing says which word it is for.
    """

    name: str
    version: str
    detector: DetectorConfig
    files: list[Path]
    threshold: float
    sample_rate: int
    phrase: str
    handicaps: Handicaps | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """Its classes: those that are no wake word first."""
        return (NEGATIVE_LABEL, self.phrase)

    @abstractmethod
    def reset(self) -> None:
        """Begin a new stream."""

    @abstractmethod
    def push(self, pcm: Pcm) -> tuple[Times, Scores]:
        """Take int16 [samples] of any length; times in seconds [n] and scores [n] or [n, classes] that it completes."""

    def score(self, pcm: Pcm) -> tuple[Times, Scores]:
        """Return times and scores of a whole stream from a fresh start."""
        self.reset()
        return self.push(pcm)


class OwnModel(Listener):
    """A model that this project exported, and the `files` that it needs; `scorer` streams it in another way."""

    version = __version__

    def __init__(
        self, model: AnyModel, files: Sequence[Path], name: str = OURS, scorer: StreamingScorer | None = None
    ) -> None:
        self.name, self.detector, self.files = name, model.detector, [*files]
        self.threshold, self.sample_rate, self.phrase = model.threshold, model.sample_rate, model.phrase
        self.handicaps = model.handicaps
        self._model = model
        self._scorer = scorer or stream_scorer(model)

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes of the model."""
        return self._model.labels

    def reset(self) -> None:
        """Begin a new stream."""
        self._scorer.reset()

    def push(self, pcm: Pcm) -> tuple[Times, Scores]:
        """Take int16 [samples] of any length; the times [n] and scores [n, classes] that it completes."""
        return self._scorer.push(pcm)

    def score(self, pcm: Pcm) -> tuple[Times, Scores]:
        """Return times and scores of a whole stream, many windows at a time."""
        return scored(self._model.block_scorer(), pcm)
