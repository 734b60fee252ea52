"""Playing sound faster or slower, pitch with it, as a product of matrices: for batches, on CPU and GPU.

Speeds are fractions of `STEPS`, so that the phases of interpolation repeat after `STEPS` samples of output: those are
one row of frames times one small matrix of filters. On a CPU that is 40 times faster than weights a sample.
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from wakeword_core.features.transfer import on_device

STEPS = 100
"""Speeds are whole hundredths."""
TAPS = 16
"""Taps of the windowed-sinc filters: the image of 3 kHz at 16 kHz stays 50 dB down."""
_HALF = TAPS // 2
_TINY = 1e-9


def source_samples(samples: int, fastest: float) -> int:
    """Samples that `samples` of output need at a speed of `fastest` at most."""
    return int(np.ceil(samples * max(1.0, fastest))) + TAPS


def whole_steps(speed: npt.NDArray[np.floating] | float) -> npt.NDArray[np.int64]:
    """The nearest hundredths of some speeds."""
    return np.rint(np.asarray(speed) * STEPS).astype(np.int64)


def resample_from_end(audio: torch.Tensor, steps: int, samples: int) -> torch.Tensor:
    """Play [rows, n] at `steps` hundredths of its speed, the end in place: [rows, samples]; silent before the first.

    Windowed-sinc (Hann) interpolation, low-pass filtered where a higher speed would fold frequencies back; duration and
    pitch change together, as with a tape.
    """
    filters, first, extra = _filters(steps, audio.shape[1], samples)
    weights = on_device(filters, audio.device)
    padded = functional.pad(audio, (max(0, -first), _HALF))
    blocks = (samples + extra) // STEPS
    frames = padded.as_strided(
        (len(padded), blocks, len(weights)), (padded.shape[1], steps, 1), padded.storage_offset() + max(0, first)
    )
    # a product for each row by itself: of one for all of them, the last bits depend on how many rows there are
    return torch.bmm(frames, weights.expand(len(padded), -1, -1)).view(len(audio), -1)[:, extra:]


@lru_cache(maxsize=256)
def _filters(steps: int, given: int, samples: int) -> tuple[npt.NDArray[np.float32], int, int]:
    """Filters [taps, STEPS] of one block of output, where its first frame begins, and samples in excess at the left."""
    extra = -samples % STEPS
    earliest = given - 1 - (samples + extra - 1) * steps / STEPS
    begin = int(np.floor(earliest + _TINY))
    position = earliest - begin + np.arange(STEPS) * steps / STEPS
    taps = int(np.floor(position[-1] + _TINY)) + TAPS
    distance = np.arange(taps)[:, None] - (_HALF - 1) - position
    cutoff = min(1.0, STEPS / steps)
    hann = np.where(np.abs(distance) < _HALF, 0.5 + 0.5 * np.cos(np.pi * distance / _HALF), 0.0)
    return (cutoff * np.sinc(cutoff * distance) * hann).astype(np.float32), begin - _HALF + 1, extra
