"""The test that counts: misses and false alarms, as events, in continuous audio."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wakeword_core.config import Config
from wakeword_core.errors import DataError
from wakeword_core.evaluation.metrics import Interval, poisson_interval, poisson_upper_bound, wilson_interval
from wakeword_core.evaluation.stream_scores import (
    FalseAlarm,
    Lane,
    Miss,
    Scorer,
    SessionScores,
    StreamScores,
    confusables_accepted,
    lanes_of,
    score_streams,
)

__all__ = [
    "ConditionResult",
    "FalseAlarm",
    "Miss",
    "OperatingPoint",
    "Scorer",
    "SessionScores",
    "StreamResult",
    "StreamScores",
    "SweepPoint",
    "evaluate_streams",
    "operating_points",
    "result_figures",
    "score_streams",
    "sweep",
    "threshold_for",
]

_LEAST_LOGIT_DISTANCE = 1e-6
"""Scores this near 0 or 1 are all alike: float32 cannot tell them apart."""
_LOWEST_SWEPT, _HIGHEST_SWEPT = 1e-3, 1 - 1e-3


@dataclass(frozen=True)
class ConditionResult:
    """Misses in one noise condition (`snr_db` None: clean); `extra` are further events outside of any word."""

    snr_db: float | None
    words: int
    misses: int
    frr: float
    frr_interval: Interval
    extra: int
    latency_p50: float | None
    """Seconds from the end of the word to its detection."""
    latency_p95: float | None


@dataclass(frozen=True)
class StreamResult:
    """What a threshold gives on continuous audio."""

    threshold: float
    words: int
    misses: int
    frr: float
    frr_interval: Interval
    conditions: list[ConditionResult]
    fah: float
    fah_interval: Interval
    fah_below: float
    """One-sided bound: FAH is below it at the level of confidence."""
    confidence: float
    false_alarm_count: int
    background_hours: float
    confusables: int
    """Recordings that sound alike, which are no part of the background."""
    confusables_accepted: int
    latency_p50: float | None
    latency_p95: float | None
    false_alarms: list[FalseAlarm]
    """Highest score first."""
    miss_list: list[Miss]
    """Lowest score first."""


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold chosen for a target, with what it gives on the streams it was chosen on.

    Not `reachable`: no threshold that still finds a word has so few false alarms, and this one has the fewest,
    `lowest_fah`.
    """

    target_fah: float
    threshold: float
    frr: float
    fah: float
    reachable: bool
    lowest_fah: float


@dataclass(frozen=True)
class SweepPoint:
    """What one threshold gives."""

    threshold: float
    frr: float
    fah: float


def evaluate_streams(scores: StreamScores, threshold: float, config: Config) -> StreamResult:
    """Misses, false alarms and latencies at a threshold, with intervals."""
    _require_both(scores)
    level = config.evaluation.confidence
    lanes = lanes_of(scores, config)
    conditions, latencies, misses = [], [], []
    for snr_db in dict.fromkeys(session.snr_db for session in scores.sessions if not session.background):
        chosen = [lane for lane in lanes if not lane.session.background and lane.session.snr_db == snr_db]
        found = [lane.found(threshold) for lane in chosen]
        hits = np.concatenate([one.hits for one in found])
        late = np.concatenate([one.latencies for one in found])
        missed = int((~hits).sum())
        if not len(hits):
            continue
        conditions.append(
            ConditionResult(
                snr_db,
                len(hits),
                missed,
                missed / len(hits),
                wilson_interval(missed, len(hits), level),
                sum(len(one.events) for one in found) - int(hits.sum()),
                *_percentiles(late),
            )
        )
        latencies.append(late)
        misses += [miss for lane, one in zip(chosen, found, strict=True) for miss in lane.misses(one.hits)]
    alarms = [
        alarm for lane in lanes if lane.session.background for alarm in lane.false_alarms(threshold, scores.labels)
    ]
    words, missed = sum(one.words for one in conditions), sum(one.misses for one in conditions)
    hours = scores.background_hours
    p50, p95 = _percentiles(np.concatenate(latencies))
    accepted, confusables = confusables_accepted(scores, threshold, config)
    return StreamResult(
        threshold=float(threshold),
        words=words,
        misses=missed,
        frr=missed / words,
        frr_interval=_pooled_interval(conditions, level),
        conditions=conditions,
        fah=len(alarms) / hours,
        fah_interval=poisson_interval(len(alarms), hours, level),
        fah_below=poisson_upper_bound(len(alarms), hours, level),
        confidence=level,
        false_alarm_count=len(alarms),
        background_hours=hours,
        confusables=confusables,
        confusables_accepted=accepted,
        latency_p50=p50,
        latency_p95=p95,
        false_alarms=sorted(alarms, key=lambda alarm: -alarm.score),
        miss_list=sorted(misses, key=lambda miss: miss.score),
    )


def sweep(scores: StreamScores, config: Config) -> list[SweepPoint]:
    """FRR and FAH at about `sweep_points` thresholds, rising: a grid in logits, and where words and alarms peak."""
    _require_both(scores)
    lanes = lanes_of(scores, config)
    return [_point(lanes, scores, threshold) for threshold in _swept_thresholds(lanes, config)]


def threshold_for(scores: StreamScores, target_fah: float, config: Config) -> OperatingPoint:
    """The threshold with the fewest misses of those above which FAH never exceeds the target.

    Meant for validation. With little background, target * hours below 1, that means no false alarm at all. An
    unreachable target is reported as such.
    """
    _require_both(scores)
    lanes = lanes_of(scores, config)
    allowed = target_fah * scores.background_hours
    background = np.unique(np.concatenate([lane.prepared.smoothed for lane in lanes if lane.session.background]))
    forbidden = _highest_forbidden(background, lambda at: _false_alarms(lanes, at) > allowed, config)
    peaks = np.unique(np.concatenate([lane.peaks for lane in lanes]))
    peaks = peaks[np.isfinite(peaks)]
    # At `forbidden` there are too many alarms; from there to the weakest word above, raising the threshold costs no
    # word. Any place in that gap is as good on these streams, so the one with equal distance, in logits, to the alarm
    # and to the word is taken: on other streams both will stray. The next gaps matter only if this one disappoints.
    edges = np.concatenate([[forbidden], peaks[peaks > forbidden]])[: config.evaluation.sweep_points]
    tried = [_point(lanes, scores, _between(*pair)) for pair in pairwise(edges.tolist())]
    best_word = _point(lanes, scores, float(peaks[-1])) if len(peaks) else None
    lowest = min((one.fah for one in [*tried, best_word] if one and one.frr < 1), default=None)
    kept = [one for one in tried if one.fah <= target_fah and one.frr < 1]
    if kept and lowest is not None:
        best = min(kept, key=lambda one: one.frr)
        return OperatingPoint(target_fah, best.threshold, best.frr, best.fah, True, lowest)
    swept = [_point(lanes, scores, threshold) for threshold in _swept_thresholds(lanes, config)]
    everything = [*tried, *swept, *([best_word] if best_word else [])]
    useful = [one for one in everything if one.frr < 1] or everything
    least = min(useful, key=lambda one: (one.fah, one.frr))
    return OperatingPoint(target_fah, least.threshold, least.frr, least.fah, False, least.fah)


def operating_points(scores: StreamScores, config: Config) -> list[OperatingPoint]:
    """The best FRR at each of `evaluation.fah_points` on these very streams: a curve to compare models by."""
    return [threshold_for(scores, target, config) for target in config.evaluation.fah_points]


def result_figures(result: StreamResult) -> dict[str, Any]:
    """The result as JSON values."""
    return asdict(result)


def _pooled_interval(conditions: list[ConditionResult], level: float) -> Interval:
    """Interval of the pooled FRR: the same recordings in every condition are no more independent trials than in one."""
    recordings = max(one.words for one in conditions)
    frr = sum(one.misses for one in conditions) / sum(one.words for one in conditions)
    return wilson_interval(round(frr * recordings), recordings, level)


def _point(lanes: list[Lane], scores: StreamScores, threshold: float) -> SweepPoint:
    hits = sum(int(lane.found(threshold).hits.sum()) for lane in lanes if len(lane.starts))
    alarms = _false_alarms(lanes, threshold)
    return SweepPoint(float(threshold), (scores.words - hits) / scores.words, alarms / scores.background_hours)


def _false_alarms(lanes: list[Lane], threshold: float) -> int:
    return sum(len(one.alarm_events(threshold)) for one in lanes if one.session.background)


def _highest_forbidden(values: NDArray[np.float64], forbidden: Callable[[float], bool], config: Config) -> float:
    """The largest of the rising scores `values` that is forbidden as a threshold; 0 when none is.

    Events appear and merge as a threshold falls, so that their number does not simply rise. The values are looked
    at from above, coarsely and then ever finer below the last allowed one, each time down to the first forbidden.
    """
    low, high, found = 0, len(values), 0.0
    while low < high:
        picks = np.unique(np.linspace(low, high - 1, config.evaluation.sweep_points + 1).astype(int))[::-1].tolist()
        place = next((index for index, pick in enumerate(picks) if forbidden(float(values[pick]))), None)
        if place is None:
            return found
        found = float(values[picks[place]])
        low, high = picks[place] + 1, picks[place - 1] if place else high
    return found


def _between(low: float, high: float) -> float:
    """The middle of two scores in logits, or the plain middle where logits no longer tell them apart."""
    ends = np.clip([low, high], _LEAST_LOGIT_DISTANCE, 1 - _LEAST_LOGIT_DISTANCE)
    middle = float(1 / (1 + np.exp(-np.log(ends / (1 - ends)).mean())))
    return middle if low < middle <= high else (low + high) / 2


def _swept_thresholds(lanes: list[Lane], config: Config) -> list[float]:
    """Half on a grid in logits; the rest where words peak and, densest at the top, where the background does."""
    points = config.evaluation.sweep_points
    low, high = (float(np.log(end / (1 - end))) for end in (_LOWEST_SWEPT, _HIGHEST_SWEPT))
    grid = 1 / (1 + np.exp(-np.linspace(low, high, points - 2 * (points // 4))))
    words = np.sort(np.concatenate([lane.peaks for lane in lanes]))
    tops = np.sort(np.concatenate([_local_maxima(lane.prepared.smoothed) for lane in lanes if lane.session.background]))
    chosen = [grid]
    if len(words):
        chosen.append(words[np.linspace(0, len(words) - 1, points // 4).astype(int)])
    if len(tops):
        ranks = np.geomspace(1, len(tops), points // 4).astype(int)
        chosen.append(tops[len(tops) - ranks])
    every = np.unique(np.concatenate(chosen))
    return [float(one) for one in every[(every > 0) & (every <= 1)]]


def _local_maxima(values: NDArray[np.float64]) -> NDArray[np.float64]:
    beside = np.concatenate([[-np.inf], values, [-np.inf]])
    return values[(values >= beside[:-2]) & (values >= beside[2:])]


def _percentiles(latencies: NDArray[np.float64]) -> tuple[float | None, float | None]:
    if not len(latencies):
        return None, None
    p50, p95 = np.percentile(latencies, [50, 95])
    return float(p50), float(p95)


def _require_both(scores: StreamScores) -> None:
    if not scores.words:
        raise DataError("the stream test has no wake words; the split needs recordings of role positive")
    if not scores.background_hours:
        raise DataError("the stream test has no background audio; the split needs recordings that are no wake words")
