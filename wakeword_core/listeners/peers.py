"""The open engines that hear wake words, microWakeWord and openWakeWord, with their own models or with given files."""

import importlib
from abc import abstractmethod
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, Field, ValidationError

from wakeword_core.config import DetectorConfig
from wakeword_core.errors import ArtifactError, ConfigError, MissingDependencyError, reason_of
from wakeword_core.files import read_json
from wakeword_core.listeners.listener import Listener, Pcm, Scores, Times
from wakeword_core.python import install_command

RATE = 16_000
"""All that the other engines take."""
_OPENWAKEWORD_THRESHOLD = 0.5
"""What openWakeWord detects from unless it is told otherwise; its models say nothing of it."""
_EMBEDDING_BYTES = 96 * 4
_TFLITE, _WHERE_TFLITE = b"TFL3", slice(4, 8)


class _Micro(BaseModel):
    probability_cutoff: float = Field(ge=0, le=1)
    sliding_window_size: int = Field(ge=1, le=255)


class _Manifest(BaseModel):
    """What is read of a manifest, whichever of its versions it is."""

    model: str = Field(pattern=r"^[\w.-]+\.tflite$")
    wake_word: str
    micro: _Micro


class _Peer(Listener):
    """An engine that takes blocks of `_block` samples and gives at most one score for each."""

    sample_rate = RATE
    _block: int

    @abstractmethod
    def _hear(self, block: bytes) -> float | None: ...

    def reset(self) -> None:
        """Begin a new stream."""
        self._pending: Pcm = np.empty(0, np.int16)
        self._heard = 0

    def push(self, pcm: Pcm) -> tuple[Times, Scores]:
        """Take int16 [samples] of any length; the times [n] and scores [n] that it completes."""
        audio = np.concatenate([self._pending, pcm])
        whole = len(audio) // self._block * self._block
        times, scores = [], []
        for start in range(0, whole, self._block):
            self._heard += self._block
            score = self._hear(audio[start : start + self._block].tobytes())
            if score is not None:
                times.append(self._heard / RATE)
                scores.append(score)
        self._pending = audio[whole:].copy()
        return np.asarray(times, np.float64), np.asarray(scores, np.float64)


class MicroWakeWord(_Peer):
    """microWakeWord through pymicro-wakeword: a score each 30 ms, of which it averages the last few.

    It runs its own model of a word, or that of a manifest, under a name.
    """

    name = "microWakeWord"
    package = "pymicro-wakeword"

    def __init__(self, word: str | Path, rules: DetectorConfig, name: str = name) -> None:
        library = _library("pymicro_wakeword.microwakeword", self.package)
        if isinstance(word, Path):
            _check_manifest(word)
            shipped = library.MicroWakeWord.from_config(word)
        else:
            shipped = library.MicroWakeWord.from_builtin(_model_of(library, word, self.package))
        self.name, self.phrase = name, shipped.wake_word
        # With a window of one it gives the plain scores, so that `detect` can do the averaging.
        self._model = library.MicroWakeWord(
            shipped.id,
            wake_word=shipped.wake_word,
            tflite_model=shipped.tflite_model,
            probability_cutoff=shipped.probability_cutoff,
            sliding_window_size=1,
            trained_languages=shipped.trained_languages,
            libtensorflowlite_c_path=shipped.libtensorflowlite_c_path,
        )
        self._features = library.MicroWakeWordFeatures()
        self._block = library.SAMPLES_PER_CHUNK
        self.version = metadata.version(self.package)
        self.files = [Path(shipped.tflite_model)]
        # it detects above its cutoff, and not at it
        self.threshold = float(np.nextafter(shipped.probability_cutoff, 2.0))
        self.detector = _smoothed(rules, shipped.sliding_window_size, self._model.stride * self._block)
        self.reset()

    def reset(self) -> None:
        """Begin a new stream."""
        super().reset()
        self._model.reset()
        self._features.reset()
        self._frames = 0

    def _hear(self, block: bytes) -> float | None:
        found = None
        for features in self._features.process_streaming(block):
            self._frames += 1
            score = self._model.process_streaming_prob(features)
            # Between its steps it answers 0.0, which is no score.
            if self._frames % self._model.stride == 0:
                found = float(score)
        return found


class OpenWakeWord(_Peer):
    """openWakeWord through pyopen-wakeword: a score each 80 ms, taken as it is.

    It runs its own model of a word, or that of a file, under a name.
    """

    name = "openWakeWord"
    package = "pyopen-wakeword"
    threshold = _OPENWAKEWORD_THRESHOLD

    def __init__(self, word: str | Path, rules: DetectorConfig, name: str = name) -> None:
        library = _library("pyopen_wakeword.openwakeword", self.package)
        if isinstance(word, Path):
            _check_tflite(word)
            self._model, self.phrase = library.OpenWakeWord.from_model(word), ""
            self._check_input(word)
        else:
            self._model = library.OpenWakeWord.from_builtin(_model_of(library, word, self.package))
            self.phrase = word.replace("_", " ")
        self.name = name
        self._features = library.OpenWakeWordFeatures.from_builtin()
        self._block = library.SAMPLES_PER_CHUNK
        self.version = metadata.version(self.package)
        self.files = [Path(self._model.tflite_model), Path(self._features.mel_path), Path(self._features.emb_path)]
        self.detector = _smoothed(rules, 1, self._block)
        self.reset()

    def reset(self) -> None:
        """Begin a new stream."""
        super().reset()
        self._model.reset()
        self._features.reset()

    def _hear(self, block: bytes) -> float | None:
        scores = [
            float(score)
            for embedding in self._features.process_streaming(block)
            for score in self._model.process_streaming(embedding)
        ]
        # The first block also brings the scores of the silence that it puts before a stream: they have no time here.
        return scores[-1] if scores else None

    def _check_input(self, file: Path) -> None:
        """Raise ArtifactError unless the model takes embeddings, and nothing but them."""
        taken = self._model.lib.TfLiteTensorByteSize(self._model.input_tensor)
        if taken != self._model.input_windows * _EMBEDDING_BYTES:
            raise ArtifactError(
                f"{file} is no model for openWakeWord; one for microWakeWord or ESPHome needs its manifest, "
                f"{file.with_suffix('.json').name}, beside it"
            )


def _smoothed(rules: DetectorConfig, scores: int, stride_samples: int) -> DetectorConfig:
    """Return the common rules with an engine's own mean over its latest scores."""
    own = {"smoothing": scores, "votes": 0, "hold": 1, "stride_seconds": stride_samples / RATE}
    return DetectorConfig.model_validate({**rules.model_dump(), **own})


def _check_manifest(path: Path) -> None:
    """Raise ArtifactError where a manifest lacks what is needed, or its model is not beside it."""
    try:
        manifest = _Manifest.model_validate(read_json(path))
    except (OSError, ValueError, ValidationError) as error:
        raise ArtifactError(f"{path} is no manifest of a model for microcontrollers ({reason_of(error)})") from error
    _check_tflite(path.with_name(manifest.model))


def _check_tflite(path: Path) -> None:
    """Raise ArtifactError for a file that is no TensorFlow Lite model, which the engines' libraries do not survive."""
    try:
        with path.open("rb") as file:
            begin = file.read(_WHERE_TFLITE.stop)
    except OSError as error:
        raise ArtifactError(f"the model {path} cannot be read ({reason_of(error)})") from error
    if begin[_WHERE_TFLITE] != _TFLITE:
        raise ArtifactError(f"{path} is no TensorFlow Lite model; copy it again from where it was made")


def _library(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except (ImportError, OSError) as error:
        raise MissingDependencyError(
            f"other engines' models need {package} ({error}): {install_command('bench')}, "
            "or pip install pymicro-wakeword pyopen-wakeword"
        ) from error


def _model_of(library: Any, word: str, package: str) -> Any:
    known = {model.value: model for model in library.Model}
    if word not in known:
        raise ConfigError(f"the phrase is {word!r}, of which {package} has no model; it has {', '.join(sorted(known))}")
    return known[word]
