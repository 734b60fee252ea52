"""Scores of a split's stored windows, through torch or through the exported model."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from wakeword_core.evaluation.detector import wake_scores
from wakeword_core.features.store import load_windows

_BATCH = 512

Doubles = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


def clip_logits(model_folder: Path, features_folder: Path) -> tuple[Doubles, Labels]:
    """Raw logits [rows, classes] (no temperature) and class index [rows] of the split's clean windows."""
    import torch

    from wakeword_core.models.scoring import load_model

    model, _ = load_model(model_folder)
    windows = load_windows(features_folder, clean_only=True)
    with torch.inference_mode():
        logits = torch.cat([model.logits(batch) for batch in windows.mel.split(_BATCH)])
    return logits.double().numpy(), windows.labels.numpy()


def score_clips(model_folder: Path, features_folder: Path) -> tuple[Doubles, Labels]:
    """Score of the likeliest wake word in a window [rows], and whether it does [rows] (0 or 1), through torch."""
    from wakeword_core.evaluation.calibration import softmax

    logits, labels = clip_logits(model_folder, features_folder)
    return wake_scores(softmax(logits))[0], (labels > 0).astype(np.int64)


def onnx_clip_scores(model: Path, features_folder: Path) -> tuple[Doubles, Labels]:
    """Calibrated scores [rows, classes] of the exported model, and class index [rows], over the clean windows."""
    from wakeword_core.runtime import WakewordModel

    loaded = WakewordModel(model)
    windows = load_windows(features_folder, clean_only=True)
    scores = [loaded.score_windows(batch.float().numpy()) for batch in windows.mel.split(_BATCH)]
    return np.concatenate(scores).astype(np.float64), windows.labels.numpy()
