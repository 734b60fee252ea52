"""Thresholds without people, for where nobody says the wake word: misses of synthetic voices show nothing of people.

With words to go by, the loudest false alarm decides, and the weakest word above it says how far above it one may go.
Without them one has to know how much louder the next alarm may be. That is seen in the loudest moments: above a high
score, how far in logits a moment is above it falls off exponentially in almost any sound (peaks over a threshold;
Pickands 1975, Weissman 1978). So the rate at a threshold is read off a line through many moments, and neither one odd
recording nor the luck of a few hours decides. With the scores of an open engine, in eighty random splits of six hours
of speech and noise and for a target of 0.5 an hour, it gave 0.60 false alarms an hour on the other part and 2.5 %
misses of real words; the threshold between the loudest alarm and the words gave 0.75 and 4.1 %.

Background too short for one alarm at the target hardly holds anything like the wake word. What is most like it then are
the confusables, and they have a say: see `TailTradeoff`.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wakeword_core.config import DetectorConfig, EvaluationConfig
from wakeword_core.evaluation.measure.intervals import wilson_interval
from wakeword_core.evaluation.measure.wording import percent, rate
from wakeword_core.evaluation.streams.origins import Origins, with_real_background
from wakeword_core.evaluation.streams.scores import (
    EVEN,
    PreparedSession,
    StreamScores,
    loudest_of_each,
    prepare_sessions,
)
from wakeword_core.evaluation.streams.thresholds import Choice, Tradeoff, logit

_MOMENT_SECONDS = 1.0
"""Alarms nearer to each other are one sound's."""
_MOMENTS = 20
"""How many of the loudest are looked at: fewer leave the line to chance, many more are not loud."""
_RARE = 10
"""One moment in so many, at most, is among the loudest."""
_REACH = 4
"""So many times the hours that were heard, a line is followed: what is rarer, nobody can tell."""


def validation_tradeoff(scores: StreamScores, evaluation: EvaluationConfig, detector: DetectorConfig) -> Tradeoff:
    """Return what thresholds are chosen by: words and background, or no words where all of them are synthetic."""
    if Origins.of(scores).real_words:
        return Tradeoff(scores, evaluation, detector)
    return TailTradeoff(scores, evaluation, detector)


class TailTradeoff(Tradeoff):
    """Thresholds by the real background alone, as much as there is; by the synthetic where there is no other.

    While it is too short for a single alarm at the target, more is heard. Synthetic background is one thing: minutes
    of noise without a voice must not let speech in. Confusables are the other: the threshold rises until few enough of
    them are accepted (`max_confusables_accepted`), or until as large a share of the words would be missed as is still
    accepted of them. Few confusables cost little by that: a share of the words as small as the former may be missed.
    """

    def __init__(self, scores: StreamScores, evaluation: EvaluationConfig, detector: DetectorConfig) -> None:
        """Prepare the streams; DataError when there is no word in a target condition or no background."""
        self._least = scores.least
        real = with_real_background(scores)
        self.real = real.background_hours > 0
        super().__init__(real if self.real else scores, evaluation, detector)
        mixed = self.real and real.background_hours < scores.background_hours
        every = prepare_sessions(scores, evaluation.streams, detector) if mixed else []
        self._every = [session for session in every if session.scores.background]
        self._every_hours = scores.background_hours
        self._alike = loudest_of_each(scores.confusables, scores.labels, evaluation.streams, detector)

    def choose(self, target_fah: float) -> Choice:
        """Choose the threshold that background reaches as often as the target allows, or confusables a higher one.

        Only where no word at all is found above it, words decide.
        """
        threshold = self._without_people(target_fah)
        point = self.at(threshold)
        if point.frr == 1:
            return super().choose(target_fah)
        peaks = self._peaks[self._peaks >= threshold]
        return Choice(point, True, point.fah, logit(float(np.median(peaks))) - logit(threshold))

    def _without_people(self, target_fah: float) -> float:
        threshold = self._by_background(target_fah)
        return self._by_confusables(threshold) if self._too_short(target_fah) else threshold

    def _by_background(self, target_fah: float) -> float:
        threshold = tail_threshold(_moments(self._background), self.scores.background_hours, target_fah, self._least)
        if self._every and self._too_short(target_fah):
            every = tail_threshold(_moments(self._every), self._every_hours, target_fah, self._least)
            threshold = max(threshold, every)
        return threshold

    def _by_confusables(self, least: float) -> float:
        """Return the threshold from `least` on that confusables ask for: only just above one is there any gain."""
        allowed, words = self._settings.max_confusables_accepted, self.scores.words
        above = np.nextafter(self._alike[self._alike >= least], 2.0)
        missed = (words - len(self._peaks) + np.searchsorted(np.sort(self._peaks), above)) / words
        worth_it = above[missed <= np.maximum(self._accepted(above), allowed)]
        if not len(worth_it) or self._accepted(np.array(least)) <= allowed:
            return least
        enough = worth_it[self._accepted(worth_it) <= allowed]
        return float(enough[0] if len(enough) else worth_it[-1])

    def _accepted(self, thresholds: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the share of the confusables that each threshold accepts, 0 where there are none."""
        return (len(self._alike) - np.searchsorted(self._alike, thresholds)) / max(len(self._alike), 1)

    def _too_short(self, target_fah: float) -> bool:
        return target_fah * self.scores.background_hours < 1

    def _basis(self, target_fah: float, threshold: float) -> str:
        hours = self.scores.background_hours
        background = f"{rate(hours)} h of {'real' if self.real else 'synthetic'} background"
        nobody = "since nobody says the wake word in validation"
        by_background = self._by_background(target_fah)
        if threshold < self._without_people(target_fah):
            return f"no word is found at a threshold that words have no part in, {nobody}, so they were looked at"
        basis = f"by the loudest moments of {background} alone, {nobody}"
        if by_background == self._least:
            chance = "an even chance" if self._least == EVEN else f"{self._least:g}, the least that is taken"
            basis = f"at {chance}, {nobody} and the loudest moments of {background} ask for no more"
        if target_fah * hours * _REACH < 1:
            basis += f", for one alarm in {rate(_REACH * hours)} h, as far as they tell"
        if not self._too_short(target_fah):
            return basis
        if threshold > by_background:
            basis = f"by phrases that sound alike, {nobody} and {background} is too short for one alarm at the target"
        return f"{basis}; {self._about_confusables(threshold)}"

    def _about_confusables(self, threshold: float) -> str:
        """Say how many confusables are accepted, and why more than are allowed."""
        number, allowed = len(self._alike), self._settings.max_confusables_accepted
        if not number:
            return "validation has no phrases that sound alike to go by besides"
        accepted = int(np.count_nonzero(self._alike >= threshold))
        low, high = wilson_interval(accepted, number, self._settings.confidence)
        said = f"{accepted} of {number} phrases that sound alike are accepted ({percent(low)} to {percent(high)})"
        if accepted / number <= allowed:
            return said
        price = "a higher threshold would miss a larger share of the words than it accepts of these phrases"
        return f"{said}, more than {percent(allowed)}, because {price}"


def background_threshold(
    scores: StreamScores, evaluation: EvaluationConfig, detector: DetectorConfig, target_fah: float
) -> float:
    """Return the threshold that the real background reaches as often as the target; the synthetic without any."""
    real = with_real_background(scores)
    heard = real if real.background_hours else scores
    sessions = prepare_sessions(heard, evaluation.streams, detector)
    moments = _moments([session for session in sessions if session.scores.background])
    return tail_threshold(moments, heard.background_hours, target_fah, scores.least)


def tail_threshold(moments: NDArray[np.float64], hours: float, target: float, least: float = EVEN) -> float:
    """Return the score that moments [n], of so many hours, reach `target` times an hour: from `least` to 1.

    Moments are loudest first. Where they are too few for a line, or all alike, it is just above the loudest.
    """
    allowed = max(target * hours, 1 / _REACH)
    # of what was left out of a session only silence stays, which is no moment of these hours
    heard = min(len(moments), int(hours * 3_600 / _MOMENT_SECONDS))
    count = min(max(_MOMENTS, math.ceil(2 * allowed)), heard // _RARE)
    logits = np.array([logit(score) for score in moments[: count + 1]])
    spread = float(np.mean(logits[:-1] - logits[-1])) if count > 1 else 0.0
    if spread == 0:
        loudest = float(moments[0]) if len(moments) else 0.0
        return min(max(float(np.nextafter(loudest, 2.0)), least), 1.0)
    score = 1 / (1 + math.exp(-(logits[-1] + spread * math.log(count / allowed))))
    return max(score, least)


def _moments(sessions: Sequence[PreparedSession]) -> NDArray[np.float64]:
    """Return the loudest score of each moment of background, the loudest first."""
    loudest = []
    for session in sessions:
        times, held = session.prepared.times, session.prepared.held
        counted = (times >= session.counted_from) & (times <= session.counted_until)
        times, held = times[counted], held[counted]
        if len(times):
            starts = np.searchsorted(times, np.arange(times[0], times[-1] + _MOMENT_SECONDS / 2, _MOMENT_SECONDS))
            loudest.append(np.maximum.reduceat(held, np.unique(np.minimum(starts, len(times) - 1))))
    return np.sort(np.concatenate(loudest))[::-1] if loudest else np.empty(0)
