"""Clip metrics and the intervals of rates: one definition of each, used everywhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

CALIBRATION_BINS = 15
_LEAST_PROBABILITY = 1e-12
_PARTIAL_AUC_FPR = 0.1


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


@dataclass(frozen=True)
class ClipMetrics:
    """How well scores of single windows separate wake words from the rest; None where a class is missing."""

    count: int
    positives: int
    negatives: int
    threshold: float
    true_positives: int
    false_positives: int
    true_negatives: int
    false_negatives: int
    accuracy: float
    precision: float
    recall: float | None
    f1: float
    fpr: float | None
    fnr: float | None
    roc_auc: float | None
    pauc: float | None
    eer: float | None
    eer_threshold: float | None
    ece: float
    brier: float
    nll: float


def clip_metrics(scores: ArrayLike, labels: ArrayLike, threshold: float = 0.5) -> ClipMetrics:
    """Every clip metric of wake-word probabilities [n] against labels [n] (true: a wake word).

    `pauc` is the ROC-AUC over false-positive rates up to 0.1, scaled so that chance is 0.5 (McClish 1989).
    Precision and F1 are 0 when nothing is detected.
    """
    from sklearn.metrics import brier_score_loss, f1_score, precision_score, roc_auc_score

    values, truth = _checked(scores, labels)
    said = values >= threshold
    table = confusion(said.astype(int), truth.astype(int), classes=2)
    (tn, fp), (fn, tp) = table.tolist()
    both = 0 < truth.sum() < len(truth)
    error, at = equal_error_rate(values, truth) if both else (None, None)
    return ClipMetrics(
        count=len(truth),
        positives=tp + fn,
        negatives=tn + fp,
        threshold=float(threshold),
        true_positives=tp,
        false_positives=fp,
        true_negatives=tn,
        false_negatives=fn,
        accuracy=(tp + tn) / len(truth),
        precision=float(precision_score(truth, said, zero_division=0)),
        recall=tp / (tp + fn) if tp + fn else None,
        f1=float(f1_score(truth, said, zero_division=0)),
        fpr=fp / (fp + tn) if fp + tn else None,
        fnr=fn / (fn + tp) if fn + tp else None,
        roc_auc=float(roc_auc_score(truth, values)) if both else None,
        pauc=float(roc_auc_score(truth, values, max_fpr=_PARTIAL_AUC_FPR)) if both else None,
        eer=error,
        eer_threshold=at,
        ece=expected_calibration_error(np.column_stack([1 - values, values]), truth.astype(int)),
        brier=float(brier_score_loss(truth, values, pos_label=True)),
        nll=negative_log_likelihood(np.column_stack([1 - values, values]), truth.astype(int)),
    )


def confusion(predicted: ArrayLike, labels: ArrayLike, classes: int) -> NDArray[np.int64]:
    """Counts [classes, classes]: row the true class, column the predicted one."""
    from sklearn.metrics import confusion_matrix

    return np.asarray(confusion_matrix(labels, predicted, labels=range(classes)), dtype=np.int64)


def equal_error_rate(scores: ArrayLike, labels: ArrayLike) -> tuple[float, float]:
    """The rate at which false positives and false negatives are equally frequent, and the threshold there.

    Linear interpolation between the two points of the ROC that enclose the crossing; both classes must be present.
    """
    from sklearn.metrics import roc_curve

    values, truth = _checked(scores, labels)
    if not 0 < truth.sum() < len(truth):
        raise ValueError("the equal error rate needs both classes")
    fpr, tpr, thresholds = roc_curve(truth, values, drop_intermediate=False)
    thresholds[0] = values.max()  # scikit-learn puts infinity there
    excess = fpr - (1 - tpr)  # rises from -1 to 1
    after = int(np.argmax(excess >= 0))
    share = excess[after - 1] / (excess[after - 1] - excess[after])
    rate = fpr[after - 1] + share * (fpr[after] - fpr[after - 1])
    return float(rate), float(thresholds[after - 1] + share * (thresholds[after] - thresholds[after - 1]))


@dataclass(frozen=True)
class ReliabilityBin:
    """Predictions of about the same confidence: their mean confidence, how often they were right, how many."""

    confidence: float
    accuracy: float
    count: int


def reliability(confidence: ArrayLike, correct: ArrayLike, bins: int = CALIBRATION_BINS) -> list[ReliabilityBin]:
    """Group probabilities [n] in `bins` bins of equal width against what happened [n]; empty bins are left out."""
    values, right = _checked(confidence, correct)
    index = np.minimum((values * bins).astype(int), bins - 1)
    counts = np.bincount(index, minlength=bins)
    full = counts > 0
    means = np.bincount(index, weights=values, minlength=bins)[full] / counts[full]
    rates = np.bincount(index, weights=right, minlength=bins)[full] / counts[full]
    return [ReliabilityBin(*one) for one in zip(means.tolist(), rates.tolist(), counts[full].tolist(), strict=True)]


def expected_calibration_error(probabilities: ArrayLike, labels: ArrayLike, bins: int = CALIBRATION_BINS) -> float:
    """ECE (Guo et al. 2017) of class probabilities [n, classes] against class indices [n], on the top class."""
    table, truth = _checked_classes(probabilities, labels)
    groups = reliability(table.max(axis=1), table.argmax(axis=1) == truth, bins)
    return float(sum(group.count * abs(group.confidence - group.accuracy) for group in groups) / len(truth))


def negative_log_likelihood(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Mean of -log p(true class) in nats, of class probabilities [n, classes] against class indices [n]."""
    table, truth = _checked_classes(probabilities, labels)
    return float(-np.log(np.maximum(table[np.arange(len(truth)), truth], _LEAST_PROBABILITY)).mean())


def wilson_interval(events: int, trials: int, confidence: float = 0.95) -> Interval:
    """Wilson score interval of a proportion; (0, 1) without trials."""
    from scipy.stats import binomtest

    if trials == 0:
        return Interval(0.0, 1.0)
    found = binomtest(events, trials).proportion_ci(confidence, method="wilson")
    return Interval(float(found.low), float(found.high))


def poisson_interval(events: int, exposure: float, confidence: float = 0.95) -> Interval:
    """Exact two-sided interval (Garwood 1936) of a rate, in events a unit of `exposure`, which must be positive."""
    from scipy.stats import chi2

    tail = (1 - confidence) / 2
    low = chi2.ppf(tail, 2 * events) / 2 if events else 0.0
    return Interval(float(low / exposure), float(chi2.ppf(1 - tail, 2 * events + 2) / 2 / exposure))


def poisson_upper_bound(events: int, exposure: float, confidence: float = 0.95) -> float:
    """The rate that is exceeded with probability 1 - confidence at most: the one-sided exact bound."""
    from scipy.stats import chi2

    return float(chi2.ppf(confidence, 2 * events + 2) / 2 / exposure)


def _checked(scores: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(labels).astype(bool)
    if values.ndim != 1 or values.shape != truth.shape or len(values) == 0:
        raise ValueError(f"scores {list(values.shape)} and labels {list(truth.shape)} must be [n], n > 0")
    if not (values >= 0).all() or not (values <= 1).all():
        raise ValueError("scores must be probabilities")
    return values, truth


def _checked_classes(
    probabilities: ArrayLike, labels: ArrayLike | Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    table, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    if table.ndim != 2 or table.shape[:1] != truth.shape or len(truth) == 0:
        raise ValueError(f"probabilities {list(table.shape)} and labels {list(truth.shape)} do not fit")
    return table, truth
