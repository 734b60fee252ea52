"""The network in 8-bit integers, which was made for microcontrollers, as an ONNX graph of windows.

Between operators stand pairs that round and restore (QDQ), from which runtimes make operators of integers. Layers lie
as they do for microcontrollers, and the same integers come out: activations are uint8, 128 above what they are there.
"""

import numpy as np
from onnx import ModelProto, OperatorSetIdProto

from wakeword_core.export.onnx_graph import compact
from wakeword_core.export.stream_graph import StreamGraph
from wakeword_core.export.tflite.network import Residual
from wakeword_core.export.tflite.quantize import IntegerConvolution, IntegerNetwork, Scale, bias_steps
from wakeword_core.export.tflite.runtimes import ESPHOME_STEP
from wakeword_core.runtime.exported import SCORES

_INPUT = "log_mel"
_UINT8_SHIFT = 128
_TIME = -1


def integer_graph(network: IntegerNetwork, frames: int, opset: OperatorSetIdProto) -> ModelProto:
    """Return the graph: float32 `log_mel` [batch, bands, frames] in, float32 `scores` [batch, 2] out.

    Features are rounded as on a device, and log-odds not at all.
    """
    graph = StreamGraph()
    window = graph.sliced(_INPUT, (-network.receptive_field,), axes=(_TIME,))
    if network.over_bands > 1:
        shape = graph.integers(0, 1, network.over_bands, network.receptive_field)
        window = graph.add("Reshape", window, shape)
    features = network.scales[0]
    levels = graph.add("QuantizeLinear", window, *_parameters(graph, Scale(ESPHOME_STEP, features.zero_point)))
    tensors = [graph.add("DequantizeLinear", levels, *_parameters(graph, features))]
    *layers, classifier = network.layers
    lengths = [network.receptive_field]
    for layer, before, after in zip(layers, network.scales, network.scales[1:], strict=False):
        if isinstance(layer, Residual):
            lost = lengths[layer.source] - lengths[-1]
            made = graph.add("Add", graph.sliced(tensors[layer.source], (lost,), axes=(_TIME,)), tensors[-1])
            lengths.append(lengths[-1])
        else:
            made = _convolved(graph, layer, tensors[-1], before, flat=network.over_bands == 1)
            lengths.append((lengths[-1] - layer.layer.kernel) // layer.layer.stride + 1)
        tensors.append(_rounded(graph, made, after))
    assert isinstance(classifier, IntegerConvolution)
    odds = _convolved(graph, classifier, tensors[-1], network.scales[-2], flat=network.over_bands == 1)
    # of two classes, whose log-odds are 0 and these
    logits = graph.add("MatMul", graph.add("Flatten", odds), graph.constant(np.asarray([[0.0, 1.0]], np.float32)))
    graph.add("Softmax", logits, to=SCORES, axis=1)
    ends = (_INPUT, ("batch", network.bands, frames)), (SCORES, ("batch", 2))
    return compact(graph.model(*ends, [opset]))


def _parameters(graph: StreamGraph, scale: Scale) -> tuple[str, str]:
    step, zero_point = np.float32(scale.step), np.uint8(scale.zero_point + _UINT8_SHIFT)
    return graph.constant(np.asarray(step)), graph.constant(np.asarray(zero_point))


def _rounded(graph: StreamGraph, tensor: str, scale: Scale) -> str:
    """Round and restore a tensor; where it goes through a ReLU, its least step is 0, so that this is the ReLU."""
    parameters = _parameters(graph, scale)
    return graph.add("DequantizeLinear", graph.add("QuantizeLinear", tensor, *parameters), *parameters)


def _convolved(graph: StreamGraph, layer: IntegerConvolution, source: str, before: Scale, *, flat: bool) -> str:
    """Add a convolution over time, and over bands unless `flat`: [batch, channels, bands, steps] without the bands."""
    settings = layer.layer
    weight = layer.weight.transpose(0, 3, 2, 1)
    front, behind = settings.band_pad
    over_bands: tuple[list[int], ...] = ([], [], []) if flat else ([settings.band_stride], [front], [behind])
    strides, begin, end = over_bands
    operands = (
        graph.add("DequantizeLinear", graph.constant(values), graph.constant(steps), axis=0)
        for values, steps in (
            (np.ascontiguousarray(weight[:, :, 0] if flat else weight), layer.steps),
            (layer.bias, bias_steps(layer.steps, before)),
        )
    )
    return graph.add(
        "Conv",
        source,
        *operands,
        group=len(layer.bias) if settings.depthwise else 1,
        strides=[*strides, settings.stride],
        pads=[*begin, 0, *end, 0],
    )
