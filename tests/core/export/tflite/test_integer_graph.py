"""The same integers in ONNX: scores are those that were trained, to a fraction of a step."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from onnxruntime import GraphOptimizationLevel, InferenceSession, SessionOptions
from torch import Tensor

from wakeword_core.config import DsCnnConfig, MixedNetConfig
from wakeword_core.export.integer_graph import integer_graph
from wakeword_core.export.onnx_graph import open_session
from wakeword_core.export.tflite.fake_quantize import rounded_odds
from wakeword_core.export.tflite.network import folded, network_of
from wakeword_core.export.tflite.quantize import LOG_ODDS, measured, rounded
from wakeword_core.models.scoring import ScoringModel

OPSET = helper.make_opsetid("", 18)
SHAPES = {
    "mixednet": MixedNetConfig(),
    "uneven groups": MixedNetConfig(stem_channels=10, channels=10, kernels=((2, 3, 7), (1, 4)), head_steps=7),
    "every frame": MixedNetConfig(stride=1, kernels=((3,), (5, 9))),
    "ds_cnn": DsCnnConfig(causal=True, stride=3),
    "over every band": DsCnnConfig(causal=True, stride=1, channels=4, blocks=1, head_steps=1),
}


def with_whole_sums(graph: onnx.ModelProto, *, optimised: bool) -> InferenceSession:
    """Open a session that adds products of bytes in full on every processor."""
    levels, options = GraphOptimizationLevel, SessionOptions()
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimised else levels.ORT_DISABLE_ALL
    options.add_session_config_entry("session.x64quantprecision", "1")
    return InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])


def cuts_sums() -> bool:
    """Tell whether onnxruntime, unless it is told otherwise, cuts sums of products of bytes at 16 bits here."""
    processor = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    return " avx2" in processor and "vnni" not in processor


@pytest.fixture(params=list(SHAPES))
def graph_and_odds(
    request: pytest.FixtureRequest, random_network: Callable[..., ScoringModel]
) -> tuple[onnx.ModelProto, np.ndarray, Tensor]:
    """The graph of a network, windows for it, and the log-odds that training has for them."""
    shape = request.param
    model = random_network(SHAPES[shape], normalised=isinstance(SHAPES[shape], MixedNetConfig))
    model.set_calibrator("vector", {"scale": [0.5, 2.0], "shift": [0.3, -0.4]})
    rounding = measured(network_of(model), [np.random.default_rng(0).uniform(0.0, 26.0, (4, 300, 40))])
    windows = (np.random.default_rng(1).integers(0, 666, (24, 40, 190)) / 25.6).astype(np.float32)
    graph = integer_graph(rounded(network_of(model), rounding), 190, OPSET)
    onnx.checker.check_model(graph, full_check=True)
    with torch.no_grad():
        expected = rounded_odds(folded(model), rounding, model.backbone.aligned(torch.from_numpy(windows)))[:, -1]
    return graph, windows, expected


@pytest.mark.parametrize(
    "opened",
    [
        with_whole_sums,
        pytest.param(
            open_session,
            marks=pytest.mark.xfail(
                cuts_sums(), strict=True, reason="without VNNI onnxruntime cuts sums of products of bytes at 16 bits"
            ),
        ),
    ],
)
def test_it_scores_as_the_network_was_trained_to(
    opened: Callable[..., InferenceSession], graph_and_odds: tuple[onnx.ModelProto, np.ndarray, Tensor]
) -> None:
    graph, windows, expected = graph_and_odds
    for optimised in (True, False):
        scores = opened(graph, optimised=optimised).run(None, {"log_mel": windows})[0].astype(np.float64)
        assert scores.shape == (24, 2) and scores.sum(axis=1) == pytest.approx(1.0)
        odds = np.log(scores[:, 1] / scores[:, 0])
        assert np.ptp(odds) > LOG_ODDS.step and np.abs(odds - expected.numpy()).max() < LOG_ODDS.step


def test_weights_and_what_flows_between_layers_are_bytes(random_network: Callable[..., ScoringModel]) -> None:
    model = random_network(SHAPES["mixednet"])
    network = rounded(
        network_of(model), measured(network_of(model), [np.random.default_rng(0).uniform(0.0, 26.0, (4, 300, 40))])
    )
    graph = integer_graph(network, 190, OPSET)
    kinds = {tensor.data_type for tensor in graph.graph.initializer if np.prod(tensor.dims) > 200}
    assert kinds == {TensorProto.INT8}
    assert len(graph.SerializeToString()) < 1.4 * network.parameters
    assert graph.SerializeToString() == integer_graph(network, 190, OPSET).SerializeToString()
    made = onnx.shape_inference.infer_shapes(graph).graph
    quantized = {node.output[0] for node in graph.graph.node if node.op_type == "QuantizeLinear"}
    assert len(quantized) == len(network.scales) - 1
    found = {value.type.tensor_type.elem_type for value in made.value_info if value.name in quantized}
    assert found == {TensorProto.UINT8}
