"""A network that needs its window whole, on a stream: a ring buffer of features, and a window every few frames."""

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from wakeword_core.config import FrontendConfig
from wakeword_core.export.stream_graph import StreamGraph
from wakeword_core.runtime.streaming_model import NEXT

WAIT = "frames_to_wait"
"""State: frames that come before the last one of the next window."""
_RING, _HELD = "frames", "held_scores"
_PREFIX = "clip_"


def add_windows(
    graph: StreamGraph, clip: ModelProto, features: str, frontend: FrontendConfig, stride: int, classes: int
) -> str:
    """Features [n, bands] -> scores [n, classes] of the newest window; there is one every `stride` frames."""
    reach = frontend.window_frames - 1
    frames = graph.add("Transpose", graph.add("Unsqueeze", features, graph.integers(0)), perm=[0, 2, 1])
    buffer = graph.remembering(_RING, frames, (1, frontend.bands, reach))
    waiting = graph.add("Squeeze", graph.state(WAIT, (1,), TensorProto.INT64), graph.integers(0))
    count = graph.add("Squeeze", graph.sliced(graph.add("Shape", features), (0,), (1,)), graph.integers(0))
    zero, one, every = (graph.constant(np.asarray(value, np.int64)) for value in (0, 1, stride))
    # frame j is past the ends of (j - waiting + stride) // stride new windows
    ahead = graph.add("Sub", every, waiting)
    passed = graph.add("Div", graph.add("Add", graph.add("Range", zero, count, one), ahead), every)
    windows = graph.add("Gather", passed, graph.integers(-1), axis=0)
    left = graph.add("Sub", graph.add("Add", waiting, graph.add("Mul", windows, every)), count)
    graph.add("Reshape", left, graph.integers(1), to=NEXT + WAIT)

    ends = graph.add("Unsqueeze", graph.add("Range", waiting, count, every), graph.integers(1))
    places = graph.add("Add", ends, graph.constant(np.arange(reach + 1, dtype=np.int64)))
    held = graph.state(_HELD, (1, classes))
    none = graph.add("Equal", windows, graph.integers(0))
    new = graph.add(
        "If",
        none,
        then_branch=_no_scores(classes),
        else_branch=_scores(clip, buffer, places, frontend),
    )
    scores = graph.add("Concat", held, new, axis=0)
    graph.sliced(scores, (-1,), to=NEXT + _HELD)
    return graph.add("Gather", scores, passed, axis=0)


def _no_scores(classes: int) -> GraphProto:
    return _branch([], [numpy_helper.from_array(np.empty((0, classes), np.float32), "no_scores")], "no_scores")


def _scores(clip: ModelProto, buffer: str, frames: str, frontend: FrontendConfig) -> GraphProto:
    """Gather windows [k, bands, frames] from the buffer and give them to the network, whose names get a prefix."""
    source = _PREFIX + clip.graph.input[0].name
    nodes = [
        helper.make_node("Gather", [buffer, "first"], ["ring"], axis=0),
        helper.make_node("Gather", ["ring", frames], ["gathered"], axis=1),
        helper.make_node("Transpose", ["gathered"], ["heard"], perm=[1, 0, 2]),
    ]
    constants = [numpy_helper.from_array(np.asarray(0, np.int64), "first")]
    if frontend.kind == "mel_db":
        constants.append(numpy_helper.from_array(np.asarray([1, 2], np.int64), "both"))
        constants.append(numpy_helper.from_array(np.asarray(frontend.top_db, np.float32), "range"))
        nodes.append(helper.make_node("ReduceMax", ["heard", "both"], ["loudest"], keepdims=1))
        nodes.append(helper.make_node("Sub", ["loudest", "range"], ["quietest"]))
        nodes.append(helper.make_node("Max", ["heard", "quietest"], [source]))
    else:
        nodes.append(helper.make_node("Identity", ["heard"], [source]))
    for node in clip.graph.node:
        renamed = NodeProto.FromString(node.SerializeToString())
        renamed.input[:] = [name and _PREFIX + name for name in node.input]
        renamed.output[:] = [name and _PREFIX + name for name in node.output]
        nodes.append(renamed)
    for tensor in clip.graph.initializer:
        renamed_tensor = TensorProto.FromString(tensor.SerializeToString())
        renamed_tensor.name = _PREFIX + tensor.name
        constants.append(renamed_tensor)
    return _branch(nodes, constants, _PREFIX + clip.graph.output[0].name)


def _branch(nodes: list[NodeProto], constants: list[TensorProto], output: str) -> GraphProto:
    scores = helper.make_tensor_value_info(output, TensorProto.FLOAT, (None, None))
    return helper.make_graph(nodes, output, [], [scores], constants)
