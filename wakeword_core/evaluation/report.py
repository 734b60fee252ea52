"""The report of a test: metrics.json for programs and one self-contained page for people."""

import base64
import math
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from wakeword_core.evaluation.metrics import poisson_upper_bound
from wakeword_core.files import write_json, write_text

_SHOWN = 20
"""Rows of a list on the page; metrics.json has them all."""
_CAPTIONS = {
    "det": "Missed wake words against false alarms an hour",
    "training": "Losses and validation AUC of every epoch",
    "reliability": "Confidence against how often it was right",
    "scores": "Histogram of the scores of both classes",
    "confusion": "Confusion of the classes",
    "mels": "Log-mel windows",
}
_WIDE = ("mels",)
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
    ("roc_auc", "ROC-AUC", "number"),
    ("pauc", "pAUC (FPR ≤ 0.1)", "number"),
    ("eer", "EER", "percent"),
    ("ece", "ECE", "number"),
    ("brier", "Brier score", "number"),
    ("nll", "NLL (nats)", "number"),
)


def write_report(out: Path, metrics: dict[str, Any], pictures: dict[str, bytes]) -> None:
    """Write `metrics.json` and `report.html` to the folder `out`; `pictures` is name -> PNG, in the order shown.

    Of `metrics` everything but `phrase` may be missing; unknown names go to the JSON only:

    - `phrase`;
    - `operating_point`: an OperatingPoint's fields, as chosen on validation, perhaps with `background_hours`;
    - `stream`: a StreamResult's fields; `fah_points`: a list of OperatingPoint fields, read off the test;
    - `clips`: {split: ClipMetrics fields}; `calibration`: a Calibration's fields;
    - `data`: the manifest's summary, and `quarantine`: a list of {source, path, reason};
    - `model`: {name: value}, shown as it is.

    Numbers must be finite: a ValueError otherwise, and nothing is written.
    """
    page = _page(metrics, pictures)
    write_json(out / "metrics.json", metrics)
    write_text(out / "report.html", page)


def claim(stream: Mapping[str, Any]) -> str:
    """What the hours of background let one say about the rate of false alarms."""
    events, hours, level = stream["false_alarm_count"], stream["background_hours"], stream["confidence"]
    bound = poisson_upper_bound(events, hours, level)
    what = f"{events:,} false {'alarm' if events == 1 else 'alarms'} in {hours:.3g} hours of background audio"
    says = "mean" if events > 1 else "means"
    return f"{what} {says} a true rate below {_rate(bound)} an hour at {_percent(level)} confidence."


def reservations(metrics: Mapping[str, Any]) -> list[str]:
    """Sentences about what the figures do not show, or show badly."""
    notes = []
    stream, point, data = (metrics.get(name) or {} for name in ("stream", "operating_point", "data"))
    if point and not point["reachable"]:
        notes.append(
            f"The target of {point['target_fah']:g} false alarms an hour was not reachable on validation; the lowest "
            f"rate at which words are still found is {_rate(point['lowest_fah'])} an hour, and that threshold is used."
        )
    if stream and point:
        notes += _about_target(stream, point["target_fah"])
    share = data.get("unknown_speaker_share") or 0.0
    if share > 0:
        notes.append(
            f"The speaker of {_percent(share)} of the recordings is unknown, so the same person may have been heard in "
            "training and in the test; the figures may flatter the model."
        )
    return notes


def _about_target(stream: Mapping[str, Any], target: float) -> list[str]:
    notes = []
    if stream["fah"] > target:
        notes.append(f"On the test, {_rate(stream['fah'])} false alarms an hour exceed the target of {target:g}.")
    if poisson_upper_bound(stream["false_alarm_count"], stream["background_hours"], stream["confidence"]) > target:
        needed = -math.log(1 - stream["confidence"]) / target
        notes.append(
            f"{stream['background_hours']:.3g} hours of background cannot confirm {target:g} false alarms an hour: "
            f"at {_percent(stream['confidence'])} confidence that takes {needed:.3g} hours without one, or more."
        )
    return notes


def _page(metrics: Mapping[str, Any], pictures: Mapping[str, bytes]) -> str:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "percent": _percent,
        "rate": _rate,
        "number": _number,
        "seconds": lambda value: "–" if value is None else f"{value:.2f} s",
        "clock": _clock,
        "measure": _measure,
    }
    template = environment.from_string(resources.files(__package__).joinpath("report.html.j2").read_text("utf-8"))
    stream = metrics.get("stream")
    data = metrics.get("data") or {}
    return template.render(
        phrase=metrics["phrase"],
        headline=_headline(metrics),
        notes=reservations(metrics),
        stream=stream,
        claim=claim(stream) if stream else "",
        operating=_operating(metrics),
        fah_points=metrics.get("fah_points"),
        pictures=[_picture(name, png) for name, png in pictures.items()],
        clips=metrics.get("clips"),
        clip_rows=_CLIP_ROWS,
        calibration=metrics.get("calibration"),
        data=_Loose(data) if data else None,
        data_rows=_data_rows(data),
        model=metrics.get("model"),
        shown=_SHOWN,
        more=_more,
    )


class _Loose(dict[str, Any]):
    """A mapping whose absent names are None to the template."""

    def __missing__(self, name: str) -> None:
        return None


def _headline(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = []
    if stream := metrics.get("stream"):
        found += [
            ("wake words missed (FRR)", _percent(stream["frr"])),
            ("false alarms an hour (FAH)", _rate(stream["fah"])),
            ("hours of background", f"{stream['background_hours']:.3g}"),
            ("threshold", _number(stream["threshold"], 4)),
        ]
        if stream["latency_p50"] is not None:
            found.append(("from word end to detection (median)", f"{stream['latency_p50']:.2f} s"))
    eer = (metrics.get("clips") or {}).get("test", {}).get("eer")
    if eer is not None:
        found.append(("EER of test windows", _percent(eer)))
    return found


def _operating(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    stream, point = metrics.get("stream"), metrics.get("operating_point")
    rows = []
    if point:
        rows += [
            ("target, false alarms an hour", f"{point['target_fah']:g}"),
            ("threshold, chosen on validation", _number(point["threshold"], 4)),
            ("validation: missed", _percent(point["frr"])),
            ("validation: false alarms an hour", _rate(point["fah"])),
        ]
        if point.get("background_hours") is not None:
            rows.append(("validation: hours of background", f"{point['background_hours']:.3g}"))
    if stream:
        low, high = stream["fah_interval"]
        rows += [
            ("test: missed", f"{_percent(stream['frr'])} ({stream['misses']:,} of {stream['words']:,})"),
            ("test: false alarms an hour", f"{_rate(stream['fah'])} ({stream['false_alarm_count']:,} events)"),
            (f"test: {_percent(stream['confidence'])} interval", f"{_rate(low)} to {_rate(high)} an hour"),
        ]
        if stream.get("confusables"):
            accepted, tried = stream["confusables_accepted"], stream["confusables"]
            rows.append(("test: phrases alike accepted", f"{_percent(accepted / tried)} ({accepted:,} of {tried:,})"))
    return rows


def _data_rows(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    names = {
        "recordings": "recordings found",
        "usable": "usable",
        "quarantined": "left out",
        "hours": "hours usable",
        "speakers": "speakers",
        "unknown_speaker_share": "speaker unknown",
    }
    shown = {"hours": lambda value: _number(value, 2), "unknown_speaker_share": _percent}
    rows = [(name, shown.get(key, lambda value: f"{value:,}")(data[key])) for key, name in names.items() if key in data]
    rows += [(f"role {role}", f"{count:,}") for role, count in (data.get("roles") or {}).items()]
    return rows


def _picture(name: str, png: bytes) -> dict[str, Any]:
    uri = "data:image/png;base64," + base64.b64encode(png).decode()
    return {"uri": uri, "caption": _CAPTIONS.get(name, name), "wide": name in _WIDE}


def _more(rows: list[Any]) -> str:
    return f"And {len(rows) - _SHOWN:,} more in metrics.json." if len(rows) > _SHOWN else ""


def _measure(value: float | None, kind: str) -> str:
    if value is None:
        return "–"
    return {"count": lambda: f"{value:,}", "percent": lambda: _percent(value), "number": lambda: _number(value, 4)}[
        kind
    ]()


def _percent(share: float | None) -> str:
    """A share as a percentage with as many places as it needs: 95 %, 1.3 %, 0.04 %."""
    if share is None:
        return "–"
    value = 100 * share
    places = 2 if 0 < abs(value) < 1 else 1
    return f"{value:.{places}f}".removesuffix(".0") + " %"


def _number(value: float | None, places: int) -> str:
    return "–" if value is None else f"{value:.{places}f}"


def _rate(value: float | None) -> str:
    """Events an hour to two or three significant figures, never in exponents."""
    if value is None:
        return "–"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}".rstrip("0").rstrip(".") if value >= 0.1 or value == 0 else f"{value:.2g}"


def _clock(seconds: float) -> str:
    """Minutes, and seconds to a tenth, of a place in a recording."""
    tenths = round(seconds * 10)
    return f"{tenths // 600}:{tenths % 600 / 10:04.1f}"
