"""A picture of some rows of a split's features, to see at a glance what a model is trained on."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from wakeword_core.config import FrontendConfig
from wakeword_core.drawing import as_png, new_figure
from wakeword_core.features.store import FeatureFile

_SHOWN = 8
_COLUMNS = 4
_WIDTH, _HEIGHT, _SIDES, _FOOT = 2.5, 2.0, 1.9, 0.55
"""Inches: of one row's picture, of what is on both sides of all of them, and of what is below."""
_LABELS = {
    "log_mel": ("mel band", "log power (nats)"),
    "mel_db": ("mel band", "power (dB)"),
    "mfcc": ("cepstral coefficient", "value"),
    "micro": ("mel band", "log of the gain-controlled level"),
}
"""By kind of features: what stands on the vertical axis, and beside the colours."""


def sample_mels(features: Path, frontend: FrontendConfig, sample_rate: int) -> bytes:
    """Draw a few positives and a few other rows of the split in the folder `features`, evenly picked, as a PNG."""
    file = FeatureFile(features)
    labels = file.column("labels")
    chosen: list[int] = []
    for group in (np.flatnonzero(labels > 0), np.flatnonzero(labels == 0)):
        if len(group):
            chosen += group[np.linspace(0, len(group) - 1, min(_SHOWN // 2, len(group))).astype(int)].tolist()
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
    width, height = _WIDTH * columns + _SIDES, _HEIGHT * rows + _FOOT
    figure = new_figure(width, height, layout=None)
    figure.subplots_adjust(
        left=0.6 / width, right=1 - 1.3 / width, bottom=_FOOT / height, top=1 - 0.35 / height, hspace=0.25, wspace=0.08
    )
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    low, high = np.percentile(images, [1, 99.5])
    for index, axes in enumerate(grid.flat):
        axes.grid(False)
        if index >= len(images):
            axes.set_axis_off()
            continue
        extent = (0.0, images.shape[2] * hop_seconds, 0.0, float(images.shape[1]))
        image = axes.imshow(
            images[index], origin="lower", aspect="auto", extent=extent, vmin=low, vmax=high, cmap="magma"
        )
        axes.set_title(titles[index], fontsize=9)
    for axes in grid.flat[max(len(images) - columns, 0) : len(images)]:
        axes.set_xlabel("time (s)")
        axes.tick_params(labelbottom=True)
    bands, values = _LABELS[kind]
    for axes in grid[:, 0]:
        axes.set_ylabel(bands)
    figure.colorbar(image, cax=figure.add_axes((1 - 1.15 / width, 0.2, 0.15 / width, 0.7)), label=values)
    return as_png(figure)
