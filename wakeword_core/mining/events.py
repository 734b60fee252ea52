"""From the scores of a recording to events: a run of high scores is one, and no two are closer than a lockout."""

import numpy as np
from numpy.typing import ArrayLike


def event_peaks(times: ArrayLike, scores: ArrayLike, min_score: float, lockout_seconds: float) -> list[int]:
    """Indices of the scores [n] at increasing times [n] in seconds that stand for an event each, the highest first.

    An unbroken run of scores of at least `min_score` is one event, at its highest score; of events closer than
    `lockout_seconds` only the highest one counts. Of equals, the earlier.
    """
    moments, values = np.asarray(times, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    high = np.flatnonzero(values >= min_score)
    if not len(high):
        return []
    runs = np.split(high, np.flatnonzero(np.diff(high) > 1) + 1)
    peaks = np.array([run[values[run].argmax()] for run in runs])
    free = np.ones(len(peaks), dtype=bool)
    taken: list[int] = []
    for place in np.argsort(-values[peaks], kind="stable"):
        if free[place]:
            taken.append(int(peaks[place]))
            free &= np.abs(moments[peaks] - moments[peaks[place]]) >= lockout_seconds
    return taken
