"""The exported model in INT8: of several ways the one that loses least on the validation split."""

import contextlib
import io
import logging
import math
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import ModelProto

from wakeword_core.config import Config
from wakeword_core.config.export import Int8Config
from wakeword_core.errors import DataError
from wakeword_core.evaluation.measure.calibration import softmax
from wakeword_core.evaluation.measure.metrics import clip_metrics
from wakeword_core.export.comparison import compare_with_fp32
from wakeword_core.export.cost import cpu_ms_per_second
from wakeword_core.export.integer_graph import integer_graph
from wakeword_core.export.onnx_graph import compact, load_model, softmax_inputs, take_metadata, write_model
from wakeword_core.export.pack import pack_weights
from wakeword_core.export.streaming import streaming_figures
from wakeword_core.export.tflite.quantize import IntegerNetwork
from wakeword_core.features.gathering import in_memory
from wakeword_core.features.store import open_windows
from wakeword_core.models.layers import windows_ending
from wakeword_core.runtime import WakewordModel
from wakeword_core.runtime.detector import Handicaps, wake_scores
from wakeword_core.runtime.exported import INT8_FILE

log = logging.getLogger(__name__)

Windows = npt.NDArray[np.floating]
Method = Literal["static", "dynamic", "weights", "trained"]
Calibration = Literal["minmax", "percentile", "entropy"]
CALIBRATIONS: tuple[Calibration, ...] = get_args(Calibration)
"""How ranges of activations are found, the simplest first: all that was seen; all but the rarest extremes; what keeps
most of the distribution (Kullback-Leibler divergence, as in TensorRT). onnxruntime's fourth is for float8."""
_METHODS: dict[Calibration, str] = {"minmax": "MinMax", "percentile": "Percentile", "entropy": "Entropy"}
"""The names of the same in onnxruntime."""
_QUANTIZED = ["Conv", "Gemm", "MatMul", "Add", "Relu"]
"""Operators that static quantization takes; the rest are few, cheap or harmed by it."""
_DYNAMIC = ["LSTM"]
"""Recurrent layers that onnxruntime quantizes, by the range of each input as it comes; it has no such GRU."""
_BATCH = 32
STREAMING_TOLERANCE = 0.05
"""Largest difference of a score between windows and stream. Features that differ in their last bit may be rounded to
another of the 256 steps, and so may what follows from them."""


class _Batches:
    """Reads windows a batch at a time, with the methods of onnxruntime's CalibrationDataReader."""

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


def quantize(onnx_path: Path, windows: Windows, calibration: Calibration, *, dynamic: bool) -> ModelProto:
    """Quantize convolutions and products, calibrated on windows [n, n_mels, frames]: QDQ form, one scale a channel.

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
        with contextlib.redirect_stdout(io.StringIO()):  # calibration prints its steps
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


@dataclass(frozen=True)
class LabelledWindows:
    """Windows [n, n_mels, frames] that candidates are compared on at a threshold, and which have a wake word: [n]."""

    windows: Windows
    words: npt.NDArray[np.bool_]
    threshold: float
    handicaps: Handicaps | None = None


@dataclass(frozen=True)
class Candidate:
    """One way to INT8 and what it gives."""

    method: Method
    """`static`: weights and activations, QDQ; `dynamic`: the same, and recurrent layers by the range of each input;
    `weights`: INT8 weights and float16 vectors, computed in float32; `trained`: weights and activations, rounded as the
    network was trained to be."""
    calibration: str
    """How ranges of activations were found; empty where they were not looked for."""
    bytes: int
    ratio: float
    """Of bytes to those of the fp32 model."""
    val_f1: float
    """F1 at the operating point."""
    changed: int
    """Windows of validation on the other side of the threshold than in fp32."""
    margin_error: float
    """RMS change of the log-odds, as a share of their standard deviation over the windows."""
    loss: float
    """What `max_f1_drop` bounds: the drop of F1 from fp32, or `margin_error` where fp32 decides the same for every
    window, so that F1 says nothing."""
    within_limits: bool


@dataclass(frozen=True)
class QuantizeSummary:
    """Figures of the INT8 model that was kept, and of every one tried."""

    kept: Candidate
    fp32_bytes: int
    val_f1_fp32: float
    calibration_windows: int
    tried: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class _Decisions:
    margins: npt.NDArray[np.float64]
    """Likeliest wake word's logit over that of the negatives: [n]."""
    accepted: npt.NDArray[np.bool_]
    f1: float


def quantize_int8(
    onnx_path: Path,
    windows: Windows,
    validation: LabelledWindows,
    settings: Int8Config,
    out: Path,
    trained: IntegerNetwork | None = None,
) -> QuantizeSummary:
    """Write `out/model.int8.onnx` from an exported fp32 model and training windows [n, n_mels, frames] of log-mel.

    Kept is, of the candidates within `max_ratio` and `max_f1_drop`, one that computes in integers if there
    is one, else packed weights; of several the one with the least loss of F1, then with the least `margin_error`, then
    the simplest. Where none is within the limits, the rule is the same for all. Deterministic; the metadata is kept.
    A network that was `trained` to be rounded is one more candidate; it may gain F1, where others can only not lose it.
    """
    if windows.ndim != 3 or not len(windows):
        raise DataError(f"INT8 calibration needs windows [n, n_mels, frames], not {list(windows.shape)}")
    original = load_model(onnx_path)
    fp32_bytes, reference = onnx_path.stat().st_size, _decisions(onnx_path, validation)
    path = out / INT8_FILE
    tried: list[tuple[Candidate, ModelProto]] = []
    for method, calibration, graph in _graphs(onnx_path, original, windows, trained):
        size = write_model(take_metadata(graph, original), path)
        figures = _compared(reference, _decisions(path, validation))
        fits = size <= settings.max_ratio * fp32_bytes and figures["loss"] <= settings.max_f1_drop
        tried.append((Candidate(method, calibration, size, size / fp32_bytes, **figures, within_limits=fits), graph))
    least_loss = 0.0 if trained is None else -math.inf
    kept, graph = min(tried, key=lambda pair: _rank(pair[0], least_loss))
    write_model(graph, path)
    if not kept.within_limits:
        log.warning(
            "the INT8 model is outside its limits (export.int8): its size is %.0f %% of fp32, of at most %.0f %%, "
            "and its loss %.3f, of at most %.3f",
            100 * kept.ratio, 100 * settings.max_ratio, kept.loss, settings.max_f1_drop,
        )  # fmt: skip
    return QuantizeSummary(
        kept, fp32_bytes, reference.f1, len(windows), tuple(asdict(candidate) for candidate, _ in tried)
    )


def _graphs(
    onnx_path: Path, original: ModelProto, windows: Windows, trained: IntegerNetwork | None
) -> Iterator[tuple[Method, str, ModelProto]]:
    has_dynamic = any(node.op_type in _DYNAMIC for node in original.graph.node)
    methods: tuple[Method, ...] = ("static", "dynamic") if has_dynamic else ("static",)
    for method in methods:
        for calibration in CALIBRATIONS:
            yield method, calibration, quantize(onnx_path, windows, calibration, dynamic=method == "dynamic")
    yield "weights", "", pack_weights(original)
    if trained is not None:
        yield "trained", "", integer_graph(trained, windows.shape[2], original.opset_import[0])


def _rank(candidate: Candidate, least_loss: float = 0.0) -> tuple[bool, bool, float, float, int]:
    """Return what orders candidates: the least is the best, and of equals `min` takes the first."""
    packed = candidate.within_limits and candidate.method == "weights"
    order = get_args(Method).index(candidate.method)
    return not candidate.within_limits, packed, max(candidate.loss, least_loss), candidate.margin_error, order


def _decisions(path: Path, validation: LabelledWindows) -> _Decisions:
    logits = softmax_inputs(path, validation.windows).astype(np.float64)
    scores = wake_scores(softmax(logits), validation.handicaps)[0]
    f1 = clip_metrics(scores, validation.words.astype(np.int64), validation.threshold).f1
    return _Decisions(logits[:, 1:].max(axis=1) - logits[:, 0], scores >= validation.threshold, f1)


def _compared(reference: _Decisions, decisions: _Decisions) -> dict[str, Any]:
    spread = max(float(reference.margins.std()), float(np.finfo(np.float32).eps))
    error = float(np.sqrt(np.mean((decisions.margins - reference.margins) ** 2))) / spread
    one_sided = reference.accepted.all() or not reference.accepted.any()
    return {
        "val_f1": decisions.f1,
        "changed": int((decisions.accepted != reference.accepted).sum()),
        "margin_error": error,
        "loss": error if one_sided else reference.f1 - decisions.f1,
    }


def make_int8(
    model: Path,
    train_features: Path,
    val_features: Path,
    test_features: Path,
    config: Config,
    out: Path,
    trained: IntegerNetwork | None = None,
) -> dict[str, Any]:
    """Write `model.int8.onnx` and `model.streaming.int8.onnx` into `out`, and return their figures beside fp32's.

    Calibration is on training windows, the choice on validation, the comparison on the test split. `trained` is the
    network in integers as it was trained to be rounded, if it was.
    """
    validation, fp32 = open_windows(val_features, clean_only=True), WakewordModel(model)
    said = validation.labels.numpy() > 0
    summary = quantize_int8(
        model,
        _calibration_windows(train_features, config),
        LabelledWindows(in_memory(validation.mel).numpy(), said, fp32.threshold, fp32.handicaps),
        config.export.int8,
        out,
        trained,
    )
    kept, small = summary.kept, out / INT8_FILE
    return {
        "method": kept.method,
        "calibration": kept.calibration,
        "calibration_windows": summary.calibration_windows,
        "within_limits": kept.within_limits,
        "val_f1_fp32": summary.val_f1_fp32,
        "val_f1_int8": kept.val_f1,
        "margin_error": kept.margin_error,
        **compare_with_fp32(model, small, "int8", test_features),
        **streaming_figures(small, STREAMING_TOLERANCE, out),
        **{f"cpu_ms_per_s_{name}": cpu_ms_per_second(path) for name, path in (("fp32", model), ("int8", small))},
        "tried": summary.tried,
    }


def _calibration_windows(train_features: Path, config: Config) -> np.ndarray:
    """Return evenly spaced clean windows of training that end where those of validation do: [n, bands, frames]."""
    frontend = config.features.frontend
    tail = frontend.frames(config.features.windows.tail_seconds, config.data.audio.sample_rate)
    rows = open_windows(train_features, clean_only=True)
    count = min(config.export.int8.calibration_windows, len(rows))
    chosen = torch.from_numpy(np.linspace(0, len(rows) - 1, count).astype(int))
    ends = rows.window_ends(frontend.window_frames, tail)[chosen]
    windows: np.ndarray = windows_ending(rows.mel[chosen], ends, frontend.window_frames).float().numpy()
    return windows
