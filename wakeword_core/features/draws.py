"""Random numbers that depend on a key alone: the same row draws the same numbers in any batch, order or process."""

import numpy as np
import numpy.typing as npt

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_STREAM = 0xD1B54A32D192ED03


def _mix(z: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def uniforms(keys: npt.NDArray[np.uint64], count: int, *, stream: int) -> npt.NDArray[np.float64]:
    """`count` numbers in [0, 1) for each key: [keys, count]; SplitMix64 (Steele et al. 2014), one stream a purpose."""
    base = _mix(keys + np.uint64((stream + 1) * _STREAM % 2**64))
    steps = np.arange(1, count + 1, dtype=np.uint64) * _GAMMA
    return (_mix(base[:, None] + steps[None, :]) >> np.uint64(11)).astype(np.float64) * 2.0**-53
