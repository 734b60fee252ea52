"""The exported model in float16, for runtimes that compute in it; onnxruntime's own converter."""

import warnings
from pathlib import Path
from typing import Any

import onnx

from wakeword_core.export.comparison import compare_with_fp32
from wakeword_core.export.onnx_graph import compact, take_metadata, write_model
from wakeword_core.runtime.exported import FP16_FILE


def convert_fp16(onnx_path: Path, out: Path) -> int:
    """Write `out/model.fp16.onnx` with weights and activations in float16, and return its bytes.

    What goes in and comes out stays float32, and so does the metadata.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    original = onnx.load(onnx_path)
    with warnings.catch_warnings():
        # weights below the least step of float16 become that step or nothing, which the figures show
        warnings.filterwarnings("ignore", "the float32 number .* will be truncated", UserWarning)
        converted = OnnxModel(convert_float_to_float16(onnx.load(onnx_path), keep_io_types=True))
    converted.topological_sort()
    half = compact(converted.model)
    return write_model(take_metadata(half, original), out / FP16_FILE)


def make_fp16(model: Path, test_features: Path, out: Path) -> dict[str, Any]:
    """Write `out/model.fp16.onnx`; returns its figures beside fp32's."""
    convert_fp16(model, out)
    return compare_with_fp32(model, out / FP16_FILE, "fp16", test_features)
