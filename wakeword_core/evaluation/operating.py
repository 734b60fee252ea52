"""Temperature and threshold of a trained model, both set on validation and never on the test split."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wakeword_core.config import Config, DetectorConfig
from wakeword_core.evaluation.calibration import fit_temperature, softmax
from wakeword_core.evaluation.clips import clip_logits
from wakeword_core.evaluation.plots import reliability_diagram
from wakeword_core.evaluation.stream_test import Scorer, score_streams, threshold_for
from wakeword_core.features.mel import NumpyLogMel
from wakeword_core.files import write_json
from wakeword_core.models.scoring import ScoringModel, load_model, save_model
from wakeword_core.progress import Progress, silent

_BATCH = 64


def calibrate_model(
    model_folder: Path, features: Path, shards: Path, config: Config, out: Path, progress: Progress = silent
) -> dict[str, Any]:
    """Write the calibrated model, `calibration.json`, `operating_point.json` and `reliability.png`; returns figures.

    `features` and `shards` are of the validation split: the first sets the temperature, the second, as continuous
    audio through the streaming detector, the threshold for `evaluation.target_fah`.
    """
    logits, labels = clip_logits(model_folder, features)
    calibration = fit_temperature(logits, labels)
    model, card = load_model(model_folder)
    model.temperature.fill_(calibration.temperature)
    save_model(out, model, card)
    write_json(out / "calibration.json", asdict(calibration))
    before, after = softmax(logits), softmax(logits, calibration.temperature)
    (out / "reliability.png").write_bytes(reliability_diagram(before, after, labels))
    scores = score_streams(torch_scorer(model, config), shards, config, progress)
    point = threshold_for(scores, config.evaluation.target_fah, config)
    write_json(out / "operating_point.json", {**asdict(point), "background_hours": scores.background_hours})
    return {
        **asdict(calibration),
        **{f"val_{name}": value for name, value in asdict(point).items()},
        "val_background_hours": round(scores.background_hours, 4),
    }


def torch_scorer(model: ScoringModel, config: Config) -> Scorer:
    """Streaming scores through torch: what the exported model will give, before there is one."""
    import torch

    from wakeword_core.runtime import stride_frames, window_scores

    frontend, rate = config.features.frontend, config.data.sample_rate
    mel = NumpyLogMel(frontend, rate)
    detector: DetectorConfig = config.evaluation.detector
    stride = stride_frames(detector, frontend, rate)

    def score_windows(windows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            scores: npt.NDArray[np.float32] = model(torch.from_numpy(np.ascontiguousarray(windows))).numpy()
        return scores

    def score(pcm: npt.NDArray[np.int16]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]:
        ends, scores = window_scores(
            mel(pcm), frontend.window_frames, stride, score_windows, _BATCH, frontend.log_floor
        )
        return (ends * frontend.hop_length + frontend.n_fft) / rate, scores

    return score
