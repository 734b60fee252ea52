"""Events in continuous audio: counting, operating points, and the fast sweep against the plain rule."""

import json
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wakeword_core.config import Config
from wakeword_core.errors import DataError
from wakeword_core.evaluation.detector import detect
from wakeword_core.evaluation.stream_test import (
    SessionScores,
    StreamScores,
    evaluate_streams,
    operating_points,
    result_figures,
    score_streams,
    sweep,
    threshold_for,
)
from wakeword_core.evaluation.streams import SourceSpan, Word

PLAIN = Config.model_validate({"evaluation": {"detector": {"smoothing": 1}}})
STEP = 0.08


def track(bumps, seconds=60.0, low=0.01):
    """Times, and scores that are `low` but for one score at each (time, score) of `bumps`."""
    times = np.arange(round(seconds / STEP)) * STEP
    scores = np.full(len(times), low)
    for at, score in bumps:
        scores[round(at / STEP)] = score
    return times, scores


def background(bumps, seconds=60.0):
    times, scores = track(bumps, seconds)
    spans = (SourceSpan("street", "a", 0.0, seconds / 2, 100.0), SourceSpan("radio", "b", seconds / 2, seconds))
    return SessionScores(None, times, scores, np.ones(len(times), dtype=int), (), spans, True)


def positives(bumps, starts, snr_db=None, labels=None, classes=None):
    times, scores = track(bumps)
    words = tuple(Word(labels[i] if labels else "hey robin", f"w{i}", s, s + 0.8) for i, s in enumerate(starts))
    codes = np.ones(len(times), dtype=int) if classes is None else classes
    return SessionScores(snr_db, times, scores, codes, words, (SourceSpan("people", "p", 0.0, 60.0),), False)


def streams(*sessions, labels=("_negative", "hey robin")):
    return StreamScores(tuple(sessions), labels)


def test_events_are_counted_once_and_over_real_hours():
    bump = [(10 + i * STEP, 0.9) for i in range(6)]  # one event, not six windows
    result = evaluate_streams(
        streams(background([*bump, (40.0, 0.7)]), positives([(6.0, 0.9)], [5.0, 20.0])), 0.5, PLAIN
    )
    assert result.false_alarm_count == 2
    assert result.background_hours == pytest.approx(60 / 3600) and result.fah == pytest.approx(120)
    assert result.fah_interval.low < 120 < result.fah_interval.high and result.fah_below > 120
    first, second = result.false_alarms
    assert (first.source, first.id, first.score, first.label) == ("street", "a", 0.9, "hey robin")
    assert first.time == pytest.approx(110.0) and second.time == pytest.approx(10.0) and second.source == "radio"
    assert (result.words, result.misses, result.frr) == (2, 1, 0.5)
    assert result.miss_list[0].id == "w1" and result.miss_list[0].score == pytest.approx(0.01)
    json.dumps(result_figures(result), allow_nan=False)


@pytest.mark.parametrize(("at", "hit"), [(4.88, False), (5.04, True), (6.48, True), (6.64, False)])
def test_a_hit_lies_between_the_start_and_the_tolerance(at, hit):
    result = evaluate_streams(streams(background([]), positives([(at, 0.9)], [5.0])), 0.5, PLAIN)
    assert result.misses == (not hit)
    assert result.conditions[0].extra == (not hit)
    assert result.latency_p50 == (pytest.approx(at - 5.8) if hit else None)


def test_one_event_is_one_words():
    close = Config.model_validate({"evaluation": {"detector": {"smoothing": 1}, "tolerance_seconds": 3.0}})
    result = evaluate_streams(streams(background([]), positives([(6.4, 0.9)], [5.0, 6.2])), 0.5, close)
    assert (result.misses, result.miss_list[0].id) == (1, "w0")


def test_conditions_are_told_apart():
    scores = streams(
        background([]),
        positives([(5.6, 0.9), (20.56, 0.9)], [5.0, 20.0]),
        positives([(5.6, 0.9), (20.56, 0.3)], [5.0, 20.0], snr_db=10.0),
    )
    result = evaluate_streams(scores, 0.5, PLAIN)
    assert [(one.snr_db, one.words, one.misses) for one in result.conditions] == [(None, 2, 0), (10.0, 2, 1)]
    assert result.frr == 0.25 and result.miss_list[0].snr_db == 10.0
    assert result.conditions[1].frr_interval.low < 0.5 < result.conditions[1].frr_interval.high


def test_the_wrong_word_is_a_miss():
    labels = ("_negative", "hey robin", "stop")
    _, scores = track([])
    codes = np.ones(len(scores), dtype=int)
    codes[round(20.56 / STEP)] = 2
    session = positives([(5.6, 0.9), (20.56, 0.9)], [5.0, 20.0], labels=["stop", "stop"], classes=codes)
    result = evaluate_streams(streams(background([]), session, labels=labels), 0.5, PLAIN)
    assert [miss.id for miss in result.miss_list] == ["w0"]
    with pytest.raises(DataError, match="does not know"):
        evaluate_streams(streams(background([]), session), 0.5, PLAIN)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1, 2, 3]), st.sampled_from([0.0, 1.0]))
def test_the_sweep_agrees_with_the_plain_rule(seed, smoothing, lockout):
    detector = {"smoothing": smoothing, "lockout_seconds": lockout}
    config = Config.model_validate({"evaluation": {"detector": detector, "sweep_points": 20}})
    random = np.random.default_rng(seed)
    times, _ = track([], 30)
    walk = np.clip(np.cumsum(random.normal(0, 0.15, (2, len(times))), axis=1) % 2, 0, 1)
    one = np.ones(len(times), dtype=int)
    words = tuple(Word("hey robin", "w", s, s + 0.8) for s in np.arange(2, 28, 2.5))
    quiet = SessionScores(None, times, walk[0], one, (), (SourceSpan("s", "b", 0, 30),), True)
    spoken = SessionScores(None, times, walk[1], one, words, (SourceSpan("s", "p", 0, 30),), False)
    for point in sweep(streams(quiet, spoken), config):
        alarms = detect(times, walk[0], point.threshold, config.evaluation.detector)
        events = detect(times, walk[1], point.threshold, config.evaluation.detector)
        hits = sum(any(word.start <= event.time <= word.end + 0.75 for event in events) for word in words)
        assert point.fah == len(alarms) / (30 / 3600)
        assert point.frr == (len(words) - hits) / len(words)


def test_the_threshold_lies_in_the_gap_between_alarm_and_word():
    scores = streams(background([(10, 0.6), (40, 0.3)]), positives([(5.6, 0.9), (20.56, 0.7)], [5.0, 20.0]))
    point = threshold_for(scores, 0.5, PLAIN)  # one minute: not one event is allowed
    assert point.reachable and point.frr == 0 and point.fah == 0 and point.lowest_fah == 0
    middle = np.mean(np.log([0.6 / 0.4, 0.7 / 0.3]))
    assert point.threshold == pytest.approx(1 / (1 + np.exp(-middle)))
    allowed = threshold_for(scores, 60.0, PLAIN)  # one event a minute
    assert 0.3 < allowed.threshold <= 0.7 and allowed.fah <= 60 and allowed.frr == 0


def test_words_below_the_alarms_are_given_up():
    scores = streams(background([(10, 0.8)]), positives([(5.6, 0.9), (20.56, 0.7)], [5.0, 20.0]))
    point = threshold_for(scores, 0.5, PLAIN)
    assert point.reachable and point.frr == 0.5 and 0.8 < point.threshold < 0.9


def test_an_unreachable_target_says_so():
    loud = background([(t, 1.0) for t in range(5, 55, 5)])
    point = threshold_for(streams(loud, positives([(5.6, 1.0), (20.56, 0.7)], [5.0, 20.0])), 0.5, PLAIN)
    assert not point.reachable
    assert point.fah == point.lowest_fah == pytest.approx(600) and point.frr < 1
    deaf = threshold_for(streams(loud, positives([], [5.0])), 0.5, PLAIN)
    assert not deaf.reachable and deaf.frr == 1


def test_saturated_scores_still_leave_a_threshold_between():
    high, higher = 1 - 1e-9, 1.0
    point = threshold_for(streams(background([(10, high)]), positives([(5.6, higher)], [5.0])), 0.5, PLAIN)
    assert point.reachable and high < point.threshold <= higher and point.frr == 0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.5, 130.0, 600.0]))
def test_the_operating_point_keeps_its_promise_and_is_the_best(seed, target):
    random = np.random.default_rng(seed)
    bumps = [(t, s) for t, s in zip(np.arange(3, 57, 2.4), random.beta(1, 4, 23), strict=True)]
    starts = np.arange(3, 57, 4.8)
    heard = [(s + 0.64, p) for s, p in zip(starts, random.beta(4, 1.5, len(starts)), strict=True)]
    scores = streams(background(bumps), positives(heard, starts))
    point = threshold_for(scores, target, PLAIN)
    result = evaluate_streams(scores, point.threshold, PLAIN)
    assert (result.frr, result.fah) == (point.frr, point.fah)
    assert point.reachable == (point.fah <= target)
    if point.reachable:
        others = [evaluate_streams(scores, t, PLAIN) for t in np.linspace(0.02, 0.99, 60)]
        assert point.frr <= min(one.frr for one in others if one.fah <= target)


def test_curve_of_operating_points_falls():
    random = np.random.default_rng(1)
    bumps = [(t, s) for t, s in zip(np.arange(3, 3500, 3), random.beta(1, 6, 1166), strict=True)]
    heard = [(s + 0.64, p) for s, p in zip(range(3, 57, 3), random.beta(4, 1.5, 18), strict=True)]
    points = operating_points(streams(background(bumps, 3600.0), positives(heard, list(range(3, 57, 3)))), PLAIN)
    assert [one.target_fah for one in points] == [0.1, 0.5, 1.0, 2.0]
    assert all(one.fah <= one.target_fah for one in points)
    assert points[0].frr >= points[-1].frr and points[0].threshold > points[-1].threshold


def test_words_and_background_are_needed():
    with pytest.raises(DataError, match="no background"):
        threshold_for(streams(positives([], [5.0])), 0.5, PLAIN)
    with pytest.raises(DataError, match="no wake words"):
        evaluate_streams(streams(background([])), 0.5, PLAIN)


def loudness(pcm):
    """A scorer that hears loud sound: the RMS of each half second, every 0.1 s, as a score of two classes."""
    ends = np.arange(8_000, len(pcm) + 1, 1_600)
    power = np.concatenate([[0.0], np.cumsum((pcm / 32_768.0) ** 2)])
    level = np.sqrt((power[ends] - power[ends - 8_000]) / 8_000)
    score = np.clip(level / 0.2, 0, 1)
    return ends / 16_000, np.column_stack([1 - score, score])


def test_scoring_real_shards(shards, config):
    seen = []
    scores = score_streams(loudness, shards.folder, config, lambda *told: seen.append(told))
    background_seconds = sum(one.seconds for one in shards.of("negative", "background", "noise"))
    alike = shards.of("hard_negative")
    assert scores.background_hours == pytest.approx(background_seconds / 3600)
    assert scores.words == 22 and scores.labels == ("_negative", "hey robin")
    assert seen[-1][1] == seen[-1][2] == round(background_seconds + 22 + sum(one.seconds for one in alike))
    result = evaluate_streams(scores, 0.1, config)
    assert [one.words for one in result.conditions] == [11, 11]
    assert (result.confusables, result.confusables_accepted) == (len(alike), len(alike))
    assert evaluate_streams(scores, 0.999, config).confusables_accepted == 0
    assert result.conditions[0].frr < 0.2 and -0.5 < result.conditions[0].latency_p50 < 0.75
    assert result.false_alarm_count > 10


def test_a_sweep_over_five_hours_is_quick():
    random = np.random.default_rng(0)
    noise = [
        SessionScores(
            None,
            1.5 + np.arange(7_500) * STEP,
            random.random(7_500),
            np.ones(7_500, dtype=int),
            (),
            (SourceSpan("s", "b", 0, 600),),
            True,
        )
        for _ in range(30)
    ]
    began = time.monotonic()
    points = sweep(streams(*noise, positives([(5.6, 0.9)], [5.0])), PLAIN)
    assert len(points) > 140
    assert time.monotonic() - began < 10  # about one second; the worst case, and a busy machine
