"""Cepstral-style mean and variance normalisation of log-mels, from the training split only.

Features of microcontrollers are not normalised: the device does not, and the network gets its numbers as they are.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wakeword_core.config.base import lookup
from wakeword_core.errors import ArtifactError, DataError
from wakeword_core.features.store import FeatureFile
from wakeword_core.files import read_json, write_json
from wakeword_core.progress import Progress, silent

MEAN_TOLERANCE = 0.05
VARIANCE_TOLERANCE = 0.1
"""A sample of `check_cmvn` is further from mean 0 and variance 1 only if the statistics are not its split's."""
_MIN_STD = 1e-3
NOT_NORMALISED = "features of microcontrollers stay as the device makes them: mean 0 and deviation 1 change nothing"
_ROWS = 512
_SAMPLE_ROWS = 8_192


@dataclass(frozen=True)
class Cmvn:
    """Mean and standard deviation of each mel band: both float32 [n_mels]."""

    mean: npt.NDArray[np.float32]
    std: npt.NDArray[np.float32]

    def save(self, path: Path) -> None:
        """Write as JSON."""
        write_json(path, {"mean": [float(v) for v in self.mean], "std": [float(v) for v in self.std]})

    @classmethod
    def load(cls, path: Path) -> "Cmvn":
        """Read what `save` wrote; ArtifactError when the numbers cannot normalise anything."""
        raw = read_json(path)
        mean, std = (np.asarray(raw[name], np.float32) for name in ("mean", "std"))
        if mean.shape != std.shape or mean.ndim != 1 or not np.isfinite(mean).all() or not (std > 0).all():
            raise ArtifactError(f"{path} does not hold a finite mean and a positive deviation for each band")
        return cls(mean, std)

    @classmethod
    def of_nothing(cls, n_mels: int) -> "Cmvn":
        """Return statistics that change nothing."""
        return cls(np.zeros(n_mels, np.float32), np.ones(n_mels, np.float32))

    @property
    def changes_nothing(self) -> bool:
        """Whether features that it normalises stay as they are."""
        return not self.mean.any() and bool((self.std == 1).all())


def are_normalised(features: FeatureFile) -> bool:
    """Tell whether features are of a kind that is normalised."""
    return bool(lookup(features.config.get("features.frontend"), "kind") != "micro")


def measure(features: FeatureFile, progress: Progress = silent) -> tuple[Cmvn, int]:
    """Measure mean and deviation over the valid frames of all rows (padding never counts); also counts the frames.

    Sums run in float64, in blocks, so that memory does not grow with the split. Raises DataError when no frame is
    valid.
    """
    n_mels = features.n_mels
    total, squares, frames = np.zeros(n_mels), np.zeros(n_mels), 0
    for start, mel, valid in features.blocks(_ROWS):
        values = mel.astype(np.float64)
        weight = valid[:, None, :].astype(np.float64)
        frames += int(valid.sum())
        total += (values * weight).sum((0, 2))
        squares += (values**2 * weight).sum((0, 2))
        progress("cmvn", start + len(mel), len(features))
    if frames == 0:
        raise DataError("the training split has no frame to normalise by; check that its recordings are not silent")
    mean = total / frames
    std = np.sqrt(np.maximum(squares / frames - mean**2, 0.0))
    return Cmvn(mean.astype(np.float32), np.maximum(std, _MIN_STD).astype(np.float32)), frames


def check_cmvn(features: FeatureFile, cmvn: Cmvn, rows: int = _SAMPLE_ROWS) -> dict[str, Any]:
    """Normalise a sample of `rows` rows and measure how far it is from mean 0 and variance 1, at worst over the bands.

    The rows are one of each of as many equal stretches of the split, always the same ones, or all rows where there are
    no more. Each is read and cut to its valid frames by itself, so that a fault of `measure` or of what it read does
    not hide here. `worst_mean` is at most MEAN_TOLERANCE and `worst_variance` at most VARIANCE_TOLERANCE where the
    statistics are the split's own.
    """
    mean, std = (values.astype(np.float64)[:, None] for values in (cmvn.mean, cmvn.std))
    start, count = (features.column(name).astype(np.int64) for name in ("valid_start", "valid_frames"))
    total, squares, frames = np.zeros(len(cmvn.mean)), np.zeros(len(cmvn.mean)), 0
    chosen = _sample(len(features), rows)
    for first in range(0, len(chosen), _ROWS):
        stretch = chosen[first : first + _ROWS].tolist()
        for row, mel in zip(stretch, features.rows(stretch), strict=True):
            normalised = (mel[:, start[row] : start[row] + count[row]] - mean) / std
            total += normalised.sum(1)
            squares += np.square(normalised).sum(1)
            frames += normalised.shape[1]
    average = total / max(frames, 1)
    # a band that never changes has the least deviation there is, and no variance
    variance = np.maximum(squares / max(frames, 1) - average**2, (_MIN_STD / cmvn.std) ** 2)
    return {
        "rows": len(chosen),
        "frames": frames,
        "worst_mean": float(np.abs(average).max()),
        "worst_variance": float(np.abs(variance - 1.0).max()),
    }


def _sample(rows: int, most: int) -> npt.NDArray[np.int64]:
    """At most so many rows, one of each of as many equal stretches; at random in it, since views repeat regularly."""
    if rows <= most:
        return np.arange(rows)
    places = np.arange(most) + np.random.default_rng(0).random(most)
    return (places * (rows / most)).astype(np.int64)
