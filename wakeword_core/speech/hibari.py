"""The neural voice of the optional package `hibari-tts` (Apache-2.0, ONNX): one American English speaker."""

import functools
import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wakeword_core.errors import DataError, MissingDependencyError
from wakeword_core.python import install_command

SAMPLE_RATE = 24_000
SPEAKER_FACTORS: tuple[float, ...] = (0.79, 0.85, 0.92, 1.0, 1.08, 1.17, 1.26)
"""Resampling factors that make several speakers of the one voice: pitch and formants move together, as they do with
the length of a vocal tract. Steps of 8 % are further apart than augmentation of speed usually reaches."""

_SPEED_LIMITS = (0.5, 2.0)
_QUIETEST_PEAK = 0.02


def speak(text: str, *, speed: float = 1.0, seed: int = 0, factor: float = 1.0) -> tuple[NDArray[np.float32], int]:
    """Synthesize `text`: float32 [samples] in [-1, 1] and the rate in Hz to read them at.

    `speed` is the tempo (1: about 170 words a minute), kept whatever `factor` is; `factor` multiplies pitch and
    formants by announcing a higher sample rate, so that resampling to the wanted one does the work.
    DataError when the text gives no sound.
    """
    tempo = float(np.clip(speed / factor, *_SPEED_LIMITS))
    samples = np.asarray(_voice()(text, speed=tempo, seed=seed), dtype=np.float32)
    if samples.size == 0 or float(np.abs(samples).max()) < _QUIETEST_PEAK:
        raise DataError(
            f"the text {text!r} gives no sound in the neural voice; use English words or a neural_share of 0"
        )
    return samples, round(SAMPLE_RATE * factor)


@functools.cache
def _voice() -> Any:
    """The loaded voice, once a process; one thread, so that the bytes do not depend on the machine's cores."""
    try:
        package = importlib.import_module("hibari")
    except ImportError:
        raise MissingDependencyError(
            f"the neural voice needs hibari-tts: {install_command('speech')}, or set synthesis.neural_share to 0"
        ) from None
    return package.Hibari(threads=1)
