"""The page of models beside one another on recordings that somebody gave, and its figures for programs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wakeword_core.evaluation.measure import plots, wording
from wakeword_core.evaluation.measure.wording import number, percent, rate, seconds
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
from wakeword_core.evaluation.streams.thresholds import SweepPoint
from wakeword_core.files import write_json, write_text

METRICS_FILE, PAGE_FILE = "metrics.json", "report.html"
_FEW_WORDS = 100
"""Recordings of the word below which one more or less missed is more than a percent."""
_LONGEST_CAPTION = 32
_SECTIONS = {"models": "models", "curve": "misses and false alarms", "differences": "differences"}


@dataclass(frozen=True)
class Sounds:
    """Players of a model's quietest words, loudest other sounds and short phrases, in the order of its lists."""

    words: Sequence[Player | None] = ()
    others: Sequence[Player | None] = ()
    short_phrases: Sequence[Player | None] = ()


def write_side_by_side(
    out: Path, metrics: Mapping[str, Any], sounds: Sequence[Sounds], paths: Mapping[str, str]
) -> None:
    """Write `metrics.json` and `report.html` to the folder `out`; `sounds` are of each of the models.

    `metrics` has phrase, conditions, target_conditions, counts (recordings by role), left_out, models (as
    `Heard.to_json` gives them, the one that the others are held against first), differences and made_for_other_words
    (sentences). Numbers must be finite: a ValueError otherwise, and nothing is written.
    """
    page = render("side_by_side.html.j2", {**_contents(metrics, sounds), "paths": paths})
    write_json(out / METRICS_FILE, metrics)
    write_text(out / PAGE_FILE, page)


def heard_words(metrics: Mapping[str, Any]) -> int:
    """Return how many recordings of the word were heard, which may be fewer than were given."""
    words: int = metrics["models"][0]["stream"]["words"]
    return words // len(metrics["target_conditions"])


def notes_on(metrics: Mapping[str, Any]) -> list[str]:
    """List in sentences what the figures do not show, or show badly."""
    stream, left_out = metrics["models"][0]["stream"], metrics["left_out"]
    words, level = heard_words(metrics), stream["confidence"]
    notes = [*(f"{told}." for told in metrics["made_for_other_words"]), wording.claim(stream)]
    least = min((point["target_fah"] for point in metrics["models"][0]["fah_points"]), default=0.5)
    if stream["background_hours"] < wording.hours_for(least, level):
        needed = wording.needed_hours(least, level)
        notes.append(f"{needed[0].upper()}{needed[1:]}; here there were {rate(stream['background_hours'])} h.")
    if words < _FEW_WORDS:
        notes.append(
            f"There are {words:,} recordings of the word, so that one of them more or less is "
            f"{percent(1 / words)}; look at the intervals."
        )
    if left_out:
        told = f"{len(left_out):,} recordings are" if len(left_out) > 1 else "1 recording is"
        notes.append(f"{told} left out, for the reasons below.")
    return notes


def _contents(metrics: Mapping[str, Any], sounds: Sequence[Sounds]) -> dict[str, Any]:
    models = metrics["models"]
    anchors = {f"model-{place}": model["name"] for place, model in enumerate(models, 1)}
    optional = {"differences": metrics["differences"]}
    sections = {anchor: name for anchor, name in _SECTIONS.items() if optional.get(anchor, True)}
    left_out = metrics["left_out"]
    return {
        "title": f"{metrics['phrase']}: models on given recordings",
        "phrase": metrics["phrase"],
        "about": "What models make of recordings that were given to them: each as it ships, and over the same sound.",
        "sections": {**sections, **anchors, **({"data": "recordings"} if left_out else {})},
        "headline": _headline(metrics),
        "notes": notes_on(metrics),
        "targets": [point["target_fah"] for point in models[0]["fah_points"]],
        "models": [
            {"anchor": anchor, **_model(model, metrics, sound)}
            for anchor, model, sound in zip(anchors, models, sounds, strict=True)
        ],
        "det": data_uri("image/png", det_picture(models)),
        "differences": metrics["differences"],
        "target": metrics["allowed_fah"],
        "confidence": models[0]["stream"]["confidence"],
        "difference_confidence": metrics["difference_confidence"],
        "reasons": [
            (reason, f"{count:,}")
            for reason, count in Counter(entry["reason"].partition(":")[0] for entry in left_out).most_common()
        ],
        "left_out": left_out[:SHOWN],
        "more_left_out": more(left_out, SHOWN),
    }


def _headline(metrics: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return the figures of the first model at the top: value, name and small print."""
    model = metrics["models"][0]
    stream = model["stream"]
    (low, high), (few, many) = stream["frr_interval"], stream["fah_interval"]
    figures = [
        (
            "wake words missed (FRR)",
            percent(stream["frr"]),
            f"{percent(low)} to {percent(high)}, {' and '.join(metrics['target_conditions'])}",
        ),
        (
            "false alarms an hour (FAH)",
            rate(stream["fah"]),
            f"{rate(few)} to {rate(many)} at {percent(stream['confidence'])}",
        ),
        ("recordings of the word", f"{heard_words(metrics):,}", ""),
        ("hours of background", f"{stream['background_hours']:.3g}", ""),
        ("threshold", number(stream["threshold"], 4), model["name"]),
    ]
    if stream["latency_p50"] is not None:
        late = f"{seconds(stream['latency_p95'])} at the 95th percentile"
        figures.append(("from word end to detection (median)", seconds(stream["latency_p50"]), late))
    return figures


def _model(model: Mapping[str, Any], metrics: Mapping[str, Any], sounds: Sounds) -> dict[str, Any]:
    """Return what the page shows of one model."""
    stream = model["stream"]
    short = stream["short_phrases"]
    # a speaker that is not known is a group of each recording, which tells nothing
    told_apart = len(stream["by_speaker"]) < heard_words(metrics)
    return {
        **{name: model[name] for name in ("name", "version", "threshold", "rule", "bytes", "fah_points")},
        "stream": stream,
        "conditions": condition_chart(stream["conditions"], metrics["target_conditions"]),
        "by_word": model.get("by_word"),
        "by_source": group_chart(stream["by_source"]) if len(stream["by_source"]) > 1 else None,
        "by_speaker": group_chart(stream["by_speaker"]) if told_apart else None,
        **with_players("quietest", model["quietest"], sounds.words),
        **with_players("loudest", model["loudest"], sounds.others),
        "short_phrases": short,
        "phrases_by_source": phrase_chart(short["by_source"]),
        **with_players("phrases", short["alarms"], sounds.short_phrases),
    }


def _caption(name: str) -> str:
    """Return a name that fits under a picture: of paths it is the ends that differ."""
    return name if len(name) <= _LONGEST_CAPTION else f"…{name[1 - _LONGEST_CAPTION :]}"


def det_picture(models: Sequence[Mapping[str, Any]]) -> bytes:
    """Draw the curves of all models, each with the place of its own threshold marked."""
    curves = {_caption(model["name"]): [SweepPoint(**point) for point in model["sweep"]] for model in models}
    (name, curve), *others = curves.items()
    marked = {
        f"{_caption(model['name'])} as it ships": plots.Marked(None, model["stream"]["frr"], model["stream"]["fah"])
        for model in models
    }
    return plots.det_curve(curve, marked, models[0]["stream"]["background_hours"], name, dict(others))
