"""A streaming network of mixed depthwise kernels for microcontrollers.

Blocks of depthwise convolutions over time, whose channels have kernels of different lengths (MixConv, Tan and Le 2019),
and pointwise ones, after a first layer that takes every third frame: the class of network that microWakeWord runs on
microcontrollers (Ahrendt 2024, its `mixednet`), written without any padding.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from wakeword_core.config import MixedNetConfig
from wakeword_core.models.layers import StreamingBackbone, he_initialise

_STEM_OVERLAP = 2  # frames that the first layer sees besides the new ones, as in the TCN


class MixedConvolution(nn.Module):
    """Depthwise convolution over time in groups of channels of nearly one size, each with a kernel of its own length.

    All kernels end at the same step. They are computed as one convolution, the shorter ones behind zeros: the cost of a
    runtime is that of the layers, not of their few products.
    """

    def __init__(self, channels: int, kernels: Sequence[int]) -> None:
        super().__init__()
        self.lost = max(kernels) - 1
        groups = len(kernels)
        sizes = [channels // groups + (group < channels % groups) for group in range(groups)]
        self.groups = nn.ModuleList(
            nn.Conv1d(size, size, kernel, groups=size, bias=False) for size, kernel in zip(sizes, kernels, strict=True)
        )
        self.skipped = [max(kernels) - kernel for kernel in kernels]

    @property
    def weight(self) -> Tensor:
        """Return all kernels as those of one convolution: [channels, 1, longest kernel]."""
        layers = zip(self.groups, self.skipped, strict=True)
        return torch.cat([functional.pad(cast(Tensor, group.weight), (skipped, 0)) for group, skipped in layers])

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, channels, steps] to [batch, channels, steps - lost]."""
        return functional.conv1d(x, self.weight, groups=x.shape[1])


class MixedBlock(nn.Module):
    """Mixed depthwise convolution, pointwise convolution, batch norm, ReLU; a residual where channels agree."""

    def __init__(self, inputs: int, outputs: int, kernels: Sequence[int]) -> None:
        super().__init__()
        self.depthwise = MixedConvolution(inputs, kernels)
        self.pointwise = nn.Conv1d(inputs, outputs, 1, bias=False)
        self.norm = nn.BatchNorm1d(outputs)
        self.residual = inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, channels in, steps] to [batch, channels out, steps - lost]."""
        y: Tensor = self.norm(self.pointwise(self.depthwise(x)))
        return functional.relu(x[:, :, self.depthwise.lost :] + y if self.residual else y)


class MixedNet(StreamingBackbone):
    """Mixed-kernel separable network whose last step ends at the last frame."""

    def __init__(self, settings: MixedNetConfig, n_mels: int, frames: int, classes: int) -> None:
        lost = settings.head_steps - 1 + sum(max(kernels) - 1 for kernels in settings.kernels)
        super().__init__(stem_frames=settings.stride + _STEM_OVERLAP, stride=settings.stride, lost_steps=lost)
        self.stem = nn.Conv1d(n_mels, settings.stem_channels, self.stem_frames, settings.stride, bias=False)
        self.stem_norm = nn.BatchNorm1d(settings.stem_channels)
        inputs = (settings.stem_channels, *[settings.channels] * (len(settings.kernels) - 1))
        self.blocks = nn.Sequential(
            *(
                MixedBlock(size, settings.channels, kernels)
                for size, kernels in zip(inputs, settings.kernels, strict=True)
            )
        )
        self.dropout = nn.Dropout(settings.dropout)
        self.classifier = nn.Conv1d(settings.channels, classes, settings.head_steps)
        he_initialise(self)

    def steps(self, x: Tensor) -> Tensor:
        """Map [batch, n_mels, stem_frames + n * stride] to [batch, channels, steps]."""
        y: Tensor = self.blocks(functional.relu(self.stem_norm(self.stem(x))))
        return y
