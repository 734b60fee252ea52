"""What a graph takes, against graphs whose cost is known; and what fits where."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from wakeword_core.config import ExportConfig
from wakeword_core.export.cost import PLATFORMS, Needs, graph_cost, problems


def graph(nodes, shape, **constants):
    made = helper.make_graph(
        [helper.make_node(*one[:3], **(one[3] if len(one) > 3 else {})) for one in nodes],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in constants.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def cost(model, shape):
    return graph_cost(model, {"x": np.ones(shape, np.float32)})


def test_memory_is_what_lives_at_once() -> None:
    """x -> a -> b -> y: two of them at a time; x kept for the end: three."""
    chain = [("Relu", ["x"], ["a"]), ("Relu", ["a"], ["b"]), ("Relu", ["b"], ["y"])]
    assert cost(graph(chain, [1, 100]), (1, 100)).peak_bytes == 2 * 400
    kept = [*chain[:2], ("Add", ["b", "x"], ["y"])]
    assert cost(graph(kept, [1, 100]), (1, 100)).peak_bytes == 3 * 400


def test_another_shape_of_the_same_takes_no_memory_and_constants_are_no_activations() -> None:
    nodes = [("Reshape", ["x", "s"], ["a"]), ("Relu", ["a"], ["b"]), ("MatMul", ["b", "w"], ["y"])]
    found = cost(graph(nodes, [1, 100], s=np.asarray([10, 10]), w=np.ones((10, 30), np.float32)), (1, 100))
    assert found.peak_bytes == 400 + 1_200
    assert found.constant_bytes == 16 + 1_200
    assert found.macs == 10 * 10 * 30


def test_products_of_convolutions_and_recurrent_layers() -> None:
    weight = np.ones((8, 2, 5), np.float32)
    conv = graph([("Conv", ["x", "w"], ["y"], {"group": 2, "strides": [2]})], [1, 4, 21], w=weight)
    assert cost(conv, (1, 4, 21)).macs == 8 * 9 * 2 * 5
    gates = {"w": np.ones((1, 12, 6), np.float32), "r": np.ones((1, 12, 4), np.float32)}
    gru = graph([("GRU", ["x", "w", "r"], ["y"], {"hidden_size": 4})], [7, 1, 6], **gates)
    assert cost(gru, (7, 1, 6)).macs == 7 * 12 * (6 + 4)
    gemm = graph([("Gemm", ["x", "w"], ["y"], {"transA": 1})], [6, 3], w=np.ones((6, 5), np.float32))
    assert cost(gemm, (6, 3)).macs == 3 * 6 * 5


def test_each_thing_that_does_not_fit_is_named() -> None:
    budget = PLATFORMS["nano_33_ble"]
    fits = Needs(budget.flash_bytes, budget.ram_bytes, budget.macs_per_second)
    assert problems(fits, "nano_33_ble") == []
    over = Needs(budget.flash_bytes + 1, budget.ram_bytes + 1, budget.macs_per_second + 1)
    assert [one.split(":")[0] for one in problems(over, "nano_33_ble")] == ["flash", "RAM", "work"]
    assert problems(over, "server") == []


def test_an_unknown_platform_is_refused() -> None:
    with pytest.raises(ValueError, match="esp32_s3_psram"):
        ExportConfig(platform="abacus")
