"""The builder of ONNX graphs that stream, and what every such graph has: the front end, or windows of a ring buffer."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, helper, numpy_helper

from wakeword_core.config import FrontendConfig
from wakeword_core.export.onnx_graph import constant
from wakeword_core.features.mel import DECIBELS, analysis_window, cepstral_basis, mel_filterbank
from wakeword_core.runtime.streaming import NEXT, TAIL

_TO_END = np.iinfo(np.int64).max
WAIT = "frames_to_wait"
"""State: frames that come before the last one of the next window."""
_RING, _LAST_SCORES = "frames", "held_scores"
_PREFIX = "clip_"

Shaped = tuple[str, tuple[int | str, ...]]
"""Name and shape of a tensor of float32; sizes that may change have names."""


@dataclass
class StreamGraph:
    """A graph under construction, with states that each run takes in and gives out anew.

    `states` are shapes and types by name, in the order in which they are given.
    """

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
        """Add a constant int64 [n]; returns its name."""
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
        """Add `tensor[start:end:step]` along each of `axes`; returns its name."""
        open_end = _TO_END if step > 0 else -_TO_END
        bounds = [starts, [open_end if end is None else end for end in ends], axes]
        if step != 1:
            bounds.append([step] * len(axes))
        return self.add("Slice", tensor, *(self.integers(*values) for values in bounds), to=to)

    def remembering(
        self, name: str, tensor: str, shape: tuple[int, ...], kind: int = TensorProto.FLOAT, axis: int = -1
    ) -> str:
        """Add `tensor` with what came before it in front, along an axis (the last): state `name` of `shape`."""
        if not shape[axis]:
            return tensor
        axis %= len(shape)
        whole = self.add("Concat", self.state(name, shape, kind), tensor, axis=axis)
        self.sliced(whole, (-shape[axis],), axes=(axis,), to=NEXT + name)
        return whole

    def model(self, source: Shaped, scores: Shaped, opsets: Sequence[OperatorSetIdProto]) -> ModelProto:
        """Return the model, of these sets of operators: `source` and the states in, `scores` and the states out."""
        states = [(name, kind, shape) for name, (shape, kind) in self.states.items()]
        new_states = [(NEXT + name, kind, shape) for name, kind, shape in states]
        inputs = [(source[0], TensorProto.FLOAT, source[1]), *states]
        outputs = [(scores[0], TensorProto.FLOAT, scores[1]), *new_states]
        graph = helper.make_graph(
            self.nodes,
            "stream",
            [helper.make_tensor_value_info(*described) for described in inputs],
            [helper.make_tensor_value_info(*described) for described in outputs],
            value_info=[helper.make_tensor_value_info(name, *shape) for name, shape in self.shapes.items()],
        )
        lowest = helper.find_min_ir_version_for(opsets, ignore_unknown=True)
        model = helper.make_model(graph, opset_imports=opsets, ir_version=lowest)
        for name, values in self.constants.items():
            constant(model, name, values)
        return model


def add_front_end(graph: StreamGraph, audio: str, frontend: FrontendConfig, sample_rate: int) -> str:
    """Add nodes from audio [n * hop_length] in [-1, 1] to features [n, bands]; frame i ends where hop i does.

    Decibels are not clamped, as by `NumpyFrontend`.
    """
    filters = mel_filterbank(frontend, sample_rate)
    squares, weights = add_power(graph, audio, frontend.hop_length, analysis_window(frontend), filters)
    return _compressed(graph, squares, weights, frontend)


def add_power(graph: StreamGraph, audio: str, hop: int, window: np.ndarray, filters: np.ndarray) -> tuple[str, str]:
    """Add nodes from audio [n * hop] to squares [n, parts] and weights [parts, bands], whose product is the power.

    `window` is [n_fft] and symmetric where it is not 0, `filters` [bands, n_fft / 2 + 1]. The Fourier transform is a
    product of matrices: for the few frames of a chunk that is the fastest exact way in onnxruntime (its own STFT takes
    three times as long, a convolution twice). Nodes that depend on nothing but constants make the matrices, which a
    runtime computes once when it loads the model; stored whole they would be half a megabyte.
    """
    covered, bins = np.flatnonzero(window), np.flatnonzero(filters.any(axis=0))
    first, last = int(covered[0]), int(covered[-1]) + 1
    frames = _frames(graph, audio, hop, len(window), first, last)
    spectrum = _spectrum(graph, frames, window[first:last], bins, len(window))
    return graph.add("Mul", spectrum, spectrum), _filters(graph, filters[:, bins])


def _spectrum(graph: StreamGraph, frames: str, window: np.ndarray, bins: np.ndarray, n_fft: int) -> str:
    """Compute cosines, then sines, of the bins: [n, 2 * bins]. Phases are those about the middle of the window.

    A Hann window is symmetric, and so are cosines; sines are the opposite of that. So what lies as far before the
    middle as behind it is added (subtracted) first, which leaves half of the products.
    """
    half = -(-len(window) // 2)
    before = graph.sliced(frames, (half - 1,), (None,), axes=(1,), step=-1)
    behind = graph.sliced(frames, (len(window) - half,), (None,), axes=(1,))
    # where there is no sample in the middle, distances are in halves of one; the one there is counts twice
    even = 1 - len(window) % 2
    distances, period = (1 + even) * np.arange(half, dtype=np.int64)[:, None] + even, (1 + even) * n_fft
    weights = graph.constant(window[len(window) - half :, None] * np.where(distances == 0, 0.5, 1.0).astype(np.float32))
    products = graph.add("Mul", graph.constant(distances), graph.constant(bins.astype(np.int64)))
    steps = graph.add("Mod", products, graph.integers(period))
    angles = 2.0 * np.pi / period * np.arange(period)
    parts = []
    for combine, wave in (("Add", np.cos), ("Sub", np.sin)):
        waves = graph.add("Gather", graph.constant(wave(angles).astype(np.float32)), steps)
        parts.append(graph.add("MatMul", graph.add(combine, behind, before), graph.add("Mul", waves, weights)))
    return graph.add("Concat", *parts, axis=1)


def _filters(graph: StreamGraph, filters: np.ndarray) -> str:
    places = np.argwhere(filters.T > 0.0)
    empty = graph.add("ConstantOfShape", graph.integers(*filters.T.shape))
    weights = graph.constant(filters.T[filters.T > 0.0])
    once = graph.add("ScatterND", empty, graph.constant(places.astype(np.int64)), weights)
    return graph.add("Concat", once, once, axis=0)


def _frames(graph: StreamGraph, audio: str, hop: int, n_fft: int, first: int, last: int) -> str:
    """Put samples `first` to `last` of each frame together from rows of one hop: [n, last - first]."""
    tail, rows = max(n_fft - hop, 0), -(-n_fft // hop)
    lacking = (rows - 1) * hop - tail
    pieces = [audio] + ([graph.constant(np.zeros(lacking, np.float32))] if lacking else [])
    if tail:
        pieces.insert(0, graph.state(TAIL, (tail,)))
    whole = graph.add("Concat", *pieces, axis=0)
    if tail:
        graph.sliced(whole, (-tail - lacking,), (-lacking or None,), to=NEXT + TAIL)
    table = graph.add("Reshape", whole, graph.integers(-1, hop))
    parts = []
    for row in range(rows):
        start, end = max(first - row * hop, 0), min(last - row * hop, hop)
        if start < end:
            parts.append(graph.sliced(table, (row, start), (row - rows + 1 or None, end), axes=(0, 1)))
    return graph.add("Concat", *parts, axis=1)


def _compressed(graph: StreamGraph, squares: str, filters: str, frontend: FrontendConfig) -> str:
    floor = graph.constant(np.asarray(frontend.log_floor, np.float32))
    if frontend.kind == "mel_db":
        logs = graph.add("Log", graph.add("Max", graph.add("Gemm", squares, filters), floor))
        return graph.add("Mul", logs, graph.constant(np.asarray(DECIBELS, np.float32)))
    logs = graph.add("Log", graph.add("Gemm", squares, filters, floor))
    return graph.add("MatMul", logs, graph.constant(cepstral_basis(frontend))) if frontend.kind == "mfcc" else logs


def add_windows(
    graph: StreamGraph, clip: ModelProto, features: str, frontend: FrontendConfig, stride: int, classes: int
) -> str:
    """Add nodes from features [n, bands] to scores [n, classes] of the newest window: one each `stride` frames."""
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
    last_scores = graph.state(_LAST_SCORES, (1, classes))
    none = graph.add("Equal", windows, graph.integers(0))
    new = graph.add("If", none, then_branch=_no_scores(classes), else_branch=_scores(clip, buffer, places, frontend))
    scores = graph.add("Concat", last_scores, new, axis=0)
    graph.sliced(scores, (-1,), to=NEXT + _LAST_SCORES)
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
