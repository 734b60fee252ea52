"""What a model is, what it was made from and what it is worth: as JSON, and as Markdown for people."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from importlib import resources
from typing import TYPE_CHECKING, Any

from wakeword_core.evaluation.measure.wording import (
    claim,
    evidence,
    number,
    percent,
    rate,
    reservations,
    who_says_it,
)
from wakeword_core.export.formats import COLUMNS, Format, cells, formats
from wakeword_core.files import as_type
from wakeword_core.lineage.recordings import (
    LEARNT_FROM,
    NOT_STATED,
    commercial_use,
    count,
    count_by_source,
    mix_of,
    wants_credit,
)
from wakeword_core.runtime.exported import JUDGE_FILE
from wakeword_core.stage_names import JUDGE, MANIFEST
from wakeword_core.store.artifacts import Artifact
from wakeword_core.store.graph import Graph, Node
from wakeword_core.text import markdown

if TYPE_CHECKING:
    import pandas as pd

_FORMAT = 1
_TEST_FIGURES = (
    "words", "misses", "frr", "frr_interval", "false_alarm_count", "fah", "fah_interval", "background_hours",
    "confidence", "latency_p50", "latency_p95", "confusables", "confusables_accepted", "by_origin",
)  # fmt: skip
_PHRASE_FIGURES = ("longest_seconds", "recordings", "accepted", "share", "interval")
_POINT_FIGURES = ("threshold", "frr", "frr_interval", "fah", "fah_interval")
_CLIP_FIGURES = ("eer", "roc_auc", "f1")
_CASCADE_FIGURES = ("filtered", "cascade", "cascade_latency", "cascade_goals", "taken_away", "at_rates")
_ENCODER_FIGURES = ("encoder", "encoder_licence", "encoder_content")
_LEVEL_QUANTILES = (0.05, 0.5, 0.95)
_MOST_BEHIND = 199
"""Artifacts behind a model that its card lists, the nearest first: as many as a reader of cards takes."""


def describe_model(
    node: Node,
    name: str,
    graph: Graph,
    recordings: "pd.DataFrame",
    runtime: Mapping[str, Any],
    metrics: Mapping[str, Any],
    judged: Artifact | None = None,
    openwakeword: Artifact | None = None,
) -> dict[str, Any]:
    """Describe the model `node` of a graph as JSON values; the same arguments give the same card.

    `recordings` are as `recordings_behind` returns them, `runtime` is the card that the runtime reads (labels, front
    end, detector, thresholds), and `metrics` the report's metrics.json. `judged` is the model with its judge, and
    `openwakeword` the files in openWakeWord's format, if any.
    """
    behind, own = graph.upstream(node)[:_MOST_BEHIND], graph.own_upstream(node)
    artifacts = {source.stage: source.artifact for source in reversed(own) if source.artifact}
    given = _given(graph, node)
    onnx, manifest, calibration = artifacts["onnx_model"], artifacts[MANIFEST], metrics["calibration"]
    return {
        "format": _FORMAT,
        "name": name,
        "phrase": runtime["phrase"],
        "created": onnx.created,
        "model": {
            "architecture": runtime["model"]["arch"],
            "parameters": onnx.figures["parameters"],
            "bytes": onnx.figures["bytes"],
            "int8_bytes": artifacts["int8_model"].figures["bytes"],
            "int8_method": artifacts["int8_model"].figures["method"],
            "fp16_bytes": artifacts["fp16_model"].figures["bytes"],
            "cpu_ms_per_s": round(onnx.figures["cpu_ms_per_s"], 2),
            "labels": runtime["labels"],
            "threshold": runtime["threshold"],
            "detector": runtime["detector"],
            **({"handicaps": runtime["handicaps"]} if "handicaps" in runtime else {}),
            "calibration": {name: calibration[name] for name in ("method", "parameters") if name in calibration},
            "frontend": runtime["frontend"],
            "sample_rate": runtime["sample_rate"],
        },
        "data": _data(recordings, manifest),
        "metrics": _metrics(metrics),
        "formats": [asdict(row) for row in formats(artifacts, metrics)],
        "judge": judged and _judge(judged, artifacts),
        **({"openwakeword": openwakeword.figures} if openwakeword else {}),
        **({"tflite": metrics["tflite"]} if "tflite" in metrics else {}),
        "limits": [claim(metrics["stream"]), evidence(metrics), *reservations(metrics)],
        **({"given": given} if given else {}),
        "settings": {
            source.name: source.artifact.config for source in own if source.artifact and source.split in (None, "train")
        },
        "versions": {**onnx.versions, "device": artifacts["trained_model"].device},
        "lineage": [member.to_json() for member in (node, *behind)],
    }


def _judge(judged: Artifact, artifacts: Mapping[str, Artifact]) -> dict[str, Any]:
    """Describe the model with its judge: its own figures, those that the report has of both, and the encoder."""
    both = {name: artifacts["metrics_report"].figures[name] for name in _CASCADE_FIGURES}
    rests_on = {name: artifacts[JUDGE].figures[name] for name in _ENCODER_FIGURES}
    return {"bytes": judged.files[JUDGE_FILE].size, **judged.figures, **both, **rests_on}


def _given(graph: Graph, node: Node) -> list[dict[str, Any]]:
    """List the finished models that the configuration named: teachers, and what the training went on from."""
    found = []
    for name, edge in sorted(graph.given_models(node).items()):
        models = graph.known([(edge.stage, edge.key)])
        behind = [member.artifact for member in (*models, *graph.own_upstream(*models)) if member.artifact]
        phrase = next((artifact.config["phrase"] for artifact in behind if "phrase" in artifact.config), None)
        found.append({"part": edge.part, "name": name, "stage": edge.stage, "key": edge.key, "phrase": phrase})
    return found


def card_markdown(card: Mapping[str, Any]) -> str:
    """Render the card as Markdown, for people."""
    from jinja2 import Environment, StrictUndefined

    text = (resources.files("wakeword_core") / "export" / "model_card.md.j2").read_text(encoding="utf-8")
    # Markdown, whose special characters the filter `plain` escapes
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)  # noqa: S701
    environment.filters |= {"percent": percent, "rate": rate, "number": number, "plain": markdown}
    table = [COLUMNS, *(cells(as_type(Format, row)) for row in card["formats"])]
    return environment.from_string(text).render({**card, "table": table})


def _data(rows: "pd.DataFrame", manifest: Artifact) -> dict[str, Any]:
    learnt = rows[rows["split"].isin(LEARNT_FROM)]
    licences = set(learnt["licence"].where(learnt["licence"] != "", NOT_STATED))
    sources = [
        {**{name: value for name, value in asdict(source).items() if name != "counts"}, **asdict(source.counts)}
        for source in count_by_source(rows)
    ]
    return {
        **asdict(count(rows)),
        "quarantined": manifest.figures["quarantined"],
        "words": who_says_it(manifest.figures["health"]),
        "sources": sources,
        "learnt_from": {
            "recordings": len(learnt),
            "licences": sorted(licences),
            "commercial_use": mix_of(licences),
            "because": sorted(licence for licence in licences if commercial_use(licence) != "allowed"),
            "credit": sorted(filter(wants_credit, licences)),
        },
        "level_dbfs": {f"{share:g}": level for share, level in _levels(learnt)},
        "without_licence": sorted({source["source"] for source in sources if source["licence"] == NOT_STATED}),
    }


def _levels(learnt: "pd.DataFrame") -> Iterator[tuple[float, float]]:
    """Yield quantiles of the levels of the wake words' recordings."""
    levels = learnt.loc[learnt["role"] == "positive", "rms_dbfs"].dropna()
    if len(levels):
        for share in _LEVEL_QUANTILES:
            yield share, round(float(levels.quantile(share)), 1)


def _metrics(metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "operating_point": metrics["operating_point"]["name"],
        "target_fah": metrics["operating_point"]["target_fah"],
        "test": {
            **{name: metrics["stream"][name] for name in _TEST_FIGURES},
            "short_phrases": {name: metrics["stream"]["short_phrases"][name] for name in _PHRASE_FIGURES},
        },
        **({"by_word": metrics["by_word"]} if "by_word" in metrics else {}),
        "origins": metrics["origins"],
        "operating_points": {
            name: {
                "target_fah": sides["validation"]["target_fah"],
                "validation": {figure: sides["validation"][figure] for figure in _POINT_FIGURES},
                "test": {figure: sides["test"][figure] for figure in (*_POINT_FIGURES, "short_phrases")},
            }
            for name, sides in metrics["operating_points"].items()
        },
        "clips": {name: metrics["clips"]["test"][name] for name in _CLIP_FIGURES},
    }
