"""The network in integers as torch computes it in floats that are whole steps, so that it can be trained.

Going forward everything is rounded as in the integers, of which a float holds each. Going back, roundings count as if
there were none (straight-through, Bengio et al. 2013), and no gradient flows where a value is beyond its range.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from wakeword_core.export.tflite.network import Convolution, Network, Residual, network_of
from wakeword_core.export.tflite.quantize import (
    LARGEST_WEIGHT,
    IntegerNetwork,
    Rounding,
    Scale,
    bias_steps,
    depthwise_layers,
    equalised,
    rounded,
    weight_steps,
)
from wakeword_core.export.tflite.runtimes import esphome_levels

if TYPE_CHECKING:
    from torch import Tensor

    from wakeword_core.models.scoring import ScoringModel

_LEAST, _LARGEST = -128, 127
_LARGEST_BIAS = 2**31 - 1


def trained_rounding(model: "ScoringModel") -> Rounding | None:
    """Return the rounding that a model was trained with; None where it was trained without any."""
    kept = model.rounding
    if kept is None or not kept.known:
        return None
    network = network_of(model)
    ends = np.cumsum([len(layer.bias) for layer in depthwise_layers(network).values()])
    scales = map(Scale, kept.steps.tolist(), kept.zero_points.tolist())
    return Rounding(tuple(scales), tuple(np.split(kept.shares.cpu().numpy(), ends[:-1])))


def trained_integers(model: "ScoringModel", shift: float = 0.0) -> IntegerNetwork | None:
    """Return a model in integers as it was trained to be rounded, its log-odds lower by `shift`, or None."""
    rounding = trained_rounding(model)
    return None if rounding is None else rounded(network_of(model).shifted(shift), rounding)


def keep_rounding(model: "ScoringModel", rounding: Rounding) -> None:
    """Leave with a model, which has room for it, the rounding that it is trained with."""
    import torch

    assert model.rounding is not None
    model.rounding.steps.copy_(torch.tensor([scale.step for scale in rounding.scales]))
    model.rounding.zero_points.copy_(torch.tensor([scale.zero_point for scale in rounding.scales]))
    model.rounding.shares.copy_(torch.from_numpy(np.concatenate([*rounding.shares])))


def rounded_odds(
    network: Network,
    rounding: Rounding,
    frames: "Tensor",
    dropout: "Callable[[Tensor], Tensor]" = lambda features: features,
) -> "Tensor":
    """Map frames [batch, bands, frames] to the log-odds of each step [batch, steps], as the integers do.

    `network` is `folded`; what the classifier sees goes through `dropout`. The log-odds themselves are not rounded:
    their steps are known only once the scores are calibrated.
    """
    import torch

    shares = [torch.as_tensor(share, device=frames.device) for share in rounding.shares]
    layers, scales = equalised(network, shares).layers, rounding.scales
    bands = frames.reshape(len(frames), network.over_bands, -1, frames.shape[2]).transpose(1, 2)
    tensors = [esphome_levels(bands) * scales[0].step]
    for place, layer in enumerate(layers[:-1]):
        if isinstance(layer, Residual):
            other, last = tensors[layer.source], tensors[-1]
            made = (other[..., other.shape[3] - last.shape[3] :] + last).relu()
        else:
            made = _convolved(layer, tensors[-1], scales[place], scales[place + 1])
        tensors.append(_in_steps(made, scales[place + 1]))
    classifier = layers[-1]
    assert isinstance(classifier, Convolution)
    return _convolved(classifier, dropout(tensors[-1]), scales[-2], scales[-1])[:, 0, 0]


def _in_steps(values: "Tensor", scale: Scale) -> "Tensor":
    import torch

    return torch.fake_quantize_per_tensor_affine(values, scale.step, scale.zero_point, _LEAST, _LARGEST)


def _convolved(layer: Convolution, x: "Tensor", before: Scale, after: Scale) -> "Tensor":
    """Map [batch, inputs, bands, steps] to [batch, outputs, bands, steps], with weight and bias in whole steps."""
    import torch
    from torch.nn import functional

    steps = weight_steps(layer.in_numpy, before, after)
    none = torch.zeros(len(steps), dtype=torch.int32, device=x.device)
    weight, bias = (
        torch.fake_quantize_per_channel_affine(
            values, torch.from_numpy(step).to(x.device), none, 0, -largest, largest
        ).float()
        for values, step, largest in (
            (layer.weight, steps, LARGEST_WEIGHT),
            (layer.bias, bias_steps(steps, before), _LARGEST_BIAS),
        )
    )
    made = functional.conv2d(
        functional.pad(x, (0, 0, *layer.band_pad)),
        weight.permute(0, 3, 2, 1),
        bias,
        stride=(layer.band_stride, layer.stride),
        groups=len(bias) if layer.depthwise else 1,
    )
    return made.relu() if layer.relu else made
