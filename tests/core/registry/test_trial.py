"""Two models on made-up streams: what counts as an error, as one trial, and as worse."""

from collections import Counter
from dataclasses import replace

import pytest

from wakeword_core.config.registry import RegistryConfig
from wakeword_core.evaluation.measure.intervals import Interval
from wakeword_core.evaluation.streams.phrases import ShortPhrases
from wakeword_core.evaluation.streams.scores import FalseAlarm, Miss
from wakeword_core.evaluation.streams.stream_metrics import StreamResult
from wakeword_core.evaluation.streams.thresholds import OperatingPoint
from wakeword_core.registry.trial import Contrast, contrasts
from wakeword_core.registry.trial import TestRun as Run

SETTINGS = RegistryConfig()
WORDS, CONDITIONS, HOURS = 30, ("clean", "10 dB"), 10.0


def result(missed: list[tuple[str, str]], alarms: list[tuple[str, float]]) -> StreamResult:
    words = WORDS * len(CONDITIONS)
    interval = Interval(0.0, 1.0)
    return StreamResult(
        threshold=0.5, words=words, misses=len(missed), frr=len(missed) / words, frr_interval=interval, conditions=[],
        fah=len(alarms) / HOURS, fah_interval=interval, confidence=0.95, false_alarm_count=len(alarms),
        background_hours=HOURS, confusables=0, confusables_accepted=0, latency_p50=None, latency_p95=None,
        short_phrases=ShortPhrases(None, 0, 0, None, interval, [], []),
        false_alarms=[FalseAlarm("street", name, time, 0.9, "robin") for name, time in alarms],
        miss_list=[Miss("people", name, "robin", condition, 0.1, 0.2, 0.7) for name, condition in missed],
    )  # fmt: skip


def heard(missed: int = 0, alarms: list[tuple[str, float]] | None = None, shipped: int | None = None) -> Run:
    """Who misses so many recordings, in every condition, at the target and as shipped."""

    def plays(count: int) -> list[tuple[str, str]]:
        return [(f"w{number}", condition) for number in range(count) for condition in CONDITIONS]

    whole = Interval(0.0, 1.0)
    point = OperatingPoint(0.5, 0.5, 0.0, 0.0, True, 0.0, whole, whole, 0, HOURS, "")
    own = result(plays(missed if shipped is None else shipped), alarms or [])
    return Run(own, point, frozenset(plays(missed)), (), WORDS, frozenset())


def worse(candidate: Run, champion: Run, settings: RegistryConfig = SETTINGS) -> list[str]:
    return [one.name for one in contrasts(candidate, champion, 0.5, settings) if one.worse(settings)]


@pytest.mark.parametrize("model", [heard(), heard(30, [("a", 3.0)] * 9), heard(4, shipped=9)])
def test_a_model_is_never_worse_than_itself(model: Run) -> None:
    found = contrasts(model, model, 0.5, SETTINGS)
    assert worse(model, model) == [] and all(one.p_value == 1 and one.difference == 0 for one in found)
    assert all(one.interval.low == pytest.approx(-one.interval.high) for one in found)


def test_misses_count_by_recording_and_not_by_play() -> None:
    four, five = (contrasts(heard(count), heard(), 0.5, SETTINGS)[0] for count in (4, 5))
    assert four.candidate_only == 8 and four.p_value == pytest.approx(1 / 16)
    assert five.p_value == pytest.approx(1 / 32) and five.least_excess == 5
    assert worse(heard(4), heard()) == [] and worse(heard(), heard(9)) == []
    assert worse(heard(5), heard()) == ["missed at 0.5 false alarms an hour", "missed as shipped"]


def test_a_threshold_that_is_set_badly_is_seen_though_the_model_is_as_good() -> None:
    assert worse(heard(2, shipped=20), heard(2)) == ["missed as shipped"]


def test_false_alarms_of_a_minute_are_one_event_of_bad_luck() -> None:
    burst = [("radio", 61.0 + second) for second in range(12)]
    spread = [("radio", 61.0 * minute) for minute in range(12)]
    assert worse(heard(alarms=burst), heard()) == []
    assert worse(heard(alarms=spread), heard()) == ["false alarms an hour as shipped"]
    assert worse(heard(alarms=spread), heard(alarms=spread[:9])) == []
    alarms = contrasts(heard(alarms=spread), heard(alarms=spread[:9]), 0.5, SETTINGS)[2]
    assert (alarms.candidate_only, alarms.champion_only, alarms.candidate) == (3, 0, 1.2)


def test_non_inferiority_asks_for_evidence_and_not_for_its_absence() -> None:
    strict = RegistryConfig(rule="non_inferior", margin_frr=0.05, margin_fah=0.5)
    assert "missed as shipped" in worse(heard(), heard(), strict), "30 recordings show no margin of 5 %"
    many = replace(heard(), recordings=3_000)
    assert worse(many, heard(), strict) == []
    assert worse(replace(heard(2), recordings=3_000), heard(), strict) != []


def test_the_level_decides_and_the_sentence_says_by_what() -> None:
    lenient, strict = (RegistryConfig(level=level) for level in (0.2, 0.001))
    assert worse(heard(3), heard(), lenient) and not worse(heard(5), heard(), strict)
    told = contrasts(heard(5), heard(), 0.5, SETTINGS)[0].described(SETTINGS)
    assert told.startswith("missed at 0.5 false alarms an hour 16.7 % against 0 % (+16.7 points, 90 % interval")
    assert told.endswith("p = 0.031)")
    margin = contrasts(heard(5), heard(), 0.5, SETTINGS)[2].described(RegistryConfig(rule="non_inferior"))
    assert margin.endswith("; 0.5 allowed)")


def test_contrasts_turn_round_with_the_models() -> None:
    one, other = heard(6, [("a", 5.0)], shipped=3), heard(2, [("b", 70.0), ("b", 700.0)], shipped=8)
    pairs: list[tuple[Contrast, Contrast]] = list(
        zip(contrasts(one, other, 0.5, SETTINGS), contrasts(other, one, 0.5, SETTINGS), strict=True)
    )
    for there, back in pairs:
        assert back.difference == pytest.approx(-there.difference)
        assert back.interval == pytest.approx((-there.interval.high, -there.interval.low))
        assert (back.candidate_only, back.champion_only) == (there.champion_only, there.candidate_only)
    assert Counter(one.name for one, _ in pairs).most_common(1)[0][1] == 1
