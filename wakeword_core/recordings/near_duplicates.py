"""Recordings of different splits that sound the same: copies in another encoding, at another level, or cut shorter.

Each recording is described in a few hundred bytes, of which gain, another encoding or sample rate and cut margins
change little; another recording of the same word by the same voice changes more.
"""

import math
from collections.abc import Iterator
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pandas as pd

from wakeword_core.config import SPLITS

FINGERPRINT_VERSION = 1
"""Raised when the same sound gives other numbers: what is remembered of recordings is then measured again."""
_BANDS_HERTZ = (150.0, 3_600.0)
_BANDS = 16
"""On a logarithmic scale, up to what a telephone line or a low bit rate leaves."""
_FRAME_SECONDS = 0.064
_HOP_SECONDS = 0.016
_PATCH_FRAMES = 72
"""Frames around an anchor that are described: a little over a second, which holds a word."""
_FLOOR_DB = 35.0
"""What is so far below the loudest of a patch counts as silence: encoding and rounding change it."""
_SMOOTHED_FRAMES = 45
"""Over which power is averaged to find where a recording is loudest."""
_ANCHORS = 3
_QUIETEST_ANCHOR_DB = 12.0
"""Below the loudest anchor: what is quieter says more of the noise than of the recording."""
_SHORT_PATCHES = 3
"""A recording of so many patches or fewer may be described up to its edges; in others an edge is chance."""
_COEFFICIENTS = (16, 12)
"""Of a cosine transform over frames and bands, without the constant ones: level over time, and colour."""
_WEIGHTS = np.sqrt(np.outer(*(np.arange(1, count + 1) for count in _COEFFICIENTS)))
"""Detail counts for more than the shape that all recordings of a word share."""
SIZE = _COEFFICIENTS[0] * _COEFFICIENTS[1]
"""Numbers a patch."""
_SCALE = 211.0
"""Of a unit vector's numbers to bytes: none that was met came near 127."""
_BATCH_FRAMES = 512
_EQUAL = 1 - 1e-5
"""The cosine of equal patches is no less than this, and rarely 1: numbers are rounded."""

Patches = npt.NDArray[np.int8]
Powers = npt.NDArray[np.float32]


class BandPowers:
    """Power in each band, frame by frame, of sound that comes in blocks."""

    def __init__(self, sample_rate: int) -> None:
        self._frame = max(2, round(_FRAME_SECONDS * sample_rate))
        self._hop = max(1, round(_HOP_SECONDS * sample_rate))
        self._window = np.hanning(self._frame).astype(np.float32)
        self._bands = _band_matrix(self._frame, sample_rate)
        self._rest = np.zeros(0, np.float32)
        self._powers: list[Powers] = []

    def add(self, block: npt.NDArray[np.float32]) -> None:
        """Add a block of mono sound [samples]."""
        sound = np.concatenate([self._rest, block])
        frames = max(0, (len(sound) - self._frame) // self._hop + 1)
        if frames:
            views = np.lib.stride_tricks.sliding_window_view(sound, self._frame)[:: self._hop]
            for start in range(0, frames, _BATCH_FRAMES):
                spectrum = np.fft.rfft(views[start : start + _BATCH_FRAMES] * self._window)
                power = spectrum.real**2 + spectrum.imag**2
                self._powers.append(power.astype(np.float32, copy=False) @ self._bands)
        self._rest = sound[frames * self._hop :]

    def finish(self) -> Powers:
        """Return the power float32 [frames, bands] of all sound, up to its fading out."""
        self.add(np.zeros(self._frame, np.float32))
        return np.concatenate(self._powers)


def fingerprint(powers: Powers) -> Patches:
    """Describe the sound around a recording's loudest moments, int8 [1 to 3 patches, SIZE]; silence is [0, SIZE].

    Each patch is the low part of a cosine transform of log powers over time and frequency; equal sound in two
    recordings gives two patches whose cosine is near 1.
    """
    total = powers.sum(axis=1, dtype=np.float64)
    patches = [_describe(_patch(powers, anchor)) for anchor in _anchors(total)]
    return np.stack(patches) if patches else np.zeros((0, SIZE), np.int8)


def _band_matrix(frame: int, sample_rate: int) -> Powers:
    """Triangles over the bins of a spectrum, each from its neighbour's centre below to that above: [bins, bands]."""
    edges = np.geomspace(*_BANDS_HERTZ, _BANDS + 2)
    hertz = np.fft.rfftfreq(frame, 1 / sample_rate)[:, None]
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    return np.minimum((hertz - low) / (centre - low), (high - hertz) / (high - centre)).clip(0).astype(np.float32)


def _anchors(total: npt.NDArray[np.float64]) -> list[float]:
    """Places of the highest peaks of smoothed power [frames], to a fraction of a frame; the highest first."""
    window = np.hanning(_SMOOTHED_FRAMES + 2)[1:-1]
    before = (_SMOOTHED_FRAMES - 1) // 2
    level = np.convolve(total, window / window.sum())
    free = np.ones(len(level), bool)
    if len(total) > _SHORT_PATCHES * _PATCH_FRAMES:
        free[: before + _PATCH_FRAMES // 2] = free[-before - _PATCH_FRAMES // 2 :] = False
    least = level.max(initial=0.0) * 10 ** (-_QUIETEST_ANCHOR_DB / 10)
    anchors: list[float] = []
    while free.any() and len(anchors) < _ANCHORS:
        best = int(np.where(free, level, -1.0).argmax())
        if level[best] <= 0 or level[best] < least:
            break
        free[max(0, best - _PATCH_FRAMES) : best + _PATCH_FRAMES] = False
        anchors.append(best + _peak_offset(level[max(0, best - 1) : best + 2]) - before)
    return anchors


def _peak_offset(around: npt.NDArray[np.float64]) -> float:
    """Where between its two neighbours a parabola through a peak is highest: -0.5 to 0.5."""
    if len(around) < 3:
        return 0.0
    before, here, after = around.tolist()
    curve = before - 2 * here + after
    return min(0.5, max(-0.5, (before - after) / (2 * curve))) if curve < 0 else 0.0


def _patch(powers: Powers, anchor: float) -> npt.NDArray[np.float64]:
    """Log powers in dB of the frames around an anchor, silence where there is no recording: [_PATCH_FRAMES, bands]."""
    first = anchor - _PATCH_FRAMES / 2
    part = first - math.floor(first)
    places = math.floor(first) + np.arange(_PATCH_FRAMES + 1)
    inside = (places >= 0) & (places < len(powers))
    around = np.where(inside[:, None], powers[places.clip(0, len(powers) - 1)], 0.0).astype(np.float64)
    around = (1 - part) * around[:-1] + part * around[1:]
    floor = max(around.max() * 10 ** (-_FLOOR_DB / 10), np.finfo(np.float64).tiny)
    decibels: npt.NDArray[np.float64] = 10 * np.log10(np.maximum(around, floor))
    return decibels


def _describe(patch: npt.NDArray[np.float64]) -> npt.NDArray[np.int8]:
    from scipy.fft import dctn

    frames, bands = _COEFFICIENTS
    coefficients = dctn(patch, norm="ortho")[1 : 1 + frames, 1 : 1 + bands] * _WEIGHTS
    unit = coefficients.ravel() / max(float(np.linalg.norm(coefficients)), 1e-9)
    return np.clip(np.rint(unit * _SCALE), -127, 127).astype(np.int8)


_COARSE = 48
"""Numbers of a patch that are compared first; their distance is a lower bound of the whole."""
_BLOCK_ROWS, _BLOCK_COLUMNS = 1_024, 8_192
"""Patches that are compared at once: 32 MB."""
_BYTE = np.dtype(np.int8)

Vectors = npt.NDArray[np.float32]


def near_duplicates(recordings: pd.DataFrame, similarity: float, known: pd.Series | None = None) -> pd.DataFrame:
    """Find recordings of different splits that sound the same: columns first, second (index), similarity.

    `recordings` has the columns split and fingerprint (bytes of patches, maybe none). The similarity of a pair is the
    highest cosine of two of their patches, and at least `similarity`. Most similar pairs first. All pairs are compared,
    in blocks: memory does not grow with their number. Of two that are `known` [recordings] it is known that they differ
    from each other: only pairs with another are compared.
    """
    similarity = min(similarity, _EQUAL)
    is_known = np.zeros(len(recordings), bool) if known is None else known.to_numpy(bool)
    old, new, every = (
        {split: chosen[chosen["split"] == split] for split in SPLITS}
        for chosen in (recordings[is_known], recordings[~is_known], recordings)
    )
    blocks = [
        block
        for split, later in combinations(SPLITS, 2)
        for one, other in ((new[split], every[later]), (old[split], new[later]))
        if len(one) and len(other)
        for block in _pairs(_patches(one), _patches(other), similarity)
    ]
    first, second, cosine = (np.concatenate(column) for column in zip(*blocks, strict=True)) if blocks else ((), (), ())
    pairs = pd.DataFrame({"first": first, "second": second, "similarity": cosine})
    pairs = pairs.sort_values(["similarity", "first", "second"], ascending=[False, True, True])
    return pairs.drop_duplicates(["first", "second"]).reset_index(drop=True)


def _patches(recordings: pd.DataFrame) -> tuple[npt.NDArray[np.int64], Vectors]:
    """Index of the recording of each patch, and the patches as unit vectors [patches, SIZE], broad shapes first."""
    texts = recordings["fingerprint"]
    owners = np.repeat(recordings.index.to_numpy(), texts.str.len().to_numpy(np.int64) // SIZE)
    vectors = np.frombuffer(b"".join(texts), _BYTE).reshape(-1, SIZE).astype(np.float32)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    return owners, vectors


def _pairs(
    side: tuple[npt.NDArray[np.int64], Vectors], other: tuple[npt.NDArray[np.int64], Vectors], similarity: float
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]]:
    (owners, vectors), (other_owners, other_vectors) = side, other
    most = 2 - 2 * similarity
    coarse, other_coarse = _with_norms(vectors), _with_norms(other_vectors, second=True)
    for row in range(0, len(vectors), _BLOCK_ROWS):
        for column in range(0, len(other_vectors), _BLOCK_COLUMNS):
            squared = coarse[row : row + _BLOCK_ROWS] @ other_coarse[column : column + _BLOCK_COLUMNS].T
            near = np.flatnonzero(squared <= most)
            left, right = np.divmod(near, squared.shape[1])
            left, right = left + row, right + column
            cosine = np.einsum("ij,ij->i", vectors[left], other_vectors[right])
            kept = cosine >= similarity
            yield owners[left[kept]], other_owners[right[kept]], cosine[kept]


def _with_norms(vectors: Vectors, *, second: bool = False) -> Vectors:
    """The coarse part of vectors, so that the product of a first and a second one is their squared distance."""
    coarse = vectors[:, :_COARSE]
    squares, ones = np.einsum("ij,ij->i", coarse, coarse)[:, None], np.ones((len(coarse), 1), np.float32)
    return np.hstack([-2 * coarse, ones, squares] if second else [coarse, squares, ones])
