"""Scores of a stream as it arrives, from `model.streaming.onnx`.

The contract of `model.streaming.onnx`, which its card states in `streaming`, for those who run it by other means;
numpy and onnxruntime are all that it needs:

- `audio` is float32 [n * hop_length] in [-1, 1] at the card's `sample_rate`; n may differ from one run to the next;
- `scores` are float32 [n, classes]: row i is of the frame that ends with hop i of `audio`;
- every other input is a state: what the output `next_` + its name gave in the run before. `states` has its `shape` and
  `start`: one number for each index of axis 1, or one for all;
- to lay frames where the window model has them, `audio_tail` starts with the first n_fft - hop_length samples of the
  stream and `audio` goes on behind them: then row i is of frame i. With zeros instead, row i is of a frame that began
  as many samples before hop i;
- before the first frame there was quiet (the start of the states);
- `native` tells whether each layer's steps are computed once; if not, `reason` tells why the network needs its window
  whole: features are then kept in a ring buffer, a window is scored every `stride_frames` frames, and rows between
  repeat its scores.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from wakeword_core.audio import from_pcm16
from wakeword_core.errors import ArtifactError, DataError, reason_of
from wakeword_core.runtime.exported import (
    SCORES,
    STREAMING_FILES,
    ExportedModel,
    RuntimeCard,
    Shapes,
    StateCard,
    StreamCard,
)

Floats = npt.NDArray[np.float32]
Pcm = npt.NDArray[np.int16]
Times = npt.NDArray[np.float64]
States = dict[str, npt.NDArray[Any]]

AUDIO = "audio"
NEXT = "next_"
"""What the name of a state's output begins with; the rest is the name of its input."""
TAIL = "audio_tail"
"""The state that holds samples."""
_BLOCK_HOPS = 512  # hops that a streaming model gets at once at most


class StatefulModel(ExportedModel):
    """An exported model of sound that keeps what it needs of a stream in states."""

    hop_samples: int  # that a row of scores takes

    def _stateful(self, stream: StreamCard | None, inputs: Shapes, outputs: Shapes, hops: int) -> tuple[States, int]:
        """Return inputs of a run of so many hops, and their number; ArtifactError if card and graph do not fit."""
        if stream is None:
            raise ArtifactError(f"the card in {self.path} tells of no usable stream; export again")
        try:
            self.start = {name: _start(state) for name, state in stream.states.items()}
        except (ValueError, OverflowError) as error:
            raise ArtifactError(f"the card in {self.path} tells of no usable stream ({error}); export again") from error
        if inputs.keys() != {AUDIO, *self.start} or outputs.keys() != {SCORES, *(NEXT + name for name in self.start)}:
            raise ArtifactError(f"the card in {self.path} tells of other states than its graph has; export again")
        return {AUDIO: np.zeros(hops * self.hop_samples, np.float32), **self.start}, hops

    def stream(self) -> "Stream":
        """Begin a new stream, before which there was quiet."""
        return Stream(self)


class StreamingModel(StatefulModel):
    """The streaming form of a model; see the contract above."""

    names = tuple(STREAMING_FILES.values())

    def _example(self, facts: RuntimeCard, inputs: Shapes, outputs: Shapes) -> tuple[States, int]:
        self.hop_samples = self.frontend.hop_length
        hops = self.stride_frames  # one of which ends a window
        example = self._stateful(facts.streaming, inputs, outputs, hops)
        assert facts.streaming is not None
        self.facts: dict[str, Any] = self.card["streaming"]
        self.native, self.made_from = facts.streaming.native, facts.streaming.made_from
        return example

    def block_scorer(self) -> "GraphScorer":
        """Begin a recording that comes in pieces."""
        return GraphScorer(self)


class Stream:
    """One stream's states. They lie in two sets of arrays, of which each run reads one and writes the other.

    Bound to the session once, they cost a run of a small network a third less than arrays that come and go. So are
    samples and scores, as long as chunks stay of one size.
    """

    def __init__(self, model: StatefulModel) -> None:
        from onnxruntime import OrtValue

        self._model, self._hop = model, model.hop_samples
        self._sets = [{name: values.copy() for name, values in model.start.items()} for _ in range(2)]
        values = [
            {name: OrtValue.ortvalue_from_numpy(array) for name, array in states.items()} for states in self._sets
        ]
        self._bindings = [model.session.io_binding() for _ in range(2)]
        for turn, binding in enumerate(self._bindings):
            for name in model.start:
                binding.bind_ortvalue_input(name, values[turn][name])
                binding.bind_ortvalue_output(NEXT + name, values[1 - turn][name])
        self._turn = 0
        self._audio, self._scores = np.empty(0, np.float32), np.empty((0, len(model.labels)), np.float32)

    def set_tail(self, samples: Floats) -> None:
        """Take float32 samples, as many as the state `audio_tail` has, for those right before the next run's."""
        self._sets[self._turn][TAIL][:] = samples

    def follow(self, sound: Floats) -> Floats:
        """Do what `run` does with sound that begins with the tail before it."""
        tail = len(self._sets[self._turn][TAIL])
        self.set_tail(sound[:tail])
        return self.run(sound[tail:])

    def run(self, audio: Floats) -> Floats:
        """Map audio float32 [n * hop_length] in [-1, 1] to scores float32 [n, classes]; n is above 0."""
        if len(audio) != len(self._audio):
            self._bind(len(audio))
        self._audio[:] = audio
        try:
            self._model.session.run_with_iobinding(self._bindings[self._turn])
        except Exception as error:  # onnxruntime's own exceptions have no common public base
            raise ArtifactError(
                f"{self._model.path} cannot be run ({reason_of(error)}); export the model again"
            ) from error
        self._turn = 1 - self._turn
        return self._model.checked(self._scores, len(self._scores)).copy()

    def _bind(self, samples: int) -> None:
        from onnxruntime import OrtValue

        self._audio = np.empty(samples, np.float32)
        self._scores = np.empty((samples // self._hop, len(self._model.labels)), np.float32)
        audio, scores = (OrtValue.ortvalue_from_numpy(array) for array in (self._audio, self._scores))
        for binding in self._bindings:
            binding.bind_ortvalue_input(AUDIO, audio)
            binding.bind_ortvalue_output(SCORES, scores)


def _start(state: StateCard) -> npt.NDArray[Any]:
    values = np.asarray(state.start, np.dtype(state.type))
    if len(state.shape) > 1:
        values = values.reshape(-1, *[1] * (len(state.shape) - 2))
    return np.ascontiguousarray(np.broadcast_to(values, state.shape))


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
        """Take int16 [samples] of any length and return the times [k] and scores [k, classes] that it completes."""
        check_pcm(chunk)
        audio = np.concatenate([self._pending, chunk])
        if not self._begun and len(audio) >= self._tail:
            self._stream.set_tail(from_pcm16(audio[: self._tail]))
            audio, self._begun = audio[self._tail :], True
        hop, first = self.model.frontend.hop_length, self._frames
        ends = self._ends(first + len(audio) // hop if self._begun else first)
        hops = int(ends[-1]) + 1 - first if len(ends) else 0
        scores = [np.empty((0, len(self.model.labels)), np.float32)]
        for start in range(0, hops, _BLOCK_HOPS):
            block = from_pcm16(audio[start * hop : min(start + _BLOCK_HOPS, hops) * hop])
            scores.append(self._stream.run(block))
        self._frames += hops
        self._pending = audio[hops * hop :].copy()
        return self.model.window_end(ends), np.concatenate(scores)[ends - first]

    def finish(self) -> tuple[Times, Floats]:
        """End the stream: samples that do not complete a score any more have none."""
        return np.empty(0), np.empty((0, len(self.model.labels)), np.float32)

    def _ends(self, stop: int) -> npt.NDArray[np.int64]:
        stride = self.model.stride_frames
        return np.arange(self._frames + (self.model.first_end - self._frames) % stride, stop, stride)


def check_pcm(pcm: Any) -> None:
    """Raise DataError unless `pcm` is an int16 array of one dimension."""
    if not isinstance(pcm, np.ndarray) or pcm.dtype != np.int16 or pcm.ndim != 1:
        given = f"{pcm.dtype} {list(pcm.shape)}" if isinstance(pcm, np.ndarray) else type(pcm).__name__
        raise DataError(f"audio must be a numpy array of int16 samples, one channel, [samples]; this is {given}")
