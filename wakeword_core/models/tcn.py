"""A causal temporal convolutional network over mel channels: separable, dilated, residual.

Blocks are time-channel separable convolutions (depthwise, pointwise, norm, residual, ReLU) as in QuartzNet (Kriman et
al. 2020) and MatchboxNet (Majumdar and Ginsburg 2020), dilated as in a TCN (Bai et al. 2018), padded on the left only.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from wakeword_core.config import TcnConfig
from wakeword_core.models.toeplitz import products_pay, toeplitz

_DILATIONS = (1, 2, 4)
_STEM_OVERLAP = 2


class SeparableBlock(nn.Module):
    """Depthwise dilated convolution, pointwise convolution, batch norm, residual, ReLU; causal."""

    def __init__(self, channels: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.pad = (kernel - 1) * dilation
        self.depthwise = nn.Conv1d(channels, channels, kernel, dilation=dilation, groups=channels, bias=False)
        self.pointwise = nn.Conv1d(channels, channels, 1, bias=False)
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels, steps] -> the same shape."""
        y = self.pointwise(self.depthwise(functional.pad(x, (self.pad, 0))))
        return functional.relu(x + self.norm(y))

    def products(self, x: Tensor) -> Tensor:
        """The same map as `forward` by matrix products: [channels, batch, steps] -> the same shape."""
        channels, _, steps = x.shape
        y = torch.bmm(x, toeplitz(self.depthwise.weight[:, 0], steps, steps, dilation=self.dilation, pad=self.pad))
        y = self.pointwise.weight[:, :, 0] @ y.view(channels, -1)
        return functional.relu(x + self.norm(y[None]).view(x.shape))


class Tcn(nn.Module):
    """Temporal convolutional network; step i of its trunk depends on nothing after that step's frame."""

    streams = True

    def __init__(self, config: TcnConfig, n_mels: int, classes: int) -> None:
        super().__init__()
        self.stride = config.stride
        self.stem_kernel = config.stride + _STEM_OVERLAP
        self.stem = nn.Conv1d(n_mels, config.channels, self.stem_kernel, stride=config.stride, bias=False)
        self.stem_norm = nn.BatchNorm1d(config.channels)
        dilations = [_DILATIONS[i % len(_DILATIONS)] for i in range(config.blocks)]
        self.blocks = nn.ModuleList(SeparableBlock(config.channels, config.kernel, one) for one in dilations)
        self.pads = [(config.kernel - 1) * one for one in dilations]
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(2 * config.channels, classes)

    @property
    def receptive_field_frames(self) -> int:
        """Frames that one step of the trunk depends on: its own and those before it."""
        return self.stem_kernel + self.stride * sum(self.pads)

    def trunk(self, x: Tensor) -> Tensor:
        """[batch, n_mels, frames] -> [batch, channels, steps]; the last step ends exactly at the last frame."""
        x = self._padded(x)
        if products_pay(x):
            return self._trunk_by_products(x)
        x = functional.relu(self.stem_norm(self.stem(x)))
        for block in self.blocks:
            x = block(x)
        return x

    def embed(self, x: Tensor) -> Tensor:
        """[batch, n_mels, frames] -> [batch, 2 * channels]: mean of the later half of the steps, and the last step.

        The word ends near the window's end, and the early steps see little but the padding.
        """
        steps = self.trunk(x)
        later = steps[:, :, steps.shape[2] // 2 :]
        return torch.cat([later.mean(dim=2), steps[:, :, -1]], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, n_mels, frames] -> logits [batch, classes]."""
        logits: Tensor = self.classifier(self.dropout(self.embed(x)))
        return logits

    def _padded(self, x: Tensor) -> Tensor:
        to_last_frame = -(x.shape[2] - 1) % self.stride
        return functional.pad(x, (self.stem_kernel - 1 + to_last_frame, 0))

    def _trunk_by_products(self, x: Tensor) -> Tensor:
        batch = x.shape[0]
        patches = x.unfold(2, self.stem_kernel, self.stride).permute(1, 3, 0, 2)
        steps = patches.shape[3]
        y = self.stem.weight.flatten(1) @ patches.reshape(-1, batch * steps)
        y = functional.relu(self.stem_norm(y[None])).view(-1, batch, steps)
        for block in self.blocks:
            assert isinstance(block, SeparableBlock)
            y = block.products(y)
        return y.transpose(0, 1)


def tcn(config: TcnConfig, n_mels: int, frames: int, classes: int) -> Tcn:
    """Causal TCN of the configured size, with He initialisation."""
    model = Tcn(config, n_mels, classes)
    for module in model.modules():
        if isinstance(module, nn.Conv1d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return model
