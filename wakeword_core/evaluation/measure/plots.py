"""Pictures of a training, a search and a test, each a PNG as bytes; colours that colour-blind people can tell apart."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, cycle
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from wakeword_core.drawing import PALETTE, as_png, new_figure
from wakeword_core.evaluation.measure.intervals import wilson_interval
from wakeword_core.evaluation.measure.metrics import expected_calibration_error, reliability

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BLUE, _ORANGE, _GREEN, _, _, _RED, _GREY = PALETTE
_SIZE = (6.4, 4.2)
_CAPTION_INCHES = 0.2
_HISTOGRAM_BINS = 50
_SHOWN_TARGETS = 100.0
_LEAST_SHOWN_PERCENT = 10.0
_LOG_ODDS_LIMIT = 12.0
_MARKS = ((_GREEN, "^"), (_RED, "D"), (_ORANGE, "v"), (_GREY, "s"))
_CURVES = ((_BLUE, "-"), (_GREY, "--"), (_ORANGE, "-."), (_GREEN, ":"), (_RED, (0, (6, 1, 1, 1))))
_SCORE_TICKS = (0.0001, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999)
_ROC_ZOOM = 50
"""The zoomed ROC begins at the true-positive rate of this part of its largest false-positive rate."""


class Point(Protocol):
    """What a threshold gives: FRR as a share and FAH in events an hour."""

    @property
    def frr(self) -> float: ...  # noqa: D102
    @property
    def fah(self) -> float: ...  # noqa: D102


@dataclass(frozen=True)
class Marked:
    """An operating point to mark: what was aimed at, if anything, and what came out."""

    target_fah: float | None
    frr: float
    fah: float


def training_curve(history: Sequence[Mapping[str, Any]], max_fpr: float) -> bytes:
    """Draw losses above and validation AUC below, an epoch a point; rows as in the training's history.

    `max_fpr` is the false-positive rate that the partial AUC goes up to.
    """
    figure = new_figure(_SIZE[0], 5.6)
    losses, aucs = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    epochs = [row["epoch"] for row in history]
    marker = {"marker": "o", "markersize": 3.5} if len(epochs) <= 40 else {}
    losses.plot(epochs, [row["train_loss"] for row in history], color=_BLUE, label="training", **marker)
    losses.plot(epochs, [row["val_loss"] for row in history], color=_RED, ls="--", label="validation", **marker)
    aucs.plot(epochs, [row["val_auc"] for row in history], color=_GREEN, label="ROC-AUC", **marker)
    pauc = f"pAUC, FPR ≤ {max_fpr:g}"
    aucs.plot(epochs, [row["val_pauc"] for row in history], color=_ORANGE, ls="--", label=pauc, **marker)
    losses.set(ylabel="loss (nats)", title="Training")
    aucs.set(xlabel="epoch", ylabel="validation AUC")
    aucs.xaxis.get_major_locator().set_params(integer=True)
    for axes in (losses, aucs):
        axes.legend(frameon=False)
    return _png(figure)


def rate_curve(
    rates: Sequence[float], losses: Sequence[float], smoothed: Sequence[float], marks: Mapping[str, float]
) -> bytes:
    """Draw a learning-rate range test: the loss of a batch at each rate, rising, and rates to mark, by name."""
    figure = new_figure(*_SIZE)
    axes = figure.subplots()
    axes.plot(rates, losses, "o", color=_GREY, markersize=2.5, alpha=0.6, label="batches", zorder=1)
    axes.plot(rates, smoothed, color=_BLUE, lw=2, label="smoothed")
    for (name, rate), (color, shape) in zip(marks.items(), cycle(_MARKS)):
        axes.axvline(rate, color=color, ls=":", lw=1.3)
        loss = float(np.interp(np.log(rate), np.log(rates), smoothed))
        axes.plot(rate, loss, shape, color=color, markersize=8, ls="none", zorder=5, label=f"{name}: {rate:.2g}")
    # Of a loss that runs away at the end, the beginning is enough; all of it would leave no room for the rest.
    low, high = min(smoothed), max(smoothed[: int(np.argmin(smoothed)) + 1])
    axes.set_ylim(max(0.0, low - 0.3 * (high - low)), high + 0.5 * (high - low))
    axes.set_xscale("log")
    axes.set(xlabel="learning rate", ylabel="training loss (nats)", title="Learning-rate range test")
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return _png(figure)


def det_curve(
    points: Sequence[Point],
    marked: Mapping[str, Marked] | None = None,
    hours: float | None = None,
    name: str = "test",
    beside: Mapping[str, Sequence[Point]] | None = None,
) -> bytes:
    """Draw misses against false alarms an hour for every threshold of a sweep, with named operating points marked.

    `hours` of background set what one false alarm is, and so where the place of none is drawn. Sweeps of other models,
    by their names, are drawn `beside` it.
    """
    marks = dict(marked or {})
    captions = 1 + len(beside or {}) + len(marks)
    figure = new_figure(_SIZE[0], _SIZE[1] + _CAPTION_INCHES * captions)
    axes = figure.subplots()
    curves = {label: _unfolded(sweep) for label, sweep in {name: points, **(beside or {})}.items()}
    drawn = [point for curve in curves.values() for point in curve]
    targets = [mark.target_fah for mark in marks.values() if mark.target_fah is not None]
    zero = _place_of_zero([*drawn, *marks.values()], targets, hours)
    for (label, curve), (color, style) in zip(curves.items(), cycle(_CURVES)):
        x, y = [point.fah or zero for point in curve], [100 * point.frr for point in curve]
        axes.plot(x, y, color=color, ls=style, lw=2, label=label)
    for (label, mark), (color, shape) in zip(marks.items(), cycle(_MARKS)):
        figures = f"{100 * mark.frr:.1f} % missed at {mark.fah:.2g}/h"
        if mark.target_fah is not None:
            axes.axvline(mark.target_fah, color=color, ls=":", lw=1.3)
            figures += f" (target {mark.target_fah:g}/h)"
        axes.plot(
            mark.fah or zero, 100 * mark.frr, shape, color=color, markersize=8, clip_on=False, zorder=5, ls="none",
            markeredgecolor="white", markeredgewidth=0.8, label=f"{label}: {figures}",
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set(xlabel="false alarms an hour (events)", ylabel="missed wake words (%)", title="Misses and false alarms")
    _limit_to_what_matters(axes, drawn, list(marks.values()), max(targets, default=1.0), zero)
    _mark_zero(axes, zero)
    figure.legend(loc="outside lower center", frameon=False)  # a curve may run anywhere in the picture
    return _png(figure)


def _place_of_zero(points: Sequence[Point], targets: Sequence[float], hours: float | None) -> float:
    """Return where a logarithmic axis draws a rate of 0: well below every rate there is, and one alarm in `hours`."""
    rates = [point.fah for point in points if point.fah > 0]
    return min([*rates, *targets, *([1 / hours] if hours else [])], default=1.0) / 3


def _limit_to_what_matters(
    axes: "Axes", drawn: Sequence[Point], marks: Sequence[Marked], highest: float, zero: float
) -> None:
    """Show the rates that anybody would live with, not thousands of alarms or a model that hears nothing.

    `highest` is the highest rate that was aimed at.
    """
    misses = [100 * point.frr for point in drawn if 0 < point.fah <= _SHOWN_TARGETS * highest]
    misses += [120 * mark.frr for mark in marks]
    top = min(105.0, max([_LEAST_SHOWN_PERCENT, *(1.05 * percent for percent in misses)]))
    axes.set_ylim(0, top)
    axes.set_xlim(zero * 0.8, _SHOWN_TARGETS * max(highest, zero, *(mark.fah for mark in marks), 0.0))


def _unfolded(points: Sequence[Point]) -> list[Point]:
    """Return a sweep from its most alarms on: at lower thresholds events merge, which only folds the curve back."""
    return list(points[max(range(len(points)), key=lambda index: points[index].fah) :])


def roc_picture(fpr: ArrayLike, tpr: ArrayLike, areas: str, max_fpr: float) -> bytes:
    """Draw the ROC of windows: rates [n], rising, the region of the partial AUC shaded and larger; `areas`: title."""
    figure = new_figure(5.6, 4.6)
    axes = figure.subplots()
    x, y = np.asarray(fpr, dtype=np.float64), np.asarray(tpr, dtype=np.float64)
    edge = np.append(x[x < max_fpr], max_fpr)
    under = np.interp(edge, x, y)
    inset = axes.inset_axes((0.36, 0.16, 0.6, 0.6))
    for part in (axes, inset):
        part.plot(x, y, color=_BLUE, lw=2)
        part.fill_between(edge, under, color=_ORANGE, alpha=0.35, lw=0)
        part.axvline(max_fpr, color=_ORANGE, ls="--", lw=1.2)
    axes.set(xlim=(-0.01, 1), ylim=(0, 1.01), xlabel="false-positive rate", ylabel="true-positive rate", title=areas)
    low = float(np.interp(max_fpr / _ROC_ZOOM, x, y))
    inset.set(xlim=(0, max_fpr * 1.02), ylim=(max(0.0, low - max(0.02, 1 - low)), 1.002))
    inset.set_title(f"FPR up to {max_fpr:g}: the region of the pAUC", fontsize=9)
    inset.tick_params(labelsize=8)
    inset.grid(visible=True, color="#E3E3E3", lw=0.8)
    return _png(figure)


def reliability_diagram(before: ArrayLike, after: ArrayLike, labels: ArrayLike) -> bytes:
    """Draw how often the top class was right at each confidence, before and after: probabilities [n, classes]."""
    figure = new_figure(5.6, 5.8)
    axes, counts = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    truth = np.asarray(labels, dtype=np.int64)
    # The top class is never less likely than one in the number of classes.
    lowest = 1 / np.asarray(before).shape[1]
    axes.plot([lowest, 1], [lowest, 1], color=_GREY, ls=":", lw=1.5, label="perfect")
    styles = [(before, _ORANGE, "s", "before"), (after, _BLUE, "o", "after")]
    for index, (probabilities, color, marker, name) in enumerate(styles):
        table = np.asarray(probabilities, dtype=np.float64)
        bins = reliability(table.max(axis=1), table.argmax(axis=1) == truth)
        error = expected_calibration_error(table, truth)
        x, y = [group.confidence for group in bins], [group.accuracy for group in bins]
        ends = [wilson_interval(round(group.accuracy * group.count), group.count) for group in bins]
        whiskers = [[max(0.0, at - end.low) for at, end in zip(y, ends, strict=True)]]
        whiskers.append([max(0.0, end.high - at) for at, end in zip(y, ends, strict=True)])
        style = {"marker": marker, "lw": 1.8, "markersize": 6, "elinewidth": 1, "label": f"{name} (ECE {error:.3f})"}
        axes.errorbar(x, y, whiskers, color=color, **style)
        shift = (index - 0.5) * 0.012
        counts.bar([place + shift for place in x], [group.count for group in bins], width=0.012, color=color)
    axes.set(xlim=(lowest - 0.02, 1.02), ylabel="share that was right", title="Calibration on validation")
    axes.set_ylim(0, 1.03)
    counts.set(xlabel="confidence of the top class", ylabel="windows", yscale="log")
    axes.legend(frameon=False, loc="lower right")
    return _png(figure)


def score_histogram(scores: ArrayLike, labels: ArrayLike, threshold: float) -> bytes:
    """Draw scores [n] of wake words and of the rest (labels [n]) on a scale that opens up both ends."""
    figure = new_figure(*_SIZE)
    axes = figure.subplots()
    values, truth = _logit(scores), np.asarray(labels).astype(bool)
    limit = float(min(_LOG_ODDS_LIMIT, max(np.abs(values).max(initial=1.0), 3.0)))
    edges = np.linspace(-limit, limit, _HISTOGRAM_BINS + 1).tolist()
    for chosen, color, hatch, name in ((~truth, _BLUE, "", "no wake word"), (truth, _ORANGE, "//", "wake word")):
        part = np.clip(values[chosen], -limit, limit)
        if len(part):
            weights = np.full(len(part), 100 / len(part))
            caption = f"{name} ({len(part):,})"
            axes.hist(part, edges, weights=weights, color=color, alpha=0.6, hatch=hatch, edgecolor=color, label=caption)
    place = float(_logit(threshold))
    axes.axvline(place, color=_RED, ls="--", lw=1.8, label=f"threshold {threshold:.3f}")
    ticks = [score for score in _SCORE_TICKS if abs(_logit(score)) <= limit]
    axes.set_xticks(_logit(ticks).tolist(), [f"{score:g}" for score in ticks])
    axes.set_ylim(top=1.35 * axes.get_ylim()[1])  # room for the legend
    axes.set(xlabel="score (log-odds scale)", ylabel="windows of the class (%)", title="Scores of test windows")
    axes.legend(frameon=False)
    return _png(figure)


def confusion_picture(truth: ArrayLike, predicted: ArrayLike, labels: Sequence[str]) -> bytes:
    """Draw how often each class was taken for which, of classes [n]: a row a true class, shaded by shares."""
    table = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(table, (np.asarray(truth), np.asarray(predicted)), 1)
    side = max(3.6, 1.1 * len(labels) + 1.8)
    figure = new_figure(side + 0.8, side)
    axes = figure.subplots()
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(100 * shares, cmap="Blues", vmin=0, vmax=100)
    for (row, column), share in np.ndenumerate(shares):
        text = f"{int(table[row, column]):,}\n{100 * share:.1f} %"
        color = "white" if share > 0.55 else "black"
        axes.text(column, row, text, ha="center", va="center", color=color, fontsize=11)
    names = ["no wake word" if name.startswith("_") else name for name in labels]
    axes.set_xticks(range(len(names)), names, rotation=0 if len(names) <= 3 else 45)
    axes.set_yticks(range(len(names)), names, rotation=90 if len(names) <= 3 else 0, va="center")
    axes.set(xlabel="said", ylabel="was", title="Test windows")
    axes.grid(False)
    axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes, label="share of the true class (%)", shrink=0.8)
    return _png(figure)


def trials_picture(headings: Sequence[str], trials: Mapping[int, Sequence[float]], best: Collection[int]) -> bytes:
    """Draw the figures of a search's trials, by their numbers, for one to three objectives that are to be small.

    One objective is drawn over the trials, with the least so far; several in pairs, each against each. The best trials
    are marked with their numbers; of two objectives a line shows what none of them beats.
    """
    if len(headings) == 1:
        figure = new_figure(*_SIZE)
        axes = figure.subplots()
        least = np.minimum.accumulate([figures[0] for figures in trials.values()])
        axes.step(list(trials), least, color=_GREEN, lw=1.5, where="post", label="least so far", zorder=2)
        _mark_trials(axes, {number: (float(number), figures[0]) for number, figures in trials.items()}, best)
        axes.set(xlabel="trial", ylabel=headings[0], title="Trials of the search")
        axes.locator_params(axis="x", integer=True)
    else:
        pairs = list(combinations(range(len(headings)), 2))
        figure = new_figure(_SIZE[0] if len(pairs) == 1 else 4.2 * len(pairs), _SIZE[1])
        for axes, (first, second) in zip(np.ravel(figure.subplots(1, len(pairs))), pairs, strict=True):
            points = {number: (figures[second], figures[first]) for number, figures in trials.items()}
            if len(pairs) == 1:
                front = sorted(points[number] for number in best)
                axes.step(*zip(*front, strict=True), color=_GREEN, lw=1.5, where="post", label="best", zorder=2)
            _mark_trials(axes, points, best)
            axes.set(xlabel=headings[second], ylabel=headings[first])
        figure.suptitle("Trials of the search")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return _png(figure)


def _mark_trials(axes: "Axes", points: Mapping[int, tuple[float, float]], best: Collection[int]) -> None:
    """Draw trials as points, and the best ones larger and with their numbers."""
    kinds = ((False, _GREY, 24, "trials"), (True, _RED, 48, "best trials"))
    for is_best, color, size, label in kinds:
        chosen = [point for number, point in points.items() if (number in best) == is_best]
        if chosen:
            across, up = zip(*chosen, strict=True)
            axes.scatter(across, up, s=size, color=color, label=label, zorder=3, edgecolors="white")
    at: dict[tuple[float, float], list[str]] = {}
    for number in sorted(best):  # of which several may have the same figures
        at.setdefault(points[number], []).append(str(number))
    for point, numbers in at.items():
        axes.annotate(", ".join(numbers), point, (5, 5), textcoords="offset points", fontsize=8, zorder=4)


def _png(figure: "Figure") -> bytes:
    for axes in figure.axes:
        if not axes.images and axes.get_label() != "<colorbar>":
            axes.grid(visible=True, color="#E3E3E3", lw=0.8)
            axes.set_axisbelow(True)
            axes.spines[["top", "right"]].set_visible(False)
    return as_png(figure)


def _mark_zero(axes: "Axes", zero: float) -> None:
    """Give the place where zero is drawn on a logarithmic axis its name."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    top = axes.get_xlim()[1]
    decades = np.arange(np.floor(np.log10(zero)), np.ceil(np.log10(top)) + 1)
    ticks = [10.0**decade for decade in decades if zero * 1.5 < 10.0**decade <= top]
    axes.xaxis.set_major_locator(FixedLocator([zero, *ticks]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: "0" if value <= zero * 1.01 else f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def _logit(scores: ArrayLike) -> "np.ndarray[Any, np.dtype[np.float64]]":
    least = 1 / (1 + np.exp(_LOG_ODDS_LIMIT))
    values = np.clip(np.asarray(scores, dtype=np.float64), least, 1 - least)
    return np.log(values / (1 - values))
