"""Confidence intervals of counts, means, resampled metrics, and differences of two models on the same trials."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import sqrt
from statistics import mean, stdev
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1_000
_CELLS = 1 << 19
"""Windows times resamples in memory at once: what fits a processor's cache."""

Doubles = NDArray[np.float64]
Statistics = Callable[[Doubles], Mapping[str, float]]
"""How often each window counts [n] -> the value of each metric."""


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


def wilson_interval(events: float, trials: float, confidence: float = 0.95) -> Interval:
    """Return the Wilson score interval (1927) of events among trials, whole or effective ones; (0, 1) without any."""
    from scipy.stats import norm

    if trials == 0:
        return Interval(0.0, 1.0)
    z, proportion = norm.ppf((1 + confidence) / 2), events / trials
    middle = (proportion + z**2 / (2 * trials)) / (1 + z**2 / trials)
    reach = z / (1 + z**2 / trials) * np.sqrt(proportion * (1 - proportion) / trials + (z / (2 * trials)) ** 2)
    # at 0 and 1 rounding leaves the ends a hair inside
    return Interval(float(min(max(middle - reach, 0.0), proportion)), float(max(min(middle + reach, 1.0), proportion)))


def effective_trials(units: NDArray[Any]) -> float:
    """Return what trials that belong to `units` [n] are worth in independent ones (Kish 1965): (sum m)^2 / sum m^2.

    A recording that was cut into m windows is one trial; many recordings of which one has most windows, hardly more.
    """
    _, sizes = np.unique(units, return_counts=True)
    return float(sizes.sum() ** 2 / np.square(sizes, dtype=np.float64).sum()) if len(sizes) else 0.0


def poisson_interval(events: int, exposure: float, confidence: float = 0.95) -> Interval:
    """Return the exact interval (Garwood 1936) of a rate, in events a unit of `exposure`, which must be positive."""
    from scipy.stats import chi2

    tail = (1 - confidence) / 2
    low = chi2.ppf(tail, 2 * events) / 2 if events else 0.0
    return Interval(float(low / exposure), float(chi2.ppf(1 - tail, 2 * events + 2) / 2 / exposure))


def poisson_upper_bound(events: int, exposure: float, confidence: float = 0.95) -> float:
    """Return the rate that is exceeded with probability 1 - confidence at most: the one-sided exact bound."""
    from scipy.stats import chi2

    return float(chi2.ppf(confidence, 2 * events + 2) / 2 / exposure)


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Return Student's interval (1908) of the mean of at least two independent values."""
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
    """Return percentile intervals (Efron 1979) of metrics over windows with `labels` [n], resampled by class.

    With `recordings` [n] it is these that are drawn, each with all of its windows (Davison & Hinkley 1997, 3.8).
    An interval always holds the value of the windows themselves: resamples of the calibration error lie above it.
    A metric that is the same in every resample is left out: without an error, a bootstrap knows nothing of its size.
    """
    itself = statistics(np.ones(len(labels)))
    resampled: dict[str, list[float]] = {name: [] for name in itself}
    step = max(1, _CELLS // len(labels))
    units = np.arange(len(labels)) if recordings is None else recordings
    classes = [rows for rows in (np.flatnonzero(labels), np.flatnonzero(~labels)) if len(rows)]
    strata = [(rows, np.unique(units[rows], return_inverse=True)[1]) for rows in classes]
    for start in range(0, resamples, step):
        for weights in _draws(strata, len(labels), min(step, resamples - start), random):
            for name, value in statistics(weights).items():
                resampled[name].append(value)
    tail = (1 - confidence) / 2
    intervals = {}
    for name, values in resampled.items():
        if np.ptp(values) > 0:
            low, high = np.quantile(values, [tail, 1 - tail])
            intervals[name] = Interval(float(min(low, itself[name])), float(max(high, itself[name])))
    return intervals


def _draws(
    strata: list[tuple[NDArray[np.int64], NDArray[np.int64]]], windows: int, resamples: int, random: np.random.Generator
) -> Doubles:
    """Draw units with replacement; return how often each window is drawn: [resamples, windows].

    A stratum is the rows of one class, and which unit each of them belongs to.
    """
    counts = np.zeros((resamples, windows))
    for rows, unit in strata:
        units = int(unit.max()) + 1
        picks = random.integers(units, size=(resamples, units))
        picks += units * np.arange(resamples)[:, None]
        drawn = np.bincount(picks.ravel(), minlength=resamples * units).reshape(resamples, units)
        counts[:, rows] = drawn[:, unit]
    return counts


class Outcomes(NamedTuple):
    """How many trials went wrong with both models, with one of them only, and with neither."""

    both: float
    first_only: float
    second_only: float
    neither: float


def excess_p_value(differences: Iterable[int]) -> float:
    """Return the chance that units [n] show such an excess of the first model's errors, if both are equally good.

    A unit is what may count as independent: a recording, however often it is played. Its difference is the errors of
    the first model less those of the second. Were both equally good, each difference could as well have the other
    sign: the exact sign-flip test (Fisher 1935). Where no unit differs by more than one it is McNemar's exact test
    (1947), and of events in equal exposure the exact conditional binomial test (Przyborowski and Wilenski 1940).
    """
    from scipy.stats import binom

    excesses = np.asarray([difference for difference in differences if difference], dtype=np.int64)
    # the chance of each sum of the sizes that get a plus; those of one size are a binomial
    chances = np.ones(1)
    for size, count in zip(*np.unique(np.abs(excesses), return_counts=True), strict=True):
        spread = np.zeros(size * count + 1)
        spread[::size] = binom.pmf(np.arange(count + 1), count, 0.5)
        chances = np.convolve(chances, spread)
    return float(min(chances[excesses[excesses > 0].sum() :].sum(), 1.0))


def least_excess(against: int, level: float) -> int:
    """Return in how many more units than `against`, those of the second alone, the first must fail to be called worse.

    Units differ by one.
    """
    from scipy.stats import binom

    excess = 0
    while binom.sf(against + excess - 1, 2 * against + excess, 0.5) > level:
        excess += 1
    return excess


def share_difference(outcomes: Outcomes, units: float, confidence: float) -> Interval:
    """Return the interval of the first model's share of errors less the second's (Newcombe 1998, method 10).

    `units` is how many independent trials the outcomes are worth. Also without a single error it has a width, unlike a
    bootstrap's.
    """
    scaled = Outcomes(*(count * units / sum(outcomes) for count in outcomes))
    first, second = scaled.both + scaled.first_only, scaled.both + scaled.second_only
    ends = [wilson_interval(errors, units, confidence) for errors in (first, second)]
    return _difference(first / units, ends[0], second / units, ends[1], _correlation(scaled))


def rate_difference(first: int, second: int, exposure: float, confidence: float) -> Interval:
    """Return the interval of the difference of two rates, of events in one exposure (Zou and Donner 2008).

    Both models hear the same, so their events coincide rather than not; that it counts them as independent makes it
    wider.
    """
    ends = [poisson_interval(events, exposure, confidence) for events in (first, second)]
    return _difference(first / exposure, ends[0], second / exposure, ends[1], 0.0)


def _difference(first: float, ends: Interval, second: float, other_ends: Interval, correlation: float) -> Interval:
    """Return the interval of the difference of two estimates, from those of both (Zou 2007)."""

    def reach(first_side: float, second_side: float) -> float:
        return float(np.sqrt(max(first_side**2 - 2 * correlation * first_side * second_side + second_side**2, 0.0)))

    middle = first - second
    return Interval(
        middle - reach(first - ends.low, other_ends.high - second),
        middle + reach(ends.high - first, second - other_ends.low),
    )


def _correlation(outcomes: Outcomes) -> float:
    """Correlate both models' errors, with Newcombe's continuity correction; 0 where one never or always errs."""
    both, first_only, second_only, neither = outcomes
    product = both * neither - first_only * second_only
    if product > 0:
        product = max(product - sum(outcomes) / 2, 0.0)
    sides = (both + first_only) * (second_only + neither) * (both + second_only) * (first_only + neither)
    return product / float(np.sqrt(sides)) if sides > 0 else 0.0
