"""The exported model in INT8: static quantization where it is faithful and small enough, else packed INT8 weights."""

import logging
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto

from wakeword_core.config import ExportConfig
from wakeword_core.errors import DataError
from wakeword_core.export.onnx_graph import compact, model_bytes, softmax_inputs, write_model
from wakeword_core.export.pack import pack_weights

log = logging.getLogger(__name__)

FILE_NAME = "model.int8.onnx"
_INPUT = "log_mel"
_BATCH = 32
_QUANTIZED = ["Conv", "Gemm", "MatMul", "Add", "Relu"]
"""Operators that static quantization takes; the rest are few, cheap or harmed by it."""

Windows = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Candidate:
    """One way to INT8 and what it gives."""

    method: str
    """`static`: weights and activations, QDQ; `weights`: INT8 weights and float16 vectors, computed in float32."""
    bytes: int
    ratio: float
    """Of the fp32 model's bytes."""
    decision_f1: float | None
    """F1 of its decisions against the fp32 model's; None when that decides the same for every window."""
    margin_error: float
    """RMS change of the log-odds, as a share of their standard deviation over the windows."""


@dataclass(frozen=True)
class QuantizeSummary:
    """Figures of the INT8 model that was kept, and of every one tried."""

    method: str
    bytes: int
    fp32_bytes: int
    ratio: float
    decision_f1: float | None
    margin_error: float
    within_limits: bool
    calibration_windows: int
    tried: tuple[dict[str, Any], ...]


def quantize_int8(onnx_path: Path, calibration_windows: Windows, config: ExportConfig, out: Path) -> QuantizeSummary:
    """Write `out/model.int8.onnx` from an exported fp32 model and training windows [n, n_mels, frames] of log-mel.

    Static quantization is kept when its decisions agree with fp32 within `int8_max_f1_drop` and its size is within
    `int8_max_ratio`; else packed weights. Deterministic; the metadata is kept.
    """
    windows = _chosen(calibration_windows, config.int8_calibration_windows)
    original = onnx.load(onnx_path)
    fp32_bytes = model_bytes(onnx_path)
    reference = _margins(onnx_path, windows)
    path = out / FILE_NAME
    tried: list[Candidate] = []
    for method, graph in (("static", _static(onnx_path, windows)), ("weights", pack_weights(original))):
        del graph.metadata_props[:]
        graph.metadata_props.extend(original.metadata_props)
        write_model(graph, path)
        size = model_bytes(path)
        candidate = Candidate(method, size, size / fp32_bytes, *_fidelity(reference, _margins(path, windows)))
        tried.append(candidate)
        if _within(candidate, config):
            break
    kept = tried[-1]
    if not _within(kept, config):
        log.warning("INT8 %s is %.0f %% of fp32 and outside its limits", kept.method, 100 * kept.ratio)
    return QuantizeSummary(
        **asdict(kept),
        fp32_bytes=fp32_bytes,
        within_limits=_within(kept, config),
        calibration_windows=len(windows),
        tried=tuple(asdict(one) for one in tried),
    )


def _within(candidate: Candidate, config: ExportConfig) -> bool:
    # where fp32 decides the same for every window, agreement says nothing, and only the log-odds can be compared
    loss = candidate.margin_error if candidate.decision_f1 is None else 1.0 - candidate.decision_f1
    return candidate.ratio <= config.int8_max_ratio and loss <= config.int8_max_f1_drop


def _chosen(windows: Windows, count: int) -> Windows:
    if windows.ndim != 3 or not len(windows):
        raise DataError(f"INT8 calibration needs windows [n, n_mels, frames], not {list(windows.shape)}")
    rows = np.unique(np.linspace(0, len(windows) - 1, min(count, len(windows))).round().astype(np.int64))
    return np.ascontiguousarray(windows[rows], dtype=np.float32)


def _margins(path: Path, windows: Windows) -> npt.NDArray[np.float64]:
    """Likeliest wake word's logit over that of the negatives: [n]."""
    logits = softmax_inputs(path, windows).astype(np.float64)
    margins: npt.NDArray[np.float64] = logits[:, 1:].max(axis=1) - logits[:, 0]
    return margins


def _fidelity(reference: npt.NDArray[np.float64], found: npt.NDArray[np.float64]) -> tuple[float | None, float]:
    expected, decided = reference > 0, found > 0
    spread = max(float(reference.std()), float(np.finfo(np.float32).eps))
    error = float(np.sqrt(np.mean((found - reference) ** 2))) / spread
    if expected.all() or not expected.any():
        return None, error
    return float(2 * (expected & decided).sum() / (expected.sum() + decided.sum())), error


class _Batches:
    """A CalibrationDataReader, which onnxruntime knows by its method."""

    def __init__(self, windows: Windows) -> None:
        self._batches: Iterator[Windows] = (windows[i : i + _BATCH] for i in range(0, len(windows), _BATCH))

    def get_next(self) -> dict[str, Windows] | None:
        batch = next(self._batches, None)
        return None if batch is None else {_INPUT: batch}


def _static(onnx_path: Path, windows: Windows) -> ModelProto:
    # only now: onnxruntime leaves files in the home folder when it is imported
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        prepared, quantized = Path(folder) / "prepared.onnx", Path(folder) / "quantized.onnx"
        quant_pre_process(onnx_path, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            quantized,
            _Batches(windows),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_QUANTIZED,
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
        )
        return compact(onnx.load(quantized))
