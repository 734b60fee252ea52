"""Events in continuous audio: misses, false alarms, latencies, conditions and groups."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from wakeword_core.config import EvaluationConfig
from wakeword_core.errors import DataError
from wakeword_core.evaluation.measure.intervals import wilson_interval
from wakeword_core.evaluation.streams.conditions import Condition, all_conditions
from wakeword_core.evaluation.streams.scores import score_streams
from wakeword_core.evaluation.streams.stream_metrics import evaluate_streams
from wakeword_core.evaluation.streams.thresholds import Tradeoff

PLAIN = EvaluationConfig(detector={"smoothing": 1})
DETECTOR = PLAIN.detector


def test_events_are_counted_once_and_over_real_hours(made):
    bump = [(10 + i * made.STEP, 0.9) for i in range(6)]  # one event, not six windows
    result = evaluate_streams(
        made.streams(made.background([*bump, (40.0, 0.7)]), made.positives([(6.0, 0.9)], [5.0, 20.0])),
        0.5,
        PLAIN,
        DETECTOR,
    )
    assert result.false_alarm_count == 2
    assert result.background_hours == pytest.approx(60 / 3600) and result.fah == pytest.approx(120)
    assert result.fah_interval.low < 120 < result.fah_interval.high
    first, second = result.false_alarms
    assert (first.source, first.recording_id, first.score, first.label) == ("street", "a", 0.9, "hey robin")
    assert first.time == pytest.approx(110.0) and second.time == pytest.approx(10.0) and second.source == "radio"
    assert (result.words, result.misses, result.frr) == (2, 1, 0.5)
    assert result.miss_list[0].recording_id == "w1" and result.miss_list[0].score == pytest.approx(0.01)
    json.dumps(asdict(result), allow_nan=False)


@pytest.mark.parametrize(("at", "hit"), [(4.88, False), (5.04, True), (6.48, True), (6.64, False)])
def test_a_hit_lies_between_the_start_and_the_tolerance(made, at, hit):
    result = evaluate_streams(
        made.streams(made.background([]), made.positives([(at, 0.9)], [5.0])), 0.5, PLAIN, DETECTOR
    )
    assert result.misses == (not hit)
    assert result.conditions[0].extra == (not hit)
    assert result.latency_p50 == (pytest.approx(at - 5.8) if hit else None)


def test_one_event_is_one_words(made):
    close = EvaluationConfig(detector={"smoothing": 1}, streams={"tolerance_seconds": 3.0})
    result = evaluate_streams(
        made.streams(made.background([]), made.positives([(6.4, 0.9)], [5.0, 6.2])), 0.5, close, DETECTOR
    )
    assert (result.misses, result.miss_list[0].recording_id) == (1, "w0")


def test_conditions_are_told_apart_and_the_headline_is_of_the_targets(made):
    heard, half = [(5.6, 0.9), (20.56, 0.9)], [(5.6, 0.9), (20.56, 0.3)]
    scores = made.streams(
        made.background([]),
        made.positives(heard, [5.0, 20.0]),
        made.positives(half, [5.0, 20.0], Condition(10.0)),
        made.positives([], [5.0, 20.0], Condition(0.0)),
        made.positives(half, [5.0, 20.0], Condition(None, far=True)),
    )
    result = evaluate_streams(scores, 0.5, PLAIN, DETECTOR)
    assert [(one.name, one.snr_db, one.far, one.words, one.misses) for one in result.conditions] == [
        ("clean", None, False, 2, 0),
        ("10 dB", 10.0, False, 2, 1),
        ("0 dB", 0.0, False, 2, 2),
        ("far", None, True, 2, 1),
    ]
    assert (result.words, result.misses, result.frr) == (4, 1, 0.25)
    assert result.frr_interval == wilson_interval(0.5, 2)  # two recordings, however often they are heard
    assert result.conditions[1].frr_interval == wilson_interval(1, 2)
    (miss,) = result.miss_list
    assert (miss.condition, miss.speaker, miss.source) == ("10 dB", "speaker1", "people1")
    assert (miss.start, miss.end) == (pytest.approx(0.5), pytest.approx(1.3))  # in its recording
    json.dumps(asdict(result), allow_nan=False)


def test_other_targets_make_another_headline(made):
    evaluation = EvaluationConfig(conditions={"tuning": {"snr_db": [10.0]}})
    half = made.positives([(5.6, 0.9)], [5.0, 20.0], Condition(10.0))
    scores = made.streams(made.background([]), made.positives([], [5.0, 20.0]), half)
    assert evaluate_streams(scores, 0.5, evaluation, DETECTOR).frr == 0.5
    with pytest.raises(DataError, match="no wake words"):
        evaluate_streams(made.streams(made.background([]), made.positives([], [5.0])), 0.5, evaluation, DETECTOR)


def test_sources_and_speakers_are_told_apart(made):
    starts = [5.0, 15.0, 25.0]
    scores = made.streams(
        made.background([]),
        made.positives([(5.6, 0.9), (25.6, 0.9)], starts),
        made.positives([(5.6, 0.9)], starts, Condition(10.0)),
        made.positives([], starts, Condition(0.0)),  # no target, no part of it
    )
    result = evaluate_streams(scores, 0.5, PLAIN, DETECTOR)
    assert [(one.name, one.words, one.misses) for one in result.by_source] == [("people1", 2, 2), ("people0", 4, 1)]
    assert [(one.name, one.frr) for one in result.by_speaker] == [
        ("speaker1", 1.0),
        ("speaker2", 0.5),
        ("speaker0", 0.0),
    ]
    assert result.by_source[1].frr_interval == wilson_interval(0.5, 2)
    assert sum(one.misses for one in result.by_speaker) == result.misses


def test_latency_is_of_each_condition(made):
    scores = made.streams(
        made.background([]),
        made.positives([(6.0, 0.9), (21.2, 0.9)], [5.0, 20.0]),
        made.positives([(6.4, 0.9)], [5.0, 20.0], Condition(10.0)),
        made.positives([], [5.0, 20.0], Condition(0.0)),
    )
    result = evaluate_streams(scores, 0.5, PLAIN, DETECTOR)
    clean, noisy, deaf = result.conditions
    assert (clean.latency_p50, clean.latency_p95) == (pytest.approx(0.3), pytest.approx(0.39))
    assert noisy.latency_p50 == noisy.latency_p95 == pytest.approx(0.6)
    assert deaf.latency_p50 is None and deaf.latency_p95 is None
    assert result.latency_p50 == pytest.approx(0.4)


def test_the_detector_given_is_the_one_that_counts(made):
    scores = made.streams(made.background([(40.0, 0.9)]), made.positives([(5.6, 0.9), (5.68, 0.9)], [5.0]))
    twice = PLAIN.detector.model_copy(update={"hold": 2})
    assert evaluate_streams(scores, 0.5, PLAIN, DETECTOR).false_alarm_count == 1
    result = evaluate_streams(scores, 0.5, PLAIN, twice)
    assert (result.false_alarm_count, result.misses, result.latency_p50) == (0, 0, pytest.approx(5.68 - 5.8))


def test_named_points_each_have_a_result(made):
    val = made.streams(made.background([(10, 0.6), (40, 0.3)]), made.positives([(5.6, 0.9), (20.56, 0.5)], [5.0, 20.0]))
    points = {name: Tradeoff(val, PLAIN, DETECTOR).point(target) for name, target in (("strict", 0.5), ("lax", 60.0))}
    found = {name: evaluate_streams(val, point.threshold, PLAIN, DETECTOR) for name, point in points.items()}
    assert [(name, one.misses, one.false_alarm_count) for name, one in found.items()] == [
        ("strict", 1, 0),
        ("lax", 0, 1),
    ]


def test_the_wrong_word_is_a_miss(made):
    labels = ("_negative", "hey robin", "stop")
    _, scores = made.track([])
    codes = np.ones(len(scores), dtype=int)
    codes[round(20.56 / made.STEP)] = 2
    session = made.positives([(5.6, 0.9), (20.56, 0.9)], [5.0, 20.0], labels=["stop", "stop"], classes=codes)
    result = evaluate_streams(made.streams(made.background([]), session, labels=labels), 0.5, PLAIN, DETECTOR)
    assert [miss.recording_id for miss in result.miss_list] == ["w0"]
    with pytest.raises(DataError, match="does not know"):
        evaluate_streams(made.streams(made.background([]), session), 0.5, PLAIN, DETECTOR)


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
    conditions = all_conditions(config.evaluation.conditions)
    names = [one.name for one in conditions]
    assert names == ["clean", "20 dB", "10 dB", "5 dB", "0 dB", "far", "far, 10 dB"]
    assert scores.background_hours == pytest.approx(background_seconds / 3600)
    assert scores.words == 11 * 7 and scores.labels == ("_negative", "hey robin")
    assert seen[-1][1] == seen[-1][2] == round(background_seconds + 77 + sum(one.seconds for one in alike))
    result = evaluate_streams(scores, 0.1, config.evaluation, config.evaluation.detector)
    assert [one.name for one in result.conditions] == names and {one.words for one in result.conditions} == {11}
    assert result.words == 22
    assert {one.name for one in result.by_speaker} == {one.speaker for one in shards.of("positive")}
    assert (result.confusables, result.confusables_accepted) == (len(alike), len(alike))
    assert evaluate_streams(scores, 0.999, config.evaluation, config.evaluation.detector).confusables_accepted == 0
    assert result.conditions[0].frr < 0.2 and -0.5 < result.conditions[0].latency_p50 < 0.75
    assert result.false_alarm_count > 10


def test_only_the_conditions_asked_for_are_scored(shards, config):
    heard_in = (Condition(5.0), Condition(None, far=True))
    scores = score_streams(loudness, shards.folder, config, conditions=heard_in, confusables=False, short_phrases=False)
    assert scores.conditions == heard_in and scores.words == 22 and scores.confusables == ()
