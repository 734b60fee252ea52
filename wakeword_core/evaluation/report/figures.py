"""The final test: the exported model through the streaming detector, on recordings nobody trained or tuned on."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wakeword_core.config import Config, DetectorConfig
from wakeword_core.evaluation.measure import plots
from wakeword_core.evaluation.measure.clips import onnx_clip_scores, tta_metrics, window_groups
from wakeword_core.evaluation.measure.metrics import (
    PARTIAL_AUC_FPRS,
    ClipMetrics,
    by_recording,
    clip_metrics,
    confusion,
    grouped,
    per_class,
    roc_points,
)
from wakeword_core.evaluation.report.comparison import compare
from wakeword_core.evaluation.report.page import Exhibits, write_report
from wakeword_core.evaluation.report.players import Excerpt, Player, moment_excerpts, players, word_excerpts
from wakeword_core.evaluation.report.suspicious import Cut, describe, suspicious_recordings
from wakeword_core.evaluation.streams.build import Condition, background_sessions, positive_sessions, target_conditions
from wakeword_core.evaluation.streams.operating_points import OperatingPoints
from wakeword_core.evaluation.streams.scores import StreamScores, score_streams
from wakeword_core.evaluation.streams.stream_metrics import StreamResult, evaluate_streams, named_point_results
from wakeword_core.evaluation.streams.thresholds import fah_points, sweep
from wakeword_core.features.store import FeatureFile
from wakeword_core.files import read_json, write_json
from wakeword_core.progress import Progress, silent
from wakeword_core.recordings.manifest import quarantined, read_manifest
from wakeword_core.runtime import WakewordModel
from wakeword_core.runtime.detector import wake_scores
from wakeword_core.runtime.exported import MODEL_FILE
from wakeword_core.store.artifacts import Artifact

VOLATILE = frozenset({"report.html", "comparison.json", "suspicious.json"})
"""Files that tell of more than the inputs: an earlier report, the names of files, speeds."""

_CLIP_THRESHOLD = 0.5
_TEST_SETTINGS = ("evaluation", "phrase", "seed", "data.sample_rate", "data.silence_dbfs")
_GROUP_FIGURES = (
    "count", "positives", "negatives", "false_positives", "false_negatives", "accuracy", "fpr", "fnr",
)  # fmt: skip
_KEY_FIGURES = (
    "threshold", "words", "misses", "frr", "frr_interval", "false_alarm_count", "fah", "fah_interval",
    "background_hours", "latency_p50", "latency_p95",
)  # fmt: skip


def final_test(
    config: Config,
    inputs: Mapping[str, Artifact],
    training_curve: bytes,
    out: Path,
    progress: Progress = silent,
    previous: Path | None = None,
    of_champion: bool = False,
) -> dict[str, Any]:
    """Write `report.html`, `metrics.json`, `det.png` and more to `out`; returns the key figures.

    `inputs` are the artifacts that the report is about, by stage name, `training_curve` is a PNG; thresholds and
    detector are the model's own.
    `previous` is the folder of an earlier report to compare with, perhaps the champion's. It has no part in
    `metrics.json`, which is the same for the same inputs; what is not, is in the files named by `VOLATILE`.
    """
    onnx = inputs["onnx_model"]
    model = WakewordModel(onnx.file(MODEL_FILE))
    shards = inputs["audio_shards[test]"].path
    streams = score_streams(model.score_audio, shards, config, progress)
    stream = _stream_test(streams, model, inputs["calibrated_model"], config)
    windows = _window_test(model, inputs, config, progress)
    suspicious, suspicious_players = _suspicious(model, inputs, config, progress)
    metrics = {
        "phrase": config.phrase,
        **stream.metrics,
        **windows.metrics,
        "calibration": read_json(inputs["calibrated_model"].file("calibration.json")),
        "suspicious": suspicious,
        **_about(inputs, config),
    }
    reliability = inputs["calibrated_model"].file("reliability.png").read_bytes()
    misses, alarms = _stream_players(stream.result, streams.conditions, model, shards, config)
    contents = {name: {"content": one.content} for name, one in inputs.items()}
    comparison = compare(metrics, contents, config.subset(*_TEST_SETTINGS), previous, of_champion)
    exhibits = Exhibits(
        pictures={
            **stream.pictures, **windows.pictures, "reliability": reliability,
            "training": training_curve,
        },
        misses=misses,
        false_alarms=alarms,
        suspicious=suspicious_players,
        paths=_paths(inputs["raw_manifest"].path),
        comparison=comparison,
        model={
            "CPU ms a second of audio": f"{onnx.figures['cpu_ms_per_s']:.2f}",
            "detector": _in_words(model.detector),
            **_tuning_in_words(inputs["tuned_model"].figures),
        },
    )  # fmt: skip
    write_report(out, metrics, exhibits)
    (out / "det.png").write_bytes(stream.pictures["det"])
    write_json(out / "suspicious.json", [{**one, "path": exhibits.paths.get(one["id"])} for one in suspicious["worst"]])
    if comparison is not None:
        write_json(out / "comparison.json", comparison)
    return _figures(stream.result, metrics)


@dataclass(frozen=True)
class _Measured:
    """A part of the report: what goes to metrics.json, and its pictures."""

    metrics: dict[str, Any]
    pictures: dict[str, bytes]


@dataclass(frozen=True)
class _StreamMeasured(_Measured):
    result: StreamResult


def _stream_test(streams: StreamScores, model: WakewordModel, calibrated: Artifact, config: Config) -> _StreamMeasured:
    detector = model.detector
    result = evaluate_streams(streams, model.threshold, config, detector)
    chosen = OperatingPoints.load(calibrated.path)
    tested = named_point_results(streams, chosen.points, config, detector)
    points = sweep(streams, config, detector)
    marked = {
        name: plots.Marked(chosen.points[name].target_fah, one.threshold, one.frr, one.fah)
        for name, one in tested.items()
    }
    metrics = {
        "operating_point": {**asdict(chosen.default), "name": chosen.name},
        "detector": detector.model_dump(mode="json"),
        "operating_points": {
            name: {"validation": asdict(chosen.points[name]), "test": _key_figures(one)} for name, one in tested.items()
        },
        "target_conditions": [one.name for one in target_conditions(config)],
        "stream": asdict(result),
        "fah_points": [asdict(point) for point in fah_points(streams, config, detector)],
        "sweep": [asdict(one) for one in points],
    }
    det = plots.det_curve(points, marked, streams.background_hours)
    return _StreamMeasured(metrics, {"det": det}, result)


def _in_words(detector: DetectorConfig) -> str:
    """What the detector does with the scores."""
    looked_at = f"{detector.smoothing} score{'s' * (detector.smoothing != 1)}"
    held = f", {detector.hold} times in a row" if detector.hold > 1 else ""
    smoothed = f"{detector.votes} of {looked_at}" if detector.votes else f"mean of {looked_at}"
    return f"{smoothed} at or above the threshold{held}; off below {detector.off_ratio:g} of it"


def _tuning_in_words(tuning: Mapping[str, Any]) -> dict[str, str]:
    """What became of the tuning on mined negatives; nothing where there was none."""
    if not tuning["tuned"]:
        return {}
    outcome = "kept" if tuning["kept"] else "not kept, since validation suffered"
    return {"tuned on mined negatives": f"{tuning['mined_clips']} clips, {outcome}"}


def _key_figures(result: StreamResult) -> dict[str, Any]:
    return {name: getattr(result, name) for name in _KEY_FIGURES}


def _window_test(model: WakewordModel, inputs: Mapping[str, Artifact], config: Config, progress: Progress) -> _Measured:
    features, shards = inputs["mel_features[test]"].path, inputs["audio_shards[test]"].path
    confidence = config.evaluation.confidence
    scores, labels = onnx_clip_scores(model.path, features)
    wake, _ = wake_scores(scores)
    positive = (labels > 0).astype(np.int64)
    recordings = _recordings_of(FeatureFile(features))
    any_word = 1 - scores[:, 0]
    clips = clip_metrics(
        wake,
        positive,
        _CLIP_THRESHOLD,
        any_word=any_word,
        recordings=recordings,
        random=_random(config),
        confidence=confidence,
    )
    highest, said, names = by_recording(wake, positive, recordings)
    whole = clip_metrics(
        highest,
        said,
        _CLIP_THRESHOLD,
        any_word=by_recording(any_word, positive, recordings)[0],
        recordings=names,
        random=_random(config),
        confidence=confidence,
    )
    sets = {"test": asdict(clips), "test, recordings by their highest window": asdict(whole)}
    shifted = tta_metrics(
        model.score_windows, shards, "test", config, _CLIP_THRESHOLD, random=_random(config), progress=progress
    )
    if shifted is not None:
        sets["test, mean over shifts"] = asdict(shifted.averaged)
    groups = {
        kind: {
            name: _group_figures(one)
            for name, one in grouped(
                wake, positive, names, _CLIP_THRESHOLD, recordings=recordings, confidence=confidence
            ).items()
        }
        for kind, names in window_groups(shards, recordings).items()
    }
    classes = per_class(scores, labels, config.labels, _CLIP_THRESHOLD, recordings=recordings, confidence=confidence)
    pictures = {
        "scores": plots.score_histogram(wake, labels > 0, model.threshold),
        "confusion": plots.confusion_picture(confusion(scores.argmax(1), labels, len(config.labels)), config.labels),
    }
    if clips.roc_auc is not None:
        roc = roc_points(wake, positive)
        areas = f"ROC-AUC {clips.roc_auc:.5f}, pAUC {clips.pauc_01:.5f}"
        pictures["roc"] = plots.roc_picture(roc.fpr, roc.tpr, areas, PARTIAL_AUC_FPRS["pauc_01"])
    metrics = {
        "clips": sets,
        "clip_groups": groups,
        "classes": {name: asdict(one) for name, one in classes.items()},
    }
    return _Measured(metrics, pictures)


def _random(config: Config) -> np.random.Generator:
    """The generator of the bootstrap: the same for figures that are held side by side."""
    return np.random.default_rng(config.seed)


def _recordings_of(features: FeatureFile) -> NDArray[np.str_]:
    """Which recording each clean window [rows] is of."""
    return features.column("file_ids")[features.column("views") == 0].astype(np.str_)


def _group_figures(metrics: ClipMetrics) -> dict[str, Any]:
    """What is told of a group: there may be hundreds of speakers."""
    intervals = {name: metrics.intervals[name] for name in ("fpr", "fnr") if name in metrics.intervals}
    return {**{name: getattr(metrics, name) for name in _GROUP_FIGURES}, "intervals": intervals}


def _stream_players(
    result: StreamResult, conditions: Sequence[Condition], model: WakewordModel, shards: Path, config: Config
) -> tuple[list[Player | None], list[Player | None]]:
    """The worst misses and false alarms as the model heard them: the sessions of the test are made once more."""
    rate, seconds = config.data.sample_rate, config.evaluation.report_clip_seconds
    window = config.features.frontend.window_samples / rate
    misses = result.miss_list[: config.evaluation.report_clips]
    alarms = result.false_alarms[: config.evaluation.report_clips]
    heard: dict[tuple[str, str], Excerpt] = {}
    for condition in conditions:
        ids = {miss.id for miss in misses if miss.condition == condition.name}
        sessions = positive_sessions(shards, config, config.seed, condition)
        found = word_excerpts(sessions, ids, rate, seconds)
        heard |= {(condition.name, one): excerpt for one, excerpt in found.items()}
    moments = {(alarm.id, alarm.time) for alarm in alarms}
    fired = moment_excerpts(background_sessions(shards, config), moments, rate, window, seconds)
    return (
        players([heard.get((miss.condition, miss.id)) for miss in misses], model.front_end, rate),
        players([fired.get((alarm.id, alarm.time)) for alarm in alarms], model.front_end, rate),
    )


def _suspicious(
    model: WakewordModel, inputs: Mapping[str, Artifact], config: Config, progress: Progress
) -> tuple[dict[str, Any], list[Player | None]]:
    """The training recordings to look at, for metrics.json, and players for them."""
    rate, evaluation = config.data.sample_rate, config.evaluation
    found = suspicious_recordings(
        model.score_windows,
        inputs["mel_features[train]"].path,
        Cut(model.frontend.window_frames, model.frontend.hop_length, model.stride_frames, rate),
        evaluation.report_suspicious_clips,
        progress,
    )
    window = config.features.frontend.window_samples / rate
    described, excerpts = describe(
        inputs["audio_shards[train]"].path, found.worst, rate, window, evaluation.report_clip_seconds
    )
    rows = [{**asdict(one), **(asdict(more) if more else {})} for one, more in zip(found.worst, described, strict=True)]
    return {**asdict(found), "worst": rows}, players(excerpts, model.front_end, rate)


def _about(inputs: Mapping[str, Artifact], config: Config) -> dict[str, Any]:
    """The recordings and the model."""
    manifest, onnx = inputs["raw_manifest"], inputs["onnx_model"]
    return {
        "data": {**manifest.figures, "quarantine": quarantined(manifest.path)},
        "model": {
            "architecture": config.model.arch,
            "parameters": inputs["trained_model"].figures["parameters"],
            "bytes": onnx.files[MODEL_FILE].size,
            "key": onnx.key,
        },
        "tuning": {name: inputs["tuned_model"].figures[name] for name in ("tuned", "kept", "mined_clips")},
    }


def _paths(manifest: Path) -> dict[str, str]:
    rows = read_manifest(manifest)
    return {one: f"{source}/{path}" for one, source, path in zip(rows["id"], rows["source"], rows["path"], strict=True)}


def _figures(result: StreamResult, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """What stands in artifact.json and is plotted over time."""
    clips = metrics["clips"]["test"]
    named = {
        f"{figure}_{name}": sides["test"][figure]
        for name, sides in metrics["operating_points"].items()
        for figure in ("frr", "fah")
    }
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
        **named,
        "eer": clips["eer"],
        "roc_auc": clips["roc_auc"],
        "f1": clips["f1"],
        "latency_p50": result.latency_p50,
        "latency_p95": result.latency_p95,
        "conditions": [{"condition": one.name, "words": one.words, "frr": one.frr} for one in result.conditions],
        "suspicious_positives": metrics["suspicious"]["positives_wrong"],
        "suspicious_others": metrics["suspicious"]["others_wrong"],
    }
