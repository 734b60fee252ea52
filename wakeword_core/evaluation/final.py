"""The final test: the exported model through the streaming detector, on recordings nobody trained or tuned on."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from wakeword_core.artifacts import Artifact
from wakeword_core.config import Config
from wakeword_core.evaluation import plots
from wakeword_core.evaluation.clips import onnx_clip_scores
from wakeword_core.evaluation.detector import wake_scores
from wakeword_core.evaluation.metrics import clip_metrics, confusion
from wakeword_core.evaluation.report import write_report
from wakeword_core.evaluation.stream_test import evaluate_streams, operating_points, score_streams, sweep
from wakeword_core.features.store import FeatureFile, load_windows
from wakeword_core.files import read_json
from wakeword_core.manifest import quarantined
from wakeword_core.progress import Progress, silent
from wakeword_core.runtime import WakewordModel
from wakeword_core.training.records import HISTORY, read_history

_CLIP_THRESHOLD = 0.5
_SHOWN_MELS = 8


def final_test(
    config: Config, inputs: Mapping[str, Artifact], out: Path, progress: Progress = silent
) -> dict[str, Any]:
    """Write `report.html`, `metrics.json` and `det.png` to `out`; returns the key figures.

    `inputs` are the artifacts that the report is about, by stage name; threshold and detector are the model's own.
    """
    onnx, calibrated, manifest = inputs["onnx_model"], inputs["calibrated_model"], inputs["raw_manifest"]
    path = onnx.file("model.onnx")
    model = WakewordModel(path)
    streams = score_streams(model.score_audio, inputs["audio_shards[test]"].path, config, progress)
    result = evaluate_streams(streams, model.threshold, config)
    features = inputs["mel_features[test]"].path
    scores, labels = onnx_clip_scores(path, features)
    wake, _ = wake_scores(scores)
    clips = clip_metrics(wake, (labels > 0).astype(np.int64), _CLIP_THRESHOLD)
    point = read_json(calibrated.file("operating_point.json"))
    points = sweep(streams, config)
    pictures = {
        "det": plots.det_curve(points, result, config.evaluation.target_fah, streams.background_hours),
        "training": plots.training_curve([asdict(one) for one in read_history(inputs["trained_model"].file(HISTORY))]),
        "reliability": calibrated.file("reliability.png").read_bytes(),
        "scores": plots.score_histogram(wake, labels > 0, model.threshold),
        "confusion": plots.confusion_picture(confusion(scores.argmax(1), labels, len(config.labels)), config.labels),
        "mels": clearest_and_worst(features, wake, config),
    }
    metrics = {
        "phrase": config.phrase,
        "operating_point": point,
        "stream": asdict(result),
        "fah_points": [asdict(one) for one in operating_points(streams, config)],
        "sweep": [asdict(one) for one in points],
        "clips": {"test": asdict(clips)},
        "calibration": read_json(calibrated.file("calibration.json")),
        "data": {**manifest.figures, "quarantine": quarantined(manifest.path)},
        "model": {
            "architecture": config.model.arch,
            "parameters": inputs["trained_model"].figures["parameters"],
            "bytes": onnx.files["model.onnx"].size,
            "CPU ms a second of audio": round(onnx.figures["cpu_ms_per_s"], 2),
            "key": onnx.key,
        },
    }
    write_report(out, metrics, pictures)
    (out / "det.png").write_bytes(pictures["det"])
    return {
        "frr": result.frr,
        "frr_interval": list(result.frr_interval),
        "words": result.words,
        "misses": result.misses,
        "fah": result.fah,
        "fah_interval": list(result.fah_interval),
        "false_alarms": result.false_alarm_count,
        "confidence": result.confidence,
        "background_hours": result.background_hours,
        "confusables": result.confusables,
        "confusables_accepted": result.confusables_accepted,
        "threshold": result.threshold,
        "eer": clips.eer,
        "roc_auc": clips.roc_auc,
        "f1": clips.f1,
        "latency_p50": result.latency_p50,
        "latency_p95": result.latency_p95,
        "conditions": [
            {"snr_db": "clean" if one.snr_db is None else one.snr_db, "words": one.words, "frr": one.frr}
            for one in result.conditions
        ],
    }


def clearest_and_worst(features: Path, wake: np.ndarray, config: Config) -> bytes:
    """Mel pictures of the wake words that scored least and of the other windows that scored most."""
    windows = load_windows(features, clean_only=True)
    positive = windows.labels.numpy() > 0
    order = np.argsort(wake)
    missed = [row for row in order if positive[row]][: _SHOWN_MELS // 2]
    mistaken = [row for row in order[::-1] if not positive[row]][: _SHOWN_MELS // 2]
    titles = [f"wake word, {wake[row]:.3f}" for row in missed] + [f"not one, {wake[row]:.3f}" for row in mistaken]
    frontend = config.features.frontend
    mels = windows.mel[[*missed, *mistaken]].float().numpy()
    return plots.mel_grid(mels, titles, frontend.hop_length / config.data.sample_rate)


def sample_mels(features: Path, config: Config) -> bytes:
    """Mel pictures of a few positives and of a few other windows, evenly picked."""
    file = FeatureFile(features)
    labels = file.column("labels")
    chosen: list[int] = []
    for group in (np.flatnonzero(labels > 0), np.flatnonzero(labels == 0)):
        if len(group):
            chosen += group[np.linspace(0, len(group) - 1, min(_SHOWN_MELS // 2, len(group))).astype(int)].tolist()
    titles = [file.labels[labels[row]].removeprefix("_") for row in chosen]
    frontend = config.features.frontend
    return plots.mel_grid(file.rows(chosen), titles, frontend.hop_length / config.data.sample_rate)
