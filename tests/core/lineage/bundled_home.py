"""A generated home whose bundle is made as in a real build, from a small model and the metrics of an imagined test."""

from pathlib import Path
from typing import ClassVar

import numpy as np
from generated_home import GeneratedProject, Make, generate_home
from onnx import ModelProto, TensorProto, helper, numpy_helper

from wakeword_core.config import Config, DetectorConfig, FrontendConfig
from wakeword_core.export.onnx_graph import set_card, write_model
from wakeword_core.files import write_json
from wakeword_core.graph.stages import bundle
from wakeword_core.store.artifacts import ArtifactStore
from wakeword_core.store.graph import keys_behind

RECORDINGS = 300


PHRASES = {"longest_seconds": 1.2, "recordings": 50, "accepted": 2, "share": 0.04, "interval": [0.01, 0.13]}
HEARD = {"words": 100, "real_words": 100, "background_hours": 10.0, "real_background_hours": 8.0}


def point(threshold: float) -> dict:
    return {"threshold": threshold, "frr": 0.05, "frr_interval": [0.02, 0.1], "fah": 0.4, "fah_interval": [0.1, 1.0]}


METRICS = {
    "calibration": {"method": "temperature", "parameters": {"temperature": 1.2}},
    "operating_point": {"name": "balanced", "target_fah": 0.5, "reachable": True, "lowest_fah": 0.0},
    "operating_points": {
        name: {
            "validation": {**point(value), "target_fah": target}, "test": {**point(value), "short_phrases": PHRASES},
        }
        for name, value, target in (("strict", 0.9, 0.1), ("balanced", 0.6, 0.5))
    },
    "stream": {
        **point(0.6), "words": 200, "misses": 10, "false_alarm_count": 4, "background_hours": 10.0, "confidence": 0.95,
        "latency_p50": 0.1, "latency_p95": 0.2, "confusables": 20, "confusables_accepted": 3,
        "short_phrases": PHRASES, "by_origin": [
            {"name": "real", "words": 40, "misses": 5, "frr": 0.125, "frr_interval": [0.05, 0.26]},
            {"name": "synthetic", "words": 160, "misses": 5, "frr": 0.03125, "frr_interval": [0.01, 0.07]},
        ],
    },
    "origins": {"validation": HEARD, "test": {**HEARD, "real_words": 0}},
    "clips": {"test": {"eer": 0.02, "roc_auc": 0.99, "f1": 0.9}},
    "data": {"unknown_speaker_share": 0.0},
}  # fmt: skip


def small_model(card: dict) -> ModelProto:
    """A linear scorer of log-mel windows, with a card."""
    weights = np.linspace(-1, 1, 16 * 51 * 2, dtype=np.float32).reshape(-1, 2)
    nodes = [helper.make_node("Flatten", ["log_mel"], ["f"]), helper.make_node("MatMul", ["f", "w"], ["scores"])]
    shapes = (("log_mel", ["batch", 16, 51]), ("scores", ["batch", 2]))
    ends = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)] for name, shape in shapes]
    graph = helper.make_graph(nodes, "g", *ends, [numpy_helper.from_array(weights, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    set_card(model, card)
    return model


def _make_onnx(run) -> None:
    keys = {"onnx_model": run.key, **keys_behind(run.store, run.inputs["calibrated_model"])}
    card = {
        "phrase": run.config.phrase, "labels": ["_negative", "robin"], "sample_rate": 16_000, "threshold": 0.6,
        "frontend": FrontendConfig(n_mels=16, window_frames=51).model_dump(mode="json"),
        "detector": DetectorConfig().model_dump(mode="json"), "model": {"arch": "tcn"}, "keys": keys,
        "operating_points": {},
    }  # fmt: skip
    size = write_model(small_model(card), run.out / "model.onnx")
    write_model(small_model(card), run.out / "model.streaming.onnx")
    run.figures = {"bytes": size, "parameters": 1_632, "cpu_ms_per_s": 3.0}


def _make_int8(run) -> None:
    data = run.inputs["onnx_model"].file("model.onnx").read_bytes()
    for name in ("model.int8.onnx", "model.streaming.int8.onnx"):
        (run.out / name).write_bytes(data)
    run.figures = {"bytes": len(data), "method": "weights"}


def _make_fp16(run) -> None:
    data = run.inputs["onnx_model"].file("model.onnx").read_bytes()
    (run.out / "model.fp16.onnx").write_bytes(data)
    run.figures = {"bytes": len(data)}


def _make_program(run) -> None:
    (run.out / "model.pt2").write_bytes(b"a program")
    run.figures = {"bytes": 9, "parity": 1e-7, "windows_ms_per_s": 12.0}


def _make_report(run) -> None:
    write_json(run.out / "metrics.json", METRICS)


def _make_openwakeword(run) -> None:
    card = {"phrase": "robin", "labels": ["_negative", "robin"], "sample_rate": 16_000}
    (run.out / "openwakeword").mkdir()
    onnx, tflite = "openwakeword/robin.onnx", "openwakeword/robin.tflite"
    size = write_model(small_model(card), run.out / onnx)
    (run.out / tflite).write_bytes(b"TFL3")
    row = {"words": 200, "frr": 0.05, "frr_low": 0.02, "frr_high": 0.1, "fah": 0.4, "fah_low": 0.1, "fah_high": 1.0}
    tested = {
        name: {
            "threshold": one["test"]["threshold"],
            "target_fah": one["validation"]["target_fah"],
            "val_frr": 0.03,
            **row,
        }
        for name, one in METRICS["operating_points"].items()
    }
    run.figures = {
        "files": {onnx: size, tflite: 4}, "operating_point": "balanced", "operating_points": tested,
        "confusables": 20, "confusables_accepted": 3,
    }  # fmt: skip


class BundledProject(GeneratedProject):
    """A generated project with models that can be opened."""

    makers: ClassVar[dict[str, Make]] = {
        "onnx_model": _make_onnx, "int8_model": _make_int8, "fp16_model": _make_fp16,
        "openwakeword_model": _make_openwakeword, "torch_program": _make_program,
        "metrics_report": _make_report, "model_bundle": bundle.make,
    }  # fmt: skip


class Home:
    """A home with two models, which differ in their epochs."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / "home"
        self.config = generate_home(folder, RECORDINGS, models=2, kind=BundledProject)
        self.store = ArtifactStore(self.path / "store")

    def project(self, **changes) -> BundledProject:
        tree = self.config.model_dump(mode="json")
        for group, values in changes.items():
            tree[group] = {**tree[group], **values} if isinstance(values, dict) else values
        return BundledProject(Config.model_validate(tree), self.path)

    def bundle(self) -> Path:
        """The newest model's file."""
        return self.project().require("model_bundle").file("model.onnx")

    def bundle_of_the_store(self) -> Path:
        """The newest model's file, whatever is fresh."""
        return next(one for one in reversed(self.store.cards()) if one.stage == "model_bundle").file("model.onnx")
