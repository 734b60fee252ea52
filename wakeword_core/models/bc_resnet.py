"""BC-ResNet (Kim et al. 2021, "Broadcasted Residual Learning for Efficient Keyword Spotting").

Frequency-wise 2-D features, a temporal branch on their mean over frequency, and its result broadcast back. The paper
has 40 mel bands and 5 sub-bands of SubSpectralNorm (Chang et al. 2021) everywhere; for other numbers of bands each
layer takes the largest number of sub-bands up to 5 that divides its frequencies: 4 for 64 mels, 5 for 40 and 80.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from wakeword_core.config import BcResNetConfig
from wakeword_core.models.layers import WindowBackbone, he_initialise, products_pay, toeplitz

_BASE_CHANNELS = 8
_WIDTHS = (1.0, 1.5, 2.0, 2.5)
_BLOCKS = (2, 2, 4, 4)
_STRIDES = (1, 2, 2, 1)
_SUB_BANDS = 5
_STEM_KERNEL = 5
_FREQUENCY_KERNEL = 3
_TIME_KERNEL = 3


def sub_bands(frequencies: int) -> int:
    """Return the largest number of equal sub-bands, up to the paper's 5, that `frequencies` can be cut into."""
    return max(bands for bands in range(1, _SUB_BANDS + 1) if frequencies % bands == 0)


class SubSpectralNorm(nn.Module):
    """Batch norm with statistics and scale of its own for each sub-band of each channel (Chang et al. 2021)."""

    def __init__(self, channels: int, bands: int) -> None:
        super().__init__()
        self.bands = bands
        self.norm = nn.BatchNorm2d(channels * bands)

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, channels, frequencies, n] to the same shape."""
        _, channels, frequencies, n = x.shape
        y: Tensor = self.norm(x.reshape(-1, channels * self.bands, frequencies // self.bands, n))
        return y.reshape(-1, channels, frequencies, n)


class BroadcastBlock(nn.Module):
    """One BC-ResBlock; a transition block where the number of channels changes, a normal block elsewhere."""

    def __init__(
        self, inputs: int, outputs: int, frequencies: int, *, stride: int, dilation: int, dropout: float
    ) -> None:
        super().__init__()
        self.stride, self.dilation = stride, dilation
        self.frequencies_out = -(-frequencies // stride)
        self.transition: nn.Sequential | None = None
        if inputs != outputs:
            pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)
            self.transition = nn.Sequential(pointwise, nn.BatchNorm2d(outputs), nn.ReLU())
        pad = _FREQUENCY_KERNEL // 2
        self.frequency = nn.Conv2d(
            outputs, outputs, (_FREQUENCY_KERNEL, 1), (stride, 1), (pad, 0), groups=outputs, bias=False
        )
        self.frequency_norm = SubSpectralNorm(outputs, sub_bands(self.frequencies_out))
        pad = dilation * (_TIME_KERNEL // 2)
        self.time = nn.Conv2d(
            outputs, outputs, (1, _TIME_KERNEL), 1, (0, pad), (1, dilation), groups=outputs, bias=False
        )
        self.time_norm = nn.BatchNorm2d(outputs)
        self.time_pointwise = nn.Conv2d(outputs, outputs, 1, bias=False)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, channels in, frequencies in, frames] to [batch, channels out, frequencies out, frames]."""
        y = x if self.transition is None else self.transition(x)
        y = self.frequency_norm(self.frequency(y))
        z = functional.silu(self.time_norm(self.time(y.mean(dim=2, keepdim=True))))
        y = y + self.dropout(self.time_pointwise(z))
        return functional.relu(y if self.transition is not None else y + x)

    def products(self, x: Tensor) -> Tensor:
        """Do the same by matrix products: map [channels in, frequencies in, batch, frames] to [channels out, ...]."""
        _, frequencies, batch, frames = x.shape
        y = x.flatten(2)
        if self.transition is not None:
            pointwise, norm, relu = self.transition
            assert isinstance(pointwise, nn.Conv2d)
            y = relu(norm((pointwise.weight.flatten(1) @ y.flatten(1))[None, :, :, None]))
            y = y.view(-1, frequencies, batch * frames)
        taps = self.frequency.weight.flatten(1)
        pad = _FREQUENCY_KERNEL // 2
        matrix = toeplitz(taps, frequencies, self.frequencies_out, stride=self.stride, pad=pad)
        y = self.frequency_norm(torch.bmm(matrix.transpose(1, 2), y)[None])[0]
        taps = self.time.weight.flatten(1)
        matrix = toeplitz(taps, frames, frames, dilation=self.dilation, pad=self.dilation * (_TIME_KERNEL // 2))
        z = torch.bmm(y.mean(dim=1).view(-1, batch, frames), matrix)
        z = functional.silu(self.time_norm(z[None]))[0]
        z = (self.time_pointwise.weight.flatten(1) @ z.flatten(1)).view(-1, batch, frames)
        if self.training and self.dropout.p > 0:
            z = z * functional.dropout(z.new_ones(z.shape[0], batch, 1), self.dropout.p)
        y = (y + z.flatten(1)[:, None]).view(-1, self.frequencies_out, batch, frames)
        return functional.relu(y if self.transition is not None else y + x)


class BcResNet(WindowBackbone):
    """BC-ResNet-tau for log-mel windows."""

    def __init__(self, settings: BcResNetConfig, n_mels: int, frames: int, classes: int) -> None:
        super().__init__()
        base = int(_BASE_CHANNELS * settings.tau)
        stem, last = 2 * base, 4 * base
        pad = _STEM_KERNEL // 2
        self.stem = nn.Conv2d(1, stem, _STEM_KERNEL, (2, 1), pad, bias=False)
        self.stem_norm = nn.BatchNorm2d(stem)
        blocks: list[BroadcastBlock] = []
        inputs, frequencies = stem, -(-n_mels // 2)
        for stage, (width, count, stride) in enumerate(zip(_WIDTHS, _BLOCKS, _STRIDES, strict=True)):
            for position in range(count):
                block = BroadcastBlock(
                    inputs,
                    int(base * width),
                    frequencies,
                    stride=stride if position == 0 else 1,
                    dilation=2**stage,
                    dropout=settings.dropout,
                )
                blocks.append(block)
                inputs, frequencies = int(base * width), block.frequencies_out
        self.blocks = nn.ModuleList(blocks)
        kernel = (min(_STEM_KERNEL, frequencies), _STEM_KERNEL)
        self.head_depthwise = nn.Conv2d(inputs, inputs, kernel, padding=(0, pad), groups=inputs, bias=False)
        self.head_pointwise = nn.Conv2d(inputs, last, 1, bias=False)
        self.head_norm = nn.BatchNorm2d(last)
        self.dropout = nn.Identity()  # the blocks have their own
        self.classifier = nn.Linear(last, classes)
        he_initialise(self, "fan_out")

    def embed(self, x: Tensor) -> Tensor:
        """Map [batch, n_mels, frames] to [batch, 32 * tau]."""
        y = functional.relu(self.stem_norm(self.stem(x[:, None])))
        if products_pay(y):
            y = y.permute(1, 2, 0, 3).contiguous()
            for block in self.blocks:
                assert isinstance(block, BroadcastBlock)
                y = block.products(y)
            y = y.permute(2, 0, 1, 3)
        else:
            for block in self.blocks:
                y = block(y)
        y = self.head_pointwise(self.head_depthwise(y))
        return functional.relu(self.head_norm(y)).mean(dim=(2, 3))
