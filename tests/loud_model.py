"""A small model to which loudness is the wake word, and sound for it."""

import json

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from wakeword_core.config import DetectorConfig, FrontendConfig

RATE = 16_000
FRONTEND = FrontendConfig(n_mels=16, window_frames=51)
WORD = "hey robin"


def save_model(
    folder,
    bias=2.0,
    threshold=0.6,
    labels=("_negative", WORD),
    rate=RATE,
    key="artifact-key",
    points=(),
    card=None,
    **detector,
):
    """A linear scorer: audio that is loud at the window's end is the wake word, less so with less bias.

    `points` are thresholds by the name of their operating point, and `card` says what the card says besides.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weight = np.linspace(-0.5, 1.0, 51, dtype=np.float32)[None].repeat(16, 0).ravel() / 120
    gemm = np.stack([-weight] + [weight] * (len(labels) - 1), 1)
    biases = np.array([-bias] + [bias] * (len(labels) - 1), np.float32)
    nodes = [
        helper.make_node("Flatten", ["log_mel"], ["f"]),
        helper.make_node("Gemm", ["f", "w", "b"], ["l"]),
        helper.make_node("Softmax", ["l"], ["scores"], axis=1),
    ]
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("log_mel", TensorProto.FLOAT, ["batch", 16, 51])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", len(labels)])],
        [numpy_helper.from_array(gemm, "w"), numpy_helper.from_array(biases, "b")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    whole = {
        "phrase": labels[1], "labels": labels, "sample_rate": rate, "frontend": FRONTEND.model_dump(mode="json"),
        "detector": DetectorConfig(lockout_seconds=0.3, **detector).model_dump(mode="json"), "threshold": threshold,
        "operating_points": {name: {"threshold": value} for name, value in dict(points).items()},
        "keys": {"onnx_model": key}, **(card or {}),
    }  # fmt: skip
    helper.set_model_props(model, {"wakeword": json.dumps(whole)})
    onnx.save(model, folder / "model.onnx")
    return folder


def loud_and_quiet(seconds=3.0, seed=0, rate=RATE, level=8_000.0):
    """Noise that is loud from the middle of each 1.5 s on for a quarter of a second: int16 [samples].

    At a level of 400 the sentry's highest score is 0.95, and that of a model of bias 1 is 0.79.
    """
    times = np.arange(round(seconds * rate)) / rate
    levels = np.where((times % 1.5 > 0.75) & (times % 1.5 < 1.0), level, level / 2_700)
    return (np.random.default_rng(seed).normal(0, 1, len(times)) * levels).clip(-32_768, 32_767).astype(np.int16)
