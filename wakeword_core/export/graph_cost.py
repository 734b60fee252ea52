"""What a run of a graph takes, read off the graph itself: stored constants, live memory and multiply-adds.

The graph is run once with every tensor as an output, so that the sizes are those of a real run.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
from onnx import ModelProto, NodeProto, helper, numpy_helper

from wakeword_core.export.onnx_graph import initializers

_VIEWS = frozenset(("Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity"))
"""Operators whose result is their input in another shape, in the same place."""

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class GraphCost:
    """Of one run."""

    constant_bytes: int
    peak_bytes: int
    """Most that tensors take at once in the order of the graph; each lives from its node to its last reader."""
    macs: int
    """Multiply-adds of convolutions, products of matrices and recurrent layers."""


def graph_cost(model: ModelProto, inputs: Arrays) -> GraphCost:
    """Cost of a run on `inputs`, of a graph without branches."""
    constants = {name: numpy_helper.to_array(one) for name, one in initializers(model).items()}
    values = {**constants, **inputs, **_computed(model, inputs)}
    return GraphCost(
        constant_bytes=sum(one.nbytes for one in constants.values()),
        peak_bytes=_peak(model, values, set(constants)),
        macs=sum(_macs(node, values) for node in model.graph.node),
    )


def _computed(model: ModelProto, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
    every = ModelProto()
    every.CopyFrom(model)
    names = list(dict.fromkeys(name for node in model.graph.node for name in node.output if name))
    del every.graph.output[:]
    every.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(every.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip(names, session.run(names, dict(inputs)), strict=True))


def _peak(model: ModelProto, values: Arrays, constants: set[str]) -> int:
    nodes, home = list(model.graph.node), {name: name for name in values}
    for node in nodes:
        if node.op_type in _VIEWS:
            home[node.output[0]] = home[node.input[0]]
    last = {home[name]: index for index, node in enumerate(nodes) for name in node.input if name}
    last |= {home[one.name]: len(nodes) for one in model.graph.output}
    live = {one.name for one in model.graph.input}
    peak = 0
    for index, node in enumerate(nodes):
        live |= {home[name] for name in node.output if name} - constants
        peak = max(peak, sum(values[name].nbytes for name in live))
        live = {name for name in live if last.get(name, -1) > index}
    return peak


def _macs(node: NodeProto, values: Arrays) -> int:
    if node.op_type == "Conv":
        weight = values[node.input[1]]
        return int(values[node.output[0]].size * weight[0].size)
    if node.op_type in ("MatMul", "Gemm"):
        across = next((one.i for one in node.attribute if one.name == "transA"), 0)
        return int(values[node.output[0]].size * values[node.input[0]].shape[-2 if across else -1])
    if node.op_type in ("GRU", "LSTM", "RNN"):
        steps, batch = values[node.input[0]].shape[:2]
        return int(steps * batch * sum(values[name].size for name in node.input[1:3]))
    return 0
