"""Tests on paired trials: against counting by hand and published intervals, and what must hold of any."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from wakeword_core.evaluation.measure.intervals import (
    Outcomes,
    excess_p_value,
    least_excess,
    rate_difference,
    share_difference,
)

differences = st.lists(st.integers(-3, 3), max_size=9)
counts = st.integers(0, 40)


@given(differences)
@settings(deadline=None, max_examples=60)
def test_the_p_value_is_that_of_all_signs_counted_by_hand(found):
    sizes = [abs(one) for one in found]
    sums = [sum(a * b for a, b in zip(sizes, signs, strict=True)) for signs in product((1, -1), repeat=len(sizes))]
    assert excess_p_value(found) == pytest.approx(np.mean(np.array(sums) >= sum(found)))


@pytest.mark.parametrize(("mine", "theirs"), [(0, 0), (5, 0), (12, 3), (3, 12), (400, 350)])
def test_single_differences_are_mcnemars_exact_test(mine, theirs):
    expected = binomtest(mine, mine + theirs, 0.5, alternative="greater").pvalue if mine + theirs else 1.0
    assert excess_p_value([1] * mine + [-1] * theirs + [0] * 7) == pytest.approx(expected)


def test_plays_of_one_recording_are_no_more_evidence_than_the_recording():
    assert excess_p_value([4] * 3) == pytest.approx(1 / 8) and excess_p_value([1] * 12) == pytest.approx(1 / 4096)


@given(differences)
@settings(deadline=None, max_examples=60)
def test_both_directions_are_one_test(found):
    tie = excess_p_value(found) + excess_p_value([-one for one in found]) - 1
    assert tie >= -1e-9  # the chance of exactly this excess counts on both sides
    assert excess_p_value([]) == excess_p_value([0, 0]) == 1


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [((36, 12, 2, 0), (0.0569, 0.3404)), ((36, 14, 0, 0), (0.1528, 0.4167))],
)
def test_the_interval_is_newcombes(outcomes, expected):
    """Table of examples in Newcombe (1998), method 10."""
    assert share_difference(Outcomes(*outcomes), 50, 0.95) == pytest.approx(expected, abs=5e-5)


@given(counts, counts, counts, st.integers(1, 40))
@settings(deadline=None, max_examples=60)
def test_an_interval_holds_the_difference_and_turns_round_with_the_models(both, first, second, neither):
    one, other = Outcomes(both, first, second, neither), Outcomes(both, second, first, neither)
    trials = sum(one)
    low, high = share_difference(one, trials, 0.9)
    assert low <= (first - second) / trials + 1e-9 and (first - second) / trials <= high + 1e-9
    assert share_difference(other, trials, 0.9) == pytest.approx((-high, -low))
    narrower = share_difference(Outcomes(*(3 * n for n in one)), 3 * trials, 0.9)
    assert narrower.high - narrower.low < high - low
    assert share_difference(one, trials / 2, 0.9).high >= high  # fewer recordings, less is known


def test_no_error_at_all_still_has_a_width():
    assert share_difference(Outcomes(0, 0, 0, 100), 100, 0.9).high == pytest.approx(0.0263, abs=1e-3)
    assert rate_difference(0, 0, 10, 0.9).high == pytest.approx(-np.log(0.05) / 10, rel=1e-6)


def test_intervals_cover_what_they_claim():
    random = np.random.default_rng(1)
    hits = [0, 0]
    for _ in range(400):
        drawn = random.multinomial(60, [0.04, 0.08, 0.03, 0.85])
        low, high = share_difference(Outcomes(*drawn.tolist()), 60, 0.9)
        hits[0] += low <= 0.05 <= high
        first, second = random.poisson([6, 4]).tolist()
        low, high = rate_difference(first, second, 2.0, 0.9)
        hits[1] += low <= 1.0 <= high
    assert 0.86 <= hits[0] / 400 <= 0.98 and hits[1] / 400 >= 0.88


@pytest.mark.parametrize("against", [0, 1, 5])
def test_the_least_excess_is_the_first_that_shows(against):
    least = least_excess(against, 0.05)
    for excess, shows in ((least, True), (least - 1, False)):
        assert (excess_p_value([1] * (against + excess) + [-1] * against) <= 0.05) == shows
    assert least_excess(0, 0.05) == 5
