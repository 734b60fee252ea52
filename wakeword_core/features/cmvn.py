"""Cepstral-style mean and variance normalisation of log-mels, from the training split only."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wakeword_core.errors import ArtifactError, DataError
from wakeword_core.features.store import FeatureFile
from wakeword_core.files import read_json, write_json
from wakeword_core.progress import Progress, silent

_MIN_STD = 1e-3
_ROWS = 512


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
        """Read what `save` wrote; an error when the numbers cannot normalise anything."""
        raw = read_json(path)
        mean, std = (np.asarray(raw[name], np.float32) for name in ("mean", "std"))
        if mean.shape != std.shape or mean.ndim != 1 or not np.isfinite(mean).all() or not (std > 0).all():
            raise ArtifactError(f"{path} does not hold a finite mean and a positive deviation for each band")
        return cls(mean, std)


def measure(features: FeatureFile, progress: Progress = silent) -> tuple[Cmvn, int]:
    """Mean and deviation over the valid frames of all rows (padding never counts), and the number of frames.

    Sums run in float64, in blocks, so that memory does not grow with the split.
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


def check_cmvn(features: FeatureFile, cmvn: Cmvn) -> dict[str, Any]:
    """How far the normalised split is from mean 0 and variance 1, at worst over the bands, measured anew."""
    again, frames = measure(features)
    mean = np.abs((again.mean - cmvn.mean) / cmvn.std)
    variance = np.abs((again.std / cmvn.std) ** 2 - 1.0)
    return {"frames": frames, "worst_mean": float(mean.max()), "worst_variance": float(variance.max())}
