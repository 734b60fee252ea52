"""The ROC of scores: its corners, the areas under it, and where both kinds of error are equally frequent."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Doubles = NDArray[np.float64]


class RocPoints(NamedTuple):
    """Rates [k] of the thresholds [k], which fall; at the first, above every score, nothing is detected."""

    fpr: Doubles
    tpr: Doubles
    thresholds: Doubles


def roc_points(scores: ArrayLike, labels: ArrayLike) -> RocPoints:
    """Return the corners of the ROC of finite scores [n], of any range, against labels [n] of both classes.

    Points on a straight line between others are left out.
    """
    values, truth = _both_classes(scores, labels)
    ranking = Ranking(values, truth)
    curve = ranking.curve(np.ones(len(truth)))
    thresholds = np.append(np.nextafter(values.max(), np.inf), ranking.thresholds)
    return RocPoints(*(points[curve.corners] for points in (curve.fpr, curve.tpr, thresholds)))


def area_under_roc(scores: ArrayLike, labels: ArrayLike, max_fpr: float = 1.0) -> float:
    """Return the ROC-AUC of finite scores [n], of any range, against labels [n] of both classes.

    Below a `max_fpr` of 1 it is the area up to that false-positive rate, scaled so that chance is 0.5 and the best
    is 1 (McClish 1989).
    """
    values, truth = _both_classes(scores, labels)
    return Ranking(values, truth).curve(np.ones(len(truth))).area(max_fpr)


def equal_error_rate(scores: ArrayLike, labels: ArrayLike) -> tuple[float, float]:
    """Return the rate at which false positives and false negatives are equally frequent, and the threshold there.

    Linear interpolation between the two points of the ROC that enclose the crossing; both classes must be present.
    """
    values, truth = _both_classes(scores, labels)
    ranking = Ranking(values, truth)
    rate, after, share = ranking.curve(np.ones(len(truth))).equal_error()
    below, above = ranking.thresholds[after - 1], ranking.thresholds[max(after - 2, 0)]
    return rate, float(above + share * (below - above))


class Curve(NamedTuple):
    """A ROC [k] from nothing detected to everything, and which of its points are corners."""

    fpr: Doubles
    tpr: Doubles
    corners: NDArray[np.bool_]

    def area(self, max_fpr: float) -> float:
        """Return the area up to a false-positive rate, below 1 scaled so that chance is 0.5."""
        fpr, tpr = self.fpr[self.corners], self.tpr[self.corners]
        if max_fpr >= 1:
            return float(np.trapezoid(tpr, fpr))
        stop = int(np.searchsorted(fpr, max_fpr, side="right"))
        end = np.interp(max_fpr, fpr[stop - 1 : stop + 1], tpr[stop - 1 : stop + 1])
        area = np.trapezoid(np.append(tpr[:stop], end), np.append(fpr[:stop], max_fpr))
        chance = 0.5 * max_fpr**2
        return float(0.5 * (1 + (area - chance) / (max_fpr - chance)))

    def equal_error(self) -> tuple[float, int, float]:
        """Return the EER, the first point behind the crossing, and how far before it, as a share, the crossing is."""
        excess = self.fpr - (1 - self.tpr)  # rises from -1 to 1
        after = int(np.argmax(excess >= 0))
        share = excess[after - 1] / (excess[after - 1] - excess[after])
        rate = self.fpr[after - 1] + share * (self.fpr[after] - self.fpr[after - 1])
        return float(rate), after, float(share)


class Ranking:
    """Windows by falling score, sorted once for the ROC of any weights; `thresholds` are the scores, each once."""

    def __init__(self, scores: Doubles, truth: NDArray[np.bool_]) -> None:
        self._order = np.argsort(-scores, kind="stable")
        self._truth = truth[self._order].astype(np.float64)
        ranked = scores[self._order]
        self._last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
        self.thresholds: Doubles = ranked[self._last]

    def curve(self, weights: Doubles) -> Curve:
        """Compute the ROC of windows that count so often each [n]; both classes must have a weight."""
        ranked = weights[self._order]
        detected = np.cumsum(ranked)[self._last]
        hits = np.cumsum(ranked * self._truth)[self._last]
        alarms = detected - hits
        inner = (np.diff(alarms, 2) != 0) | (np.diff(hits, 2) != 0)
        corners = np.concatenate([[True], [True], inner, [True]]) if len(hits) > 1 else np.array([True, True])
        return Curve(np.append(0.0, alarms / alarms[-1]), np.append(0.0, hits / hits[-1]), corners)


def _both_classes(scores: ArrayLike, labels: ArrayLike) -> tuple[Doubles, NDArray[np.bool_]]:
    values, truth = paired(scores, labels)
    if not np.isfinite(values).all():
        raise ValueError("scores must be finite")
    if not 0 < truth.sum() < len(truth):
        raise ValueError("ranking needs windows of both classes")
    return values, truth


def paired(scores: ArrayLike, labels: ArrayLike) -> tuple[Doubles, NDArray[np.bool_]]:
    """Return scores and labels as arrays; ValueError unless there are equally many, and any."""
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(labels).astype(bool)
    if values.ndim != 1 or values.shape != truth.shape or len(values) == 0:
        raise ValueError(f"scores {list(values.shape)} and labels {list(truth.shape)} must be [n], n > 0")
    return values, truth
