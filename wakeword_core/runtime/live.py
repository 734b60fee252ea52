"""Detections in a live stream: scores come from the streaming model, or from windows of a ring buffer."""

from pathlib import Path

import numpy as np

from wakeword_core.runtime.detector import Detection, StreamingDetector, wake_scores
from wakeword_core.runtime.exported import STREAMING_SUFFIXES
from wakeword_core.runtime.judge import JudgedModel, JudgedScorer, judged
from wakeword_core.runtime.model import AnyModel, WakewordModel
from wakeword_core.runtime.streaming import Floats, GraphScorer, Pcm, StreamingModel, Times, check_pcm


class Detector:
    """Detections in a live stream; those of `WakewordModel.detect` on the same audio, however it is cut.

    Where there is a streaming model beside the model it is used (or it is given alone), else a ring buffer of windows.
    `point` names an operating point of the model; without it and `threshold`, the model's own threshold counts.
    """

    def __init__(self, model: AnyModel, threshold: float | None = None, point: str | None = None) -> None:
        self.model = model
        self._scorer = stream_scorer(model)
        self._decision = StreamingDetector(model.threshold_at(point, threshold), model.detector)
        self.reset()

    def process(self, chunk: Pcm) -> list[Detection]:
        """Take mono int16 [samples] of any length at the model's rate and return the detections that it completes.

        `times` [k] and `scores` [k, classes] are then those of the chunk, and `score` is the latest score of the
        likeliest wake word, as it is compared with the threshold.
        """
        detections = []
        self.times, self.scores = self._scorer.push(chunk)
        self._samples += len(chunk)
        wake, best = wake_scores(self.scores, self.model.handicaps)
        for time, score, label in zip(self.times, wake, best, strict=True):
            self.score = float(score)
            event = self._decision.push(float(time), self.score, self.model.labels[label])
            if event is not None:
                detections.append(event)
        return detections

    def finish(self) -> list[Detection]:
        """End the stream with quiet, and return the detections that still come of it, at its end at the latest."""
        end = self._samples / self.model.sample_rate
        detections = self.process(np.zeros(self.model.quiet_samples, np.int16))
        return [event._replace(time=min(event.time, end)) for event in detections]

    def reset(self) -> None:
        """Begin a new stream at time 0."""
        self._scorer.reset()
        self._samples = 0
        self._decision.reset()
        self.times, self.scores = np.empty(0), np.empty((0, len(self.model.labels)), np.float32)
        self.score = 0.0


def open_model(path: Path, *, alone: bool = False, second_elsewhere: bool = False) -> AnyModel:
    """Open a model of windows, together with the judge beside it unless `alone`; `judged` has the rest.

    A streaming model is opened where that is what the path names, or all that its folder holds.
    """
    if path.is_dir():
        streams = not any((path / name).is_file() for name in WakewordModel.names) and any(
            (path / name).is_file() for name in StreamingModel.names
        )
    else:
        streams = path.name.endswith(STREAMING_SUFFIXES)
    if streams:
        return StreamingModel(path)
    model = WakewordModel(path)
    return model if alone else judged(model, second_elsewhere=second_elsewhere) or model


def stream_scorer(model: AnyModel) -> "GraphScorer | WindowScorer | JudgedScorer":
    """Choose what gives the scores of a stream: the streaming model if there is one, else windows; then the judge."""
    if isinstance(model, JudgedModel):
        return model.asked_by(stream_scorer(model.model))
    if isinstance(model, StreamingModel):
        return GraphScorer(model)
    assert isinstance(model, WakewordModel)
    # where frames leave gaps between them, the streaming model waits for the gap to end
    streams = model.frontend.hop_length <= model.frontend.n_fft and model.streaming
    return GraphScorer(streams) if streams else WindowScorer(model)


class WindowScorer:
    """Scores of a stream as it arrives: every frame's features are made once, every window is scored once.

    Work is done in steps of exactly one stride, however the audio is cut, so that chunking cannot change a single bit.
    """

    def __init__(self, model: WakewordModel) -> None:
        self.model = model
        self.reset()

    def reset(self) -> None:
        """Begin a new stream."""
        width = self.model.frontend.window_frames
        self._front_end = self.model.front_end.stream()
        self._pending: Pcm = np.empty(0, np.int16)
        self._ring = self.model.front_end.silence(width)
        self._step = self.model.first_end + 1
        self._frames = 0
        self._skip = 0

    def push(self, chunk: Pcm) -> tuple[Times, Floats]:
        """Take int16 [samples] of any length and return the times [k] and scores [k, classes] that it completes."""
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
        mel = self._front_end(audio)[:, -self._ring.shape[1] :]
        self._ring = np.concatenate([self._ring[:, mel.shape[1] :], mel], axis=1)
        self._frames += self._step
        return self.model.score_stream_windows(self._ring[None])
