"""An ONNX graph that streams, in the making: nodes, constants, and states that go out as they came in, later."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper

from wakeword_core.export.onnx_graph import constant
from wakeword_core.runtime.streaming_model import NEXT

_TO_END = np.iinfo(np.int64).max

Shaped = tuple[str, tuple[int | str, ...]]
"""Name and shape of a tensor of float32; sizes that may change have names."""


@dataclass
class StreamGraph:
    """Nodes and constants by name; `states` are shapes and types by name, in the order in which they are given."""

    nodes: list[NodeProto] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    states: dict[str, tuple[tuple[int, ...], int]] = field(default_factory=dict)
    shapes: dict[str, tuple[int, tuple[int | str, ...]]] = field(default_factory=dict)
    """Types and shapes of tensors in between: a runtime joins additions to convolutions where it knows them alike."""

    def add(self, operator: str, *inputs: str, to: str = "", **attributes: Any) -> str:
        """Add a node of one output, named `to` or anyhow; returns the name."""
        name = to or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def constant(self, values: np.ndarray) -> str:
        """Add a constant; returns its name."""
        name = f"c{len(self.constants)}"
        self.constants[name] = values
        return name

    def integers(self, *values: int) -> str:
        """A constant int64 [n]."""
        return self.constant(np.asarray(values, np.int64))

    def state(self, name: str, shape: tuple[int, ...], kind: int = TensorProto.FLOAT) -> str:
        """Declare a state; a node has to give `NEXT + name`. Returns the name of the input."""
        self.states[name] = (shape, kind)
        return name

    def sliced(
        self,
        tensor: str,
        starts: tuple[int, ...],
        ends: tuple[int | None, ...] = (None,),
        axes: tuple[int, ...] = (0,),
        step: int = 1,
        to: str = "",
    ) -> str:
        """`tensor[start:end:step]` along each of `axes`."""
        open_end = _TO_END if step > 0 else -_TO_END
        bounds = [starts, [open_end if end is None else end for end in ends], axes]
        if step != 1:
            bounds.append([step] * len(axes))
        return self.add("Slice", tensor, *(self.integers(*one) for one in bounds), to=to)

    def remembering(self, name: str, tensor: str, shape: tuple[int, ...], kind: int = TensorProto.FLOAT) -> str:
        """`tensor` with what came before it in front, along the last axis: state `name` of `shape`."""
        if not shape[-1]:
            return tensor
        axis = len(shape) - 1
        whole = self.add("Concat", self.state(name, shape, kind), tensor, axis=axis)
        self.sliced(whole, (-shape[-1],), axes=(axis,), to=NEXT + name)
        return whole

    def model(self, given: Shaped, scores: Shaped, network: ModelProto) -> ModelProto:
        """The finished model, of the versions of `network`: `given` and the states in, `scores` and the states out."""
        states = [(name, kind, shape) for name, (shape, kind) in self.states.items()]
        inputs = [(given[0], TensorProto.FLOAT, given[1]), *states]
        outputs = [(scores[0], TensorProto.FLOAT, scores[1]), *((NEXT + n, k, s) for n, k, s in states)]
        graph = helper.make_graph(
            self.nodes,
            "stream",
            [helper.make_tensor_value_info(*one) for one in inputs],
            [helper.make_tensor_value_info(*one) for one in outputs],
            value_info=[helper.make_tensor_value_info(name, *one) for name, one in self.shapes.items()],
        )
        model = helper.make_model(graph, opset_imports=network.opset_import, ir_version=network.ir_version)
        for name, values in self.constants.items():
            constant(model, name, values)
        return model
