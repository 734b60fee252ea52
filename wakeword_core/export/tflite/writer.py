"""The network in integers as a TensorFlow Lite file, written with the schema that LiteRT comes with.

What a layer remembers is a resource variable: its last inputs are read, the new ones are joined to them, and the last
of both are kept. A second subgraph, which runs once, fills the variables with what stands for zero. Time is the height
of an image, and channels are its channels: [1, steps, 1, channels].
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from wakeword_core.errors import MissingDependencyError
from wakeword_core.export.tflite.network import Residual
from wakeword_core.export.tflite.quantize import (
    FEATURES,
    PROBABILITIES,
    IntegerConvolution,
    IntegerNetwork,
    Scale,
    bias_steps,
)
from wakeword_core.python import install_command

SCHEMA_VERSION = 3
IDENTIFIER = b"TFL3"
_ALIGNMENT = 16
"""Of every buffer, as the kernels of runtimes expect it."""
_LARGEST_OLD_CODE = 127
"""Operators were once one byte; newer ones are this there."""
_VERSIONS = {
    "CONCATENATION": 2, "STRIDED_SLICE": 2, "CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "ADD": 2, "LOGISTIC": 2,
}  # fmt: skip
"""Versions of operators that take int8, where they are not the first."""
_BEGIN_AND_END = 0b1101, 0b1111
"""Axes of which the slice takes all: all but time from the beginning, all to the end."""
_UINT8_SHIFT = 128


def schema() -> Any:
    """Import the schema of TensorFlow Lite; MissingDependencyError where it is not installed."""
    try:
        from ai_edge_litert import schema_py_generated
    except ImportError as error:
        raise MissingDependencyError(f"models for microcontrollers need LiteRT: {install_command('esp')}") from error
    return schema_py_generated


def tflite_bytes(network: IntegerNetwork) -> bytes:
    """Return the file: int8 [1, stride, bands] in, the score of the wake word as uint8 [1, 1] out.

    The same network always gives the same bytes.
    """
    main, start = _Graph("main"), _Graph("start")
    file = _File(schema(), [main, start])
    source = file.tensor(main, "features", (1, network.stride, network.bands), FEATURES)
    main.inputs.append(source)
    file.operator(main, "CALL_ONCE", [], [], "CallOnceOptions", initSubgraphIndex=1)
    shape: tuple[int, ...] = (1, network.stride, 1, network.bands)
    tensors = [file.reshaped(main, "frames", source, shape, FEATURES)]
    for index, layer in enumerate(network.layers):
        before, after = network.scales[index], network.scales[index + 1]
        if isinstance(layer, Residual):
            shape = main.shapes[tensors[-1]]
            made = file.tensor(main, f"sum_{index}", shape, after)
            pair = [tensors[layer.source], tensors[-1]]
            file.operator(main, "ADD", pair, [made], "AddOptions", fusedActivationFunction=file.relu)
            tensors.append(made)
        else:
            tensors.append(_convolved(file, index, layer, tensors[-1], before, after))
    odds = file.reshaped(main, "log_odds", tensors[-1], (1, 1), network.scales[-1])
    score = file.tensor(main, "score", (1, 1), PROBABILITIES)
    file.operator(main, "LOGISTIC", [odds], [score])
    output = Scale(PROBABILITIES.step, PROBABILITIES.zero_point + _UINT8_SHIFT)
    main.outputs.append(file.tensor(main, "wake_word", (1, 1), output, kind="UINT8"))
    file.operator(main, "QUANTIZE", [score], main.outputs, "QuantizeOptions")
    return file.packed()


def _convolved(file: "_File", index: int, layer: IntegerConvolution, source: int, before: Scale, after: Scale) -> int:
    main, settings = file.graphs[0], layer.layer
    if settings.remembered:
        source = _remembered(file, index, settings.remembered, settings.stride, source, before)
    channels = len(layer.bias)
    taps = layer.weight[:, :, None, :]  # [outputs, kernel, 1, inputs]
    weight = taps.transpose(3, 1, 2, 0) if settings.depthwise else taps
    axis = 3 if settings.depthwise else 0
    none = np.zeros(channels, np.int64)
    names = [
        source,
        file.constant(main, f"weight_{index}", weight, (layer.steps, none, axis)),
        file.constant(main, f"bias_{index}", layer.bias, (bias_steps(layer.steps, before), none, 0)),
    ]
    made = file.tensor(main, f"layer_{index}", (1, 1, 1, channels), after)
    settings_of_kind: dict[str, Any] = {"depthMultiplier": 1} if settings.depthwise else {}
    file.operator(
        main,
        "DEPTHWISE_CONV_2D" if settings.depthwise else "CONV_2D",
        names,
        [made],
        "DepthwiseConv2DOptions" if settings.depthwise else "Conv2DOptions",
        padding=file.schema.Padding.VALID,
        strideH=settings.stride,
        strideW=1,
        fusedActivationFunction=file.relu if settings.relu else 0,
        **settings_of_kind,
    )
    return made


def _remembered(file: "_File", index: int, kept: int, new: int, source: int, scale: Scale) -> int:
    """Return a tensor of the last `kept` steps and the `new` ones of `source`, and keep the last of both."""
    main, start = file.graphs
    channels = main.shapes[source][-1]
    state, name = (1, kept, 1, channels), f"state_{index}"
    handle = file.variable(main, name)
    earlier = file.tensor(main, f"{name}_before", state, scale)
    file.operator(main, "READ_VARIABLE", [handle], [earlier], "ReadVariableOptions")
    whole = file.tensor(main, f"{name}_and_new", (1, kept + new, 1, channels), scale)
    file.operator(main, "CONCATENATION", [earlier, source], [whole], "ConcatenationOptions", axis=1)
    later = file.tensor(main, f"{name}_after", state, scale)
    bounds = [file.numbers(main, values) for values in ((0, new, 0, 0), (0, 0, 0, 0), (1, 1, 1, 1))]
    begin, end = _BEGIN_AND_END
    masks = {"beginMask": begin, "endMask": end}
    file.operator(main, "STRIDED_SLICE", [whole, *bounds], [later], "StridedSliceOptions", **masks)
    file.operator(main, "ASSIGN_VARIABLE", [handle, later], [], "AssignVariableOptions")
    quiet = np.full(state, scale.zero_point, np.int8)
    constant = file.constant(start, name, quiet, _of_all(scale))
    file.operator(start, "ASSIGN_VARIABLE", [file.variable(start, name), constant], [], "AssignVariableOptions")
    return whole


Parameters = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], int]
"""How a tensor is quantized: steps, zero points, and the axis along which there are several."""


def _of_all(scale: Scale) -> Parameters:
    return np.asarray([scale.step], np.float32), np.asarray([scale.zero_point], np.int64), 0


def _indices(values: Sequence[int]) -> npt.NDArray[np.int32]:
    return np.asarray(values, np.int32)


@dataclass
class _Graph:
    """A subgraph under construction."""

    name: str
    tensors: list[Any] = field(default_factory=list)
    operators: list[Any] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    known: dict[tuple[int, ...], int] = field(default_factory=dict)
    """Constants of whole numbers that several operators share."""


class _File:
    def __init__(self, schema: Any, graphs: Sequence[_Graph]) -> None:
        self.schema, self.graphs = schema, graphs
        self.relu: int = schema.ActivationFunctionType.RELU
        self._buffer = _aligned_buffer(schema)
        self._buffers: list[Any] = [self._buffer()]  # the first stands for none
        self._codes: dict[str, int] = {}

    def tensor(self, graph: _Graph, name: str, shape: tuple[int, ...], scale: Scale, *, kind: str = "INT8") -> int:
        """Add a tensor that is computed; returns its index."""
        return self._add(graph, name, shape, kind, 0, _of_all(scale))

    def constant(
        self,
        graph: _Graph,
        name: str,
        values: npt.NDArray[Any],
        parameters: Parameters | None = None,
    ) -> int:
        """Add a constant with the steps, zero points and axis of its quantization; returns its index."""
        buffer = self._buffer()
        buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
        self._buffers.append(buffer)
        kind = values.dtype.name.upper()
        return self._add(graph, name, values.shape, kind, len(self._buffers) - 1, parameters)

    def numbers(self, graph: _Graph, values: tuple[int, ...]) -> int:
        """Add a constant int32 [n], once for all that read it; returns its index."""
        if values not in graph.known:
            name = "numbers_" + "_".join(map(str, values))
            graph.known[values] = self.constant(graph, name, np.asarray(values, np.int32))
        return graph.known[values]

    def variable(self, graph: _Graph, name: str) -> int:
        """Add the handle of a variable; returns its index."""
        handle = self._add(graph, f"{name}_handle", (), "RESOURCE", 0, None)
        self.operator(graph, "VAR_HANDLE", [], [handle], "VarHandleOptions", container="", sharedName=name)
        return handle

    def reshaped(self, graph: _Graph, name: str, source: int, shape: tuple[int, ...], scale: Scale) -> int:
        """Add a tensor in another shape; returns its index."""
        made = self.tensor(graph, name, shape, scale)
        self.operator(graph, "RESHAPE", [source, self.numbers(graph, shape)], [made])
        return made

    def operator(
        self,
        graph: _Graph,
        name: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: str = "",
        **values: Any,
    ) -> None:
        """Add an operator with values of its options."""
        operator = self.schema.OperatorT()
        operator.opcodeIndex = self._codes.setdefault(name, len(self._codes))
        operator.inputs, operator.outputs = _indices(inputs), _indices(outputs)
        if options:
            operator.builtinOptionsType = getattr(self.schema.BuiltinOptions, options)
            operator.builtinOptions = getattr(self.schema, f"{options}T")()
            for key, value in values.items():
                setattr(operator.builtinOptions, key, value)
        graph.operators.append(operator)

    def packed(self) -> bytes:
        """Return the bytes of the file."""
        import flatbuffers

        model = self.schema.ModelT()
        model.version, model.description = SCHEMA_VERSION, "wakeword"
        model.operatorCodes = [self._code(name) for name in self._codes]
        model.subgraphs = [self._subgraph(graph) for graph in self.graphs]
        model.buffers = self._buffers
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
        return bytes(builder.Output())

    def _add(
        self,
        graph: _Graph,
        name: str,
        shape: tuple[int, ...],
        kind: str,
        buffer: int,
        parameters: Parameters | None,
    ) -> int:
        tensor = self.schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = name, _indices(shape), buffer
        tensor.type, tensor.hasRank = getattr(self.schema.TensorType, kind), True
        if parameters is not None:
            tensor.quantization = self.schema.QuantizationParametersT()
            scales, zero_points, axis = parameters
            tensor.quantization.scale, tensor.quantization.zeroPoint = scales, zero_points
            tensor.quantization.quantizedDimension = axis
        graph.tensors.append(tensor)
        graph.shapes.append(shape)
        return len(graph.tensors) - 1

    def _code(self, name: str) -> Any:
        code, value = self.schema.OperatorCodeT(), getattr(self.schema.BuiltinOperator, name)
        code.builtinCode, code.deprecatedBuiltinCode = value, min(value, _LARGEST_OLD_CODE)
        code.version = _VERSIONS.get(name, 1)
        return code

    def _subgraph(self, graph: _Graph) -> Any:
        made = self.schema.SubGraphT()
        made.name, made.tensors, made.operators = graph.name, graph.tensors, graph.operators
        made.inputs, made.outputs = _indices(graph.inputs), _indices(graph.outputs)
        return made


def _aligned_buffer(schema: Any) -> type[Any]:
    """Return the schema's buffer, but packed where a kernel can read it: at a multiple of 16 bytes."""

    class AlignedBuffer(schema.BufferT):
        def Pack(self, builder: Any) -> int:  # noqa: N802
            """Write the buffer; returns its offset."""
            if self.data is not None:
                builder.StartVector(1, len(self.data), _ALIGNMENT)
                builder.head -= len(self.data)
                builder.Bytes[builder.head : builder.head + len(self.data)] = self.data.tobytes()
                data = builder.EndVector()
            schema.BufferStart(builder)
            if self.data is not None:
                schema.BufferAddData(builder, data)
            return int(schema.BufferEnd(builder))

    return AlignedBuffer
