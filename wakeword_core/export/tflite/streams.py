"""The file for microcontrollers in continuous sound, from the device's front end to its detections.

On validation, cutoff and window of the manifest are chosen by ESPHome's rule; on the test, misses and false alarms are
counted by the rules of all that run it.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wakeword_core.config import DetectorConfig, EvaluationConfig
from wakeword_core.evaluation.measure.intervals import Interval, poisson_interval, wilson_interval
from wakeword_core.evaluation.streams.operating_points import level_with
from wakeword_core.evaluation.streams.origins import Origins
from wakeword_core.evaluation.streams.scores import (
    EVEN,
    FalseAlarm,
    Miss,
    PreparedSession,
    SessionScores,
    StreamScorer,
    StreamScores,
    prepare_sessions,
)
from wakeword_core.evaluation.streams.tail import TailTradeoff
from wakeword_core.evaluation.streams.thresholds import headline, logit, recordings
from wakeword_core.export.tflite.manifest import LONGEST_WINDOW, STEP_MS
from wakeword_core.export.tflite.runtimes import hear
from wakeword_core.runtime.detector import smooth
from wakeword_core.runtime.microcontroller import LEVELS, esphome_events, levels, pymicro_events

_FRAME_SECONDS = 0.03
"""What a frame of the device's front end looks at."""
_WINDOWS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16)
"""Numbers of latest scores to try."""
_LOWEST, _HIGHEST = 1, 253
"""Cutoffs to try, of 255: no mean of scores up to 255/256 is above the next."""
_PLACES = 10_000
"""Cutoffs in manifests have four places."""
_FAINTEST = 0.5 / LEVELS
"""What a score of 0 is taken for where its log-odds count: it stands for all that are less than half a step."""
_PLAIN = DetectorConfig(smoothing=1)
"""Of scores that are averaged already, or that a device's rule averages."""

Events = npt.NDArray[np.int64]
Rule = Callable[[Events, float, int, int], Events]
RULES: dict[str, Rule] = {
    "esphome": esphome_events,
    "pymicro": lambda scores, cutoff, window, stride: pymicro_events(scores, cutoff, window),
}
"""Which scores [runs] are events, for a cutoff, a window and a stride."""
CHOSEN_BY = "esphome"
"""The rule that cutoff and window are for."""


def device_scorer(model: Path, stride: int) -> StreamScorer:
    """Return a scorer of streams that hears as a device does; a score comes with the last sample of its last frame."""

    def score(pcm: npt.NDArray[np.int16]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]:
        scores = hear(model, pcm)
        last_frames = stride * np.arange(1, len(scores) + 1) - 1
        return _FRAME_SECONDS + last_frames * STEP_MS / 1_000, scores

    return score


@dataclass(frozen=True)
class Rates:
    """What a cutoff and a window give on the streams of a split."""

    words: int
    """Counted once a condition."""
    misses: int
    frr: float
    frr_interval: Interval
    false_alarms: int
    background_hours: float
    fah: float
    fah_interval: Interval


@dataclass(frozen=True)
class Choice:
    """The cutoff and the window of a manifest; not `reachable` where none has few enough false alarms."""

    cutoff: float
    window: int
    reachable: bool


class DeviceStreams:
    """The scores of a file on the streams of a split, in the target conditions."""

    def __init__(self, scores: StreamScores, evaluation: EvaluationConfig, stride: int) -> None:
        """Prepare the streams; DataError when there is no word in a target condition or no background."""
        self._scores, self._evaluation, self._stride = headline(scores, evaluation.conditions), evaluation, stride
        sessions = prepare_sessions(self._scores, evaluation.streams, _PLAIN)
        heard = [(session, levels(session.scores.scores)) for session in sessions]
        self._with_words = [pair for pair in heard if len(pair[0].starts)]
        self._background = [pair for pair in heard if pair[0].scores.background]

    def rates(self, cutoff: float, window: int, rule: str) -> Rates:
        """Count misses and false alarms by a rule, with intervals."""
        words, hours = self._scores.words, self._scores.background_hours
        misses, alarms = words - self.hits(cutoff, window, rule), self.alarms(cutoff, window, rule)
        trials, level = recordings(self._scores), self._evaluation.operating_points.confidence
        return Rates(
            words=words,
            misses=misses,
            frr=misses / words,
            frr_interval=wilson_interval(misses / words * trials, trials, level),
            false_alarms=alarms,
            background_hours=hours,
            fah=alarms / hours,
            fah_interval=poisson_interval(alarms, hours, level),
        )

    def hits(self, cutoff: float, window: int, rule: str = CHOSEN_BY) -> int:
        """Count the words in whose time there is an event, once a condition."""
        events = (self._found(session, scores, cutoff, window, rule) for session, scores in self._with_words)
        return sum(int(found.sum()) for found in events)

    def alarms(self, cutoff: float, window: int, rule: str = CHOSEN_BY) -> int:
        """Count the events in background."""
        return sum(len(events) for _, events in self._alarm_events(cutoff, window, rule))

    def missed(self, cutoff: float, window: int, rule: str = CHOSEN_BY) -> list[Miss]:
        """List the words in whose time there is no event, once a condition."""
        return [
            miss
            for session, scores in self._with_words
            for miss in session.misses(self._found(session, scores, cutoff, window, rule))
        ]

    def false_alarms(self, cutoff: float, window: int, rule: str = CHOSEN_BY) -> list[FalseAlarm]:
        """List the events in background."""
        events = self._alarm_events(cutoff, window, rule)
        return [alarm for session, found in events for alarm in session.located(found, self._scores.labels)]

    def _found(
        self, session: PreparedSession, scores: Events, cutoff: float, window: int, rule: str
    ) -> npt.NDArray[np.bool_]:
        times = session.scores.times[RULES[rule](scores, cutoff, window, self._stride)]
        return np.searchsorted(times, session.starts) < np.searchsorted(times, session.stops, side="right")

    def _alarm_events(self, cutoff: float, window: int, rule: str) -> Iterator[tuple[PreparedSession, Events]]:
        for session, scores in self._background:
            yield session, session.counted(RULES[rule](scores, cutoff, window, self._stride))

    def choose(self, target_fah: float, windows: tuple[int, ...], even: float = EVEN) -> Choice:
        """Choose the cutoff and the window with the fewest misses of those with no more false alarms than the target.

        Of windows that are level, as detectors are, the longest is taken, because a sound that is only for a moment
        like the word is then no alarm. Where people say the wake word, a cutoff is one only if no higher one has more
        alarms, and it is in the middle, in log-odds, between the highest with too many alarms and the lowest that costs
        words. Where nobody does, misses show nothing of people, and it is the project's own threshold for that case
        (`TailTradeoff`), not below the score `even`, of the means of that many scores.
        """
        people = Origins.of(self._scores).real_words > 0
        lowest = {
            window: self._lowest_allowed(window, target_fah) if people else self._by_tail(window, target_fah, even)
            for window in sorted(windows, reverse=True)
        }
        reachable = {window: place for window, place in lowest.items() if place <= _HIGHEST}
        if not reachable:
            window = min(lowest, key=lambda window: self.alarms(cutoff_at(_HIGHEST), window))
            return Choice(cutoff_at(_HIGHEST), window, False)
        words = self._scores.words
        missed = {window: 1 - self.hits(cutoff_at(place), window) / words for window, place in reachable.items()}
        most = level_with(min(missed.values()), self._scores, self._evaluation)
        window = next(window for window in reachable if missed[window] <= most)
        place = self._middle(window, reachable[window]) if people else reachable[window]
        return Choice(cutoff_at(place), window, True)

    def _lowest_allowed(self, window: int, target_fah: float) -> int:
        allowed = target_fah * self._scores.background_hours
        # no cutoff is passed by a mean that is nowhere above it
        sums = (np.convolve(scores, np.ones(window, np.int64)).max(initial=0) for _, scores in self._background)
        lowest = min(max(-(-int(max(sums)) // window), _LOWEST), _HIGHEST + 1)
        while lowest > _LOWEST and self.alarms(cutoff_at(lowest - 1), window) <= allowed:
            lowest -= 1
        return lowest

    def _middle(self, window: int, lowest: int) -> int:
        """Return the place between the last cutoff below `lowest` and the first above it that costs words."""
        highest, most = lowest, self.hits(cutoff_at(lowest), window)
        while highest < _HIGHEST and self.hits(cutoff_at(highest + 1), window) >= most:
            highest += 1
        middle = (logit((lowest - 1) / 255) + logit((highest + 1) / 255)) / 2
        return min(range(lowest, highest + 1), key=lambda place: abs(logit(place / 255) - middle))

    def _by_tail(self, window: int, target_fah: float, even: float) -> int:
        """Return the least place of which no mean of `window` scores below the threshold without people is above."""

        def averaged(sessions: tuple[SessionScores, ...]) -> tuple[SessionScores, ...]:
            means = (smooth(np.maximum(session.scores, _FAINTEST), window) for session in sessions)
            return tuple(replace(session, scores=mean) for session, mean in zip(sessions, means, strict=True))

        scores = replace(
            self._scores,
            sessions=averaged(self._scores.sessions),
            confusables=averaged(self._scores.confusables),
            least=even,
        )
        threshold = TailTradeoff(scores, self._evaluation, _PLAIN).choose(target_fah).point.threshold
        return max(math.ceil(np.nextafter(threshold, 0.0) * LEVELS), _LOWEST)


def windows_to_try(evaluation: EvaluationConfig, stride: int) -> tuple[int, ...]:
    """Return the windows that collect scores over no more time than is allowed; without tuning, that of the detector.

    That is the number of scores that take as long as those it averages.
    """
    run_seconds = stride * STEP_MS / 1_000
    if evaluation.tuning.enabled:
        return tuple(window for window in _WINDOWS if window * run_seconds <= evaluation.tuning.longest_seconds) or (1,)
    detector = evaluation.detector
    return (min(max(round(detector.smoothing * detector.stride_seconds / run_seconds), 1), LONGEST_WINDOW),)


def cutoff_at(place: int) -> float:
    """Return a cutoff of which ESPHome makes this whole number."""
    return -(-place * _PLACES // 255) / _PLACES
