"""The detection rule: its edges, and the agreement of its two forms."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from wakeword_core.config import DetectorConfig
from wakeword_core.runtime.detector import (
    Detection,
    StreamingDetector,
    detect,
    handicaps_of,
    lowered,
    smooth,
    wake_scores,
)

PLAIN = DetectorConfig(smoothing=1, off_ratio=0.6, rearm_seconds=1.0, lockout_seconds=0.5)


def stream(times, scores, threshold, config):
    detector = StreamingDetector(threshold, config)
    return [event for one in zip(times, scores, strict=True) if (event := detector.push(*one))]


LEVELS = st.lists(st.sampled_from([0.0, 0.1, 0.29, 0.3, 0.31, 0.45, 0.5, 0.55, 0.9, 1.0]), max_size=80)
DETECTORS = st.builds(
    lambda smoothing, votes, **others: DetectorConfig(smoothing=smoothing, votes=min(votes, smoothing), **others),
    smoothing=st.integers(1, 5),
    votes=st.sampled_from([0, 0, 1, 2, 5]),
    hold=st.sampled_from([1, 1, 2, 4]),
    off_ratio=st.sampled_from([0.2, 0.6, 1.0]),
    rearm_seconds=st.sampled_from([0.0, 0.08, 0.24, 1.0]),
    lockout_seconds=st.sampled_from([0.0, 0.08, 0.4, 0.8, 1.0]),
)


def as_documented(times, scores, threshold, config, hidden=()):
    """The rule as its documentation says it, with no state but the list of events and no cleverness."""

    def smoothed(i):
        last = scores[max(0, i - config.smoothing + 1) : i + 1]
        if config.votes:
            return sorted([0.0] * config.smoothing + list(last))[-config.votes]
        return sum(last[1:], last[0]) / len(last)

    def held(i):
        return min(smoothed(j) if j >= 0 else 0.0 for j in range(i - config.hold + 1, i + 1))

    def rearms(i):
        if smoothed(i) >= threshold:
            return False
        since = i
        while since > 0 and smoothed(since - 1) < threshold:
            since -= 1
        return smoothed(i) < config.off_ratio * threshold or times[i] - times[since] >= config.rearm_seconds

    events = []
    for i in range(len(scores)):
        armed = not events or any(rearms(j) for j in range(events[-1] + 1, i))
        locked = events and times[i] - times[events[-1]] < config.lockout_seconds
        if armed and not locked and held(i) >= threshold and times[i] not in hidden:
            events.append(i)
    return [Detection(times[i], held(i)) for i in events]


def as_documented_of(words, times, scores, threshold, config):
    """The same of several words: each has a detector of its own, and only the likeliest word has an event."""
    events = []
    for word in dict.fromkeys(words):
        own = [score if other == word else 0.0 for score, other in zip(scores, words, strict=True)]
        hidden = [time for time, other in zip(times, words, strict=True) if other != word]
        events += [one._replace(label=word) for one in as_documented(times, own, threshold, config, hidden)]
    return sorted(events)


def at_times(levels, start, seed):
    steps = np.random.default_rng(seed).choice([0.08, 0.16], len(levels)) if seed else np.full(len(levels), 0.08)
    return (start + np.cumsum(steps)).tolist()


@settings(max_examples=300, deadline=None)
@given(
    LEVELS, DETECTORS, st.sampled_from([0.05, 0.3, 0.5, 0.7, 1.0]), st.sampled_from([0.0, 1234.567]), st.integers(0, 9)
)
def test_sequence_stream_and_documentation_agree(levels, config, threshold, start, seed):
    times = at_times(levels, start, seed)
    events = detect(times, levels, threshold, config)
    assert events == stream(times, levels, threshold, config)
    assert [event.time for event in events] == [one.time for one in as_documented(times, levels, threshold, config)]
    np.testing.assert_allclose(
        [event.score for event in events], [one.score for one in as_documented(times, levels, threshold, config)]
    )


@settings(max_examples=300, deadline=None)
@given(LEVELS, DETECTORS, st.sampled_from([0.05, 0.3, 0.5, 0.7, 1.0]), st.integers(0, 9), st.data())
def test_they_agree_about_several_words_too(levels, config, threshold, seed, data):
    times = at_times(levels, 0.0, seed)
    words = data.draw(st.lists(st.sampled_from("ab"), min_size=len(levels), max_size=len(levels)))
    events = detect(times, levels, threshold, config, words)
    detector = StreamingDetector(threshold, config)
    assert events == [event for one in zip(times, levels, words, strict=True) if (event := detector.push(*one))]
    expected = as_documented_of(words, times, levels, threshold, config)
    assert [(one.time, one.label) for one in events] == [(one.time, one.label) for one in expected]
    np.testing.assert_allclose([one.score for one in events], [one.score for one in expected])


@settings(max_examples=100, deadline=None)
@given(LEVELS, DETECTORS, st.sampled_from([0.3, 0.5]))
def test_it_never_stays_latched(levels, config, threshold):
    """Whatever came before: after a rest between the thresholds, a sure word is heard."""
    calm = round(max(config.rearm_seconds, config.lockout_seconds) / 0.08) + config.smoothing + config.hold + 3
    sure = config.smoothing + config.hold + 1
    scores = [*levels, *[0.99 * threshold] * calm, *[1.0] * sure]
    times = at_times(scores, 0.0, 0)
    assert detect(times, scores, threshold, config)[-1].time > times[len(levels) + calm - 1]


def test_one_word_is_one_event_and_carries_its_label():
    times = np.arange(6) * 0.1
    scores = [0, 0.8, 0.9, 0.95, 0.2, 0]
    assert detect(times, scores, 0.7, PLAIN, ["a", "b", "b", "b", "b", "a"]) == [Detection(0.1, 0.8, "b")]
    assert StreamingDetector(0.7, PLAIN).push(0.0, 0.7, "b") == Detection(0.0, 0.7, "b")


def test_no_word_locks_out_disarms_or_helps_another():
    config = PLAIN.model_copy(update={"lockout_seconds": 9.0})
    times = np.arange(6) * 0.1
    scores = [0.8, 0.9, 0.9, 0.0, 0.9, 0.9]
    assert detect(times, scores, 0.7, config, ["a", "b", "a", "a", "a", "b"]) == [
        Detection(0.0, 0.8, "a"), Detection(0.1, 0.9, "b"),
    ]  # fmt: skip
    mean = DetectorConfig(smoothing=2, lockout_seconds=0.0)
    assert detect(times, [0.9] * 6, 0.7, mean, ["a", "b", "a", "b", "a", "b"]) == [Detection(0.0, 0.9, "a")]


def test_a_dip_that_stays_above_the_lower_threshold_does_not_rearm():
    times = np.arange(8) * 0.3
    dip = [0.9, 0.5, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9]
    assert [event.time for event in detect(times, dip, 0.7, PLAIN)] == [0.0]
    deep = [0.9, 0.3, 0.9, *dip[3:]]
    assert [event.time for event in detect(times, deep, 0.7, PLAIN)] == [0.0, 0.6]


def test_never_latched_between_the_thresholds():
    times = np.arange(20) * 0.3
    scores = [0.9, *[0.6] * 18, 0.9]
    assert len(detect(times, scores, 0.7, PLAIN)) == 2
    assert len(stream(times, scores, 0.7, PLAIN)) == 2


def test_the_wait_between_the_thresholds_starts_anew_after_each_rise():
    times = np.arange(7) * 0.5
    assert len(detect(times, [0.9, 0.6, 0.6, 0.8, 0.6, 0.6, 0.8], 0.7, PLAIN)) == 1


def test_lockout_delays_the_second_event():
    config = PLAIN.model_copy(update={"lockout_seconds": 1.0})
    times = np.arange(8) * 0.25
    events = detect(times, [0.9, 0.0, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9], 0.7, config)
    assert [event.time for event in events] == [0.0, 1.0]


def test_smoothing_is_the_mean_of_the_last_scores_and_of_fewer_at_the_start():
    assert smooth([1.0, 0.0, 0.5, 0.5], 3).tolist() == [1.0, 0.5, 0.5, pytest.approx(1 / 3)]
    assert smooth([], 3).tolist() == []
    config = DetectorConfig(smoothing=2)
    assert detect([0.0, 0.1, 0.2], [0.0, 1.0, 0.0], 0.6, config) == []
    assert detect([0.0, 0.1, 0.2], [0.0, 1.0, 0.0], 0.5, config) == [Detection(0.1, 0.5)]


def test_votes_are_cast_by_single_scores_and_not_by_their_mean():
    times = np.arange(6) * 0.1
    spike, pair = [0.0, 1.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.6, 0.0, 0.6, 0.0, 0.0]
    mean, votes = (DetectorConfig(smoothing=3, votes=count) for count in (0, 2))
    assert smooth(pair, 3, 2).tolist() == [0.0, 0.0, 0.0, 0.6, 0.0, 0.0]
    assert len(detect(times, spike, 0.3, mean)) == 1 and detect(times, spike, 0.3, votes) == []
    assert detect(times, pair, 0.5, mean) == [] and detect(times, pair, 0.5, votes) == [
        Detection(pytest.approx(0.3), 0.6)
    ]
    assert smooth([0.9, 0.8], 3, 2).tolist() == [0.0, 0.8]  # votes not cast yet count as none
    with pytest.raises(ValidationError, match="votes"):
        DetectorConfig(smoothing=2, votes=3)


def test_hold_waits_for_scores_in_a_row():
    times = np.arange(7) * 0.1
    broken, steady = [0.9, 0.9, 0.1, 0.9, 0.9, 0.1, 0.9], [0.9, 0.1, 0.7, 0.9, 0.8, 0.1, 0.9]
    held = PLAIN.model_copy(update={"hold": 3})
    assert len(detect(times, broken, 0.6, PLAIN)) == 2 and detect(times, broken, 0.6, held) == []
    assert detect(times, steady, 0.6, held) == [Detection(pytest.approx(0.4), 0.7)]
    assert detect(times, steady, 0.71, held) == []


def test_reset_forgets():
    detector = StreamingDetector(0.5, PLAIN)
    assert detector.push(0.0, 0.9) and not detector.push(0.1, 0.9)
    detector.reset()
    assert detector.push(0.2, 0.9)
    waiting = StreamingDetector(0.5, DetectorConfig(hold=2, smoothing=1))
    waiting.push(0.0, 0.9)
    waiting.reset()
    assert not waiting.push(0.1, 0.9) and waiting.push(0.2, 0.9)


def test_empty_and_faulty_sequences():
    for config in (PLAIN, DetectorConfig(smoothing=3, votes=2, hold=2)):
        assert detect([], [], 0.5, config) == []
    with pytest.raises(ValueError, match="increase"):
        detect([0.0, 0.0], [0.1, 0.2], 0.5, PLAIN)
    with pytest.raises(ValueError, match="finite"):
        detect([0.0, 0.1], [0.1, float("nan")], 0.5, PLAIN)
    with pytest.raises(ValueError, match="finite"):
        detect([0.0, 0.1], [0.1, float("nan")], 0.5, DetectorConfig(smoothing=3, votes=3))
    with pytest.raises(ValueError, match="one length"):
        detect([0.0, 0.1], [0.1], 0.5, PLAIN)
    with pytest.raises(ValueError, match="labels"):
        detect([0.0, 0.1], [0.1, 0.2], 0.5, PLAIN, ["a"])
    with pytest.raises(ValueError, match="not finite"):
        StreamingDetector(0.5, PLAIN).push(0.0, float("nan"))


def test_wake_score_is_that_of_the_likeliest_word_and_ignores_the_negatives():
    scores, best = wake_scores([[0.7, 0.2, 0.1], [0.2, 0.3, 0.5]])
    assert scores.tolist() == [0.2, 0.5] and best.tolist() == [1, 2]
    assert wake_scores([0.4])[1].tolist() == [1]
    with pytest.raises(ValueError, match="classes"):
        wake_scores([[0.4]])


def test_a_handicap_lowers_the_score_of_its_word_and_not_which_is_the_likeliest():
    handicaps = handicaps_of(["_negative", "a", "b"], {"a": 9.0})
    scores, best = wake_scores([[0.4, 0.5, 0.1], [0.4, 0.1, 0.5], [0.0, 0.9, 0.1]], handicaps)
    assert best.tolist() == [1, 2, 1] and scores.tolist() == pytest.approx([0.1, 0.5, 0.5])
    assert handicaps_of(["_negative", "a"], {}) is None


@given(st.floats(0, 1), st.floats(1e-7, 1e7))
def test_a_handicap_divides_the_odds_and_keeps_order_and_ends(score, handicap):
    low = float(lowered(score, handicap))
    assert 0 <= low <= 1 and (low <= score if handicap >= 1 else low >= score)
    if 1e-6 < score < 1 - 1e-6:
        assert low / (1 - low) == pytest.approx(score / (1 - score) / handicap, rel=1e-3) or low > 1 - 1e-6
    assert lowered([0.0, 1.0], handicap).tolist() == [0.0, 1.0] and lowered(score, 1.0) == score


def test_a_score_that_was_rounded_out_of_0_to_1_is_moved_by_no_handicap():
    assert lowered([1.0005, 0.5], [1e7, 1.0]).tolist() == [1.0, 0.5]
    assert lowered([-0.001, -0.001, -0.001], [1e-7, 1e-3 / 1.001, 1e7]).tolist() == [0.0, 0.0, 0.0]


def test_a_device_needs_no_heavy_packages():
    code = (
        "import sys, wakeword_core.runtime.detector; "
        "print([m for m in ('torch', 'sklearn', 'scipy', 'pandas', 'matplotlib', 'soundfile') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
