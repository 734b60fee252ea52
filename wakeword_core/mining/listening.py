"""Recordings as a model hears them one after the other: every window scored once, in batches of equal stretches.

Each recording begins after quiet, and quiet follows it, so that no window hears two of them and what a recording
scores does not depend on its neighbours. Memory is bounded by a batch of stretches and the recordings in it.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wakeword_core.config import Config
from wakeword_core.features.windows import row_tail
from wakeword_core.shards.packed_split import Recording

Scorer = Callable[[npt.NDArray[np.int16]], npt.NDArray[np.float32]]
"""Stretches int16 [n, samples] -> scores of the windows in them [n, steps]."""

_STEPS = 256
"""Scores a stretch; the window before its first score is what is transformed twice."""
_BATCH = 16
"""Stretches that are scored at once: two minutes of sound and more."""


@dataclass(frozen=True)
class Layout:
    """A stretch, in frames of the front end or samples: its windows end `step` frames apart."""

    window: int
    step: int
    hop: int
    n_fft: int
    edge: int
    """Samples of a recording that its first window holds; of a shorter one, all."""
    after: int
    """Samples of quiet after a recording that are heard as its own."""

    @classmethod
    def of(cls, config: Config, step: int) -> "Layout":
        """For windows as configured, from a beginning as in training to as long after the end as rows last there."""
        frontend, rate = config.features.frontend, config.data.sample_rate
        edge, after = round(config.features.edge_seconds * rate), row_tail(config.features, rate)
        return cls(frontend.window_frames, step, frontend.hop_length, frontend.n_fft, edge, after)

    @property
    def window_samples(self) -> int:
        """Samples a window."""
        return (self.window - 1) * self.hop + self.n_fft

    @property
    def samples(self) -> int:
        """Samples a stretch of `_STEPS` scores."""
        return self.window_samples + (_STEPS - 1) * self.grid

    @property
    def grid(self) -> int:
        """Samples from one score to the next."""
        return self.step * self.hop


@dataclass(frozen=True)
class Heard:
    """A recording and its scores [n]; `ends` [n] are the samples of it at which their windows end."""

    recording: Recording
    ends: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]


def listen(recordings: Iterable[Recording], score: Scorer, layout: Layout) -> Iterator[Heard]:
    """The scores of each recording, in order; see `Layout` for where they lie."""
    tape = _Tape(score, layout)
    for recording in recordings:
        yield from tape.hear(recording)
    yield from tape.end()


@dataclass(frozen=True)
class _Place:
    """Where on the tape a recording's scores are, by their number, and where in it the window of the first one ends."""

    recording: Recording
    first: int
    last: int
    first_end: int


class _Tape:
    """Sound that is still to be scored, and scores that are still to be given to their recordings."""

    def __init__(self, score: Scorer, layout: Layout) -> None:
        self._score, self._layout = score, layout
        self._sound = np.zeros(0, np.int16)
        self._end = 0
        self._stretches: list[npt.NDArray[np.int16]] = []
        self._scores = np.zeros(0, np.float32)
        self._first = 0
        """Number of the first score that is kept."""
        self._waiting: deque[_Place] = deque()

    def hear(self, recording: Recording) -> Iterator[Heard]:
        """Put a recording behind the others; those that are scored by now."""
        layout = self._layout
        quiet = max(layout.window_samples, layout.after)
        begin = -(-(self._end + quiet) // layout.grid) * layout.grid
        self._append(begin - self._end, recording.audio)
        edge = max(layout.n_fft, min(layout.edge, len(recording.audio)))
        first = -(-(begin + edge - layout.window_samples) // layout.grid)
        last = (begin + len(recording.audio) + layout.after - layout.window_samples) // layout.grid
        first_end = first * layout.grid + layout.window_samples - begin
        self._waiting.append(_Place(recording, first, last, first_end))
        yield from self._scored()

    def end(self) -> Iterator[Heard]:
        """The recordings that are left."""
        self._append(self._layout.after + self._layout.samples, np.zeros(0, np.int16))
        yield from self._scored()
        self._score_batch()
        yield from self._finished()

    def _append(self, quiet: int, audio: npt.NDArray[np.int16]) -> None:
        self._sound = np.concatenate([self._sound, np.zeros(quiet, np.int16), audio])
        self._end += quiet + len(audio)

    def _scored(self) -> Iterator[Heard]:
        while len(self._sound) >= self._layout.samples:
            self._stretches.append(self._sound[: self._layout.samples])
            self._sound = self._sound[_STEPS * self._layout.grid :]
            if len(self._stretches) == _BATCH:
                self._score_batch()
                yield from self._finished()

    def _score_batch(self) -> None:
        if self._stretches:
            self._scores = np.concatenate([self._scores, self._score(np.stack(self._stretches)).ravel()])
            self._stretches.clear()

    def _finished(self) -> Iterator[Heard]:
        while self._waiting and self._waiting[0].last < self._first + len(self._scores):
            place = self._waiting.popleft()
            found = self._scores[place.first - self._first : place.last + 1 - self._first]
            yield Heard(place.recording, place.first_end + np.arange(len(found)) * self._layout.grid, found)
            self._scores = self._scores[place.last + 1 - self._first :]
            self._first = place.last + 1
