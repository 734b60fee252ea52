"""From streaming scores to detections: smoothing, hysteresis and lockout. Needs numpy only, as a device does.

The rule, for scores s_0, s_1, ... at increasing times:

- smoothed_i is the mean of the last `smoothing` scores (of fewer at the start);
- an event happens at i when the detector is armed, smoothed_i >= threshold and at least `lockout_seconds` have passed
  since the last event; the event disarms the detector;
- below the threshold it is armed again once smoothed_i < off_ratio * threshold, or once it has stayed below the
  threshold for `rearm_seconds` in a row, so that it never stays latched between the two thresholds.

`StreamingDetector` is that rule score by score; `detect` gives the same events for a whole sequence at once.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wakeword_core.config import DetectorConfig


class Detection(NamedTuple):
    """One event: its time in seconds, the smoothed score that caused it and the wake word it is taken for."""

    time: float
    score: float
    label: str = ""


def wake_scores(scores: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The score of the likeliest wake word and its class index, each [n], from class scores [n, classes] or [n].

    Class 0 is the negatives; one-dimensional scores are those of class 1.
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim == 1:
        return values, np.ones(len(values), dtype=np.int64)
    if values.ndim != 2 or values.shape[1] < 2:
        raise ValueError(f"scores must be [n] or [n, classes >= 2], not {list(values.shape)}")
    best = 1 + values[:, 1:].argmax(axis=1)
    return values[np.arange(len(values)), best], best


def smooth(scores: ArrayLike, count: int) -> NDArray[np.float64]:
    """The mean of the last `count` scores [n], of fewer at the start, summed oldest first as a stream would."""
    values = np.asarray(scores, dtype=np.float64)
    total = np.zeros_like(values)
    for lag in range(min(count, len(values)) - 1, -1, -1):
        total[lag:] += values[: len(values) - lag]
    return total / np.minimum(np.arange(1, len(values) + 1), count)


@dataclass(frozen=True)
class PreparedScores:
    """What does not depend on the threshold, so that many thresholds can be tried on one sequence."""

    times: NDArray[np.float64]
    smoothed: NDArray[np.float64]
    unlocked: NDArray[np.int64]
    """For an event at i, the first index at which the lockout is over."""
    peak: float


def prepare(times: ArrayLike, scores: ArrayLike, config: DetectorConfig) -> PreparedScores:
    """Smooth the scores [n] at increasing times [n] in seconds and find where each lockout would end."""
    moments = np.asarray(times, dtype=np.float64)
    smoothed = smooth(scores, config.smoothing)
    if moments.shape != smoothed.shape or moments.ndim != 1:
        raise ValueError(f"times and scores must be of one length, not {list(moments.shape)}, {list(smoothed.shape)}")
    if not np.isfinite(smoothed).all() or not (np.diff(moments) > 0).all():
        raise ValueError("scores must be finite and times must increase")
    # t + lockout is rounded while the rule compares t_j - t_i: where the two differ it is by one place.
    guess = np.searchsorted(moments, moments + config.lockout_seconds)
    earlier = np.maximum(guess - 1, 0)
    unlocked = np.where(moments[earlier] - moments >= config.lockout_seconds, earlier, guess)
    here = np.minimum(unlocked, len(moments) - 1)
    unlocked += (unlocked < len(moments)) & (moments[here] - moments < config.lockout_seconds)
    return PreparedScores(moments, smoothed, unlocked, float(smoothed.max(initial=-np.inf)))


def event_indices(prepared: PreparedScores, threshold: float, config: DetectorConfig) -> NDArray[np.int64]:
    """Indices of the scores at which events happen; the only Python loop is over the events themselves."""
    if prepared.peak < threshold:
        return np.empty(0, dtype=np.int64)
    times, smoothed = prepared.times, prepared.smoothed
    above = smoothed >= threshold
    hot = np.flatnonzero(above)
    below_since = np.maximum.accumulate(np.where(above, np.arange(len(times)), -1)) + 1
    rested = times - times[np.minimum(below_since, len(times) - 1)] >= config.rearm_seconds
    rearmed = ~above & ((smoothed < config.off_ratio * threshold) | rested)
    # Whether the detector is armed again depends on where it re-armed, never on which event disarmed it. So each
    # score above the threshold has one successor: the first such score that is both re-armed and out of lockout.
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
    times: ArrayLike, scores: ArrayLike, threshold: float, config: DetectorConfig, labels: Sequence[str] = ()
) -> list[Detection]:
    """All events in scores [n] at times [n] in seconds; `labels` [n] names the likeliest wake word of each score."""
    prepared = prepare(times, scores, config)
    if len(labels) not in (0, len(prepared.times)):
        raise ValueError(f"{len(labels)} labels for {len(prepared.times)} scores")
    return [
        Detection(float(prepared.times[i]), float(prepared.smoothed[i]), labels[i] if labels else "")
        for i in event_indices(prepared, threshold, config)
    ]


class StreamingDetector:
    """The same rule, one score at a time, with constant memory."""

    def __init__(self, threshold: float, config: DetectorConfig) -> None:
        self.threshold = threshold
        self.config = config
        self.reset()

    def reset(self) -> None:
        """Forget everything heard so far."""
        self._recent: deque[float] = deque(maxlen=self.config.smoothing)
        self._armed = True
        self._last_event: float | None = None
        self._below_since: float | None = None

    def push(self, time: float, score: float, label: str = "") -> Detection | None:
        """Take the score at `time` in seconds; the event it causes, if any."""
        if not math.isfinite(score):
            raise ValueError(f"the score at {time} s is not finite")
        self._recent.append(float(score))
        total = 0.0
        for recent in self._recent:  # not sum(), whose rounding differs between versions of Python
            total += recent
        smoothed = total / len(self._recent)
        if smoothed < self.threshold:
            self._rest(time, smoothed)
            return None
        self._below_since = None
        locked = self._last_event is not None and time - self._last_event < self.config.lockout_seconds
        if not self._armed or locked:
            return None
        self._armed = False
        self._last_event = time
        return Detection(float(time), smoothed, label)

    def _rest(self, time: float, smoothed: float) -> None:
        if self._below_since is None:
            self._below_since = time
        rested = time - self._below_since >= self.config.rearm_seconds
        if rested or smoothed < self.config.off_ratio * self.threshold:
            self._armed = True
