"""A linear model and sounds for it, for the tests of what runs models."""

import json

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from wakeword_core.config import DetectorConfig, FrontendConfig

FRONTEND = FrontendConfig(n_mels=16, window_frames=51)
CARD = {
    "phrase": "hey robin",
    "labels": ["_negative", "hey robin"],
    "sample_rate": 16_000,
    "frontend": FRONTEND.model_dump(mode="json"),
    "detector": DetectorConfig(lockout_seconds=0.3).model_dump(mode="json"),
    "threshold": 0.6,
    "operating_point": "balanced",
    "operating_points": {
        name: {"threshold": threshold, "target_fah": target}
        for name, threshold, target in (("strict", 0.95, 0.1), ("balanced", 0.6, 0.5), ("lenient", 0.3, 2.0))
    },
}


def save_model(path, card=CARD, key="wakeword", n_mels=16, scale=120):
    """A linear scorer whose weights favour the window's end: loud audio there is the wake word."""
    weight = np.linspace(-0.5, 1.0, 51, dtype=np.float32)[None].repeat(n_mels, 0).ravel() / scale
    gemm = np.stack([-weight, weight], 1)
    bias = np.array([-2.0, 2.0], np.float32)
    nodes = [
        helper.make_node("Flatten", ["log_mel"], ["f"]),
        helper.make_node("Gemm", ["f", "w", "b"], ["l"]),
        helper.make_node("Softmax", ["l"], ["scores"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("log_mel", TensorProto.FLOAT, ["batch", n_mels, 51])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(gemm, "w"), numpy_helper.from_array(bias, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    entry = model.metadata_props.add()
    entry.key, entry.value = key, card if isinstance(card, str) else json.dumps(card)
    onnx.save(model, path)
    return path


def edited(path, edit):
    """The same model after `edit` has changed it."""
    model = onnx.load(save_model(path))
    edit(model)
    onnx.save(model, path)
    return path


def bursts(seconds: float, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    count = round(seconds * 16_000)
    level = np.repeat(generator.choice([3.0, 8_000.0], size=count // 4_000 + 1), 4_000)[:count]
    return (generator.normal(0, 1, count) * level).clip(-32_768, 32_767).astype(np.int16)
