"""A picture of some rows of a split's features, to see at a glance what a model is trained on."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from wakeword_core.config import FrontendConfig
from wakeword_core.drawing import as_png, new_figure
from wakeword_core.features.store import FeatureFile, spread

_SHOWN = 8
_SCALE = "magma"
_COLUMNS = 4
_WIDTH, _HEIGHT, _SIDES, _FOOT = 2.5, 2.0, 1.9, 0.55
"""Inches: of one row's picture, of what is on both sides of all of them, and of what is below."""
_GAP_ABOVE, _GAP_BESIDE = 0.25, 0.08
"""Between pictures, as shares of one."""
_LABELS = {
    "log_mel": ("mel band", "log power (nats)"),
    "mel_db": ("mel band", "power (dB)"),
    "mfcc": ("cepstral coefficient", "value"),
    "micro": ("mel band", "log of the gain-controlled level"),
    "plugin": ("number", "value"),
}
"""By kind of features: what stands on the vertical axis, and beside the colours."""


def sample_mels(features: Path, frontend: FrontendConfig, sample_rate: int) -> bytes:
    """Draw a few positives and a few other rows of the split in the folder `features`, evenly picked, as a PNG."""
    file = FeatureFile(features)
    labels = file.column("labels")
    chosen = [row for group in (labels > 0, labels == 0) for row in spread(np.flatnonzero(group), _SHOWN // 2)]
    titles = [file.labels[labels[row]].removeprefix("_") for row in chosen]
    return mel_grid(file.rows(chosen), titles, frontend.hop_length / sample_rate, frontend.kind)


def mel_grid(mels: ArrayLike, titles: Sequence[str], hop_seconds: float, kind: str = "log_mel") -> bytes:
    """Draw windows [n, n_mels, frames] side by side on one colour scale, each under its title, as a PNG."""
    images = np.asarray(mels, dtype=np.float32)
    if images.ndim != 3 or len(images) != len(titles) or not len(images):
        raise ValueError(
            f"mels {list(images.shape)} must be [n, n_mels, frames] with one title each, not {len(titles)}"
        )
    columns = min(_COLUMNS, len(images))
    rows = -(-len(images) // columns)
    count, bands, frames = images.shape
    high, wide = round(bands * (1 + _GAP_ABOVE)), round(frames * (1 + _GAP_BESIDE))
    # in one image, since every further axes costs as much as all else
    canvas = np.full((rows * high, columns * wide), np.nan, np.float32)
    corners = [((rows - 1 - place // columns) * high, place % columns * wide) for place in range(count)]
    for (bottom, left), image in zip(corners, images, strict=True):
        canvas[bottom : bottom + bands, left : left + frames] = image
    width, height = _WIDTH * columns + _SIDES, _HEIGHT * rows + _FOOT
    figure = new_figure(width, height, layout=None)
    axes = figure.add_axes((0.6 / width, _FOOT / height, 1 - _SIDES / width, 1 - _FOOT / height))
    low, loud = np.percentile(images, [1, 99.5])
    shown = axes.imshow(canvas, origin="lower", aspect="auto", vmin=low, vmax=loud, cmap=_SCALE)
    for (bottom, left), title in zip(corners, titles, strict=True):
        axes.text(left + frames / 2, bottom + bands * (1 + _GAP_ABOVE / 4), title, ha="center", fontsize=9)
    seconds = range(int(frames * hop_seconds) + 1)
    axes.set_xticks(
        [column * wide + second / hop_seconds for column in range(columns) for second in seconds],
        [f"{second}" for _ in range(columns) for second in seconds],
    )
    axes.set_yticks(
        [row * high + band for row in range(rows) for band in (0, bands // 2, bands)],
        [f"{band}" for _ in range(rows) for band in (0, bands // 2, bands)],
    )
    axes.spines[:].set_visible(False)
    axes.set_xlabel("time (s)")
    bands_name, values = _LABELS[kind]
    axes.set_ylabel(bands_name)
    figure.colorbar(shown, cax=figure.add_axes((1 - 1.15 / width, 0.2, 0.15 / width, 0.7)), label=values)
    return as_png(figure, quickly=True, scale=_SCALE)
