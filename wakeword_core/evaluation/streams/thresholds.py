"""Which threshold to take: operating points for a rate of false alarms, and the curve of all there is to take."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from wakeword_core.config import Config, DetectorConfig
from wakeword_core.errors import DataError
from wakeword_core.evaluation.measure.intervals import Interval, poisson_interval, poisson_upper_bound, wilson_interval
from wakeword_core.evaluation.measure.wording import percent, rate
from wakeword_core.evaluation.streams.build import target_conditions
from wakeword_core.evaluation.streams.scores import PreparedSession, StreamScores, prepare_sessions

_LEAST_LOGIT_DISTANCE = 1e-7
"""Scores nearer to 0 or 1 are all alike: just above this float32 stops to tell them from 1."""
_LOWEST_SWEPT, _HIGHEST_SWEPT = 1e-3, 1 - 1e-3


@dataclass(frozen=True)
class SweepPoint:
    """What one threshold gives."""

    threshold: float
    frr: float
    fah: float


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold chosen for a target, with what it gives on the streams it was chosen on.

    Not `reachable`: no threshold that still finds a word has so few false alarms, and this one has the fewest,
    `lowest_fah`. `note` says what the hours of background let one claim.
    """

    target_fah: float
    threshold: float
    frr: float
    fah: float
    reachable: bool
    lowest_fah: float
    frr_interval: Interval
    fah_interval: Interval
    false_alarms: int
    background_hours: float
    note: str


@dataclass(frozen=True)
class Choice:
    """What the search for a target found; `margin` is the distance in logits between alarm and word around it."""

    point: SweepPoint
    reachable: bool
    lowest_fah: float
    margin: float


class Tradeoff:
    """What one detector gives on the streams of a split at any threshold, over the target conditions."""

    def __init__(self, scores: StreamScores, config: Config, detector: DetectorConfig) -> None:
        """DataError when there is no word in a target condition or no background."""
        self.scores = headline(scores, config)
        self.config = config
        self._sessions = prepare_sessions(self.scores, config, detector)
        self._with_words = [session for session in self._sessions if len(session.starts)]
        self._background = [session for session in self._sessions if session.scores.background]

    def at(self, threshold: float) -> SweepPoint:
        """FRR and FAH at a threshold."""
        hits = sum(int(session.detect(threshold).hits.sum()) for session in self._with_words)
        words = self.scores.words
        return SweepPoint(
            float(threshold), (words - hits) / words, self.alarms(threshold) / self.scores.background_hours
        )

    def alarms(self, threshold: float) -> int:
        """False alarms at a threshold."""
        return sum(len(session.alarm_events(threshold)) for session in self._background)

    def sweep(self) -> list[SweepPoint]:
        """About `sweep_points` thresholds, rising: a grid in logits, and where words and alarms peak."""
        return [self.at(threshold) for threshold in _swept(self._peaks, self._background, self.config)]

    def fah_points(self) -> list[OperatingPoint]:
        """Find the best FRR at each of `report.fah_points` on these very streams: a curve to compare models by."""
        return [self.point(target) for target in self.config.evaluation.report.fah_points]

    def points(self, targets: Mapping[str, float]) -> dict[str, OperatingPoint]:
        """The operating points for targets by name, the strictest first; a laxer one never has a higher threshold.

        Events that merge as a threshold falls can make it so by themselves: then the stricter threshold serves both.
        """
        points: dict[str, OperatingPoint] = {}
        stricter = ""
        for name, target in sorted(targets.items(), key=lambda named: named[1]):
            point = self.point(target)
            above = points.get(stricter)
            if above is not None and above.reachable and point.threshold >= above.threshold:
                point = self._at_point(target, Choice(self.at(above.threshold), True, point.lowest_fah, -np.inf))
                same = f"the threshold is that of {stricter}, which so few hours cannot tell it from"
                point = replace(point, note=f"{point.note}; {same}")
            points[name], stricter = point, name
        return points

    def point(self, target_fah: float) -> OperatingPoint:
        """The operating point for a target, with intervals; where the search finds none, the sweep is looked at."""
        choice = self.choose(target_fah)
        if not choice.reachable:
            choice = _best_within([choice.point, *self.sweep()], target_fah)
        return self._at_point(target_fah, choice)

    def _at_point(self, target_fah: float, choice: Choice) -> OperatingPoint:
        hours, level = self.scores.background_hours, self.config.evaluation.operating_points.confidence
        alarms, trials = self.alarms(choice.point.threshold), recordings(self.scores)
        return OperatingPoint(
            target_fah=target_fah,
            threshold=choice.point.threshold,
            frr=choice.point.frr,
            fah=choice.point.fah,
            reachable=choice.reachable,
            lowest_fah=choice.lowest_fah,
            frr_interval=wilson_interval(choice.point.frr * trials, trials, level),
            fah_interval=poisson_interval(alarms, hours, level),
            false_alarms=alarms,
            background_hours=hours,
            note=_claim(target_fah, alarms, hours, level) if choice.reachable else _unreachable(choice.lowest_fah),
        )

    def choose(self, target_fah: float) -> Choice:
        """The threshold with the fewest misses of those above which FAH never exceeds the target.

        With little background, target * hours below 1, that means no false alarm at all.
        """
        allowed = target_fah * self.scores.background_hours
        forbidden = _highest_forbidden(self._values, lambda at: self.alarms(at) > allowed, self.config)
        # At `forbidden` there are too many alarms; from there to the weakest word above, raising the threshold costs no
        # word. Any place in that gap is as good on these streams, so the one with equal distance, in logits, to the
        # alarm and to the word is taken: on other streams both will stray. The next gaps matter only if this one
        # disappoints, and no more once so many words lie below that no gap can be better than the best so far.
        edges = np.concatenate([[forbidden], np.unique(self._peaks[self._peaks > forbidden])])
        tried: list[tuple[SweepPoint, float]] = []
        kept: list[tuple[SweepPoint, float]] = []
        for low, high in pairwise(edges[: self.config.evaluation.operating_points.sweep_points].tolist()):
            lost = (self.scores.words - int((self._peaks >= high).sum())) / self.scores.words
            if kept and lost >= min(point.frr for point, _ in kept):
                break
            for least in dict.fromkeys((low, self._below(low, high))):
                tried.append((self.at(_between(least, high)), _logit(high) - _logit(least)))
                kept += [pair for pair in tried[-1:] if pair[0].fah <= target_fah and pair[0].frr < 1]
                if tried[-1][0].frr <= lost:
                    break
        best_word = [self.at(float(self._peaks.max()))] if len(self._peaks) else []
        fewest = _fewest_alarms([*(point for point, _ in tried), *best_word] or [self.at(1.0)])
        if not kept:
            return fewest
        best, margin = min(kept, key=lambda pair: pair[0].frr)
        return Choice(best, True, fewest.lowest_fah, margin)

    def _below(self, low: float, high: float) -> float:
        """The loudest background in a gap: far below it a detector may be on all the time, and hear no word begin."""
        place = int(np.searchsorted(self._values, high)) - 1
        return max(low, float(self._values[place])) if place >= 0 else low

    @cached_property
    def _peaks(self) -> NDArray[np.float64]:
        """The highest threshold that each word reaches, words without a score left out."""
        peaks = np.concatenate([session.peaks for session in self._with_words])
        return peaks[np.isfinite(peaks)]

    @cached_property
    def _values(self) -> NDArray[np.float64]:
        """Every score of the background, rising."""
        return np.unique(np.concatenate([session.prepared.held for session in self._background]))


def headline(scores: StreamScores, config: Config) -> StreamScores:
    """The target conditions and the background; DataError when either is missing."""
    chosen = scores.within(target_conditions(config))
    if not chosen.words:
        raise DataError(
            "the stream test has no wake words in the conditions of evaluation.conditions.tuning.snr_db; "
            "the split needs recordings of role positive"
        )
    if not chosen.background_hours:
        raise DataError("the stream test has no background audio; the split needs recordings that are no wake words")
    return chosen


def recordings(scores: StreamScores) -> int:
    """Wake words, counted once however many conditions they were heard in."""
    return max(
        sum(len(session.words) for session in scores.sessions if session.condition == condition)
        for condition in scores.conditions
    )


def _claim(target_fah: float, alarms: int, hours: float, level: float) -> str:
    """What a target means in so many hours, and what the alarms found there show."""
    allowed = target_fah * hours
    means = f"{rate(target_fah)} an hour is {rate(allowed)} events in {rate(hours)} h"
    limit = "no alarm at all" if allowed < 1 else f"{int(allowed)} at most"
    bound = rate(poisson_upper_bound(alarms, hours, level))
    return f"{means}: {limit}; the {alarms} found show fewer than {bound} an hour at {percent(level)} confidence"


def _unreachable(lowest_fah: float) -> str:
    """What to say of a target that no threshold meets."""
    return f"unreachable: lowest is {rate(lowest_fah)} an hour"


def _best_within(points: list[SweepPoint], target_fah: float) -> Choice:
    """Of points that meet a target the one with the fewest misses; where none does, the one with the fewest alarms."""
    fewest = _fewest_alarms(points)
    within = [point for point in points if point.fah <= target_fah and point.frr < 1]
    if not within:
        return fewest
    return Choice(min(within, key=lambda point: (point.frr, -point.threshold)), True, fewest.lowest_fah, -np.inf)


def _fewest_alarms(points: list[SweepPoint]) -> Choice:
    """Where the target is out of reach: of the points that still find a word, the point with the fewest alarms."""
    useful = [point for point in points if point.frr < 1] or points
    least = min(useful, key=lambda point: (point.fah, point.frr))
    return Choice(least, False, least.fah, -np.inf)


def _highest_forbidden(values: NDArray[np.float64], forbidden: Callable[[float], bool], config: Config) -> float:
    """The largest of the rising scores `values` that is forbidden as a threshold; 0 when none is.

    Events appear and merge as a threshold falls, so that their number does not simply rise. The values are looked
    at from above, coarsely and then ever finer below the last allowed one, each time down to the first forbidden.
    """
    low, high, highest = 0, len(values), 0.0
    while low < high:
        picks = np.unique(np.linspace(low, high - 1, config.evaluation.operating_points.sweep_points + 1).astype(int))[
            ::-1
        ].tolist()
        place = next((index for index, pick in enumerate(picks) if forbidden(float(values[pick]))), None)
        if place is None:
            return highest
        highest = float(values[picks[place]])
        low, high = picks[place] + 1, picks[place - 1] if place else high
    return highest


def _logit(score: float) -> float:
    kept = min(max(score, _LEAST_LOGIT_DISTANCE), 1 - _LEAST_LOGIT_DISTANCE)
    return float(np.log(kept / (1 - kept)))


def _between(low: float, high: float) -> float:
    """The middle of two scores in logits, or the plain middle where logits no longer tell them apart."""
    middle = float(1 / (1 + np.exp(-(_logit(low) + _logit(high)) / 2)))
    return middle if low < middle <= high else (low + high) / 2


def _swept(words: NDArray[np.float64], quiet: list[PreparedSession], config: Config) -> list[float]:
    """Half on a grid in logits; the rest where words peak and, densest at the top, where the background does."""
    points = config.evaluation.operating_points.sweep_points
    grid = 1 / (1 + np.exp(-np.linspace(_logit(_LOWEST_SWEPT), _logit(_HIGHEST_SWEPT), points - 2 * (points // 4))))
    tops = np.sort(np.concatenate([_local_maxima(session.prepared.held) for session in quiet]))
    chosen = [grid]
    if len(words):
        chosen.append(np.sort(words)[np.linspace(0, len(words) - 1, points // 4).astype(int)])
    if len(tops):
        ranks = np.geomspace(1, len(tops), points // 4).astype(int)
        chosen.append(tops[len(tops) - ranks])
    every = np.unique(np.concatenate(chosen))
    return [float(score) for score in every[(every > 0) & (every <= 1)]]


def _local_maxima(values: NDArray[np.float64]) -> NDArray[np.float64]:
    beside = np.concatenate([[-np.inf], values, [-np.inf]])
    return values[(values >= beside[:-2]) & (values >= beside[2:])]
