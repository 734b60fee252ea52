"""The report of a test: metrics.json for programs and one self-contained page for people."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wakeword_core.config import NEGATIVE_LABEL, SPLITS
from wakeword_core.evaluation.measure import wording
from wakeword_core.evaluation.measure.computing import Computing
from wakeword_core.evaluation.measure.wording import number, percent, rate, seconds
from wakeword_core.evaluation.report.cascade import cascade_rows, goals, latency_rows
from wakeword_core.evaluation.report.devices import device_rows
from wakeword_core.evaluation.report.parts import (
    SHOWN,
    condition_chart,
    group_chart,
    more,
    phrase_chart,
    render,
    with_players,
)
from wakeword_core.evaluation.report.players import Player, data_uri
from wakeword_core.files import write_json, write_text

_CLIP_ROWS = (
    ("count", "windows", "count"),
    ("positives", "with a wake word", "count"),
    ("threshold", "threshold", "number"),
    ("accuracy", "accuracy", "percent"),
    ("precision", "precision", "percent"),
    ("recall", "recall", "percent"),
    ("f1", "F1", "number"),
    ("fpr", "false-positive rate", "percent"),
    ("fnr", "false-negative rate", "percent"),
    ("roc_auc", "ROC-AUC", "area"),
    ("pauc_01", "pAUC, FPR ≤ 0.1", "area"),
    ("pauc_005", "pAUC, FPR ≤ 0.05", "area"),
    ("eer", "EER", "percent"),
    ("ece", "ECE", "number"),
    ("brier", "Brier score", "number"),
    ("nll", "NLL (nats)", "number"),
)
_GROUP_CHARTS = (
    ("Windows taken for the word, by source", "source", "fpr", "negatives", "false_positives"),
    ("Windows of the word not taken for it, by noise", "snr", "fnr", "positives", "false_negatives"),
)
_SECTIONS = {
    "points": "operating points",
    "cascade": "with its judge",
    "devices": "on a microcontroller",
    "comparison": "last report",
    "missed": "missed words",
    "misses": "worst misses",
    "alarms": "worst false alarms",
    "phrases": "short phrases by strangers",
    "captured": "captures",
    "windows": "windows and calibration",
    "training": "training",
    "data": "recordings",
    "suspicious": "suspicious recordings",
    "doubtful": "doubtful recordings",
}
"""Each section's anchor and name."""


@dataclass(frozen=True)
class Exhibits:
    """What only the page shows: sounds and pictures, and what is no property of the inputs.

    Players are of the first rows of `stream.miss_list`, `stream.false_alarms` and `stream.short_phrases.alarms`, and
    of all of `suspicious.worst` and `doubtful.worst`.
    """

    pictures: Mapping[str, bytes] = field(default_factory=dict)
    """Name -> PNG: det, scores, reliability, confusion, training; roc of both classes; cascade with a judge."""
    misses: Sequence[Player | None] = ()
    false_alarms: Sequence[Player | None] = ()
    short_phrases: Sequence[Player | None] = ()
    suspicious: Sequence[Player | None] = ()
    doubtful: Sequence[Player | None] = ()
    paths: Mapping[str, str] = field(default_factory=dict)
    """recording_id -> where it lies."""
    comparison: Mapping[str, Any] | None = None
    model: Mapping[str, Any] = field(default_factory=dict)
    computing: Computing | None = None
    """What a chunk takes here, of the model alone and with its judge."""


def write_report(out: Path, metrics: dict[str, Any], exhibits: Exhibits) -> None:
    """Write `metrics.json` and `report.html` to the folder `out`.

    `metrics` is what `TestFigures.to_json` returns. Numbers must be finite: a ValueError otherwise, and nothing is
    written.
    """
    page = render("report.html.j2", _contents(metrics, exhibits))
    write_json(out / "metrics.json", metrics)
    write_text(out / "report.html", page)


def _contents(metrics: Mapping[str, Any], exhibits: Exhibits) -> dict[str, Any]:
    stream, data, suspicious = metrics["stream"], metrics["data"], metrics["suspicious"]
    short = stream["short_phrases"]
    optional = {
        "comparison": exhibits.comparison,
        "cascade": "cascade" in metrics,
        "devices": "tflite" in metrics,
        "suspicious": suspicious["worst"],
        "phrases": short["recordings"],
        "doubtful": "doubtful" in metrics,
        "captured": "captured" in metrics,
    }
    return {
        "title": f"{metrics['phrase']}: test report",
        "phrase": metrics["phrase"],
        "about": "How well this wake word is recognised in continuous audio that training has never seen.",
        "sections": {anchor: name for anchor, name in _SECTIONS.items() if optional.get(anchor, True)},
        "headline": _headline(metrics),
        "notes": wording.reservations(metrics),
        "claim": f"{wording.claim(stream)} {wording.evidence(metrics)}",
        "pictures": {name: data_uri("image/png", png) for name, png in exhibits.pictures.items()},
        "paths": exhibits.paths,
        "points": sorted(metrics["operating_points"].items(), key=lambda named: named[1]["validation"]["target_fah"]),
        "default_point": metrics["operating_point"]["name"],
        "fah_points": metrics["fah_points"],
        "operating": _operating(stream),
        "by_word": metrics.get("by_word"),
        "cascade": metrics.get("cascade"),
        "cascade_rows": cascade_rows(metrics),
        "latency_rows": latency_rows(metrics, exhibits.computing),
        "goals": goals(metrics, exhibits.computing),
        "devices": device_rows(metrics),
        "tflite": metrics.get("tflite"),
        "comparison": exhibits.comparison,
        "confidence": stream["confidence"],
        "conditions": condition_chart(stream["conditions"], metrics["target_conditions"]),
        "by_source": group_chart(stream["by_source"]),
        "by_speaker": group_chart(stream["by_speaker"]),
        # one group is what all other figures are of
        "by_origin": group_chart(stream["by_origin"]) if len(stream["by_origin"]) > 1 else None,
        **with_players("misses", stream["miss_list"], exhibits.misses),
        **with_players("alarms", stream["false_alarms"], exhibits.false_alarms),
        "short_phrases": short,
        "phrases_by_source": phrase_chart(short["by_source"]),
        **with_players("phrases", short["alarms"], exhibits.short_phrases),
        "negative": NEGATIVE_LABEL,
        "captured": sorted(metrics.get("captured", ()), key=lambda case: (not case["wrong"], case["recording_id"])),
        "calibration": metrics["calibration"],
        "clips": metrics["clips"],
        "clip_rows": _CLIP_ROWS,
        "clip_groups": _clip_groups(metrics["clip_groups"]),
        "model": [
            (name, f"{value:,}" if isinstance(value, int) else value)
            for name, value in {**metrics["model"], **exhibits.model}.items()
        ],
        "data": data,
        "splits": SPLITS,
        "data_rows": _data_rows(data),
        "who_says_it": wording.who_says_it(data["health"]),
        "quarantine": data["quarantine"][:SHOWN],
        "more_quarantine": more(data["quarantine"], SHOWN),
        "suspicious": suspicious,
        "doubtful": metrics.get("doubtful"),
        "doubtful_players": exhibits.doubtful,
        "suspicious_tables": _suspicious_tables(suspicious["worst"], exhibits.suspicious),
    }


def _headline(metrics: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return the figures at the top: value, name and small print."""
    stream, eer, short = metrics["stream"], metrics["clips"]["test"]["eer"], metrics["stream"]["short_phrases"]
    (low, high), (few, many) = stream["frr_interval"], stream["fah_interval"]
    conditions = " and ".join(metrics["target_conditions"])
    voices = "" if metrics["origins"]["test"]["real_words"] else ", synthetic voices only"
    figures = [
        ("wake words missed (FRR)", percent(stream["frr"]), f"{percent(low)} to {percent(high)}, {conditions}{voices}"),
        (
            "false alarms an hour (FAH)",
            rate(stream["fah"]),
            f"{rate(few)} to {rate(many)} at {percent(stream['confidence'])}",
        ),
        ("hours of background", f"{stream['background_hours']:.3g}", ""),
        ("threshold", number(stream["threshold"], 4), metrics["operating_point"]["name"]),
    ]
    if short["recordings"]:
        low, high = short["interval"]
        span = f"{short['accepted']:,} of {short['recordings']:,}, {percent(low)} to {percent(high)}"
        figures.append(("short phrases by strangers let in", percent(short["share"]), span))
    if stream["latency_p50"] is not None:
        late = f"{seconds(stream['latency_p95'])} at the 95th percentile"
        figures.append(("from word end to detection (median)", seconds(stream["latency_p50"]), late))
    if eer is not None:
        figures.append(("EER of test windows", percent(eer), ""))
    return figures


def _operating(stream: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what the default operating point gave on the test, as names and values."""
    low, high = stream["fah_interval"]
    rows = [
        ("missed", f"{percent(stream['frr'])} ({stream['misses']:,} of {stream['words']:,})"),
        ("false alarms an hour", f"{rate(stream['fah'])} ({stream['false_alarm_count']:,} in all)"),
        (f"{percent(stream['confidence'])} interval", f"{rate(low)} to {rate(high)} an hour"),
    ]
    if tried := stream["confusables"]:
        accepted = stream["confusables_accepted"]
        rows.append(("phrases alike accepted", f"{percent(accepted / tried)} ({accepted:,} of {tried:,})"))
    if (short := stream["short_phrases"])["recordings"]:
        counted = f"({short['accepted']:,} of {short['recordings']:,})"
        rows.append(("short phrases by strangers", f"{percent(short['share'])} {counted}"))
    return rows


def _clip_groups(groups: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    charts = []
    for title, kind, rate_name, trials, events in _GROUP_CHARTS:
        rows = [
            {
                "name": name,
                "words": figures[trials],
                "misses": figures[events],
                "frr": figures[rate_name],
                "frr_interval": figures["intervals"][rate_name],
            }
            for name, figures in groups[kind].items()
            if figures[trials]
        ]
        if chart := group_chart(rows):
            chart |= {"what": kind.replace("snr", "speech above the rest"), "rate": rate_name}
            charts.append((title, chart))
    return charts


def _data_rows(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        ("recordings found", f"{data['recordings']:,}"),
        ("usable", f"{data['usable']:,}"),
        ("left out", f"{data['quarantined']:,}"),
        ("hours usable", number(data["hours"], 2)),
        ("speaker groups", f"{data['speakers']:,}"),
        ("speaker unknown", percent(data["unknown_speaker_share"])),
        *((f"role {role}", f"{count:,}") for role, count in data["roles"].items()),
    ]


def _suspicious_tables(
    rows: Sequence[Mapping[str, Any]], players: Sequence[Player | None]
) -> list[tuple[str, list[tuple[Mapping[str, Any], Player | None]]]]:
    pairs = list(zip(rows, players, strict=True))
    return [
        ("Wake words that score least like one", [pair for pair in pairs if pair[0]["positive"]]),
        ("Other recordings that score most like the wake word", [pair for pair in pairs if not pair[0]["positive"]]),
    ]
