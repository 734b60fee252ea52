"""What recordings of rooms (impulse responses) are like: how long they ring, and how near their sound is."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_DIRECT_SECONDS = 0.0025
"""Sound counts as direct so long before and after the loudest sample, as is usual."""
_FIT_DB = (-5.0, -25.0)
"""Part of the decay that the reverberation time is read from (T20 of ISO 3382-1): most noise is below it."""
_DECAY_DB = -60.0
_LEAST = 1e-12

LEAST_DIRECT_DB = -15.0
"""Of direct to reverberant sound: below this a recording begins with no sound that could be called direct."""
MOST_BEFORE = 0.1
"""Share of the sound that may lie before the loudest sample, from which on a room is heard; the rest is cut off."""
LEAST_PEAK_DBFS = -40.0
"""A quieter recording of 16 bits loses its reverberation in the steps of its numbers."""


@dataclass(frozen=True)
class Room:
    """What a recording of a room was measured to be."""

    rt60_seconds: float
    """until sound has fallen by 60 dB; NaN where nothing sounds"""
    direct_db: float
    """direct sound against all that comes later"""
    before_share: float
    """of the energy that comes before the direct sound"""
    seconds: float
    peak_dbfs: float

    def problems(self, longest_rt60: float) -> list[str]:
        """Say why it is not fit to be mixed in."""
        found = []
        if self.before_share > MOST_BEFORE or self.direct_db < LEAST_DIRECT_DB:
            found.append("has no direct path")
        if self.rt60_seconds > longest_rt60:
            found.append(f"rings for {self.rt60_seconds:.1f} s")
        if self.peak_dbfs < LEAST_PEAK_DBFS:
            found.append("is too quiet")
        return found


def measure_room(response: npt.NDArray[np.int16], rate: int) -> Room:
    """Measure an impulse response [samples] in 16 bits: its decay by Schroeder's integral (1965), from its peak on."""
    sound = response.astype(np.float64) / 32_768
    energy, peak = sound**2, int(np.abs(sound).argmax()) if len(sound) else 0
    near = round(_DIRECT_SECONDS * rate)
    before, direct, later = (
        float(part.sum()) for part in np.split(energy, [max(0, peak - near), min(len(energy), peak + near + 1)])
    )
    loudest = float(energy.max(initial=0.0))
    return Room(
        rt60_seconds=_reverberation_seconds(energy[peak:], rate),
        direct_db=10 * float(np.log10((direct + _LEAST) / (later + _LEAST))),
        before_share=before / (before + direct + later + _LEAST),
        seconds=len(sound) / rate,
        peak_dbfs=10 * float(np.log10(loudest + _LEAST)),
    )


def _reverberation_seconds(energy: npt.NDArray[np.float64], rate: int) -> float:
    left = np.cumsum(energy[::-1])[::-1]
    if not len(left) or left[0] <= 0:
        return float("nan")
    decay = 10 * np.log10(left / left[0] + _LEAST)
    # a decay only falls: the first place below a level is where all later ones are
    first, last = (int(np.searchsorted(-decay, -level)) for level in _FIT_DB)
    if last >= len(decay):
        return float("nan")
    if last - first < 2:  # it falls within a sample or two, as without a room
        return 0.0
    slope = np.polyfit(np.arange(first, last) / rate, decay[first:last], 1)[0]
    return float(_DECAY_DB / slope) if slope < 0 else float("nan")
