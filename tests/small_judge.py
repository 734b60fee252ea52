"""A judge for a small model, to which loudness is the wake word."""

import json

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WINDOW = 8_000
JUDGE = {"window_samples": WINDOW, "step_seconds": 0.08, "gate": 0.3, "hangover_seconds": 0.2}
POINTS = {"balanced": {"threshold": 0.7, "target_fah": 0.5}}


def save_judge(path, model, **changes):
    """A judge that is the surer the louder the end of its window is."""
    asked = {**JUDGE, "made_for": model.graph_digest}
    card = {**model.card, "threshold": 0.7, "operating_points": POINTS, "judge": asked}
    card["judge"] |= changes.pop("judge", {})
    card |= changes
    weight = np.r_[np.zeros(WINDOW - 1_000, np.float32), np.full(1_000, 0.05, np.float32)][:, None]
    nodes = [
        helper.make_node("Abs", ["audio"], ["loud"]),
        helper.make_node("Gemm", ["loud", "w", "b"], ["odds"]),
        helper.make_node("Sigmoid", ["odds"], ["word"]),
        helper.make_node("Sub", ["one", "word"], ["other"]),
        helper.make_node("Concat", ["other", "word"], ["scores"], axis=1),
    ]
    weights = {"w": weight, "b": np.array([-3.0], np.float32), "one": np.ones(1, np.float32)}
    graph = helper.make_graph(
        nodes,
        "judge",
        [helper.make_tensor_value_info("audio", TensorProto.FLOAT, ["batch", WINDOW])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    file = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    entry = file.metadata_props.add()
    entry.key, entry.value = "wakeword", json.dumps(card)
    onnx.save(file, path)
    return path
