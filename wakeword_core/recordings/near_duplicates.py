"""Recordings of different splits that sound the same: copies in another encoding, at another level, or cut shorter."""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pandas as pd

from wakeword_core.config import SPLITS
from wakeword_core.recordings.spectral_fingerprint import SIZE

_COARSE = 48
"""Numbers of a patch that are compared first; their distance is a lower bound of the whole."""
_ROWS, _COLUMNS = 1_024, 8_192
"""Patches that are compared at once: 32 MB."""
_BYTE = np.dtype(np.int8)

Vectors = npt.NDArray[np.float32]


def near_duplicates(recordings: pd.DataFrame, similarity: float) -> pd.DataFrame:
    """Pairs of recordings of different splits that sound the same: columns first, second (index), similarity.

    `recordings` has the columns split and fingerprint (bytes of patches, maybe none). The similarity of a pair is the
    highest cosine of two of their patches, and at least `similarity`. Most similar pairs first. All pairs are compared,
    in blocks: memory does not grow with their number.
    """
    patches = {split: _patches(recordings[recordings["split"] == split]) for split in SPLITS}
    found = [
        pair for one, other in combinations(SPLITS, 2) for pair in _pairs(patches[one], patches[other], similarity)
    ]
    first, second, cosine = (np.concatenate(column) for column in zip(*found, strict=True)) if found else ((), (), ())
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
    one: tuple[npt.NDArray[np.int64], Vectors], other: tuple[npt.NDArray[np.int64], Vectors], similarity: float
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]]:
    (owners, vectors), (other_owners, other_vectors) = one, other
    most = 2 - 2 * similarity
    coarse, other_coarse = _with_norms(vectors), _with_norms(other_vectors, second=True)
    for row in range(0, len(vectors), _ROWS):
        for column in range(0, len(other_vectors), _COLUMNS):
            squared = coarse[row : row + _ROWS] @ other_coarse[column : column + _COLUMNS].T
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
