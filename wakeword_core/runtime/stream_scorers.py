"""Scores of a stream as it arrives: from the streaming model, or from windows of a ring buffer."""

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from wakeword_core.errors import DataError
from wakeword_core.features.mel import pcm_to_float
from wakeword_core.runtime.streaming_model import StreamingModel

if TYPE_CHECKING:
    from wakeword_core.runtime import WakewordModel

Floats = npt.NDArray[np.float32]
Pcm = npt.NDArray[np.int16]
Times = npt.NDArray[np.float64]

_BLOCK_HOPS = 512
"""Hops that a streaming model gets at once at most."""


class Scorer(Protocol):
    """What gives the scores of a stream; both kinds give them at the same times."""

    def reset(self) -> None:
        """Begin a new stream."""
        ...

    def push(self, chunk: Pcm) -> tuple[Times, Floats]:
        """Take int16 [samples] of any length; the times [k] and scores [k, classes] that it completes."""
        ...


def stream_scorer(model: "WakewordModel | StreamingModel") -> Scorer:
    """The streaming model where there is one; else windows."""
    streaming = model if isinstance(model, StreamingModel) else model.streaming
    # where frames leave gaps between them, the streaming model waits for the gap to end
    if streaming is not None and (streaming is model or model.frontend.hop_length <= model.frontend.n_fft):
        return GraphScorer(streaming)
    assert not isinstance(model, StreamingModel)
    return WindowScorer(model)


class GraphScorer:
    """Scores from a streaming model, which runs when a score of the grid is complete; rows between are left out."""

    def __init__(self, model: StreamingModel) -> None:
        self.model = model
        self._tail = max(model.frontend.n_fft - model.frontend.hop_length, 0)
        self.reset()

    def reset(self) -> None:
        """Begin a new stream."""
        self._pending: Pcm = np.empty(0, np.int16)
        self._stream = self.model.stream()
        self._begun = not self._tail
        self._frames = 0

    def push(self, chunk: Pcm) -> tuple[Times, Floats]:
        """Take int16 [samples] of any length; the times [k] and scores [k, classes] that it completes."""
        check_pcm(chunk)
        audio = np.concatenate([self._pending, chunk])
        if not self._begun and len(audio) >= self._tail:
            self._stream.set_tail(pcm_to_float(audio[: self._tail]))
            audio, self._begun = audio[self._tail :], True
        hop, first = self.model.frontend.hop_length, self._frames
        ends = self._ends(first + len(audio) // hop if self._begun else first)
        hops = int(ends[-1]) + 1 - first if len(ends) else 0
        found = [np.empty((0, len(self.model.labels)), np.float32)]
        for start in range(0, hops, _BLOCK_HOPS):
            block = pcm_to_float(audio[start * hop : min(start + _BLOCK_HOPS, hops) * hop])
            found.append(self._stream.run(block))
        self._frames += hops
        self._pending = audio[hops * hop :].copy()
        return self.model.window_end(ends), np.concatenate(found)[ends - first]

    def _ends(self, stop: int) -> npt.NDArray[np.int64]:
        """Frames of the grid from here to before `stop`."""
        stride = self.model.stride_frames
        return np.arange(self._frames + (self.model.first_end - self._frames) % stride, stop, stride)


class WindowScorer:
    """Scores of a stream as it arrives: every frame's features are made once, every window is scored once.

    Work is done in steps of exactly one stride, however the audio is cut, so that chunking cannot change a single bit.
    """

    def __init__(self, model: "WakewordModel") -> None:
        self.model = model
        self.reset()

    def reset(self) -> None:
        """Begin a new stream."""
        width = self.model.frontend.window_frames
        self._pending: Pcm = np.empty(0, np.int16)
        self._ring = self.model.front_end.silence(width)
        self._step = self.model.first_end + 1
        self._frames = 0
        self._skip = 0

    def push(self, chunk: Pcm) -> tuple[Times, Floats]:
        """Take int16 [samples] of any length; the times [k] and scores [k, classes] that it completes."""
        check_pcm(chunk)
        skipped = min(self._skip, len(chunk))
        self._skip -= skipped
        audio = np.concatenate([self._pending, chunk[skipped:]])
        hop, n_fft = self.model.frontend.hop_length, self.model.frontend.n_fft
        start, times, scores = 0, [], []
        while len(audio) - start >= (self._step - 1) * hop + n_fft:
            scores.append(self._advance(audio[start : start + (self._step - 1) * hop + n_fft]))
            times.append(self.model.window_end(self._frames - 1))
            start += self._step * hop
            self._step = self.model.stride_frames
        self._skip += max(0, start - len(audio))
        self._pending = audio[start:].copy()
        empty = np.empty((0, len(self.model.labels)), np.float32)
        return np.asarray(times, np.float64), np.concatenate([empty, *scores])

    def _advance(self, audio: Pcm) -> Floats:
        """Add one step of frames to the ring and score the window that ends there: [1, classes]."""
        mel = self.model.front_end(audio)[:, -self._ring.shape[1] :]
        self._ring = np.concatenate([self._ring[:, mel.shape[1] :], mel], axis=1)
        self._frames += self._step
        return self.model.score_heard(self._ring[None])


def check_pcm(pcm: Any) -> None:
    """DataError unless `pcm` is an int16 array of one dimension."""
    if not isinstance(pcm, np.ndarray) or pcm.dtype != np.int16 or pcm.ndim != 1:
        given = f"{pcm.dtype} {list(pcm.shape)}" if isinstance(pcm, np.ndarray) else type(pcm).__name__
        raise DataError(f"audio must be a numpy array of int16 samples, one channel, [samples]; this is {given}")
