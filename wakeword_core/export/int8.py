"""The INT8 stage: quantize on training windows, then compare with fp32 on the test split."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from wakeword_core.config import Config
from wakeword_core.evaluation.clips import onnx_clip_scores
from wakeword_core.evaluation.detector import wake_scores
from wakeword_core.evaluation.metrics import clip_metrics
from wakeword_core.export.quantize import FILE_NAME, quantize_int8
from wakeword_core.features.store import load_windows
from wakeword_core.runtime import WakewordModel
from wakeword_core.training.steps import windows_ending

_CLIP_THRESHOLD = 0.5


def make_int8(model: Path, train_features: Path, test_features: Path, config: Config, out: Path) -> dict[str, Any]:
    """Write `out/model.int8.onnx`; returns its sizes, and F1 on the test split's clips beside fp32's."""
    frontend = config.features.frontend
    tail = frontend.frames(config.features.tail_seconds, config.data.sample_rate)
    rows = load_windows(train_features, clean_only=True)
    windows = windows_ending(rows.mel, rows.window_ends(frontend.window_frames, tail), frontend.window_frames)
    wanted = config.export.int8_calibration_windows
    chosen = np.linspace(0, len(windows) - 1, min(wanted, len(windows))).astype(int)
    summary = quantize_int8(model, windows[chosen].float().numpy(), config.export, out)
    scores = {
        name: onnx_clip_scores(path, test_features) for name, path in (("fp32", model), ("int8", out / FILE_NAME))
    }
    f1 = {
        name: clip_metrics(wake_scores(found)[0], (labels > 0).astype(int), _CLIP_THRESHOLD).f1
        for name, (found, labels) in scores.items()
    }
    difference = np.abs(scores["fp32"][0] - scores["int8"][0])
    wake = {name: wake_scores(found)[0] for name, (found, _) in scores.items()}
    changed = {
        f"changed_at_{name}": int(((wake["fp32"] >= point["threshold"]) != (wake["int8"] >= point["threshold"])).sum())
        for name, point in WakewordModel(model).operating_points.items()
    }
    return {
        **{name: value for name, value in asdict(summary).items() if name != "ratio"},
        "size_ratio": summary.ratio,
        "f1_fp32": f1["fp32"],
        "f1_int8": f1["int8"],
        "mean_score_difference": float(difference.mean()),
        "windows": len(difference),
        **changed,
    }
