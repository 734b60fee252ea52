"""Running an exported model on files and long audio. Needs numpy and onnxruntime, never torch.

A stream is taken to begin after quiet: windows that reach before its first frame are filled with the front end's level
for digital silence. Scores lie on a fixed grid of frames, `stride_frames` apart, on which the first whole window ends.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wakeword_core.audio import read_audio, to_pcm16
from wakeword_core.errors import ArtifactError, DataError
from wakeword_core.features.mel import NumpyFrontend, frame_count
from wakeword_core.files import replacing
from wakeword_core.runtime.detector import Detection, detect, wake_scores
from wakeword_core.runtime.exported import SCORES, STREAMING_FILES, ExportedModel, RuntimeCard, Shapes
from wakeword_core.runtime.onnx_file import reason
from wakeword_core.runtime.streaming import Floats, Pcm, StreamingModel, Times, check_pcm

_INPUT = "log_mel"
_BATCH_WINDOWS = 64
_BLOCK_STRIDES = 512  # strides of audio whose features are held at once: 40 s at the default stride


def window_scores(
    features: Floats,
    quiet: Floats,
    stride_frames: int,
    score: Callable[[Floats], Floats],
    batch: int,
) -> tuple[npt.NDArray[np.int64], Floats]:
    """Score every window of frames [bands, frames] that ends on the grid.

    `quiet` [bands, window_frames - 1] stands before them. `score` maps [n, bands, window_frames] to [n, classes] and
    gets at most `batch` windows at once. Returns the index of each window's last frame [n] and the scores [n, classes]
    ([0, 0] when no window ends within the frames).
    """
    window_frames = quiet.shape[1] + 1
    ends = np.arange((window_frames - 1) % stride_frames, features.shape[1], stride_frames)
    padded = np.concatenate([quiet, features.astype(np.float32, copy=False)], axis=1)
    return ends, _score_ends(padded, ends, window_frames, score, batch)


def _score_ends(
    padded: Floats,
    ends: npt.NDArray[np.int64],
    window_frames: int,
    score: Callable[[Floats], Floats],
    batch: int,
) -> Floats:
    """Scores of windows that end at frames `ends` of `padded`, which begins window_frames - 1 frames before frame 0."""
    if not len(ends):
        return np.empty((0, 0), np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(padded, window_frames, axis=1)
    return np.concatenate(
        [
            score(np.ascontiguousarray(windows[:, ends[start : start + batch]].transpose(1, 0, 2)))
            for start in range(0, len(ends), batch)
        ]
    )


class WakewordModel(ExportedModel):
    """A model of windows: `model.onnx`, or the same in INT8."""

    names = tuple(STREAMING_FILES)

    def _example(self, facts: RuntimeCard, inputs: Shapes, outputs: Shapes) -> tuple[dict[str, npt.NDArray[Any]], int]:
        wanted = [self.frontend.bands, self.frontend.window_frames]
        if inputs.get(_INPUT, [None])[1:] != wanted or SCORES not in outputs or len(inputs) != 1:
            raise ArtifactError(
                f"{self.path} takes {inputs} and gives {outputs}, but its card promises {_INPUT} [batch, {wanted[0]}, "
                f"{wanted[1]}] and {SCORES}; export the model again"
            )
        windows = np.zeros((2, *wanted), np.float32)  # two, so that a batch of one size shows itself
        return {_INPUT: windows}, len(windows)

    @cached_property
    def front_end(self) -> NumpyFrontend:
        """What makes features of samples."""
        return NumpyFrontend(self.frontend, self.sample_rate)

    @cached_property
    def streaming(self) -> StreamingModel | None:
        """The streaming model that was made from this file and lies beside it; ArtifactError when it is of another."""
        if self.path.name not in STREAMING_FILES:
            return None
        beside = self.path.with_name(STREAMING_FILES[self.path.name])
        if not beside.is_file():
            return None
        streaming = StreamingModel(beside, self.threads)
        if streaming.made_from != self.graph_digest:
            raise ArtifactError(f"{beside} was not made from the {self.path.name} beside it; export the model again")
        return streaming

    def score_windows(self, windows: Floats) -> Floats:
        """Map windows of features float32 [n, bands, window_frames] to class scores float32 [n, classes]."""
        expected = (self.frontend.bands, self.frontend.window_frames)
        if windows.ndim != 3 or windows.shape[1:] != expected:
            raise DataError(f"windows must be [n, {expected[0]}, {expected[1]}], not {list(windows.shape)}")
        if not len(windows):
            return np.empty((0, len(self.labels)), np.float32)
        try:
            scores = self.session.run([SCORES], {_INPUT: windows.astype(np.float32, copy=False)})[0]
        except Exception as error:  # onnxruntime's own exceptions have no common public base
            raise ArtifactError(f"{self.path} cannot be run ({reason(error)}); export the model again") from error
        return self.checked(scores, len(windows))

    def score_stream_windows(self, windows: Floats) -> Floats:
        """Score windows cut from a stream, whose levels are first clamped by what each window holds itself."""
        return self.score_windows(self.front_end.clamp(windows))

    def score_audio(
        self, pcm: Pcm, batch: int = _BATCH_WINDOWS, score: Callable[[Floats], Floats] | None = None
    ) -> tuple[Times, Floats]:
        """Map mono int16 [samples] at `sample_rate` to window ends in seconds [n] and class scores [n, classes].

        Features are made in blocks, so that memory does not grow with the audio but for the result. `score`, which
        gets at most `batch` windows at once, does what `score_stream_windows` does in another way.
        """
        check_pcm(pcm)
        score = score or self.score_stream_windows
        hop, n_fft, width = self.frontend.hop_length, self.frontend.n_fft, self.frontend.window_frames
        frames = frame_count(len(pcm), self.frontend)
        offset = self.first_end
        block = _BLOCK_STRIDES * self.stride_frames
        padded = self.front_end.silence(width - 1)
        scores = [np.empty((0, len(self.labels)), np.float32)]
        for start in range(0, frames, block):
            stop = min(frames, start + block)
            mel = self.front_end(pcm[start * hop : (stop - 1) * hop + n_fft])
            padded = np.concatenate([padded[:, padded.shape[1] - (width - 1) :], mel], axis=1)
            ends = np.arange(offset, stop - start, self.stride_frames)
            if len(ends):
                scores.append(_score_ends(padded, ends, width, score, batch))
        grid = np.arange(offset, frames, self.stride_frames)
        return (grid * hop + n_fft) / self.sample_rate, np.concatenate(scores)

    def detect(self, pcm: Pcm, threshold: float | None = None, point: str | None = None) -> list[Detection]:
        """Return every detection in mono int16 [samples] at `sample_rate`, by default at the model's own threshold."""
        times, scores = self.score_audio(pcm)
        wake, best = wake_scores(scores)
        labels = [self.labels[index] for index in best]
        return detect(times, wake, self.threshold_at(point, threshold), self.detector, labels)


def score_files(model: WakewordModel, paths: Sequence[Path], out: Path) -> int:
    """Write the scores of audio files to the .npz file `out` and return how many scores there are.

    Arrays: `time` float64 [n] seconds within its file, `score` float32 [n]; with several files also `file_index`
    int64 [n] into `names` [files]. The scores of the files follow each other in the order given.
    """
    if not paths:
        raise DataError("no audio files were given to score; name at least one")
    scored = [model.score_audio(to_pcm16(read_audio(path, model.sample_rate))) for path in paths]
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "time": np.concatenate([times for times, _ in scored]),
        "score": np.concatenate([wake_scores(scores)[0].astype(np.float32) for _, scores in scored]),
    }
    if len(paths) > 1:
        arrays["file_index"] = np.repeat(np.arange(len(paths)), [len(times) for times, _ in scored])
        arrays["names"] = np.asarray([str(path) for path in paths])
    with replacing(out) as part, part.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    return len(arrays["time"])


def detect_file(model: WakewordModel, path: Path, threshold: float | None = None) -> list[Detection]:
    """Return every detection in one audio file, at the model's own threshold unless one is given."""
    return model.detect(to_pcm16(read_audio(path, model.sample_rate)), threshold)
