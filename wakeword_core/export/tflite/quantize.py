"""The network in 8-bit integers: a scale for each channel of the weights, one for each tensor between layers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import numpy.typing as npt

from wakeword_core.errors import DataError
from wakeword_core.export.tflite.limits import BANDS, LARGEST_FEATURE
from wakeword_core.export.tflite.network import Array, Convolution, Network, Numbers, Residual

_LEVELS = 255
"""Steps between the least and the largest of 256 values."""
AFTERWARDS, TRAINED = "afterwards", "trained"
"""Ways of rounding activations: by their ranges after training, or as the network was trained to be rounded."""
LARGEST_WEIGHT = 127
"""Weights are symmetric: -128 is not used."""
_BIAS_BITS = 30
_MULTIPLIER_BITS = 31
"""Sums are scaled by a number of so many bits behind the point; what is less of them is nothing."""
_LEAST_SHARE = 1e-3
"""Of the largest channel; one that is weaker is not made as large, since it says nothing."""
LARGEST_ODDS = float(np.log(1023.0))
"""Log-odds from which a score is rounded to 0 or 1 in steps of 256: all steps are for what is between."""


@dataclass(frozen=True)
class Scale:
    """What an integer stands for: (integer - zero_point) * step."""

    step: float
    """A float32."""
    zero_point: int

    @classmethod
    def between(cls, low: float, high: float) -> "Scale":
        """Spread 256 steps from `low` to `high`, with one at zero."""
        low, high = min(low, 0.0), max(high, 0.0)
        step = float(np.float32((high - low) / _LEVELS)) or 1.0
        return cls(step, int(np.clip(round(-128 - low / step), -128, 127)))

    def integers(self, values: npt.ArrayLike) -> npt.NDArray[np.int8]:
        """Round values to int8; those beyond its range become its ends."""
        steps = np.rint(np.asarray(values, np.float64) / self.step) + self.zero_point
        return np.clip(steps, -128, 127).astype(np.int8)


FEATURES = Scale(float(np.float32(LARGEST_FEATURE / _LEVELS)), -128)
"""Of the input."""
LOG_ODDS = Scale.between(-LARGEST_ODDS, LARGEST_ODDS)
"""Of what the last layer gives."""
PROBABILITIES = Scale(1 / 256, -128)
"""Of scores that come from log-odds; the output is the same as uint8, from 0."""


@dataclass(frozen=True)
class IntegerConvolution:
    """A convolution in integers."""

    weight: npt.NDArray[np.int8]
    """As `Convolution.weight`."""
    steps: npt.NDArray[np.float32]
    """What 1 in the weight of each output stands for: [outputs]."""
    bias: npt.NDArray[np.int32]
    """[outputs], in steps of the input's times the weight's."""
    layer: Convolution
    """What it was rounded from."""


@dataclass(frozen=True)
class IntegerNetwork:
    """A network in integers; `scales` has one for each tensor."""

    layers: tuple[IntegerConvolution | Residual, ...]
    scales: tuple[Scale, ...]
    stride: int
    bands: int
    over_bands: int
    """As `Network.over_bands`."""

    @property
    def receptive_field(self) -> int:
        """Return the frames that a score depends on."""
        layers = (layer.layer if isinstance(layer, IntegerConvolution) else layer for layer in self.layers)
        return Network(tuple(layers), self.over_bands).receptive_field

    @property
    def parameters(self) -> int:
        """Count the numbers in the layers."""
        layers = (layer for layer in self.layers if isinstance(layer, IntegerConvolution))
        return sum(layer.weight.size + layer.bias.size for layer in layers)


Ranges = list[tuple[Array, Array]]
"""The least and the largest value of each channel of each tensor: [channels] both."""


@dataclass(frozen=True)
class Rounding:
    """How the tensors of a network are rounded, which need not be known from what they hold."""

    scales: tuple[Scale, ...]
    """One for each tensor."""
    shares: tuple[Array, ...]
    """What the channels of each depthwise layer are divided by before they are rounded: [channels] each."""


def quantize(network: Network, batches: Iterable[npt.ArrayLike]) -> IntegerNetwork:
    """Round a network to integers, with the ranges that its tensors have on batches [batch, frames, bands].

    Raises DataError where no batch is as long as the network reaches back.
    """
    return rounded(network, measured(network, batches))


def measured(network: Network, batches: Iterable[npt.ArrayLike]) -> Rounding:
    """Return the rounding that suits the ranges of tensors on batches; the range of features is the device's."""
    if network.bands != BANDS:
        raise DataError(f"a microcontroller's frames have {BANDS} numbers, but the model takes {network.bands}")
    ranges = _ranges(network, batches)
    shares = _shares(network, ranges)
    for place, share in zip(depthwise_layers(network), shares, strict=True):
        low, high = ranges[place + 1]
        ranges[place + 1] = low / share, high / share
    between = [Scale.between(float(low.min()), float(high.max())) for low, high in ranges[1:-1]]
    return Rounding((FEATURES, *between, LOG_ODDS), shares)


def rounded(network: Network, rounding: Rounding) -> IntegerNetwork:
    """Round a network to integers as a rounding says."""
    scales = rounding.scales
    layers = tuple(
        layer if isinstance(layer, Residual) else _rounded(layer, scales[index], scales[index + 1])
        for index, layer in enumerate(equalised(network, rounding.shares).layers)
    )
    return IntegerNetwork(layers, scales, network.stride, network.bands, network.over_bands)


def _ranges(network: Network, batches: Iterable[npt.ArrayLike]) -> Ranges:
    ranges: Ranges = []
    for batch in batches:
        frames = np.asarray(batch)
        if frames.shape[1] < network.receptive_field:
            continue
        tensors = network.tensors(np.clip(frames, 0.0, LARGEST_FEATURE))
        found = [(tensor.min(axis=(0, 1, 2)), tensor.max(axis=(0, 1, 2))) for tensor in tensors]
        both = zip(ranges or found, found, strict=True)
        ranges = [(np.minimum(old[0], new[0]), np.maximum(old[1], new[1])) for old, new in both]
    if not ranges or not all(np.isfinite(high - low).all() for low, high in ranges):
        raise DataError(
            f"no training window is as long as the {network.receptive_field} frames that a score depends on, or its "
            "features are not finite; make features.frontend.window_frames longer"
        )
    return ranges


def depthwise_layers(network: Network) -> dict[int, Convolution]:
    """Return the depthwise layers, whose channels can be made equal, by their places."""
    layers = enumerate(network.layers)
    return {place: layer for place, layer in layers if isinstance(layer, Convolution) and layer.depthwise}


def _shares(network: Network, ranges: Ranges) -> tuple[Array, ...]:
    """Return the size of each channel of depthwise layers, as a share of the largest one's."""
    shares = []
    for place in depthwise_layers(network):
        low, high = ranges[place + 1]
        sizes = np.maximum(np.abs(low), np.abs(high))
        shares.append(np.maximum(sizes / (sizes.max() or 1.0), _LEAST_SHARE))
    return tuple(shares)


def equalised(network: Network, shares: Sequence[Numbers]) -> Network:
    """Return a network that gives the same, whose depthwise layers have channels of one size.

    All channels of a tensor share 256 steps, of which a weak one would have few. What a depthwise layer gives goes
    through a ReLU at most and then through the next layer's weights, which can take back what makes each channel as
    large as the largest (cross-layer equalization, Nagel et al. 2019).
    """
    layers = list(network.layers)
    for (place, layer), share in zip(depthwise_layers(network).items(), shares, strict=True):
        following = layers[place + 1]
        assert isinstance(following, Convolution) and not following.depthwise
        layers[place] = replace(layer, weight=layer.weight / share[:, None, None, None], bias=layer.bias / share)
        layers[place + 1] = replace(following, weight=following.weight * share)
    return replace(network, layers=tuple(layers))


def _rounded(layer: Convolution, before: Scale, after: Scale) -> IntegerConvolution:
    steps = weight_steps(layer, before, after)
    weight = np.rint(layer.weight / steps.astype(np.float64)[:, None, None, None])
    bias = np.rint(layer.bias / (bias_steps(steps, before).astype(np.float64)))
    return IntegerConvolution(
        np.clip(weight, -LARGEST_WEIGHT, LARGEST_WEIGHT).astype(np.int8), steps, bias.astype(np.int32), layer
    )


def weight_steps(layer: Convolution, before: Scale, after: Scale) -> npt.NDArray[np.float32]:
    """Return what 1 in the weight of each output stands for: [outputs]."""
    largest = np.abs(layer.weight).max(axis=(1, 2, 3))
    # a channel with next to no weight may have a large bias, which has to fit in its integers, and a step of some size
    floors = np.abs(layer.bias) / before.step / 2**_BIAS_BITS, after.step / before.step / 2**_MULTIPLIER_BITS
    steps = np.maximum.reduce([largest / LARGEST_WEIGHT, *np.broadcast_arrays(*floors)])
    return cast(npt.NDArray[np.float32], steps.astype(np.float32))


def bias_steps(steps: npt.NDArray[np.float32], before: Scale) -> npt.NDArray[np.float32]:
    """Return what 1 in the bias of each output stands for: that of its weight times that of what comes in."""
    return cast(npt.NDArray[np.float32], steps * np.float32(before.step))
