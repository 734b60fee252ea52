"""Calibration, detector and thresholds of a trained model, all set on validation and never on the test split."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wakeword_core.config import Config
from wakeword_core.evaluation.calibration import calibrate, calibrated, fit_calibration, softmax
from wakeword_core.evaluation.clips import clip_logits
from wakeword_core.evaluation.conditions import target_conditions
from wakeword_core.evaluation.plots import reliability_diagram
from wakeword_core.evaluation.sensitivities import Sensitivities
from wakeword_core.evaluation.stream_scores import StreamScorer, StreamScores, score_streams
from wakeword_core.evaluation.thresholds import Tradeoff
from wakeword_core.evaluation.tuning import Tuning, tune_detector
from wakeword_core.features.mel import NumpyFrontend
from wakeword_core.files import write_json
from wakeword_core.models.scoring import ScoringModel, load_model, save_model
from wakeword_core.progress import Progress, silent

_BATCH = 64


def calibrate_model(
    model_folder: Path, features: Path, shards: Path, config: Config, out: Path, progress: Progress = silent
) -> dict[str, Any]:
    """Write the calibrated model, `calibration.json`, `operating_point.json` and `reliability.png`; returns figures.

    `features` and `shards` are of the validation split: the first sets the calibration, the second, as continuous
    audio in the target conditions, the detector's parameters and the thresholds of `evaluation.operating_points`.
    """
    logits, labels = clip_logits(model_folder, features)
    calibration = fit_calibration(logits, labels, config.evaluation.calibration.method)
    model, card = load_model(model_folder)
    calibrate(model, calibration)
    save_model(out, model, card)
    write_json(out / "calibration.json", asdict(calibration))
    before, after = softmax(logits), calibrated(logits, calibration.method, calibration.parameters)
    (out / "reliability.png").write_bytes(reliability_diagram(before, after, labels))
    heard_in = target_conditions(config)
    scores = score_streams(torch_scorer(model, config), shards, config, progress, heard_in, confusables=False)
    chosen, tuning = choose_sensitivities(scores, config, progress)
    chosen.save(out)
    point = asdict(chosen.default)
    return {
        **{name: value for name, value in asdict(calibration).items() if name != "parameters"},
        **{f"val_{name}": list(value) if isinstance(value, tuple) else value for name, value in point.items()},
        "detectors_tried": tuning.tried,
        "val_frr_before_tuning": tuning.configured_frr,
        "detector": chosen.detector.model_dump(mode="json"),
        "operating_points": [
            {"name": name, "target_fah": one.target_fah, "threshold": one.threshold, "frr": one.frr, "fah": one.fah}
            for name, one in chosen.points.items()
        ],
    }


def choose_sensitivities(
    scores: StreamScores, config: Config, progress: Progress = silent
) -> tuple[Sensitivities, Tuning]:
    """The detector and the threshold of every operating point for scores of validation's streams."""
    tuning = tune_detector(scores, config, progress)
    tradeoff = Tradeoff(scores, config, tuning.detector)
    points = tradeoff.points(config.evaluation.operating_points)
    return Sensitivities(config.evaluation.operating_point, tuning.detector, points), tuning


def torch_scorer(model: ScoringModel, config: Config) -> StreamScorer:
    """Streaming scores through torch: what the exported model will give, before there is one."""
    import torch

    from wakeword_core.runtime import window_scores
    from wakeword_core.runtime.exported import stride_frames

    frontend, rate = config.features.frontend, config.data.sample_rate
    front_end = NumpyFrontend(frontend, rate)
    stride = stride_frames(config.evaluation.detector, frontend, rate)

    def score_windows(windows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            scores: npt.NDArray[np.float32] = model(
                torch.from_numpy(np.ascontiguousarray(front_end.clamp(windows)))
            ).numpy()
        return scores

    def score(pcm: npt.NDArray[np.int16]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]:
        ends, scores = window_scores(
            front_end(pcm), front_end.silence(frontend.window_frames - 1), stride, score_windows, _BATCH
        )
        return (ends * frontend.hop_length + frontend.n_fft) / rate, scores

    return score
