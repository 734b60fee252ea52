"""DS-CNN (Zhang et al. 2017, "Hello Edge: Keyword Spotting on Microcontrollers").

One convolution and a row of depthwise separable ones, then the mean. The paper has 10 cepstra every 20 ms, of which
its first layer sees 10 frames by 4 coefficients and takes every second of both (`stride` 2). Log-mel windows are
larger, so the first layer and its stride grow together, and with the default of 4 its steps are 40 ms as in the paper.
The medium and large networks of the paper are `channels` 172 with 4 `blocks`, and 276 with 5.

The paper's network sees its window whole. With `causal` the same layers are padded over bands alone and not over time,
and the mean over all steps is a convolution over the last ones, so that the network runs step by step.
"""

from torch import Tensor, nn
from torch.nn import functional

from wakeword_core.config import DsCnnConfig
from wakeword_core.models.layers import (
    StreamingBackbone,
    WindowBackbone,
    he_initialise,
    same_padding,
    separable_convolution,
)

_STEM_BANDS = 2
_STEM_FRAMES = 5  # bands and frames the first layer sees, as multiples of its stride
_KERNEL = 3


class DsCnn(WindowBackbone):
    """Depthwise separable convolutional network."""

    def __init__(self, settings: DsCnnConfig, n_mels: int, frames: int, classes: int) -> None:
        super().__init__()
        bands, steps = _stem_kernel(settings)
        over_time = same_padding(frames, steps, settings.stride)
        self.pad = nn.ZeroPad2d((*over_time, *same_padding(n_mels, bands, settings.stride)))
        self.stem, self.stem_norm, self.blocks = _layers(settings, (_KERNEL // 2, _KERNEL // 2))
        self.dropout = nn.Dropout(settings.dropout)
        self.classifier = nn.Linear(settings.channels, classes)
        he_initialise(self)

    def embed(self, x: Tensor) -> Tensor:
        """Map [batch, n_mels, frames] to [batch, channels]: the mean over bands and steps."""
        y: Tensor = self.blocks(functional.relu(self.stem_norm(self.stem(self.pad(x[:, None])))))
        return y.mean(dim=(2, 3))


class CausalDsCnn(StreamingBackbone):
    """Depthwise separable convolutional network whose last step ends at the last frame."""

    def __init__(self, settings: DsCnnConfig, n_mels: int, classes: int) -> None:
        bands, frames = _stem_kernel(settings)
        lost = settings.head_steps - 1 + settings.blocks * (_KERNEL - 1)
        super().__init__(stem_frames=frames, stride=settings.stride, lost_steps=lost)
        self.pad = nn.ZeroPad2d((0, 0, *same_padding(n_mels, bands, settings.stride)))
        self.stem, self.stem_norm, self.blocks = _layers(settings, (_KERNEL // 2, 0))
        self.dropout = nn.Dropout(settings.dropout)
        self.classifier = nn.Conv1d(settings.channels, classes, settings.head_steps)
        he_initialise(self)

    def steps(self, x: Tensor) -> Tensor:
        """Map [batch, n_mels, stem_frames + n * stride] to [batch, channels, steps]: means over bands."""
        y: Tensor = self.blocks(functional.relu(self.stem_norm(self.stem(self.pad(x[:, None])))))
        return y.mean(dim=2)


def ds_cnn(settings: DsCnnConfig, n_mels: int, frames: int, classes: int) -> DsCnn | CausalDsCnn:
    """Make a DS-CNN of the configured size, of the kind that the settings ask for."""
    if settings.causal:
        return CausalDsCnn(settings, n_mels, classes)
    return DsCnn(settings, n_mels, frames, classes)


def _stem_kernel(settings: DsCnnConfig) -> tuple[int, int]:
    """Return how many bands and frames the first layer sees."""
    return _STEM_BANDS * settings.stride, _STEM_FRAMES * settings.stride


def _layers(settings: DsCnnConfig, padding: tuple[int, int]) -> tuple[nn.Conv2d, nn.BatchNorm2d, nn.Sequential]:
    """Make the first layer, its norm and the separable ones, which are padded by `padding` bands and steps."""
    channels = settings.channels
    stem = nn.Conv2d(1, channels, _stem_kernel(settings), settings.stride, bias=False)
    blocks = (separable_convolution(channels, channels, _KERNEL, padding=padding) for _ in range(settings.blocks))
    return stem, nn.BatchNorm2d(channels), nn.Sequential(*blocks)
