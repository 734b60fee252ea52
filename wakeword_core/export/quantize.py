"""The exported model in INT8: of several ways the one that loses least on the validation split."""

import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto

from wakeword_core.config import ExportConfig
from wakeword_core.errors import DataError
from wakeword_core.evaluation.calibration import softmax
from wakeword_core.evaluation.metrics import clip_metrics
from wakeword_core.export.integers import CALIBRATIONS, Windows, has_dynamic, quantize
from wakeword_core.export.onnx_graph import model_bytes, softmax_inputs, take_metadata, write_model
from wakeword_core.export.pack import pack_weights
from wakeword_core.runtime.detector import wake_scores
from wakeword_core.runtime.exported import INT8_FILE

log = logging.getLogger(__name__)

Method = Literal["static", "dynamic", "weights"]


@dataclass(frozen=True)
class Held:
    """Labelled windows that candidates are compared on, and the operating point at which they are."""

    windows: Windows
    """[n, n_mels, frames]."""
    words: npt.NDArray[np.bool_]
    """Whether a wake word is in each: [n]."""
    threshold: float


@dataclass(frozen=True)
class Candidate:
    """One way to INT8 and what it gives."""

    method: Method
    """`static`: weights and activations, QDQ; `dynamic`: the same, and recurrent layers by the range of each input;
    `weights`: INT8 weights and float16 vectors, computed in float32."""
    calibration: str
    """Of the ranges of activations; nothing for `weights`."""
    bytes: int
    ratio: float
    """Of the fp32 model's bytes."""
    val_f1: float
    """At the operating point."""
    changed: int
    """Windows of validation on the other side of the threshold than in fp32."""
    margin_error: float
    """RMS change of the log-odds, as a share of their standard deviation over the windows."""
    loss: float
    """What `int8_max_f1_drop` bounds: the drop of F1 from fp32, or `margin_error` where fp32 decides the same for every
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
    said: npt.NDArray[np.bool_]
    f1: float


def quantize_int8(onnx_path: Path, windows: Windows, held: Held, config: ExportConfig, out: Path) -> QuantizeSummary:
    """Write `out/model.int8.onnx` from an exported fp32 model and training windows [n, n_mels, frames] of log-mel.

    Kept is, of the candidates within `int8_max_ratio` and `int8_max_f1_drop`, one that computes in integers if there
    is one, else packed weights; of several the one with the least loss of F1, then with the least `margin_error`, then
    the simplest. Where none is within the limits, the rule is the same for all. Deterministic; the metadata is kept.
    """
    if windows.ndim != 3 or not len(windows):
        raise DataError(f"INT8 calibration needs windows [n, n_mels, frames], not {list(windows.shape)}")
    original = onnx.load(onnx_path)
    fp32_bytes, reference = model_bytes(onnx_path), _decisions(onnx_path, held)
    path = out / INT8_FILE
    tried: list[tuple[Candidate, ModelProto]] = []
    for method, calibration, graph in _graphs(onnx_path, original, windows):
        size = write_model(take_metadata(graph, original), path)
        figures = _compared(reference, _decisions(path, held))
        fits = size <= config.int8_max_ratio * fp32_bytes and figures["loss"] <= config.int8_max_f1_drop
        tried.append((Candidate(method, calibration, size, size / fp32_bytes, **figures, within_limits=fits), graph))
    kept, graph = min(tried, key=lambda one: _rank(one[0]))
    write_model(graph, path)
    if not kept.within_limits:
        log.warning("INT8 %s is %.0f %% of fp32 and outside its limits", kept.method, 100 * kept.ratio)
    return QuantizeSummary(kept, fp32_bytes, reference.f1, len(windows), tuple(asdict(one) for one, _ in tried))


def _graphs(onnx_path: Path, original: ModelProto, windows: Windows) -> Iterator[tuple[Method, str, ModelProto]]:
    """All candidates, the simplest of each method first."""
    methods: tuple[Method, ...] = ("static", "dynamic") if has_dynamic(original) else ("static",)
    for method in methods:
        for calibration in CALIBRATIONS:
            yield method, calibration, quantize(onnx_path, windows, calibration, dynamic=method == "dynamic")
    yield "weights", "", pack_weights(original)


def _rank(candidate: Candidate) -> tuple[bool, bool, float, float, int]:
    """The least is the best; of equals `min` takes the first."""
    packed = candidate.within_limits and candidate.method == "weights"
    order = get_args(Method).index(candidate.method)
    return not candidate.within_limits, packed, max(candidate.loss, 0.0), candidate.margin_error, order


def _decisions(path: Path, held: Held) -> _Decisions:
    logits = softmax_inputs(path, held.windows).astype(np.float64)
    scores = wake_scores(softmax(logits))[0]
    f1 = clip_metrics(scores, held.words.astype(np.int64), held.threshold).f1
    return _Decisions(logits[:, 1:].max(axis=1) - logits[:, 0], scores >= held.threshold, f1)


def _compared(reference: _Decisions, found: _Decisions) -> dict[str, Any]:
    spread = max(float(reference.margins.std()), float(np.finfo(np.float32).eps))
    error = float(np.sqrt(np.mean((found.margins - reference.margins) ** 2))) / spread
    one_sided = reference.said.all() or not reference.said.any()
    return {
        "val_f1": found.f1,
        "changed": int((found.said != reference.said).sum()),
        "margin_error": error,
        "loss": error if one_sided else reference.f1 - found.f1,
    }
