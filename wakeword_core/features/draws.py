"""Random numbers that depend on a key alone: the same row draws the same numbers in any batch, order or process."""

import hashlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_STREAM = 0xD1B54A32D192ED03
_POINTS = 32
"""Places of each thing on a ring: the share that chooses it is even to about a fifth."""


def hash_keys(things: Iterable[bytes]) -> npt.NDArray[np.uint64]:
    """Return a 64-bit key for each thing, from its SHA-256: [things]."""
    return np.frombuffer(b"".join(hashlib.sha256(thing).digest()[:8] for thing in things), np.uint64)


def mix_bits(z: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Spread keys over all of their 64 bits, one for one."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def uniforms(keys: npt.NDArray[np.uint64], count: int, *, stream: int) -> npt.NDArray[np.float64]:
    """Draw `count` numbers in [0, 1) for each key: [keys, count].

    The generator is SplitMix64 (Steele et al. 2014); each purpose has a `stream` of its own.
    """
    base = mix_bits(keys + np.uint64((stream + 1) * _STREAM % 2**64))
    steps = np.arange(1, count + 1, dtype=np.uint64) * _GAMMA
    return _unit(mix_bits(base[:, None] + steps[None, :]))


def between(numbers: npt.NDArray[np.float64], limits: tuple[float, float]) -> npt.NDArray[np.float32]:
    """Scale numbers in [0, 1) to the range from one limit to the other."""
    return (limits[0] + numbers * (limits[1] - limits[0])).astype(np.float32)


class HashRing:
    """Chooses among things by their keys, so that one more of n takes 1/n of the choices and moves no other.

    Consistent hashing (Karger et al. 1997).
    """

    def __init__(self, keys: npt.NDArray[np.uint64]) -> None:
        points = uniforms(keys, _POINTS, stream=2).ravel()
        order = np.argsort(points, kind="stable")
        self._points, self._things = points[order], order // _POINTS

    def choose(self, numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """Return the index of the thing that each number in [0, 1) falls to: [numbers]; there must be a thing."""
        return self._things[np.searchsorted(self._points, numbers) % len(self._things)]


def _unit(bits: npt.NDArray[np.uint64]) -> npt.NDArray[np.float64]:
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
