"""A smaller model against the fp32 model that it was made from."""

from pathlib import Path
from typing import Any

import numpy as np

from wakeword_core.evaluation.measure.clips import onnx_clip_scores
from wakeword_core.evaluation.measure.metrics import clip_metrics
from wakeword_core.export.cost import cpu_ms_per_window, windows_ms_per_second
from wakeword_core.runtime import WakewordModel
from wakeword_core.runtime.detector import wake_scores


def compare_with_fp32(model: Path, small: Path, name: str, test_features: Path) -> dict[str, Any]:
    """Compare `small`, called `name`, with the fp32 `model` on the test split, and what both cost.

    Figures: bytes, F1 on all test windows at the operating point of `model`, windows that a
    threshold decides otherwise, and processor time for a window and for a second of sound in windows.
    """
    fp32 = WakewordModel(model)
    both = {"fp32": model, name: small}
    scored = {key: onnx_clip_scores(path, test_features) for key, path in both.items()}
    wake = {key: wake_scores(scores, fp32.handicaps)[0] for key, (scores, _) in scored.items()}
    words = (scored["fp32"][1] > 0).astype(int)
    size, fp32_bytes = small.stat().st_size, model.stat().st_size
    return {
        "bytes": size,
        "fp32_bytes": fp32_bytes,
        "size_ratio": size / fp32_bytes,
        "threshold": fp32.threshold,
        **{f"f1_{key}": clip_metrics(scores, words, fp32.threshold).f1 for key, scores in wake.items()},
        "mean_score_difference": float(np.abs(scored["fp32"][0] - scored[name][0]).mean()),
        "windows": len(words),
        **{
            f"changed_at_{name_of_point}": int(
                ((wake["fp32"] >= point["threshold"]) != (wake[name] >= point["threshold"])).sum()
            )
            for name_of_point, point in fp32.operating_points.items()
        },
        **{f"window_ms_{key}": cpu_ms_per_window(path) for key, path in both.items()},
        **{f"windows_ms_per_s_{key}": windows_ms_per_second(WakewordModel(path)) for key, path in both.items()},
    }
