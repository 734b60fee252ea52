"""The scores of recordings one after the other: every window is scored once, in batches of equal stretches.

Each recording begins after quiet, and quiet follows it, so that no window reaches into two of them and the scores of a
recording do not depend on its neighbours. Memory is bounded by a batch of stretches and the recordings in it.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from wakeword_core.config import FeaturesConfig
from wakeword_core.features.frontend import row_front_end
from wakeword_core.features.mel import PCM_SCALE
from wakeword_core.features.windows import row_tail
from wakeword_core.models.layers import StreamingBackbone
from wakeword_core.models.scoring import ScoringModel
from wakeword_core.shards.shard_file import Recording

Scorer = Callable[[npt.NDArray[np.int16]], npt.NDArray[np.float32]]
"""Stretches int16 [n, samples] -> scores of the windows in them [n, steps]."""

_STEPS = 256
"""Scores a stretch; the window before its first score is what is transformed twice."""
_BATCH = 16
"""Stretches that are scored at once: two minutes of sound and more."""
_WINDOW_STEP_SECONDS = 0.04
"""Time between the scores of a network that sees whole windows; one that gives every step has its own stride."""


@dataclass(frozen=True)
class Layout:
    """A stretch, in frames of the front end or samples: its windows end `step` frames apart."""

    window: int
    step: int
    hop: int
    n_fft: int
    edge: int
    """Samples of a recording that its first window holds; of a shorter one, all."""
    after: int
    """Samples of quiet after a recording that are scored as its own."""
    lead_in: int = 0
    """Samples before a stretch that the front end hears besides."""

    @classmethod
    def of(cls, features: FeaturesConfig, rate: int, step: int) -> "Layout":
        """Lay out windows from a beginning as in training to as long after a recording's end as rows last there."""
        frontend = features.frontend
        edge, after = round(features.windows.edge_seconds * rate), row_tail(features, rate)
        hop, n_fft, lead_in = frontend.hop_length, frontend.n_fft, frontend.lead_in_samples
        return cls(frontend.window_frames, step, hop, n_fft, edge, after, lead_in)

    @property
    def window_samples(self) -> int:
        """Samples of a window."""
        return (self.window - 1) * self.hop + self.n_fft

    @property
    def samples(self) -> int:
        """Samples of a stretch of `_STEPS` scores."""
        return self.lead_in + self.window_samples + (_STEPS - 1) * self.grid

    @property
    def grid(self) -> int:
        """Samples from one score to the next."""
        return self.step * self.hop


@dataclass(frozen=True)
class ScoredRecording:
    """A recording and its scores [n]; `ends` [n] are the samples of it at which their windows end."""

    recording: Recording
    ends: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]


def listen(recordings: Iterable[Recording], score: Scorer, layout: Layout) -> Iterator[ScoredRecording]:
    """Yield the scores of each recording, in order; see `Layout` for where they lie."""
    tape = _Tape(score, layout)
    for recording in recordings:
        yield from tape.append(recording)
    yield from tape.end()


@dataclass(frozen=True)
class _Place:
    """Where on the tape a recording's scores are, by their number, and where in it the window of the first one ends."""

    recording: Recording
    first: int
    last: int
    first_end: int


class _Tape:
    """Sound that is not scored yet, and scores that are not handed out with their recordings yet."""

    def __init__(self, score: Scorer, layout: Layout) -> None:
        self._score, self._layout = score, layout
        self._sound = np.zeros(layout.lead_in, np.int16)
        self._end = 0
        self._stretches: list[npt.NDArray[np.int16]] = []
        self._scores = np.zeros(0, np.float32)
        self._first = 0
        """Number of the first score that is kept."""
        self._waiting: deque[_Place] = deque()

    def append(self, recording: Recording) -> Iterator[ScoredRecording]:
        """Put a recording behind the others; yield those that are scored by now."""
        layout = self._layout
        quiet = max(layout.window_samples, layout.after, layout.lead_in)
        begin = -(-(self._end + quiet) // layout.grid) * layout.grid
        self._extend(begin - self._end, recording.audio)
        edge = max(layout.n_fft, min(layout.edge, len(recording.audio)))
        first = -(-(begin + edge - layout.window_samples) // layout.grid)
        last = (begin + len(recording.audio) + layout.after - layout.window_samples) // layout.grid
        first_end = first * layout.grid + layout.window_samples - begin
        self._waiting.append(_Place(recording, first, last, first_end))
        yield from self._scored()

    def end(self) -> Iterator[ScoredRecording]:
        """Yield the recordings that are left."""
        self._extend(self._layout.after + self._layout.samples, np.zeros(0, np.int16))
        yield from self._scored()
        self._score_batch()
        yield from self._finished()

    def _extend(self, quiet: int, audio: npt.NDArray[np.int16]) -> None:
        self._sound = np.concatenate([self._sound, np.zeros(quiet, np.int16), audio])
        self._end += quiet + len(audio)

    def _scored(self) -> Iterator[ScoredRecording]:
        while len(self._sound) >= self._layout.samples:
            self._stretches.append(self._sound[: self._layout.samples])
            self._sound = self._sound[_STEPS * self._layout.grid :]
            if len(self._stretches) == _BATCH:
                self._score_batch()
                yield from self._finished()

    def _score_batch(self) -> None:
        if self._stretches:
            self._scores = np.concatenate([self._scores, self._score(np.stack(self._stretches)).ravel()])
            self._stretches.clear()

    def _finished(self) -> Iterator[ScoredRecording]:
        while self._waiting and self._waiting[0].last < self._first + len(self._scores):
            place = self._waiting.popleft()
            scores = self._scores[place.first - self._first : place.last + 1 - self._first]
            yield ScoredRecording(place.recording, place.first_end + np.arange(len(scores)) * self._layout.grid, scores)
            self._scores = self._scores[place.last + 1 - self._first :]
            self._first = place.last + 1


class StretchScorer:
    """Scores stretches of sound on the device: the likeliest wake word's score of each window.

    Networks that give every step are run once over a stretch, others window by window. All stretches have the samples
    of `layout`.
    """

    def __init__(self, model: ScoringModel, features: FeaturesConfig, rate: int, device: str) -> None:
        frontend = features.frontend
        self._model, self._device = model.to(device).eval(), device
        self._top_db = frontend.top_db if frontend.kind == "mel_db" else None
        # decibels are clamped by the window, not by the stretch
        self._front_end = row_front_end(frontend.model_copy(update={"top_db": math.inf}), rate).to(device)
        self._dense = self._dense_backbone(frontend.window_frames)
        step = max(1, frontend.frames(_WINDOW_STEP_SECONDS, rate))
        if self._dense is not None:
            first, second = self._dense.output_frames(2 * frontend.window_frames)[:2].tolist()
            step = second - first
        self.layout = Layout.of(features, rate, step)

    @torch.inference_mode()
    def __call__(self, stretches: npt.NDArray[np.int16]) -> npt.NDArray[np.float32]:
        """Score int16 [n, layout.samples]: [n, steps], of the windows that end `layout.step` frames apart."""
        sound = torch.from_numpy(stretches).to(self._device).float().mul_(PCM_SCALE)
        features = self._front_end(sound)
        if self._dense is not None:
            scores = self._every_step(features, self._dense)
        else:
            scores = torch.stack([self._window_by_window(stretch) for stretch in features])
        array: npt.NDArray[np.float32] = scores.cpu().numpy()
        return array

    def _dense_backbone(self, window_frames: int) -> StreamingBackbone | None:
        """Return the backbone if it gives for a step what it gives for the window that ends there."""
        backbone = self._model.backbone
        field = getattr(backbone, "receptive_field_frames", math.inf)
        if self._top_db is not None or not hasattr(backbone, "dense") or field > window_frames:
            return None
        return cast(StreamingBackbone, backbone)

    def _every_step(self, features: Tensor, backbone: StreamingBackbone) -> Tensor:  # [n, bands, frames] -> [n, steps]
        steps = 1 + (features.shape[2] - self.layout.window) // self.layout.step
        logits = backbone.dense(self._model.normalise(features))[:, :, -steps:]
        calibrated = self._model.calibrator(logits.transpose(1, 2).flatten(0, 1))
        return _likeliest(calibrated).unflatten(0, (-1, steps))

    def _window_by_window(self, features: Tensor) -> Tensor:  # [bands, frames] -> [steps]
        windows = features.unfold(1, self.layout.window, self.layout.step).transpose(0, 1)
        if self._top_db is not None:
            windows = torch.maximum(windows, windows.amax(dim=(1, 2), keepdim=True) - self._top_db)
        return _likeliest(self._model.calibrated_logits(windows))


def _likeliest(logits: Tensor) -> Tensor:  # [n, classes] -> the probability of the likeliest wake word [n]
    return torch.softmax(logits, dim=1)[:, 1:].amax(dim=1)
