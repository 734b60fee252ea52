"""A manifest's health as one picture: how much there is of each class in each split, and what is left out."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from wakeword_core.config import NEGATIVE_LABEL, SPLITS
from wakeword_core.drawing import GREY, PALETTE, as_png, new_figure
from wakeword_core.recordings.summary import ManifestSummary

_WIDTH, _HEIGHT = 9.6, 6.4
_LEFT, _RIGHT, _LOW, _HIGH = 0.8, 5.45, 1.2, 3.75
"""Inches from the corner of the picture to those of its four panels."""
_WIDE, _TALL, _NAMES = 3.85, 1.9, 0.85
"""Of a panel, and how much of the last is for names beside it."""
_MOST_CLASSES = len(PALETTE) - 1
_OTHERS = "other labels"
_MOST_REASONS = 9
_SHOWN_NAME = 32
_LEGEND_COLUMNS, _LEGEND_WIDE, _LEGEND_TALL = 3, 2.9, 0.22
_ROOM = 1.32
"""How much higher than the highest bar a panel is: room for what stands above it."""


def health_picture(summary: ManifestSummary) -> bytes:
    """Draw recordings, hours and speakers of each class by split, and what is left out by reason, as a PNG.

    Every bar has its number, so that there need be no axes, which would take most of the time.
    """
    sheet, labels, health = _Sheet(), _labels(summary), summary.health
    speakers = "speaker groups"
    if summary.unknown_speaker_share:
        speakers += f" (the speaker of {summary.unknown_speaker_share:.0%} of the recordings is unknown)"
    _bars(sheet, _LEFT, _HIGH, health, labels, "recordings", "recordings, and their share of the split")
    _bars(sheet, _RIGHT, _HIGH, health, labels, "hours", "hours")
    _bars(sheet, _LEFT, _LOW, health, labels, "speakers", speakers)
    _left_out(sheet, summary)
    for place, label in enumerate(labels):
        row, column = divmod(place, _LEGEND_COLUMNS)
        x, y = _LEFT + column * _LEGEND_WIDE, 0.6 - row * _LEGEND_TALL
        sheet.bar(x, y, 0.25, 0.1, PALETTE[place])
        sheet.text(x + 0.35, y, _short("no wake word" if label == NEGATIVE_LABEL else label), 9, ha="left", va="bottom")
    sheet.text(_WIDTH / 2, _HEIGHT - 0.15, _headline(summary), 11, va="top")
    return as_png(sheet.figure, quickly=True)


class _Sheet:
    """A figure on which everything is placed in inches from its lower left corner."""

    def __init__(self) -> None:
        self.figure = new_figure(_WIDTH, _HEIGHT, layout=None)

    def bar(self, left: float, low: float, wide: float, high: float, colour: str) -> None:
        from matplotlib.patches import Rectangle

        patch = Rectangle((left, low), wide, high, color=colour, lw=0, transform=self.figure.dpi_scale_trans)
        self.figure.add_artist(patch)

    def text(self, x: float, y: float, text: str, size: float, **how: Any) -> None:
        where = {"ha": "center", "transform": self.figure.dpi_scale_trans, **how}
        self.figure.text(x, y, text, fontsize=size, **where)


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


def _bars(
    sheet: _Sheet, left: float, low: float, health: Sequence[dict[str, Any]], labels: Sequence[str], column: str,
    title: str,
) -> None:  # fmt: skip
    """A group of bars a split, a bar a class, each with its number (and its share, where recordings are counted)."""
    heights = {label: [_total(health, split, label, labels, column) for split in SPLITS] for label in labels}
    totals = np.sum(list(heights.values()), axis=0) if heights else np.zeros(len(SPLITS))
    inch = _TALL / (max([1e-9, *(max(bars) for bars in heights.values())]) * _ROOM)
    group, wide = _WIDE / len(SPLITS), 0.8 * _WIDE / len(SPLITS) / max(len(labels), 1)
    for split, name in enumerate(SPLITS):
        sheet.text(left + (split + 0.5) * group, low - 0.2, name, 9)
        for place, label in enumerate(labels):
            x, height = left + (split + 0.1) * group + place * wide, heights[label][split]
            sheet.bar(x, low, wide * 0.92, height * inch, PALETTE[place])
            text = _number(height)
            if column == "recordings" and len(labels) <= 3:
                text += f"\n{height / max(totals[split], 1):.0%}"
            turned = 90 if len(labels) > 3 else 0
            sheet.text(x + wide * 0.46, low + height * inch + 0.03, text, 7.5, va="bottom", rotation=turned)
    sheet.bar(left, low - 0.01, _WIDE, 0.01, GREY)
    sheet.text(left + _WIDE / 2, low + _TALL + 0.07, title, 10, va="bottom")


def _total(health: Sequence[dict[str, Any]], split: str, label: str, labels: Sequence[str], column: str) -> float:
    meant = [
        row
        for row in health
        if row["split"] == split and (row["label"] == label or (label == _OTHERS and row["label"] not in labels))
    ]
    return float(sum(row[column] for row in meant))


def _left_out(sheet: _Sheet, summary: ManifestSummary) -> None:
    left, middle = _RIGHT + _NAMES, _RIGHT + _WIDE / 2
    sheet.text(middle, _LOW + _TALL + 0.07, f"left out: {summary.quarantined:,} recordings", 10, va="bottom")
    if not summary.reasons:
        sheet.text(middle, _LOW + _TALL / 2, "nothing is left out", 10, color=GREY)
        return
    reasons = sorted(summary.reasons.items(), key=lambda item: (-item[1], item[0]))
    rest = sum(count for _, count in reasons[_MOST_REASONS:])
    reasons = reasons[:_MOST_REASONS] + ([("other reasons", rest)] if rest else [])
    inch, step = (_WIDE - _NAMES) / (reasons[0][1] * _ROOM), _TALL / len(reasons)
    for place, (name, count) in enumerate(reasons):
        y = _LOW + _TALL - (place + 0.5) * step
        sheet.bar(left, y - 0.4 * step, count * inch, 0.8 * step, GREY)
        sheet.text(left - 0.07, y, name, 8.5, ha="right", va="center")
        sheet.text(left + count * inch + 0.05, y, f"{count:,}", 7.5, ha="left", va="center")
    sheet.bar(left - 0.01, _LOW, 0.01, _TALL, GREY)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:.2g}" if value < 10 else f"{value:,.1f}"


def _short(name: str) -> str:
    return name if len(name) <= _SHOWN_NAME else f"{name[: _SHOWN_NAME - 1]}…"
