"""A temporal convolutional network over mel channels that gives the same scores on a window as on endless audio.

Residual blocks of dilated convolutions (Bai et al. 2018) without any padding: what a step gives depends on the frames
of its own receptive field alone, wherever the window began. So one pass over a long stretch (`dense`) gives the scores
of every window in it, which training and streaming both use. The classifier is a convolution over the last steps.
Plain convolutions, not separable ones: at this width they cost a CPU no more, and INT8 loses less on them.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from wakeword_core.config import TcnConfig

_STEM_OVERLAP = 2


class ResidualBlock(nn.Module):
    """Dilated convolution, batch norm, residual, ReLU; nothing padded, so that steps at the left are lost."""

    def __init__(self, channels: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.lost = (kernel - 1) * dilation
        self.convolution = nn.Conv1d(channels, channels, kernel, dilation=dilation, bias=False)
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels, steps] -> [batch, channels, steps - lost]."""
        return functional.relu(x[:, :, self.lost :] + self.norm(self.convolution(x)))


class Tcn(nn.Module):
    """Temporal convolutional network whose last step ends at the last frame."""

    streams = True

    def __init__(self, config: TcnConfig, n_mels: int, classes: int) -> None:
        super().__init__()
        self.stride = config.stride
        self.stem_kernel = config.stride + _STEM_OVERLAP
        self.stem = nn.Conv1d(n_mels, config.channels, self.stem_kernel, stride=config.stride, bias=False)
        self.stem_norm = nn.BatchNorm1d(config.channels)
        self.blocks = nn.ModuleList(ResidualBlock(config.channels, config.kernel, one) for one in config.dilations)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Conv1d(config.channels, classes, config.head_steps)
        steps = config.head_steps - 1 + sum((config.kernel - 1) * one for one in config.dilations)
        self.receptive_field_frames = self.stem_kernel + config.stride * steps

    def output_frames(self, frames: int) -> Tensor:
        """Last frame of each step that `dense` gives for `frames` frames: int64 [steps]."""
        first = min(self.receptive_field_frames, frames) - 1
        return torch.arange(frames - 1, first - 1, -self.stride).flip(0)

    def trunk(self, x: Tensor) -> Tensor:
        """[batch, n_mels, frames] -> [batch, channels, steps]; the last step ends exactly at the last frame."""
        x = x[:, :, (x.shape[2] - self.stem_kernel) % self.stride :]
        x = functional.relu(self.stem_norm(self.stem(x)))
        for block in self.blocks:
            x = block(x)
        return x

    def dense(self, x: Tensor) -> Tensor:
        """[batch, n_mels, frames] -> logits [batch, classes, steps], one step for each of `output_frames`."""
        logits: Tensor = self.classifier(self.dropout(self.trunk(self._long_enough(x))))
        return logits

    def embed(self, x: Tensor) -> Tensor:
        """[batch, n_mels, frames] -> [batch, channels * head_steps]: the last steps, which the classifier sees."""
        return self.trunk(self._last_window(x)).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, n_mels, frames] -> logits [batch, classes] at the last frame."""
        return self.dense(self._last_window(x))[:, :, -1]

    def _last_window(self, x: Tensor) -> Tensor:
        return self._long_enough(x)[:, :, -self.receptive_field_frames :]

    def _long_enough(self, x: Tensor) -> Tensor:
        """Windows shorter than the receptive field begin with the mean of the training data."""
        return functional.pad(x, (max(self.receptive_field_frames - x.shape[2], 0), 0))


class TcnEnsemble(nn.Module):
    """Networks of one size that start differently; their logits are averaged (as in Lakshminarayanan et al. 2017).

    What one of them takes for the word by accident, the others mostly do not, which is what rare false alarms are.
    """

    streams = True

    def __init__(self, members: list[Tcn]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.receptive_field_frames = members[0].receptive_field_frames

    def output_frames(self, frames: int) -> Tensor:
        """As of each member."""
        return self._first.output_frames(frames)

    def dense(self, x: Tensor) -> Tensor:
        """As of a member, averaged; in training of one member after the other, [members * batch, classes, steps]."""
        scores = [cast(Tcn, member).dense(x) for member in self.members]
        return torch.cat(scores) if self.training else torch.stack(scores).mean(dim=0)

    def embed(self, x: Tensor) -> Tensor:
        """[batch, n_mels, frames] -> [batch, members * channels * head_steps]."""
        return torch.cat([cast(Tcn, member).embed(x) for member in self.members], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, n_mels, frames] -> logits [batch, classes] at the last frame."""
        return torch.stack([member(x) for member in self.members]).mean(dim=0)

    @property
    def _first(self) -> Tcn:
        return cast(Tcn, self.members[0])


def tcn(config: TcnConfig, n_mels: int, frames: int, classes: int) -> Tcn | TcnEnsemble:
    """TCN of the configured size, with He initialisation; several of them when it has members."""
    members = [Tcn(config, n_mels, classes) for _ in range(config.members)]
    for model in members:
        for module in model.modules():
            if isinstance(module, nn.Conv1d) and module is not model.classifier:
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return members[0] if len(members) == 1 else TcnEnsemble(members)
