"""The exported model in float16, for runtimes that compute in it; onnxruntime's own converter."""

import warnings
from pathlib import Path

from wakeword_core.export.onnx_graph import compact, load_model, take_metadata, write_model


def convert_fp16(onnx_path: Path, out: Path) -> int:
    """Write the model to the file `out` with weights and activations in float16, and return its bytes.

    What goes in and comes out stays float32; the metadata stay as they are.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    original = load_model(onnx_path)
    with warnings.catch_warnings():
        # weights below the least step of float16 become that step or nothing, which the figures show
        warnings.filterwarnings("ignore", "the float32 number .* will be truncated", UserWarning)
        converted = OnnxModel(convert_float_to_float16(load_model(onnx_path), keep_io_types=True))
    converted.topological_sort()
    return write_model(take_metadata(compact(converted.model), original), out)
