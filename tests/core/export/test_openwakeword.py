"""What is no file in openWakeWord's format is refused, and the right ones are told by what they take."""

from importlib import resources
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from wakeword_core.errors import ArtifactError
from wakeword_core.export.openwakeword import steps_taken

pytest.importorskip("pyopen_wakeword", reason="needs the extra `judge`: what runs openWakeWord's models")
pytest.importorskip("ai_edge_litert", reason="needs the extra `judge`: what reads TensorFlow Lite files")

OFFICIAL = resources.files("pyopen_wakeword") / "models"


@pytest.mark.parametrize(
    ("takes", "gives", "said"),
    [
        ([1, 9, 40], [1, 1], r"takes FLOAT32 \[1, 9, 40\] and gives FLOAT32 \[1, 1\]"),
        (["batch", 9, 96], ["batch", 1], r"takes FLOAT32 \['batch', 9, 96\]"),
        ([1, 864], [1, 1], r"takes FLOAT32 \[1, 864\]"),
        ([1, 9, 96], [1, 2], r"gives FLOAT32 \[1, 2\]"),
    ],
)
def test_a_file_of_other_shapes_is_refused(tmp_path: Path, takes, gives, said: str) -> None:
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (("x", takes), ("y", gives))
    ]
    weight = numpy_helper.from_array(np.zeros((int(np.prod(takes[1:])), gives[1]), np.float32), "w")
    nodes = [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("MatMul", ["f", "w"], ["y"])]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [weight])
    path = tmp_path / "other.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    with pytest.raises(ArtifactError, match=said + r".* but a model of openWakeWord's takes FLOAT32 \[1, steps, 96\]"):
        steps_taken(path)


def test_other_tensorflow_lite_files_are_refused() -> None:
    for name, said in (("embedding_model", r"\[1, 76, 32, 1\]"), ("melspectrogram", r"\[1, 1\]")):
        with pytest.raises(ArtifactError, match=rf"takes FLOAT32 {said} and gives .* build openwakeword_model again"):
            steps_taken(Path(str(OFFICIAL / f"{name}.tflite")))
