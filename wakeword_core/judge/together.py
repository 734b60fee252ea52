"""A model and its judge together: their detector and thresholds, chosen on validation, and what the test gives."""

from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wakeword_core.config import Config, EvaluationConfig
from wakeword_core.evaluation.report.cascade import TOGETHER
from wakeword_core.evaluation.streams.conditions import target_conditions
from wakeword_core.evaluation.streams.operating_points import OperatingPoints, choose_operating_points
from wakeword_core.evaluation.streams.scores import StreamScores, score_streams
from wakeword_core.evaluation.streams.stream_metrics import StreamResult, evaluate_streams, told_by_word, word_rates
from wakeword_core.evaluation.streams.thresholds import Tradeoff
from wakeword_core.export.onnx_graph import load_model, set_card, write_model
from wakeword_core.files import link_or_copy, write_json
from wakeword_core.progress import Progress, silent
from wakeword_core.runtime import WakewordModel
from wakeword_core.runtime.exported import ENCODER_FOLDER, JUDGE_FILE, runtime_card
from wakeword_core.runtime.judge import JudgedModel
from wakeword_core.runtime.judge_file import open_judge
from wakeword_core.runtime.onnx_file import read_onnx

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

    Where its encoder lies beside it, so does it in `out`.

    `shards` are of the validation split, and `synthetic` the sources that no person was recorded for.
    """
    for beside in sorted((judge.parent / ENCODER_FOLDER).glob("*")):
        link_or_copy(beside, out / ENCODER_FOLDER / beside.name)
    graph, card = load_model(judge), runtime_card(read_onnx(judge))
    gate, hangover = config.judge.gate, config.judge.hangover_seconds
    asked = {**card["judge"], "gate": gate, "hangover_seconds": hangover, "made_for": model.graph_digest}
    path = out / JUDGE_FILE
    set_card(graph, {**card, "judge": asked, "detector": model.card["detector"]})
    write_model(graph, path)
    targets = target_conditions(config.evaluation.conditions)
    together = JudgedModel(model, open_judge(path))
    scores = score_streams(
        together.score_audio, shards, config, progress, targets, short_phrases=False, synthetic=synthetic
    )
    chosen, _ = choose_operating_points(scores, config.evaluation, progress)
    set_card(graph, {**card, **chosen.card(), "judge": asked})
    write_model(graph, path)
    return JudgedModel(model, open_judge(path)), chosen


def measure_together(
    together: JudgedModel,
    chosen: OperatingPoints,
    shards: Path,
    config: Config,
    out: Path,
    progress: Progress = silent,
    synthetic: Collection[str] = (),
) -> dict[str, Any]:
    """Write `together.json` of the test split's `shards`, and return the key figures."""
    scores = score_streams(together.score_audio, shards, config, progress, synthetic=synthetic)
    asked, share = what_it_is_asked(scores, config.evaluation), heard_share(scores)
    scores = scores.lowered(together.handicaps)
    evaluation, detector = config.evaluation, together.detector
    tested = {
        name: evaluate_streams(scores, point.threshold, evaluation, detector) for name, point in chosen.points.items()
    }
    tradeoff = Tradeoff(scores, evaluation, detector)
    result = tested[chosen.name]
    by_word = told_by_word(word_rates(scores, result.threshold, evaluation, detector, together.handicaps))
    write_json(
        out / TOGETHER,
        {
            "operating_point": chosen.name,
            "detector": detector.model_dump(mode="json"),
            "operating_points": {
                name: {"validation": asdict(chosen.points[name]), "test": key_figures(one)}
                for name, one in tested.items()
            },
            "stream": asdict(result),
            "fah_points": [asdict(tradeoff.point(target)) for target in evaluation.report.fah_points],
            "sweep": [asdict(point) for point in tradeoff.sweep()],
            "heard_share": share,
            "asked": asdict(asked),
            **by_word,
        },
    )
    return {**key_figures(result), "heard_share": share, **asdict(asked), **by_word}


@dataclass(frozen=True)
class Asked:
    """What a judge is asked about: wake words, in the conditions of the headline, and openings of the gate elsewhere.

    A word is asked about where the gate was open in its time, whatever came of it.
    """

    words_asked: int
    openings: int
    """Stretches of background for which the gate was open without a break."""


def what_it_is_asked(scores: StreamScores, evaluation: EvaluationConfig) -> Asked:
    """Count what the judge was asked about: where the gate was closed, the scores of both together are 0."""
    words, openings, tolerance = 0, 0, evaluation.streams.tolerance_seconds
    for session in scores.within(target_conditions(evaluation.conditions)).sessions:
        is_open = session.scores > 0
        if session.background:
            openings += int(np.count_nonzero(np.diff(is_open, prepend=False) & is_open))
        opened = np.concatenate([[0], np.cumsum(is_open)])
        first = np.searchsorted(session.times, [word.start for word in session.words])
        last = np.searchsorted(session.times, [word.end + tolerance for word in session.words], side="right")
        words += int(np.count_nonzero(opened[last] > opened[first]))
    return Asked(words, openings)


def heard_share(scores: StreamScores) -> float:
    """Return the share of the background's scores at which the judge was asked: those that are not 0."""
    background = [session.scores for session in scores.sessions if session.background]
    return float(np.mean(np.concatenate(background) > 0)) if background else 0.0


def key_figures(result: StreamResult) -> dict[str, Any]:
    """Return the figures of a test that a stage has among its own."""
    return {name: getattr(result, name) for name in _KEPT}
