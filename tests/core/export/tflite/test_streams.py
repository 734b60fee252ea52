"""Cutoff and window are chosen by ESPHome's own rule, and misses and false alarms are counted by each."""

from pathlib import Path

import numpy as np
import pymicro_wakeword
import pytest

from wakeword_core.config import EvaluationConfig
from wakeword_core.errors import DataError
from wakeword_core.evaluation.streams.build import Condition, SourceSpan, Word
from wakeword_core.evaluation.streams.scores import SessionScores, StreamScores
from wakeword_core.export.tflite import runtimes
from wakeword_core.export.tflite.streams import DeviceStreams, device_scorer, windows_to_try

CLEAN = Condition(None)
RUN = 0.03
EVALUATION = EvaluationConfig.model_validate({"conditions": {"tuning": {"snr_db": [None]}}})
ALEXA = Path(pymicro_wakeword.__file__).parent / "models" / "alexa.tflite"


def session(parts: list[tuple[int, int]], words: list[int] | None = None, source: str = "people") -> SessionScores:
    """Levels for so many runs, one after the other; words end at these runs, 20 runs after they begin. None: none."""
    scores = np.repeat([level for level, _ in parts], [runs for _, runs in parts]) / 256
    times = RUN * np.arange(1, len(scores) + 1)
    said = tuple(
        Word("robin", f"{end:064}", RUN * (end - 20), RUN * end, source, begin=RUN * (end - 20)) for end in words or []
    )
    spans = (SourceSpan(source, "b" * 64, 0.0, float(times[-1])),)
    classes = np.ones(len(scores), np.int64)
    return SessionScores(None if words is None else CLEAN, times, scores, classes, said, spans)


def streams(*sessions: SessionScores, synthetic: frozenset[str] = frozenset()) -> DeviceStreams:
    return DeviceStreams(StreamScores(sessions, ("_negative", "robin"), (), synthetic), EVALUATION, 3)


# three words of which the weakest reaches 150, each long enough for five scores; an alarm at 120
WORDS = session([(3, 80), (240, 8), (3, 80), (200, 8), (3, 80), (150, 8), (3, 80)], [86, 174, 262])
LOUD = session([(3, 100), (120, 8), (3, 1_200)])


def test_the_cutoff_is_between_the_loudest_alarm_and_the_weakest_word() -> None:
    chosen = streams(WORDS, LOUD).choose(0.5, (1, 5))
    assert chosen.reachable and chosen.window == 5
    assert 120 < int(chosen.cutoff * 255) < 149
    assert chosen.cutoff == pytest.approx(135 / 255, abs=0.01)
    found = streams(WORDS, LOUD).rates(chosen.cutoff, chosen.window, "esphome")
    assert (found.words, found.misses, found.false_alarms) == (3, 0, 0)
    assert found.background_hours == pytest.approx(1_308 * RUN / 3_600)
    assert found.frr_interval[0] == 0.0 < found.frr_interval[1] and found.fah_interval[1] > 0.5


def test_a_click_that_is_loud_for_a_moment_asks_for_a_longer_window() -> None:
    click = session([(3, 100), (255, 2), (3, 1_200)])
    assert streams(WORDS, click).choose(0.5, (1,)).reachable is False
    chosen = streams(WORDS, click).choose(0.5, (1, 2, 5))
    assert chosen.window == 5 and streams(WORDS, click).hits(chosen.cutoff, 5) == 3


def test_what_the_target_allows_is_counted_by_the_hours() -> None:
    alarms = session([part for level in (250, 230, 120) for part in ((3, 100), (level, 8))] + [(3, 240_000)])
    two_hours = streams(WORDS, alarms)
    assert [
        int(two_hours.choose(target, (5,)).cutoff * 255) >= least for target, least in ((0.4, 250), (0.6, 230))
    ] == [
        True,
        True,
    ]
    assert int(two_hours.choose(1.1, (5,)).cutoff * 255) < 230
    # raising the cutoff above two alarms costs two of three words
    assert two_hours.rates(two_hours.choose(0.4, (5,)).cutoff, 5, "esphome").misses == 3


def test_where_nobody_says_the_word_the_cutoff_is_just_above_the_background() -> None:
    chosen = streams(WORDS, LOUD, synthetic=frozenset({"people"})).choose(0.5, (5,))
    assert int(chosen.cutoff * 255) == 120


def test_out_of_reach_is_said_and_the_highest_cutoff_taken() -> None:
    chosen = streams(WORDS, session([(3, 100), (255, 60), (3, 1_000)])).choose(0.1, (1, 5))
    assert not chosen.reachable and int(chosen.cutoff * 255) == 253


def test_the_rules_count_differently() -> None:
    soon = session([(3, 80), (240, 8), (3, 20), (240, 8), (3, 80)], [87, 115])
    both = streams(soon, LOUD)
    assert both.rates(0.6, 3, "pymicro").misses == 0
    assert both.rates(0.6, 3, "esphome").misses == 1  # the second comes while it cools off
    assert both.rates(0.4, 3, "pymicro").false_alarms == both.rates(0.4, 3, "esphome").false_alarms == 1


def test_a_detection_counts_until_a_while_after_the_word() -> None:
    tolerance = round(EVALUATION.streams.tolerance_seconds / RUN)
    late = [(3, 80 + tolerance - 1), (255, 1), (3, 80)]
    assert streams(session(late, [80]), LOUD).hits(0.9, 1) == 1
    too_late = [(3, 80 + tolerance + 1), (255, 1), (3, 80)]
    assert streams(session(too_late, [80]), LOUD).hits(0.9, 1) == 0


def test_words_or_background_that_lack_are_said() -> None:
    with pytest.raises(DataError, match="no wake words"):
        streams(LOUD)
    with pytest.raises(DataError, match="no background"):
        streams(WORDS)


@pytest.mark.parametrize(("stride", "longest"), [(1, 16), (2, 16), (3, 16)])
def test_windows_collect_scores_over_half_a_second_at_most(stride: int, longest: int) -> None:
    assert windows_to_try(EVALUATION, stride)[-1] == longest
    assert max(windows_to_try(EVALUATION, stride)) * stride <= 50
    short = EVALUATION.changed({"tuning.longest_seconds": 0.01})
    assert windows_to_try(short, stride) == (1,)


def test_without_tuning_the_window_is_the_detectors() -> None:
    fixed = EVALUATION.changed({"tuning.enabled": False, "detector.smoothing": 6, "detector.stride_seconds": 0.04})
    assert windows_to_try(fixed, 3) == (8,) and windows_to_try(fixed, 1) == (24,)
    endless = EVALUATION.changed({"tuning.enabled": False, "detector.smoothing": 50, "detector.stride_seconds": 1.0})
    assert windows_to_try(endless, 1) == (255,)


def test_sound_is_heard_from_the_devices_front_end_on() -> None:
    pcm = np.random.default_rng(0).normal(0.0, 2_000.0, 16_000).astype(np.int16)
    times, scores = device_scorer(ALEXA, 3)(pcm)
    # the first frame ends with sample 480, and each run takes three of 10 ms
    assert len(times) == len(scores) == 98 // 3
    assert times[0] == pytest.approx(0.05) and np.diff(times) == pytest.approx(0.03)
    assert len(runtimes.hear(ALEXA, pcm[:479])) == 0
