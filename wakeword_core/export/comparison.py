"""A smaller model against the fp32 model that it was made from, and on the same continuous sound."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from wakeword_core.config import Config
from wakeword_core.evaluation.measure.clips import onnx_clip_scores
from wakeword_core.evaluation.measure.metrics import clip_metrics
from wakeword_core.evaluation.streams.conditions import target_conditions
from wakeword_core.evaluation.streams.scores import score_streams
from wakeword_core.evaluation.streams.stream_metrics import evaluate_streams
from wakeword_core.export.cost import cpu_ms_per_window, windows_ms_per_second
from wakeword_core.export.formats import OnTest
from wakeword_core.progress import Progress, silent
from wakeword_core.runtime import WakewordModel
from wakeword_core.runtime.detector import wake_scores
from wakeword_core.runtime.model import scored


def compare_with_fp32(model: Path, small: Path, name: str, test_features: Path) -> dict[str, Any]:
    """Compare `small`, called `name`, with the fp32 `model` on the test split, and what both cost.

    Figures: bytes, F1 on all test windows at the operating point of `model`, windows that a
    threshold decides otherwise, and processor time for a window and for a second of sound in windows.
    """
    fp32 = WakewordModel(model)
    both = {"fp32": model, name: small}
    by_file = {key: onnx_clip_scores(path, test_features) for key, path in both.items()}
    wake = {key: wake_scores(scores, fp32.handicaps)[0] for key, (scores, _) in by_file.items()}
    words = (by_file["fp32"][1] > 0).astype(int)
    size, fp32_bytes = small.stat().st_size, model.stat().st_size
    return {
        "bytes": size,
        "fp32_bytes": fp32_bytes,
        "size_ratio": size / fp32_bytes,
        "threshold": fp32.threshold,
        **{f"f1_{key}": clip_metrics(scores, words, fp32.threshold).f1 for key, scores in wake.items()},
        "mean_score_difference": float(np.abs(by_file["fp32"][0] - by_file[name][0]).mean()),
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


def stream_figures(
    small: Path, shards: Path, config: Config, progress: Progress = silent, *, streamed: bool = False
) -> dict[str, Any]:
    """Count what a small model misses, and its false alarms, on the streams of a split, by the card that it carries.

    The figures are those of `OnTest`, and the report's are of the same streams. `streamed` has the streaming model
    beside the file score them, which computes each step once and so takes less than half as long.
    """
    model = WakewordModel(small)
    streaming = model.streaming if streamed else None
    conditions = target_conditions(config.evaluation.conditions)
    scores = score_streams(
        (lambda pcm: scored(streaming.block_scorer(), pcm)) if streaming else model.score_audio,
        shards,
        config,
        progress,
        conditions,
        confusables=False,
        short_phrases=False,
    ).lowered(model.handicaps)
    tested = OnTest.of(vars(evaluate_streams(scores, model.threshold, config.evaluation, model.detector)))
    assert tested is not None
    return asdict(tested)
