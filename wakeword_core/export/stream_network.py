"""From the graph of a window to the same network on a stream, in which every step is computed once.

In a network without padding over time all layers end at the last frame. So a layer can compute its new steps alone if
it keeps those of its input that the next ones need, and what crops the beginning of a window falls away. A layer that
takes every third frame takes all of them here, and the layers above look three times as far apart (the "algorithme a
trous", Holschneider et al. 1989): every frame has a score, whatever the phase.
"""

from collections.abc import Callable

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, helper, numpy_helper

from wakeword_core.export.onnx_graph import initializers
from wakeword_core.export.stream_graph import StreamGraph

_CHANNELS, _TIME = 1, 2
_ACTIVATIONS = ("Relu", "LeakyRelu", "Clip", "Elu", "Gelu", "Sigmoid", "Tanh", "HardSwish", "HardSigmoid")
_ELEMENTWISE = frozenset((*_ACTIVATIONS, "Add", "Sub", "Mul", "Div", "Max", "Min", "Identity"))


class CannotStreamError(Exception):
    """A network that needs its window whole; says why."""


def add_network(graph: StreamGraph, clip: ModelProto, features: str) -> str:
    """Features [1, bands, n] -> scores [n, classes], each of which `clip` gives for the window that ends there.

    `clip` maps windows [batch, bands, frames] to scores [batch, classes], each row by itself. Raises CannotStreamError.
    """
    return _Network(graph, clip, features).add()


class _Network:
    def __init__(self, graph: StreamGraph, clip: ModelProto, features: str) -> None:
        self.graph, self.clip = graph, clip
        self.known = {name: numpy_helper.to_array(tensor) for name, tensor in initializers(clip).items()}
        self.steps = _steps(clip)
        """Steps that each tensor [batch, channels, steps] of a window has."""
        source = clip.graph.input[0].name
        self.timed = {source: features}
        """What has a time axis: the stream's [1, channels, n] for the window's [batch, channels, steps]."""
        self.stride = {source: 1}
        """Frames a step of the window."""
        self.plain: dict[str, str] = {}
        """What has none (any more): scores on their way, and constants that were used."""
        self.buffers: dict[tuple[str, int], str] = {}

    def add(self) -> str:
        rules: dict[str, Callable[[NodeProto], None]] = {
            "Pad": self._pad,
            "Slice": self._crop,
            "Conv": self._convolve,
            "Gather": self._take_last,
            "Split": self._across_channels,
            "Concat": self._across_channels,
        }
        for node in self.clip.graph.node:
            if not any(name in self.timed for name in node.input):
                self._copy(node, self.plain)
            elif node.op_type in rules:
                rules[node.op_type](node)
            elif node.op_type in _ELEMENTWISE:
                self._compute(node)
            else:
                raise CannotStreamError(f"{node.op_type} looks at the window as a whole")
        scores = self.clip.graph.output[0].name
        if scores not in self.plain:
            raise CannotStreamError("its scores are not of the last step alone")
        return self.plain[scores]

    def _pad(self, node: NodeProto) -> None:
        if self._constant(node.input[1]).any():
            raise CannotStreamError("a layer pads its window")
        self._pass(node)

    def _crop(self, node: NodeProto) -> None:
        """What crops the beginning of a window leaves a stream as it is."""
        _, ends, axes, *step = (self._constant(name).tolist() for name in node.input[1:])
        if axes != [_TIME] or ends[0] < self.steps[node.input[0]] or step not in ([], [[1]]):
            raise CannotStreamError("a layer crops more than the beginning of its window")
        self._pass(node)

    def _pass(self, node: NodeProto) -> None:
        self.timed[node.output[0]] = self.timed[node.input[0]]
        self.stride[node.output[0]] = self.stride[node.input[0]]

    def _convolve(self, node: NodeProto) -> None:
        source, given = node.input[0], {one.name: helper.get_attribute_value(one) for one in node.attribute}
        weight = self._constant(node.input[1])
        stride, dilation = (given.pop(name, [1])[0] for name in ("strides", "dilations"))
        if weight.ndim != 3 or any(given.pop("pads", ())) or given.pop("auto_pad", b"NOTSET") != b"NOTSET":
            raise CannotStreamError("a convolution pads its window or has more than one axis besides channels")
        reach = (weight.shape[2] - 1) * dilation
        if (self.steps[source] - 1 - reach) % stride:
            raise CannotStreamError("a strided layer does not end at the last frame")
        spread = self.stride[source]
        channels = weight.shape[1] * given.get("group", 1)
        inputs = [self._remembered(source, channels, reach * spread), *map(self._use, node.input[1:])]
        self.timed[node.output[0]] = self.graph.add("Conv", *inputs, **given, dilations=[dilation * spread])
        self.stride[node.output[0]] = spread * stride

    def _remembered(self, source: str, channels: int, steps: int) -> str:
        """A tensor with `steps` earlier steps in front; layers that need the same share them."""
        tensor = self.timed[source]
        if (tensor, steps) not in self.buffers:
            name = f"layer_{len(self.buffers)}"
            self.buffers[tensor, steps] = self.graph.remembering(name, tensor, (1, channels, steps))
        return self.buffers[tensor, steps]

    def _across_channels(self, node: NodeProto) -> None:
        if next(one.i for one in node.attribute if one.name == "axis") != _CHANNELS:
            raise CannotStreamError(f"{node.op_type} is not across channels")
        self._compute(node)

    def _compute(self, node: NodeProto) -> None:
        """A step of the result is of the same step of the inputs."""
        strides = {self.stride[name] for name in node.input if name in self.timed}
        if len(strides) > 1:
            raise CannotStreamError("layers of different strides meet")
        for name in node.input:
            if name and name not in self.timed and node.op_type != "Split":
                values = self._constant(name)
                if values.ndim and values.shape[-1] != 1:
                    raise CannotStreamError(f"{node.op_type} differs from step to step of a window")
        self._copy(node, self.timed)
        self.stride.update(dict.fromkeys(node.output, strides.pop()))

    def _take_last(self, node: NodeProto) -> None:
        """The last step of each window: all steps of the stream, one a row."""
        axis = next((one.i for one in node.attribute if one.name == "axis"), 0)
        index = self._constant(node.input[1])
        if axis != _TIME or index.ndim or int(index) not in (-1, self.steps[node.input[0]] - 1):
            raise CannotStreamError("its scores are not of the last step alone")
        rows = self.graph.add("Transpose", self.timed[node.input[0]], perm=[0, _TIME, _CHANNELS])
        self.plain[node.output[0]] = self.graph.add("Squeeze", rows, self.graph.integers(0))

    def _copy(self, node: NodeProto, names: dict[str, str]) -> None:
        copied = NodeProto.FromString(node.SerializeToString())
        copied.input[:] = [self.timed.get(name) or self._use(name) for name in node.input]
        copied.output[:] = [f"clip_{name}" for name in node.output]
        names.update(zip(node.output, copied.output, strict=True))
        self.graph.nodes.append(copied)

    def _use(self, name: str) -> str:
        if name and name not in self.plain:
            self.plain[name] = self.graph.constant(self._constant(name))
        return self.plain.get(name, name)

    def _constant(self, name: str) -> np.ndarray:
        if name not in self.known:
            raise CannotStreamError("a layer is shaped by what it hears")
        return self.known[name]


def _steps(clip: ModelProto) -> dict[str, int]:
    """Length of the last axis of every tensor that has three."""
    inferred = onnx.shape_inference.infer_shapes(clip, data_prop=True).graph
    shapes = {one.name: one.type.tensor_type.shape.dim for one in (*inferred.input, *inferred.value_info)}
    return {name: dims[_TIME].dim_value for name, dims in shapes.items() if len(dims) == _TIME + 1}
