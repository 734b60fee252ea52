"""The detector chosen on validation: what the grid holds, when it is left alone, and how equals are told apart."""

import time
from dataclasses import replace

import numpy as np
import pytest

from wakeword_core.config import EvaluationConfig
from wakeword_core.evaluation.streams.build import SourceSpan
from wakeword_core.evaluation.streams.conditions import Condition
from wakeword_core.evaluation.streams.operating_points import candidates, tune_detector
from wakeword_core.evaluation.streams.scores import SessionScores
from wakeword_core.evaluation.streams.thresholds import Tradeoff


def configured(detector=None, **tuning):
    grid = {"smoothing": [1], "votes": [0], "hold": [1], "off_ratio": [0.6], **tuning}
    return EvaluationConfig(detector={"smoothing": 1, **(detector or {})}, tuning=grid)


def held(at, score, count=3, step=0.08):
    first = round(at / step)
    return [((first + index) * step, score) for index in range(count)]


def test_the_grid_holds_each_detector_once_and_the_configured_one_first():
    evaluation = EvaluationConfig(detector={"smoothing": 5, "lockout_seconds": 3.0})
    grid = list(candidates(evaluation))
    assert grid[0] == evaluation.detector and len(set(grid)) == len(grid) > 90
    assert all(one.votes <= one.smoothing and one.lockout_seconds == 3.0 for one in grid)
    assert {(one.smoothing, one.votes) for one in grid if one.smoothing < 3} == {(1, 0), (2, 0), (2, 2)}
    off = EvaluationConfig(tuning={"enabled": False})
    assert list(candidates(off)) == [off.detector]


def test_spikes_in_the_background_are_held_off(made):
    """A spike outshines the words, but they last: a detector that waits loses none."""
    words = [*held(5.4, 0.95), *held(20.4, 0.7), *held(35.4, 0.7)]
    scores = made.streams(made.background([(10.0, 0.9)]), made.positives(words, [5.0, 20.0, 35.0]))
    evaluation = configured(hold=[1, 2])
    tuned = tune_detector(scores, evaluation)
    assert (tuned.detector.hold, tuned.tried, tuned.tuned_frr) == (2, 2, 0.0)
    assert tuned.configured_frr == pytest.approx(2 / 3)
    assert Tradeoff(scores, evaluation, tuned.detector).point(0.5).frr == 0
    votes = tune_detector(scores, configured(smoothing=[3], votes=[2])).detector
    assert (votes.smoothing, votes.votes) == (3, 2)


def test_less_than_a_recording_is_chance_and_a_whole_one_is_not(made):
    """What rests on more scores is taken while it costs only half a recording, a word in one of its two conditions."""
    starts, noise = [5.0, 20.0, 35.0], Condition(10.0)
    quiet, sure = made.background([(10.0, 0.5)]), held(5.4, 0.95) + held(20.4, 0.95)
    clear, brief = (made.positives([*sure, *held(35.4, 0.95, count)], starts) for count in (2, 1))
    half = made.streams(quiet, clear, replace(brief, condition=noise))
    tuned = tune_detector(half, configured(hold=[1, 2]))
    assert tuned.detector.hold == 2 and (tuned.configured_frr, tuned.tuned_frr) == (0.0, pytest.approx(1 / 6))
    whole = made.streams(quiet, brief, replace(brief, condition=noise))
    tuned = tune_detector(whole, configured(hold=[1, 2]))
    assert tuned.detector.hold == 1 and tuned.tuned_frr == 0.0


def test_of_synthetic_words_a_standard_error_is_no_difference(made):
    """Four of sixteen are missed, or five: of people that is a recording, of voices it says nothing."""
    starts = [3.0 + 3 * index for index in range(16)]
    lasting = [bump for start in starts[:11] for bump in held(start + 0.4, 0.95)]
    words = made.positives([*lasting, *held(starts[11] + 0.4, 0.95, 1)], starts)
    people = made.streams(made.background([(10.0, 0.5)]), words)
    voices = replace(people, synthetic=frozenset({"people0", "people1"}))
    found = [tune_detector(scores, configured(hold=[1, 2])) for scores in (people, voices)]
    assert [one.detector.hold for one in found] == [1, 2]
    assert [one.tuned_frr for one in found] == [4 / 16, 5 / 16]


def test_of_equals_the_one_that_rests_on_most_scores(made):
    starts = [5.0, 20.0]
    words = [bump for start in starts for bump in held(start + 0.24, 0.7, 8)]
    scores = made.streams(made.background([(10.0, 0.5)]), made.positives(words, starts))
    found = tune_detector(scores, configured(smoothing=[1, 4, 8], votes=[0, 2], hold=[1, 2])).detector
    assert (found.smoothing, found.votes, found.hold) == (8, 0, 2)
    near = tune_detector(scores, configured(smoothing=[8], off_ratio=[0.4, 0.6, 0.8])).detector
    assert (near.smoothing, near.off_ratio) == (8, 0.6)


def test_of_equals_as_long_the_wider_margin(made):
    """Held three scores, or the mean of three: to the first, two loud scores between quiet ones are nothing."""
    words = held(5.24, 0.7, 8)
    scores = made.streams(made.background(held(30.0, 0.6, 2)), made.positives(words, [5.0]))
    found = tune_detector(scores, configured(smoothing=[1, 3], hold=[1, 3], longest_seconds=0.12)).detector
    assert (found.smoothing, found.hold) == (1, 3)


def test_no_detector_collects_scores_for_too_long(made):
    evaluation = EvaluationConfig()
    spans = {(one.smoothing + one.hold - 1) * one.stride_seconds for one in candidates(evaluation)}
    assert max(spans) == pytest.approx(0.48)
    quick = EvaluationConfig(tuning={"longest_seconds": 0.1}, detector={"smoothing": 6})
    assert {one.smoothing + one.hold - 1 for one in candidates(quick)} == {1, 2, 6}  # the configured one stays


def test_where_no_threshold_will_do_fewer_alarms_count(made):
    spikes = [(t, 1.0) for t in range(5, 55, 5)] + [(t, 1.0) for t in (10.08, 10.16)]
    scores = made.streams(made.background(spikes), made.positives(held(5.4, 1.0), [5.0]))
    tuned = tune_detector(scores, configured(hold=[1, 3]))
    assert tuned.detector.hold == 3
    point = Tradeoff(scores, configured(), tuned.detector).point(0.5)
    assert not point.reachable and point.false_alarms == 1


def test_it_is_quick_over_hours(made):
    random = np.random.default_rng(0)
    times, ones = 1.5 + np.arange(7_500) * made.STEP, np.ones(7_500, dtype=int)
    span = (SourceSpan("s", "b", 0, 600),)
    noise = [SessionScores(None, times, random.beta(0.2, 8, 7_500), ones, (), span) for _ in range(9)]
    heard = zip(range(3, 57, 3), random.beta(9, 1, 18), strict=True)
    words = made.positives([bump for start, score in heard for bump in held(start + 0.4, score, 8)], range(3, 57, 3))
    began, seen = time.process_time(), []
    tuned = tune_detector(made.streams(*noise, words), EvaluationConfig(), lambda *told: seen.append(told))
    assert seen[-1][1:] == (tuned.tried, tuned.tried) and tuned.tried > 90
    assert time.process_time() - began < 10  # about two seconds for an hour and a half and a hundred detectors
