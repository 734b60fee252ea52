"""The neural voice of the optional package `hibari-tts` (Apache-2.0, ONNX): one American English speaker."""

import functools
import importlib
import importlib.util
from typing import Any

import numpy as np

from wakeword_core.errors import DataError, MissingDependencyError
from wakeword_core.python import install_command
from wakeword_core.speech.engines import EngineSettings, Line, Samples, Voice, is_latin, package_versions
from wakeword_core.speech.engines.kokoro import to_letters

SAMPLE_RATE = 24_000
SPEAKER_FACTORS: tuple[float, ...] = (0.79, 0.85, 0.92, 1.0, 1.08, 1.17, 1.26)
"""Resampling factors that make several speakers of the one voice: pitch and formants move together, as they do with
the length of a vocal tract. Steps of 8 % are further apart than augmentation of speed usually reaches."""

_SPEED_LIMITS = (0.5, 2.0)
_QUIETEST_PEAK = 0.02


class HibariEngine:
    """The one voice at several pitches, by the names `079` to `126`."""

    name = "hibari"
    speaks_ipa = True
    seconds = 0.06

    def __init__(self) -> None:
        self.version = package_versions("hibari-tts", "onnxruntime")

    def voices(self) -> tuple[Voice, ...]:
        """Return a voice for each factor: at several pitches it is still one person, who is learnt from."""
        licence = "synthetic (hibari-tts, Apache-2.0)"
        names = [f"{round(100 * factor):03d}" for factor in SPEAKER_FACTORS]
        return tuple(Voice(name, name, "en-us", licence, split="train") for name in names)

    def can_say(self, text: str) -> bool:
        """Tell whether it reads all of a text: it skips letters that are not Latin without a word."""
        return is_latin(text)

    def prepare(self) -> None:
        """See that the package is there."""
        if importlib.util.find_spec("hibari") is None:
            raise _missing()

    def say(self, line: Line) -> tuple[Samples, int]:
        """Say a line; the factor of the voice is in the rate, so that resampling to the wanted one does the work."""
        factor = int(line.voice) / 100
        # the tempo stays, whatever the factor is
        tempo = float(np.clip(line.tempo / factor, *_SPEED_LIMITS))
        if line.ipa is None:
            said = _voice()(line.text, speed=tempo, seed=line.seed)
        else:  # its letters are those of kokoro, of which it has learnt
            letters = to_letters(line.ipa, british=False, given=True) + line.ending
            said = _voice().from_phonemes(letters, speed=tempo, seed=line.seed)
        samples = np.asarray(said, dtype=np.float32)
        if samples.size == 0 or float(np.abs(samples).max()) < _QUIETEST_PEAK:
            raise DataError(
                f"the text {line.text!r} gives no sound in the voice of hibari; use English words, or leave hibari out "
                "of synthesis.engines"
            )
        return samples, round(SAMPLE_RATE * factor)


@functools.cache
def _voice() -> Any:
    """The loaded voice, once a process; one thread, so that the bytes do not depend on the machine's cores."""
    try:
        package = importlib.import_module("hibari")
    except ImportError:
        raise _missing() from None
    return package.Hibari(threads=1)


def _missing() -> MissingDependencyError:
    return MissingDependencyError(
        f"the voice of hibari needs hibari-tts: {install_command('speech')}, or leave hibari out of synthesis.engines"
    )


def engine(settings: EngineSettings) -> HibariEngine:
    """Make the engine."""
    return HibariEngine()
