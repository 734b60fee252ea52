"""Files of TensorFlow Lite, put together tensor by tensor with the schema that LiteRT comes with.

Time is the height of an image, and channels are its channels: [1, steps, 1, channels].
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from wakeword_core.errors import MissingDependencyError
from wakeword_core.export.tflite.network import Convolution
from wakeword_core.export.tflite.quantize import Scale
from wakeword_core.python import install_command

SCHEMA_VERSION = 3
IDENTIFIER = b"TFL3"
_ALIGNMENT = 16
"""Of every buffer, as the kernels of runtimes expect it."""
_LARGEST_OLD_CODE = 127
"""Operators were once one byte; newer ones are this there."""


def schema() -> Any:
    """Import the schema of TensorFlow Lite; MissingDependencyError where it is not installed."""
    try:
        from ai_edge_litert import schema_py_generated
    except ImportError as error:
        raise MissingDependencyError(f"TensorFlow Lite files need LiteRT: {install_command('esp')}") from error
    return schema_py_generated


Parameters = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], int]
"""How a tensor is quantized: steps, zero points, and the axis along which there are several."""


def of_all(scale: Scale) -> Parameters:
    """Return the parameters of a tensor that has one step and one zero point."""
    return np.asarray([scale.step], np.float32), np.asarray([scale.zero_point], np.int64), 0


def _indices(values: Sequence[int]) -> npt.NDArray[np.int32]:
    return np.asarray(values, np.int32)


@dataclass
class TfliteGraph:
    """A subgraph under construction."""

    name: str
    tensors: list[Any] = field(default_factory=list)
    operators: list[Any] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    known: dict[tuple[int, ...], int] = field(default_factory=dict)
    """Constants of whole numbers that several operators share."""


class TfliteFile:
    """A file under construction; `versions` are those of operators that are not the first."""

    def __init__(self, graphs: Sequence[TfliteGraph], versions: Mapping[str, int] | None = None) -> None:
        self.schema, self.graphs, self._versions = schema(), graphs, versions or {}
        self.relu: int = self.schema.ActivationFunctionType.RELU
        self._buffer = _aligned_buffer(self.schema)
        self._buffers: list[Any] = [self._buffer()]  # the first stands for none
        self._codes: dict[str, int] = {}

    def tensor(
        self, graph: TfliteGraph, name: str, shape: tuple[int, ...], scale: Scale | None = None, *, kind: str = "INT8"
    ) -> int:
        """Add a tensor that is computed, in float32 where it has no scale; returns its index."""
        if scale is None:
            return self._add(graph, name, shape, "FLOAT32", 0, None)
        return self._add(graph, name, shape, kind, 0, of_all(scale))

    def constant(
        self,
        graph: TfliteGraph,
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

    def numbers(self, graph: TfliteGraph, values: tuple[int, ...], shape: tuple[int, ...] = (-1,)) -> int:
        """Add a constant int32, [n] unless it has another shape, once for all that read it; returns its index."""
        if values not in graph.known:
            name = "numbers_" + "_".join(map(str, values))
            graph.known[values] = self.constant(graph, name, np.asarray(values, np.int32).reshape(shape))
        return graph.known[values]

    def variable(self, graph: TfliteGraph, name: str) -> int:
        """Add the handle of a variable; returns its index."""
        handle = self._add(graph, f"{name}_handle", (), "RESOURCE", 0, None)
        self.operator(graph, "VAR_HANDLE", [], [handle], "VarHandleOptions", container="", sharedName=name)
        return handle

    def reshaped(
        self, graph: TfliteGraph, name: str, source: int, shape: tuple[int, ...], scale: Scale | None = None
    ) -> int:
        """Add a tensor in another shape; returns its index."""
        made = self.tensor(graph, name, shape, scale)
        self.operator(graph, "RESHAPE", [source, self.numbers(graph, shape)], [made])
        return made

    def convolve(self, graph: TfliteGraph, layer: Convolution, operands: Sequence[int], made: int) -> None:
        """Add the operator of a layer; `operands` are what it takes, its weight and its bias."""
        kind: dict[str, Any] = {"depthMultiplier": 1} if layer.depthwise else {}
        self.operator(
            graph,
            "DEPTHWISE_CONV_2D" if layer.depthwise else "CONV_2D",
            operands,
            [made],
            "DepthwiseConv2DOptions" if layer.depthwise else "Conv2DOptions",
            padding=self.schema.Padding.VALID,
            strideH=layer.stride,
            strideW=layer.band_stride,
            fusedActivationFunction=self.relu if layer.relu else 0,
            **kind,
        )

    def operator(
        self,
        graph: TfliteGraph,
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
        graph: TfliteGraph,
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
        code.version = self._versions.get(name, 1)
        return code

    def _subgraph(self, graph: TfliteGraph) -> Any:
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
