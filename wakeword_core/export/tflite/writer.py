"""The network in integers as a TensorFlow Lite file.

What a layer remembers is a resource variable: its last inputs are read, the new ones are joined to them, and the last
of both are kept. A second subgraph, which runs once, fills the variables with what stands for zero. Time is the height
of an image, bands are its width where layers move across them, and channels its channels: [1, steps, bands, channels].
"""

from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt

from wakeword_core.export.tflite.flatbuffer import TfliteFile, TfliteGraph, of_all
from wakeword_core.export.tflite.network import Residual
from wakeword_core.export.tflite.quantize import (
    FEATURES,
    PROBABILITIES,
    IntegerConvolution,
    IntegerNetwork,
    Scale,
    bias_steps,
)

_VERSIONS = {
    "CONCATENATION": 2, "STRIDED_SLICE": 2, "CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "ADD": 2, "LOGISTIC": 2, "PAD": 2,
    "FULLY_CONNECTED": 4,
}  # fmt: skip
"""Versions of operators that take int8, where they are not the first."""
_BEGIN_AND_END = 0b1101, 0b1111
"""Axes of which the slice takes all: all but time from the beginning, all to the end."""
_UINT8_SHIFT = 128


def tflite_bytes(network: IntegerNetwork) -> bytes:
    """Return the file: int8 [1, stride, bands] in, the score of the wake word as uint8 [1, 1] out.

    The same network always gives the same bytes.
    """
    main, start = TfliteGraph("main"), TfliteGraph("start")
    file = TfliteFile([main, start], _VERSIONS)
    source = file.tensor(main, "features", (1, network.stride, network.bands), FEATURES)
    main.inputs.append(source)
    file.operator(main, "CALL_ONCE", [], [], "CallOnceOptions", initSubgraphIndex=1)
    shape: tuple[int, ...] = (1, network.stride, network.over_bands, network.bands // network.over_bands)
    tensors = [file.reshaped(main, "frames", source, shape, FEATURES)]
    *layers, classifier = network.layers
    for index, layer in enumerate(layers):
        before, after = network.scales[index], network.scales[index + 1]
        if isinstance(layer, Residual):
            shape = main.shapes[tensors[-1]]
            made = file.tensor(main, f"sum_{index}", shape, after)
            pair = [tensors[layer.source], tensors[-1]]
            file.operator(main, "ADD", pair, [made], "AddOptions", fusedActivationFunction=file.relu)
            tensors.append(made)
        else:
            tensors.append(_convolved(file, str(index), layer, tensors[-1], before, after))
    odds = _classified(file, cast(IntegerConvolution, classifier), tensors[-1], network.scales[-2:])
    score = file.tensor(main, "score", (1, 1), PROBABILITIES)
    file.operator(main, "LOGISTIC", [odds], [score])
    output = Scale(PROBABILITIES.step, PROBABILITIES.zero_point + _UINT8_SHIFT)
    main.outputs.append(file.tensor(main, "wake_word", (1, 1), output, kind="UINT8"))
    file.operator(main, "QUANTIZE", [score], main.outputs, "QuantizeOptions")
    return file.packed()


def _convolved(file: TfliteFile, name: str, layer: IntegerConvolution, source: int, before: Scale, after: Scale) -> int:
    main, settings = file.graphs[0], layer.layer
    source = _heard(file, name, layer, source, before)
    channels, bands = len(layer.bias), settings.bands_of(main.shapes[source][2])
    if any(settings.band_pad):
        source = _padded(file, name, settings.band_pad, source, before)
    weight = layer.weight.transpose(3, 1, 2, 0) if settings.depthwise else layer.weight
    operands = [source, *_parameters(file, name, layer, weight, before, axis=3 if settings.depthwise else 0)]
    made = file.tensor(main, f"layer_{name}", (1, 1, bands, channels), after)
    file.convolve(main, settings, operands, made)
    return made


def _classified(file: TfliteFile, layer: IntegerConvolution, source: int, scales: Sequence[Scale]) -> int:
    """Return the log-odds: the last layer sees all that it remembers at once, which takes less than to convolve it."""
    main, (before, after) = file.graphs[0], scales
    source = _heard(file, "classifier", layer, source, before)
    weight = layer.weight.reshape(len(layer.bias), -1)
    operands = [source, *_parameters(file, "classifier", layer, weight, before)]
    made = file.tensor(main, "log_odds", (1, len(layer.bias)), after)
    file.operator(main, "FULLY_CONNECTED", operands, [made], "FullyConnectedOptions")
    return made


def _heard(file: TfliteFile, name: str, layer: IntegerConvolution, source: int, scale: Scale) -> int:
    """Return what a layer sees: the new steps behind those that it remembers, if it does."""
    settings = layer.layer
    if not settings.remembered:
        return source
    return _remembered(file, f"state_{name}", settings.remembered, settings.stride, source, scale)


def _parameters(
    file: TfliteFile, name: str, layer: IntegerConvolution, weight: npt.NDArray[np.int8], before: Scale, axis: int = 0
) -> tuple[int, int]:
    """Add weight, whose outputs lie along an axis, and bias of a layer; returns their indices."""
    main, none = file.graphs[0], np.zeros(len(layer.bias), np.int64)
    return (
        file.constant(main, f"weight_{name}", weight, (layer.steps, none, axis)),
        file.constant(main, f"bias_{name}", layer.bias, (bias_steps(layer.steps, before), none, 0)),
    )


def _remembered(file: TfliteFile, name: str, kept: int, new: int, source: int, scale: Scale) -> int:
    """Return a tensor of the last `kept` steps and the `new` ones of `source`, and keep the last of both."""
    main, start = file.graphs
    *_, bands, channels = main.shapes[source]
    state = (1, kept, bands, channels)
    handle = file.variable(main, name)
    earlier = file.tensor(main, f"{name}_before", state, scale)
    file.operator(main, "READ_VARIABLE", [handle], [earlier], "ReadVariableOptions")
    whole = file.tensor(main, f"{name}_and_new", (1, kept + new, bands, channels), scale)
    file.operator(main, "CONCATENATION", [earlier, source], [whole], "ConcatenationOptions", axis=1)
    later = file.tensor(main, f"{name}_after", state, scale)
    bounds = [file.numbers(main, values) for values in ((0, new, 0, 0), (0, 0, 0, 0), (1, 1, 1, 1))]
    begin, end = _BEGIN_AND_END
    masks = {"beginMask": begin, "endMask": end}
    file.operator(main, "STRIDED_SLICE", [whole, *bounds], [later], "StridedSliceOptions", **masks)
    file.operator(main, "ASSIGN_VARIABLE", [handle, later], [], "AssignVariableOptions")
    quiet = np.full(state, scale.zero_point, np.int8)
    constant = file.constant(start, name, quiet, of_all(scale))
    file.operator(start, "ASSIGN_VARIABLE", [file.variable(start, name), constant], [], "AssignVariableOptions")
    return whole


def _padded(file: TfliteFile, name: str, pad: tuple[int, int], source: int, scale: Scale) -> int:
    """Return a tensor with zeros before and behind the bands of `source`."""
    main = file.graphs[0]
    _, steps, bands, channels = main.shapes[source]
    made = file.tensor(main, f"padded_{name}", (1, steps, bands + sum(pad), channels), scale)
    pads = file.numbers(main, (0, 0, 0, 0, *pad, 0, 0), (4, 2))
    file.operator(main, "PAD", [source, pads], [made], "PadOptions")
    return made
