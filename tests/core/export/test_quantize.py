"""INT8 candidates, and which of them is kept."""

import math

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from sklearn.metrics import f1_score

from wakeword_core.config.export import Int8Config
from wakeword_core.errors import DataError
from wakeword_core.export import int8 as module
from wakeword_core.export.int8 import CALIBRATIONS, Candidate, LabelledWindows, quantize_int8
from wakeword_core.export.onnx_graph import take_metadata, write_model
from wakeword_core.runtime import WakewordModel

GENERATOR = np.random.default_rng(4)
BANDS, FRAMES, UNITS = 16, 20, 24


@pytest.fixture(scope="module")
def held(sweeps) -> LabelledWindows:
    windows, labels = sweeps(200, 3)
    return LabelledWindows(windows.astype(np.float16), labels > 0, 0.5)


@pytest.fixture(scope="module")
def quantized(trained_tcn, sweeps, held, tmp_path_factory):
    """(folder of fp32, summary, folder of INT8) with the default limits."""
    out = tmp_path_factory.mktemp("int8")
    summary = quantize_int8(trained_tcn / "model.onnx", sweeps(96, 0)[0], held, Int8Config(), out)
    return trained_tcn, summary, out


def candidate(method="static", loss=0.0, error=0.01, within=True) -> Candidate:
    return Candidate(method, "", 1, 0.1, 0.9, 0, error, loss, within)


def best(*candidates: Candidate) -> Candidate:
    return min(candidates, key=module._rank)


def test_default_model_keeps_its_f1_at_a_third_of_the_size(quantized, sweeps) -> None:
    folder, summary, out = quantized
    windows, labels = sweeps(400, 9)
    whole, small = (WakewordModel(path).score_windows(windows)[:, 1] for path in (folder, out))
    f1 = f1_score(labels, whole > 0.5)
    assert f1 > 0.75  # a model that learned nothing could lose nothing
    assert 0 < np.abs(whole - small).max() < 0.2
    assert f1_score(labels, small > 0.5) >= f1 - Int8Config().max_f1_drop
    kept = summary.kept
    assert kept.within_limits and kept.method == "static"
    assert kept.ratio == (out / "model.int8.onnx").stat().st_size / (folder / "model.onnx").stat().st_size <= 0.35
    assert WakewordModel(out).card == WakewordModel(folder).card
    constants = onnx.load(out / "model.int8.onnx").graph.initializer
    assert any(one.data_type == TensorProto.INT8 for one in constants)


def test_every_calibration_is_tried_and_the_figures_are_of_validation(quantized, held) -> None:
    folder, summary, out = quantized
    assert [(one["method"], one["calibration"]) for one in summary.tried] == [
        *(("static", calibration) for calibration in CALIBRATIONS), ("weights", ""),
    ]  # fmt: skip
    errors = [one["margin_error"] for one in summary.tried]
    assert len(set(errors)) == len(errors)  # calibrations that do nothing would agree
    whole, small = (WakewordModel(path).score_windows(held.windows)[:, 1] >= 0.5 for path in (folder, out))
    assert summary.val_f1_fp32 == pytest.approx(f1_score(held.words, whole))
    assert summary.kept.val_f1 == pytest.approx(f1_score(held.words, small))
    assert summary.kept.changed == (whole != small).sum()
    static = [one for one in summary.tried if one["method"] == "static" and one["within_limits"]]
    assert max(summary.kept.loss, 0) == min(max(one["loss"], 0) for one in static)


def test_the_same_bytes_again_and_packed_weights_where_static_is_too_large(quantized, sweeps, held, tmp_path) -> None:
    folder, first, out = quantized
    config = Int8Config(max_ratio=min(one["ratio"] for one in first.tried[:-1]) - 1e-3)
    summary = quantize_int8(folder / "model.onnx", sweeps(96, 0)[0], held, config, tmp_path)
    assert summary.kept.method == "weights" and summary.kept.within_limits
    assert [one["bytes"] for one in summary.tried] == [one["bytes"] for one in first.tried]
    kept = module.quantize(folder / "model.onnx", sweeps(96, 0)[0], first.kept.calibration, dynamic=False)
    write_model(take_metadata(kept, onnx.load(folder / "model.onnx")), tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == (out / "model.int8.onnx").read_bytes()


def test_of_a_network_that_was_trained_for_it_what_it_gains_counts() -> None:
    """Else roundings that lose nothing are alike, and the nearest to fp32 is kept."""
    taught, static = candidate("trained", loss=-0.02, error=0.2), candidate("static", loss=-0.01, error=0.01)
    assert min(taught, static, key=lambda one: module._rank(one, -math.inf)).method == "trained"
    level = candidate("trained", loss=-0.01, error=0.2)
    assert min(level, static, key=lambda one: module._rank(one, -math.inf)).method == "static"
    assert best(taught, static).method == "static"


def test_the_rule() -> None:
    assert best(candidate(loss=0.01), candidate(loss=0.001)).loss == 0.001
    assert best(candidate(loss=0.0, error=0.02), candidate(loss=-0.01, error=0.01)).margin_error == 0.01  # no loss
    assert best(candidate(error=0.02), candidate("weights", error=0.01)).method == "static"
    assert best(candidate(within=False), candidate("weights", loss=0.01)).method == "weights"
    assert best(candidate("dynamic"), candidate("static")).method == "static"  # as good, and simpler
    assert best(candidate(within=False, loss=0.2), candidate("weights", within=False, loss=0.1)).method == "weights"


def test_one_sided_decisions_are_not_taken_for_agreement(trained_tcn, tmp_path, monkeypatch) -> None:
    quiet = np.full((16, 64, 151), -13.0, np.float32) + GENERATOR.normal(0, 0.01, (16, 64, 151)).astype(np.float32)
    monkeypatch.setattr(module, "CALIBRATIONS", ("minmax",))
    nothing = LabelledWindows(quiet, np.zeros(16, bool), 0.999)
    summary = quantize_int8(trained_tcn / "model.onnx", quiet, nothing, Int8Config(), tmp_path)
    assert all(one["loss"] == one["margin_error"] for one in summary.tried)
    assert all(not one["within_limits"] for one in summary.tried if one["margin_error"] > 0.01)


def test_no_windows_is_an_error(trained_tcn, held, tmp_path) -> None:
    empty = np.empty((0, 64, 151), np.float32)
    with pytest.raises(DataError, match="calibration"):
        quantize_int8(trained_tcn / "model.onnx", empty, held, Int8Config(), tmp_path)


def recurrent(cell: str, folder):
    """A recurrent layer and a linear one, which is large."""
    gates = {"GRU": 3, "LSTM": 4}[cell]
    shapes = {"w": (1, gates * UNITS, BANDS), "r": (1, gates * UNITS, UNITS), "c": (UNITS * FRAMES, 2)}
    constants = {name: GENERATOR.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}
    constants["one"] = np.asarray([1])
    nodes = [
        helper.make_node("Transpose", ["log_mel"], ["steps"], perm=[2, 0, 1]),
        helper.make_node(cell, ["steps", "w", "r"], ["states"], hidden_size=UNITS),
        helper.make_node("Squeeze", ["states", "one"], ["rows"]),
        helper.make_node("Transpose", ["rows"], ["batched"], perm=[1, 0, 2]),
        helper.make_node("Flatten", ["batched"], ["flat"]),
        helper.make_node("MatMul", ["flat", "c"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("log_mel", TensorProto.FLOAT, ["batch", BANDS, FRAMES])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    write_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), folder / "m.onnx")
    return folder / "m.onnx"


@pytest.mark.parametrize(("cell", "kept"), [("LSTM", "dynamic"), ("GRU", "weights")])
def test_recurrent_layers_are_quantized_dynamically_where_onnxruntime_can(cell, kept, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(module, "CALIBRATIONS", ("minmax",))
    path, windows = recurrent(cell, tmp_path), GENERATOR.normal(0, 1, (64, BANDS, FRAMES)).astype(np.float32)
    words = module.softmax_inputs(path, windows) @ [-1, 1] > 0
    config = Int8Config(max_ratio=0.6, max_f1_drop=0.1)  # the graph itself is a part of so small a file
    summary = quantize_int8(path, windows, LabelledWindows(windows, words, 0.5), config, tmp_path)
    assert summary.val_f1_fp32 == 1.0
    assert summary.kept.method == kept and summary.kept.within_limits
    operators = {node.op_type for node in onnx.load(tmp_path / "model.int8.onnx").graph.node}
    assert ("DynamicQuantizeLSTM" in operators) == (cell == "LSTM")
    assert summary.tried[0]["method"] == "static" and summary.tried[0]["ratio"] > 0.6  # the layer left in float32
