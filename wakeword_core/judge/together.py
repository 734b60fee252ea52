"""A model and its judge together: their detector and thresholds, chosen on validation, and what the test gives."""

from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from wakeword_core.config import Config
from wakeword_core.evaluation.measure import plots
from wakeword_core.evaluation.streams.build import target_conditions
from wakeword_core.evaluation.streams.operating_points import OperatingPoints, choose_operating_points
from wakeword_core.evaluation.streams.scores import StreamScores, score_streams
from wakeword_core.evaluation.streams.stream_metrics import StreamResult, evaluate_streams, told_by_word, word_rates
from wakeword_core.evaluation.streams.thresholds import OperatingPoint, SweepPoint, Tradeoff
from wakeword_core.export.onnx_graph import load_model, set_card, write_model
from wakeword_core.files import write_json
from wakeword_core.progress import Progress, silent
from wakeword_core.runtime import WakewordModel
from wakeword_core.runtime.exported import JUDGE_FILE
from wakeword_core.runtime.judge import Judge, JudgedModel

RESULT, PICTURE = "together.json", "det.png"
_KEPT = (
    "threshold", "words", "misses", "frr", "frr_interval", "false_alarm_count", "fah", "fah_interval",
    "background_hours", "confusables", "confusables_accepted", "latency_p50", "latency_p95",
)  # fmt: skip


def choose_together(
    model: WakewordModel,
    judge: Path,
    shards: Path,
    config: Config,
    out: Path,
    progress: Progress = silent,
    synthetic: Collection[str] = (),
) -> tuple[JudgedModel, OperatingPoints]:
    """Write `out/judge.onnx`: the judge with the detector and thresholds that it and the model get on validation.

    `shards` are of the validation split, and `synthetic` the sources that no person was recorded for.
    """
    graph, card = load_model(judge), Judge(judge).card
    gate, hangover = config.judge.gate, config.judge.hangover_seconds
    asked = {**card["judge"], "gate": gate, "hangover_seconds": hangover, "made_for": model.graph_digest}
    path = out / JUDGE_FILE
    set_card(graph, {**card, "judge": asked, "detector": model.card["detector"]})
    write_model(graph, path)
    targets = target_conditions(config.evaluation.conditions)
    together = JudgedModel(model, Judge(path))
    scores = score_streams(
        together.score_audio, shards, config, progress, targets, short_phrases=False, synthetic=synthetic
    )
    chosen, _ = choose_operating_points(scores, config.evaluation, progress)
    set_card(graph, {**card, **chosen.card(), "judge": asked})
    write_model(graph, path)
    return JudgedModel(model, Judge(path)), chosen


def measure_together(
    together: JudgedModel,
    chosen: OperatingPoints,
    alone: Mapping[str, Any],
    shards: Path,
    config: Config,
    out: Path,
    progress: Progress = silent,
    synthetic: Collection[str] = (),
) -> dict[str, Any]:
    """Write `together.json` and `det.png` of the test split's `shards`, and return the key figures.

    `alone` is the report's metrics.json: what the model without a judge gave on the same streams.
    """
    scores = score_streams(together.score_audio, shards, config, progress, synthetic=synthetic).lowered(
        together.handicaps
    )
    evaluation, detector = config.evaluation, together.detector
    tested = {
        name: evaluate_streams(scores, point.threshold, evaluation, detector) for name, point in chosen.points.items()
    }
    tradeoff = Tradeoff(scores, evaluation, detector)
    at_rates = [tradeoff.point(target) for target in evaluation.report.fah_points]
    result, share = tested[chosen.name], heard_share(scores)
    by_word = told_by_word(word_rates(scores, result.threshold, evaluation, detector, together.handicaps))
    marked = {
        f"{name}, with the judge": plots.Marked(chosen.points[name].target_fah, one.frr, one.fah)
        for name, one in tested.items()
    }
    before = [SweepPoint(**point) for point in alone["sweep"]]
    picture = plots.det_curve(
        tradeoff.sweep(), marked, result.background_hours, "with the judge", {"the model alone": before}
    )
    (out / PICTURE).write_bytes(picture)
    write_json(
        out / RESULT,
        {
            "operating_point": chosen.name,
            "detector": detector.model_dump(mode="json"),
            "operating_points": {
                name: {"validation": asdict(chosen.points[name]), "test": key_figures(one)}
                for name, one in tested.items()
            },
            "fah_points": [asdict(point) for point in at_rates],
            "heard_share": share,
            **by_word,
        },
    )
    beside = _beside(at_rates, alone["fah_points"])
    return {**key_figures(result), "heard_share": share, "at_rates": beside, **by_word}


def heard_share(scores: StreamScores) -> float:
    """Return the share of the background's scores at which the judge was asked: those that are not 0."""
    background = [session.scores for session in scores.sessions if session.background]
    return float(np.mean(np.concatenate(background) > 0)) if background else 0.0


def key_figures(result: StreamResult) -> dict[str, Any]:
    """Return the figures of a test that a stage has among its own."""
    return {name: getattr(result, name) for name in _KEPT}


def _beside(together: list[OperatingPoint], alone: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What is missed at the same false alarms an hour, read off the test, where both can have as few."""
    return [
        {
            "target_fah": point.target_fah,
            "frr": point.frr,
            "frr_low": point.frr_interval[0],
            "frr_high": point.frr_interval[1],
            "frr_alone": other["frr"],
            "frr_alone_low": other["frr_interval"][0],
            "frr_alone_high": other["frr_interval"][1],
        }
        for point, other in zip(together, alone, strict=True)
        if point.reachable and other["reachable"]
    ]
