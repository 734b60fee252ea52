"""Clip metrics, one definition of each: a figure counts every window once, its interval as often as it was drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wakeword_core.evaluation.measure.intervals import (
    RESAMPLES,
    Interval,
    bootstrap_intervals,
    effective_trials,
    wilson_interval,
)
from wakeword_core.evaluation.measure.roc import Doubles, Ranking, equal_error_rate, paired

CALIBRATION_BINS = 15
PARTIAL_AUC_FPRS = {"pauc_01": 0.1, "pauc_005": 0.05}
"""False-positive rates that the partial ROC-AUCs go up to."""
LEAST_PROBABILITY = 1e-12
"""What a probability counts as at least, where its logarithm is taken."""


@dataclass(frozen=True)
class ClipMetrics:
    """How well scores of single windows separate wake words from the rest; None where a class is missing.

    Partial ROC-AUCs are scaled so that chance is 0.5 (McClish 1989). Intervals are Wilson's for proportions and of a
    bootstrap for the rest; some may be missing.
    """

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
    pauc_005: float | None
    eer: float | None
    eer_threshold: float | None
    ece: float
    brier: float
    nll: float
    intervals: dict[str, Interval]


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
    """Compute every clip metric of wake-word probabilities [n] against labels [n] (true: a wake word).

    Of several wake words, scores are those of the likeliest, and `any_word` [n] is the probability of there being one:
    ECE, Brier score and NLL are of that. Precision and F1 are 0 when nothing is detected. `recordings` [n] says whose
    window each one is: those of one recording are alike, so that intervals count recordings. With `random` there are
    bootstrap intervals too: of `resamples` stratified resamples, the same for the same generator.
    """
    values, truth = _checked(scores, labels)
    chances, _ = _checked(values if any_word is None else any_word, truth)
    detected = values >= threshold
    tp, fp = int((detected & truth).sum()), int((detected & ~truth).sum())
    fn, tn = int(truth.sum()) - tp, int((~truth).sum()) - fp
    weighted = _WeightedMetrics(values, truth, detected, chances)
    figures = weighted(np.ones(len(truth)))
    proportions = {
        "accuracy": (tp + tn, np.ones_like(truth)),
        "precision": (tp, detected),
        "recall": (tp, truth),
        "fpr": (fp, ~truth),
        "fnr": (fn, truth),
    }
    shares = {name: float(count / among.sum()) for name, (count, among) in proportions.items() if among.any()}
    units = np.arange(len(truth)) if recordings is None else _names(recordings, truth)
    intervals = {}
    for name, share in shares.items():
        trials = effective_trials(units[proportions[name][1]])
        intervals[name] = wilson_interval(share * trials, trials, confidence)
    if random is not None:
        intervals |= bootstrap_intervals(weighted, truth, random, confidence, resamples, units)
    absent: dict[str, Any] = dict.fromkeys(("recall", "fpr", "fnr", "roc_auc", *PARTIAL_AUC_FPRS, "eer"))
    return ClipMetrics(
        count=len(truth),
        positives=tp + fn,
        negatives=tn + fp,
        threshold=float(threshold),
        true_positives=tp,
        false_positives=fp,
        true_negatives=tn,
        false_negatives=fn,
        eer_threshold=equal_error_rate(values, truth)[1] if "eer" in figures else None,
        intervals=intervals,
        **{**absent, "precision": 0.0, **shares, **figures},
    )


class _WeightedMetrics:
    """F1, ECE, Brier score, NLL and, of both classes, the areas and the EER, of windows that count so often each."""

    def __init__(
        self, scores: Doubles, truth: NDArray[np.bool_], detected: NDArray[np.bool_], chances: Doubles
    ) -> None:
        table, classes = np.column_stack([1 - chances, chances]), truth.astype(np.int64)
        self._truth, self._detected = truth, detected
        self._losses = {"brier": _squared_errors(table, classes), "nll": _log_losses(table, classes)}
        self._gaps, self._bins = _calibration_gaps(table, classes), _bin_of(table.max(axis=1), CALIBRATION_BINS)
        self._ranking = Ranking(scores, truth) if 0 < truth.sum() < len(truth) else None

    def __call__(self, weights: Doubles) -> dict[str, float]:
        figures = {name: _mean(losses, weights) for name, losses in self._losses.items()}
        figures["ece"] = _calibration_error(self._gaps, self._bins, CALIBRATION_BINS, weights)
        figures["f1"] = _f1(self._detected, self._truth, weights)
        if self._ranking is not None:
            curve = self._ranking.curve(weights)
            figures["eer"] = curve.equal_error()[0]
            figures |= {name: curve.area(max_fpr) for name, max_fpr in {"roc_auc": 1.0, **PARTIAL_AUC_FPRS}.items()}
        return figures


def per_class(
    probabilities: ArrayLike,
    labels: ArrayLike,
    names: Sequence[str],
    threshold: float = 0.5,
    *,
    recordings: ArrayLike | None = None,
    confidence: float = 0.95,
) -> dict[str, ClipMetrics]:
    """Compute the clip metrics of every class against the rest, of probabilities [n, classes] and classes [n]."""
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
    """Compute the clip metrics of every group of windows, in order of names; `groups` [n] names each window's."""
    values, truth = _checked(scores, labels)
    names = _names(groups, truth)
    units = np.arange(len(truth)) if recordings is None else _names(recordings, truth)
    chosen = {str(name): names == name for name in np.unique(names)}
    return {
        name: clip_metrics(values[rows], truth[rows], threshold, recordings=units[rows], confidence=confidence)
        for name, rows in chosen.items()
    }


def by_recording(
    scores: ArrayLike, labels: ArrayLike, recordings: ArrayLike
) -> tuple[Doubles, NDArray[np.bool_], NDArray[np.str_]]:
    """Return score, label and name of each recording from its windows [n]: it holds a word where any of them does."""
    values, truth = _checked(scores, labels)
    names, place = np.unique(_names(recordings, truth), return_inverse=True)
    highest, positive = np.full(len(names), -np.inf), np.zeros(len(names), bool)
    np.maximum.at(highest, place, values)
    np.logical_or.at(positive, place, truth)
    return highest, positive, names


def _names(of: ArrayLike, truth: NDArray[np.bool_]) -> NDArray[np.str_]:
    names = np.asarray(of).astype(str)
    if names.shape != truth.shape:
        raise ValueError(
            f"{list(names.shape)} names of groups or recordings must be [n] as labels {list(truth.shape)} are"
        )
    return names


def _f1(detected: NDArray[np.bool_], truth: NDArray[np.bool_], weights: Doubles) -> float:
    either = weights @ detected + weights @ truth
    return float(2 * (weights @ (detected & truth)) / either) if either else 0.0


def _mean(losses: Doubles, weights: Doubles) -> float:
    return float((losses * weights).sum() / weights.sum())


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
    columns = zip(means.tolist(), rates.tolist(), counts[full].tolist(), strict=True)
    return [ReliabilityBin(*figures) for figures in columns]


def expected_calibration_error(
    probabilities: ArrayLike, labels: ArrayLike, bins: int = CALIBRATION_BINS, *, adaptive: bool = False
) -> float:
    """Return the ECE (Guo et al. 2017) of class probabilities [n, classes] against class indices [n]: of the top class.

    When `adaptive`, bins hold equally many windows (Nixon et al. 2019): where nearly all are sure, those of equal
    width leave all but one bin almost empty.
    """
    table, truth = _checked_classes(probabilities, labels)
    bin_of = _bin_of(table.max(axis=1), bins, adaptive)
    return _calibration_error(_calibration_gaps(table, truth), bin_of, bins, np.ones(len(truth)))


def negative_log_likelihood(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Return the mean -log p(true class) in nats, of class probabilities [n, classes] against class indices [n]."""
    table, truth = _checked_classes(probabilities, labels)
    return _mean(_log_losses(table, truth), np.ones(len(truth)))


def _log_losses(table: Doubles, truth: NDArray[np.int64]) -> Doubles:
    losses: Doubles = -np.log(np.maximum(table[np.arange(len(truth)), truth], LEAST_PROBABILITY))
    return losses


def _squared_errors(table: Doubles, truth: NDArray[np.int64]) -> Doubles:
    errors: Doubles = ((np.eye(2)[truth] - table) ** 2).sum(axis=1) / 2
    return errors


def _bin_of(values: Doubles, bins: int, adaptive: bool = False) -> NDArray[np.int64]:
    if not adaptive:
        return np.minimum((values * bins).astype(np.int64), bins - 1)
    ranks = np.searchsorted(np.sort(values), values)  # equal values share a rank, so that no bin divides them
    return ranks * bins // len(values)


def _calibration_gaps(table: Doubles, truth: NDArray[np.int64]) -> Doubles:
    """Return confidence less correctness of the top class of each prediction [n]."""
    gaps: Doubles = table.max(axis=1) - (table.argmax(axis=1) == truth)
    return gaps


def _calibration_error(gaps: Doubles, bin_of: NDArray[np.int64], bins: int, weights: Doubles) -> float:
    return float(np.abs(np.bincount(bin_of, weights=gaps * weights, minlength=bins)).sum() / weights.sum())


def _checked(scores: ArrayLike, labels: ArrayLike) -> tuple[Doubles, NDArray[np.bool_]]:
    values, truth = paired(scores, labels)
    if not (values >= 0).all() or not (values <= 1).all():
        raise ValueError("scores must be probabilities")
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
