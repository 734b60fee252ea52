"""Thresholds for a rate of false alarms, and the fast search against the plain rule."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wakeword_core.config import EvaluationConfig
from wakeword_core.errors import DataError
from wakeword_core.evaluation.measure.intervals import poisson_interval, wilson_interval
from wakeword_core.evaluation.streams.build import SourceSpan, Word
from wakeword_core.evaluation.streams.conditions import Condition
from wakeword_core.evaluation.streams.scores import SessionScores
from wakeword_core.evaluation.streams.stream_metrics import evaluate_streams
from wakeword_core.evaluation.streams.thresholds import Tradeoff
from wakeword_core.runtime.detector import detect

PLAIN = EvaluationConfig(detector={"smoothing": 1})
DETECTOR = PLAIN.detector


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10_000), st.sampled_from([1, 2, 3]), st.integers(0, 2), st.integers(1, 3), st.sampled_from([0.0, 1])
)
def test_the_sweep_agrees_with_the_plain_rule(made, seed, smoothing, votes, hold, lockout):
    detector = {"smoothing": smoothing, "votes": min(votes, smoothing), "hold": hold, "lockout_seconds": lockout}
    evaluation = EvaluationConfig(detector=detector, operating_points={"sweep_points": 20})
    random = np.random.default_rng(seed)
    times, _ = made.track([], 30)
    walk = np.clip(np.cumsum(random.normal(0, 0.15, (2, len(times))), axis=1) % 2, 0, 1)
    one = np.ones(len(times), dtype=int)
    words = tuple(Word("hey robin", "w", s, s + 0.8) for s in np.arange(2, 28, 2.5))
    quiet = SessionScores(None, times, walk[0], one, (), (SourceSpan("s", "b", 0, 30),))
    spoken = SessionScores(made.CLEAN, times, walk[1], one, words, (SourceSpan("s", "p", 0, 30),))
    for point in Tradeoff(made.streams(quiet, spoken), evaluation, evaluation.detector).sweep():
        alarms = detect(times, walk[0], point.threshold, evaluation.detector)
        events = detect(times, walk[1], point.threshold, evaluation.detector)
        hits = sum(any(word.start <= event.time <= word.end + 0.75 for event in events) for word in words)
        assert point.fah == len(alarms) / (30 / 3600)
        assert point.frr == (len(words) - hits) / len(words)


def test_the_threshold_lies_in_the_gap_between_alarm_and_word(made):
    scores = made.streams(
        made.background([(10, 0.6), (40, 0.3)]), made.positives([(5.6, 0.9), (20.56, 0.7)], [5.0, 20.0])
    )
    point = Tradeoff(scores, PLAIN, DETECTOR).point(0.5)  # one minute: not one event is allowed
    assert point.reachable and point.frr == 0 and point.fah == 0 and point.lowest_fah == 0
    middle = np.mean(np.log([0.6 / 0.4, 0.7 / 0.3]))
    assert point.threshold == pytest.approx(1 / (1 + np.exp(-middle)))
    allowed = Tradeoff(scores, PLAIN, DETECTOR).point(60.0)  # one event a minute
    assert 0.3 < allowed.threshold <= 0.7 and allowed.fah <= 60 and allowed.frr == 0


def test_words_below_the_alarms_are_given_up(made):
    scores = made.streams(made.background([(10, 0.8)]), made.positives([(5.6, 0.9), (20.56, 0.7)], [5.0, 20.0]))
    point = Tradeoff(scores, PLAIN, DETECTOR).point(0.5)
    assert point.reachable and point.frr == 0.5 and 0.8 < point.threshold < 0.9


def test_an_unreachable_target_says_so(made):
    loud = made.background([(t, 1.0) for t in range(5, 55, 5)])
    point = Tradeoff(
        made.streams(loud, made.positives([(5.6, 1.0), (20.56, 0.7)], [5.0, 20.0])), PLAIN, DETECTOR
    ).point(0.5)
    assert not point.reachable
    assert point.fah == point.lowest_fah == pytest.approx(600) and point.frr < 1
    deaf = Tradeoff(made.streams(loud, made.positives([], [5.0])), PLAIN, DETECTOR).point(0.5)
    assert not deaf.reachable and deaf.frr == 1


def made_of(made, quiet: list[tuple[float, float, float]], word: float):
    """Background of a minute with levels (from, to, score), and a word with one score."""
    times, _ = made.track([], 60)
    values = np.zeros(len(times))
    for start, end, level in quiet:
        values[(times >= start) & (times < end)] = level
    one = np.ones(len(times), dtype=int)
    background = SessionScores(None, times, values, one, (), (SourceSpan("s", "b", 0, 60),))
    return made.streams(background, made.positives([(5.6, word)], [5.0]))


def test_events_that_merge_at_a_low_threshold_can_meet_a_target(made):
    """Two peaks joined by what is between them: above it two events, which are too many, below it a single one."""
    scores = made_of(made, [(20, 20.2, 0.95), (20.2, 23.8, 0.5), (23.8, 24, 0.95)], 0.45)
    point = Tradeoff(scores, PLAIN, DETECTOR).point(60.0)
    assert point.reachable and point.fah == 60 and point.frr == 0 and "unreachable" not in point.note


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_a_laxer_point_never_has_a_higher_threshold(made, seed):
    random = np.random.default_rng(seed)
    quiet, place = [], 3.0
    while place < 55:
        length = random.uniform(0.1, 4)
        quiet.append((place, place + length, random.uniform(0.2, 0.95)))
        place += length + random.choice([0, 2.0])
    tradeoff = Tradeoff(made_of(made, quiet, random.uniform(0.3, 0.99)), PLAIN, DETECTOR)
    targets = {"lenient": 240.0, "strict": 5.0, "balanced": 60.0, "open": 120.0}
    points = tradeoff.points(targets)
    assert list(points) == ["strict", "balanced", "open", "lenient"]
    for name, point in points.items():
        assert point.target_fah == targets[name] and point.reachable == (point.fah <= point.target_fah)
    reachable = [one.threshold for one in points.values() if one.reachable]
    assert reachable == sorted(reachable, reverse=True)


def test_points_that_the_hours_cannot_tell_apart_say_so(made):
    points = Tradeoff(made_of(made, [(20, 20.2, 0.5)], 0.9), PLAIN, DETECTOR).points({"strict": 0.1, "balanced": 0.5})
    assert points["strict"].threshold == points["balanced"].threshold
    assert "that of strict" in points["balanced"].note and "that of" not in points["strict"].note


def test_an_alarm_where_a_recording_was_cut_counts_once(made):
    """A sound at the cut is heard in the pause behind it, and again where the recording goes on."""
    times, _ = made.track([], 50)
    one = np.ones(len(times), dtype=int)
    ends = np.where((times >= 48.0) & (times < 48.3), 0.9, 0.0)
    goes_on = np.where((times >= 3.0) & (times < 3.3), 0.9, 0.0)
    first = SessionScores(None, times, ends, one, (), (SourceSpan("s", "b", 0, 47.9),))
    apart = SessionScores(None, times, goes_on, one, (), (SourceSpan("s", "c", 0, 47.9),))
    next_part = SessionScores(None, times, goes_on, one, (), (SourceSpan("s", "b", 2.9, 47.9, 47.9),))
    words = made.positives([(5.6, 0.95)], [5.0])
    assert Tradeoff(made.streams(first, next_part, words), PLAIN, DETECTOR).alarms(0.5) == 1
    assert Tradeoff(made.streams(first, apart, words), PLAIN, DETECTOR).alarms(0.5) == 2


def test_saturated_scores_still_leave_a_threshold_between(made):
    high, higher = 1 - 1e-9, 1.0
    point = Tradeoff(
        made.streams(made.background([(10, high)]), made.positives([(5.6, higher)], [5.0])), PLAIN, DETECTOR
    ).point(0.5)
    assert point.reachable and high < point.threshold <= higher and point.frr == 0


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.5, 130.0, 600.0]))
def test_the_operating_point_keeps_its_promise_and_is_the_best(made, seed, target):
    random = np.random.default_rng(seed)
    bumps = [(t, s) for t, s in zip(np.arange(3, 57, 2.4), random.beta(1, 4, 23), strict=True)]
    starts = np.arange(3, 57, 4.8)
    heard = [(s + 0.64, p) for s, p in zip(starts, random.beta(4, 1.5, len(starts)), strict=True)]
    scores = made.streams(made.background(bumps), made.positives(heard, starts))
    point = Tradeoff(scores, PLAIN, DETECTOR).point(target)
    result = evaluate_streams(scores, point.threshold, PLAIN, DETECTOR)
    assert (result.frr, result.fah) == (point.frr, point.fah)
    assert point.reachable == (point.fah <= target)
    if point.reachable:
        tradeoff = Tradeoff(scores, PLAIN, DETECTOR)
        others = [tradeoff.at(threshold) for threshold in np.linspace(0.02, 0.99, 60)]
        assert point.frr <= min(one.frr for one in others if one.fah <= target)


def test_curve_of_operating_points_falls(made):
    random = np.random.default_rng(1)
    bumps = [(t, s) for t, s in zip(np.arange(3, 3500, 3), random.beta(1, 6, 1166), strict=True)]
    heard = [(s + 0.64, p) for s, p in zip(range(3, 57, 3), random.beta(4, 1.5, 18), strict=True)]
    tradeoff = Tradeoff(
        made.streams(made.background(bumps, 3600.0), made.positives(heard, list(range(3, 57, 3)))), PLAIN, DETECTOR
    )
    points = [tradeoff.point(target) for target in PLAIN.report.fah_points]
    assert [one.target_fah for one in points] == [0.1, 0.5, 1.0, 2.0]
    assert all(one.fah <= one.target_fah for one in points)
    assert points[0].frr >= points[-1].frr and points[0].threshold > points[-1].threshold


def test_words_and_background_are_needed(made):
    with pytest.raises(DataError, match="no background"):
        Tradeoff(made.streams(made.positives([], [5.0])), PLAIN, DETECTOR).point(0.5)
    with pytest.raises(DataError, match="no wake words"):
        evaluate_streams(made.streams(made.background([])), 0.5, PLAIN, DETECTOR)


def test_a_sweep_over_five_hours_is_quick(made):
    random = np.random.default_rng(0)
    noise = [
        SessionScores(
            None,
            1.5 + np.arange(7_500) * made.STEP,
            random.random(7_500),
            np.ones(7_500, dtype=int),
            (),
            (SourceSpan("s", "b", 0, 600),),
        )
        for _ in range(30)
    ]
    began = time.process_time()
    points = Tradeoff(made.streams(*noise, made.positives([(5.6, 0.9)], [5.0])), PLAIN, DETECTOR).sweep()
    assert len(points) > 140
    assert time.process_time() - began < 10  # about one second, in the worst case


def test_targets_look_at_the_target_conditions_only(made):
    scores = made.streams(
        made.background([(10, 0.6)]),
        made.positives([(5.6, 0.9)], [5.0]),
        made.positives([(5.6, 0.2)], [5.0], Condition(0.0)),
        made.positives([(5.6, 0.2)], [5.0], Condition(None, far=True)),
    )
    assert Tradeoff(scores, PLAIN, DETECTOR).point(0.5).frr == 0
    assert min(one.frr for one in Tradeoff(scores, PLAIN, DETECTOR).sweep()) == 0


def test_a_point_tells_its_intervals_and_what_the_hours_let_one_claim(made):
    word = made.positives([(5.6, 0.9)], [5.0])
    point = Tradeoff(made.streams(made.background([(10, 0.6)]), word), PLAIN, DETECTOR).point(0.5)
    assert (point.false_alarms, point.background_hours) == (0, pytest.approx(1 / 60))
    assert point.fah_interval == poisson_interval(0, 1 / 60) and point.frr_interval == wilson_interval(0, 1)
    assert point.note.startswith(
        "0.5 an hour is 0.0083 events in 0.017 h: no alarm at all; the 0 found show fewer than 180"
    )
    some = Tradeoff(made.streams(made.background([(10, 0.6), (40, 0.95)]), word), PLAIN, DETECTOR).point(60.0)
    assert (some.false_alarms, some.fah_interval) == (1, poisson_interval(1, 1 / 60))
    assert "1 at most" in some.note
    loud = made.background([(t, 1.0) for t in range(5, 55, 5)])
    none = Tradeoff(made.streams(loud, made.positives([(5.6, 1.0)], [5.0])), PLAIN, DETECTOR).point(0.5)
    assert none.note == "unreachable: lowest is 600 an hour" and not none.reachable


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.5, 130.0, 600.0]))
def test_stopping_early_loses_nothing(made, seed, target):
    """The search ends once no higher threshold can miss less; trying every gap must not find better."""
    random = np.random.default_rng(seed)
    starts = np.arange(3, 57, 4.8)
    heard = [(s + 0.64, p) for s, p in zip(starts, random.beta(2, 1.5, len(starts)), strict=True)]
    alarms = [(t, s) for t, s in zip(np.arange(3, 57, 2.4), random.beta(1, 3, 23), strict=True)]
    scores = made.streams(made.background(alarms), made.positives(heard, starts))
    tradeoff = Tradeoff(scores, PLAIN, DETECTOR.model_copy(update={"lockout_seconds": 6.0}))
    found = tradeoff.choose(target)
    peaks = sorted(score for _, score in heard)
    kept = [one for one in (tradeoff.at(peak) for peak in peaks) if one.fah <= target and one.frr < 1]
    if found.reachable:
        assert found.point.fah <= target and found.margin > 0
        above = [one.frr for one in kept if one.threshold >= found.point.threshold]
        assert found.point.frr <= min(above, default=1.0)
