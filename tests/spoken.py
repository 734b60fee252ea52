"""What a synthetic voice says, somewhere in the sound of a quiet room."""

import functools

import numpy as np

from wakeword_core.audio import from_pcm16, resample, to_pcm16
from wakeword_core.speech import espeak

RATE = 16_000


@functools.cache
def voice(text="hey robin"):
    """A phrase without anything around it, float32 [samples], 8 dB below full scale."""
    pcm, rate = espeak.speak(text, espeak.Voice(), rate=150)
    sound = resample(from_pcm16(pcm), rate, RATE)
    loud = np.flatnonzero(np.abs(sound) > 0.01)
    said = sound[loud[0] : loud[-1] + 1]
    return said * (0.4 / np.abs(said).max())


def room(seconds=3.0, level=1e-3):
    """Noise of a level, float64 [samples]."""
    return np.random.default_rng(0).normal(0, level, round(seconds * RATE))


def take(*starts, gain=1.0, seconds=3.0, level=1e-3, text="hey robin"):
    """int16 of a room in which the phrase is said from each of the starts on, as far as there is time."""
    sound = room(seconds, level)
    for start in starts:
        said = gain * voice(text)[max(0, round(-start * RATE)) :]
        first = max(0, round(start * RATE))
        said = said[: len(sound) - first]
        sound[first : first + len(said)] += said
    return to_pcm16(np.clip(sound, -1, 1))
