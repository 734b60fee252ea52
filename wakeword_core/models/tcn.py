"""A temporal convolutional network over mel channels.

Residual blocks of dilated convolutions (Bai et al. 2018) without any padding. Plain convolutions, not separable ones:
at this width they cost a CPU no more, and INT8 loses less on them.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from wakeword_core.config import TcnConfig
from wakeword_core.models.layers import StreamingBackbone, he_initialise, products_pay

_STEM_OVERLAP = 2


class StepNorm(nn.BatchNorm1d):
    """A batch norm of [batch, channels, steps], or of the same as images of one row, [batch, channels, 1, steps]."""

    def _check_input_dim(self, input: Tensor) -> None:
        """Both will do."""


class ResidualBlock(nn.Module):
    """Dilated convolution, batch norm, residual, ReLU; nothing padded, so that steps at the left are lost."""

    def __init__(self, channels: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.lost = (kernel - 1) * dilation
        self.convolution = nn.Conv1d(channels, channels, kernel, dilation=dilation, bias=False)
        self.norm = StepNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, channels, steps] to [batch, channels, steps - lost]."""
        return functional.relu(x[:, :, self.lost :] + self.norm(self.convolution(x)))

    def of_images(self, x: Tensor) -> Tensor:
        """Do as `forward` does with [batch, channels, 1, steps] in the memory format channels-last, which stays."""
        kept = x.transpose(1, 3)[:, self.lost :].transpose(1, 3)  # so that its gradient is in that format, too
        return functional.relu(kept + self.norm(convolve_images(self.convolution, x)))


def convolve_images(convolution: nn.Conv1d, x: Tensor) -> Tensor:
    """Convolve [batch, channels, 1, steps] over the steps, without a bias."""
    stride, dilation = (1, *convolution.stride), (1, *convolution.dilation)
    return functional.conv2d(x, convolution.weight[:, :, None], stride=stride, dilation=dilation)


class Tcn(StreamingBackbone):
    """Temporal convolutional network whose last step ends at the last frame."""

    def __init__(self, settings: TcnConfig, n_mels: int, classes: int) -> None:
        lost = settings.head_steps - 1 + (settings.kernel - 1) * sum(settings.dilations)
        super().__init__(stem_frames=settings.stride + _STEM_OVERLAP, stride=settings.stride, lost_steps=lost)
        self.stem = nn.Conv1d(n_mels, settings.channels, self.stem_frames, stride=settings.stride, bias=False)
        self.stem_norm = StepNorm(settings.channels)
        self.blocks = nn.ModuleList(
            ResidualBlock(settings.channels, settings.kernel, dilation) for dilation in settings.dilations
        )
        self.dropout = nn.Dropout(settings.dropout)
        self.classifier = nn.Conv1d(settings.channels, classes, settings.head_steps)

    def steps(self, x: Tensor) -> Tensor:
        """Map [batch, n_mels, stem_frames + n * stride] to [batch, channels, steps]."""
        if self.training and products_pay(x):
            return self._steps_of_images(x)
        x = functional.relu(self.stem_norm(self.stem(x)))
        for block in self.blocks:
            x = block(x)
        return x

    def _steps_of_images(self, x: Tensor) -> Tensor:
        """Do as `steps` does in four fifths of the time on a CPU: channels-last, which torch has for images alone."""
        x = x[:, :, None].contiguous(memory_format=torch.channels_last)
        x = functional.relu(self.stem_norm(convolve_images(self.stem, x)))
        for block in self.blocks:
            x = cast(ResidualBlock, block).of_images(x)
        return x[:, :, 0]


class TcnEnsemble(nn.Module):
    """Networks of one size that start differently; their logits are averaged (as in Lakshminarayanan et al. 2017).

    What one of them takes for the word by accident, the others mostly do not, which is what rare false alarms are.
    """

    streams = True

    def __init__(self, members: list[Tcn]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.stride = members[0].stride
        self.receptive_field_frames = members[0].receptive_field_frames

    def output_frames(self, frames: int) -> Tensor:
        """Return those of each member."""
        return cast(Tcn, self.members[0]).output_frames(frames)

    def dense(self, x: Tensor) -> Tensor:
        """Average the members' logits; in training return each member's in turn, [members * batch, classes, steps]."""
        scores = [cast(Tcn, member).dense(x) for member in self.members]
        return torch.cat(scores) if self.training else torch.stack(scores).mean(dim=0)

    def embed(self, x: Tensor) -> Tensor:
        """Map [batch, n_mels, frames] to [batch, members * channels * head_steps]."""
        return torch.cat([cast(Tcn, member).embed(x) for member in self.members], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, n_mels, frames] to logits [batch, classes] at the last frame."""
        return torch.stack([member(x) for member in self.members]).mean(dim=0)


def tcn(settings: TcnConfig, n_mels: int, frames: int, classes: int) -> Tcn | TcnEnsemble:
    """Make a TCN of the configured size with He's weights, or an ensemble when it has members."""
    members = [Tcn(settings, n_mels, classes) for _ in range(settings.members)]
    for model in members:
        he_initialise(model)
    return members[0] if len(members) == 1 else TcnEnsemble(members)
