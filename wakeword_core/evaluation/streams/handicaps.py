"""A threshold for each of several wake words: how much surer of one than of another a model has to be.

Background sounds more like one word than like another, so one threshold for all spends nearly all false alarms on the
loudest word, and misses of the others what it need not. Here each word gets an equal share of the false alarms that an
operating point allows the whole device. That costs the fewest misses in all where words rise and background falls
alike for each of them (then a false alarm more saves as many misses of one word as of another), and it does not follow
the luck of the few alarms that validation has, as a share that is fitted to the misses would.

What is kept is a handicap for each word, which the odds of its scores are divided by: then one threshold serves all
words at every operating point, and `--threshold` and the curve of a report mean what they mean for one word.
"""

import numpy as np

from wakeword_core.config import DetectorConfig, EvaluationConfig
from wakeword_core.evaluation.streams.conditions import target_conditions
from wakeword_core.evaluation.streams.scores import StreamScores
from wakeword_core.evaluation.streams.tail import background_threshold, validation_tradeoff
from wakeword_core.evaluation.streams.thresholds import logit

_MOST = 20.0
"""A word that background hardly ever sounds like would else have a threshold that rests on nothing."""


def equal_shares(scores: StreamScores, evaluation: EvaluationConfig, detector: DetectorConfig) -> dict[str, float]:
    """Return the handicaps with which each word has an equal share of the default operating point's false alarms.

    They are around 1, from a twentieth to twenty: a threshold stays about where it was.
    """
    share = evaluation.allowed_fah / (len(scores.labels) - 1)
    logits = {word: logit(_threshold(scores.of_word(word), evaluation, detector, share)) for word in scores.labels[1:]}
    middle, most = np.mean(list(logits.values())), np.log(_MOST)
    return {word: float(np.exp(np.clip(own - middle, -most, most))) for word, own in logits.items()}


def _threshold(scores: StreamScores, evaluation: EvaluationConfig, detector: DetectorConfig, share: float) -> float:
    """Return the threshold of one word's scores; by background alone where it is not said or cannot be had so seldom.

    A word that no threshold finds with so few false alarms must not take those of the others.
    """
    if scores.within(target_conditions(evaluation.conditions)).words:
        choice = validation_tradeoff(scores, evaluation, detector).choose(share)
        if choice.reachable:
            return choice.point.threshold
    return background_threshold(scores, evaluation, detector, share)
