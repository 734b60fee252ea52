"""What the tests of the benchmarks share. These are scripts that import each other, so their folder is on the path."""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from wakeword_core.config import Config, DetectorConfig, FrontendConfig

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

RATE = 16_000
FRONTEND = FrontendConfig(n_mels=16, window_frames=51)
RULES = DetectorConfig(lockout_seconds=0.7, votes=2, smoothing=3, hold=2)
WITHOUT = "needs the bench extra: pip install -e '.[bench]'"


def save_model(path, phrase="alexa", rate=RATE, labels=("_negative", "alexa"), keys=None):
    """A linear scorer whose weights favour the window's end: loud audio there is the wake word."""
    weight = np.linspace(-0.5, 1.0, 51, dtype=np.float32)[None].repeat(16, 0).ravel() / 120
    gemm = np.stack([-weight, *[weight] * (len(labels) - 1)], 1)
    nodes = [
        helper.make_node("Flatten", ["log_mel"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["l"]),
        helper.make_node("Softmax", ["l"], ["scores"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("log_mel", TensorProto.FLOAT, ["batch", 16, 51])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", len(labels)])],
        [numpy_helper.from_array(gemm, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    entry = model.metadata_props.add()
    card = {
        "phrase": phrase,
        "labels": labels,
        "sample_rate": rate,
        "frontend": FRONTEND.model_dump(mode="json"),
        "detector": RULES.model_dump(mode="json"),
        "threshold": 0.6,
        "operating_points": {},
        "keys": keys or {},
    }
    entry.key, entry.value = "wakeword", json.dumps(card)
    onnx.save(model, path)
    return path


def noise(seconds, seed=0, level=300.0):
    return np.random.default_rng(seed).normal(0, level, round(seconds * RATE)).astype(np.int16)


@pytest.fixture(scope="session")
def write_model():
    """Write a small model in this project's form to a path."""
    return save_model


@pytest.fixture(scope="session")
def make_noise():
    """White noise int16 [samples] of some seconds, seed and level."""
    return noise


@pytest.fixture(scope="session")
def rules():
    """The detector of the small model."""
    return RULES


@pytest.fixture(scope="session")
def frontend():
    """The front end of the small model."""
    return FRONTEND


@pytest.fixture(scope="session")
def adapters(tmp_path_factory):
    """Every engine by name, ours with the small model."""
    pytest.importorskip("pymicro_wakeword", reason=WITHOUT)
    pytest.importorskip("pyopen_wakeword", reason=WITHOUT)
    from peer_engines import engines

    path = save_model(tmp_path_factory.mktemp("model") / "model.onnx")
    return {one.name: one for one in engines(path, Config(phrase="alexa"))}
