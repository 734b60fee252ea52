"""Single windows of the test in the report: how well they are told apart, in all and in groups."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wakeword_core.config import Config
from wakeword_core.evaluation.measure import plots
from wakeword_core.evaluation.measure.clips import onnx_clip_scores, window_groups
from wakeword_core.evaluation.measure.metrics import (
    PARTIAL_AUC_FPRS,
    ClipMetrics,
    by_recording,
    clip_metrics,
    grouped,
    per_class,
)
from wakeword_core.evaluation.measure.roc import roc_points
from wakeword_core.features.store import FeatureFile
from wakeword_core.runtime import WakewordModel
from wakeword_core.runtime.detector import wake_scores
from wakeword_core.store.artifacts import Artifact

_CLIP_THRESHOLD = 0.5
_GROUP_FIGURES = (
    "count", "positives", "negatives", "false_positives", "false_negatives", "accuracy", "fpr", "fnr",
)  # fmt: skip


def window_figures(
    model: WakewordModel, inputs: Mapping[str, Artifact], config: Config
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return the figures of windows by the names of the fields, and their pictures by name."""
    features, shards = inputs["mel_features[test]"].path, inputs["audio_shards[test]"].path
    level = config.evaluation.operating_points.confidence
    scores, labels = onnx_clip_scores(model.path, features)
    wake, _ = wake_scores(scores)
    any_word = 1 - scores[:, 0]
    positive = (labels > 0).astype(np.int64)
    file = FeatureFile(features)
    recordings = file.column("recording_ids")[file.column("views") == 0].astype(np.str_)

    def measured(values: NDArray[Any], truth: NDArray[Any], chances: NDArray[Any], names: NDArray[Any]) -> ClipMetrics:
        random = np.random.default_rng(config.seed)  # the same for figures that stand side by side
        options: Any = {"any_word": chances, "recordings": names, "random": random, "confidence": level}
        return clip_metrics(values, truth, _CLIP_THRESHOLD, **options)

    highest, spoken, names = by_recording(wake, positive, recordings)
    highest_chance, _, _ = by_recording(any_word, positive, recordings)
    sets = {
        "test": measured(wake, positive, any_word, recordings),
        "test, recordings by their highest window": measured(highest, spoken, highest_chance, names),
    }
    options: Any = {"recordings": recordings, "confidence": level}
    groups = window_groups(shards, recordings)
    figures = {
        "clips": sets,
        "clip_groups": {
            kind: grouped(wake, positive, names, _CLIP_THRESHOLD, **options) for kind, names in groups.items()
        },
        "classes": per_class(scores, labels, config.labels, _CLIP_THRESHOLD, **options),
    }
    pictures = {
        "scores": plots.score_histogram(wake_scores(scores, model.handicaps)[0], labels > 0, model.threshold),
        "confusion": plots.confusion_picture(labels, scores.argmax(1), config.labels),
    }
    test = sets["test"]
    if test.roc_auc is not None:
        roc = roc_points(wake, positive)
        areas = f"ROC-AUC {test.roc_auc:.5f}, pAUC {test.pauc_01:.5f}"
        pictures["roc"] = plots.roc_picture(roc.fpr, roc.tpr, areas, PARTIAL_AUC_FPRS["pauc_01"])
    return figures, pictures


def group_figures(metrics: ClipMetrics) -> dict[str, Any]:
    """Return the few figures that are kept of a group: there may be hundreds of speakers."""
    intervals = {name: metrics.intervals[name] for name in ("fpr", "fnr") if name in metrics.intervals}
    return {**{name: getattr(metrics, name) for name in _GROUP_FIGURES}, "intervals": intervals}
