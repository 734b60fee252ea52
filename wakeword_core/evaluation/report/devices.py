"""The file for microcontrollers in the report: what it misses as it ships, beside the model on the same streams."""

from collections.abc import Mapping
from typing import Any

from wakeword_core.evaluation.measure.wording import number
from wakeword_core.store.artifacts import Artifact

_FIGURES = ("model", "bytes", "arena_bytes", "cutoff", "window", "reachable", "rule")
_RUNTIMES = {"esphome": "ESPHome", "pymicro": "pymicro-wakeword"}
"""What detects by each rule."""


def device_figures(tflite: Artifact | None) -> dict[str, Any]:
    """Return the part of metrics.json about the artifact `tflite_model`; nothing where it holds no file."""
    if tflite is None or not tflite.figures["made"]:
        return {}
    rates = tflite.figures["rates"]
    tested = {rule: {"runtime": runtime, **rates[f"test_{rule}"]} for rule, runtime in _RUNTIMES.items()}
    return {"tflite": {**{name: tflite.figures[name] for name in _FIGURES}, "test": tested}}


def device_summary(figures: Mapping[str, Any]) -> dict[str, float]:
    """Return the key figures of what `device_figures` gave, by the rule that the cutoff was chosen for."""
    return {
        f"tflite_{name}": tflite["test"][tflite["rule"]][name]
        for tflite in figures.values()
        for name in ("frr", "misses", "fah", "false_alarms")
    }


def device_rows(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what the model and the file for microcontrollers give on the test, a row for each that runs them."""
    if "tflite" not in metrics:
        return []
    tflite, stream = metrics["tflite"], metrics["stream"]
    window = f"mean of {tflite['window']}" if tflite["window"] > 1 else "each score"
    model = {
        "file": "model.onnx",
        "runtime": "onnxruntime",
        "threshold": number(stream["threshold"], 4),
        **{name: stream[name] for name in ("words", "misses", "frr", "frr_interval", "fah", "fah_interval")},
        "false_alarms": stream["false_alarm_count"],
        "background_hours": stream["background_hours"],
    }
    threshold = f"{number(tflite['cutoff'], 4)}, {window}"
    return [model, *({"file": tflite["model"], "threshold": threshold, **rates} for rates in tflite["test"].values())]
