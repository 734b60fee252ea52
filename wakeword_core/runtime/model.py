"""Running an exported model on files and long audio. Needs numpy and onnxruntime, never torch.

A stream is taken to begin after quiet: windows that reach before its first frame are filled with the front end's level
for digital silence. Scores lie on a fixed grid of frames, `stride_frames` apart, on which the first whole window ends.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from wakeword_core.audio import read_pcm_blocks
from wakeword_core.config import DetectorConfig
from wakeword_core.errors import ArtifactError, DataError, reason_of
from wakeword_core.features.mel import FrontEnd, frame_count, new_front_end
from wakeword_core.files import replacing
from wakeword_core.runtime.detector import Detection, Handicaps, StreamingDetector, wake_scores
from wakeword_core.runtime.exported import SCORES, STREAMING_FILES, ExportedModel, RuntimeCard, Shapes
from wakeword_core.runtime.streaming import Floats, Pcm, StreamingModel, Times, check_pcm

_INPUT = "log_mel"
BATCH_WINDOWS = 64
_BLOCK_STRIDES = 512  # strides of audio whose features are held at once: 40 s at the default stride


class Scorer(Protocol):
    """The scores of a recording that comes in pieces of any length."""

    def push(self, chunk: Pcm) -> tuple[Times, Floats]:
        """Take int16 [samples] and return the times [k] and scores [k, classes] that they complete."""

    def finish(self) -> tuple[Times, Floats]:
        """Return the times and scores of what is left."""


class AnyModel(Protocol):
    """A model that scores and detects, whatever it is made of."""

    phrase: str
    labels: tuple[str, ...]
    sample_rate: int
    threshold: float
    detector: DetectorConfig
    handicaps: Handicaps | None

    @property
    def key(self) -> str:
        """The key of the artifact that it was exported as, or digits of its file's hash."""

    @property
    def quiet_samples(self) -> int:
        """Samples of quiet after the end of a recording by which nothing of it is left in any window or average."""

    def threshold_at(self, point: str | None = None, threshold: float | None = None) -> float:
        """Choose an operating point's threshold, or `threshold`, or the model's; ConfigError for an unknown point."""

    def block_scorer(self) -> Scorer:
        """Begin a recording that comes in pieces."""


def window_scores(
    features: Floats, quiet: Floats, stride_frames: int, score: Callable[[Floats], Floats], batch: int
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
    padded: Floats, ends: npt.NDArray[np.int64], window_frames: int, score: Callable[[Floats], Floats], batch: int
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
        if "judge" in self.card:
            raise ArtifactError(f"{self.path} is a judge, which decides with a model only; give that model")
        wanted = [self.frontend.bands, self.frontend.window_frames]
        if inputs.get(_INPUT, [None])[1:] != wanted or SCORES not in outputs or len(inputs) != 1:
            raise ArtifactError(
                f"{self.path} takes {inputs} and gives {outputs}, but its card promises {_INPUT} [batch, {wanted[0]}, "
                f"{wanted[1]}] and {SCORES}; export the model again"
            )
        windows = np.zeros((2, *wanted), np.float32)  # two, so that a batch of one size shows itself
        return {_INPUT: windows}, len(windows)

    @cached_property
    def front_end(self) -> FrontEnd:
        """What makes features of samples."""
        return new_front_end(self.frontend, self.sample_rate)

    @cached_property
    def streaming(self) -> StreamingModel | None:
        """The streaming model that was made from this file and lies beside it; ArtifactError when it is of another."""
        if self.path.name not in STREAMING_FILES:
            return None
        beside = self.path.with_name(STREAMING_FILES[self.path.name])
        if not beside.is_file():
            return None
        streaming = StreamingModel(beside, self.threads, self.device)
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
            raise ArtifactError(f"{self.path} cannot be run ({reason_of(error)}); export the model again") from error
        return self.checked(scores, len(windows))

    def score_stream_windows(self, windows: Floats) -> Floats:
        """Score windows cut from a stream, whose levels are first clamped by what each window holds itself."""
        return self.score_windows(self.front_end.clamp(windows))

    def block_scorer(self) -> "BlockScorer":
        """Begin a recording that comes in pieces."""
        return BlockScorer(self)

    def score_audio(
        self, pcm: Pcm, batch: int = BATCH_WINDOWS, score: Callable[[Floats], Floats] | None = None
    ) -> tuple[Times, Floats]:
        """Map mono int16 [samples] at `sample_rate` to window ends in seconds [n] and class scores [n, classes].

        Features are made in blocks, so that memory does not grow with the audio but for the result. `score`, which
        gets at most `batch` windows at once, does what `score_stream_windows` does in another way.
        """
        return scored(BlockScorer(self, batch, score), pcm)

    def detect(self, pcm: Pcm, threshold: float | None = None, point: str | None = None) -> list[Detection]:
        """Return every detection in mono int16 [samples] at `sample_rate`, by default at the model's own threshold.

        The end of the samples is followed by quiet, so that a word at the end is heard, too.
        """
        return detect_blocks(self, [pcm], self.threshold_at(point, threshold))


class BlockScorer:
    """Scores of a recording that comes in pieces of any length, with features made and windows scored in blocks.

    The blocks lie at the same places however the recording is cut, and so its scores are the same to the bit.
    """

    def __init__(
        self, model: WakewordModel, batch: int = BATCH_WINDOWS, score: Callable[[Floats], Floats] | None = None
    ) -> None:
        self._model, self._batch, self._score = model, batch, score or model.score_stream_windows
        self._front_end = model.front_end.stream()
        self._pending: Pcm = np.empty(0, np.int16)
        self._frames = 0
        self._padded = model.front_end.silence(model.frontend.window_frames - 1)

    def push(self, chunk: Pcm) -> tuple[Times, Floats]:
        """Take int16 [samples] and return the times [k] and scores [k, classes] of the blocks that they complete."""
        check_pcm(chunk)
        frontend, block = self._model.frontend, _BLOCK_STRIDES * self._model.stride_frames
        self._pending = np.concatenate([self._pending, chunk]) if len(self._pending) else chunk
        blocks = frame_count(len(self._pending), frontend) // block
        scored = [self._advance(block, at * block) for at in range(blocks)]
        self._pending = self._pending[blocks * block * frontend.hop_length :].copy()
        return self._joined(scored)

    def finish(self) -> tuple[Times, Floats]:
        """Return the times and scores of what is left."""
        frames = frame_count(len(self._pending), self._model.frontend)
        return self._joined([self._advance(frames, 0)] if frames else [])

    def _advance(self, frames: int, first: int) -> tuple[Times, Floats]:
        """Score the windows that end in so many frames, from frame `first` of the samples that wait on."""
        model, hop = self._model, self._model.frontend.hop_length
        width, stride = model.frontend.window_frames, model.stride_frames
        mel = self._front_end(self._pending[first * hop : (first + frames - 1) * hop + model.frontend.n_fft])
        self._padded = np.concatenate([self._padded[:, self._padded.shape[1] - (width - 1) :], mel], axis=1)
        ends = np.arange((model.first_end - self._frames) % stride, frames, stride)
        grid, self._frames = ends + self._frames, self._frames + frames
        return model.window_end(grid), _score_ends(self._padded, ends, width, self._score, self._batch)

    def _joined(self, scored: Sequence[tuple[Times, Floats]]) -> tuple[Times, Floats]:
        some = [pair for pair in scored if len(pair[0])]
        empty = np.empty((0, len(self._model.labels)), np.float32)
        return np.concatenate([np.empty(0), *(times for times, _ in some)]), np.concatenate(
            [empty, *(scores for _, scores in some)]
        )


def scored(scorer: Scorer, pcm: Pcm) -> tuple[Times, Floats]:
    """Return the times [n] and scores [n, classes] of a whole recording of int16 [samples]."""
    (times, scores), (last_times, last_scores) = scorer.push(pcm), scorer.finish()
    return np.concatenate([times, last_times]), np.concatenate([scores, last_scores])


def score_blocks(model: AnyModel, blocks: Iterable[Pcm]) -> Iterator[tuple[Times, Floats]]:
    """Yield the times and scores of a recording that comes in blocks of int16 [samples] at the model's rate."""
    scorer = model.block_scorer()
    for block in blocks:
        yield scorer.push(block)
    yield scorer.finish()


def detect_blocks(model: AnyModel, blocks: Iterable[Pcm], threshold: float | None = None) -> list[Detection]:
    """Return every detection in a recording that comes in blocks of int16 [samples] at the model's rate.

    It is followed by quiet; what is detected in that is given the time of the recording's end.
    """
    samples = 0

    def followed_by_quiet() -> Iterator[Pcm]:
        nonlocal samples
        for block in blocks:
            samples += len(block)
            yield block
        yield np.zeros(model.quiet_samples, np.int16)

    decision = StreamingDetector(model.threshold if threshold is None else threshold, model.detector)
    detections = []
    for times, scores in score_blocks(model, followed_by_quiet()):
        for time, score, label in zip(times, *wake_scores(scores, model.handicaps), strict=True):
            if (event := decision.push(float(time), float(score), model.labels[label])) is not None:
                detections.append(event)
    return [event._replace(time=min(event.time, samples / model.sample_rate)) for event in detections]


def score_files(model: AnyModel, paths: Sequence[Path], out: Path) -> int:
    """Write the scores of audio files to the .npz file `out` and return how many scores there are.

    Arrays: `time` float64 [n] seconds within its file, `score` float32 [n], as it is compared with a threshold; with
    several files also `file_index` int64 [n] into `names` [files]. The scores of the files follow each other in the
    order given.
    """
    if not paths:
        raise DataError("no audio files were given to score; name at least one")
    times: list[Times] = []
    wake: list[Floats] = []
    counts = []
    for path in paths:
        scored = list(score_blocks(model, read_pcm_blocks(path, model.sample_rate)))
        times += [moments for moments, _ in scored]
        wake += [wake_scores(scores, model.handicaps)[0].astype(np.float32) for _, scores in scored]
        counts.append(sum(len(moments) for moments, _ in scored))
    arrays: dict[str, npt.NDArray[np.generic]] = {"time": np.concatenate(times), "score": np.concatenate(wake)}
    if len(paths) > 1:
        arrays["file_index"] = np.repeat(np.arange(len(paths)), counts)
        arrays["names"] = np.asarray([str(path) for path in paths])
    with replacing(out) as part, part.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    return len(arrays["time"])
