"""Which threshold to take: operating points for a rate of false alarms, and the curve of all there is to take."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from wakeword_core.config import DetectorConfig, EvaluationConfig
from wakeword_core.config.evaluation import ConditionsConfig
from wakeword_core.errors import DataError
from wakeword_core.evaluation.measure.intervals import Interval, poisson_interval, poisson_upper_bound, wilson_interval
from wakeword_core.evaluation.measure.wording import needed_hours, percent, rate
from wakeword_core.evaluation.streams.conditions import target_conditions
from wakeword_core.evaluation.streams.scores import StreamScores, prepare_sessions

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
    """The result of the search for a target; `margin` is the distance in logits between alarm and word around it."""

    point: SweepPoint
    reachable: bool
    lowest_fah: float
    margin: float


class Tradeoff:
    """What one detector gives on the streams of a split at any threshold, over the target conditions."""

    def __init__(self, scores: StreamScores, evaluation: EvaluationConfig, detector: DetectorConfig) -> None:
        """Prepare the streams; DataError when there is no word in a target condition or no background."""
        self.scores = headline(scores, evaluation.conditions)
        self._settings = evaluation.operating_points
        sessions = prepare_sessions(self.scores, evaluation.streams, detector)
        self._with_words = [session for session in sessions if len(session.starts)]
        self._background = [session for session in sessions if session.scores.background]

    def at(self, threshold: float) -> SweepPoint:
        """Measure FRR and FAH at a threshold."""
        hits = sum(int(session.detect(threshold).hits.sum()) for session in self._with_words)
        frr = (self.scores.words - hits) / self.scores.words
        return SweepPoint(float(threshold), frr, self.alarms(threshold) / self.scores.background_hours)

    def alarms(self, threshold: float) -> int:
        """Count the false alarms at a threshold."""
        return sum(len(session.alarm_events(threshold)) for session in self._background)

    def sweep(self) -> list[SweepPoint]:
        """Measure about `sweep_points` thresholds, rising: a grid in logits, and where words and alarms peak."""
        return [self.at(threshold) for threshold in self._swept()]

    def points(self, targets: Mapping[str, float]) -> dict[str, OperatingPoint]:
        """Choose the operating points for targets by name, the strictest first; laxer ones have no higher threshold.

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
        """Choose the operating point for a target, with intervals; where the search finds none, from the sweep."""
        choice = self.choose(target_fah)
        if not choice.reachable:
            points = [choice.point, *self.sweep()]
            choice = _fewest_alarms(points)
            if within := [point for point in points if point.fah <= target_fah and point.frr < 1]:
                best = min(within, key=lambda point: (point.frr, -point.threshold))
                choice = Choice(best, True, choice.lowest_fah, -np.inf)
        return self._at_point(target_fah, choice)

    def _at_point(self, target_fah: float, choice: Choice) -> OperatingPoint:
        hours, level = self.scores.background_hours, self._settings.confidence
        alarms, trials = self.alarms(choice.point.threshold), recordings(self.scores)
        note = f"unreachable: lowest is {rate(choice.lowest_fah)} an hour"
        if choice.reachable:
            basis = f"{self._basis(target_fah, choice.point.threshold)}; {_shown(alarms, hours, level)}"
            note = f"{basis}; {needed_hours(target_fah, level)}"
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
            note=note,
        )

    def _basis(self, target_fah: float, threshold: float) -> str:
        """Say by what a threshold was chosen: here, what the target means in so many hours."""
        allowed = target_fah * self.scores.background_hours
        limit = "no alarm at all" if allowed < 1 else f"{int(allowed)} at most"
        return (
            f"{rate(target_fah)} an hour is {rate(allowed)} events in {rate(self.scores.background_hours)} h: {limit}"
        )

    def choose(self, target_fah: float) -> Choice:
        """Choose the threshold with the fewest misses of those above which FAH never exceeds the target.

        With little background, target * hours below 1, that means no false alarm at all.
        """
        allowed = target_fah * self.scores.background_hours
        forbidden = self._highest_forbidden(allowed)
        # At `forbidden` there are too many alarms; from there to the weakest word above, raising the threshold costs no
        # word. Any place in that gap is as good on these streams, so the one with equal distance, in logits, to the
        # alarm and to the word is taken: on other streams both will stray. The next gaps matter only if this one
        # disappoints, and no more once so many words lie below that no gap can be better than the best so far.
        edges = np.concatenate([[forbidden], np.unique(self._peaks[self._peaks > forbidden])])
        tried: list[tuple[SweepPoint, float]] = []
        kept: list[tuple[SweepPoint, float]] = []
        for low, high in pairwise(edges[: self._settings.sweep_points].tolist()):
            lost = (self.scores.words - int((self._peaks >= high).sum())) / self.scores.words
            if kept and lost >= min(point.frr for point, _ in kept):
                break
            for least in dict.fromkeys((low, self._below(low, high))):
                tried.append((self.at(_between(least, high)), logit(high) - logit(least)))
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
        """Return the loudest background in a gap: far below it a detector may be on all the time and miss words."""
        place = int(np.searchsorted(self._values, high)) - 1
        return max(low, float(self._values[place])) if place >= 0 else low

    def _highest_forbidden(self, allowed: float) -> float:
        """Return the highest score of the background that has too many alarms as a threshold; 0 when none has.

        Events appear and merge as a threshold falls, so that their number does not simply rise. The values are looked
        at from above, coarsely and then ever finer below the last allowed one, each time down to the first forbidden.
        """
        values, steps = self._values, self._settings.sweep_points + 1
        low, high, highest = 0, len(values), 0.0
        while low < high:
            picks = np.unique(np.linspace(low, high - 1, steps).astype(int))[::-1].tolist()
            place = next((index for index, pick in enumerate(picks) if self.alarms(values[pick]) > allowed), None)
            if place is None:
                return highest
            highest = float(values[picks[place]])
            low, high = picks[place] + 1, picks[place - 1] if place else high
        return highest

    def _swept(self) -> list[float]:
        """Return half on a grid in logits; the rest where words peak and, densest at the top, where background does."""
        points, words = self._settings.sweep_points, self._peaks
        grid = 1 / (1 + np.exp(-np.linspace(logit(_LOWEST_SWEPT), logit(_HIGHEST_SWEPT), points - 2 * (points // 4))))
        tops = np.sort(np.concatenate([_local_maxima(session.prepared.held) for session in self._background]))
        chosen = [grid]
        if len(words):
            chosen.append(np.sort(words)[np.linspace(0, len(words) - 1, points // 4).astype(int)])
        if len(tops):
            ranks = np.geomspace(1, len(tops), points // 4).astype(int)
            chosen.append(tops[len(tops) - ranks])
        every = np.unique(np.concatenate(chosen))
        return [float(score) for score in every[(every > 0) & (every <= 1)]]

    @cached_property
    def _peaks(self) -> NDArray[np.float64]:
        """The highest threshold that each word reaches, words without a score left out."""
        peaks = np.concatenate([session.peaks for session in self._with_words])
        return peaks[np.isfinite(peaks)]

    @cached_property
    def _values(self) -> NDArray[np.float64]:
        return np.unique(np.concatenate([session.prepared.held for session in self._background]))


def headline(scores: StreamScores, conditions: ConditionsConfig) -> StreamScores:
    """Return the scores of the target conditions and the background; DataError when either is missing."""
    chosen = scores.within(target_conditions(conditions))
    if not chosen.words:
        raise DataError(
            "the stream test has no wake words in the conditions of evaluation.conditions.tuning.snr_db; "
            "the split needs recordings of role positive"
        )
    if not chosen.background_hours:
        raise DataError("the stream test has no background audio; the split needs recordings that are no wake words")
    return chosen


def recordings(scores: StreamScores) -> int:
    """Count the wake words, each once however many conditions it was played in."""
    return max(
        sum(len(session.words) for session in scores.sessions if session.condition == condition)
        for condition in scores.conditions
    )


def _shown(alarms: int, hours: float, level: float) -> str:
    bound = rate(poisson_upper_bound(alarms, hours, level))
    return f"the {alarms} found show fewer than {bound} an hour at {percent(level)} confidence"


def _fewest_alarms(points: list[SweepPoint]) -> Choice:
    """Choose, where the target is out of reach, the point with the fewest alarms of those that still find a word."""
    useful = [point for point in points if point.frr < 1] or points
    least = min(useful, key=lambda point: (point.fah, point.frr))
    return Choice(least, False, least.fah, -np.inf)


def logit(score: float) -> float:
    """Return the log-odds of a score, which are finite even for 0 and 1."""
    kept = min(max(score, _LEAST_LOGIT_DISTANCE), 1 - _LEAST_LOGIT_DISTANCE)
    return float(np.log(kept / (1 - kept)))


def _between(low: float, high: float) -> float:
    """Return the middle of two scores in logits, or the plain middle where logits no longer tell them apart."""
    middle = float(1 / (1 + np.exp(-(logit(low) + logit(high)) / 2)))
    return middle if low < middle <= high else (low + high) / 2


def _local_maxima(values: NDArray[np.float64]) -> NDArray[np.float64]:
    beside = np.concatenate([[-np.inf], values, [-np.inf]])
    return values[(values >= beside[:-2]) & (values >= beside[2:])]
