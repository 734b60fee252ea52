"""The clip metrics of many resamples at once, as functions of how often each window was drawn."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from wakeword_core.evaluation.measure.intervals import Statistics

Doubles = NDArray[np.float64]


def resampled_metrics(
    scores: Doubles,
    labels: NDArray[np.bool_],
    threshold: float,
    max_fprs: Mapping[str, float],
    losses: Mapping[str, Doubles],
    gaps: Doubles,
) -> Statistics:
    """F1, ROC-AUC, EER, the partial AUCs `max_fprs`, ECE and the means of `losses`, for draws [resamples, n].

    `losses` are metrics that are means over windows [n]; `gaps` [n, bins] is confidence less correctness in the
    window's bin. With draws of one each, the values are those of `metrics`; where a class is missing, those that need
    both are left out.
    """
    order, starts, ends = _segments(scores, labels)
    positive = labels[order[starts]]
    said = scores >= threshold
    table = np.column_stack([*losses.values(), gaps])

    def statistics(draws: Doubles) -> dict[str, Doubles]:
        total = draws.sum(axis=1)
        sums = draws @ table
        found = {name: sums[:, place] / total for place, name in enumerate(losses)}
        found["ece"] = np.abs(sums[:, len(losses) :]).sum(axis=1) / total
        found["f1"] = _f1(draws, said, labels)
        if positive.all() or not positive.any():
            return found
        drawn = np.add.reduceat(draws[:, order], starts, axis=1)
        alarms, hits = (_cumulated(drawn * one)[:, np.r_[0, ends + 1]] for one in (~positive, positive))
        fpr, tpr = alarms / alarms[:, -1:], hits / hits[:, -1:]
        found["roc_auc"] = _area(fpr, tpr, 1.0)
        found["eer"] = _equal_error(fpr, tpr)
        for name, limit in max_fprs.items():
            chance = limit**2 / 2
            found[name] = 0.5 * (1 + (_area(fpr, tpr, limit) - chance) / (limit - chance))
        return found

    return statistics


def _segments(scores: Doubles, labels: NDArray[np.bool_]) -> tuple[NDArray[np.int64], ...]:
    """Windows by falling score [n], where runs of one class start in that order, and which runs end on the ROC.

    A ROC is straight along a run of one class. Windows of both classes with one score are passed at once: their runs
    stand for themselves, and only the end of the last is a point.
    """
    order = np.lexsort((labels, -scores))
    truth = labels[order]
    group = np.cumsum(np.diff(scores[order], prepend=np.inf) != 0) - 1
    share = np.bincount(group, weights=truth) / np.bincount(group)
    mixed = ((share > 0) & (share < 1))[group]
    new_group = np.diff(group, prepend=-1) > 0
    other_class = np.r_[True, truth[1:] != truth[:-1]]
    starts = np.flatnonzero(other_class | (new_group & (mixed | np.r_[False, mixed[:-1]])))
    ends = np.flatnonzero(np.r_[new_group[starts[1:]], True])
    return order, starts, ends


def _cumulated(counts: Doubles) -> Doubles:
    return np.cumsum(np.pad(counts, ((0, 0), (1, 0))), axis=1)


def _f1(draws: Doubles, said: NDArray[np.bool_], labels: NDArray[np.bool_]) -> Doubles:
    hits = draws @ (said & labels)
    # twice the hits, the false alarms and the misses; 0 of 0 is 0
    whole = np.asarray(draws @ said + draws @ labels)
    return np.divide(2 * hits, whole, out=np.zeros_like(whole), where=whole > 0)


def _area(fpr: Doubles, tpr: Doubles, limit: float) -> Doubles:
    """Area under ROC curves [resamples, points] up to a false-positive rate, the last segment cut there."""
    width = np.diff(fpr, axis=1)
    inside = np.clip(limit - fpr[:, :-1], 0, width)
    share = np.divide(inside, width, out=np.zeros_like(width), where=width > 0)
    areas: Doubles = (inside * (tpr[:, :-1] + share * np.diff(tpr, axis=1) / 2)).sum(axis=1)
    return areas


def _equal_error(fpr: Doubles, tpr: Doubles) -> Doubles:
    excess = fpr + tpr - 1
    after = np.argmax(excess >= 0, axis=1)
    rows = np.arange(len(after))
    low, high = excess[rows, after - 1], excess[rows, after]
    share = low / (low - high)
    rates: Doubles = fpr[rows, after - 1] + share * (fpr[rows, after] - fpr[rows, after - 1])
    return rates
