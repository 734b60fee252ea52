"""Clip metrics, one definition of each, with their intervals; used everywhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wakeword_core.evaluation.measure.intervals import (
    RESAMPLES,
    Interval,
    bootstrap_intervals,
    effective_trials,
    wilson_interval,
)
from wakeword_core.evaluation.measure.resampled import resampled_metrics

CALIBRATION_BINS = 15
PARTIAL_AUC_FPRS = {"pauc_01": 0.1, "pauc_005": 0.05}
"""False-positive rates that the partial ROC-AUCs go up to."""
LEAST_PROBABILITY = 1e-12
"""What a probability counts as at least, where its logarithm is taken."""

Doubles = NDArray[np.float64]


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
    pauc_01: float | None
    """ROC-AUC over false-positive rates up to 0.1, scaled so that chance is 0.5 (McClish 1989)."""
    pauc_005: float | None
    """The same up to 0.05."""
    eer: float | None
    eer_threshold: float | None
    ece: float
    brier: float
    nll: float
    intervals: dict[str, Interval]
    """By metric: Wilson for proportions; by bootstrap, where asked for, for the rest. Some may be missing."""


def clip_metrics(
    scores: ArrayLike,
    labels: ArrayLike,
    threshold: float = 0.5,
    *,
    any_word: ArrayLike | None = None,
    recordings: ArrayLike | None = None,
    random: np.random.Generator | None = None,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
) -> ClipMetrics:
    """Every clip metric of wake-word probabilities [n] against labels [n] (true: a wake word).

    Of several wake words, scores are those of the likeliest, and `any_word` [n] is the probability of there being one:
    ECE, Brier score and NLL are of that. Precision and F1 are 0 when nothing is detected. `recordings` [n] says whose
    window each one is: those of one recording are alike, so that intervals count recordings. With `random` there are
    bootstrap intervals too: of `resamples` stratified resamples, the same for the same generator.
    """
    from sklearn.metrics import brier_score_loss, f1_score, precision_score

    values, truth = _checked(scores, labels)
    said = values >= threshold
    (tn, fp), (fn, tp) = confusion(said.astype(int), truth.astype(int), classes=2).tolist()
    both = 0 < truth.sum() < len(truth)
    error, at = equal_error_rate(values, truth) if both else (None, None)
    chances, _ = _checked(values if any_word is None else any_word, truth)
    table = np.column_stack([1 - chances, chances])
    proportions = {
        "accuracy": (tp + tn, np.ones_like(truth)),
        "precision": (tp, said),
        "recall": (tp, truth),
        "fpr": (fp, ~truth),
        "fnr": (fn, truth),
    }
    whose = np.arange(len(truth)) if recordings is None else _names(recordings, truth)
    intervals = {
        name: _proportion_interval(count / among.sum(), whose[among], confidence)
        for name, (count, among) in proportions.items()
        if among.any()
    }
    if random is not None:
        losses = {"brier": (chances - truth) ** 2, "nll": _log_losses(table, truth.astype(int))}
        gaps = _calibration_gaps(table, truth.astype(int), CALIBRATION_BINS)
        several = resampled_metrics(values, truth, threshold, PARTIAL_AUC_FPRS, losses, gaps)
        intervals |= bootstrap_intervals(several, truth, random, confidence, resamples, whose)
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
        roc_auc=area_under_roc(values, truth) if both else None,
        pauc_01=area_under_roc(values, truth, PARTIAL_AUC_FPRS["pauc_01"]) if both else None,
        pauc_005=area_under_roc(values, truth, PARTIAL_AUC_FPRS["pauc_005"]) if both else None,
        eer=error,
        eer_threshold=at,
        ece=expected_calibration_error(table, truth.astype(int)),
        brier=float(brier_score_loss(truth, chances, pos_label=True)),
        nll=negative_log_likelihood(table, truth.astype(int)),
        intervals=intervals,
    )


def _proportion_interval(proportion: float, units: NDArray[Any], confidence: float) -> Interval:
    """Of a proportion over trials [n] that belong to `units` [n]."""
    trials = effective_trials(units)
    return wilson_interval(proportion * trials, trials, confidence)


def per_class(
    probabilities: ArrayLike,
    labels: ArrayLike,
    names: Sequence[str],
    threshold: float = 0.5,
    *,
    recordings: ArrayLike | None = None,
    confidence: float = 0.95,
) -> dict[str, ClipMetrics]:
    """Clip metrics of every class against the rest, from probabilities [n, classes] and class indices [n]."""
    table, truth = _checked_classes(probabilities, labels)
    if table.shape[1] != len(names):
        raise ValueError(f"probabilities {list(table.shape)} are not of {len(names)} classes")
    return {
        name: clip_metrics(table[:, index], truth == index, threshold, recordings=recordings, confidence=confidence)
        for index, name in enumerate(names)
    }


def grouped(
    scores: ArrayLike,
    labels: ArrayLike,
    groups: ArrayLike,
    threshold: float = 0.5,
    *,
    recordings: ArrayLike | None = None,
    confidence: float = 0.95,
) -> dict[str, ClipMetrics]:
    """Clip metrics of every group of windows by its name, in order of names; `groups` [n] says whose each one is."""
    values, truth = _checked(scores, labels)
    names = _names(groups, truth)
    whose = np.arange(len(truth)) if recordings is None else _names(recordings, truth)
    chosen = {str(name): names == name for name in np.unique(names)}
    return {
        name: clip_metrics(values[rows], truth[rows], threshold, recordings=whose[rows], confidence=confidence)
        for name, rows in chosen.items()
    }


def by_recording(
    scores: ArrayLike, labels: ArrayLike, recordings: ArrayLike
) -> tuple[Doubles, NDArray[np.bool_], NDArray[np.str_]]:
    """Score, label and name of each recording, of those of its windows [n]: it says a word where any of them does."""
    values, truth = _checked(scores, labels)
    names, whose = np.unique(_names(recordings, truth), return_inverse=True)
    highest, positive = np.full(len(names), -np.inf), np.zeros(len(names), bool)
    np.maximum.at(highest, whose, values)
    np.logical_or.at(positive, whose, truth)
    return highest, positive, names


def _names(of: ArrayLike, truth: NDArray[np.bool_]) -> NDArray[np.str_]:
    names = np.asarray(of).astype(str)
    if names.shape != truth.shape:
        raise ValueError(
            f"{list(names.shape)} names of groups or recordings must be [n] as labels {list(truth.shape)} are"
        )
    return names


def confusion(predicted: ArrayLike, labels: ArrayLike, classes: int) -> NDArray[np.int64]:
    """Counts [classes, classes]: row the true class, column the predicted one."""
    from sklearn.metrics import confusion_matrix

    return np.asarray(confusion_matrix(labels, predicted, labels=range(classes)), dtype=np.int64)


class RocPoints(NamedTuple):
    """Error rates [k] of the thresholds [k], which fall; at the first, above every score, nothing is detected."""

    fpr: Doubles
    fnr: Doubles
    thresholds: Doubles

    @property
    def tpr(self) -> Doubles:
        """True-positive rates [k], also called recall."""
        return 1 - self.fnr


def roc_points(scores: ArrayLike, labels: ArrayLike, *, corners_only: bool = True) -> RocPoints:
    """The ROC of finite scores [n], of any range, against labels [n] of both classes.

    Points on a straight line between others are left out with `corners_only`.
    """
    from sklearn.metrics import roc_curve

    values, truth = _both_classes(scores, labels)
    fpr, tpr, thresholds = roc_curve(truth, values, drop_intermediate=corners_only)
    thresholds[0] = np.nextafter(values.max(), np.inf)  # scikit-learn puts infinity there, which no file can hold
    return RocPoints(fpr, 1 - tpr, thresholds)


def area_under_roc(scores: ArrayLike, labels: ArrayLike, max_fpr: float = 1.0) -> float:
    """ROC-AUC of finite scores [n], of any range, against labels [n] of both classes.

    Below a `max_fpr` of 1 it is the area up to that false-positive rate, scaled so that chance is 0.5 and the best
    is 1 (McClish 1989).
    """
    from sklearn.metrics import roc_auc_score

    values, truth = _both_classes(scores, labels)
    return float(roc_auc_score(truth, values, max_fpr=max_fpr))


def equal_error_rate(scores: ArrayLike, labels: ArrayLike) -> tuple[float, float]:
    """The rate at which false positives and false negatives are equally frequent, and the threshold there.

    Linear interpolation between the two points of the ROC that enclose the crossing; both classes must be present.
    """
    fpr, fnr, thresholds = roc_points(scores, labels, corners_only=False)
    thresholds[0] = thresholds[1]
    excess = fpr - fnr  # rises from -1 to 1
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


def reliability(
    confidence: ArrayLike, correct: ArrayLike, bins: int = CALIBRATION_BINS, *, adaptive: bool = False
) -> list[ReliabilityBin]:
    """Group probabilities [n] in `bins` bins against what happened [n]; empty bins are left out.

    Bins are of equal width, or, when `adaptive`, of an equal number of predictions.
    """
    values, right = _checked(confidence, correct)
    index = _bin_of(values, bins, adaptive)
    counts = np.bincount(index, minlength=bins)
    full = counts > 0
    means = np.bincount(index, weights=values, minlength=bins)[full] / counts[full]
    rates = np.bincount(index, weights=right, minlength=bins)[full] / counts[full]
    return [ReliabilityBin(*one) for one in zip(means.tolist(), rates.tolist(), counts[full].tolist(), strict=True)]


def expected_calibration_error(
    probabilities: ArrayLike, labels: ArrayLike, bins: int = CALIBRATION_BINS, *, adaptive: bool = False
) -> float:
    """ECE (Guo et al. 2017) of class probabilities [n, classes] against class indices [n], on the top class.

    When `adaptive`, bins hold equally many windows (Nixon et al. 2019): where nearly all are sure, those of equal
    width leave all but one bin almost empty.
    """
    gaps = _calibration_gaps(*_checked_classes(probabilities, labels), bins, adaptive)
    return float(np.abs(gaps.sum(axis=0)).sum() / len(gaps))


def negative_log_likelihood(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Mean of -log p(true class) in nats, of class probabilities [n, classes] against class indices [n]."""
    return float(_log_losses(*_checked_classes(probabilities, labels)).mean())


def _log_losses(table: Doubles, truth: NDArray[np.int64]) -> Doubles:
    losses: Doubles = -np.log(np.maximum(table[np.arange(len(truth)), truth], LEAST_PROBABILITY))
    return losses


def _bin_of(values: Doubles, bins: int, adaptive: bool) -> NDArray[np.int64]:
    if not adaptive:
        return np.minimum((values * bins).astype(np.int64), bins - 1)
    ranks = np.searchsorted(np.sort(values), values)  # equal values share a rank, so that no bin divides them
    return ranks * bins // len(values)


def _calibration_gaps(table: Doubles, truth: NDArray[np.int64], bins: int, adaptive: bool = False) -> Doubles:
    """Confidence less correctness of each prediction, in the column of its bin: [n, bins], 0 elsewhere."""
    top = table.max(axis=1)
    gaps = np.zeros((len(truth), bins))
    gaps[np.arange(len(truth)), _bin_of(top, bins, adaptive)] = top - (table.argmax(axis=1) == truth)
    return gaps


def _checked(scores: ArrayLike, labels: ArrayLike) -> tuple[Doubles, NDArray[np.bool_]]:
    values, truth = _paired(scores, labels)
    if not (values >= 0).all() or not (values <= 1).all():
        raise ValueError("scores must be probabilities")
    return values, truth


def _both_classes(scores: ArrayLike, labels: ArrayLike) -> tuple[Doubles, NDArray[np.bool_]]:
    values, truth = _paired(scores, labels)
    if not np.isfinite(values).all():
        raise ValueError("scores must be finite")
    if not 0 < truth.sum() < len(truth):
        raise ValueError("ranking needs windows of both classes")
    return values, truth


def _paired(scores: ArrayLike, labels: ArrayLike) -> tuple[Doubles, NDArray[np.bool_]]:
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(labels).astype(bool)
    if values.ndim != 1 or values.shape != truth.shape or len(values) == 0:
        raise ValueError(f"scores {list(values.shape)} and labels {list(truth.shape)} must be [n], n > 0")
    return values, truth


def _checked_classes(probabilities: ArrayLike, labels: ArrayLike | Sequence[int]) -> tuple[Doubles, NDArray[np.int64]]:
    table, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    if table.ndim != 2 or table.shape[:1] != truth.shape or len(truth) == 0:
        raise ValueError(f"probabilities {list(table.shape)} and labels {list(truth.shape)} do not fit")
    if not ((table >= 0) & (table <= 1)).all():
        raise ValueError("probabilities must be finite and between 0 and 1")
    if truth.min() < 0 or truth.max() >= table.shape[1]:
        raise ValueError(f"labels go from {truth.min()} to {truth.max()}, but there are {table.shape[1]} classes")
    return table, truth
