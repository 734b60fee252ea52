"""A smaller model beside the fp32 model that it was made from: decisions on the test split, and what both cost."""

from pathlib import Path
from typing import Any

import numpy as np

from wakeword_core.evaluation.clips import onnx_clip_scores
from wakeword_core.evaluation.metrics import clip_metrics
from wakeword_core.export.cost import cpu_ms_per_window
from wakeword_core.export.onnx_graph import model_bytes
from wakeword_core.runtime import WakewordModel
from wakeword_core.runtime.detector import wake_scores


def beside_fp32(model: Path, small: Path, name: str, test_features: Path) -> dict[str, Any]:
    """Figures of `small`, called `name`: bytes (with external data), F1 on the whole test split at the operating point
    of the fp32 `model`, windows that a threshold decides otherwise, and processor time for a window."""
    fp32 = WakewordModel(model)
    found = {key: onnx_clip_scores(path, test_features) for key, path in (("fp32", model), (name, small))}
    wake = {key: wake_scores(scores)[0] for key, (scores, _) in found.items()}
    words = (found["fp32"][1] > 0).astype(int)
    size, fp32_bytes = model_bytes(small), model_bytes(model)
    return {
        "bytes": size,
        "fp32_bytes": fp32_bytes,
        "size_ratio": size / fp32_bytes,
        "threshold": fp32.threshold,
        **{f"f1_{key}": clip_metrics(scores, words, fp32.threshold).f1 for key, scores in wake.items()},
        "mean_score_difference": float(np.abs(found["fp32"][0] - found[name][0]).mean()),
        "windows": len(words),
        **{
            f"changed_at_{point}": int(((wake["fp32"] >= at["threshold"]) != (wake[name] >= at["threshold"])).sum())
            for point, at in fp32.operating_points.items()
        },
        **{f"window_ms_{key}": cpu_ms_per_window(path) for key, path in (("fp32", model), (name, small))},
    }
