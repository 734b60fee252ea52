"""The model and its judge in the report: what each hears, misses and lets in on the same streams, and how fast."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from wakeword_core.config import Config
from wakeword_core.evaluation.measure import plots
from wakeword_core.evaluation.measure.computing import ChunkTime, Computing, computing_times
from wakeword_core.evaluation.measure.wording import ABSENT
from wakeword_core.evaluation.report.comparison import words_missed
from wakeword_core.evaluation.streams.build import positive_sessions
from wakeword_core.evaluation.streams.conditions import target_conditions
from wakeword_core.evaluation.streams.thresholds import SweepPoint
from wakeword_core.files import read_json
from wakeword_core.runtime import WakewordModel
from wakeword_core.runtime.exported import JUDGE_FILE, MODEL_FILE
from wakeword_core.runtime.judge import JudgedModel
from wakeword_core.runtime.judge_file import open_judge
from wakeword_core.store.artifacts import Artifact

TOGETHER = "together.json"
"""What the model with its judge gives on the test, in the artifact `judged_model`."""
CASCADE_PICTURE = "det_with_judge.png"
_TAKEN_OVER = ("operating_point", "operating_points", "detector", "stream", "fah_points", "heard_share", "asked")
_SAME_SECONDS = 1.0
"""False alarms of two models in one recording are the same within so much."""
_TIMED_SECONDS = 60.0
_MODEL, _GATE, _JUDGE, _BOTH = "the model alone", "the gate", "the judge, of what it is asked about", "both"
_SECOND_GATE, _SECOND = "the second gate", "the second judge, of what it is asked about"
_PAIR, _ALL = "the model and the first judge", "all three"


@dataclass(frozen=True)
class Goal:
    """A figure that models of this kind are held to: what is aimed at, and what was found."""

    name: str
    target: float
    found: float | None
    unit: Literal["ms", "%"]
    met: Literal["yes", "no", "unknown"]
    """Unknown where the gate was never open."""

    @classmethod
    def of(cls, name: str, target: float, found: float | None, unit: Literal["ms", "%"]) -> "Goal":
        """Compare: milliseconds are to be fewer, shares are to be larger."""
        if found is None:
            return cls(name, target, found, unit, "unknown")
        met = found < target if unit == "ms" else found >= target
        return cls(name, target, found, unit, "yes" if met else "no")

    @property
    def bound(self) -> str:
        """What is aimed at, in words."""
        return f"{'under' if self.unit == 'ms' else 'at least'} {self.target:g} {self.unit}"

    @property
    def measured(self) -> str:
        """What was found, in words."""
        return ABSENT if self.found is None else f"{self.found:.1f} {self.unit}"


def cascade_figures(judged: Artifact | None, alone: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of metrics.json about model and judge together; nothing where the model has no judge.

    `alone` is the part about the model alone.
    """
    if judged is None:
        return {}
    together = read_json(judged.file(TOGETHER))
    stream, both = alone["stream"], together["stream"]
    words = words_missed(both, stream)
    return {
        "cascade": {
            **{name: together[name] for name in _TAKEN_OVER},
            **({"second": together["second"]} if "second" in together else {}),
            "filtered": 1 - together["heard_share"],
            "taken_away": {
                "alarms_gone": _without_other(stream["false_alarms"], both["false_alarms"]),
                "alarms_new": _without_other(both["false_alarms"], stream["false_alarms"]),
                "words_lost": words["missed_by_this"],
                "words_won": words["missed_by_previous"],
            },
            "at_rates": _at_rates(together["fah_points"], alone["fah_points"]),
        }
    }


def _without_other(alarms: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]]) -> int:
    """Count the false alarms that have no other at the same moment of the same recording."""
    times: dict[str, list[float]] = {}
    for other in others:
        times.setdefault(other["recording_id"], []).append(other["time"])
    return sum(
        all(abs(alarm["time"] - time) > _SAME_SECONDS for time in times.get(alarm["recording_id"], ()))
        for alarm in alarms
    )


def _at_rates(together: Sequence[Mapping[str, Any]], alone: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What is missed at the same false alarms an hour, read off the test, where both can have as few."""
    return [
        {
            "target_fah": point["target_fah"],
            "frr": point["frr"],
            "frr_low": point["frr_interval"][0],
            "frr_high": point["frr_interval"][1],
            "frr_alone": other["frr"],
            "frr_alone_low": other["frr_interval"][0],
            "frr_alone_high": other["frr_interval"][1],
        }
        for point, other in zip(together, alone, strict=True)
        if point["reachable"] and other["reachable"]
    ]


def time_cascade(inputs: Mapping[str, Artifact], config: Config) -> Computing | None:
    """Measure the time of chunks, on one thread, in the first minute of the test's words; None without a judge."""
    judged = inputs.get("judged_model")
    if judged is None:
        return None
    model = WakewordModel(inputs["onnx_model"].file(MODEL_FILE), threads=1)
    together = JudgedModel(model, open_judge(judged.file(JUDGE_FILE), threads=1))
    (condition, *_), shards = target_conditions(config.evaluation.conditions), inputs["audio_shards[test]"].path
    sound: list[Any] = []
    most = round(_TIMED_SECONDS * model.sample_rate)
    for session in positive_sessions(shards, config, config.seed, condition):
        sound.append(session.pcm)
        if sum(map(len, sound)) >= most:
            break
    return computing_times(together, np.concatenate(sound)[:most])


def cascade_picture(judged: Artifact, hours: float, sweep: Sequence[SweepPoint]) -> bytes:
    """Draw misses against false alarms of both, and the `sweep` of the model alone, in `hours` of background."""
    together = read_json(judged.file(TOGETHER))
    marked = {
        f"{name}, with the judge": plots.Marked(
            sides["validation"]["target_fah"], sides["test"]["frr"], sides["test"]["fah"]
        )
        for name, sides in together["operating_points"].items()
    }
    both = [SweepPoint(**point) for point in together["sweep"]]
    return plots.det_curve(both, marked, hours, "with the judge", {_MODEL: sweep})


def cascade_rows(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return who misses and lets in what on the test, each at the default operating point; nothing without a judge.

    The gate misses a word that the judge is not asked about, and its false alarms are its openings in background. The
    judge misses words that it is asked about and that no event comes of. Of two judges, an event of the first is one of
    what it and the model say, at the threshold of all.
    """
    if "cascade" not in metrics:
        return []
    alone, cascade = metrics["stream"], metrics["cascade"]
    both, asked = cascade["stream"], cascade["asked"]
    words, second = both["words"], cascade.get("second")
    passed = second["first"] if second else both
    rows = [
        _row(_MODEL, alone["words"], alone["misses"], alone["false_alarm_count"], alone),
        _row(_GATE, words, words - asked["words_asked"], asked["openings"], both),
        _judge_row(_JUDGE, asked["words_asked"], passed),
    ]
    if second:
        reached = second["asked"]["words_asked"]
        missed = max(asked["words_asked"] - reached, 0)
        rows.append(_row(_SECOND_GATE, asked["words_asked"], missed, second["asked"]["openings"], both))
        rows.append(_judge_row(_SECOND, reached, both))
    return [*rows, _row(_ALL if second else _BOTH, words, both["misses"], both["false_alarm_count"], both)]


def _judge_row(name: str, words: int, stream: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of a judge that is asked about so many words, with which the events of `stream` are left."""
    heard = stream["words"] - stream["misses"]
    return _row(name, words, max(words - heard, 0), stream["false_alarm_count"], stream)


def _row(name: str, words: int, misses: int, alarms: int, stream: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "words": words,
        "misses": misses,
        "frr": misses / words if words else 0.0,
        "false_alarms": alarms,
        "fah": alarms / stream["background_hours"],
    }


def latency_rows(metrics: Mapping[str, Any], computing: Computing | None) -> list[dict[str, Any]]:
    """Return milliseconds from the end of a word to its event, for model and pair: the rule's and computing, and both.

    The rule's are those of the words that were heard. The last is the sum of the two percentiles. Nothing of what
    heard no word, or never opened the gate.
    """
    if computing is None:
        return []
    both, second = metrics["cascade"]["stream"], metrics["cascade"].get("second")
    pairs: list[tuple[str, Mapping[str, Any], ChunkTime | None]] = [(_MODEL, metrics["stream"], computing.sentry)]
    if second:
        pairs += [(_PAIR, second["first"], computing.both), (_ALL, both, computing.with_second)]
    else:
        pairs += [(_BOTH, both, computing.both)]
    return [
        {
            "name": name,
            **{f"latency_{part}_ms": 1e3 * stream[f"latency_{part}"] for part in ("p50", "p95")},
            **{f"computing_{part}_ms": getattr(time, part) for part in ("p50", "p95")},
            **{f"event_{part}_ms": 1e3 * stream[f"latency_{part}"] + getattr(time, part) for part in ("p50", "p95")},
        }
        for name, stream, time in pairs
        if time is not None and stream["latency_p50"] is not None
    ]


def goals(metrics: Mapping[str, Any], computing: Computing | None) -> list[Goal]:
    """Return what such pairs are held to, and whether it is met: times at the 95th percentile of chunks."""
    if computing is None:
        return []

    def p95(time: ChunkTime | None) -> float | None:
        return None if time is None else time.p95

    has_second = "second" in metrics["cascade"]
    second = [Goal.of("computing of the second judge, on a server", 150.0, p95(computing.second), "ms")]
    return [
        Goal.of("computing of the model, at the edge", 50.0, p95(computing.sentry), "ms"),
        Goal.of("computing of the judge, on a server", 150.0, p95(computing.judge), "ms"),
        *(second if has_second else []),
        Goal.of(f"computing of {_PAIR if has_second else _BOTH}", 200.0, p95(computing.both), "ms"),
        Goal.of("background that the judge does not hear", 90.0, 100 * metrics["cascade"]["filtered"], "%"),
    ]


def cascade_summary(metrics: Mapping[str, Any], computing: Computing | None) -> dict[str, Any]:
    """Return the key figures of model and judge, as numbers and tables; nothing without a judge."""
    if "cascade" not in metrics:
        return {}
    cascade = metrics["cascade"]
    return {
        "filtered": cascade["filtered"],
        "cascade": cascade_rows(metrics),
        "cascade_latency": latency_rows(metrics, computing),
        "cascade_goals": [asdict(goal) for goal in goals(metrics, computing)],
        "taken_away": cascade["taken_away"],
        "at_rates": cascade["at_rates"],
    }
