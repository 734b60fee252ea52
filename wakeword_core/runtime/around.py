"""The audio around detections in a stream: what a second model, here or on a server, hears of them."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from wakeword_core.runtime.detector import Detection

Pcm = npt.NDArray[np.int16]


def span_of(time: float, sample_rate: int, before_seconds: float, after_seconds: float) -> tuple[int, int]:
    """Return from and to which sample a stream is heard around `time` s; from may be before its beginning."""
    return round((time - before_seconds) * sample_rate), round((time + after_seconds) * sample_rate)


class Around:
    """Keeps so many seconds before and after each detection of a stream, and no more audio than they need."""

    def __init__(self, sample_rate: int, before_seconds: float, after_seconds: float) -> None:
        self.samples = 0
        """So many were heard."""
        self._rate, self._before, self._after = sample_rate, before_seconds, after_seconds
        self._waiting: list[Detection] = []
        self._kept: Pcm = np.empty(0, np.int16)

    def push(self, pcm: Pcm, detections: Sequence[Detection]) -> list[tuple[Detection, Pcm]]:
        """Take the next int16 [samples] and the detections in them.

        Returns each detection whose audio is whole now, in their order, with that audio, int16 [samples].
        """
        self.samples += len(pcm)
        self._kept = np.concatenate([self._kept, pcm])
        self._waiting += detections
        ready = 0
        while ready < len(self._waiting) and self._span(self._waiting[ready])[1] <= self.samples:
            ready += 1
        return self._taken(ready)

    def finish(self) -> list[tuple[Detection, Pcm]]:
        """Return the detections that still wait, with the audio that there is."""
        return self._taken(len(self._waiting))

    def _taken(self, count: int) -> list[tuple[Detection, Pcm]]:
        first = self.samples - len(self._kept)
        taken = []
        for detection in self._waiting[:count]:
            start, stop = (max(0, sample - first) for sample in self._span(detection))
            taken.append((detection, self._kept[start:stop].copy()))
        del self._waiting[:count]
        # a later detection is later than all audio so far
        earliest = self._span(self._waiting[0])[0] if self._waiting else self.samples - round(self._before * self._rate)
        self._kept = self._kept[max(0, earliest - first) :].copy()
        return taken

    def _span(self, detection: Detection) -> tuple[int, int]:
        return span_of(detection.time, self._rate, self._before, self._after)
