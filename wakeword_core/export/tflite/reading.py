"""A TensorFlow Lite file as plain values, read with bounds: it may come from anybody, and runtimes trust it."""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wakeword_core.errors import ArtifactError, reason_of
from wakeword_core.export.tflite.flatbuffer import IDENTIFIER, SCHEMA_VERSION, schema
from wakeword_core.export.tflite.limits import MAX_BYTES

_MOST_SUBGRAPHS, _MOST_ENTRIES, _MOST_AXES, _MOST_NUMBERS = 8, 1_000, 6, 4_096
"""Of tensors, operators, buffers and operator codes; of a tensor's shape; and of scales and operands."""
_LEAST_BYTES = 8
_WHERE_IDENTIFIER = slice(4, 8)
_ADVICE = "make it again"


@dataclass(frozen=True)
class Tensor:
    """One tensor of a subgraph."""

    name: str
    kind: str
    """Its type in the words of the schema, such as INT8."""
    shape: tuple[int, ...]
    data: bytes
    """Of a constant; empty for what is computed."""
    steps: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int

    @property
    def elements(self) -> int:
        """Count its numbers."""
        return int(np.prod(self.shape, dtype=np.int64))


@dataclass(frozen=True)
class Operator:
    """One operator of a subgraph, with tensors by index."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Subgraph:
    """Operators in the order in which they run."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read_tflite(path: Path) -> tuple[Subgraph, ...]:
    """Read a file; ArtifactError, with what is wrong, for one that is too large or no TensorFlow Lite model."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read ({reason_of(error)}); {_ADVICE}") from error
    if len(data) > MAX_BYTES:
        raise ArtifactError(f"{path} has more than the {MAX_BYTES:,} bytes that a microcontroller is given; {_ADVICE}")
    try:
        return parse_tflite(data)
    except ValueError as error:
        raise ArtifactError(f"{path} is no model for a microcontroller: {error}; {_ADVICE}") from error


def stride_of(graphs: tuple[Subgraph, ...]) -> int:
    """Return how many frames one run of a model takes."""
    return graphs[0].tensors[graphs[0].inputs[0]].shape[1]


def parse_tflite(data: bytes) -> tuple[Subgraph, ...]:
    """Return the subgraphs in the bytes of a file; ValueError where they are none."""
    if len(data) < _LEAST_BYTES or data[_WHERE_IDENTIFIER] != IDENTIFIER:
        raise ValueError("it is no TensorFlow Lite file")
    names = schema()
    try:
        model = names.Model.GetRootAs(data, 0)
        if model.Version() != SCHEMA_VERSION:
            raise ValueError(f"its schema has version {model.Version()}, not {SCHEMA_VERSION}")
        return _Reader(names, model).subgraphs()
    except (struct.error, LookupError, TypeError, AttributeError, OverflowError, MemoryError) as error:
        raise ValueError(f"it is damaged ({reason_of(error)})") from error


class _Reader:
    def __init__(self, names: Any, model: Any) -> None:
        self._model = model
        self._operators = _by_number(names.BuiltinOperator)
        self._kinds = _by_number(names.TensorType)
        self._options = {
            name: getattr(names, f"{kind}Options")
            for name, kind in (
                ("CALL_ONCE", "CallOnce"), ("VAR_HANDLE", "VarHandle"), ("CONV_2D", "Conv2D"),
                ("DEPTHWISE_CONV_2D", "DepthwiseConv2D"), ("CONCATENATION", "Concatenation"),
            )
        }  # fmt: skip
        self._same: int = names.Padding.SAME

    def subgraphs(self) -> tuple[Subgraph, ...]:
        count = _bounded(self._model.SubgraphsLength(), _MOST_SUBGRAPHS, "subgraphs")
        _bounded(self._model.BuffersLength(), _MOST_ENTRIES, "buffers")
        self._codes = self._entries(self._model.OperatorCodesLength(), self._model.OperatorCodes, self._code)
        if not count:
            raise ValueError("it has no subgraph")
        return tuple(self._subgraph(self._model.Subgraphs(index)) for index in range(count))

    def _entries(self, count: int, get: Callable[[int], Any], read: Callable[[Any], Any]) -> tuple[Any, ...]:
        return tuple(read(get(index)) for index in range(_bounded(count, _MOST_ENTRIES, "tensors or operators")))

    def _code(self, code: Any) -> str:
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        if number not in self._operators:
            raise ValueError(f"it has an operator of the unknown number {number}")
        return self._operators[number]

    def _subgraph(self, graph: Any) -> Subgraph:
        return Subgraph(
            self._entries(graph.TensorsLength(), graph.Tensors, self._tensor),
            self._entries(graph.OperatorsLength(), graph.Operators, self._operator),
            _indices(graph.InputsLength(), graph.InputsAsNumpy),
            _indices(graph.OutputsLength(), graph.OutputsAsNumpy),
        )

    def _tensor(self, tensor: Any) -> Tensor:
        name = (tensor.Name() or b"").decode("utf-8", "replace")
        if tensor.Type() not in self._kinds:
            raise ValueError(f"its tensor {name} has the unknown type {tensor.Type()}")
        shape = _numbers(tensor.ShapeLength(), tensor.ShapeAsNumpy, _MOST_AXES)
        if any(not 0 < size <= MAX_BYTES for size in shape):
            raise ValueError(f"its tensor {name} has the shape {list(shape)}")
        quantization = tensor.Quantization()
        steps, zeros, axis = (), (), 0
        if quantization is not None:
            steps = _numbers(quantization.ScaleLength(), quantization.ScaleAsNumpy)
            zeros = _numbers(quantization.ZeroPointLength(), quantization.ZeroPointAsNumpy)
            axis = int(quantization.QuantizedDimension())
        if tensor.IsVariable() or tensor.Sparsity() is not None:
            raise ValueError(f"its tensor {name} is of a kind that a microcontroller does not have")
        data = self._data(tensor.Buffer())
        return Tensor(name, self._kinds[tensor.Type()], shape, data, steps, zeros, axis)

    def _data(self, index: int) -> bytes:
        if index >= self._model.BuffersLength():
            raise ValueError(f"a tensor has its numbers in buffer {index}, which there is not")
        buffer = self._model.Buffers(index)
        if buffer.Offset() or buffer.Size():
            raise ValueError("its numbers lie outside of the model")
        return buffer.DataAsNumpy().tobytes() if buffer.DataLength() else b""

    def _operator(self, operator: Any) -> Operator:
        if operator.OpcodeIndex() >= len(self._codes):
            raise ValueError(f"one of its operators has the code {operator.OpcodeIndex()}, which there is not")
        name = self._codes[operator.OpcodeIndex()]
        inputs = _indices(operator.InputsLength(), operator.InputsAsNumpy)
        outputs = _indices(operator.OutputsLength(), operator.OutputsAsNumpy)
        return Operator(name, inputs, outputs, self._options_of(name, operator))

    def _options_of(self, name: str, operator: Any) -> dict[str, Any]:
        if name not in self._options:
            return {}
        table = operator.BuiltinOptions()
        if table is None:
            raise ValueError(f"its {name} has no options")
        options = self._options[name]()
        options.Init(table.Bytes, table.Pos)
        if name == "CALL_ONCE":
            return {"subgraph": options.InitSubgraphIndex()}
        if name == "VAR_HANDLE":
            return {"variable": (options.SharedName() or b"").decode("utf-8", "replace")}
        if name == "CONCATENATION":
            return {"axis": options.Axis()}
        return {
            "same": options.Padding() == self._same,
            "strides": (options.StrideH(), options.StrideW()),
            "dilations": (options.DilationHFactor(), options.DilationWFactor()),
        }


def _by_number(names: Any) -> dict[int, str]:
    return {value: name for name, value in vars(names).items() if not name.startswith("_")}


def _bounded(count: int, most: int, what: str) -> int:
    if not 0 <= count <= most:
        raise ValueError(f"it has {count} {what}, of which at most {most} are read")
    return count


def _numbers(count: int, get: Callable[[], npt.NDArray[Any]], most: int = _MOST_NUMBERS) -> tuple[Any, ...]:
    return tuple(get().tolist()) if _bounded(count, most, "numbers in a row") else ()


def _indices(count: int, get: Callable[[], npt.NDArray[np.int32]]) -> tuple[int, ...]:
    return _numbers(count, get)
