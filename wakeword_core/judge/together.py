"""A model and its judge together: their detector and thresholds, chosen on validation, and what the test gives."""

import shutil
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from wakeword_core.config import Config, EvaluationConfig
from wakeword_core.errors import ConfigError
from wakeword_core.evaluation.report.cascade import TOGETHER
from wakeword_core.evaluation.streams.conditions import target_conditions
from wakeword_core.evaluation.streams.operating_points import OperatingPoints, choose_operating_points
from wakeword_core.evaluation.streams.scores import StreamScores, score_streams
from wakeword_core.evaluation.streams.stream_metrics import StreamResult, evaluate_streams, told_by_word, word_rates
from wakeword_core.evaluation.streams.thresholds import Tradeoff
from wakeword_core.export.onnx_graph import load_model, set_card, write_model
from wakeword_core.files import link_or_copy, write_json
from wakeword_core.lineage.given import OUTSIDE, GivenModel
from wakeword_core.progress import Progress, silent
from wakeword_core.runtime import WakewordModel
from wakeword_core.runtime.exported import ENCODER_FOLDER, JUDGE_FILE, SECOND_FOLDER, runtime_card
from wakeword_core.runtime.judge import JudgedModel
from wakeword_core.runtime.judge_file import AnyJudge, open_judge
from wakeword_core.runtime.onnx_file import read_onnx

_LEAST = 0.2
"""No threshold without people is below it. What a model and its judge say together, the mean of their log-odds, is no
chance: people are often below a half, and background far below."""
_KEPT = (
    "threshold", "words", "misses", "frr", "frr_interval", "false_alarm_count", "fah", "fah_interval",
    "background_hours", "confusables", "confusables_accepted", "latency_p50", "latency_p95",
)  # fmt: skip


def require_second(given: GivenModel, config: Config) -> None:
    """Raise ConfigError where the model of `judge.second` cannot be a judge of the configured model."""
    named = f"judge.second names {given.name}"
    if given.has_weights or "judge" not in runtime_card(read_onnx(given.path)):
        raise ConfigError(
            f"{named}, which is no judge; name the folder of a judge.onnx, or the key of a judge_model that "
            "`wakeword status` lists"
        )
    second = open_judge(given.path)
    if not second.graph_digest:
        raise ConfigError(f"{named}, which carries no seal by which it could be told from others; export it again")
    if second.labels != config.labels:
        known, wanted = (" and ".join(map(repr, labels[1:])) for labels in (second.labels, config.labels))
        raise ConfigError(
            f"{named}, which hears {known}, but the model is to hear {wanted}; name a judge of the same wake words"
        )


def _put_second(given: GivenModel, folder: Path) -> str:
    """Put a judge, with its encoder where that lies beside it, into a folder; returns the digest of its graph."""
    targets = {given.path: folder / JUDGE_FILE}
    if open_judge(given.path).facts.encoder is not None:
        beside = sorted((given.path.parent / ENCODER_FOLDER).glob("*"))
        targets |= {path: folder / ENCODER_FOLDER / path.name for path in beside}
    for path, target in targets.items():
        if given.stage == OUTSIDE:  # no link: the folder is somebody's
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        else:
            link_or_copy(path, target)
    return open_judge(folder).graph_digest


def choose_together(
    model: WakewordModel,
    judge: Path,
    shards: Path,
    config: Config,
    out: Path,
    progress: Progress = silent,
    synthetic: Collection[str] = (),
    second: GivenModel | None = None,
) -> tuple[JudgedModel, OperatingPoints]:
    """Write `out/judge.onnx`: the judge with the detector and thresholds that it and the model get on validation.

    Where its encoder lies beside it, so does it in `out`. A `second` judge, with which the three get them, is put into
    a folder there.

    `shards` are of the validation split, and `synthetic` the sources that no person was recorded for.
    """
    for beside in sorted((judge.parent / ENCODER_FOLDER).glob("*")):
        link_or_copy(beside, out / ENCODER_FOLDER / beside.name)
    graph, card = load_model(judge), runtime_card(read_onnx(judge))
    gate, hangover = config.judge.gate, config.judge.hangover_seconds
    asked = {**card["judge"], "gate": gate, "hangover_seconds": hangover, "made_for": model.graph_digest}
    if second is not None:
        known_by = _put_second(second, out / SECOND_FOLDER)
        asked["second"] = {"graph": known_by, "gate": config.judge.second_gate, "policy": config.judge.policy}
    path = out / JUDGE_FILE
    set_card(graph, {**card, "judge": asked, "detector": model.card["detector"]})
    write_model(graph, path)
    targets = target_conditions(config.evaluation.conditions)
    together = JudgedModel(model, open_judge(path))
    scores = score_streams(
        together.score_audio, shards, config, progress, targets, short_phrases=False, synthetic=synthetic
    )
    chosen, _ = choose_operating_points(replace(scores, least=_LEAST), config.evaluation, progress)
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
    of_first, second = scores, dict[str, Any]()
    if together.second is not None:
        first = JudgedModel(together.model, together.judge, second=False)
        of_first = score_streams(first.score_audio, shards, config, progress, synthetic=synthetic)
        asked_second = asdict(what_it_is_asked(scores, config.evaluation))
        second = {"policy": config.judge.policy, "asked": asked_second, "heard_share": heard_share(scores)}
    asked, share = what_it_is_asked(of_first, config.evaluation), heard_share(of_first)
    scores = scores.lowered(together.handicaps)
    evaluation, detector = config.evaluation, together.detector
    tested = {
        name: evaluate_streams(scores, point.threshold, evaluation, detector) for name, point in chosen.points.items()
    }
    tradeoff = Tradeoff(scores, evaluation, detector)
    result = tested[chosen.name]
    if second:
        passed = evaluate_streams(of_first.lowered(together.handicaps), result.threshold, evaluation, detector)
        second["first"] = key_figures(passed)
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
            **({"second": second} if second else {}),
            **by_word,
        },
    )
    about = {} if together.second is None else _about_second(together.second, second)
    return {**key_figures(result), "heard_share": share, **about, **asdict(asked), **by_word}


def _about_second(judge: AnyJudge, found: Mapping[str, Any]) -> dict[str, Any]:
    """Return figures of the second judge; its encoder has a name where that lies beside it."""
    encoder = judge.facts.encoder
    return {
        "second_policy": found["policy"],
        "second_heard_share": found["heard_share"],
        "second_bytes": judge.path.stat().st_size,
        "second_encoder": encoder.name if encoder else "",
        "second_encoder_licence": encoder.licence if encoder else "",
    }


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
