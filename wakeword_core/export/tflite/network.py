"""The network as a microcontroller computes it: few kinds of layers, and all else folded into their weights.

Every layer over time is unpadded and remembers as many of its last inputs as its kernel reaches back, so that one pass
over a long stretch gives what the same network gives step by step.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from wakeword_core.errors import WakewordError

if TYPE_CHECKING:
    from torch import nn

    from wakeword_core.models.scoring import ScoringModel

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Convolution:
    """A convolution over time and bands, across channels or of each by itself, and a ReLU where it has one."""

    weight: Array
    """[outputs, kernel, kernel over bands, inputs]; of a depthwise one there is one input."""
    bias: Array
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
    """Return a trained model as such layers: normalisation, batch norm and calibration are in their weights.

    Raises WakewordError, which says what to change, for one that cannot be.
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


def _statistics(model: "ScoringModel", over_bands: int) -> tuple[Array, Array]:
    """Return mean and deviation of the training split for each input of the first layer."""
    mean, deviation = numbers(model.mean), numbers(model.std)
    if over_bands == 1:
        return mean, deviation
    if mean.any() or np.ptp(deviation):
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
        source, depthwise, pointwise = len(layers), block.depthwise, block.pointwise
        groups = zip(depthwise.groups, depthwise.skipped, strict=True)
        # the shorter kernels behind zeros, as the network computes them: one layer instead of several and a joint
        longer = (np.pad(taps(group), ((0, 0), (lost, 0), (0, 0), (0, 0))) for group, lost in groups)
        weight = np.concatenate([*longer])
        layers.append(Convolution(weight, np.zeros(len(weight)), depthwise=True))
        layers.append(with_norm(pointwise, block.norm, relu=not block.residual))
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
    mean = Convolution(np.full((channels, 1, bands, 1), 1 / bands), np.zeros(channels), depthwise=True)
    return model.n_mels, [*layers, mean]


ARCHITECTURES: dict[str, Callable[["ScoringModel"], Layers]] = {"mixednet": _mixednet, "ds_cnn": _ds_cnn}
"""`training.model.arch` -> what turns such a network into layers."""


def numbers(tensor: Any) -> Array:
    """Return a tensor as float64."""
    return cast(Array, tensor.detach().cpu().double().numpy())


def taps(convolution: "nn.Conv1d | nn.Conv2d") -> Array:
    """Return the weight of a convolution over time, or over bands and time, as that of a `Convolution`."""
    weight = numbers(convolution.weight)
    return (weight[:, :, None] if weight.ndim == 3 else weight).transpose(0, 3, 2, 1)


def with_norm(
    convolution: "nn.Conv1d | nn.Conv2d", norm: "nn.BatchNorm1d | nn.BatchNorm2d", *, stride: int = 1, relu: bool
) -> Convolution:
    """Return a convolution and the batch norm behind it as one layer."""
    gain = numbers(norm.weight) / np.sqrt(numbers(norm.running_var) + norm.eps)
    before = 0.0 if convolution.bias is None else numbers(convolution.bias)
    bias = numbers(norm.bias) + (before - numbers(norm.running_mean)) * gain
    return Convolution(taps(convolution) * gain[:, None, None, None], bias, stride, relu=relu)


def normalising(first: Convolution | Residual, mean: Array, deviation: Array) -> Convolution:
    """Let a network's first layer take its inputs as they are, before a mean [inputs] and a deviation are applied."""
    layer = cast(Convolution, first)
    weight = layer.weight / deviation
    return replace(layer, weight=weight, bias=layer.bias - (weight @ mean).sum(axis=(1, 2)))


def _calibrated(model: "ScoringModel") -> Convolution:
    """Return the classifier as log-odds: of two classes, a softmax is the logistic function of the difference."""
    classifier = cast("nn.Conv1d", model.backbone.classifier)
    weight, bias = taps(classifier), numbers(classifier.bias)
    parameters = {name: numbers(value) for name, value in model.calibrator.state_dict().items()}
    if model.calibration == "temperature":
        scale, shift = np.full(2, 1.0 / parameters["temperature"]), np.zeros(2)
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
