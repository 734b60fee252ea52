"""A candidate and the champion on the same test recordings and background: what each does, and whether one is worse."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from wakeword_core.config import Config, DetectorConfig, EvaluationConfig
from wakeword_core.config.registry import RegistryConfig
from wakeword_core.evaluation.measure.intervals import (
    Interval,
    Outcomes,
    excess_p_value,
    least_excess,
    rate_difference,
    share_difference,
)
from wakeword_core.evaluation.measure.wording import measure, percent, rate, signed
from wakeword_core.evaluation.streams.captured import CapturedCase, captured_cases
from wakeword_core.evaluation.streams.conditions import target_conditions
from wakeword_core.evaluation.streams.scores import FalseAlarm, Miss, StreamScores, score_streams
from wakeword_core.evaluation.streams.stream_metrics import StreamResult, evaluate_streams
from wakeword_core.evaluation.streams.thresholds import OperatingPoint, SweepPoint, Tradeoff, recordings
from wakeword_core.export.tflite.manifest import read_manifest
from wakeword_core.export.tflite.reading import read_tflite, stride_of
from wakeword_core.export.tflite.streams import DeviceStreams, device_scorer
from wakeword_core.progress import Progress, silent
from wakeword_core.runtime import WakewordModel
from wakeword_core.runtime.judge import JudgedModel

_STRETCH_SECONDS = 60.0
"""False alarms in one such stretch of a recording are not independent of each other: one sound may cause them all."""

Play = tuple[str, str]
"""A wake word once: recording and condition."""


@dataclass(frozen=True)
class TestRun:
    """What one model makes of the test: as it ships, and at the target rate of false alarms on this very background."""

    shipped: StreamResult
    target: OperatingPoint
    missed: frozenset[Play]
    """At the target; all words where no threshold that finds any reaches it."""
    curve: tuple[SweepPoint, ...]
    recordings: int
    """Recordings of wake words, however often each is played."""
    recording_ids: frozenset[str]
    """All recordings of the test, those of the background too."""
    captured: tuple[CapturedCase, ...] = ()
    """As it ships."""

    @classmethod
    def of(
        cls, scores: StreamScores, threshold: float, evaluation: EvaluationConfig, detector: DetectorConfig
    ) -> "TestRun":
        """Measure a model that ships with a threshold, on scores that its handicaps have lowered."""
        tradeoff = Tradeoff(scores, evaluation, detector)
        point = tradeoff.point(evaluation.allowed_fah)
        targets = target_conditions(evaluation.conditions)
        plays = frozenset(
            (word.recording_id, session.condition.name)
            for session in scores.sessions
            if session.condition in targets
            for word in session.words
        )
        return cls(
            shipped=evaluate_streams(scores, threshold, evaluation, detector),
            target=point,
            missed=_plays(evaluate_streams(scores, point.threshold, evaluation, detector).miss_list)
            if point.reachable
            else plays,
            curve=tuple(tradeoff.sweep()),
            recordings=recordings(scores),
            recording_ids=frozenset(span.recording_id for session in scores.sessions for span in session.sources),
        )


@dataclass(frozen=True)
class Errors:
    """What one model gets wrong of the test as it ships."""

    missed: frozenset[Play]
    false_alarms: Sequence[FalseAlarm]
    words: int
    """Counted once a condition."""
    recordings: int
    background_hours: float

    @classmethod
    def of(cls, run: TestRun) -> "Errors":
        """Return those of an exported model."""
        result = run.shipped
        missed = _plays(result.miss_list)
        return cls(missed, result.false_alarms, result.words, run.recordings, result.background_hours)


@dataclass(frozen=True)
class Contrast:
    """One figure of both models on the same trials.

    `interval` is that of the difference: its upper end is exceeded with a probability of the level. `p_value` is the
    chance of such an excess, or more, if both were equally good; `least_excess` the smallest number of recordings, or
    of minutes with alarms, that could be told from chance.
    """

    name: str
    kind: Literal["percent", "rate"]
    candidate: float
    champion: float
    candidate_only: int
    """Words, or false alarms, that only the candidate got wrong."""
    champion_only: int
    interval: Interval
    p_value: float
    least_excess: int
    margin: float

    @property
    def difference(self) -> float:
        """The candidate's figure less the champion's."""
        return self.candidate - self.champion

    def worse(self, settings: RegistryConfig) -> bool:
        """Return whether it speaks against the candidate under the rule."""
        if settings.rule == "non_inferior":
            return self.interval.high > self.margin
        return self.p_value <= settings.level

    def described(self, settings: RegistryConfig) -> str:
        """Say the figure of both in words, and what the rule looks at."""
        low, high = (signed(end, self.kind) for end in self.interval)
        span = f"{low.removesuffix(' points')} to {high}"
        facts = f"{signed(self.difference, self.kind)}, {percent(1 - 2 * settings.level)} interval {span}"
        if settings.rule == "non_inferior":
            facts += f"; {measure(self.margin, 'points' if self.kind == 'percent' else self.kind)} allowed"
        else:
            facts += f"; p = {self.p_value:.2g}"
        return f"{self.name} {measure(self.candidate, self.kind)} against {measure(self.champion, self.kind)} ({facts})"


def incomparable(champion: WakewordModel, sample_rate: int, labels: tuple[str, ...]) -> str:
    """Say why a champion cannot take the present test; empty if it can."""
    if champion.sample_rate != sample_rate:
        return f"it hears audio at {champion.sample_rate:,} Hz, and the test is at {sample_rate:,} Hz"
    if champion.labels != labels:
        return f"its classes are {', '.join(champion.labels)}, and the test's {', '.join(labels)}"
    return ""


def run_test(model: WakewordModel | JudgedModel, shards: Path, config: Config, progress: Progress = silent) -> TestRun:
    """Play the test's words, in the target conditions, its background and its captures to a model and its judge."""
    evaluation = config.evaluation
    targets = target_conditions(evaluation.conditions)
    scores = score_streams(
        model.score_audio, shards, config, progress, targets, confusables=False, short_phrases=False
    ).lowered(model.handicaps)
    run = TestRun.of(scores, model.threshold, evaluation, model.detector)
    return replace(run, captured=tuple(captured_cases(model, shards, config, progress)))


def device_errors(model: Path, shards: Path, config: Config, progress: Progress = silent) -> Errors:
    """Play the same to a file for microcontrollers, at the cutoff of the manifest beside it, as ESPHome detects."""
    stride = stride_of(read_tflite(model))
    micro = read_manifest(model.with_suffix(".json")).micro
    chosen = micro.probability_cutoff, micro.sliding_window_size
    targets = target_conditions(config.evaluation.conditions)
    scorer = device_scorer(model, stride)
    scores = score_streams(scorer, shards, config, progress, targets, confusables=False, short_phrases=False)
    streams = DeviceStreams(scores, config.evaluation, stride)
    return Errors(
        missed=_plays(streams.missed(*chosen)),
        false_alarms=streams.false_alarms(*chosen),
        words=scores.words,
        recordings=recordings(scores),
        background_hours=scores.background_hours,
    )


def contrasts(candidate: TestRun, champion: TestRun, target_fah: float, settings: RegistryConfig) -> list[Contrast]:
    """Return what decides: misses at the target of false alarms; misses, false alarms and captures as both ship."""
    at_target = f"missed at {rate(target_fah)} false alarms an hour"
    mine, theirs = Errors.of(candidate), Errors.of(champion)
    missed = replace(mine, missed=candidate.missed), replace(theirs, missed=champion.missed)
    return [
        _misses(at_target, *missed, settings),
        _misses("missed as shipped", mine, theirs, settings),
        _alarms("false alarms an hour as shipped", mine, theirs, settings),
        *_captures(candidate, champion, settings),
    ]


def _captures(candidate: TestRun, champion: TestRun, settings: RegistryConfig) -> list[Contrast]:
    if not candidate.captured:
        return []
    mine, theirs = (
        frozenset((case.recording_id, "") for case in run.captured if case.wrong) for run in (candidate, champion)
    )
    count = len(candidate.captured)
    return [_shares("captures of the test that are wrong", mine, theirs, count, count, settings)]


def device_contrasts(name: str, candidate: Errors, champion: Errors, settings: RegistryConfig) -> list[Contrast]:
    """Return what decides of both models' files for microcontrollers, which are called `name`: as they ship."""
    return [
        _misses(f"missed by {name} at its cutoff", candidate, champion, settings),
        _alarms(f"false alarms an hour of {name} at its cutoff", candidate, champion, settings),
    ]


def _misses(name: str, candidate: Errors, champion: Errors, settings: RegistryConfig) -> Contrast:
    return _shares(name, candidate.missed, champion.missed, candidate.words, candidate.recordings, settings)


def _shares(
    name: str, mine: frozenset[Play], theirs: frozenset[Play], plays: int, recordings: int, settings: RegistryConfig
) -> Contrast:
    """Return the contrast of what goes wrong of so many plays, of fewer recordings where some are played again."""
    outcomes = Outcomes(len(mine & theirs), len(mine - theirs), len(theirs - mine), plays - len(mine | theirs))
    counts = [Counter(recording for recording, _ in plays) for plays in (mine, theirs)]
    differences = _differences(*counts)
    return Contrast(
        name=name,
        kind="percent",
        candidate=len(mine) / plays,
        champion=len(theirs) / plays,
        candidate_only=len(mine - theirs),
        champion_only=len(theirs - mine),
        interval=share_difference(outcomes, recordings, 1 - 2 * settings.level),
        p_value=excess_p_value(differences),
        least_excess=least_excess(sum(difference < 0 for difference in differences), settings.level),
        margin=settings.margin_frr,
    )


def _alarms(name: str, candidate: Errors, champion: Errors, settings: RegistryConfig) -> Contrast:
    mine, theirs = (
        Counter((alarm.recording_id, int(alarm.time // _STRETCH_SECONDS)) for alarm in errors.false_alarms)
        for errors in (candidate, champion)
    )
    differences = _differences(mine, theirs)
    return Contrast(
        name=name,
        kind="rate",
        candidate=mine.total() / candidate.background_hours,
        champion=theirs.total() / champion.background_hours,
        candidate_only=(mine - theirs).total(),
        champion_only=(theirs - mine).total(),
        interval=rate_difference(
            mine.total(), theirs.total(), candidate.background_hours, confidence=1 - 2 * settings.level
        ),
        p_value=excess_p_value(differences),
        least_excess=least_excess(sum(difference < 0 for difference in differences), settings.level),
        margin=settings.margin_fah,
    )


def _differences(candidate: Counter[Any], champion: Counter[Any]) -> list[int]:
    return [candidate[unit] - champion[unit] for unit in candidate.keys() | champion.keys()]


def _plays(misses: Sequence[Miss]) -> frozenset[Play]:
    return frozenset((miss.recording_id, miss.condition) for miss in misses)
