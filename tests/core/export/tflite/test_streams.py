"""Cutoff and window are chosen by ESPHome's own rule, and misses and false alarms are counted by each."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pymicro_wakeword
import pytest

from wakeword_core.config import EvaluationConfig
from wakeword_core.errors import DataError
from wakeword_core.evaluation.streams.build import SourceSpan, Word
from wakeword_core.evaluation.streams.conditions import Condition
from wakeword_core.evaluation.streams.scores import SessionScores, StreamScores
from wakeword_core.evaluation.streams.tail import tail_threshold
from wakeword_core.export.tflite import runtimes
from wakeword_core.export.tflite.streams import DeviceStreams, cutoff_at, device_scorer, windows_to_try

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


def test_esphome_makes_of_each_cutoff_the_whole_number_that_was_meant() -> None:
    assert [int(cutoff_at(place) * 255) for place in range(1, 254)] == [*range(1, 254)]


def murmur(seed: int, *, spread: float = 0.8, hours: float = 1.0) -> SessionScores:
    """Background whose loudest score of each second is exponential in log-odds."""
    seconds = round(hours * 3_600)
    odds = -6 + np.random.default_rng(seed).exponential(spread, seconds)
    loud = np.minimum(np.rint(256 / (1 + np.exp(-odds))), 255).astype(int)
    return session([pair for level in loud.tolist() for pair in ((level, 1), (0, 32))], source="street")


def without_people(*sessions: SessionScores, alike: tuple[SessionScores, ...] = ()) -> DeviceStreams:
    """Words of synthetic voices alone, which are as loud as scores can be."""
    word = session([(3, 80), (255, 20), (3, 80)], [90])
    scores = StreamScores((word, *sessions), ("_negative", "robin"), alike, frozenset({"people"}))
    return DeviceStreams(scores, EVALUATION, 3)


def place_of(streams: DeviceStreams, target: float = 0.5, windows: tuple[int, ...] = (1,), **more: float) -> int:
    return int(streams.choose(target, windows, **more).cutoff * 255)


def test_where_nobody_says_the_word_the_cutoff_is_where_the_projects_own_threshold_is() -> None:
    background = [murmur(seed) for seed in range(3)]
    streams = StreamScores(tuple(background), ("_negative", "robin"))
    moments = np.sort(np.concatenate([one.scores[one.scores > 0] for one in streams.sessions]))[::-1]
    expected = tail_threshold(moments, streams.background_hours, 0.5, 0.1)
    # a score passes ESPHome's whole number where it is above it
    assert place_of(without_people(*background), even=0.1) == np.ceil(expected * 256) > 30


def test_one_odd_sound_does_not_set_the_cutoff_of_synthetic_voices_though_it_does_for_people() -> None:
    background = [murmur(seed) for seed in range(3)]
    odd = replace(background[0], scores=np.where(np.arange(len(background[0].scores)) == 500, 252 / 256, 0.0))
    first = without_people(odd, *background[1:])
    assert 100 < place_of(first, 0.3, even=0.1) < 220
    people = streams(session([(3, 80), (255, 20), (3, 80)], [90]), odd, *background[1:])
    assert place_of(people, target=0.3) >= 252


def test_no_cutoff_of_synthetic_voices_is_below_where_the_model_holds_both_for_equally_likely() -> None:
    assert place_of(without_people(LOUD)) == 128
    quiet = without_people(session([(0, 5_000)]))
    assert place_of(quiet) == 128 and place_of(quiet, even=0.25) == 64


def test_phrases_that_sound_alike_raise_the_cutoff_of_little_background() -> None:
    alike = tuple(
        replace(session([(3, 30), (level, 20), (3, 30)]), sources=(SourceSpan("near", f"{level:064}", 0.0, 2.4),))
        for level in (150, 190, 210, 245)
    )
    minutes = session([(3, 10_000)], source="street")
    assert place_of(without_people(minutes)) == 128
    assert place_of(without_people(minutes, alike=alike)) == 245


def test_of_windows_that_synthetic_voices_do_not_tell_apart_the_longest_is_taken() -> None:
    said = [part for _ in range(20) for part in ((3, 80), (255, 9))]
    # of two more, one is heard for a moment, and one is not heard at all
    words = session([*said, (3, 80), (255, 2), (3, 160)], [*range(89, 1_781, 89), 1_862, 1_960])
    assert streams(words, LOUD).choose(0.5, (1, 8)).window == 1
    assert streams(words, LOUD, synthetic=frozenset({"people"})).choose(0.5, (1, 8)).window == 8


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
