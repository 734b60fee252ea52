"""How long somebody speaks in recordings whose speech the manifest does not know: all but the wake words' likes."""

import numpy as np

from wakeword_core.audio import Pcm, from_pcm16, resample
from wakeword_core.recordings.vad import VAD_SAMPLE_RATE, SpeechDetector

_LONGEST_SECONDS = 30.0
"""Whoever says a phrase alone is not recorded for longer, and hours of talk need not be looked through."""


class SpeechMeter:
    """Measures speech as the manifest does, at the same threshold of probability."""

    def __init__(self, sample_rate: int, threshold: float) -> None:
        self._rate = sample_rate
        self._threshold = threshold
        self._detector = SpeechDetector()

    def __call__(self, pcm: Pcm) -> float:
        """Return the seconds from the first to the last speech in int16 [samples]; NaN without any, or if too long."""
        if not 0 < len(pcm) <= _LONGEST_SECONDS * self._rate:
            return np.nan
        span = self._detector.span(resample(from_pcm16(pcm), self._rate, VAD_SAMPLE_RATE), self._threshold)
        return span.end_seconds - span.start_seconds if span else np.nan
