"""Networks of listed layers: one that a configuration lists (`custom`), and VGG.

VGG (Simonyan and Zisserman 2015, "Very Deep Convolutional Networks for Large-Scale Image Recognition"): stages of
3 x 3 convolutions, each with a pool of 2 x 2 behind, and two fully connected layers. Batch norms are added. Where a
window has too few bands or frames left, a kernel or pool is as small as that.
"""

from itertools import pairwise

from torch import Tensor, nn

from wakeword_core.config.layers import CustomConfig, LayerConfig, Shape, VggConfig
from wakeword_core.models.layers import StreamingBackbone, WindowBackbone, he_initialise, same_padding

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "hard_swish": nn.Hardswish, "none": nn.Identity}
_VGG_BLOCKS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""Convolutions of each stage (table 1 of the paper)."""
_VGG_WIDTHS = (1, 2, 4, 8, 8)


class Mean(nn.Module):
    """The mean over bands, and over time where a network sees whole windows."""

    def __init__(self, *, over_time: bool) -> None:
        super().__init__()
        self._axes = (2, 3) if over_time else (2,)

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, channels, bands, steps] to [batch, channels, 1, steps or 1]."""
        return x.mean(dim=self._axes, keepdim=True)


class CustomNetwork(WindowBackbone):
    """Listed layers over a window of a fixed size."""

    def __init__(self, settings: CustomConfig, n_mels: int, frames: int, classes: int) -> None:
        super().__init__()
        self.layers, (channels, bands, steps) = _layers(settings, n_mels, frames)
        self.dropout = nn.Dropout(settings.dropout)
        self.classifier = nn.Linear(channels * bands * steps, classes)
        he_initialise(self)

    def embed(self, x: Tensor) -> Tensor:
        """Map [batch, n_mels, frames] to [batch, all that the last layer gives]."""
        y: Tensor = self.layers(x[:, None])
        return y.flatten(1)


class CausalCustomNetwork(StreamingBackbone):
    """Listed layers, none of which is padded over time, so that the last step ends at the last frame."""

    def __init__(self, settings: CustomConfig, n_mels: int, frames: int, classes: int) -> None:
        reach, stride = settings.reach
        super().__init__(stem_frames=reach, stride=stride, lost_steps=settings.head_steps - 1)
        self.layers, (channels, bands, _) = _layers(settings, n_mels, frames)
        self.dropout = nn.Dropout(settings.dropout)
        self.classifier = nn.Conv1d(channels * bands, classes, settings.head_steps)
        he_initialise(self)

    def steps(self, x: Tensor) -> Tensor:
        """Map [batch, n_mels, stem_frames + n * stride] to [batch, channels times bands, steps]."""
        y: Tensor = self.layers(x[:, None])
        return y.flatten(1, 2)


def custom(settings: CustomConfig, n_mels: int, frames: int, classes: int) -> CustomNetwork | CausalCustomNetwork:
    """Make the network that the settings list; ValueError where a layer does not fit a window."""
    return (CausalCustomNetwork if settings.causal else CustomNetwork)(settings, n_mels, frames, classes)


def vgg(settings: VggConfig, n_mels: int, frames: int, classes: int) -> CustomNetwork:
    """Make a VGG of the configured size."""
    layers, size = list[LayerConfig](), (n_mels, frames)
    for blocks, width in zip(_VGG_BLOCKS[settings.depth], _VGG_WIDTHS, strict=True):
        kernel, pool = ((min(most, size[0]), min(most, size[1])) for most in (3, 2))
        layers += [LayerConfig(kind="conv", channels=width * settings.width, kernel=kernel)] * blocks
        layers.append(LayerConfig(kind="max_pool", kernel=pool))
        size = (size[0] // pool[0], size[1] // pool[1])
    layers += [LayerConfig(kind="dense", channels=settings.hidden_units)] * 2
    return CustomNetwork(CustomConfig(layers=tuple(layers), dropout=settings.dropout), n_mels, frames, classes)


def _layers(settings: CustomConfig, n_mels: int, frames: int) -> tuple[nn.Sequential, Shape]:
    """Make the layers, and return the shape of what the last one gives."""
    shapes = ((1, n_mels, frames), *settings.shapes(n_mels, frames))
    made = (
        _layer(layer, given, wanted, settings.causal)
        for layer, (given, wanted) in zip(settings.layers, pairwise(shapes), strict=True)
    )
    return nn.Sequential(*made), shapes[-1]


def _layer(layer: LayerConfig, given: Shape, wanted: Shape, causal: bool) -> nn.Module:
    channels, bands, frames = given
    if layer.kind == "mean":
        return Mean(over_time=not causal)
    if layer.kind == "max_pool":
        return nn.MaxPool2d(layer.seen, layer.steps)
    if layer.kind == "mean_pool":
        return nn.AvgPool2d(layer.seen, layer.steps)
    # a dense layer is a convolution that sees all that is left
    kernel, stride = ((bands, 1 if causal else frames), (1, 1)) if layer.sees_all else (layer.seen, layer.steps)
    groups = channels if layer.kind == "depthwise" else 1
    convolution = nn.Conv2d(channels, wanted[0], kernel, stride, groups=groups, bias=False)
    padding = [] if layer.sees_all else [_padding(given, layer, causal)]
    return nn.Sequential(*padding, convolution, nn.BatchNorm2d(wanted[0]), _ACTIVATIONS[layer.activation]())


def _padding(given: Shape, layer: LayerConfig, causal: bool) -> nn.Module:
    _, bands, frames = given
    over_time = (0, 0) if causal else same_padding(frames, layer.seen[1], layer.steps[1])
    sides = (*over_time, *same_padding(bands, layer.seen[0], layer.steps[0]))
    return nn.ZeroPad2d(sides) if any(sides) else nn.Identity()
