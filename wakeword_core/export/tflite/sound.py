"""Whether a file is a model that ESPHome runs, found out before anything does: runtimes crash at those that are not."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from wakeword_core.errors import ArtifactError, MissingDependencyError, WakewordError
from wakeword_core.export.tflite.limits import BANDS, MAX_VARIABLES, OPERATORS, STRIDES
from wakeword_core.export.tflite.quantize import FEATURES, PROBABILITIES
from wakeword_core.export.tflite.reading import Operator, Subgraph, Tensor, parse_tflite, read_tflite, stride_of
from wakeword_core.export.tflite.runtimes import run

_BYTES = {"INT8": 1, "UINT8": 1, "INT32": 4, "FLOAT32": 4, "INT64": 8}
_CLOSE = 1e-6
_BIAS = 2
"""Which operand may be missing, as -1."""
_ARITY = {
    "CALL_ONCE": (0, 0), "VAR_HANDLE": (0, 1), "READ_VARIABLE": (1, 1), "ASSIGN_VARIABLE": (2, 0), "RESHAPE": (2, 1),
    "STRIDED_SLICE": (4, 1), "CONV_2D": (3, 1), "DEPTHWISE_CONV_2D": (3, 1), "FULLY_CONNECTED": (3, 1), "ADD": (2, 1),
    "MUL": (2, 1), "MEAN": (2, 1), "LOGISTIC": (1, 1), "QUANTIZE": (1, 1), "AVERAGE_POOL_2D": (1, 1),
    "MAX_POOL_2D": (1, 1), "PAD": (2, 1),
}  # fmt: skip
"""How many tensors an operator reads and gives; of those that are not named here, any number."""


def require_sound(path: Path) -> None:
    """Raise ArtifactError with what is wrong unless a file is a model that ESPHome runs.

    What is where in the file is then looked at by LiteRT, which checks every offset, in a process of its own.
    """
    graphs = read_tflite(path)
    found = problems_of(graphs)
    if not found:
        try:
            run("litert", path, np.zeros((stride_of(graphs), BANDS), np.float32))
        except MissingDependencyError:
            raise
        except WakewordError as error:
            found = [str(error)]
    if found:
        raise ArtifactError(f"{path} is no model for a microcontroller: {found[0]}; make it again")


def problems_in(data: bytes) -> list[str]:
    """Return what is wrong with the bytes of a model file, as sentences."""
    try:
        return problems_of(parse_tflite(data))
    except ValueError as error:
        return [str(error)]


def problems_of(graphs: tuple[Subgraph, ...]) -> list[str]:
    """Return what is wrong with a model, as sentences.

    What follows from something else that is wrong is not looked for.
    """
    for look in (_operands, _tensors, _ends, _order, _variables, _shapes, _scales):
        if found := list(look(graphs)):
            return found
    return []


def _operands(graphs: tuple[Subgraph, ...]) -> Iterator[str]:
    """Every operator is one of ESPHome's, and reads and gives as many tensors as it should, all of which exist."""
    for graph in graphs:
        if any(not 0 <= index < len(graph.tensors) for index in (*graph.inputs, *graph.outputs)):
            yield "what goes in or comes out is a tensor that there is not"
        for operator in graph.operators:
            name = operator.name
            if name not in OPERATORS:
                yield f"the operator {name} is not among those of ESPHome"
                continue
            counts = len(operator.inputs), len(operator.outputs)
            if counts != _ARITY.get(name, counts) or (name not in _ARITY and 0 in counts):
                yield f"{name} reads {counts[0]} tensors and gives {counts[1]}"
            missing = [place for place, index in enumerate(operator.inputs) if index == -1]
            if any(place != _BIAS for place in missing) or any(
                not 0 <= index < len(graph.tensors) for index in (*operator.inputs, *operator.outputs) if index != -1
            ):
                yield f"{name} reads or gives a tensor that there is not"


def _tensors(graphs: tuple[Subgraph, ...]) -> Iterator[str]:
    """Constants have as many bytes as their shape says, and steps are positive numbers."""
    for tensor in (tensor for graph in graphs for tensor in graph.tensors):
        if tensor.kind != "RESOURCE" and tensor.kind not in _BYTES:
            yield f"tensor {tensor.name} is of type {tensor.kind}"
        elif tensor.data and len(tensor.data) != tensor.elements * _BYTES.get(tensor.kind, 0):
            yield f"tensor {tensor.name} {list(tensor.shape)} has {len(tensor.data)} bytes"
        elif not all(math.isfinite(step) and step > 0 for step in tensor.steps):
            yield f"tensor {tensor.name} has a step that is no positive number"
        elif len(tensor.steps) != len(tensor.zero_points) or (
            len(tensor.steps) > 1
            and not (0 <= tensor.axis < len(tensor.shape) and tensor.shape[tensor.axis] == len(tensor.steps))
        ):
            yield f"tensor {tensor.name} has {len(tensor.steps)} steps and {len(tensor.zero_points)} zero points"
        elif tensor.kind == "INT8" and (not tensor.steps or any(not -128 <= at <= 127 for at in tensor.zero_points)):
            yield f"tensor {tensor.name} has no step or a zero point that is no int8"


def _ends(graphs: tuple[Subgraph, ...]) -> Iterator[str]:
    """Frames of features go in, one score comes out, both as ESPHome takes them to be."""
    main = graphs[0]
    if len(main.inputs) != 1 or len(main.outputs) != 1:
        yield f"it has {len(main.inputs)} inputs and {len(main.outputs)} outputs instead of one each"
        return
    source, target = main.tensors[main.inputs[0]], main.tensors[main.outputs[0]]
    strides = [(1, stride, BANDS) for stride in STRIDES]
    if source.kind != "INT8" or source.shape not in strides:
        yield f"its input is {source.kind} {list(source.shape)} instead of INT8 [1, 1 to {STRIDES[-1]}, {BANDS}]"
    elif not _has(source, FEATURES.step, FEATURES.zero_point):
        yield f"its input has {_said(source)} instead of the step {FEATURES.step:.6g} and the zero point -128"
    if target.kind != "UINT8" or target.shape != (1, 1):
        yield f"its output is {target.kind} {list(target.shape)} instead of UINT8 [1, 1]"
    elif not _has(target, PROBABILITIES.step, 0):
        yield f"its output has {_said(target)} instead of the step 1/256 and the zero point 0"


def _has(tensor: Tensor, step: float, zero_point: int) -> bool:
    return (
        len(tensor.steps) == 1
        and math.isclose(tensor.steps[0], step, rel_tol=_CLOSE)
        and tensor.zero_points == (zero_point,)
    )


def _said(tensor: Tensor) -> str:
    return f"the steps {[float(f'{step:.6g}') for step in tensor.steps]} and zero points {list(tensor.zero_points)}"


def _order(graphs: tuple[Subgraph, ...]) -> Iterator[str]:
    """Each tensor is a constant, goes in, or is computed once before it is read."""
    for graph in graphs:
        known = {index for index, tensor in enumerate(graph.tensors) if tensor.data} | set(graph.inputs)
        for operator in graph.operators:
            if unknown := [index for index in operator.inputs if index not in known and index != -1]:
                yield f"{operator.name} reads tensor {graph.tensors[unknown[0]].name} before it is computed"
                return
            if known & set(operator.outputs):
                yield f"{operator.name} gives a tensor that there is already"
                return
            known |= set(operator.outputs)
        if not set(graph.outputs) <= known:
            yield "its output is never computed"


def _variables(graphs: tuple[Subgraph, ...]) -> Iterator[str]:
    """Each variable is filled with what stands for zero before anything else, and keeps its shape and step."""
    main, calls = graphs[0], [one for graph in graphs for one in graph.operators if one.name == "CALL_ONCE"]
    if len(calls) > 1 or (calls and main.operators[0] is not calls[0]):
        yield "CALL_ONCE, which fills its variables, is not its first operator"
        return
    number = calls[0].options["subgraph"] if calls else 0
    if calls and not 0 < number < len(graphs):
        yield f"CALL_ONCE calls subgraph {number}, which there is not"
        return
    first: dict[str, Tensor] = {}
    for name, operator, tensor in _uses(graphs[number]) if calls else ():
        if operator.name != "ASSIGN_VARIABLE" or name in first or tensor.kind != "INT8" or not tensor.data:
            yield f"variable {name} is not filled with numbers at first"
            return
        first[name] = tensor
        if set(np.frombuffer(tensor.data, np.int8).tolist()) != set(tensor.zero_points) or len(tensor.steps) != 1:
            yield f"variable {name} does not begin with what stands for zero"
    uses = [*_uses(main)]
    names = {name for name, *_ in uses} | {
        str(one.options["variable"]) for graph in graphs for one in graph.operators if one.name == "VAR_HANDLE"
    }
    if len(names) > MAX_VARIABLES:
        yield f"it has {len(names)} variables, more than the {MAX_VARIABLES} that ESPHome has room for"
    if names - first.keys() or "" in names:
        yield f"variable {min(names - first.keys(), default='')!r} is not filled at first"
        return
    for name, operator, tensor in uses:
        same = tensor.shape == first[name].shape and tensor.kind == "INT8" and not tensor.data
        if not same or not _has(tensor, first[name].steps[0], first[name].zero_points[0]):
            yield f"{operator.name} of variable {name} has another shape, type or step than it begins with"


def _uses(graph: Subgraph) -> Iterator[tuple[str, Operator, Tensor]]:
    """Yield each reading and writing of a variable, with its name and the tensor that is read or written."""
    handles = {one.outputs[0]: str(one.options["variable"]) for one in graph.operators if one.name == "VAR_HANDLE"}
    for operator in graph.operators:
        if operator.name in ("READ_VARIABLE", "ASSIGN_VARIABLE"):
            other = operator.outputs[0] if operator.name == "READ_VARIABLE" else operator.inputs[1]
            yield handles.get(operator.inputs[0], ""), operator, graph.tensors[other]


def _shapes(graphs: tuple[Subgraph, ...]) -> Iterator[str]:
    """What an operator gives has the shape that follows from what it reads."""
    for graph in graphs:
        for operator in graph.operators:
            inputs = [graph.tensors[index] for index in operator.inputs if index != -1]
            outputs = [graph.tensors[index] for index in operator.outputs]
            rule = _SHAPE_RULES.get(operator.name)
            if rule and not rule(operator, inputs, outputs):
                given = ", ".join(str(list(tensor.shape)) for tensor in inputs)
                made = ", ".join(str(list(tensor.shape)) for tensor in outputs)
                yield f"{operator.name} cannot make {made} of {given}"


Rule = Callable[[Operator, list[Tensor], list[Tensor]], bool]


def _convolves(operator: Operator, inputs: list[Tensor], outputs: list[Tensor]) -> bool:
    source, weight, *bias = inputs
    (target,) = outputs
    if {len(source.shape), len(weight.shape), len(target.shape)} != {4} or weight.kind != "INT8" or not weight.data:
        return False
    depthwise = operator.name == "DEPTHWISE_CONV_2D"
    channels = weight.shape[3 if depthwise else 0]
    fits = weight.shape[0] == 1 and channels % source.shape[3] == 0 if depthwise else weight.shape[3] == source.shape[3]
    sizes = []
    for axis in (0, 1):
        stride, dilation = operator.options["strides"][axis], operator.options["dilations"][axis]
        size, reach = source.shape[1 + axis], (weight.shape[1 + axis] - 1) * dilation
        if stride < 1 or dilation < 1:
            return False
        sizes.append(-(-size // stride) if operator.options["same"] else (size - reach - 1) // stride + 1)
    return fits and _has_bias(bias, channels) and target.shape == (source.shape[0], *sizes, channels)


def _connects(operator: Operator, inputs: list[Tensor], outputs: list[Tensor]) -> bool:
    source, weight, *bias = inputs
    if len(weight.shape) != 2 or weight.kind != "INT8" or not weight.data:
        return False
    rows, left = divmod(source.elements, weight.shape[1])
    return not left and outputs[0].elements == rows * weight.shape[0] and _has_bias(bias, weight.shape[0])


def _has_bias(bias: list[Tensor], channels: int) -> bool:
    return all(one.kind == "INT32" and one.data and one.shape == (channels,) for one in bias)


def _joins(operator: Operator, inputs: list[Tensor], outputs: list[Tensor]) -> bool:
    target, axis = outputs[0].shape, operator.options["axis"]
    axis += len(target) if axis < 0 else 0
    if not 0 <= axis < len(target) or any(len(one.shape) != len(target) for one in inputs):
        return False
    others = {(*one.shape[:axis], *one.shape[axis + 1 :]) for one in (*inputs, outputs[0])}
    return len(others) == 1 and sum(one.shape[axis] for one in inputs) == target[axis]


def _keeps_all(operator: Operator, inputs: list[Tensor], outputs: list[Tensor]) -> bool:
    return sum(one.elements for one in outputs) == inputs[0].elements


def _takes_some(operator: Operator, inputs: list[Tensor], outputs: list[Tensor]) -> bool:
    bounds = inputs[1:]
    constant = all(one.kind == "INT32" and one.data and one.elements == len(inputs[0].shape) for one in bounds)
    return constant and outputs[0].elements <= inputs[0].elements


def _pads(operator: Operator, inputs: list[Tensor], outputs: list[Tensor]) -> bool:
    source, pads = inputs
    if pads.kind != "INT32" or not pads.data or pads.shape != (len(source.shape), 2):
        return False
    amounts = np.frombuffer(pads.data, "<i4").reshape(pads.shape)
    padded = np.asarray(source.shape) + amounts.sum(axis=1)
    return bool((amounts >= 0).all()) and outputs[0].shape == tuple(padded.tolist())


def _same_shape(operator: Operator, inputs: list[Tensor], outputs: list[Tensor]) -> bool:
    return all(one.elements in (outputs[0].elements, 1) for one in inputs) and inputs[0].kind != "RESOURCE"


_SHAPE_RULES: dict[str, Rule] = {
    "CONV_2D": _convolves,
    "DEPTHWISE_CONV_2D": _convolves,
    "FULLY_CONNECTED": _connects,
    "CONCATENATION": _joins,
    "RESHAPE": _keeps_all,
    "SPLIT_V": _keeps_all,
    "STRIDED_SLICE": _takes_some,
    "PAD": _pads,
    "ADD": _same_shape,
    "MUL": _same_shape,
    "LOGISTIC": _same_shape,
    "QUANTIZE": _same_shape,
}


def _scales(graphs: tuple[Subgraph, ...]) -> Iterator[str]:
    """Operators that only move numbers leave their step as it is, and a logistic function gives steps of 1/256."""
    for graph in graphs:
        for operator in graph.operators:
            inputs = [graph.tensors[index] for index in operator.inputs if index != -1]
            outputs = [graph.tensors[index] for index in operator.outputs]
            if operator.name in _MOVING:
                moved = [one for one in (*inputs, *outputs) if one.kind == "INT8"]
                if len({(one.steps, one.zero_points) for one in moved}) > 1:
                    yield f"{operator.name} changes the step of {moved[0].name}, which it only moves"
            elif operator.name == "LOGISTIC" and not _has(outputs[0], PROBABILITIES.step, PROBABILITIES.zero_point):
                yield f"LOGISTIC gives {_said(outputs[0])} instead of the step 1/256 and the zero point -128"
            elif operator.name in _WEIGHTED and any(inputs[1].zero_points):
                yield f"the weights of {operator.name} are not symmetric"


_MOVING = frozenset(("CONCATENATION", "RESHAPE", "STRIDED_SLICE", "SPLIT_V", "PAD"))
_WEIGHTED = frozenset(("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"))
