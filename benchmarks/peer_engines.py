"""Wake-word engines as streams of scores: this project's model, and the open engines that it is compared with.

Any cutting of the audio gives the same scores. The time of a score is the end of the audio that the engine had heard
when it gave it, so that times of different engines can be compared.
"""

import importlib
import statistics
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from wakeword_core import __version__
from wakeword_core.config import Config, DetectorConfig
from wakeword_core.errors import ConfigError, DataError, MissingDependencyError
from wakeword_core.python import install_command
from wakeword_core.runtime import WakewordModel
from wakeword_core.runtime.live import stream_scorer
from wakeword_core.runtime.model import AnyModel

OURS = "wakeword"
RATE = 16_000
"""All that the other engines take."""
_MICROPHONE_BLOCK = 1_280
"""Samples that arrive at once where cost is measured."""

Times = NDArray[np.float64]
Scores = NDArray[Any]
Pcm = NDArray[np.int16]


class StreamingScorer(Protocol):
    """What gives the scores of a stream."""

    def reset(self) -> None: ...

    def push(self, chunk: Pcm) -> tuple[Times, Scores]: ...


class Engine(ABC):
    """A wake-word engine as a stream of scores; `files` are what a device has to hold."""

    name: str
    version: str
    detector: DetectorConfig
    files: list[Path]

    @abstractmethod
    def reset(self) -> None:
        """Begin a new stream."""

    @abstractmethod
    def push(self, pcm: Pcm) -> tuple[Times, Scores]:
        """Take int16 [samples] of any length; times in seconds [n] and scores [n] or [n, classes] that it completes."""

    def score(self, pcm: Pcm) -> tuple[Times, Scores]:
        """A whole session from a fresh start."""
        self.reset()
        return self.push(pcm)


class Own(Engine):
    """A model that this project exported, and the `files` that it needs; `scorer` runs it in another way than usual."""

    version = __version__

    def __init__(
        self, model: AnyModel, files: Sequence[Path], name: str = OURS, scorer: StreamingScorer | None = None
    ) -> None:
        self.name, self.detector, self.files = name, model.detector, [*files]
        self._scorer = scorer or stream_scorer(model)

    def reset(self) -> None:
        self._scorer.reset()

    def push(self, pcm: Pcm) -> tuple[Times, Scores]:
        return self._scorer.push(pcm)


class _Peer(Engine):
    """An engine that takes blocks of `_block` samples and gives at most one score for each."""

    _block: int

    @abstractmethod
    def _hear(self, block: bytes) -> float | None: ...

    def reset(self) -> None:
        self._pending: Pcm = np.empty(0, np.int16)
        self._heard = 0

    def push(self, pcm: Pcm) -> tuple[Times, Scores]:
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
        shipped = (
            library.MicroWakeWord.from_config(word)
            if isinstance(word, Path)
            else library.MicroWakeWord.from_builtin(_model_of(library, word, self.package))
        )
        self.name = name
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
        self.detector = _smoothed(rules, shipped.sliding_window_size, self._model.stride * self._block)
        self.reset()

    def reset(self) -> None:
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

    def __init__(self, word: str | Path, rules: DetectorConfig, name: str = name) -> None:
        library = _library("pyopen_wakeword.openwakeword", self.package)
        self._model = (
            library.OpenWakeWord.from_model(word)
            if isinstance(word, Path)
            else library.OpenWakeWord.from_builtin(_model_of(library, word, self.package))
        )
        self.name = name
        self._features = library.OpenWakeWordFeatures.from_builtin()
        self._block = library.SAMPLES_PER_CHUNK
        self.version = metadata.version(self.package)
        self.files = [Path(self._model.tflite_model), Path(self._features.mel_path), Path(self._features.emb_path)]
        self.detector = _smoothed(rules, 1, self._block)
        self.reset()

    def reset(self) -> None:
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


def _smoothed(rules: DetectorConfig, scores: int, stride_samples: int) -> DetectorConfig:
    """The common rules with an engine's own mean over its latest scores."""
    own = {"smoothing": scores, "votes": 0, "hold": 1, "stride_seconds": stride_samples / RATE}
    return DetectorConfig.model_validate({**rules.model_dump(), **own})


def _library(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except (ImportError, OSError) as error:
        raise MissingDependencyError(
            f"the comparison needs {package} ({error}): {install_command('bench')}, "
            "or pip install pymicro-wakeword pyopen-wakeword"
        ) from error


def _model_of(library: Any, word: str, package: str) -> Any:
    known = {model.value: model for model in library.Model}
    if word not in known:
        raise ConfigError(f"the phrase is {word!r}, of which {package} has no model; it has {', '.join(sorted(known))}")
    return known[word]


def engines(model_path: Path, config: Config) -> list[Engine]:
    """This project's model, then the others; they speak one language only, 16 kHz and one word."""
    model = WakewordModel(model_path, threads=1)
    if model.sample_rate != RATE or config.data.audio.sample_rate != RATE:
        raise ConfigError(
            f"data.audio.sample_rate is {config.data.audio.sample_rate}, but the other engines take {RATE} only"
        )
    if len(model.labels) != 2 or model.labels != config.labels:
        raise DataError(
            f"{model.path} tells {', '.join(model.labels)}, the configuration has {', '.join(config.labels)}; "
            "give a model of the configured phrase alone"
        )
    return [
        Own(model, [model.path]),
        MicroWakeWord(config.slug, model.detector),
        OpenWakeWord(config.slug, model.detector),
    ]


def cpu_costs(everybody: Sequence[Engine], pcm: Pcm, rounds: int) -> dict[str, float]:
    """Milliseconds of processor time, on one thread, for a second of audio: the median of rounds taken in turns.

    Features and model, not the decision, which is the same for all. A first round warms up; the first second of each
    round, in which a stream starts, is not counted.
    """
    from threadpoolctl import threadpool_limits

    chunks = [pcm[start : start + _MICROPHONE_BLOCK] for start in range(RATE, len(pcm), _MICROPHONE_BLOCK)]
    if not chunks:
        raise DataError(f"cost is measured on more than one second of background, not on {len(pcm) / RATE:.2f} s")
    spent: dict[str, list[float]] = {one.name: [] for one in everybody}
    with threadpool_limits(1):
        for _ in range(1 + rounds):
            for one in everybody:
                one.reset()
                one.push(pcm[:RATE])
                started = time.process_time()
                for chunk in chunks:
                    one.push(chunk)
                spent[one.name].append(time.process_time() - started)
    seconds = (len(pcm) - RATE) / RATE
    return {name: 1_000 * statistics.median(times[1:]) / seconds for name, times in spent.items()}
