"""The test that counts: misses and false alarms, as events, in continuous audio."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wakeword_core.config import DetectorConfig, EvaluationConfig
from wakeword_core.evaluation.measure.intervals import Interval, poisson_interval, wilson_interval
from wakeword_core.evaluation.streams.build import Word
from wakeword_core.evaluation.streams.conditions import Condition, target_conditions
from wakeword_core.evaluation.streams.phrases import ShortPhrases, short_phrases
from wakeword_core.evaluation.streams.scores import FalseAlarm, Miss, PreparedSession, StreamScores, prepare_sessions
from wakeword_core.evaluation.streams.thresholds import headline
from wakeword_core.runtime.detector import Handicaps, lowered

REAL, SYNTHETIC = "real", "synthetic"
"""Names of the groups of words by their origin."""


@dataclass(frozen=True)
class ConditionResult:
    """Misses in one condition (`snr_db` None: clean); `extra` are further events outside of any word.

    Latencies are seconds from the end of a word to its detection.
    """

    name: str
    snr_db: float | None
    far: bool
    words: int
    misses: int
    frr: float
    frr_interval: Interval
    extra: int
    latency_p50: float | None
    latency_p95: float | None


@dataclass(frozen=True)
class GroupRate:
    """Misses of one group of words (a source, a speaker), counted once a target condition."""

    name: str
    words: int
    misses: int
    frr: float
    frr_interval: Interval


@dataclass(frozen=True)
class WordRate:
    """What one of several wake words gives at the threshold of all: `threshold` is that of its own scores.

    `frr` is None of a word that nobody says.
    """

    name: str
    threshold: float
    words: int
    misses: int
    frr: float | None
    frr_interval: Interval
    false_alarms: int
    fah: float
    fah_interval: Interval


@dataclass(frozen=True)
class StreamResult:
    """What a threshold gives on continuous audio; words, misses, latencies and groups over the target conditions.

    `conditions` has the others too. Lists begin with the worst. Confusables are no part of the background; short
    phrases are of both, and counted besides.
    """

    threshold: float
    words: int
    misses: int
    frr: float
    frr_interval: Interval
    conditions: list[ConditionResult]
    fah: float
    fah_interval: Interval
    confidence: float
    false_alarm_count: int
    background_hours: float
    confusables: int
    confusables_accepted: int
    short_phrases: ShortPhrases
    latency_p50: float | None
    latency_p95: float | None
    false_alarms: list[FalseAlarm]
    miss_list: list[Miss]
    by_source: list[GroupRate] = field(default_factory=list)
    by_speaker: list[GroupRate] = field(default_factory=list)
    by_origin: list[GroupRate] = field(default_factory=list)
    """Words that people said, and words that were made; their names are REAL and SYNTHETIC."""


@dataclass(frozen=True)
class _ConditionOutcome:
    """What a detector makes of all words of one condition."""

    condition: Condition
    words: list[Word]
    events: int
    latencies: NDArray[np.float64]
    misses: list[Miss]

    @classmethod
    def of(cls, condition: Condition, sessions: list[PreparedSession], threshold: float) -> "_ConditionOutcome":
        chosen = [session for session in sessions if session.scores.condition == condition]
        detected = [session.detect(threshold) for session in chosen]
        return cls(
            condition,
            words=[word for session in chosen for word in session.scores.words],
            events=sum(len(events.indices) for events in detected),
            latencies=np.concatenate([events.latencies for events in detected]),
            misses=[
                miss for session, events in zip(chosen, detected, strict=True) for miss in session.misses(events.hits)
            ],
        )

    def result(self, level: float) -> ConditionResult:
        missed, words = len(self.misses), len(self.words)
        return ConditionResult(
            name=self.condition.name,
            snr_db=self.condition.snr_db,
            far=self.condition.far,
            words=words,
            misses=missed,
            frr=missed / words,
            frr_interval=wilson_interval(missed, words, level),
            extra=self.events - (words - missed),
            **_latencies([self]),
        )


def evaluate_streams(
    scores: StreamScores, threshold: float, evaluation: EvaluationConfig, detector: DetectorConfig
) -> StreamResult:
    """Count misses, false alarms and latencies at a threshold, with intervals; DataError as in `headline`."""
    headline(scores, evaluation.conditions)
    level = evaluation.operating_points.confidence
    sessions = prepare_sessions(scores, evaluation.streams, detector)
    outcomes = [_ConditionOutcome.of(condition, sessions, threshold) for condition in scores.conditions]
    outcomes = [outcome for outcome in outcomes if outcome.words]
    targets = [outcome for outcome in outcomes if outcome.condition in target_conditions(evaluation.conditions)]
    words = sum(len(outcome.words) for outcome in targets)
    misses = [miss for outcome in targets for miss in outcome.misses]
    background = [session for session in sessions if session.scores.background]
    alarms = [alarm for session in background for alarm in session.false_alarms(threshold, scores.labels)]
    hours = scores.background_hours
    alike = [PreparedSession(session, scores.labels, evaluation.streams, detector) for session in scores.confusables]
    accepted = [alarm for session in alike for alarm in session.false_alarms(threshold, scores.labels)]
    return StreamResult(
        threshold=float(threshold),
        words=words,
        misses=len(misses),
        frr=len(misses) / words,
        frr_interval=_interval_of_recordings(len(misses), [len(outcome.words) for outcome in targets], level),
        conditions=[outcome.result(level) for outcome in outcomes],
        fah=len(alarms) / hours,
        fah_interval=poisson_interval(len(alarms), hours, level),
        confidence=level,
        false_alarm_count=len(alarms),
        background_hours=hours,
        confusables=len({span.recording_id for session in scores.confusables for span in session.sources}),
        confusables_accepted=len({alarm.recording_id for alarm in accepted}),
        short_phrases=short_phrases(scores, [*alarms, *accepted], level),
        **_latencies(targets),
        false_alarms=sorted(alarms, key=lambda alarm: -alarm.score),
        miss_list=sorted(misses, key=lambda miss: miss.score),
        by_source=_grouped(targets, lambda word: word.source, level),
        by_speaker=_grouped(targets, lambda word: word.speaker, level),
        by_origin=_grouped(targets, lambda word: SYNTHETIC if word.source in scores.synthetic else REAL, level),
    )


def word_rates(
    scores: StreamScores,
    threshold: float,
    evaluation: EvaluationConfig,
    detector: DetectorConfig,
    handicaps: Handicaps | None,
) -> list[WordRate]:
    """Count misses and false alarms of each of several wake words; nothing where there is one.

    `scores` are lowered by the handicaps already.
    """
    if len(scores.labels) <= 2:
        return []
    sessions, targets = prepare_sessions(scores, evaluation.streams, detector), target_conditions(evaluation.conditions)
    outcomes = [_ConditionOutcome.of(one, sessions, threshold) for one in scores.conditions if one in targets]
    level, hours = evaluation.operating_points.confidence, scores.background_hours
    said = {rate.name: rate for rate in _grouped(outcomes, lambda word: word.label, level)}
    alarms = Counter(
        alarm.label
        for session in sessions
        if session.scores.background
        for alarm in session.false_alarms(threshold, scores.labels)
    )
    own = np.full(len(scores.labels), threshold) if handicaps is None else lowered(threshold, 1 / handicaps)
    rates = []
    for word, own_threshold in zip(scores.labels[1:], own[1:].tolist(), strict=True):
        heard = said.get(word)
        rates.append(
            WordRate(
                name=word,
                threshold=own_threshold,
                words=heard.words if heard else 0,
                misses=heard.misses if heard else 0,
                frr=heard.frr if heard else None,
                frr_interval=heard.frr_interval if heard else Interval(0.0, 1.0),
                false_alarms=alarms[word],
                fah=alarms[word] / hours,
                fah_interval=poisson_interval(alarms[word], hours, level),
            )
        )
    return rates


def told_by_word(rates: Sequence[WordRate]) -> dict[str, Any]:
    """Return the figures of each wake word by the name that they have; nothing of one word, which has all figures."""
    return {"by_word": [asdict(rate) for rate in rates]} if rates else {}


def _interval_of_recordings(missed: int, words: list[int], level: float) -> Interval:
    """Return the interval of misses in several conditions: a recording is one trial, however often it is played."""
    trials = max(words)
    return wilson_interval(missed / sum(words) * trials, trials, level)


def _grouped(outcomes: list[_ConditionOutcome], group: Callable[[Word | Miss], str], level: float) -> list[GroupRate]:
    """Return the FRR of each group of words, the highest first."""
    counts = [Counter(group(word) for word in outcome.words) for outcome in outcomes]
    words: Counter[str] = sum(counts, Counter())
    missed = Counter(group(miss) for outcome in outcomes for miss in outcome.misses)
    rates = [
        GroupRate(
            name=name,
            words=total,
            misses=missed[name],
            frr=missed[name] / total,
            frr_interval=_interval_of_recordings(missed[name], [count[name] for count in counts], level),
        )
        for name, total in words.items()
    ]
    return sorted(rates, key=lambda rate: (-rate.frr, rate.name))


def _latencies(outcomes: list[_ConditionOutcome]) -> dict[str, float | None]:
    latencies = np.concatenate([outcome.latencies for outcome in outcomes])
    if not len(latencies):
        return {"latency_p50": None, "latency_p95": None}
    p50, p95 = np.percentile(latencies, [50, 95])
    return {"latency_p50": float(p50), "latency_p95": float(p95)}
