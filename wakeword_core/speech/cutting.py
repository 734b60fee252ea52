"""Pieces of a spoken phrase, cut where it is quiet: what is heard of a word that somebody breaks off or begins late."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

_FADE_SECONDS = 0.01
_FRAME_SECONDS = 0.01
_REACH = 0.08
"""Share of the phrase by which a cut may move to where it is quieter."""


@dataclass(frozen=True)
class Cut:
    """Which piece of a phrase is kept: about `share` of its length, within `least` and `most`, from one side."""

    side: Literal["beginning", "end"]
    share: float
    least: float = 0.0
    most: float = 1.0


def piece(speech: Samples, rate: int, cut: Cut) -> Samples:
    """Return a piece of float32 [samples], cut at the quietest place near and faded over 10 ms.

    The fade leaves no click that would tell what was cut.
    """
    low, high = max(cut.least, cut.share - _REACH), min(cut.most, cut.share + _REACH)
    if cut.side == "end":
        low, high = 1 - high, 1 - low
    first, last = round(low * len(speech)), round(high * len(speech))
    at = first + _quietest(speech[first:last], rate)
    kept = speech[:at] if cut.side == "beginning" else speech[at:]
    return faded(kept, rate, "end" if cut.side == "beginning" else "beginning")


def faded(x: Samples, rate: int, side: Literal["beginning", "end"]) -> Samples:
    """Return [samples] that come from nothing at the beginning, or go to nothing at the end, within 10 ms."""
    x = x.copy()
    length = min(round(_FADE_SECONDS * rate), len(x))
    slope = np.linspace(0.0, 1.0, length, endpoint=False, dtype=np.float32)
    if side == "beginning":
        x[:length] *= slope
    else:
        x[len(x) - length :] *= slope[::-1]
    return x


def _quietest(x: Samples, rate: int) -> int:
    """The middle of the 10 ms of [samples] that have the least energy."""
    frame = max(1, round(_FRAME_SECONDS * rate))
    if len(x) <= frame:
        return len(x) // 2
    energy = np.convolve(np.square(x, dtype=np.float64), np.ones(frame), mode="valid")
    return int(energy.argmin()) + frame // 2
