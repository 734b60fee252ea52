"""Speech detection with Silero VAD, run through onnxruntime without importing torch."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wakeword_core.audio import Samples
from wakeword_core.errors import MissingDependencyError

VAD_SAMPLE_RATE = 16_000
_MODEL = Path("data") / "silero_vad_16k_sequence.onnx"
_FRAME = 512
_CONTEXT = 64
_STATE = 128
_FRAMES_A_RUN = 2_048
"""About a minute: bounds memory on long recordings; the state is carried over, so results do not depend on it."""
_RELEASE = 0.15
"""Once speech has begun it goes on while the probability stays above the threshold less this, as Silero's own code."""
_SHORTEST_FRAMES = 3
"""A burst shorter than this (96 ms) is a click, not speech."""
_ENERGY_FRAME_SECONDS = 0.02
_ENERGY_RANGE_DB = 25.0


@dataclass(frozen=True)
class SpeechSpan:
    """From the first to the last speech, in seconds, and the share of the recording that is speech."""

    start_seconds: float
    end_seconds: float
    ratio: float


class SpeechDetector:
    """Silero VAD (Silero Team 2021); one instance may be used from several threads at once."""

    def __init__(self) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(_model_path(), options, providers=["CPUExecutionProvider"])

    def probabilities(self, x: Samples) -> NDArray[np.float32]:
        """Return the speech probability of each 32 ms of float32 [samples] at 16 kHz, the last zero-padded."""
        frames = -(-len(x) // _FRAME)
        padded = np.zeros(_CONTEXT + frames * _FRAME, dtype=np.float32)
        padded[_CONTEXT : _CONTEXT + len(x)] = x
        windows = np.lib.stride_tricks.sliding_window_view(padded, _CONTEXT + _FRAME)[::_FRAME] if frames else padded
        h = np.zeros((1, 1, _STATE), dtype=np.float32)
        c = np.zeros((1, 1, _STATE), dtype=np.float32)
        probabilities = np.empty(frames, dtype=np.float32)
        for first in range(0, frames, _FRAMES_A_RUN):
            chunk = np.ascontiguousarray(windows[first : first + _FRAMES_A_RUN])
            probabilities[first : first + len(chunk)], h, c = self._session.run(None, {"input": chunk, "h": h, "c": c})
        return probabilities

    def span(self, x: Samples, threshold: float) -> SpeechSpan | None:
        """Return the span of speech in float32 [samples] at 16 kHz, or None when there is none."""
        return span_of(self.probabilities(x), threshold, len(x))


def span_of(probabilities: NDArray[np.float32], threshold: float, samples: int) -> SpeechSpan | None:
    """Return the span of speech, given the probability of each frame of a recording of `samples` samples."""
    starts, ends = _runs(probabilities, threshold)
    if not len(starts):
        return None
    length = samples / VAD_SAMPLE_RATE
    frame = _FRAME / VAD_SAMPLE_RATE
    return SpeechSpan(
        start_seconds=float(starts[0] * frame),
        end_seconds=float(min(ends[-1] * frame, length)),
        ratio=float(min(np.sum(ends - starts) * frame / length, 1.0)),
    )


def speech_runs(probabilities: NDArray[np.float32], threshold: float) -> list[tuple[float, float]]:
    """Return where speech begins and ends, in seconds, for each stretch of it, given the probability of each frame."""
    frame = _FRAME / VAD_SAMPLE_RATE
    starts, ends = _runs(probabilities, threshold)
    return [(first * frame, last * frame) for first, last in zip(starts.tolist(), ends.tolist(), strict=True)]


def _runs(probabilities: NDArray[np.float32], threshold: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first frame of each stretch of speech, and the one after its last."""
    possible = probabilities >= max(threshold - _RELEASE, threshold / 2)
    edges = np.flatnonzero(np.diff(possible.astype(np.int8), prepend=0, append=0))
    starts, ends = edges[::2], edges[1::2]
    sure = np.concatenate(([0], np.cumsum(probabilities >= threshold)))
    kept = (sure[ends] > sure[starts]) & (ends - starts >= min(_SHORTEST_FRAMES, len(probabilities)))
    return starts[kept], ends[kept]


def energy_span(x: Samples, sample_rate: int = VAD_SAMPLE_RATE) -> SpeechSpan:
    """Return the span within 25 dB of the loudest 20 ms of float32 [samples]: for words the VAD misses.

    Its ratio is 0: no frame was found to be speech.
    """
    if len(x) == 0:
        return SpeechSpan(0.0, 0.0, 0.0)
    frame = round(_ENERGY_FRAME_SECONDS * sample_rate)
    energy = np.add.reduceat(np.square(x, dtype=np.float64), np.arange(0, len(x), frame))
    loud = np.flatnonzero(energy >= energy.max() * 10 ** (-_ENERGY_RANGE_DB / 10))
    first, last = loud[0] * frame, min((loud[-1] + 1) * frame, len(x))
    return SpeechSpan(float(first / sample_rate), float(last / sample_rate), 0.0)


def _model_path() -> str:
    spec = find_spec("silero_vad")
    path = Path(spec.origin).parent / _MODEL if spec and spec.origin else None
    if path is None or not path.is_file():
        raise MissingDependencyError("the speech detector's model was not found; pip install silero-vad")
    return str(path)
