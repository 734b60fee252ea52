"""The detection rule: its edges, and the agreement of its two forms."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wakeword_core.config import DetectorConfig
from wakeword_core.evaluation.detector import Detection, StreamingDetector, detect, smooth, wake_scores

PLAIN = DetectorConfig(smoothing=1, off_ratio=0.6, rearm_seconds=1.0, lockout_seconds=0.5)


def stream(times, scores, threshold, config):
    detector = StreamingDetector(threshold, config)
    return [event for one in zip(times, scores, strict=True) if (event := detector.push(*one))]


@settings(max_examples=300, deadline=None)
@given(
    levels=st.lists(st.sampled_from([0.0, 0.1, 0.29, 0.3, 0.31, 0.45, 0.5, 0.55, 0.9, 1.0]), max_size=80),
    threshold=st.sampled_from([0.05, 0.3, 0.5, 0.7, 1.0]),
    smoothing=st.integers(1, 5),
    off_ratio=st.sampled_from([0.2, 0.6, 1.0]),
    rearm=st.sampled_from([0.0, 0.08, 0.24, 1.0]),
    lockout=st.sampled_from([0.0, 0.08, 0.4, 0.8, 1.0]),
    start=st.sampled_from([0.0, 1.53, 1234.567]),
    seed=st.integers(0, 9),
)
def test_sequence_and_stream_agree(levels, threshold, smoothing, off_ratio, rearm, lockout, start, seed):
    config = DetectorConfig(smoothing=smoothing, off_ratio=off_ratio, rearm_seconds=rearm, lockout_seconds=lockout)
    jitter = np.random.default_rng(seed).choice([0.08, 0.16], len(levels)) if seed else np.full(len(levels), 0.08)
    times = start + np.cumsum(jitter)
    assert detect(times, levels, threshold, config) == stream(times, levels, threshold, config)


def test_one_word_is_one_event_and_carries_its_label():
    times = np.arange(6) * 0.1
    scores = [0, 0.8, 0.9, 0.95, 0.2, 0]
    assert detect(times, scores, 0.7, PLAIN, ["a", "b", "a", "a", "a", "a"]) == [Detection(0.1, 0.8, "b")]
    assert StreamingDetector(0.7, PLAIN).push(0.0, 0.7, "b") == Detection(0.0, 0.7, "b")


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


def test_reset_forgets():
    detector = StreamingDetector(0.5, PLAIN)
    assert detector.push(0.0, 0.9) and not detector.push(0.1, 0.9)
    detector.reset()
    assert detector.push(0.2, 0.9)


def test_empty_and_faulty_sequences():
    assert detect([], [], 0.5, PLAIN) == []
    with pytest.raises(ValueError, match="increase"):
        detect([0.0, 0.0], [0.1, 0.2], 0.5, PLAIN)
    with pytest.raises(ValueError, match="finite"):
        detect([0.0, 0.1], [0.1, float("nan")], 0.5, PLAIN)
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


def test_a_device_needs_no_heavy_packages():
    code = (
        "import sys, wakeword_core.evaluation.detector; "
        "print([m for m in ('torch', 'sklearn', 'scipy', 'pandas', 'matplotlib', 'soundfile') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
