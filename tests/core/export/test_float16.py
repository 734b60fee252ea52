"""The model in float16."""

import numpy as np
import onnx
from onnx import TensorProto, helper

from wakeword_core.export.comparison import compare_with_fp32
from wakeword_core.export.float16 import convert_fp16
from wakeword_core.runtime import WakewordModel


def test_half_the_size_and_the_same_decisions(trained_tcn, sweeps, tmp_path, monkeypatch) -> None:
    windows, labels = sweeps(200, 9)
    monkeypatch.setattr(
        "wakeword_core.export.comparison.onnx_clip_scores",
        lambda path, features: (WakewordModel(path).score_windows(windows), labels),
    )
    folder = trained_tcn
    path = tmp_path / "model.fp16.onnx"
    convert_fp16(folder / "model.onnx", path)
    figures = compare_with_fp32(folder / "model.onnx", path, "fp16", tmp_path)
    assert figures["bytes"] == path.stat().st_size and 0.48 < figures["size_ratio"] < 0.55
    assert figures["f1_fp32"] > 0.75 and abs(figures["f1_fp32"] - figures["f1_fp16"]) < 0.01
    assert 0 < figures["mean_score_difference"] < 0.005
    assert figures["window_ms_fp32"] > 0 and figures["window_ms_fp16"] > 0
    model = onnx.load(path)
    assert model.ir_version == helper.find_min_ir_version_for(model.opset_import)
    ends = (*model.graph.input, *model.graph.output)
    assert {one.type.tensor_type.elem_type for one in ends} == {TensorProto.FLOAT}
    large = [one for one in model.graph.initializer if np.prod(one.dims) > 100]
    assert {one.data_type for one in large} == {TensorProto.FLOAT16}
    assert WakewordModel(path).card == WakewordModel(folder).card
    first = path.read_bytes()
    convert_fp16(folder / "model.onnx", path)
    assert path.read_bytes() == first
