"""Conformer (Gulati et al. 2020, "Conformer: Convolution-augmented Transformer for Speech Recognition"), a small one.

Convolutions take every fourth frame; blocks of half a feed-forward layer, self-attention, convolution, and the other
half follow; the mean over time is classified. Position is relative, as in the paper, since a window may begin anywhere
before the word; but as one learned number for each head and distance that is added to the attention's logits (Raffel
et al. 2020): in place of sinusoids, their projection and two biases (Dai et al. 2019), it is a constant when exported.
"""

from typing import cast

import torch
from torch import Tensor, nn

from wakeword_core.config import ConformerConfig
from wakeword_core.models.layers import WindowBackbone

_KERNEL = 3
_STRIDE = 2
_HALF = 0.5


class FeedForward(nn.Sequential):
    """Layer norm, a wide layer with swish, and back; dropout after both."""

    def __init__(self, channels: int, expansion: int, dropout: float) -> None:
        wide = expansion * channels
        layers = (nn.Linear(channels, wide), nn.SiLU(), nn.Dropout(dropout), nn.Linear(wide, channels))
        super().__init__(nn.LayerNorm(channels), *layers, nn.Dropout(dropout))


class RelativeAttention(nn.Module):
    """Self-attention of several heads with a learned bias for each distance, for a fixed number of steps."""

    distances: Tensor

    def __init__(self, channels: int, heads: int, steps: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(channels)
        self.projection = nn.Linear(channels, 3 * channels)
        self.output = nn.Linear(channels, channels)
        self.dropout = nn.Dropout(dropout)
        self.bias = nn.Parameter(torch.zeros(heads, 2 * steps - 1))
        places = torch.arange(steps)
        self.register_buffer("distances", places[None, :] - places[:, None] + steps - 1, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, steps, channels] to the same shape."""
        batch, steps, channels = x.shape
        split = self.projection(self.norm(x)).view(batch, steps, 3, self.heads, channels // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4).unbind(0)
        logits = query @ key.transpose(2, 3) * (channels // self.heads) ** -0.5 + self.bias[:, self.distances]
        mixed = self.dropout(logits.softmax(dim=3)) @ value
        return cast(Tensor, self.dropout(self.output(mixed.transpose(1, 2).flatten(2))))


class ConvolutionModule(nn.Module):
    """Gated pointwise convolution, depthwise convolution over time, batch norm, swish, pointwise convolution."""

    def __init__(self, channels: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.layers = nn.Sequential(
            nn.Conv1d(channels, 2 * channels, 1),
            nn.GLU(dim=1),
            nn.Conv1d(channels, channels, kernel, padding=kernel // 2, groups=channels, bias=False),
            nn.BatchNorm1d(channels),
            nn.SiLU(),
            nn.Conv1d(channels, channels, 1),
            nn.Dropout(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, steps, channels] to the same shape."""
        y: Tensor = self.layers(self.norm(x).transpose(1, 2))
        return y.transpose(1, 2)


class ConformerBlock(nn.Module):
    """Feed-forward, attention, convolution, feed-forward (of which a half each counts), and layer norm."""

    def __init__(self, settings: ConformerConfig, steps: int) -> None:
        super().__init__()
        self.before = FeedForward(settings.channels, settings.expansion, settings.dropout)
        self.attention = RelativeAttention(settings.channels, settings.heads, steps, settings.dropout)
        self.convolution = ConvolutionModule(settings.channels, settings.kernel, settings.dropout)
        self.after = FeedForward(settings.channels, settings.expansion, settings.dropout)
        self.norm = nn.LayerNorm(settings.channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, steps, channels] to the same shape."""
        x = x + _HALF * self.before(x)
        x = x + self.attention(x)
        x = x + self.convolution(x)
        y: Tensor = self.norm(x + _HALF * self.after(x))
        return y


class Conformer(WindowBackbone):
    """Convolution-augmented transformer for windows of a fixed size.

    It begins with He's weights where ReLU follows, and with Glorot's elsewhere.
    """

    def __init__(self, settings: ConformerConfig, n_mels: int, frames: int, classes: int) -> None:
        super().__init__()
        channels, bands, steps = settings.channels, n_mels, frames
        layers: list[nn.Module] = []
        for inputs in (1, channels):
            layers += [nn.Conv2d(inputs, channels, _KERNEL, _STRIDE, _KERNEL // 2), nn.ReLU()]
            bands, steps = -(-bands // _STRIDE), -(-steps // _STRIDE)
        self.subsampling = nn.Sequential(*layers)
        self.projection = nn.Linear(channels * bands, channels)
        self.projection_dropout = nn.Dropout(settings.dropout)
        self.blocks = nn.Sequential(*(ConformerBlock(settings, steps) for _ in range(settings.layers)))
        self.dropout = nn.Dropout(settings.dropout)
        self.classifier = nn.Linear(channels, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            elif isinstance(module, nn.Linear | nn.Conv1d) and module is not self.classifier:
                nn.init.xavier_uniform_(module.weight)
            else:
                continue
            if module.bias is not None:
                nn.init.zeros_(module.bias)

    def embed(self, x: Tensor) -> Tensor:
        """Map [batch, n_mels, frames] to [batch, channels]: the mean over time."""
        y = self.subsampling(x[:, None]).flatten(1, 2).transpose(1, 2)
        z: Tensor = self.blocks(self.projection_dropout(self.projection(y)))
        return z.mean(dim=1)
