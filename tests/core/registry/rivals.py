"""A project whose models are tiny tone detectors, good or bad on purpose; the test's recordings are heard for real.

The word is a tone of 1 kHz in some noise. How much a model listens to that band is its
`training.schedule.epochs` in percent, so that one epoch is as good as no training; the seed of a training gives
another model that is exactly as good.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
from generated_home import GeneratedProject, Make
from onnx import TensorProto, helper, numpy_helper
from small_judge import BIAS, save_judge

from wakeword_core.audio import write_audio
from wakeword_core.config import Config, ShardsConfig
from wakeword_core.export.onnx_graph import set_card, write_model
from wakeword_core.files import hash_file, link_or_copy
from wakeword_core.graph.stages import comparison
from wakeword_core.progress import Progress
from wakeword_core.registry.history import Entry
from wakeword_core.registry.trial import TestRun
from wakeword_core.runtime import WakewordModel
from wakeword_core.runtime.judge import JudgedModel
from wakeword_core.shards.building import build_shards
from wakeword_core.stage_names import COMPARISON, MODEL
from wakeword_core.store.parts import Parts
from wakeword_core.workers.local import LocalWorkers

RATE = 16_000
BANDS, FRAMES, TONE_BANDS = 16, 41, [4, 5]
WORDS, OTHERS = 24, 24
SPEAKERS = 5
DEAF_STEPS = 10
SETTINGS = {
    "phrase": "robin",
    "features": {"frontend": {"n_mels": BANDS, "window_frames": FRAMES}},
    "evaluation": {
        "conditions": {"tuning": {"snr_db": [None, 10]}},
        "operating_points": {"sweep_points": 20},
        "detector": {"smoothing": 2},
    },
}
_FIGURES = {
    "frr": 0.1, "fah": 0.4, "words": 48, "misses": 5, "false_alarms": 1, "background_hours": 0.02, "threshold": 0.5,
}  # fmt: skip


def write_shards(folder: Path) -> Path:
    """Shards of words, of tones that are none, and of noise."""
    random = np.random.default_rng(3)
    rows = []
    for number in range(WORDS + OTHERS + 3):
        positive, noise = number < WORDS, number >= WORDS + OTHERS
        seconds = 20.0 if noise else 0.9
        sound = random.normal(0, 0.004, round(seconds * RATE)).astype(np.float32)
        time = np.arange(round(0.5 * RATE)) / RATE
        if not noise:
            frequency, level = (1_000, random.uniform(0.02, 0.2)) if positive else (random.choice([400, 3_000]), 0.1)
            sound[3_200 : 3_200 + len(time)] += (level * np.sin(2 * np.pi * frequency * time)).astype(np.float32)
        path = folder / "sounds" / f"{number:03}.wav"
        write_audio(path, sound, RATE)
        role = "positive" if positive else "noise" if noise else "negative"
        rows.append(
            {
                "recording_id": hashlib.sha256(path.read_bytes()).hexdigest(), "path": path.name, "source": "sounds",
                "label": "robin" if positive else "_negative", "role": role, "speaker": f"sounds/{number}",
                "seconds": seconds, "speech_start": 0.2 if positive else np.nan, "speech_end": 0.7,
            }
        )  # fmt: skip
    shards = folder / "shards"
    shards.mkdir()
    roots = {"sounds": folder / "sounds"}
    build_shards(
        pd.DataFrame(rows), roots, RATE, ShardsConfig(count=1), LocalWorkers(1), 0, shards, Parts(folder / "parts")
    )
    return shards


def tone_model(path: Path, config: Config, key: str) -> None:
    """A linear scorer of windows: how far the word's band is above the others, as far as it was `trained`."""
    share = min(config.training.schedule.epochs / 100, 1.0)
    bands = np.full(BANDS, -1 / (BANDS - len(TONE_BANDS)))
    bands[TONE_BANDS] = 1 / len(TONE_BANDS)
    untrained = np.random.default_rng(7).normal(0, 0.3, BANDS)
    weights = np.zeros((BANDS, FRAMES, 2), np.float32)
    weights[:, :, 1] = ((share * bands + (1 - share) * (untrained - untrained.mean())) / FRAMES)[:, None]
    bias = np.array([0.0, -2.5], np.float32)
    nodes = [
        helper.make_node("Flatten", ["log_mel"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
    ]
    shapes = (("log_mel", ["batch", BANDS, FRAMES]), ("scores", ["batch", 2]))
    ends = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)] for name, shape in shapes]
    constants = [
        numpy_helper.from_array(weights.reshape(-1, 2), "weights"), numpy_helper.from_array(bias, "bias")
    ]  # fmt: skip
    graph = helper.make_graph(nodes, "tone", *ends, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    card = {
        "phrase": config.phrase, "labels": list(config.labels), "sample_rate": RATE, "threshold": 0.5,
        "frontend": config.features.frontend.model_dump(mode="json"),
        "detector": config.evaluation.detector.model_dump(mode="json"),
        "operating_points": {}, "model": {"arch": "tone"}, "keys": {"onnx_model": key},
    }  # fmt: skip
    set_card(model, card)
    write_model(model, path)


def _make_onnx(run) -> None:
    tone_model(run.out / "model.onnx", run.config, run.key)


def _make_judged(run) -> None:
    """A judge that hears loud sounds, or nothing at all where its head was trained as shortly as can be."""
    deaf = run.config.judge.head.steps == DEAF_STEPS
    model = WakewordModel(run.inputs[MODEL].file("model.onnx"))
    save_judge(run.out / "judge.onnx", model, bias=-60.0 if deaf else BIAS)


def _make_report(run) -> None:
    (run.out / "report.html").write_text(run.key)
    run.figures = _FIGURES


def _make_shards(run) -> None:
    if run.split != "test":
        (run.out / "made.txt").write_text(run.key)
        return
    for path in RivalProject.shards.iterdir():
        link_or_copy(path, run.out / path.name)


class RivalProject(GeneratedProject):
    """A generated project whose models and test recordings are real."""

    shards: ClassVar[Path]
    makers: ClassVar[dict[str, Make]] = {
        "audio_shards": _make_shards, "onnx_model": _make_onnx, "judged_model": _make_judged,
        "metrics_report": _make_report,
    }  # fmt: skip

    @property
    def stages(self):
        return {**super().stages, COMPARISON: comparison.STAGE}


def hearing_once(run_test: Callable[..., TestRun]) -> Callable[..., TestRun]:
    """Have the test played once to all models that differ in nothing but their keys."""
    runs: dict[tuple[object, ...], TestRun] = {}

    def heard(model: WakewordModel | JudgedModel, shards: Path, config: Config, progress: Progress) -> TestRun:
        judged = isinstance(model, JudgedModel)
        files = (model.model.graph_digest, hash_file(model.judge.path)) if judged else (model.graph_digest,)
        known = (files, model.threshold, shards, config.model_dump_json(include={"data", "evaluation"}))
        if known not in runs:
            runs[known] = run_test(model, shards, config, progress)
        return runs[known]

    return heard


class Rivals:
    """A home, and projects in it that differ in what their model is."""

    def __init__(self, folder: Path, shards: Path) -> None:
        RivalProject.shards = shards
        self.folder, self.home = folder, folder / "home"
        for number in range(2 * SPEAKERS):
            path = folder / "recordings" / f"speaker{number % SPEAKERS}" / f"{number}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"recording %d" % number)
        source = {"name": "spoken", "path": str(folder / "recordings"), "role": "positive", "speaker": "parent"}
        self.sources = [{**source, "licence": "CC0-1.0"}]

    def project(self, epochs: int = 100, seed: int = 1, **changes) -> RivalProject:
        """`seed` 1 and others give different keys of equal models; the changes are groups of settings."""
        tree = {**SETTINGS, "data": {"sources": self.sources}, **changes}
        tree["training"] = {"schedule": {"epochs": epochs, "learning_rate": 0.001 * seed}}
        return RivalProject(Config.model_validate(tree), self.home)

    def build(self, epochs: int = 100, seed: int = 1, compared: bool = True, **changes) -> RivalProject:
        """Everything, or everything but the comparison; `built` then names what was not there."""
        project = self.project(epochs, seed, **changes)
        names = [(name, split) for name, stage in project.stages.items() for split in stage.splits]
        self.built = [name for name in names if (compared or name[0] != COMPARISON) and project.build(*name)[1]]
        return project

    def crown(self, seed: int = 1) -> RivalProject:
        """A champion whose rank nobody has looked into."""
        project = self.build(seed=seed, compared=False)
        key, bundle = (project.require(stage).key for stage in (MODEL, "model_bundle"))
        with project.registry().changing() as registry:
            opponent = registry.champion.key if registry.champion else ""
            artifacts = {MODEL: key, "model_bundle": bundle, "trained_model": project.require("trained_model").key}
            registry.adding(Entry(key, "promoted", "for the test", "gate", opponent, True, artifacts, {"frr": 0.1}))
        return project
