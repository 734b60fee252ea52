"""Weight-only INT8 for models so small that the graph itself is most of the file.

Every convolution and linear weight is a matrix of one row an output channel, and those of recurrent layers have a row
for each gate of each unit. Rows of one length, of whatever layer, lie in one INT8 matrix with one scale a row; `Cast`
and `Mul` restore them and `Split` hands them out, all of which a runtime folds once when it loads the model.
Everything else (biases, normalisation, scales) lies in one float16 vector.
"""

import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from wakeword_core.export.onnx_graph import compact, constant, initializers

Array = npt.NDArray[np.generic]

_WEIGHT_INPUTS = {"Conv": (1,), "Gemm": (1,), "MatMul": (1,), "GRU": (1, 2), "LSTM": (1, 2)}
"""Which inputs of an operator are weights."""
_RECURRENT = ("GRU", "LSTM")
_INT8_LIMIT = 127
_MIN_INT8_VALUES = 96
"""Below about this many values, float16 takes no more bytes than INT8 with its scales."""
_MIN_FILL_VALUES = 24
"""From about this many equal values on, a node that makes them is smaller than the values."""


class _Restoring:
    def __init__(self, model: ModelProto) -> None:
        self.model = model
        self.nodes: list[NodeProto] = []

    def add(self, operator: str, inputs: list[str], outputs: list[str], **attributes: Any) -> None:
        self.nodes.append(helper.make_node(operator, inputs, outputs, **attributes))

    def hand_out(self, source: str, pieces: Mapping[str, tuple[int, ...]], row: tuple[int, ...]) -> None:
        """Cut `source` [n, *row] along its first axis into the named pieces of the given shapes."""
        rows = {name: math.prod(shape) // math.prod(row) for name, shape in pieces.items()}
        flat = {name: name if shape == (rows[name], *row) else f"{name}_rows" for name, shape in pieces.items()}
        if len(pieces) > 1:
            sizes = constant(self.model, f"{source}_sizes", np.asarray([*rows.values()], np.int64))
            self.add("Split", [source, sizes], [*flat.values()])
        else:
            flat = dict.fromkeys(pieces, source)
        for name, shape in pieces.items():
            if flat[name] != name:
                sizes = constant(self.model, f"{name}_shape", np.asarray(shape, np.int64))
                self.add("Reshape", [flat[name], sizes], [name])

    def fill(self, name: str, values: Array) -> None:
        """Add a node that makes a constant of equal values."""
        shape = constant(self.model, f"{name}_shape", np.asarray(values.shape, np.int64))
        value = numpy_helper.from_array(values.ravel()[:1])
        self.add("ConstantOfShape", [shape], [name], **({"value": value} if values.any() else {}))


def pack_weights(model: ModelProto) -> ModelProto:
    """Return the compact model with INT8 weights (symmetric, one scale an output channel) and float16 vectors."""
    packed = compact(model)
    known = initializers(packed)
    floats = {
        name: numpy_helper.to_array(tensor) for name, tensor in known.items() if tensor.data_type == TensorProto.FLOAT
    }
    for name in floats:
        packed.graph.initializer.remove(known[name])
    used = {name: node.op_type for node in packed.graph.node for name in _weights_of(node)}
    by_length: dict[int, dict[str, Array]] = defaultdict(dict)
    vectors: dict[str, Array] = {}
    restoring = _Restoring(packed)
    for name, values in floats.items():
        if name in used and values.ndim > 1 and values.size >= _MIN_INT8_VALUES:
            length = values.shape[-1] if used[name] in _RECURRENT else values.size // values.shape[0]
            by_length[length][name] = values
        elif values.size >= _MIN_FILL_VALUES and (values == values.ravel()[0]).all():
            restoring.fill(name, values)
        else:
            vectors[name] = values
    whole = {length: _quantize_rows(length, group) for length, group in by_length.items()}
    vectors |= {f"scale_{length}": scale for length, (_, scale) in whole.items()}
    _add_vectors(restoring, vectors)
    for length, group in by_length.items():
        _add_matrix(restoring, length, whole[length][0], group)
    for place, node in enumerate(restoring.nodes):
        packed.graph.node.insert(place, node)
    return compact(packed)


def _weights_of(node: NodeProto) -> list[str]:
    return [node.input[place] for place in _WEIGHT_INPUTS.get(node.op_type, ())]


def _quantize_rows(length: int, group: Mapping[str, Array]) -> tuple[npt.NDArray[np.int8], Array]:
    """Return rows as INT8 [rows, length] and their scales [rows, 1], which float16 holds exactly."""
    rows = np.concatenate([values.reshape(-1, length) for values in group.values()]).astype(np.float32)
    scale = np.abs(rows).max(axis=1, keepdims=True) / _INT8_LIMIT
    scale = np.maximum(scale, np.finfo(np.float16).tiny).astype(np.float16).astype(np.float32)
    return np.clip(np.rint(rows / scale), -_INT8_LIMIT, _INT8_LIMIT).astype(np.int8), scale


def _add_vectors(restoring: _Restoring, vectors: Mapping[str, Array]) -> None:
    if not vectors:
        return
    joined = np.concatenate([values.ravel() for values in vectors.values()]).astype(np.float16)
    restoring.add("Cast", [constant(restoring.model, "half", joined)], ["vectors"], to=TensorProto.FLOAT)
    restoring.hand_out("vectors", {name: values.shape for name, values in vectors.items()}, row=())


def _add_matrix(restoring: _Restoring, length: int, rows: npt.NDArray[np.int8], group: Mapping[str, Array]) -> None:
    source, restored = f"rows_{length}", f"restored_{length}"
    restoring.add("Cast", [constant(restoring.model, f"{source}_int8", rows)], [source], to=TensorProto.FLOAT)
    restoring.add("Mul", [source, f"scale_{length}"], [restored])
    restoring.hand_out(restored, {name: values.shape for name, values in group.items()}, row=(length,))
