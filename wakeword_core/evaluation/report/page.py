"""The report of a test: metrics.json for programs and one self-contained page for people."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from wakeword_core.evaluation.measure import wording
from wakeword_core.evaluation.measure.wording import number, percent, rate, seconds
from wakeword_core.evaluation.report.players import Player, data_uri
from wakeword_core.files import write_json, write_text

_SHOWN = 20
"""Rows of a list on the page; metrics.json has them all."""
_KNOWN_PICTURES = ("det", "roc", "scores", "reliability", "confusion", "training")
_SCALES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)
"""Ends of a chart's axis."""
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
    (
        "Windows of the word not taken for it, by noise",
        "snr",
        "fnr",
        "positives",
        "false_negatives",
    ),
)
_SECTIONS = (
    ("points", "operating points", ("points", "fah_points", "operating", "det")),
    ("comparison", "last report", ("comparison",)),
    ("missed", "missed words", ("stream",)),
    ("misses", "worst misses", ("stream",)),
    ("alarms", "worst false alarms", ("stream",)),
    ("windows", "windows and calibration", ("clips", "calibration", "roc", "scores", "reliability", "confusion")),
    ("training", "training", ("model", "training")),
    ("data", "recordings", ("data",)),
    ("suspicious", "suspicious recordings", ("suspicious",)),
)
"""Each section's anchor and name, and what it is made of: the page has it if there is any of that."""


@dataclass(frozen=True)
class Exhibits:
    """What only the page shows: sounds and pictures, and what is no property of the inputs."""

    pictures: Mapping[str, bytes] = field(default_factory=dict)
    """Name -> PNG: det, roc, scores, reliability, confusion, training; others are shown under their name."""
    misses: Sequence[Player | None] = ()
    """Of the first rows of `stream.miss_list`."""
    false_alarms: Sequence[Player | None] = ()
    """Of the first rows of `stream.false_alarms`."""
    suspicious: Sequence[Player | None] = ()
    """Of the rows of `suspicious.worst`."""
    paths: Mapping[str, str] = field(default_factory=dict)
    """Recording id -> where it lies."""
    comparison: Mapping[str, Any] | None = None
    """As `comparison.compare` returns it."""
    model: Mapping[str, Any] = field(default_factory=dict)
    """More about the model than `metrics` has."""


def write_report(out: Path, metrics: dict[str, Any], exhibits: Exhibits | None = None) -> None:
    """Write `metrics.json` and `report.html` to the folder `out`.

    Of `metrics` everything but `phrase` may be missing; unknown names go to the JSON only:

    - `phrase`;
    - `operating_point`: the default OperatingPoint's fields, as chosen on validation, and its `name`;
    - `operating_points`: {name: {validation: OperatingPoint fields, test: StreamResult fields or some of them}};
    - `stream`: a StreamResult's fields; `target_conditions`: names of those that its headline is of;
    - `fah_points`: a list of OperatingPoint fields, read off the test;
    - `clips`: {set: ClipMetrics fields}; `clip_groups`: {source or snr: {name: some of them}}; `calibration`;
    - `data`: the manifest's summary, and `quarantine`: a list of {source, path, reason};
    - `suspicious`: SuspiciousRecordings' fields, every row of `worst` with its description's;
    - `model`: {name: value}, shown as it is.

    Numbers must be finite: a ValueError otherwise, and nothing is written.
    """
    page = _page(metrics, exhibits or Exhibits())
    write_json(out / "metrics.json", metrics)
    write_text(out / "report.html", page)


def _page(metrics: Mapping[str, Any], exhibits: Exhibits) -> str:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    # a percent sign stays with its number
    environment.finalize = lambda value: value.replace(" %", "\N{NO-BREAK SPACE}%") if isinstance(value, str) else value
    environment.filters |= {
        name: getattr(wording, name) for name in ("percent", "rate", "number", "seconds", "clock", "measure", "signed")
    }
    template = environment.from_string(resources.files(__package__).joinpath("report.html.j2").read_text("utf-8"))
    return template.render(_contents(metrics, exhibits))


def _contents(metrics: Mapping[str, Any], exhibits: Exhibits) -> dict[str, Any]:
    """Everything that the template names."""
    pictures = {name: data_uri("image/png", png) for name, png in exhibits.pictures.items()}
    parts: dict[str, Any] = {
        "phrase": metrics["phrase"],
        "headline": _headline(metrics),
        "notes": wording.reservations(metrics),
        "comparison": exhibits.comparison,
        "pictures": _Loose(pictures),
        "other_pictures": [(name, uri) for name, uri in pictures.items() if name not in _KNOWN_PICTURES],
        "paths": _Loose(exhibits.paths),
        "model": _model_rows({**(metrics.get("model") or {}), **exhibits.model}),
        **_operating_parts(metrics),
        **_stream_parts(metrics, exhibits),
        **_window_parts(metrics),
        **_data_parts(metrics.get("data") or {}),
        **_suspicious_parts(metrics.get("suspicious") or {}, exhibits.suspicious),
    }
    sections = {
        anchor: name
        for anchor, name, made_of in _SECTIONS
        if any(parts.get(part) or part in pictures for part in made_of)
    }
    return {**parts, "sections": sections}


class _Loose(dict[str, Any]):
    """A mapping whose absent names are None to the template."""

    def __missing__(self, name: str) -> None:
        return None


def _headline(metrics: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The figures at the top: value, name and small print."""
    figures = []
    if stream := metrics.get("stream"):
        level = percent(stream["confidence"])
        conditions = " and ".join(metrics.get("target_conditions") or ())
        low, high = stream["frr_interval"]
        few, many = stream["fah_interval"]
        point = (metrics.get("operating_point") or {}).get("name") or ""
        figures += [
            (
                "wake words missed (FRR)",
                percent(stream["frr"]),
                f"{percent(low)} to {percent(high)}, {conditions or level}",
            ),
            ("false alarms an hour (FAH)", rate(stream["fah"]), f"{rate(few)} to {rate(many)} at {level}"),
            ("hours of background", f"{stream['background_hours']:.3g}", ""),
            ("threshold", number(stream["threshold"], 4), point),
        ]
        if stream["latency_p50"] is not None:
            late = f"{seconds(stream['latency_p95'])} at the 95th percentile"
            figures.append(("from word end to detection (median)", seconds(stream["latency_p50"]), late))
    eer = (metrics.get("clips") or {}).get("test", {}).get("eer")
    if eer is not None:
        figures.append(("EER of test windows", percent(eer), ""))
    return figures


def _operating_parts(metrics: Mapping[str, Any]) -> dict[str, Any]:
    points = _points(metrics)
    return {
        "points": points,
        "point_notes": [(point["name"], point["note"]) for point in points if point["note"]],
        "operating": _operating(metrics, alone=not points),
        "fah_points": metrics.get("fah_points"),
    }


def _points(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The named operating points, on validation and on the test, the strictest first."""
    default = (metrics.get("operating_point") or {}).get("name")
    points = []
    for name, sides in (metrics.get("operating_points") or {}).items():
        chosen, test = sides["validation"], sides.get("test")
        points.append(
            {
                "name": name,
                "default": name == default,
                "target_fah": chosen["target_fah"],
                "threshold": chosen["threshold"],
                "validation": _side(chosen),
                "test": _side(test) if test else None,
                "note": chosen.get("note") or "",
            }
        )
    return sorted(points, key=lambda point: point["target_fah"])


def _side(figures: Mapping[str, Any]) -> dict[str, Any]:
    """FRR and FAH of an OperatingPoint or of a StreamResult, with what they were counted on."""
    alarms = figures.get("false_alarm_count", figures.get("false_alarms"))
    return {
        "frr": figures["frr"],
        "fah": figures["fah"],
        "frr_interval": figures.get("frr_interval"),
        "fah_interval": figures.get("fah_interval"),
        "alarms": len(alarms) if isinstance(alarms, list) else alarms,
        "hours": figures.get("background_hours"),
    }


def _operating(metrics: Mapping[str, Any], *, alone: bool) -> list[tuple[str, str]]:
    """The default point; `alone`: no table of named points says what validation gave."""
    stream, point = metrics.get("stream"), metrics.get("operating_point")
    rows = []
    if point and alone:
        rows += [
            ("target, false alarms an hour", f"{point['target_fah']:g}"),
            ("threshold, chosen on validation", number(point["threshold"], 4)),
            ("validation: missed", percent(point["frr"])),
            ("validation: false alarms an hour", rate(point["fah"])),
        ]
        if point.get("background_hours") is not None:
            rows.append(("validation: hours of background", f"{point['background_hours']:.3g}"))
    if stream:
        low, high = stream["fah_interval"]
        rows += [
            ("missed", f"{percent(stream['frr'])} ({stream['misses']:,} of {stream['words']:,})"),
            ("false alarms an hour", f"{rate(stream['fah'])} ({stream['false_alarm_count']:,} in all)"),
            (f"{percent(stream['confidence'])} interval", f"{rate(low)} to {rate(high)} an hour"),
        ]
        if stream.get("confusables"):
            accepted, tried = stream["confusables_accepted"], stream["confusables"]
            rows.append(("phrases alike accepted", f"{percent(accepted / tried)} ({accepted:,} of {tried:,})"))
    return rows


def _stream_parts(metrics: Mapping[str, Any], exhibits: Exhibits) -> dict[str, Any]:
    """The charts of missed words, and the worst misses and false alarms."""
    stream = metrics.get("stream")
    if not stream:
        return {"stream": None}
    targets = set(metrics.get("target_conditions") or ())
    conditions = [
        {**condition, "marked": condition["name"] in targets, "latency": _latency(condition)}
        for condition in stream["conditions"]
    ]
    return {
        "stream": stream,
        "claim": wording.claim(stream),
        "conditions": {**_chart(conditions), "latency": True},
        "by_source": _group_chart(stream.get("by_source")),
        "by_speaker": _group_chart(stream.get("by_speaker")),
        **_played("misses", stream["miss_list"], exhibits.misses),
        **_played("alarms", stream["false_alarms"], exhibits.false_alarms),
    }


def _latency(condition: Mapping[str, Any]) -> str:
    return f"{seconds(condition['latency_p50'])} / {seconds(condition['latency_p95'])}"


def _group_chart(groups: Sequence[Mapping[str, Any]] | None) -> dict[str, Any] | None:
    """The groups with most misses; None without any."""
    return _chart(sorted(groups, key=_worst_first), _SHOWN) if groups else None


def _worst_first(group: Mapping[str, Any]) -> tuple[float, int, str]:
    return -group["frr"], -group["words"], group["name"]


def _chart(groups: Sequence[Mapping[str, Any]], limit: int | None = None) -> dict[str, Any]:
    """Rates with their intervals as rows of a dot plot; places are percentages of its width."""
    kept = groups[:limit]
    highest = max((group["frr_interval"][1] for group in kept), default=1.0)
    scale = next((end for end in _SCALES if end >= highest), 1.0)
    rows = [
        {
            "name": group["name"],
            "count": group["words"],
            "events": group["misses"],
            "rate": group["frr"],
            "interval": group["frr_interval"],
            "at": _place(group["frr"], scale),
            "left": _place(group["frr_interval"][0], scale),
            "width": _place(group["frr_interval"][1] - group["frr_interval"][0], scale),
            "far": bool(group.get("far")),
            "marked": bool(group.get("marked")),
            "latency": group.get("latency", ""),
        }
        for group in kept
    ]
    far = any(row["far"] for row in rows)
    return {"rows": rows, "scale": scale, "more": _more(groups, len(kept)), "latency": False, "far": far}


def _place(share: float, scale: float) -> str:
    return f"{100 * min(share / scale, 1.0):.2f}"


def _played(
    name: str, rows: Sequence[Mapping[str, Any]], sounds: Sequence[Player | None]
) -> dict[str, list[tuple[Any, Player | None]] | str]:
    """The first rows of a list with their players; without any players, as many as any list shows."""
    kept = rows[: len(sounds) or _SHOWN]
    pairs = [(_Loose(row), sounds[index] if sounds else None) for index, row in enumerate(kept)]
    return {name: pairs, f"more_{name}": _more(rows, len(kept))}


def _window_parts(metrics: Mapping[str, Any]) -> dict[str, Any]:
    clips, calibration = metrics.get("clips"), metrics.get("calibration")
    measured = {name for figures in (clips or {}).values() for name in figures}
    return {
        "clips": clips,
        "clip_rows": [row for row in _CLIP_ROWS if row[0] in measured],
        "clip_groups": _clip_groups(metrics.get("clip_groups") or {}),
        "calibration": _Loose(calibration) if calibration else None,
    }


def _clip_groups(groups: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Which sources' windows are taken for a wake word, and in which recordings wake words are not."""
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
            for name, figures in (groups.get(kind) or {}).items()
            if figures[trials]
        ]
        if chart := _group_chart(rows):
            chart |= {"what": kind.replace("snr", "speech above the rest"), "rate": rate_name}
            charts.append((title, chart))
    return charts


def _model_rows(model: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(name, f"{value:,}" if isinstance(value, int) else value) for name, value in model.items()]


def _data_parts(data: Mapping[str, Any]) -> dict[str, Any]:
    names = {
        "recordings": "recordings found",
        "usable": "usable",
        "quarantined": "left out",
        "hours": "hours usable",
        "speakers": "speakers",
        "unknown_speaker_share": "speaker unknown",
    }
    written = {"hours": lambda value: number(value, 2), "unknown_speaker_share": percent}
    rows = [
        (name, written.get(key, lambda value: f"{value:,}")(data[key])) for key, name in names.items() if key in data
    ]
    rows += [(f"role {role}", f"{count:,}") for role, count in (data.get("roles") or {}).items()]
    quarantine = data.get("quarantine") or []
    return {
        "data": _Loose(data) if data else None,
        "data_rows": rows,
        "quarantine": quarantine[:_SHOWN],
        "more_quarantine": _more(quarantine, _SHOWN),
    }


def _suspicious_parts(suspicious: Mapping[str, Any], sounds: Sequence[Player | None]) -> dict[str, Any]:
    rows = suspicious.get("worst") or []
    if not rows:
        return {"suspicious": []}
    sounds = [*sounds, *[None] * (len(rows) - len(sounds))]
    pairs = [(_Loose(row), sound) for row, sound in zip(rows, sounds, strict=True)]
    words = (
        f"{suspicious['positives_wrong']:,} of {suspicious['positives']:,} training recordings of a wake word score "
        f"below 0.5, and {suspicious['others_wrong']:,} of {suspicious['others']:,} others above."
    )
    return {
        "suspicious_words": words,
        "suspicious": [
            ("Wake words that score least like one", [pair for pair in pairs if pair[0]["positive"]]),
            (
                "Other recordings that score most like the wake word",
                [pair for pair in pairs if not pair[0]["positive"]],
            ),
        ],
    }


def _more(rows: Sequence[Any], kept: int) -> str:
    return f"And {len(rows) - kept:,} more in metrics.json." if len(rows) > kept else ""
