import copy
import json
import os
import shutil
import subprocess

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper

from wakeword_core.config.export import OnnxConfig
from wakeword_core.errors import WakewordError
from wakeword_core.evaluation.measure.calibration import calibrated, fit_calibration
from wakeword_core.export.cost import cpu_ms_per_second, needs, problems
from wakeword_core.export.int8 import quantize
from wakeword_core.export.onnx_export import export_onnx, logit_parity, parity
from wakeword_core.export.onnx_graph import compact, take_metadata, write_model
from wakeword_core.export.pack import pack_weights
from wakeword_core.export.streaming import export_streaming
from wakeword_core.runtime import WakewordModel
from wakeword_core.runtime.exported import SEAL_KEY, check_seal

WINDOWS = np.random.default_rng(3).normal(-6.0, 2.0, (24, 64, 151)).astype(np.float32)


def test_scores_and_logits_equal_torch_where_scores_are_not_saturated(exported) -> None:
    _, model, _, summary, folder = exported
    scores = WakewordModel(folder).score_windows(WINDOWS)
    # a saturated or constant model would pass any comparison
    assert scores[:, 1].std() > 0.05
    assert ((scores > 1e-3) & (scores < 1 - 1e-3)).mean() > 0.9
    assert parity(model, folder / "model.onnx", WINDOWS) < 1e-4
    assert logit_parity(model, folder / "model.onnx", WINDOWS) < 1e-4
    assert summary.parity < 1e-4 and summary.logit_parity < 1e-4


def test_temperature_and_cmvn_are_inside(exported) -> None:
    _, model, _, _, folder = exported
    with torch.no_grad():
        wrong = torch.softmax(model.logits(torch.from_numpy(WINDOWS)), dim=1).numpy()
    assert np.abs(WakewordModel(folder).score_windows(WINDOWS) - wrong).max() > 1e-3


def test_a_wrong_graph_is_found_though_scores_are_saturated(exported_tiny, tmp_path) -> None:
    _, whole, card, *_ = exported_tiny
    model = copy.deepcopy(whole)
    with torch.no_grad():  # a bias this large makes every score 0 or 1
        model.backbone.classifier.bias[1] += 400.0
    export_onnx(model, card, OnnxConfig(), tmp_path)
    path = tmp_path / "model.onnx"
    damaged = onnx.load(path)
    gemm = next(node for node in damaged.graph.node if node.op_type == "Gemm")
    bias = next(tensor for tensor in damaged.graph.initializer if tensor.name == gemm.input[2])
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) * np.float32(0.9), bias.name))
    onnx.save(damaged, path)
    assert parity(model, path, WINDOWS) < 1e-6
    assert logit_parity(model, path, WINDOWS) > 1e-2


def test_no_normalisation_is_left_behind_a_convolution(exported) -> None:
    graph = onnx.load(exported[4] / "model.onnx").graph
    made_by = {name: node.op_type for node in graph.node for name in node.output}
    normalised = [made_by[node.input[0]] for node in graph.node if node.op_type == "BatchNormalization"]
    assert "Conv" not in normalised
    assert exported[0] == "bc_resnet" or not normalised


def test_card_batch_and_single_file(exported) -> None:
    _, _, card, summary, folder = exported
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    metadata = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    assert metadata.pop("wakeword") == card and set(metadata.pop(SEAL_KEY)) == {"graph", "card"} and not metadata
    assert check_seal(model) == "whole"
    assert [path.name for path in folder.iterdir() if path.name.startswith("model.onnx")] == ["model.onnx"]
    assert summary.bytes == (folder / "model.onnx").stat().st_size
    assert model.ir_version == helper.find_min_ir_version_for(model.opset_import)
    loaded = WakewordModel(folder)
    one_by_one = np.concatenate([loaded.score_windows(window[None]) for window in WINDOWS[:5]])
    np.testing.assert_allclose(loaded.score_windows(WINDOWS[:5]), one_by_one, atol=1e-6)
    assert summary.bytes < 4 * summary.parameters * 1.3


def test_the_same_model_gives_the_same_bytes_which_a_tolerance_may_refuse(exported_tiny, tmp_path) -> None:
    _, model, card, _, folder = exported_tiny
    with pytest.raises(WakewordError, match="parity_tolerance"):
        export_onnx(model, card, OnnxConfig(parity_tolerance=1e-12), tmp_path)
    assert (tmp_path / "model.onnx").read_bytes() == (folder / "model.onnx").read_bytes()


def test_compacting_is_done_after_once(exported) -> None:
    model = onnx.load(exported[4] / "model.onnx")
    assert compact(model).SerializeToString(deterministic=True) == model.SerializeToString(deterministic=True)


@pytest.mark.parametrize("method", ["temperature", "vector", "isotonic"])
def test_every_calibration_is_inside_and_equals_torch(exported_tiny, sweeps, tmp_path, method) -> None:
    _, trained, card, _, folder = exported_tiny
    model = copy.deepcopy(trained)
    windows, _ = sweeps(160, 1)
    with torch.no_grad():
        logits = model.logits(torch.from_numpy(windows)).double().numpy()
    # overconfident, and biased: each method has something to change
    truth = np.random.default_rng(0).random(160) < 1 / (1 + np.exp(-(logits[:, 1] - logits[:, 0]) / 2 + 1))
    calibration = fit_calibration(logits, truth.astype(int), method)
    model.set_calibrator(calibration.method, calibration.parameters)
    summary = export_onnx(model, card, OnnxConfig(), tmp_path)
    assert summary.parity < 1e-5 and summary.logit_parity < 1e-5
    scores = WakewordModel(tmp_path).score_windows(windows)
    np.testing.assert_allclose(scores, calibrated(logits, method, calibration.parameters), atol=1e-5)
    assert np.abs(scores - WakewordModel(folder).score_windows(windows)).max() > 0.02
    # as INT8: nothing behind the network is rounded but by the float16 of stored numbers
    integers = quantize(tmp_path / "model.onnx", windows, "minmax", dynamic=False)
    write_model(take_metadata(integers, onnx.load(tmp_path / "model.onnx")), tmp_path / "model.int8.onnx")
    small = WakewordModel(tmp_path / "model.int8.onnx").score_windows(windows)
    assert np.isfinite(small).all() and np.corrcoef(scores[:, 1], small[:, 1])[0, 1] > 0.99
    pack = tmp_path / "packed.onnx"
    write_model(pack_weights(onnx.load(tmp_path / "model.onnx")), pack)
    assert np.corrcoef(scores[:, 1], WakewordModel(pack).score_windows(windows)[:, 1])[0, 1] > 0.95


def test_packed_weights_run_and_stay_near_for_every_architecture(exported, tmp_path) -> None:
    arch, _, _, _, folder = exported
    packed = pack_weights(onnx.load(folder / "model.onnx"))
    size = write_model(packed, tmp_path / "model.int8.onnx")
    whole, small = (WakewordModel(path).score_windows(WINDOWS)[:, 1] for path in (folder, tmp_path))
    assert whole.std() > 0.05
    assert 0 < np.abs(whole - small).max() < 0.25
    assert np.corrcoef(whole, small)[0, 1] > 0.95
    assert size / (folder / "model.onnx").stat().st_size < (0.5 if arch == "bc_resnet" else 0.3)


def test_cost_is_measured(exported) -> None:
    assert 0.1 < cpu_ms_per_second(exported[4] / "model.onnx", 1.0) < 1_000


def test_what_a_device_needs_is_read_off_the_graph(exported) -> None:
    """The TCN: its weights, three phases of its products, and its states; of the rest a window each stride."""
    arch, _, _, summary, folder = exported
    found = needs(folder / "model.onnx")
    assert 4 * summary.parameters * 0.95 < found.flash_bytes < 4 * summary.parameters * 1.1 + 30_000
    assert not problems(found, "rpi_4")
    if arch == "tcn":
        assert found.macs_per_second == pytest.approx(3 * 4.1e6 + 0.7e6, rel=0.05)
        assert 39_296 < found.ram_bytes < 2 * 39_296
        assert not problems(found, "esp32_s3") and problems(found, "rp2040")
    else:
        assert found.ram_bytes > 2 * 64 * 151 * 4


def test_it_streams_or_says_why_not(exported, tmp_path) -> None:
    arch, _, _, _, folder = exported
    shutil.copy(folder / "model.onnx", tmp_path)
    summary = export_streaming(tmp_path / "model.onnx", 1e-4, tmp_path)
    assert summary.native == (arch == "tcn")
    assert summary.parity < 1e-4


OLDEST = os.environ.get("WAKEWORD_TEST_ONNXRUNTIME")
IN_OLDEST = """
import sys, numpy, onnxruntime
for path in sys.argv[1:]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    kinds = {"tensor(float)": "f4", "tensor(int64)": "i8", "tensor(uint8)": "u1"}
    sizes = {"batch": 2, "samples": 8_000}
    inputs = {
        one.name: numpy.zeros([sizes.get(size, size) for size in one.shape], kinds[one.type])
        for one in session.get_inputs()
    }
    assert numpy.isfinite(session.run(["scores"], inputs)[0]).all()
"""


@pytest.mark.skipif(not OLDEST, reason="needs WAKEWORD_TEST_ONNXRUNTIME, a Python that has an older onnxruntime")
def test_the_oldest_runtime_that_the_documents_name_runs_every_form(exported, sweeps, tmp_path) -> None:
    folder = exported[4]
    export_streaming(folder / "model.onnx", 1e-3, tmp_path)
    original = onnx.load(folder / "model.onnx")
    small = quantize(folder / "model.onnx", sweeps(64, 1)[0], "minmax", dynamic=True)
    write_model(take_metadata(small, original), tmp_path / "model.int8.onnx")
    export_streaming(tmp_path / "model.int8.onnx", 0.2, tmp_path)
    write_model(take_metadata(pack_weights(original), original), tmp_path / "packed.onnx")
    paths = [folder / "model.onnx", *sorted(tmp_path.glob("*.onnx"))]
    assert len(paths) == 5
    subprocess.run([str(OLDEST), "-c", IN_OLDEST, *map(str, paths)], check=True)
