"""Two models on the same trials: is the first worse, by how much, and how much worse would have shown."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from wakeword_core.evaluation.intervals import Interval, poisson_interval, wilson_interval


class Outcomes(NamedTuple):
    """How many trials went wrong with both models, with one of them only, and with neither."""

    both: float
    first_only: float
    second_only: float
    neither: float


def excess_p_value(differences: Iterable[int]) -> float:
    """Chance that units [n] show such an excess of errors of the first model, or more, if both are equally good.

    A unit is what may count as independent: a recording, however often it is played. Its difference is the errors of
    the first model less those of the second. Were both equally good, each difference could as well have the other
    sign: the exact sign-flip test (Fisher 1935). Where no unit differs by more than one it is McNemar's exact test
    (1947), and of events in equal exposure the exact conditional binomial test (Przyborowski and Wilenski 1940).
    """
    from scipy.stats import binom

    found = np.asarray([one for one in differences if one], dtype=np.int64)
    # the chance of each sum of the sizes that get a plus; those of one size are a binomial
    chances = np.ones(1)
    for size, count in zip(*np.unique(np.abs(found), return_counts=True), strict=True):
        spread = np.zeros(size * count + 1)
        spread[::size] = binom.pmf(np.arange(count + 1), count, 0.5)
        chances = np.convolve(chances, spread)
    return float(min(chances[found[found > 0].sum() :].sum(), 1.0))


def least_excess(against: int, level: float) -> int:
    """How many more units the first model must fail in to be called worse, where the second alone fails in `against`.

    Units that differ by one; whatever is less cannot show at that level.
    """
    from scipy.stats import binom

    excess = 0
    while binom.sf(against + excess - 1, 2 * against + excess, 0.5) > level:
        excess += 1
    return excess


def share_difference(outcomes: Outcomes, units: float, confidence: float) -> Interval:
    """Interval of the first model's share of errors less the second's: Newcombe's hybrid score (1998, method 10).

    `units` is how many independent trials the outcomes are worth. Also without a single error it has a width, unlike a
    bootstrap's.
    """
    scaled = Outcomes(*(one * units / sum(outcomes) for one in outcomes))
    first, second = scaled.both + scaled.first_only, scaled.both + scaled.second_only
    ends = [wilson_interval(errors, units, confidence) for errors in (first, second)]
    return _difference(first / units, ends[0], second / units, ends[1], _correlation(scaled))


def rate_difference(first: int, second: int, exposure: float, confidence: float) -> Interval:
    """Interval of the difference of two rates, of so many events in one exposure (Zou and Donner 2008).

    Both models hear the same, so their events coincide rather than not; that it counts them as independent makes it
    wider.
    """
    ends = [poisson_interval(events, exposure, confidence) for events in (first, second)]
    return _difference(first / exposure, ends[0], second / exposure, ends[1], 0.0)


def _difference(first: float, ends: Interval, second: float, other_ends: Interval, correlation: float) -> Interval:
    """From the intervals of two estimates, that of their difference (Zou 2007)."""

    def reach(one: float, other: float) -> float:
        return float(np.sqrt(max(one**2 - 2 * correlation * one * other + other**2, 0.0)))

    middle = first - second
    return Interval(
        middle - reach(first - ends.low, other_ends.high - second),
        middle + reach(ends.high - first, second - other_ends.low),
    )


def _correlation(outcomes: Outcomes) -> float:
    """Of both models' errors, drawn towards 0 for continuity as Newcombe does; 0 where one never or always errs."""
    both, first_only, second_only, neither = outcomes
    product = both * neither - first_only * second_only
    if product > 0:
        product = max(product - sum(outcomes) / 2, 0.0)
    sides = (both + first_only) * (second_only + neither) * (both + second_only) * (first_only + neither)
    return product / float(np.sqrt(sides)) if sides > 0 else 0.0
