"""Scores of a split's windows, and which groups a window belongs to."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wakeword_core.evaluation.measure.calibration import softmax
from wakeword_core.features.gathering import in_order
from wakeword_core.features.store import open_windows
from wakeword_core.runtime.detector import wake_scores
from wakeword_core.shards.packed_split import iter_recordings
from wakeword_core.shards.shard_file import Recording

_BATCH = 512
_SNR_BANDS_DB = (10, 20, 30)
_LEAST_REST = 0.05
"""Share of a recording that must be no speech for its noise to be measured."""

Doubles = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
WindowScorer = Callable[[npt.NDArray[np.float32]], npt.NDArray[Any]]
"""Log-mel windows [n, n_mels, frames] -> class probabilities [n, classes]."""


def clip_logits(model_folder: Path, features_folder: Path) -> tuple[Doubles, Labels]:
    """Return raw logits [rows, classes] (not calibrated) and class index [rows] of the split's clean windows."""
    import torch

    from wakeword_core.models.scoring import load_model

    model, _ = load_model(model_folder)
    windows = open_windows(features_folder, clean_only=True)
    with torch.inference_mode():
        logits = torch.cat([model.logits(batch) for batch in in_order(windows.mel, _BATCH)])
    return logits.double().numpy(), windows.labels.numpy()


def score_clips(model_folder: Path, features_folder: Path) -> tuple[Doubles, Labels]:
    """Score the likeliest wake word of each clean window [rows] through torch; also whether it holds one (0 or 1)."""
    logits, labels = clip_logits(model_folder, features_folder)
    return wake_scores(softmax(logits))[0], (labels > 0).astype(np.int64)


def onnx_clip_scores(model: Path, features_folder: Path) -> tuple[Doubles, Labels]:
    """Return the exported model's calibrated scores [rows, classes] and the class index [rows] of the clean windows."""
    from wakeword_core.runtime import WakewordModel

    loaded = WakewordModel(model)
    windows = open_windows(features_folder, clean_only=True)
    scores = [loaded.score_windows(batch.float().numpy()) for batch in in_order(windows.mel, _BATCH)]
    return np.concatenate(scores).astype(np.float64), windows.labels.numpy()


def window_groups(shards: Path, recording_ids: npt.NDArray[np.str_]) -> dict[str, npt.NDArray[np.str_]]:
    """Return speaker, source and SNR band of windows, each [n], by the recording that each is of."""
    groups = {
        recording.recording_id: (recording.speaker, recording.source, _snr_band(recording))
        for recording in iter_recordings(shards)
    }
    columns = np.asarray([groups[recording] for recording in recording_ids.tolist()], dtype=np.str_).reshape(-1, 3)
    return dict(zip(("speaker", "source", "snr"), columns.T, strict=True))


def _snr_band(recording: Recording) -> str:
    """Return how far the speech of a recording stands above what is before and after it, where that is known."""
    audio = recording.audio.astype(np.float64)
    if np.isnan(recording.speech_start) or np.isnan(recording.speech_end):
        return "unknown"
    first, last = (round(at / recording.seconds * len(audio)) for at in (recording.speech_start, recording.speech_end))
    rest = np.concatenate([audio[:first], audio[last:]])
    if len(rest) < _LEAST_REST * len(audio) or last <= first:
        return "unknown"
    noise = max(float((rest**2).mean()), 1.0)  # the least step of 16 bits
    snr = 10 * np.log10(max(float((audio[first:last] ** 2).mean()) / noise, 1.0))
    band = int(np.searchsorted(_SNR_BANDS_DB, snr, side="right"))
    edges = ("0", *map(str, _SNR_BANDS_DB))
    return f"{edges[band]} dB and more" if band == len(_SNR_BANDS_DB) else f"{edges[band]} to {edges[band + 1]} dB"
