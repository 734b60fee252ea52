"""Figures in words: how numbers are written for people, and what the hours of background let one claim."""

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from wakeword_core.config import NEGATIVE_LABEL, DetectorConfig
from wakeword_core.evaluation.measure.intervals import poisson_upper_bound

ABSENT = "–"
_SPLITS = {"validation": "validation", "test": "the test"}
_ONLY_SYNTHETIC = {
    "validation": "its miss rates are of synthetic voices, and the thresholds were set by background, or by "
    "phrases that sound alike where there was too little of it.",
    "test": "its miss rates are of synthetic voices, and say nothing of how people are heard.",
}


def percent(share: float | None) -> str:
    """Write a share as a percentage with as many places as it needs: 95 %, 1.3 %, 0.04 %."""
    if share is None:
        return ABSENT
    value = 100 * share
    places = 2 if 0 < abs(value) < 1 else 1
    return f"{value:.{places}f}".removesuffix(".0") + " %"


def number(value: float | None, places: int) -> str:
    """Write a number to so many places."""
    return ABSENT if value is None else f"{value:.{places}f}"


def rate(value: float | None) -> str:
    """Write events an hour to two or three significant figures, never in exponents."""
    if value is None:
        return ABSENT
    if value >= 100:
        return f"{value:,.0f}"
    if value >= 0.1 or value == 0:
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return f"{Decimal(f'{value:.2g}'):f}"


def seconds(value: float | None) -> str:
    """Write a duration in seconds to hundredths."""
    return ABSENT if value is None else f"{value:.2f} s"


def clock(value: float | None) -> str:
    """Write a place in a recording as minutes, and seconds to a tenth."""
    if value is None:
        return ABSENT
    tenths = round(value * 10)
    return f"{tenths // 600}:{tenths % 600 / 10:04.1f}"


def measure(value: float | None, kind: str) -> str:
    """Write a value of a kind: count, percent, points (of a share), rate, number, area, seconds or decibels."""
    if value is None:
        return ABSENT
    written = {
        "count": lambda: f"{value:,}",
        "percent": lambda: percent(value),
        "points": lambda: percent(value).replace("%", "points"),
        "rate": lambda: rate(value),
        "number": lambda: number(value, 4),
        "area": lambda: number(value, 5),
        "seconds": lambda: seconds(value),
        "decibels": lambda: f"{value:.0f} dBFS".replace("-", "−"),
    }
    return written[kind]()


def signed(value: float | None, kind: str) -> str:
    """Write a difference with its sign, also where it is 0 (then without one)."""
    if value is None:
        return ABSENT
    text = measure(abs(value), "points" if kind == "percent" else kind)
    return f"{'+' if value > 0 else '−'}{text}" if value else text


def claim(stream: Mapping[str, Any]) -> str:
    """Say what the hours of background show about the rate of false alarms."""
    events, hours, level = stream["false_alarm_count"], stream["background_hours"], stream["confidence"]
    bound = poisson_upper_bound(events, hours, level)
    what = f"{events:,} false {'alarm' if events == 1 else 'alarms'} in {hours:.3g} hours of background audio"
    says = "mean" if events > 1 else "means"
    return f"{what} {says} a true rate below {rate(bound)} an hour at {percent(level)} confidence."


def hours_for(target: float, level: float) -> float:
    """Return how many hours without a false alarm show a rate: three for one an hour at 95 %, and so on."""
    return -math.log(1 - level) / target


def needed_hours(target: float, level: float) -> str:
    """Say how much background without a false alarm shows a rate."""
    hours = hours_for(target, level)
    return (
        f"to show {target:g} an hour at {percent(level)} confidence takes {hours:.3g} h of background without an alarm"
    )


def evidence(metrics: Mapping[str, Any]) -> str:
    """Say how many hours of background there were, and how many would show the target."""
    point, level = metrics["operating_point"], metrics["stream"]["confidence"]
    heard = " and ".join(
        f"in {_SPLITS[split]} {rate(where['background_hours'])} h{_made(where)}"
        for split, where in metrics["origins"].items()
    )
    text = needed_hours(point["target_fah"], level)
    return f"{text[0].upper()}{text[1:]}, and more with some; there were {heard}."


def _made(origins: Mapping[str, Any]) -> str:
    made = origins["background_hours"] - origins["real_background_hours"]
    return f" (of them {rate(made)} h synthetic)" if made > 0 else ""


def who_says_it(health: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """List for each wake word and split how many recordings are real, of how many speakers, and how many are made.

    `health` are the manifest's rows of splits and labels.
    """
    return [
        {
            "word": row["label"],
            **{name: row[name] for name in ("split", "real", "real_speakers")},
            "synthetic": row["recordings"] - row["real"],
        }
        for row in sorted(health, key=lambda row: str(row["label"]))
        if row["label"] != NEGATIVE_LABEL and row["recordings"]
    ]


def reservations(metrics: Mapping[str, Any]) -> list[str]:
    """List in sentences what the figures do not show, or show badly."""
    notes = []
    stream, point, data = (metrics.get(name) or {} for name in ("stream", "operating_point", "data"))
    if point and not point["reachable"]:
        notes.append(
            f"The target of {point['target_fah']:g} false alarms an hour was not reachable on validation; the lowest "
            f"rate at which words are still found is {rate(point['lowest_fah'])} an hour, and that threshold is used."
        )
    if stream and point:
        notes += _about_target(stream, point["target_fah"])
    notes += _about_origins(metrics.get("origins") or {})
    if stream and not stream["short_phrases"]["recordings"]:
        notes.append(
            "The test holds no short phrases by strangers, so it does not show how often other words said alone are "
            "taken for the wake word; add recordings of single words or commands with role negative."
        )
    share = data.get("unknown_speaker_share") or 0.0
    if share > 0:
        notes.append(
            f"The speaker of {percent(share)} of the recordings is unknown, so the same person may have been heard in "
            "training and in the test; the figures may flatter the model."
        )
    return notes


def _about_target(stream: Mapping[str, Any], target: float) -> list[str]:
    notes = []
    if stream["fah"] > target:
        notes.append(f"On the test, {rate(stream['fah'])} false alarms an hour exceed the target of {target:g}.")
    if poisson_upper_bound(stream["false_alarm_count"], stream["background_hours"], stream["confidence"]) > target:
        notes.append(
            f"{stream['background_hours']:.3g} hours of background cannot confirm {target:g} false alarms an hour."
        )
    return notes


def _about_origins(origins: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Say where nobody, or hardly anybody, was recorded."""
    notes = []
    for split, heard in origins.items():
        words, made = heard["words"], heard["words"] - heard["real_words"]
        if made and made < words:
            notes.append(
                f"{made:,} of the {words:,} recordings of the wake word in {_SPLITS[split]} are synthetic: how people "
                "are heard in real rooms is not shown by them."
            )
        elif made:
            notes.append(f"No real recording of the wake word was in {_SPLITS[split]}: {_ONLY_SYNTHETIC[split]}")
        if not heard["real_background_hours"]:
            notes.append(f"No real background was in {_SPLITS[split]}: its false alarms are of synthetic sound.")
    return notes


def rule(detector: DetectorConfig) -> str:
    """Say when a detector fires."""
    latest = f"{detector.smoothing} score{'s' * (detector.smoothing != 1)}"
    smoothed = f"{detector.votes} of {latest}" if detector.votes else f"mean of {latest}"
    repeated = f", {detector.hold} times in a row" if detector.hold > 1 else ""
    return f"{smoothed} at or above the threshold{repeated}; off below {detector.off_ratio:g} of it"
