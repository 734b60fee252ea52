"""From the graph of a window to the same network on a stream, in which every step is computed once.

In a network without padding over time all layers end at the last frame. So a layer can compute its new steps alone if
it keeps those of its input that the next ones need, and what crops the beginning of a window falls away. A layer that
takes every third frame takes all of them here, and the layers above look three times as far apart (the "algorithme a
trous", Holschneider et al. 1989): every frame has a score, whatever the phase. A network in INT8 keeps its scales, and
what it needs of its layers' inputs is kept in integers.

Tensors get an axis of height 1, [1, channels, 1, n]: onnxruntime has its fast kernels for convolutions of images alone.
"""

from collections.abc import Callable, Sequence

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from wakeword_core.export.onnx_graph import attributes, initializers
from wakeword_core.export.stream_graph import StreamGraph

_CHANNELS, _TIME = 1, 2
"""Axes of a window."""
STEPS = "steps"
"""What the size of the time axis is called, so that a runtime can tell which tensors are of one shape."""
_ACTIVATIONS = ("Relu", "LeakyRelu", "Clip", "Elu", "Gelu", "Sigmoid", "Tanh", "HardSwish", "HardSigmoid")
_AFFINE = ("Add", "Sub", "Mul", "Div")
_QUANTIZE, _DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
_ELEMENTWISE = frozenset((*_ACTIVATIONS, *_AFFINE, "Max", "Min", "Identity", _QUANTIZE, _DEQUANTIZE))


Affine = tuple[np.ndarray, np.ndarray]
"""Scale and shift, each of every channel or of all: float64 [channels or 1, 1]."""


class CannotStreamError(Exception):
    """A network that needs its window whole; says why."""


def add_network(graph: StreamGraph, clip: ModelProto, features: str) -> str:
    """Add nodes from features [n, bands] to scores [n, classes], each that of `clip` for the window that ends there.

    `clip` maps windows [batch, bands, frames] to scores [batch, classes], each row by itself. Raises CannotStreamError.
    """
    return _Network(graph, clip, features).add()


class _Network:
    def __init__(self, graph: StreamGraph, clip: ModelProto, features: str) -> None:
        self.graph, self.clip = graph, clip
        self.known = {name: numpy_helper.to_array(tensor) for name, tensor in initializers(clip).items()}
        self.channels, self.steps = _sizes(clip)
        source = clip.graph.input[0].name
        rows = graph.add("Unsqueeze", features, graph.integers(0, 2))
        self.timed = {source: graph.add("Transpose", rows, perm=[0, 3, 2, 1])}
        """Tensors with a time axis: the stream's [1, channels, 1, n] for the window's [batch, channels, steps]."""
        self.stride = {source: 1}
        """Frames a step of the window."""
        self.affine: dict[str, Affine] = {}
        """Scale and shift still to be done to a tensor: the convolution that reads it does that with its weights."""
        self.plain: dict[str, str] = {}
        """Tensors without a time axis: scores, and constants that were used."""
        self.buffers: dict[tuple[str, int], str] = {}
        self.integers: dict[str, NodeProto] = {}
        """The nodes that give tensors with a time axis from integers, by what they give."""
        self.restored: dict[str, NodeProto] = {}
        """The nodes of the window's graph that give constants from integers, by what they give."""

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
            if node.op_type == _DEQUANTIZE and all(name in self.known for name in node.input):
                self.restored[node.output[0]] = node
            elif not any(name in self.timed for name in node.input):
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
        """Leave the stream as it is: only the beginning of a window is cropped."""
        _, ends, axes, *step = (self._constant(name).tolist() for name in node.input[1:])
        if axes != [_TIME] or ends[0] < self.steps[node.input[0]] or step not in ([], [[1]]):
            raise CannotStreamError("a layer crops more than the beginning of its window")
        self._pass(node)

    def _pass(self, node: NodeProto) -> None:
        source, target = node.input[0], node.output[0]
        self.timed[target], self.stride[target] = self.timed[source], self.stride[source]
        if source in self.affine:
            self.affine[target] = self.affine[source]

    def _convolve(self, node: NodeProto) -> None:
        source, settings = (node.input[0], attributes(node))
        weight, *bias = (self._constant(name) for name in self._stored(node.input[1:]))
        stride, dilation = (settings.pop(name, [1])[0] for name in ("strides", "dilations"))
        if weight.ndim != 3 or any(settings.pop("pads", ())) or settings.pop("auto_pad", b"NOTSET") != b"NOTSET":
            raise CannotStreamError("a convolution pads its window or has more than one axis besides channels")
        reach = (weight.shape[2] - 1) * dilation
        if (self.steps[source] - 1 - reach) % stride:
            raise CannotStreamError("a strided layer does not end at the last frame")
        groups = settings.get("group", 1)
        if groups > 1 or node.input[1] in self.restored:
            self._settle(source)
        weight, bias = _taking_over(self.affine.get(source), weight, bias)
        spread = self.stride[source]
        whole = self._remembered(source, weight.shape[1] * groups, reach * spread)
        names = [*node.input[1:], ""]  # there is a bias more where a shift was taken over
        parameters = [self._parameter(*pair) for pair in zip(names, (weight[:, :, None], *bias), strict=False)]
        tensor = self.graph.add("Conv", whole, *parameters, group=groups, dilations=[1, dilation * spread])
        self._made(node.output[0], tensor, spread * stride)

    def _stored(self, names: Sequence[str]) -> list[str]:
        """Name what constants are restored from, or themselves."""
        return [self.restored[name].input[0] if name in self.restored else name for name in names]

    def _parameter(self, name: str, values: np.ndarray) -> str:
        """Add `values` as a constant of the stream, restored from integers if that of the window is."""
        if name not in self.restored:
            return self.graph.constant(values)
        node = self.restored[name]
        scales = [self._use(scale, wide=False) for scale in node.input[1:]]
        return self.graph.add(_DEQUANTIZE, self.graph.constant(values), *scales, **attributes(node))

    def _made(self, name: str, tensor: str, stride: int, kind: int = TensorProto.FLOAT) -> None:
        self.timed[name], self.stride[name] = tensor, stride
        if self.channels.get(name):
            self.graph.shapes[tensor] = (kind, (1, self.channels[name], 1, STEPS))

    def _remembered(self, source: str, channels: int, steps: int) -> str:
        """Return a tensor with `steps` earlier steps in front; layers that need the same share them."""
        tensor = self.timed[source]
        if (tensor, steps) not in self.buffers:
            name, shape = f"layer_{len(self.buffers)}", (1, channels, 1, steps)
            if tensor in self.integers:
                stored, *scales = self.integers[tensor].input
                whole = self.graph.remembering(name, stored, shape, self.graph.shapes[stored][0])
                self.buffers[tensor, steps] = self.graph.add(_DEQUANTIZE, whole, *scales)
            else:
                self.buffers[tensor, steps] = self.graph.remembering(name, tensor, shape)
        return self.buffers[tensor, steps]

    def _across_channels(self, node: NodeProto) -> None:
        if attributes(node).get("axis", 0) != _CHANNELS:
            raise CannotStreamError(f"{node.op_type} is not across channels")
        self._compute(node)

    def _compute(self, node: NodeProto) -> None:
        """Add a node each step of whose result is of the same step of its inputs."""
        timed = [name for name in node.input if name in self.timed]
        strides = {self.stride[name] for name in timed}
        if len(strides) > 1:
            raise CannotStreamError("layers of different strides meet")
        constants = [] if node.op_type == "Split" else [name for name in node.input if name and name not in self.timed]
        for name in constants:
            values = self._constant(name)
            if values.ndim and values.shape[-1] != 1:
                raise CannotStreamError(f"{node.op_type} differs from step to step of a window")
        if node.op_type in _AFFINE and [*node.input] == timed + constants and len(constants) == 1:
            self._pass(node)
            self.affine[node.output[0]] = self._then(node.op_type, self.affine.get(timed[0]), constants[0])
            return
        for name in timed:
            self._settle(name)
        copied = self._copy(node, self.timed)
        kind, stride = TensorProto.FLOAT, strides.pop()
        if node.op_type == _QUANTIZE:
            kind = helper.np_dtype_to_tensor_dtype(self._constant(node.input[2]).dtype)
        for name in node.output:
            self._made(name, self.timed[name], stride, kind)
        if node.op_type == _DEQUANTIZE:
            self.integers[copied.output[0]] = copied

    def _then(self, operator: str, before: Affine | None, constant: str) -> Affine:
        """Return scale and shift of a tensor after `operator` with a constant [channels, 1], too."""
        scale, shift = before or (np.ones((1, 1)), np.zeros((1, 1)))
        values = self._constant(constant).astype(np.float64).reshape(-1, 1)
        if operator in ("Add", "Sub"):
            return scale, shift + (values if operator == "Add" else -values)
        factor = values if operator == "Mul" else 1.0 / values
        return scale * factor, shift * factor

    def _settle(self, name: str) -> None:
        """Scale and shift a tensor, if that is still to be done."""
        for operator, values, neutral in zip(("Mul", "Add"), self.affine.pop(name, ()), (1.0, 0.0), strict=False):
            if (values != neutral).any():
                parameter = self.graph.constant(values[None, :, :, None].astype(np.float32))
                self._made(name, self.graph.add(operator, self.timed[name], parameter), self.stride[name])

    def _take_last(self, node: NodeProto) -> None:
        """Turn the last step of each window into all steps of the stream, one a row."""
        axis = attributes(node).get("axis", 0)
        index = self._constant(node.input[1])
        if axis != _TIME or index.ndim or int(index) not in (-1, self.steps[node.input[0]] - 1):
            raise CannotStreamError("its scores are not of the last step alone")
        self._settle(node.input[0])
        rows = self.graph.add("Transpose", self.timed[node.input[0]], perm=[0, 2, 3, 1])
        self.plain[node.output[0]] = self.graph.add("Squeeze", rows, self.graph.integers(0, 1))

    def _copy(self, node: NodeProto, names: dict[str, str]) -> NodeProto:
        copied = NodeProto.FromString(node.SerializeToString())
        wide = names is self.timed
        copied.input[:] = [self.timed.get(name) or self._use(name, wide=wide) for name in node.input]
        copied.output[:] = [f"clip_{name}" for name in node.output]
        names.update(zip(node.output, copied.output, strict=True))
        self.graph.nodes.append(copied)
        return copied

    def _use(self, name: str, *, wide: bool) -> str:
        """Add a constant of the window's graph; `wide`: with an axis of height 1 where it has a time axis."""
        if name and name not in self.plain:
            values = self._constant(*self._stored([name]))
            if wide and values.ndim > 1:
                return self.graph.constant(values[..., None])
            self.plain[name] = self._parameter(name, values)
        return self.plain.get(name, name)

    def _constant(self, name: str) -> np.ndarray:
        if name not in self.known:
            raise CannotStreamError("a layer is shaped by its input")
        return self.known[name]


def _taking_over(
    affine: Affine | None, weight: np.ndarray, bias: list[np.ndarray]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return weight [out, in, kernel] and bias (none or one) that scale and shift their inputs as well."""
    if affine is None:
        return weight, bias
    scale, shift = affine
    moved = (weight.astype(np.float64) * shift).sum(axis=(1, 2)) + (bias[0] if bias else 0.0)
    return (weight * scale).astype(np.float32), [moved.astype(np.float32)]


def _sizes(clip: ModelProto) -> tuple[dict[str, int], dict[str, int]]:
    inferred = onnx.shape_inference.infer_shapes(clip, data_prop=True).graph
    shapes = {value.name: value.type.tensor_type.shape.dim for value in (*inferred.input, *inferred.value_info)}
    timed = {name: dims for name, dims in shapes.items() if len(dims) == _TIME + 1}
    channels, steps = ({name: dims[axis].dim_value for name, dims in timed.items()} for axis in (_CHANNELS, _TIME))
    return channels, steps
