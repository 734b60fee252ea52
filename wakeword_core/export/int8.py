"""The INT8 stage: calibrate on training windows, choose on validation, compare with fp32 on the test split."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from wakeword_core.config import Config
from wakeword_core.export.beside_fp32 import beside_fp32
from wakeword_core.export.cost import cpu_ms_per_second
from wakeword_core.export.quantize import Held, quantize_int8
from wakeword_core.export.streaming import export_streaming
from wakeword_core.features.store import load_windows
from wakeword_core.runtime import WakewordModel
from wakeword_core.runtime.exported import INT8_FILE
from wakeword_core.training.steps import windows_ending

STREAMING_TOLERANCE = 0.05
"""Largest difference of a score between windows and stream. Features that differ in their last bit may be rounded to
another of the 256 steps, and so may what follows from them."""


def make_int8(
    model: Path, train_features: Path, val_features: Path, test_features: Path, config: Config, out: Path
) -> dict[str, Any]:
    """Write `model.int8.onnx` and `model.streaming.int8.onnx` into `out`; returns their figures beside fp32's."""
    held = load_windows(val_features, clean_only=True)
    summary = quantize_int8(
        model,
        _calibration_windows(train_features, config),
        Held(held.mel.numpy(), held.labels.numpy() > 0, WakewordModel(model).threshold),
        config.export,
        out,
    )
    kept, small = summary.kept, out / INT8_FILE
    streaming = asdict(export_streaming(small, STREAMING_TOLERANCE, out))
    return {
        "method": kept.method,
        "calibration": kept.calibration,
        "calibration_windows": summary.calibration_windows,
        "within_limits": kept.within_limits,
        "val_f1_fp32": summary.val_f1_fp32,
        "val_f1_int8": kept.val_f1,
        "margin_error": kept.margin_error,
        **beside_fp32(model, small, "int8", test_features),
        **{f"streaming_{name}": value for name, value in streaming.items()},
        **{f"cpu_ms_per_s_{name}": cpu_ms_per_second(path) for name, path in (("fp32", model), ("int8", small))},
        "tried": summary.tried,
    }


def _calibration_windows(train_features: Path, config: Config) -> np.ndarray:
    """Evenly spaced clean windows of training that end where those of validation do: [n, bands, frames]."""
    frontend = config.features.frontend
    tail = frontend.frames(config.features.tail_seconds, config.data.sample_rate)
    rows = load_windows(train_features, clean_only=True)
    count = min(config.export.int8_calibration_windows, len(rows))
    chosen = np.linspace(0, len(rows) - 1, count).astype(int)
    ends = rows.window_ends(frontend.window_frames, tail)[chosen]
    found: np.ndarray = windows_ending(rows.mel[chosen], ends, frontend.window_frames).float().numpy()
    return found
