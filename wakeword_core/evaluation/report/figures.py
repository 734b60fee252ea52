"""The final test: the exported model through the streaming detector, on recordings nobody trained or tuned on."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wakeword_core.config import Config, EvaluationConfig
from wakeword_core.config.models import architecture
from wakeword_core.evaluation.measure import plots
from wakeword_core.evaluation.measure.metrics import ClipMetrics
from wakeword_core.evaluation.measure.wording import rule
from wakeword_core.evaluation.report.cascade import (
    CASCADE_PICTURE,
    cascade_figures,
    cascade_picture,
    cascade_summary,
    time_cascade,
)
from wakeword_core.evaluation.report.comparison import compare
from wakeword_core.evaluation.report.devices import device_figures, device_summary
from wakeword_core.evaluation.report.doubtful import DoubtfulRecordings, doubtful_recordings
from wakeword_core.evaluation.report.page import Exhibits, write_report
from wakeword_core.evaluation.report.players import Player, players, stream_players
from wakeword_core.evaluation.report.suspicious import (
    Cut,
    Described,
    SuspiciousRecordings,
    describe,
    suspicious_recordings,
)
from wakeword_core.evaluation.report.windows import group_figures, window_figures
from wakeword_core.evaluation.streams.captured import CapturedCase, captured_cases
from wakeword_core.evaluation.streams.conditions import target_conditions
from wakeword_core.evaluation.streams.operating_points import OperatingPoints
from wakeword_core.evaluation.streams.origins import Origins
from wakeword_core.evaluation.streams.scores import StreamScores, score_streams
from wakeword_core.evaluation.streams.stream_metrics import (
    StreamResult,
    WordRate,
    evaluate_streams,
    told_by_word,
    word_rates,
)
from wakeword_core.evaluation.streams.thresholds import OperatingPoint, SweepPoint, Tradeoff
from wakeword_core.files import read_json, write_json
from wakeword_core.progress import Progress, silent
from wakeword_core.recordings.manifest import quarantined, recording_paths
from wakeword_core.runtime import WakewordModel
from wakeword_core.runtime.exported import JUDGE_FILE, MODEL_FILE
from wakeword_core.runtime.judge import JudgedModel
from wakeword_core.runtime.judge_file import open_judge
from wakeword_core.store.artifacts import Artifact

VOLATILE = frozenset({"report.html", "comparison.json", "suspicious.json"})
"""Files that tell of more than the inputs: an earlier report, the names of files, speeds."""

_TEST_SETTINGS = ("phrase", "seed", "data.audio", "evaluation")
_POINT_FIGURES = (
    "threshold", "words", "misses", "frr", "frr_interval", "false_alarm_count", "fah", "fah_interval",
    "background_hours", "latency_p50", "latency_p95",
)  # fmt: skip
_PHRASE_FIGURES = ("recordings", "accepted", "share", "interval")
_SUMMARY_FIGURES = (
    "frr", "words", "misses", "fah", "confidence", "background_hours", "confusables", "confusables_accepted",
    "threshold", "latency_p50", "latency_p95",
)  # fmt: skip


@dataclass(frozen=True)
class StreamFigures:
    """What continuous audio of the test gave, at the operating points that validation chose and at any other."""

    chosen: OperatingPoints
    tested: Mapping[str, StreamResult]
    """Each operating point on the test."""
    result: StreamResult
    """The model at its own threshold."""
    by_word: list[WordRate]
    """The same of each of several wake words; nothing of one."""
    target_conditions: list[str]
    fah_points: list[OperatingPoint]
    sweep: list[SweepPoint]
    origins: Origins
    """What of the test's streams is real."""

    def to_json(self) -> dict[str, Any]:
        """Return the part of metrics.json about streams."""
        points = {
            name: {
                "validation": asdict(self.chosen.points[name]),
                "test": {
                    **_subset(result, _POINT_FIGURES),
                    "short_phrases": _subset(result.short_phrases, _PHRASE_FIGURES),
                },
            }
            for name, result in self.tested.items()
        }
        return {
            "operating_point": {**asdict(self.chosen.default), "name": self.chosen.name},
            "detector": self.chosen.detector.model_dump(mode="json"),
            "operating_points": points,
            "origins": {"validation": asdict(self.chosen.origins), "test": asdict(self.origins)},
            "target_conditions": self.target_conditions,
            "stream": asdict(self.result),
            **told_by_word(self.by_word),
            "fah_points": [asdict(point) for point in self.fah_points],
            "sweep": [asdict(point) for point in self.sweep],
        }


@dataclass(frozen=True)
class TestFigures:
    """Every number of the report."""

    phrase: str
    stream: StreamFigures
    clips: Mapping[str, ClipMetrics]
    """Of sets of windows by name: `test` are all of them."""
    clip_groups: Mapping[str, Mapping[str, ClipMetrics]]
    """Of groups of windows: kind of group -> name of the group."""
    classes: Mapping[str, ClipMetrics]
    calibration: Mapping[str, Any]
    """As `calibration.json` of the calibrated model has it."""
    suspicious: SuspiciousRecordings
    described: list[Described]
    """What each of the worst suspicious recordings is."""
    data: Mapping[str, Any]
    model: Mapping[str, Any]
    tuning: Mapping[str, Any]
    devices: Mapping[str, Any]
    """The model for microcontrollers, where there is one."""
    cascade: Mapping[str, Any]
    """Model and judge together, where there is one."""
    doubtful: DoubtfulRecordings | None = None
    """Recordings in which a recogniser did not hear the wake word, if one was asked."""
    captured: Sequence[CapturedCase] = ()
    """What the model makes of each labelled capture of the test, as it ships."""

    def to_json(self) -> dict[str, Any]:
        """Return the content of metrics.json."""
        pairs = zip(self.suspicious.worst, self.described, strict=True)
        worst = [{**asdict(suspicion), **asdict(described)} for suspicion, described in pairs]
        return {
            "phrase": self.phrase,
            **self.stream.to_json(),
            "clips": {name: asdict(metrics) for name, metrics in self.clips.items()},
            "clip_groups": {
                kind: {name: group_figures(metrics) for name, metrics in groups.items()}
                for kind, groups in self.clip_groups.items()
            },
            "classes": {name: asdict(metrics) for name, metrics in self.classes.items()},
            "calibration": self.calibration,
            "suspicious": {**asdict(self.suspicious), "worst": worst},
            "data": self.data,
            "model": self.model,
            "tuning": self.tuning,
            **self.devices,
            **self.cascade,
            **({"doubtful": asdict(self.doubtful)} if self.doubtful else {}),
            **({"captured": [asdict(case) for case in self.captured]} if self.captured else {}),
        }

    def summary(self) -> dict[str, Any]:
        """Return the key figures: what stands in artifact.json and is plotted over time."""
        stream, clips = self.stream.result, self.clips["test"]
        wrong = sum(case.wrong for case in self.captured)
        return {
            **_subset(stream, _SUMMARY_FIGURES),
            "short_phrases": stream.short_phrases.recordings,
            "short_phrases_accepted": stream.short_phrases.accepted,
            "frr_interval": list(stream.frr_interval),
            "fah_interval": list(stream.fah_interval),
            "false_alarms": stream.false_alarm_count,
            **{
                f"{figure}_{name}": getattr(result, figure)
                for name, result in self.stream.tested.items()
                for figure in ("frr", "fah")
            },
            **{
                f"short_phrases_accepted_{name}": result.short_phrases.accepted
                for name, result in self.stream.tested.items()
            },
            "eer": clips.eer,
            "roc_auc": clips.roc_auc,
            "f1": clips.f1,
            "conditions": [
                {"condition": condition.name, "words": condition.words, "frr": condition.frr}
                for condition in stream.conditions
            ],
            **told_by_word(self.stream.by_word),
            "suspicious_positives": self.suspicious.positives_wrong,
            "suspicious_others": self.suspicious.others_wrong,
            **({"doubtful_positives": self.doubtful.doubtful} if self.doubtful else {}),
            **device_summary(self.devices),
            **({"captures": len(self.captured), "captures_wrong": wrong} if self.captured else {}),
        }


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
    detector are the model's own. `previous` is the folder of an earlier report to compare with, perhaps the champion's.
    It has no part in `metrics.json`, which is the same for the same inputs; what is not, is in the files named by
    `VOLATILE`.
    """
    model = WakewordModel(inputs["onnx_model"].file(MODEL_FILE))
    shards = inputs["audio_shards[test]"].path
    synthetic = inputs["raw_manifest"].figures["synthetic"]
    scores = score_streams(model.score_audio, shards, config, progress, synthetic=synthetic).lowered(model.handicaps)
    stream = stream_figures(scores, model, OperatingPoints.load(inputs["calibrated_model"].path), config.evaluation)
    windows, pictures = window_figures(model, inputs, config)
    judged = inputs.get("judged_model")
    if judged is not None:
        pictures["cascade"] = cascade_picture(judged, stream.result.background_hours, stream.sweep)
    suspicious, described, suspicious_players = _suspicious(model, inputs, config, progress)
    doubtful, doubtful_excerpts = doubtful_recordings(inputs["audio_shards[train]"].path, config, synthetic, progress)
    figures = TestFigures(
        phrase=config.phrase,
        stream=stream,
        **windows,
        calibration=read_json(inputs["calibrated_model"].file("calibration.json")),
        suspicious=suspicious,
        described=described,
        **_about(inputs, architecture(config.training.model)),
        devices=device_figures(inputs.get("tflite_model")),
        cascade=cascade_figures(judged, stream.to_json()),
        doubtful=doubtful,
        captured=_captured(model, inputs, config, progress),
    )
    metrics = figures.to_json()
    computing = time_cascade(inputs, config)
    marked = {
        name: plots.Marked(stream.chosen.points[name].target_fah, result.frr, result.fah)
        for name, result in stream.tested.items()
    }
    det = plots.det_curve(stream.sweep, marked, stream.result.background_hours)
    misses, alarms, phrases = stream_players(stream.result, scores.conditions, model.front_end, shards, config)
    contents = {name: {"content": artifact.content} for name, artifact in inputs.items()}
    comparison = compare(metrics, contents, config.subset(*_TEST_SETTINGS), previous, of_champion)
    exhibits = Exhibits(
        pictures={
            "det": det,
            **pictures,
            "reliability": inputs["calibrated_model"].file("reliability.png").read_bytes(),
            "training": training_curve,
        },
        misses=misses,
        false_alarms=alarms,
        short_phrases=phrases,
        suspicious=suspicious_players,
        doubtful=players(doubtful_excerpts, model.front_end, config.data.audio.sample_rate),
        paths=recording_paths(inputs["raw_manifest"].path),
        comparison=comparison,
        model=_model_in_words(model, inputs),
        computing=computing,
    )
    write_report(out, metrics, exhibits)
    (out / "det.png").write_bytes(det)
    if judged is not None:
        (out / CASCADE_PICTURE).write_bytes(pictures["cascade"])
    worst = metrics["suspicious"]["worst"]
    write_json(out / "suspicious.json", [{**row, "path": exhibits.paths.get(row["recording_id"])} for row in worst])
    if comparison is not None:
        write_json(out / "comparison.json", comparison)
    return {**figures.summary(), **cascade_summary(metrics, computing)}


def _captured(
    model: WakewordModel, inputs: Mapping[str, Artifact], config: Config, progress: Progress
) -> list[CapturedCase]:
    """Play the captures of the test to the model as it ships: with its judge, if it has one."""
    shipped: WakewordModel | JudgedModel = model
    if "judged_model" in inputs and config.data.captured:
        shipped = JudgedModel(model, open_judge(inputs["judged_model"].file(JUDGE_FILE)))
    return captured_cases(shipped, inputs["audio_shards[test]"].path, config, progress)


def stream_figures(
    scores: StreamScores, model: WakewordModel, chosen: OperatingPoints, evaluation: EvaluationConfig
) -> StreamFigures:
    """Measure a model, with its own detector and thresholds, on scores that its handicaps have lowered."""

    def at(threshold: float) -> StreamResult:
        return evaluate_streams(scores, threshold, evaluation, model.detector)

    tradeoff = Tradeoff(scores, evaluation, model.detector)
    return StreamFigures(
        chosen=chosen,
        tested={name: at(point.threshold) for name, point in chosen.points.items()},
        result=at(model.threshold),
        by_word=word_rates(scores, model.threshold, evaluation, model.detector, model.handicaps),
        target_conditions=[condition.name for condition in target_conditions(evaluation.conditions)],
        fah_points=[tradeoff.point(target) for target in evaluation.report.fah_points],
        sweep=tradeoff.sweep(),
        origins=Origins.of(scores),
    )


def _subset(figures: Any, names: Iterable[str]) -> dict[str, Any]:
    return {name: getattr(figures, name) for name in names}


def _suspicious(
    model: WakewordModel, inputs: Mapping[str, Artifact], config: Config, progress: Progress
) -> tuple[SuspiciousRecordings, list[Described], list[Player | None]]:
    """Return the training recordings to look at, what each of the worst is, and players for these."""
    rate, evaluation = config.data.audio.sample_rate, config.evaluation
    suspicious = suspicious_recordings(
        model.score_windows,
        inputs["mel_features[train]"].path,
        Cut(model.frontend.window_frames, model.frontend.hop_length, model.stride_frames, rate),
        evaluation.report.suspicious_clips,
        progress,
    )
    window = config.features.frontend.window_samples / rate
    described, excerpts = describe(
        inputs["audio_shards[train]"].path, suspicious.worst, rate, window, evaluation.report.clip_seconds
    )
    return suspicious, described, players(excerpts, model.front_end, rate)


def _about(inputs: Mapping[str, Artifact], architecture: str) -> dict[str, dict[str, Any]]:
    """Return what is known of the recordings, the model and its tuning on mined negatives, by the names of fields."""
    manifest, onnx, tuned = inputs["raw_manifest"], inputs["onnx_model"], inputs["tuned_model"]
    return {
        "data": {**manifest.figures, "quarantine": quarantined(manifest.path)},
        "model": {
            "architecture": architecture,
            "parameters": inputs["trained_model"].figures["parameters"],
            "bytes": onnx.files[MODEL_FILE].size,
            "key": onnx.key,
        },
        "tuning": {name: tuned.figures[name] for name in ("tuned", "kept", "mined_clips")},
    }


def _model_in_words(model: WakewordModel, inputs: Mapping[str, Artifact]) -> dict[str, str]:
    words = {
        "CPU ms a second of audio": f"{inputs['onnx_model'].figures['cpu_ms_per_s']:.2f}",
        "detector": rule(model.detector),
    }
    tuning = inputs["tuned_model"].figures
    if tuning["tuned"]:
        outcome = "kept" if tuning["kept"] else "not kept, since validation suffered"
        words["tuned on mined negatives"] = f"{tuning['mined_clips']} clips, {outcome}"
    return words
