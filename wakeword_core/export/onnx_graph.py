"""Small and reproducible ONNX files: what a graph does not need is removed, what it repeats is shared."""

import string
import sys
from collections import Counter
from itertools import chain, count, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from wakeword_core.files import canonical_json, replacing
from wakeword_core.runtime.exported import CARD_KEY, seal
from wakeword_core.runtime.onnx_file import parse_onnx, read_onnx

if TYPE_CHECKING:
    import onnx_ir

_BATCH_NORM_EPSILON = 1e-5
"""Default of the operator; with it the attribute itself is not stored."""


def initializers(model: ModelProto) -> dict[str, TensorProto]:
    """Return the graph's constants by name."""
    return {tensor.name: tensor for tensor in model.graph.initializer}


def attributes(node: NodeProto) -> dict[str, Any]:
    """Return the values of a node's attributes by name, those that it leaves to their defaults not among them."""
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def load_model(path: Path) -> ModelProto:
    """Read an exported model; ArtifactError for a file that none of ours is."""
    return onnx.load_model_from_string(read_onnx(path).data)


def open_session(model: ModelProto, *, optimised: bool = True) -> Any:
    """Open a session of onnxruntime on the CPU; without `optimised` it runs the graph node by node as it is."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def constant(model: ModelProto, name: str, values: np.ndarray) -> str:
    """Add a constant to the graph, in the shorter of the encodings that ONNX allows, and return its name."""
    tensor = numpy_helper.from_array(values, name)
    if values.dtype == np.int64:
        packed = helper.make_tensor(name, TensorProto.INT64, values.shape, values.ravel().tolist())
        tensor = min(tensor, packed, key=TensorProto.ByteSize)
    model.graph.initializer.append(tensor)
    return name


def set_card(model: ModelProto, card: dict[str, Any]) -> None:
    """Store the model card in `metadata_props`, replacing what was there."""
    del model.metadata_props[:]
    entry = model.metadata_props.add()
    entry.key, entry.value = CARD_KEY, canonical_json(card)


def take_metadata(model: ModelProto, original: ModelProto) -> ModelProto:
    """Give a model that was made from another the metadata of that one, in place of its own; returns it."""
    del model.metadata_props[:]
    model.metadata_props.extend(original.metadata_props)
    return model


def write_model(model: ModelProto, out: Path) -> int:
    """Check and seal the model, write it as one file that appears whole, and return its bytes.

    Equal models give equal files. The version of the format is the lowest that the operators allow: an older runtime
    refuses a file for a higher one alone.
    """
    lowest = helper.find_min_ir_version_for(model.opset_import, ignore_unknown=True)
    model.ir_version = min(model.ir_version, lowest)
    seal(model)
    onnx.checker.check_model(model, full_check=True)
    data = model.SerializeToString(deterministic=True)
    parse_onnx(data, out)  # what is written can be read
    with replacing(out) as part:
        part.write_bytes(data)
    return len(data)


def softmax_inputs(path: Path, windows: npt.NDArray[np.floating], batch: int = 64) -> npt.NDArray[np.float32]:
    """Return what enters the model's softmax (calibrated logits) for log-mel windows: [n, classes]."""
    model = load_model(path)
    scores = model.graph.output[0].name  # attention has softmaxes of its own
    name = next(node.input[0] for node in model.graph.node if node.op_type == "Softmax" and scores in node.output)
    model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    session = open_session(model)
    source = model.graph.input[0].name
    pieces = [windows[start : start + batch] for start in range(0, len(windows), batch)]
    return np.concatenate([session.run([name], {source: piece.astype(np.float32, copy=False)})[0] for piece in pieces])


def compact(model: ModelProto, *, shapes: bool = False) -> ModelProto:
    """Return the same function in fewer bytes: no notes, defaults or duplicates; inputs and outputs keep their names.

    What is stated of the shapes of tensors in between goes, too, unless `shapes` is set. Equal models give equal bytes.
    """
    import onnx_ir
    from onnx_ir.passes import common

    ir_model = onnx_ir.from_proto(model)
    common.LiftConstantsToInitializersPass(size_limit=0)(ir_model)
    _fold_batch_norms(ir_model.graph)
    onnx_ir.passes.Sequential(
        common.DeduplicateInitializersPass(size_limit=sys.maxsize),
        common.ClearMetadataAndDocStringPass(),
        common.RemoveUnusedOpsetsPass(),
    )(ir_model)
    small = onnx_ir.to_proto(ir_model)
    del small.graph.value_info[:]
    if shapes:
        small.graph.value_info.extend(model.graph.value_info)
    _strip_names(small)
    _drop_default_attributes(small)
    _encode_constants(small)
    _shorten_names(small)
    return small


def _fold_batch_norms(graph: "onnx_ir.Graph") -> None:
    """Fold mean and variance of a normalisation into its scale and shift, so that all of them share one 0 and one 1."""
    import onnx_ir

    for node in graph:
        if node.op_type != "BatchNormalization":
            continue
        parameters = [value.const_value for value in node.inputs[1:] if value is not None]
        constants = [tensor.numpy().astype(np.float64) for tensor in parameters if tensor is not None]
        if len(constants) < len(parameters):
            continue
        epsilon = node.attributes.get_float("epsilon", _BATCH_NORM_EPSILON)
        scale, shift, mean, variance = constants
        scale = scale / np.sqrt(variance + epsilon)
        folded = (scale, shift - mean * scale, np.zeros_like(mean), np.full_like(variance, 1.0 - _BATCH_NORM_EPSILON))
        for place, values in enumerate(folded, start=1):
            name = f"{node.outputs[0].name}_{place}"
            value = onnx_ir.Value(name=name, const_value=onnx_ir.tensor(values.astype(np.float32), name=name))
            graph.register_initializer(value)
            node.replace_input_with(place, value)
        node.attributes.clear()


def _strip_names(model: ModelProto) -> None:
    """Remove names and notes that no run needs, and replace what is said of the model's producer by one name."""
    graph = model.graph
    graph.name = "g"
    for field in ("producer_version", "domain", "doc_string"):
        model.ClearField(field)
    model.producer_name = CARD_KEY
    for node in graph.node:
        node.ClearField("name")
    for value in (*graph.input, *graph.output):
        value.ClearField("doc_string")
        del value.metadata_props[:]


def _drop_default_attributes(model: ModelProto) -> None:
    versions = {entry.domain: entry.version for entry in model.opset_import}
    known = initializers(model)
    for node in model.graph.node:
        for attribute in list(node.attribute):
            if _is_default(node, attribute, versions[node.domain], known):
                node.attribute.remove(attribute)
            else:
                attribute.ClearField("doc_string")


def _is_default(node: NodeProto, attribute: AttributeProto, version: int, known: dict[str, TensorProto]) -> bool:
    value = helper.get_attribute_value(attribute)
    if node.op_type == "Conv":
        neutral = {"dilations": 1, "strides": 1, "pads": 0}
        if attribute.name in neutral:
            return all(number == neutral[attribute.name] for number in value)
        if attribute.name == "kernel_shape":
            return node.input[1] in known
    if node.op_type == "Reshape" and attribute.name == "allowzero" and node.input[1] in known:
        return bool(np.all(numpy_helper.to_array(known[node.input[1]]) != 0))
    if not onnx.defs.has(node.op_type, version, node.domain):
        return False
    schema = onnx.defs.get_schema(node.op_type, version, node.domain).attributes.get(attribute.name)
    if schema is None or schema.default_value.type == AttributeProto.UNDEFINED:
        return False
    return bool(helper.get_attribute_value(schema.default_value) == value)


def _encode_constants(model: ModelProto) -> None:
    """Store constants anew, in the shorter encoding and in the order of their use, without those that are not used."""
    known = initializers(model)
    used = dict.fromkeys(name for node in model.graph.node for name in node.input if name in known)
    del model.graph.initializer[:]
    for name in used:
        constant(model, name, numpy_helper.to_array(known[name]))


def _shorten_names(model: ModelProto) -> None:
    graph = model.graph
    fixed = {value.name for value in (*graph.input, *graph.output)} | {""}
    uses = Counter(name for node in graph.node for name in (*node.input, *node.output) if name not in fixed)
    letters = (product(string.ascii_letters, repeat=length) for length in count(1))
    unused = (name for name in map("".join, chain.from_iterable(letters)) if name not in fixed)
    short = {name: next(unused) for name, _ in uses.most_common()}
    for node in graph.node:
        node.input[:] = [short.get(name, name) for name in node.input]
        node.output[:] = [short.get(name, name) for name in node.output]
    for named in (*graph.initializer, *graph.value_info):
        named.name = short[named.name]
