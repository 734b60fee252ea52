"""From streaming scores to detections: smoothing, debounce, hysteresis, lockout. Needs numpy only, as a device does.

Each wake word has a detector of its own, which gets the word's score while it is the likeliest wake word, and 0 while
another is: no word locks out another, or lends it its scores. Where a model has handicaps, the odds of the score are
first divided by that of the word, so that one threshold is another for each word. The rule, for a word's scores
s_0, s_1, ... in [0, 1] at increasing times:

- smoothed_i is, with `votes` 0, the mean of the last `smoothing` scores (of fewer at the start); with `votes` N it is
  the N-th largest of them, so that it reaches a threshold when N of them do (scores before the start count as 0);
- held_i is the least of the last `hold` smoothed scores, so that it reaches a threshold when all of them do (again 0
  before the start);
- an event happens at i when the word is the likeliest, its detector is armed, held_i >= threshold and at least
  `lockout_seconds` have passed since its last event; the event disarms its detector;
- it is armed again once smoothed_i < threshold and either smoothed_i < off_ratio * threshold or the smoothed score has
  stayed below the threshold for `rearm_seconds` in a row, so that it never stays latched between the two thresholds.

`StreamingDetector` is that rule score by score; `detect` gives the same events for a whole sequence at once.
"""

import copy
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wakeword_core.config import DetectorConfig


class Detection(NamedTuple):
    """One event: its time in seconds, the score that reached the threshold (held, as in the rule) and the wake word."""

    time: float
    score: float
    label: str = ""


Handicaps = NDArray[np.float64]
"""What the odds of each class's scores are divided by: [classes]."""


def handicaps_of(labels: Sequence[str], by_word: Mapping[str, float]) -> Handicaps | None:
    """Return the handicap of each of the labels, 1 for those that have none; None when no word has one."""
    return np.array([by_word.get(label, 1.0) for label in labels]) if by_word else None


def lowered(scores: ArrayLike, handicap: ArrayLike) -> NDArray[np.float64]:
    """Divide the odds of scores by a handicap; by one below 1 they rise, and 0 and 1 stay what they are.

    Only with operations that are the same to the bit wherever they are made, which logarithms are not.
    """
    values, divisor = np.asarray(scores, dtype=np.float64), np.asarray(handicap, dtype=np.float64)
    within = np.clip(values, 0, 1)  # quantized scores may be just outside
    return np.where(divisor == 1, values, within / (within + (1 - within) * divisor))


def wake_scores(scores: ArrayLike, handicaps: Handicaps | None = None) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the score of the likeliest wake word and its class index, each [n], of scores [n, classes] or [n].

    Class 0 is the negatives; one-dimensional scores are those of class 1. A handicap lowers the score that is returned,
    and has no part in which word is the likeliest.
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim == 1:
        return values, np.ones(len(values), dtype=np.int64)
    if values.ndim != 2 or values.shape[1] < 2:
        raise ValueError(f"scores must be [n] or [n, classes >= 2], not {list(values.shape)}")
    best = 1 + values[:, 1:].argmax(axis=1)
    wake = values[np.arange(len(values)), best]
    return wake if handicaps is None else lowered(wake, handicaps[best]), best


def smooth(scores: ArrayLike, count: int, votes: int = 0) -> NDArray[np.float64]:
    """Smooth scores [n]: for each, return the mean of the last `count` or, with `votes`, the `votes`-th largest.

    The mean is of fewer at the start and summed oldest first, as a stream would; votes not cast yet count as 0.
    """
    values = np.asarray(scores, dtype=np.float64)
    if votes:
        return np.partition(_latest(values, count), count - votes, axis=1)[:, count - votes]
    total = np.zeros_like(values)
    for lag in range(min(count, len(values)) - 1, -1, -1):
        total[lag:] += values[: len(values) - lag]
    return total / np.minimum(np.arange(1, len(values) + 1), count)


def _latest(values: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """The last `count` of [n] at each of them, 0 before the start: [n, count]."""
    if not len(values):
        return np.empty((0, count))
    return np.lib.stride_tricks.sliding_window_view(np.concatenate([np.zeros(count - 1), values]), count)


@dataclass(frozen=True)
class PreparedScores:
    """What does not depend on the threshold, so that many thresholds can be tried on one sequence."""

    times: NDArray[np.float64]
    held: NDArray[np.float64]  # the highest threshold at which each score could be an event, of the likeliest word
    unlocked: NDArray[np.int64]  # for an event at i, the first index at which the lockout is over
    peak: float
    words: tuple["PreparedWord", ...]


class PreparedWord(NamedTuple):
    """One wake word among prepared scores."""

    smoothed: NDArray[np.float64]
    likeliest: NDArray[np.bool_]


def prepare(
    times: ArrayLike, scores: ArrayLike, detector: DetectorConfig, words: ArrayLike | None = None
) -> PreparedScores:
    """Smooth the scores [n] at increasing times [n] in seconds and find where each lockout would end.

    The scores are of the likeliest wake word, which is `words` [n] (names or classes); of the only one unless given.
    """
    moments, values = np.asarray(times, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    if moments.shape != values.shape or moments.ndim != 1:
        raise ValueError(f"times and scores must be of one length, not {list(moments.shape)}, {list(values.shape)}")
    if not np.isfinite(values).all() or not (np.diff(moments) > 0).all():
        raise ValueError("scores must be finite and times must increase")
    # t + lockout is rounded while the rule compares t_j - t_i: where the two differ it is by one place.
    guess = np.searchsorted(moments, moments + detector.lockout_seconds)
    earlier = np.maximum(guess - 1, 0)
    unlocked = np.where(moments[earlier] - moments >= detector.lockout_seconds, earlier, guess)
    here = np.minimum(unlocked, len(moments) - 1)
    unlocked += (unlocked < len(moments)) & (moments[here] - moments < detector.lockout_seconds)
    heard = np.zeros(len(values), np.int64) if words is None else np.unique(words, return_inverse=True)[1]
    held = np.zeros(len(values))
    prepared = []
    for word in range(int(heard.max(initial=0)) + 1):
        own = heard == word
        smoothed = smooth(np.where(own, values, 0.0), detector.smoothing, detector.votes)
        held[own] = _latest(smoothed, detector.hold).min(axis=1)[own]
        prepared.append(PreparedWord(smoothed, own))
    return PreparedScores(moments, held, unlocked, float(held.max(initial=-np.inf)), tuple(prepared))


def event_indices(prepared: PreparedScores, threshold: float, detector: DetectorConfig) -> NDArray[np.int64]:
    """Find the scores at which events happen, by index; the only Python loop is over the events themselves."""
    if prepared.peak < threshold:
        return np.empty(0, dtype=np.int64)
    reached = prepared.held >= threshold
    events = [
        _events_of(word, np.flatnonzero(reached & word.likeliest), prepared, threshold, detector)
        for word in prepared.words
    ]
    return np.sort(np.concatenate(events))


def _events_of(
    word: PreparedWord,
    hot: NDArray[np.int64],
    prepared: PreparedScores,
    threshold: float,
    detector: DetectorConfig,
) -> NDArray[np.int64]:
    """The events of one word, whose scores at `hot` could each be one."""
    times, smoothed = prepared.times, word.smoothed
    above = smoothed >= threshold
    below_since = np.maximum.accumulate(np.where(above, np.arange(len(times)), -1)) + 1
    rested = times - times[np.minimum(below_since, len(times) - 1)] >= detector.rearm_seconds
    rearmed = ~above & ((smoothed < detector.off_ratio * threshold) | rested)
    # Whether the detector is armed again depends on where it re-armed, never on which event disarmed it. So each
    # score that could be an event has one successor: the first such score that is both re-armed and out of lockout.
    rearms = np.cumsum(rearmed)[hot]
    successor = np.maximum(
        np.searchsorted(rearms, rearms, side="right"), np.searchsorted(hot, prepared.unlocked[hot])
    ).tolist()
    chain, position = [], 0
    while position < len(hot):
        chain.append(position)
        position = successor[position]
    return hot[chain]


def detect(
    times: ArrayLike, scores: ArrayLike, threshold: float, detector: DetectorConfig, labels: Sequence[str] = ()
) -> list[Detection]:
    """Find all events in scores [n] at times [n] in seconds; `labels` [n] are the likeliest wake words."""
    if len(labels) not in (0, len(np.atleast_1d(scores))):
        raise ValueError(f"{len(labels)} labels for {len(np.atleast_1d(scores))} scores")
    prepared = prepare(times, scores, detector, labels if len(labels) else None)
    return [
        Detection(float(prepared.times[i]), float(prepared.held[i]), labels[i] if labels else "")
        for i in event_indices(prepared, threshold, detector)
    ]


class StreamingDetector:
    """The same rule, one score at a time, with constant memory."""

    def __init__(self, threshold: float, detector: DetectorConfig) -> None:
        self.threshold = threshold
        self.settings = detector
        self.reset()

    def reset(self) -> None:
        """Begin a new stream."""
        self._words: dict[str, _WordDetector] = {}
        self._unheard = _WordDetector(self.threshold, self.settings)

    def push(self, time: float, score: float, label: str = "") -> Detection | None:
        """Take the score at `time` in seconds, of the likeliest wake word, and return the event it causes, if any."""
        if not math.isfinite(score):
            raise ValueError(f"the score at {time} s is not finite")
        if label not in self._words:
            self._words[label] = copy.deepcopy(self._unheard)
        for other in (self._unheard, *(own for word, own in self._words.items() if word != label)):
            other.hear(time, 0.0)
        held = self._words[label].hear(time, float(score))
        return Detection(float(time), held, label) if self._words[label].fires(time, held) else None


class _WordDetector:
    """The rule for one wake word."""

    def __init__(self, threshold: float, detector: DetectorConfig) -> None:
        self._threshold, self._settings = threshold, detector
        self._recent: deque[float] = deque(maxlen=detector.smoothing)
        self._smoothed: deque[float] = deque(maxlen=detector.hold)
        self._armed = True
        self._last_event: float | None = None
        self._below_since: float | None = None

    def hear(self, time: float, score: float) -> float:
        """Take the word's score at `time` in seconds, and return the held score."""
        self._recent.append(score)
        smoothed = self._agreed()
        self._smoothed.append(smoothed)
        if smoothed >= self._threshold:
            self._below_since = None
        else:
            self._below_since = time if self._below_since is None else self._below_since
            rested = time - self._below_since >= self._settings.rearm_seconds
            self._armed |= rested or smoothed < self._settings.off_ratio * self._threshold
        return min(self._smoothed) if len(self._smoothed) == self._settings.hold else 0.0

    def fires(self, time: float, held: float) -> bool:
        """Tell whether an event happens, which disarms the detector."""
        locked = self._last_event is not None and time - self._last_event < self._settings.lockout_seconds
        if held < self._threshold or not self._armed or locked:
            return False
        self._armed = False
        self._last_event = time
        return True

    def _agreed(self) -> float:
        votes = self._settings.votes
        if votes:
            ranked = sorted(self._recent, reverse=True)
            return ranked[votes - 1] if len(ranked) >= votes else 0.0
        total = 0.0
        for recent in self._recent:  # not sum(), whose rounding differs between versions of Python
            total += recent
        return total / len(self._recent)
