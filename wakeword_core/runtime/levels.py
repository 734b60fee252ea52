"""What is wrong with sound itself, whatever is said in it: a hint for who wonders why nothing is heard.

Every hint is of something that no recording of speech by a working microphone has. Needs numpy only.
"""

from collections.abc import Iterable, Iterator
from typing import Literal

import numpy as np
import numpy.typing as npt

Pcm = npt.NDArray[np.int16]
Fault = Literal["silent", "quiet", "clipped", "narrow"]

HINTS: dict[Fault, str] = {
    "silent": "every sample is the same: is the microphone muted, or another one in use?",
    "quiet": "nothing in it is louder than -50 dBFS: turn the microphone up, or check how samples are scaled",
    "clipped": "much of it is cut off at full scale: turn the microphone down",
    "narrow": "nothing in it is above 4 kHz: does it come from a telephone, or have another sample rate than it says?",
}
_FULL_SCALE = 32_768
_QUIET = _FULL_SCALE * 10 ** (-50 / 20)
_CLIPPED_SHARE = 0.005
_LEAST_SECONDS = 2.0
"""Of less sound nothing is said."""
_WATCHED_SECONDS = 10.0
_FRAME = 512
_SPEECH_HZ, _ABOVE_HZ = (300.0, 3_400.0), (4_300.0, 7_500.0)
_NARROW = 10 ** (-60 / 10)
"""So much less power above 4 kHz than in speech has no microphone, whose own noise is more, but resampled sound."""
_LOUD = (_FULL_SCALE * 10 ** (-45 / 20)) ** 2
"""Power per sample from which on the rounding of samples to 16 bits is below `_NARROW` of it."""


class Levels:
    """Looks at sound that comes in pieces; memory does not grow with it."""

    def __init__(self, sample_rate: int) -> None:
        self._rate = sample_rate
        self._samples = self._clipped = 0
        self._low, self._high = np.inf, -np.inf
        self._power = np.zeros(2)  # of speech, and above 4 kHz
        self._pending: Pcm = np.empty(0, np.int16)
        frequencies = np.fft.rfftfreq(_FRAME, 1 / sample_rate)
        self._bands = [(frequencies >= low) & (frequencies <= high) for low, high in (_SPEECH_HZ, _ABOVE_HZ)]
        self._window = np.hanning(_FRAME)

    @property
    def seconds(self) -> float:
        """How much was heard."""
        return self._samples / self._rate

    def push(self, pcm: Pcm) -> None:
        """Take the next samples, int16 [samples]."""
        if not len(pcm):
            return
        self._samples += len(pcm)
        self._low, self._high = min(self._low, float(pcm.min())), max(self._high, float(pcm.max()))
        self._clipped += int(np.count_nonzero((pcm >= _FULL_SCALE - 1) | (pcm <= -_FULL_SCALE)))
        if self._rate >= 2 * _ABOVE_HZ[1]:
            whole = np.concatenate([self._pending, pcm])
            frames = whole[: len(whole) // _FRAME * _FRAME].reshape(-1, _FRAME)
            self._pending = whole[frames.size :].copy()
            for start in range(0, len(frames), _FRAME):
                spectrum = np.abs(np.fft.rfft(frames[start : start + _FRAME] * self._window)) ** 2
                self._power += [float(spectrum[:, band].sum()) for band in self._bands]

    def passing(self, blocks: Iterable[Pcm]) -> Iterator[Pcm]:
        """Yield the blocks of a recording, and look at each on its way."""
        for block in blocks:
            self.push(block)
            yield block

    @property
    def fault(self) -> Fault | None:
        """What is wrong with all that was heard, or None."""
        if self.seconds < _LEAST_SECONDS:
            return None
        if self._low == self._high:
            return "silent"
        if max(-self._low, self._high) < _QUIET:
            return "quiet"
        if self._clipped > _CLIPPED_SHARE * self._samples:
            return "clipped"
        speech, above = self._power
        # the power of a spectrum over that of the samples: the squares of the window, and half of the spectrum
        if speech > _LOUD * self._samples * float(np.square(self._window).sum()) / 2 and above < _NARROW * speech:
            return "narrow"
        return None

    @property
    def hint(self) -> str | None:
        """A sentence on the fault, or None."""
        return None if self.fault is None else HINTS[self.fault]


class Watch:
    """Looks at a stream, ten seconds at a time, and gives each hint once."""

    def __init__(self, sample_rate: int) -> None:
        self._rate = sample_rate
        self._levels = Levels(sample_rate)
        self._given: set[Fault] = set()

    def push(self, pcm: Pcm) -> str | None:
        """Take the next samples, int16 [samples], and return the hint that they bring."""
        self._levels.push(pcm)
        return self.finish() if self._levels.seconds >= _WATCHED_SECONDS else None

    def finish(self) -> str | None:
        """Return the hint that the last seconds bring."""
        fault, self._levels = self._levels.fault, Levels(self._rate)
        if fault is None or fault in self._given:
            return None
        self._given.add(fault)
        return HINTS[fault]
