"""The network as a microcontroller computes it: few kinds of layers, and all else folded into their weights.

Every layer over time is unpadded and remembers as many of its last inputs as its kernel reaches back, so that one pass
over a long stretch gives what the same network gives step by step.

Layers are folded as tensors of torch, through which gradients reach the weights that they were folded from, and are
used as arrays.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import numpy as np
import numpy.typing as npt

from wakeword_core.errors import WakewordError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from wakeword_core.models.mixednet import MixedConvolution
    from wakeword_core.models.scoring import ScoringModel

Array = npt.NDArray[np.float64]
Numbers = TypeVar("Numbers", Array, "Tensor")
"""What layers hold: arrays, or tensors in float64 while they are folded."""


@dataclass(frozen=True)
class Convolution(Generic[Numbers]):
    """A convolution over time and bands, across channels or of each by itself, and a ReLU where it has one."""

    weight: Numbers
    """[outputs, kernel, kernel over bands, inputs]; of a depthwise one there is one input."""
    bias: Numbers
    """[outputs]"""
    stride: int = 1
    band_stride: int = 1
    band_pad: tuple[int, int] = (0, 0)
    """Zeros before the first band and behind the last one."""
    depthwise: bool = False
    relu: bool = False

    @property
    def kernel(self) -> int:
        """Return how many steps it sees."""
        return self.weight.shape[1]

    @property
    def remembered(self) -> int:
        """Return how many steps of its input it has to keep from one run to the next."""
        return self.kernel - self.stride

    @property
    def inputs(self) -> int:
        """Return the channels that come in."""
        return len(self.bias) if self.depthwise else self.weight.shape[3]

    def bands_of(self, bands: int) -> int:
        """Return how many bands it makes of so many."""
        return (bands + sum(self.band_pad) - self.weight.shape[2]) // self.band_stride + 1

    @property
    def in_numpy(self) -> "Convolution":
        """Return a layer of tensors as one of arrays."""
        values: dict[str, Any] = {name: getattr(self, name).detach().cpu().numpy() for name in ("weight", "bias")}
        return replace(self, **values)

    def __call__(self, x: Array) -> Array:
        """Map [batch, steps, bands, inputs] to [batch, (steps - kernel) // stride + 1, bands, outputs]."""
        steps, bands = (x.shape[1] - self.kernel) // self.stride + 1, self.bands_of(x.shape[2])
        x = np.pad(x, ((0, 0), (0, 0), self.band_pad, (0, 0)))
        y = np.zeros((x.shape[0], steps, bands, len(self.bias)))
        for tap, band in np.ndindex(*self.weight.shape[1:3]):
            over_time = slice(tap, tap + (steps - 1) * self.stride + 1, self.stride)
            heard = x[:, over_time, band : band + (bands - 1) * self.band_stride + 1 : self.band_stride]
            weight = self.weight[:, tap, band]
            y += heard * weight[:, 0] if self.depthwise else heard @ weight.T
        y += self.bias
        return np.maximum(y, 0.0) if self.relu else y


@dataclass(frozen=True)
class Residual:
    """The sum of the newest steps of an earlier tensor and of the last one, and a ReLU."""

    source: int
    """Which tensor of the network is added."""


@dataclass(frozen=True)
class Network:
    """Layers from features to the log-odds of the wake word. Tensor 0 is the features, tensor i what layer i - 1 gives.

    Tensors are [batch, steps, bands, channels]. The last layer is a convolution with one output.
    """

    layers: tuple[Convolution | Residual, ...]
    over_bands: int = 1
    """How many bands the features have for the first layer; if one, all numbers of a frame are its channels."""

    @property
    def stride(self) -> int:
        """Return the frames that one run takes."""
        return self._first.stride

    @property
    def bands(self) -> int:
        """Return how many numbers a frame has."""
        return self.over_bands * self._first.inputs

    @property
    def _first(self) -> Convolution:
        return cast(Convolution, self.layers[0])

    @property
    def receptive_field(self) -> int:
        """Return the frames that a score depends on."""
        strides = [1, *(self.stride for _ in self.layers[1:])]
        kept = zip(self.layers, strides, strict=True)
        return self.stride + sum(one.remembered * by for one, by in kept if isinstance(one, Convolution))

    def tensors(self, frames: npt.ArrayLike, *, from_quiet: bool = False) -> list[Array]:
        """Compute every tensor for frames [batch, frames, bands].

        With `from_quiet` there is a step for each whole stride of frames, and what was before them counts as zeros, as
        on a device that was just switched on; else steps begin where the layers have all that they reach back to.
        """
        heard = np.asarray(frames, np.float64)
        values = [heard.reshape(*heard.shape[:2], self.over_bands, -1)]
        for layer in self.layers:
            last = values[-1]
            if isinstance(layer, Residual):
                other = values[layer.source]
                values.append(np.maximum(other[:, other.shape[1] - last.shape[1] :] + last, 0.0))
                continue
            if from_quiet:
                last = np.pad(last, ((0, 0), (layer.remembered, 0), (0, 0), (0, 0)))
            values.append(layer(last))
        return values

    @property
    def in_numpy(self) -> "Network":
        """Return a network of tensors as one of arrays."""
        layers = (layer if isinstance(layer, Residual) else layer.in_numpy for layer in self.layers)
        return replace(self, layers=tuple(layers))

    def shifted(self, odds: float) -> "Network":
        """Return the same network with its log-odds lower by so much."""
        last = cast(Convolution, self.layers[-1])
        return replace(self, layers=(*self.layers[:-1], replace(last, bias=last.bias - odds)))

    def scores(self, frames: npt.ArrayLike) -> Array:
        """Map a stream [frames, bands] that begins with quiet to the score of each run: [frames // stride]."""
        odds = self.tensors(np.asarray(frames)[None], from_quiet=True)[-1][0, :, 0, 0]
        return 1.0 / (1.0 + np.exp(-odds))


Layers = tuple[int, list[Convolution] | list[Convolution | Residual]]
"""How many bands the features have for the first layer, and all layers but the classifier."""


def network_of(model: "ScoringModel") -> Network:
    """Return a trained model as such layers of arrays, as `folded` makes them."""
    return folded(model).in_numpy


def folded(model: "ScoringModel") -> Network:
    """Return a model as such layers of tensors: normalisation, batch norm and calibration are in their weights.

    Gradients flow through them, but none to statistics. Raises WakewordError, which says what to change, for a model
    that cannot be such layers.
    """
    arch = model.settings.arch
    if model.classes != 2:
        raise WakewordError(f"the model has {model.classes} classes, but a microcontroller's has one wake word alone")
    if arch not in ARCHITECTURES:
        raise WakewordError(
            f"a network of training.model.arch {arch} does not run on a microcontroller step by step; set it to "
            f"{' or '.join(ARCHITECTURES)}"
        )
    if not model.backbone.streams:
        raise WakewordError(f"{arch} needs its window whole; set training.model.causal to true")
    over_bands, (first, *layers) = ARCHITECTURES[arch](model)
    mean, deviation = _statistics(model, over_bands)
    return Network((normalising(first, mean, deviation), *layers, _calibrated(model)), over_bands)


def _statistics(model: "ScoringModel", over_bands: int) -> "tuple[Tensor, Tensor]":
    """Return mean and deviation of the training split for each input of the first layer."""
    mean, deviation = numbers(model.mean), numbers(model.std)
    if over_bands == 1:
        return mean, deviation
    if bool(mean.any()) or bool((deviation != deviation[0]).any()):
        raise WakewordError(
            f"a network of training.model.arch {model.settings.arch} shares its first weights among bands, which "
            "cannot be normalised each by itself; features.frontend.kind micro normalises none"
        )
    return mean[:1], deviation[:1]


def _mixednet(model: "ScoringModel") -> Layers:
    network: Any = model.backbone
    layers: list[Convolution | Residual] = [
        with_norm(network.stem, network.stem_norm, stride=network.stride, relu=True)
    ]
    for block in network.blocks:
        source, weight = len(layers), taps(block.depthwise)
        layers.append(Convolution(weight, weight.new_zeros(len(weight)), depthwise=True))
        layers.append(with_norm(block.pointwise, block.norm, relu=not block.residual))
        if block.residual:
            layers.append(Residual(source))
    return 1, layers


def _ds_cnn(model: "ScoringModel") -> Layers:
    network: Any = model.backbone
    stem = with_norm(network.stem, network.stem_norm, stride=network.stride, relu=True)
    layers = [replace(stem, band_stride=network.stride, band_pad=network.pad.padding[2:])]
    for depthwise, norm, _, pointwise, pointwise_norm, _ in network.blocks:
        first = with_norm(depthwise, norm, relu=True)
        pad, _ = depthwise.padding
        layers += [replace(first, depthwise=True, band_pad=(pad, pad))]
        layers += [with_norm(pointwise, pointwise_norm, relu=True)]
    channels, bands = len(stem.bias), layers[0].bands_of(model.n_mels)
    # the mean is a depthwise layer over all bands: its numbers get a scale of their own, and its channels one size
    shape = (channels, 1, bands, 1)
    mean = Convolution(stem.weight.new_full(shape, 1 / bands), stem.bias.new_zeros(channels), depthwise=True)
    return model.n_mels, [*layers, mean]


ARCHITECTURES: dict[str, Callable[["ScoringModel"], Layers]] = {"mixednet": _mixednet, "ds_cnn": _ds_cnn}
"""`training.model.arch` -> what turns such a network into layers."""


def numbers(tensor: "Tensor") -> "Tensor":
    """Return a tensor in float64."""
    return tensor.double()


def taps(convolution: "nn.Conv1d | nn.Conv2d | MixedConvolution") -> "Tensor":
    """Return the weight of a convolution over time, or over bands and time, as that of a `Convolution`."""
    weight = numbers(convolution.weight)
    return (weight[:, :, None] if weight.ndim == 3 else weight).permute(0, 3, 2, 1)


def with_norm(
    convolution: "nn.Conv1d | nn.Conv2d", norm: "nn.BatchNorm1d | nn.BatchNorm2d", *, stride: int = 1, relu: bool
) -> "Convolution[Tensor]":
    """Return a convolution and the batch norm behind it as one layer."""
    mean, variance = cast("Tensor", norm.running_mean), cast("Tensor", norm.running_var)
    gain = numbers(norm.weight) / (numbers(variance) + norm.eps).sqrt()
    before = 0.0 if convolution.bias is None else numbers(convolution.bias)
    bias = numbers(norm.bias) + (before - numbers(mean)) * gain
    return Convolution(taps(convolution) * gain[:, None, None, None], bias, stride, relu=relu)


def normalising(first: Convolution | Residual, mean: "Tensor", deviation: "Tensor") -> "Convolution[Tensor]":
    """Let a network's first layer take its inputs as they are, before a mean [inputs] and a deviation are applied."""
    layer = cast("Convolution[Tensor]", first)
    weight = layer.weight / deviation
    return replace(layer, weight=weight, bias=layer.bias - (weight @ mean).sum(dim=(1, 2)))


def _calibrated(model: "ScoringModel") -> "Convolution[Tensor]":
    """Return the classifier as log-odds: of two classes, a softmax is the logistic function of the difference."""
    classifier = cast("nn.Conv1d", model.backbone.classifier)
    weight, bias = taps(classifier), numbers(cast("Tensor", classifier.bias))
    parameters = {name: numbers(value) for name, value in model.calibrator.state_dict().items()}
    if model.calibration == "temperature":
        scale, shift = bias.new_ones(2) / parameters["temperature"], bias.new_zeros(2)
    elif model.calibration == "vector":
        scale, shift = parameters["scale"], parameters["shift"]
    else:
        raise WakewordError(
            f"calibration by {model.calibration} is no straight line, as a microcontroller needs it; set "
            f"evaluation.calibration.method to {' or '.join(LINEAR_CALIBRATIONS)}"
        )
    weight, bias = weight * scale[:, None, None, None], bias * scale - shift
    return Convolution(weight[1:] - weight[:1], bias[1:] - bias[:1])


LINEAR_CALIBRATIONS = ("temperature", "vector")
"""Ways of calibrating that become part of the classifier's weights."""
