"""What of streams is real, and streams without what is not."""

from dataclasses import replace

import pytest

from wakeword_core.config import EvaluationConfig
from wakeword_core.evaluation.measure.intervals import wilson_interval
from wakeword_core.evaluation.streams.conditions import Condition
from wakeword_core.evaluation.streams.origins import Origins, with_real_background
from wakeword_core.evaluation.streams.scores import without_background
from wakeword_core.evaluation.streams.stream_metrics import evaluate_streams

PLAIN = EvaluationConfig(detector={"smoothing": 1})


def alarms(scores):
    found = evaluate_streams(scores, 0.5, PLAIN, PLAIN.detector)
    return [alarm.recording_id for alarm in found.false_alarms], found.background_hours


def test_what_is_left_out_is_not_heard_and_no_part_of_the_hours(made):
    """A session of two recordings: "a" of the street for half a minute, then "b" of the radio."""
    scores = made.streams(made.background([(10.0, 0.9), (40.0, 0.8)]), made.positives([(5.6, 0.9)], [5.0]))
    assert alarms(scores) == (["a", "b"], pytest.approx(1 / 60))
    quiet = without_background(scores, lambda span: span.source == "radio")
    assert alarms(quiet) == (["a"], pytest.approx(1 / 120))
    assert alarms(without_background(scores, lambda span: span.source == "street"))[0] == ["b"]
    assert [len(one.sources) for one in scores.sessions] == [2, 1]  # the given ones stay as they were
    empty = without_background(scores, lambda span: True)
    assert [one.background for one in empty.sessions] == [False] and empty.background_hours == 0


def test_misses_of_real_and_synthetic_words_are_told_apart(made):
    starts = [5.0, 15.0, 25.0]
    clean = made.positives([(5.6, 0.9), (25.6, 0.9)], starts)
    noisy = made.positives([(5.6, 0.9)], starts, Condition(10.0))  # people1 says the second word, people0 the others
    scores = made.streams(made.background([]), clean, noisy)

    def found(*synthetic):
        chosen = replace(scores, synthetic=frozenset(synthetic))
        groups = evaluate_streams(chosen, 0.5, PLAIN, PLAIN.detector).by_origin
        assert all(one.frr == one.misses / one.words for one in groups)
        return {one.name: (one.words, one.misses, one.frr_interval) for one in groups}

    # a recording is one trial, however often it is played
    assert found("people1") == {"real": (4, 1, wilson_interval(0.5, 2)), "synthetic": (2, 2, wilson_interval(1, 1))}
    assert found() == {"real": (6, 3, wilson_interval(1.5, 3))}
    assert found("people0", "people1", "street") == {"synthetic": (6, 3, wilson_interval(1.5, 3))}


def test_recordings_of_words_count_once_and_background_by_its_seconds(made):
    heard = [(5.6, 0.9), (20.56, 0.9)]
    people, noisy = (made.positives(heard, [5.0, 20.0], condition) for condition in (made.CLEAN, Condition(10.0)))
    scores = made.streams(made.background([]), people, noisy)  # w0 is of people0, w1 of people1
    assert Origins.of(scores) == Origins(2, 2, pytest.approx(1 / 60), pytest.approx(1 / 60))
    made_up = replace(scores, synthetic=frozenset({"people1", "radio"}))
    assert Origins.of(made_up) == Origins(2, 1, pytest.approx(1 / 60), pytest.approx(1 / 120))
    assert with_real_background(scores) is scores
    nothing = replace(scores, synthetic=frozenset({"people0", "people1", "radio", "street"}))
    assert Origins.of(nothing) == Origins(2, 0, pytest.approx(1 / 60), 0.0)
