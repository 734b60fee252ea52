"""A manifest's health as one picture: how much there is of each class in each split, and what is left out."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from wakeword_core.config import NEGATIVE_LABEL, SPLITS
from wakeword_core.drawing import GREY, PALETTE, as_png, new_figure
from wakeword_core.recordings.summary import ManifestSummary

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SIZE = (9.6, 6.4)
_LEFT, _RIGHT, _LOW, _HIGH = 0.8, 5.45, 0.95, 3.6
"""Inches from the corner of the picture to those of its four panels."""
_WIDE, _TALL, _NAMES = 3.85, 2.0, 0.85
"""Of a panel, and how much of the last is for names beside it."""
_MOST_CLASSES = len(PALETTE) - 1
_OTHERS = "other labels"
_MOST_REASONS = 9
_SHOWN_NAME = 32
_LEGEND_COLUMNS = 3
_ROOM = 1.32
"""How much higher than the highest bar the axis ends: room for what stands above it."""


def health_picture(summary: ManifestSummary) -> bytes:
    """Draw recordings, hours and speakers of each class by split, and what is left out by reason, as a PNG."""
    figure = new_figure(*_SIZE, layout=None)
    recordings, hours, speakers, left_out = (
        figure.add_axes((left / _SIZE[0], low / _SIZE[1], wide / _SIZE[0], _TALL / _SIZE[1]))
        for left, low, wide in (
            (_LEFT, _HIGH, _WIDE),
            (_RIGHT, _HIGH, _WIDE),
            (_LEFT, _LOW, _WIDE),
            (_RIGHT + _NAMES, _LOW, _WIDE - _NAMES),
        )
    )
    labels = _labels(summary)
    _bars(recordings, summary.health, labels, "recordings", "recordings, and their share of the split")
    _bars(hours, summary.health, labels, "hours", "hours")
    _bars(speakers, summary.health, labels, "speakers", "speaker groups")
    if summary.unknown_speaker_share:
        share = f"{summary.unknown_speaker_share:.0%}"
        speakers.set_title(f"speaker groups (the speaker of {share} of the recordings is unknown)", fontsize=10)
    _left_out(left_out, summary)
    handles, names = recordings.get_legend_handles_labels()
    figure.legend(
        handles,
        names,
        loc="lower center",
        ncols=min(len(names), _LEGEND_COLUMNS) or 1,
        fontsize=9,
        frameon=False,
    )
    figure.suptitle(_headline(summary), fontsize=11)
    return as_png(figure)


def _headline(summary: ManifestSummary) -> str:
    text = (
        f"{summary.usable:,} usable of {summary.recordings:,} recordings, {summary.hours:.2f} h, "
        f"{summary.speakers:,} speaker groups"
    )
    if summary.missing_sources:
        names = ", ".join(source["source"] for source in summary.missing_sources[:4])
        more = f" and {len(summary.missing_sources) - 4} more" if len(summary.missing_sources) > 4 else ""
        text += f"\nmissing or broken sources: {names}{more}"
    return text


def _labels(summary: ManifestSummary) -> list[str]:
    """Negatives first, then the commonest classes; the rest are drawn together."""
    words = sorted((name for name in summary.labels if name != NEGATIVE_LABEL), key=lambda name: -summary.labels[name])
    named = [NEGATIVE_LABEL] * (NEGATIVE_LABEL in summary.labels) + words
    return named if len(named) <= _MOST_CLASSES else [*named[: _MOST_CLASSES - 1], _OTHERS]


def _bars(axes: "Axes", health: Sequence[dict[str, Any]], labels: Sequence[str], column: str, title: str) -> None:
    """A group of bars a split, a bar a class, each with its number (and its share, where recordings are counted)."""
    width = 0.8 / max(len(labels), 1)
    heights = {label: [_total(health, split, label, labels, column) for split in SPLITS] for label in labels}
    totals = np.sum(list(heights.values()), axis=0) if heights else np.zeros(len(SPLITS))
    for place, label in enumerate(labels):
        x = np.arange(len(SPLITS)) + (place - (len(labels) - 1) / 2) * width
        name = "no wake word" if label == NEGATIVE_LABEL else label
        bars = axes.bar(x, heights[label], width * 0.92, color=PALETTE[place], label=_short(name))
        texts = [_number(height) for height in heights[label]]
        if column == "recordings" and len(labels) <= 3:
            parts = np.divide(heights[label], totals, out=np.zeros(len(SPLITS)), where=totals > 0)
            shares = [f"{part:.0%}" for part in parts]
            texts = [f"{text}\n{share}" for text, share in zip(texts, shares, strict=True)]
        axes.bar_label(bars, texts, fontsize=7.5, padding=1.5, rotation=90 if len(labels) > 3 else 0)
    axes.set_xticks(range(len(SPLITS)), SPLITS)
    axes.set_ylim(0, max([1e-9, *(max(bars) for bars in heights.values())]) * _ROOM)
    axes.set_title(title, fontsize=10)
    _tidy(axes, "y")


def _total(health: Sequence[dict[str, Any]], split: str, label: str, labels: Sequence[str], column: str) -> float:
    meant = [
        row
        for row in health
        if row["split"] == split and (row["label"] == label or (label == _OTHERS and row["label"] not in labels))
    ]
    return float(sum(row[column] for row in meant))


def _left_out(axes: "Axes", summary: ManifestSummary) -> None:
    axes.set_title(f"left out: {summary.quarantined:,} recordings", fontsize=10)
    if not summary.reasons:
        axes.text(0.5, 0.5, "nothing is left out", ha="center", va="center", transform=axes.transAxes, color=GREY)
        axes.set_axis_off()
        return
    reasons = sorted(summary.reasons.items(), key=lambda item: (-item[1], item[0]))
    rest = sum(count for _, count in reasons[_MOST_REASONS:])
    reasons = reasons[:_MOST_REASONS] + ([("other reasons", rest)] if rest else [])
    bars = axes.barh([name for name, _ in reasons], [count for _, count in reasons], color=GREY)
    axes.bar_label(bars, [f"{count:,}" for _, count in reasons], fontsize=7.5, padding=2)
    axes.invert_yaxis()
    axes.set_xlim(0, reasons[0][1] * _ROOM)
    axes.locator_params(axis="x", nbins=4)
    _tidy(axes, "x")


def _tidy(axes: "Axes", grid: Literal["x", "y"]) -> None:
    axes.grid(visible=True, axis=grid, color="#E3E3E3", lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8.5)
    (axes.yaxis if grid == "y" else axes.xaxis).set_major_formatter("{x:,g}")


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:.2g}" if value < 10 else f"{value:,.1f}"


def _short(name: str) -> str:
    return name if len(name) <= _SHOWN_NAME else f"{name[: _SHOWN_NAME - 1]}…"
