"""Graphs in 8-bit integers, by onnxruntime's quantizer: weights and activations in QDQ form, one scale a channel."""

import contextlib
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto

from wakeword_core.export.onnx_graph import compact

Windows = npt.NDArray[np.floating]
Calibration = Literal["minmax", "percentile", "entropy"]
CALIBRATIONS: tuple[Calibration, ...] = get_args(Calibration)
"""How ranges of activations are found, the simplest first: all that was seen; all but the rarest extremes; what keeps
most of the distribution (Kullback-Leibler divergence, as in TensorRT). onnxruntime's fourth is for float8."""
_METHODS: dict[Calibration, str] = {"minmax": "MinMax", "percentile": "Percentile", "entropy": "Entropy"}
"""Their names there."""
_QUANTIZED = ["Conv", "Gemm", "MatMul", "Add", "Relu"]
"""Operators that static quantization takes; the rest are few, cheap or harmed by it."""
_DYNAMIC = ["LSTM"]
"""Recurrent layers that onnxruntime quantizes, by the range of each input as it comes; it has no such GRU."""
_BATCH = 32


class _Batches:
    """A CalibrationDataReader, which onnxruntime knows by its methods, of windows.

    It is read a batch at a time: histograms are added up, so that no more is held at once.
    """

    def __init__(self, name: str, windows: Windows) -> None:
        self._name, self._windows = name, windows[: len(windows) // _BATCH * _BATCH or len(windows)]
        self._batches: Iterator[Windows] = iter(())
        self.stride = min(_BATCH, len(self._windows))

    def __len__(self) -> int:
        return len(self._windows)

    def set_range(self, start_index: int, end_index: int) -> None:
        self._batches = iter([self._windows[start_index:end_index].astype(np.float32)])

    def get_next(self) -> dict[str, Windows] | None:
        batch = next(self._batches, None)
        return None if batch is None else {self._name: batch}


def has_dynamic(model: ModelProto) -> bool:
    """Whether there are recurrent layers that can be quantized dynamically."""
    return any(node.op_type in _DYNAMIC for node in model.graph.node)


def quantize(onnx_path: Path, windows: Windows, calibration: Calibration, *, dynamic: bool) -> ModelProto:
    """The model with convolutions and products in integers, calibrated on windows [n, n_mels, frames].

    `dynamic` takes recurrent layers in besides; else they stay in float32.
    """
    # only now: onnxruntime leaves files in the home folder when it is imported
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_dynamic, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        prepared, recurrent, quantized = (Path(folder) / f"{name}.onnx" for name in ("prepared", "recurrent", "int8"))
        quant_pre_process(onnx_path, prepared, skip_symbolic_shape=True)
        if dynamic:
            quantize_dynamic(prepared, recurrent, op_types_to_quantize=_DYNAMIC, per_channel=True)
        reader = _Batches(onnx.load(prepared).graph.input[0].name, windows)
        with contextlib.redirect_stdout(io.StringIO()):  # calibration tells of its steps
            quantize_static(
                recurrent if dynamic else prepared,
                quantized,
                reader,
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=_QUANTIZED,
                per_channel=True,
                activation_type=QuantType.QUInt8,  # x86 has no fast kernels of signed activations
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod[_METHODS[calibration]],
                extra_options={"CalibStridedMinMax": reader.stride},
            )
        return compact(onnx.load(quantized))
