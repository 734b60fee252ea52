"""MobileNetV3-Small (Howard et al. 2019, "Searching for MobileNetV3") for log-mel windows.

Rows and widths are the paper's (table 2). Its five strides of 2 are kept over the bands; over time only the first
three are, which leaves a step every 8 frames (80 ms) instead of every 32: a word has few of the latter. Above the
convolutions lies the paper's pooling with a hidden layer, or a GRU over time, which knows the order of the sounds.
"""

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional

from wakeword_core.config import MobileNetV3Config
from wakeword_core.models.layers import WindowBackbone, convolution, he_initialise, recurrent_initialise


class _Row(NamedTuple):
    kernel: int
    expanded: int
    outputs: int
    squeeze: bool
    activation: type[nn.Module]
    stride: tuple[int, int]  # over bands and frames


_ROWS = (
    _Row(3, 16, 16, True, nn.ReLU, (2, 2)),
    _Row(3, 72, 24, False, nn.ReLU, (2, 2)),
    _Row(3, 88, 24, False, nn.ReLU, (1, 1)),
    _Row(5, 96, 40, True, nn.Hardswish, (2, 1)),
    _Row(5, 240, 40, True, nn.Hardswish, (1, 1)),
    _Row(5, 240, 40, True, nn.Hardswish, (1, 1)),
    _Row(5, 120, 48, True, nn.Hardswish, (1, 1)),
    _Row(5, 144, 48, True, nn.Hardswish, (1, 1)),
    _Row(5, 288, 96, True, nn.Hardswish, (2, 1)),
    _Row(5, 576, 96, True, nn.Hardswish, (1, 1)),
    _Row(5, 576, 96, True, nn.Hardswish, (1, 1)),
)
_STEM_CHANNELS = 16
_STEM_KERNEL = 3
_LAST_EXPANSION = 6  # channels of the last convolution, of those before it
_HIDDEN = 1024
_SQUEEZE = 4  # the squeeze-and-excite layers have a quarter of the channels they weigh
_MULTIPLE = 8
_LARGEST_LOSS = 0.9  # rounding may not take more than a tenth of the channels


def rounded_channels(channels: float) -> int:
    """Return the nearest multiple of 8 that is not below nine tenths of `channels`, as in the authors' code."""
    nearest = max(_MULTIPLE, int(channels + _MULTIPLE / 2) // _MULTIPLE * _MULTIPLE)
    return nearest if nearest >= _LARGEST_LOSS * channels else nearest + _MULTIPLE


class SqueezeExcite(nn.Module):
    """A weight between 0 and 1 for each channel, from the means of all of them (Hu et al. 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = rounded_channels(channels / _SQUEEZE)
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.excite = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, channels, bands, steps] to the same shape."""
        weights = functional.relu(self.squeeze(x.mean(dim=(2, 3), keepdim=True)))
        return x * functional.hardsigmoid(self.excite(weights))


class InvertedResidual(nn.Module):
    """Wide inside and narrow outside (Sandler et al. 2018), with squeeze-and-excite; a residual where shapes agree."""

    def __init__(self, inputs: int, row: _Row, width: float) -> None:
        super().__init__()
        expanded, outputs = rounded_channels(row.expanded * width), rounded_channels(row.outputs * width)
        self.residual = row.stride == (1, 1) and inputs == outputs
        depthwise = convolution(
            expanded, expanded, row.kernel, stride=row.stride, groups=expanded, activation=row.activation
        )
        self.layers = nn.Sequential(
            *([] if expanded == inputs else [convolution(inputs, expanded, 1, activation=row.activation)]),
            depthwise,
            *([SqueezeExcite(expanded)] if row.squeeze else []),
            convolution(expanded, outputs, 1, activation=None),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, channels in, bands, steps] to [batch, channels out, bands / stride, steps / stride]."""
        y: Tensor = self.layers(x)
        return x + y if self.residual else y


class MobileNetV3(WindowBackbone):
    """MobileNetV3-Small for windows of any size, with pooling or a GRU at its end."""

    def __init__(self, settings: MobileNetV3Config, n_mels: int, frames: int, classes: int) -> None:
        super().__init__()
        inputs = rounded_channels(_STEM_CHANNELS * settings.width)
        layers: list[nn.Module] = [convolution(1, inputs, _STEM_KERNEL, stride=2, activation=nn.Hardswish)]
        for row in _ROWS:
            layers.append(InvertedResidual(inputs, row, settings.width))
            inputs = rounded_channels(row.outputs * settings.width)
        last = _LAST_EXPANSION * inputs
        self.layers = nn.Sequential(*layers, convolution(inputs, last, 1, activation=nn.Hardswish))
        embedded = settings.gru_units or rounded_channels(_HIDDEN * settings.width)
        self.gru = nn.GRU(last, embedded, batch_first=True) if settings.gru_units else None
        self.hidden = None if self.gru else nn.Linear(last, embedded)
        self.dropout = nn.Dropout(settings.dropout)
        self.classifier = nn.Linear(embedded, classes)
        he_initialise(self)
        if self.gru is not None:
            recurrent_initialise(self.gru)

    def embed(self, x: Tensor) -> Tensor:
        """Map [batch, n_mels, frames] to [batch, gru_units], or [batch, 1024 * width] without a GRU."""
        y: Tensor = self.layers(x[:, None])
        if self.gru is not None:
            states, _ = self.gru(y.mean(dim=2).transpose(1, 2))
            last: Tensor = states[:, -1]
            return last
        assert self.hidden is not None
        return functional.hardswish(self.hidden(y.mean(dim=(2, 3))))
