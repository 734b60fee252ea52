"""Running an exported model: files, long audio and live streams. Needs numpy and onnxruntime, never torch.

A stream is taken to begin after quiet: windows that reach before its first frame are filled with the front end's level
for digital silence. Scores lie on a fixed grid of frames, `stride_frames` apart, on which the first whole window ends.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from wakeword_core.config import DetectorConfig, FrontendConfig
from wakeword_core.errors import ArtifactError, ConfigError, DataError, MissingDependencyError
from wakeword_core.evaluation.detector import Detection, StreamingDetector, detect, wake_scores
from wakeword_core.features.mel import NumpyFrontend, frame_count

Floats = npt.NDArray[np.float32]
Pcm = npt.NDArray[np.int16]
Times = npt.NDArray[np.float64]

MODEL_FILES = ("model.onnx", "model.int8.onnx")
"""What is looked for in a folder, in this order."""

_CARD_KEY = "wakeword"
_INPUT = "log_mel"
_OUTPUT = "scores"
_MAX_MODEL_BYTES = 256 * 2**20
_BATCH_WINDOWS = 64
_BLOCK_STRIDES = 512
"""Strides of audio whose features are held at once: 40 s at the default stride."""


def stride_frames(detector: DetectorConfig, frontend: FrontendConfig, sample_rate: int) -> int:
    """Frames between two scores: the nearest to `stride_seconds`, at least one."""
    return max(1, frontend.frames(detector.stride_seconds, sample_rate))


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


class WakewordModel:
    """An exported wake-word model and the card that travels in it.

    `path` is an .onnx file or a folder that holds `model.onnx`; ArtifactError when it is missing, too large, damaged or
    not one of ours. `threads` is the number of threads of one inference. `operating_points` are the sensitivities that
    validation chose thresholds for, by name: threshold, target_fah and what they gave there; one of them, named by the
    card's `operating_point`, is `threshold`.
    """

    def __init__(self, path: Path | str, threads: int = 1) -> None:
        self.path = model_file(Path(path))
        self._session = _open_session(self.path, threads)
        self.card = _read_card(self._session, self.path)
        try:
            self.phrase = str(self.card["phrase"])
            self.labels = tuple(str(label) for label in self.card["labels"])
            self.sample_rate = int(self.card["sample_rate"])
            self.threshold = float(self.card["threshold"])
            self.frontend = FrontendConfig.model_validate(self.card["frontend"])
            self.detector = DetectorConfig.model_validate(self.card["detector"])
            self.operating_points: dict[str, dict[str, Any]] = dict(self.card["operating_points"])
            self._thresholds = {name: float(one["threshold"]) for name, one in self.operating_points.items()}
        except (AttributeError, KeyError, TypeError, ValueError, ValidationError) as error:
            reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error).splitlines()[0]
            raise ArtifactError(f"the card in {self.path} cannot be used ({reason}); export the model again") from error
        self._check_shapes()
        self.front_end = NumpyFrontend(self.frontend, self.sample_rate)
        self.stride_frames = stride_frames(self.detector, self.frontend, self.sample_rate)

    def _check_shapes(self) -> None:
        inputs = {value.name: list(value.shape) for value in self._session.get_inputs()}
        outputs = {value.name: list(value.shape) for value in self._session.get_outputs()}
        wanted = [self.frontend.bands, self.frontend.window_frames]
        if inputs.get(_INPUT, [None])[1:] != wanted or _OUTPUT not in outputs or len(inputs) != 1:
            raise ArtifactError(
                f"{self.path} takes {inputs} and gives {outputs}, but its card promises {_INPUT} [batch, {wanted[0]}, "
                f"{wanted[1]}] and {_OUTPUT}; export the model again"
            )

    def score_windows(self, windows: Floats) -> Floats:
        """Windows of features float32 [n, bands, window_frames] -> class scores float32 [n, classes]."""
        expected = (self.frontend.bands, self.frontend.window_frames)
        if windows.ndim != 3 or windows.shape[1:] != expected:
            raise DataError(f"windows must be [n, {expected[0]}, {expected[1]}], not {list(windows.shape)}")
        if not len(windows):
            return np.empty((0, len(self.labels)), np.float32)
        scores: Floats = self._session.run([_OUTPUT], {_INPUT: windows.astype(np.float32, copy=False)})[0]
        return scores

    def score_heard(self, windows: Floats) -> Floats:
        """As `score_windows`, of windows cut from a stream, whose frames know nothing of one another yet."""
        return self.score_windows(self.front_end.clamp(windows))

    def window_end(self, frame: int) -> float:
        """Time in seconds at which a window whose last frame is `frame` ends."""
        return (frame * self.frontend.hop_length + self.frontend.n_fft) / self.sample_rate

    def score_audio(self, pcm: Pcm, batch: int = _BATCH_WINDOWS) -> tuple[Times, Floats]:
        """Mono int16 [samples] at `sample_rate` -> end of each window in seconds [n] and class scores [n, classes].

        Features are made in blocks, so that memory does not grow with the audio but for the result.
        """
        check_pcm(pcm)
        hop, n_fft, width = self.frontend.hop_length, self.frontend.n_fft, self.frontend.window_frames
        frames = frame_count(len(pcm), self.frontend)
        offset = (width - 1) % self.stride_frames
        block = _BLOCK_STRIDES * self.stride_frames
        padded = self.front_end.silence(width - 1)
        found = [np.empty((0, len(self.labels)), np.float32)]
        for start in range(0, frames, block):
            stop = min(frames, start + block)
            mel = self.front_end(pcm[start * hop : (stop - 1) * hop + n_fft])
            padded = np.concatenate([padded[:, padded.shape[1] - (width - 1) :], mel], axis=1)
            ends = np.arange(offset, stop - start, self.stride_frames)
            if len(ends):
                found.append(_score_ends(padded, ends, width, self.score_heard, batch))
        grid = np.arange(offset, frames, self.stride_frames)
        return (grid * hop + n_fft) / self.sample_rate, np.concatenate(found)

    def threshold_at(self, point: str | None = None, threshold: float | None = None) -> float:
        """The threshold of an operating point, or `threshold`, or the model's own; ConfigError for an unknown point."""
        if point is None:
            return self.threshold if threshold is None else threshold
        if threshold is not None:
            raise ConfigError(f"a threshold ({threshold:g}) and a sensitivity ({point}) were given; give one of them")
        if point not in self._thresholds:
            raise ConfigError(f"{self.path} has no sensitivity {point!r}; it has {', '.join(self._thresholds)}")
        return self._thresholds[point]

    def detect(self, pcm: Pcm, threshold: float | None = None, point: str | None = None) -> list[Detection]:
        """Every detection in mono int16 [samples] at `sample_rate`; at the model's own threshold unless told."""
        times, scores = self.score_audio(pcm)
        wake, best = wake_scores(scores)
        labels = [self.labels[index] for index in best]
        return detect(times, wake, self.threshold_at(point, threshold), self.detector, labels)


class StreamScorer:
    """Scores of a stream as it arrives: every frame's features are made once, every window is scored once.

    Work is done in steps of exactly one stride, however the audio is cut, so that chunking cannot change a single bit.
    """

    def __init__(self, model: WakewordModel) -> None:
        self.model = model
        self.reset()

    def reset(self) -> None:
        """Begin a new stream."""
        width = self.model.frontend.window_frames
        self._pending: Pcm = np.empty(0, np.int16)
        self._ring = self.model.front_end.silence(width)
        self._step = (width - 1) % self.model.stride_frames + 1
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


class Detector:
    """Detections in a live stream; equal to `WakewordModel.detect` on the same audio, however it is cut.

    `point` names an operating point of the model; without it and `threshold`, the model's own threshold counts.
    """

    def __init__(self, model: WakewordModel, threshold: float | None = None, point: str | None = None) -> None:
        self.model = model
        self._scorer = StreamScorer(model)
        self._decision = StreamingDetector(model.threshold_at(point, threshold), model.detector)
        self.score = 0.0

    def process(self, chunk: Pcm) -> list[Detection]:
        """Take mono int16 [samples] of any length at the model's rate; the detections that it completes.

        `score` then holds the latest score of the likeliest wake word.
        """
        found = []
        times, scores = self._scorer.push(chunk)
        wake, best = wake_scores(scores)
        for time, score, label in zip(times, wake, best, strict=True):
            self.score = float(score)
            event = self._decision.push(float(time), self.score, self.model.labels[label])
            if event is not None:
                found.append(event)
        return found

    def reset(self) -> None:
        """Begin a new stream at time 0."""
        self._scorer.reset()
        self._decision.reset()
        self.score = 0.0


def check_pcm(pcm: Any) -> None:
    """DataError unless `pcm` is an int16 array of one dimension."""
    if not isinstance(pcm, np.ndarray) or pcm.dtype != np.int16 or pcm.ndim != 1:
        given = f"{pcm.dtype} {list(pcm.shape)}" if isinstance(pcm, np.ndarray) else type(pcm).__name__
        raise DataError(f"audio must be a numpy array of int16 samples, one channel, [samples]; this is {given}")


def model_file(path: Path) -> Path:
    """The model at `path`, a file or the folder that holds it; ArtifactError if there is none or it is too large."""
    candidates = [path / name for name in MODEL_FILES] if path.is_dir() else [path]
    file = next((one for one in candidates if one.is_file()), None)
    if file is None:
        raise ArtifactError(f"there is no model at {path}; give an exported .onnx file or the folder that holds it")
    if file.stat().st_size > _MAX_MODEL_BYTES:
        raise ArtifactError(
            f"{file} has {file.stat().st_size / 2**20:,.0f} MB, more than the {_MAX_MODEL_BYTES // 2**20} MB that a "
            "wake-word model may have; it is not one of ours"
        )
    return file


def _open_session(file: Path, threads: int) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError("running a model needs onnxruntime: pip install onnxruntime") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(file.read_bytes(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions have no common public base
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ArtifactError(f"{file} is not an ONNX model that can run here ({reason[:200]})") from error


def _read_card(session: Any, file: Path) -> dict[str, Any]:
    text = session.get_modelmeta().custom_metadata_map.get(_CARD_KEY)
    if text is None:
        raise ArtifactError(f"{file} carries no {_CARD_KEY!r} card, so it was not exported by this project")
    try:
        card = json.loads(text)
    except ValueError as error:
        raise ArtifactError(f"the card in {file} is not JSON ({error}); export the model again") from error
    if not isinstance(card, dict):
        raise ArtifactError(f"the card in {file} is not a JSON object; export the model again")
    return card
