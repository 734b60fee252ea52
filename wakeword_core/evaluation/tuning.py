"""The detector's parameters, chosen on validation: the scores are there, so that a detector costs no inference."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from wakeword_core.config import Config, DetectorConfig
from wakeword_core.evaluation.stream_scores import StreamScores
from wakeword_core.evaluation.thresholds import Choice, Tradeoff, headline, recordings
from wakeword_core.progress import Progress, silent

log = logging.getLogger(__name__)

_TUNED = ("smoothing", "votes", "hold", "off_ratio")
_DIGITS = 9
_ALIKE = 10.0**-_DIGITS
"""Miss rates are counts over the same words: what differs by less is rounding."""


@dataclass(frozen=True)
class Tuning:
    """The detector to use, how many were tried, and the FRR at the default operating point of both."""

    detector: DetectorConfig
    tried: int
    configured_frr: float
    tuned_frr: float


def tune_detector(scores: StreamScores, config: Config, progress: Progress = silent) -> Tuning:
    """The detector of `evaluation.tuning` with the lowest FRR at the default operating point, on validation's streams.

    Of equals the one with the lower FRR at stricter points, then with the wider margin in logits between the strongest
    alarm and the weakest word around its threshold, then the nearest to the configured one. That one stays unless the
    gain is a whole recording at least: with little data, a smaller one is chance.
    """
    detectors, target = list(candidates(config)), config.evaluation.allowed_fah
    found: dict[DetectorConfig, Choice] = {}
    for number, detector in enumerate(detectors):
        found[detector] = Tradeoff(scores, config, detector).choose(target)
        progress("tuning the detector", number + 1, len(detectors))
    beyond, missed = min(_misses(choice) for choice in found.values())
    equals = [one for one, choice in found.items() if _misses(choice) <= (beyond, missed + _ALIKE)]
    configured = detectors[0]
    best = min(equals, key=lambda one: _preference(one, found[one], scores, config)) if len(equals) > 1 else equals[0]
    worth = _is_worth_it(found[best], found[configured], recordings(headline(scores, config)))
    chosen = best if worth else configured
    tuning = Tuning(chosen, len(detectors), found[configured].point.frr, found[chosen].point.frr)
    log.info("%s", tuning)
    return tuning


def candidates(config: Config) -> Iterator[DetectorConfig]:
    """The configured detector, then every other one of the grid, none twice."""
    tuning, configured = config.evaluation.tuning, config.evaluation.detector
    yield configured
    if not tuning.enabled:
        return
    seen = {configured}
    for smoothing, votes, hold, off_ratio in product(tuning.smoothing, tuning.votes, tuning.hold, tuning.off_ratio):
        # one score is its own mean and its own vote
        counted = 0 if smoothing == 1 else votes
        changes = {"smoothing": smoothing, "votes": counted, "hold": hold, "off_ratio": off_ratio}
        detector = configured.model_copy(update=changes)
        if votes <= smoothing and detector not in seen:
            seen.add(detector)
            yield detector


def _misses(choice: Choice) -> tuple[bool, float]:
    """Whether the target is out of reach (then false alarms come first), and how much is missed."""
    return not choice.reachable, choice.point.frr if choice.reachable else choice.lowest_fah


def _is_worth_it(better: Choice, configured: Choice, words: int) -> bool:
    """Whether it finds a recording more, at least, or makes fewer false alarms where the target is out of reach."""
    if better.reachable and configured.reachable:
        return (configured.point.frr - better.point.frr) * words >= 1 - _ALIKE
    return _misses(better) < _misses(configured)


def _preference(
    detector: DetectorConfig, choice: Choice, scores: StreamScores, config: Config
) -> tuple[float, float, int, float]:
    """The less, the better."""
    evaluation = config.evaluation
    stricter = [target for target in evaluation.operating_points.values() if target < evaluation.allowed_fah]
    tradeoff = Tradeoff(scores, config, detector)
    missed = sum(tradeoff.choose(target).point.frr for target in stricter)
    return round(missed, _DIGITS), -choice.margin, *_distance(detector, evaluation.detector)


def _distance(one: DetectorConfig, other: DetectorConfig) -> tuple[int, float]:
    """How many parameters differ, and by how much in all."""
    steps = [abs(getattr(one, name) - getattr(other, name)) for name in _TUNED]
    return sum(step > 0 for step in steps), float(sum(steps))
