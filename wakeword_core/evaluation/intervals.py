"""Confidence intervals: exact or Wilson for counts, Student's for means, a stratified bootstrap for all else."""

from collections.abc import Callable, Mapping, Sequence
from math import sqrt
from statistics import mean, stdev
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1_000
_CELLS = 1 << 19
"""Windows times resamples held at once: what fits a processor's cache."""

Doubles = NDArray[np.float64]
Statistics = Callable[[Doubles], Mapping[str, Doubles]]
"""How often each window is drawn [resamples, n] -> the value of each metric in each resample [resamples]."""


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


def wilson_interval(events: float, trials: float, confidence: float = 0.95) -> Interval:
    """Wilson score interval (Wilson 1927) of events among trials, whole or effective ones; (0, 1) without any."""
    from scipy.stats import norm

    if trials == 0:
        return Interval(0.0, 1.0)
    z, proportion = norm.ppf((1 + confidence) / 2), events / trials
    middle = (proportion + z**2 / (2 * trials)) / (1 + z**2 / trials)
    reach = z / (1 + z**2 / trials) * np.sqrt(proportion * (1 - proportion) / trials + (z / (2 * trials)) ** 2)
    # at 0 and 1 rounding leaves the ends a hair inside
    return Interval(float(min(max(middle - reach, 0.0), proportion)), float(max(min(middle + reach, 1.0), proportion)))


def effective_trials(units: NDArray[Any]) -> float:
    """How many independent trials trials [n] are worth that belong to `units` [n] (Kish 1965): (sum m)^2 / sum m^2.

    A recording that was cut into m windows is one trial; many recordings of which one has most windows, hardly more.
    """
    _, sizes = np.unique(units, return_counts=True)
    return float(sizes.sum() ** 2 / np.square(sizes, dtype=np.float64).sum()) if len(sizes) else 0.0


def poisson_interval(events: int, exposure: float, confidence: float = 0.95) -> Interval:
    """Exact two-sided interval (Garwood 1936) of a rate, in events a unit of `exposure`, which must be positive."""
    from scipy.stats import chi2

    tail = (1 - confidence) / 2
    low = chi2.ppf(tail, 2 * events) / 2 if events else 0.0
    return Interval(float(low / exposure), float(chi2.ppf(1 - tail, 2 * events + 2) / 2 / exposure))


def poisson_upper_bound(events: int, exposure: float, confidence: float = 0.95) -> float:
    """The rate that is exceeded with probability 1 - confidence at most: the one-sided exact bound."""
    from scipy.stats import chi2

    return float(chi2.ppf(confidence, 2 * events + 2) / 2 / exposure)


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Student's interval (1908) of what at least two independent values are in the mean."""
    from scipy.stats import t

    middle, error = mean(values), stdev(values) / sqrt(len(values))
    reach = float(t.ppf((1 + confidence) / 2, len(values) - 1)) * error
    return Interval(middle - reach, middle + reach)


def bootstrap_intervals(
    statistics: Statistics,
    labels: NDArray[np.bool_],
    random: np.random.Generator,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    recordings: NDArray[Any] | None = None,
) -> dict[str, Interval]:
    """Percentile intervals (Efron 1979) of metrics over windows with `labels` [n], each class resampled by itself.

    With `recordings` [n] it is these that are drawn, each with all of its windows (Davison & Hinkley 1997, 3.8).
    An interval always holds the value of the windows themselves: resamples of the calibration error lie above it.
    A metric that is the same in every resample is left out: without an error, a bootstrap knows nothing of its size.
    """
    found = statistics(np.ones((1, len(labels))))
    drawn: dict[str, list[Doubles]] = {name: [] for name in found}
    step = max(1, _CELLS // len(labels))
    classes = [_Drawn(rows, None if recordings is None else recordings[rows]) for rows in _by_class(labels)]
    for start in range(0, resamples, step):
        values = statistics(_draws(classes, len(labels), min(step, resamples - start), random))
        for name, several in values.items():
            drawn[name].append(several)
    tail = (1 - confidence) / 2
    intervals = {}
    for name, itself in found.items():
        every = np.concatenate(drawn[name])
        if np.ptp(every) > 0:
            low, high = np.quantile(every, [tail, 1 - tail])
            intervals[name] = Interval(float(min(low, itself[0])), float(max(high, itself[0])))
    return intervals


class _Drawn:
    """Windows `rows` of one class, and which unit of what is drawn each of them belongs to."""

    def __init__(self, rows: NDArray[np.int64], recordings: NDArray[Any] | None) -> None:
        self.rows = rows
        self.unit = np.arange(len(rows)) if recordings is None else np.unique(recordings, return_inverse=True)[1]
        self.units = int(self.unit.max()) + 1


def _by_class(labels: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    return [rows for rows in (np.flatnonzero(labels), np.flatnonzero(~labels)) if len(rows)]


def _draws(classes: list[_Drawn], windows: int, resamples: int, random: np.random.Generator) -> Doubles:
    """How often each of the windows is drawn, with replacement and within its class: [resamples, windows]."""
    counts = np.zeros((resamples, windows))
    for one in classes:
        picks = random.integers(one.units, size=(resamples, one.units)) + one.units * np.arange(resamples)[:, None]
        drawn = np.bincount(picks.ravel(), minlength=resamples * one.units).reshape(resamples, one.units)
        counts[:, one.rows] = drawn[:, one.unit]
    return counts
