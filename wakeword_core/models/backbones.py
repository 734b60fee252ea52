"""What networks have in common: those that stream, and those that see whole windows."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional


class StreamingBackbone(nn.Module, ABC):
    """A causal network without padding; a kind of network defines `steps`, `dropout` and `classifier`.

    It gives the same scores on a window as on endless audio: no layer over time is padded, so what a step gives depends
    on the frames of its own receptive field alone, wherever the window began. One pass over a long stretch (`dense`)
    gives the scores of every window in it, which training and streaming both use. The classifier is a convolution over
    the last steps.
    """

    streams = True  # it can run step by step on endless audio
    dropout: nn.Module
    classifier: nn.Conv1d

    def __init__(self, *, stem_frames: int, stride: int, lost_steps: int) -> None:
        """A first layer that sees `stem_frames` frames every `stride`, and later ones that lose `lost_steps` steps."""
        super().__init__()
        self.stride, self.stem_frames = stride, stem_frames
        self.receptive_field_frames = stem_frames + stride * lost_steps

    @abstractmethod
    def steps(self, x: Tensor) -> Tensor:
        """Map [batch, n_mels, stem_frames + n * stride] to [batch, channels, steps], nothing padded."""

    def output_frames(self, frames: int) -> Tensor:
        """Last frame of each step that `dense` gives for `frames` frames: int64 [steps]."""
        first = min(self.receptive_field_frames, frames) - 1
        return torch.arange(frames - 1, first - 1, -self.stride).flip(0)

    def trunk(self, x: Tensor) -> Tensor:
        """Map [batch, n_mels, frames] to [batch, channels, steps]; the last step ends exactly at the last frame."""
        return self.steps(x[:, :, (x.shape[2] - self.stem_frames) % self.stride :])

    def dense(self, x: Tensor) -> Tensor:
        """Map [batch, n_mels, frames] to logits [batch, classes, steps], one step for each of `output_frames`."""
        logits: Tensor = self.classifier(self.dropout(self.trunk(self._long_enough(x))))
        return logits

    def embed(self, x: Tensor) -> Tensor:
        """Map [batch, n_mels, frames] to [batch, channels * head_steps]: the last steps, which the classifier sees."""
        return self.trunk(self._last_window(x)).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, n_mels, frames] to logits [batch, classes] at the last frame."""
        return self.dense(self._last_window(x))[:, :, -1]

    def _last_window(self, x: Tensor) -> Tensor:
        return self._long_enough(x)[:, :, -self.receptive_field_frames :]

    def _long_enough(self, x: Tensor) -> Tensor:
        """Windows shorter than the receptive field begin with the mean of the training data."""
        return functional.pad(x, (max(self.receptive_field_frames - x.shape[2], 0), 0))


class WindowBackbone(nn.Module, ABC):
    """A network that makes one vector of a whole window; a kind of network defines `embed`, `dropout`, `classifier`."""

    streams = False
    dropout: nn.Module
    classifier: nn.Module

    @abstractmethod
    def embed(self, x: Tensor) -> Tensor:
        """Map [batch, n_mels, frames] to [batch, d]: what the classifier sees."""

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, n_mels, frames] to logits [batch, classes]."""
        logits: Tensor = self.classifier(self.dropout(self.embed(x)))
        return logits
