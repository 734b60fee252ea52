"""How ESPHome and pymicro-wakeword turn the scores of a model for microcontrollers into detections. Needs numpy only.

Such a model takes some frames in a run, every `stride` steps of the front end, and gives a score of 256 steps.

ESPHome's `micro_wake_word` (`streaming_model.cpp`, 2025.10 to 2026.6) keeps the latest scores in a ring, and detects
when their sum is above a whole number, 255 times the cutoff, for each. At the start, and after each detection, the
ring is emptied and the model cools off: there is no detection until the latest score was below the cutoff at 100 steps
of the front end, which need not be in a row.

`pymicro-wakeword` says at every run whether the mean of the latest scores is above the cutoff, once there are enough of
them. An event is the first of several such runs in a row.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

COOL_OFF_STEPS = 100
LEVELS = 256
"""Steps of a score."""
_HIGHEST = 255


def levels(scores: ArrayLike) -> NDArray[np.int64]:
    """Return scores [n] that are multiples of 1/256 as the whole numbers that the device has; ValueError for others."""
    steps = np.asarray(scores, np.float64) * LEVELS
    whole = np.rint(steps)
    if not ((whole == steps) & (whole >= 0) & (whole <= _HIGHEST)).all():
        raise ValueError("scores of a microcontroller are multiples of 1/256 below 1")
    return whole.astype(np.int64)


def esphome_events(scores: NDArray[np.int64], cutoff: float, window: int, stride: int) -> NDArray[np.int64]:
    """Find the runs at which ESPHome detects, if it goes on listening, in `levels` [n] with the settings of a manifest.

    The only loop is over detections, and over runs that only the emptied ring keeps from being one.
    """
    threshold = int(cutoff * _HIGHEST)
    totals = np.concatenate([[0], np.cumsum(scores)])
    runs = np.arange(len(scores))
    hot = runs[totals[1:] - totals[np.maximum(runs + 1 - window, 0)] > threshold * window]
    cool = np.cumsum(scores < threshold)

    def heard(run: int, emptied: int) -> int:
        return int(totals[run + 1] - totals[max(run + 1 - window, emptied + 1)])

    events: list[int] = []
    # the front end's steps before the first run count as well, as if there had been a detection a run earlier
    emptied, left = -1, stride - 1
    while True:
        cooled = int(cool[emptied]) if emptied >= 0 else 0
        needed = COOL_OFF_STEPS - left
        armed = int(np.searchsorted(cool, cooled + -(-needed // stride)))
        place = int(np.searchsorted(hot, armed))
        while place < len(hot) and heard(int(hot[place]), emptied) <= threshold * window:
            place += 1
        if place == len(hot):
            return np.asarray(events, np.int64)
        run = int(hot[place])
        events.append(run)
        # of the steps of a run, the first has its new score; at the one that arms it, it may be a later one
        steps_passed = needed - stride * (int(cool[run]) - cooled - 1) if run == armed else 1
        emptied, left = run, stride - steps_passed


def pymicro_events(scores: NDArray[np.int64], cutoff: float, window: int) -> NDArray[np.int64]:
    """Find the runs at which pymicro-wakeword begins to detect, in `levels` [n] with the settings of a manifest."""
    totals = np.concatenate([np.zeros(window, np.int64), np.cumsum(scores)])
    means = (totals[window:] - totals[: len(scores)]) / (LEVELS * window)
    means[: window - 1] = 0.0
    above = means > cutoff
    return np.flatnonzero(above & ~np.concatenate([[False], above[:-1]]))
