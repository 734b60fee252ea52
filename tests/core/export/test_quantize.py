import numpy as np
import onnx
import pytest
from sklearn.metrics import f1_score

from wakeword_core.config import ExportConfig
from wakeword_core.errors import DataError
from wakeword_core.export.onnx_graph import model_bytes
from wakeword_core.export.quantize import quantize_int8
from wakeword_core.runtime import WakewordModel

GENERATOR = np.random.default_rng(4)


def test_default_model_keeps_its_f1_at_a_third_of_the_size(trained_tcn, sweeps, tmp_path) -> None:
    _, folder = trained_tcn
    config = ExportConfig()
    summary = quantize_int8(folder / "model.onnx", sweeps(128, 0)[0], config, tmp_path)
    windows, labels = sweeps(400, 9)
    whole, small = (WakewordModel(path).score_windows(windows)[:, 1] for path in (folder, tmp_path))
    f1 = f1_score(labels, whole > 0.5)
    assert f1 > 0.75  # a model that learned nothing could lose nothing
    assert 0 < np.abs(whole - small).max() < 0.2
    assert f1_score(labels, small > 0.5) >= f1 - config.int8_max_f1_drop
    assert summary.within_limits and summary.ratio <= 0.35
    assert summary.ratio == model_bytes(tmp_path / "model.int8.onnx") / model_bytes(folder / "model.onnx")
    assert WakewordModel(tmp_path).card == WakewordModel(folder).card
    first = (tmp_path / "model.int8.onnx").read_bytes()
    quantize_int8(folder / "model.onnx", sweeps(128, 0)[0], config, tmp_path)
    assert (tmp_path / "model.int8.onnx").read_bytes() == first
    assert any(t.data_type == onnx.TensorProto.INT8 for t in onnx.load_from_string(first).graph.initializer)


def test_falls_back_to_packed_weights_when_static_loses_too_much(trained_tcn, sweeps, tmp_path) -> None:
    _, folder = trained_tcn
    windows = sweeps(64, 0)[0]
    static = quantize_int8(folder / "model.onnx", windows, ExportConfig(), tmp_path)
    assert static.method == "static"
    config = ExportConfig(int8_max_ratio=static.ratio - 1e-3)
    summary = quantize_int8(folder / "model.onnx", windows, config, tmp_path)
    assert summary.method == "weights"
    assert [one["method"] for one in summary.tried] == ["static", "weights"]
    assert summary.tried[0]["ratio"] == static.ratio
    assert summary.within_limits and summary.ratio <= config.int8_max_ratio


def test_one_sided_decisions_are_not_taken_for_agreement(trained_tcn, tmp_path) -> None:
    quiet = np.full((16, 64, 151), -13.0, np.float32) + GENERATOR.normal(0, 0.01, (16, 64, 151)).astype(np.float32)
    summary = quantize_int8(trained_tcn[1] / "model.onnx", quiet, ExportConfig(), tmp_path)
    assert summary.decision_f1 is None
    assert summary.within_limits == (summary.margin_error <= 0.01)


def test_no_windows_is_an_error(trained_tcn, tmp_path) -> None:
    with pytest.raises(DataError, match="calibration"):
        quantize_int8(trained_tcn[1] / "model.onnx", np.empty((0, 64, 151), np.float32), ExportConfig(), tmp_path)
