"""A report beside an earlier one of the same phrase: what is better, what is worse, and whether it may be compared."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from wakeword_core.files import read_json
from wakeword_core.store.artifacts import CARD

log = logging.getLogger(__name__)

TEST_DATA = "audio_shards[test]"
"""The input that holds the recordings a report measures on."""
_OF_THE_TEST = ("phrase.", "seed.", "data.audio.", "evaluation.streams.", "evaluation.conditions.")
"""Settings that make the test, unlike those that belong to the model or to what is read off the test."""


Figure = tuple[str, bool | None, float | None]
"""Kind, whether less is better (None: neither is), and value."""
_FIGURES = (
    ("wake words missed (FRR)", ("stream", "frr"), "percent", True),
    ("false alarms an hour (FAH)", ("stream", "fah"), "rate", True),
    ("missed by the model for microcontrollers", ("tflite", "test", "esphome", "frr"), "percent", True),
    ("false alarms an hour of it", ("tflite", "test", "esphome", "fah"), "rate", True),
    ("short phrases by strangers let in", ("stream", "short_phrases", "share"), "percent", True),
    ("background, hours", ("stream", "background_hours"), "rate", None),
    ("median latency", ("stream", "latency_p50"), "seconds", True),
    ("95th percentile of the latency", ("stream", "latency_p95"), "seconds", True),
    ("EER of windows", ("clips", "test", "eer"), "percent", True),
    ("ROC-AUC of windows", ("clips", "test", "roc_auc"), "area", False),
    ("ECE on validation", ("calibration", "ece_after"), "number", True),
    ("parameters", ("model", "parameters"), "count", True),
    ("bytes", ("model", "bytes"), "count", True),
)
"""Name, place in metrics.json, kind, and whether less is better."""


def compare(
    metrics: Mapping[str, Any],
    inputs: Mapping[str, Mapping[str, str]],
    settings: Mapping[str, Any],
    previous: Path | None,
    of_champion: bool = False,
) -> dict[str, Any] | None:
    """Put the figures of `metrics` beside those of the report in the folder `previous`; None without such a report.

    `inputs` and `settings` are this report's, as its card will have them ({name: {content}}; dotted settings). The
    result: `key` and `created` of the earlier report, whether it is `of_champion`, `same_test_data`, `other_settings`
    (names), `figures`: a list of {name, kind, this, previous, difference, better}, and `words`, or None when the test
    was not the same: how many words under one condition only one of the two missed.
    """
    if previous is None:
        return None
    try:
        card, earlier = read_json(previous / CARD), read_json(previous / "metrics.json")
        same_data = _content(inputs) == _content(card["inputs"]) is not None
        this, before = _test_settings(settings), _test_settings(card["config"])
        differing = sorted(name for name in this.keys() | before.keys() if this.get(name) != before.get(name))
        return {
            "key": card["key"],
            "of_champion": of_champion,
            "created": card["created"],
            "same_test_data": same_data,
            "other_settings": differing,
            "figures": _differences(_figures(metrics), _figures(earlier)),
            "words": words_missed(metrics["stream"], earlier["stream"]) if same_data and not differing else None,
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        log.warning("the earlier report %s cannot be compared with (%r)", previous, error)
        return None


def _content(inputs: Mapping[str, Mapping[str, str]]) -> str | None:
    return inputs.get(TEST_DATA, {}).get("content")


def _test_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that decide what the test is, by their dotted names."""
    leaves = {name: value for branch, part in settings.items() for name, value in _leaves(branch, part)}
    return {name: value for name, value in leaves.items() if f"{name}.".startswith(_OF_THE_TEST)}


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, Mapping):
        yield name, value
        return
    for inner, part in value.items():
        yield from _leaves(f"{name}.{inner}", part)


def _figures(report: Mapping[str, Any]) -> dict[str, Figure]:
    conditions = _at(report, ("stream", "conditions")) or []
    points = [point for point in report.get("fah_points") or [] if point["reachable"]]
    return {
        **{name: (kind, less_is_better, _at(report, place)) for name, place, kind, less_is_better in _FIGURES},
        **{f"FRR, {condition['name']}": ("percent", True, condition["frr"]) for condition in conditions},
        **{f"least FRR at {point['target_fah']:g} an hour": ("percent", True, point["frr"]) for point in points},
    }


def _differences(figures: Mapping[str, Figure], earlier: Mapping[str, Figure]) -> list[dict[str, Any]]:
    rows = []
    for name, (kind, less_is_better, this) in figures.items():
        if name not in earlier or this is earlier[name][2] is None:
            continue
        previous = earlier[name][2]
        difference = None if this is None or previous is None else this - previous
        better = None if not difference or less_is_better is None else (difference < 0) == less_is_better
        row = {"name": name, "kind": kind, "this": this, "previous": previous, "difference": difference}
        rows.append({**row, "better": better})
    return rows


def _at(report: Any, place: tuple[str, ...]) -> Any:
    for name in place:
        report = report.get(name) if isinstance(report, Mapping) else None
    return report


def words_missed(stream: Mapping[str, Any], earlier: Mapping[str, Any]) -> dict[str, int]:
    """Count the words (a recording under a condition) that one of two missed, on one and the same test."""
    this, before = (
        {(miss["recording_id"], miss["condition"]) for miss in one["miss_list"]} for one in (stream, earlier)
    )
    return {
        "missed_by_both": len(this & before),
        "missed_by_this": len(this - before),
        "missed_by_previous": len(before - this),
    }
