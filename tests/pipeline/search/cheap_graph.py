"""A graph whose stages cost nothing, with a known best: a learning rate of 0.01, and as few channels as there may be.

As a script it makes trials of a search, and may wait in the middle of one to be killed.
"""

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wakeword_core.config import Config
from wakeword_core.errors import DataError
from wakeword_core.graph.project import Project
from wakeword_core.graph.stage import Input, Stage, StageRun
from wakeword_core.training.records import HISTORY, EpochRecord, read_history, write_history

EPOCHS = 4
SPACE = {"training.schedule.learning_rate": {"low": 1e-4, "high": 1.0, "log": True}}
BUILDS = "builds.txt"
"""In the home: a line for each artifact that was built and each epoch that was trained."""
after_epoch: Callable[[StageRun, EpochRecord], None] = lambda run, record: None  # noqa: E731


def note(run: StageRun, what: str) -> None:
    with (run.store.root.parent / BUILDS).open("a") as file:
        file.write(what + "\n")


def distance(run: StageRun) -> float:
    """How far the learning rate is from the best one, in powers of ten."""
    return abs(math.log10(run.config.training.schedule.learning_rate) + 2)


def pack(run: StageRun) -> None:
    fraction = run.config.data.splits.val_fraction if run.split == "val" else 0
    (run.out / "audio").write_text(f"{run.split} {fraction}")


def compute_features(run: StageRun) -> None:
    note(run, f"features {run.split}")
    (run.out / "mel").write_text(f"{run.split} {run.config.features.augment.views}")


def train(run: StageRun) -> None:
    if run.config.training.schedule.learning_rate > 0.9:
        raise DataError("the rate is too high")
    history = read_history(run.out / HISTORY) if (run.out / HISTORY).exists() else []
    for epoch in range(len(history) + 1, run.config.training.schedule.epochs + 1):
        score = epoch / EPOCHS - distance(run)
        record = EpochRecord(epoch, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, score, 0.01, 1.0, 100.0, 0.1)
        history.append(record)
        write_history(run.out / HISTORY, history)
        note(run, f"epoch {run.key}")
        after_epoch(run, record)
        run.on_epoch(record)
    (run.out / "weights").write_text(str(distance(run)))
    run.volatile = {HISTORY}


def calibrate(run: StageRun) -> None:
    trained = float((run.inputs["trained_model"].path / "weights").read_text())
    (run.out / "model").write_text(f"{trained} {run.config.training.model.channels}")  # type: ignore[union-attr]
    run.figures = {"val_frr": min(1.0, trained / 4), "val_reachable": trained < 1.5}


def export(run: StageRun) -> None:
    channels = run.config.training.model.channels  # type: ignore[union-attr]
    (run.out / "model.onnx").write_text("x" * channels)
    run.figures = {"cpu_ms_per_s": channels / 8, "bytes": channels}


def test(run: StageRun) -> None:
    raise AssertionError("a search looks at the test")


def stage(name: Any, make: Callable[[StageRun], None], *inputs: Input, settings: tuple[str, ...], **more: Any) -> Stage:
    return Stage(name, "1", make, inputs, settings, "group", ("python",), "a stage", **more)


SAME = Input("audio_shards", split="same")
GRAPH = (
    stage("audio_shards", pack, settings=("data.splits",), partitioned=True),
    stage("mel_features", compute_features, SAME, settings=("features.augment",), partitioned=True),
    stage(
        "trained_model",
        train,
        Input("mel_features", split="train"),
        settings=("training.schedule", "training.model"),
        resumable=True,
    ),
    stage(
        "calibrated_model",
        calibrate,
        Input("trained_model"),
        Input("mel_features", split="val"),
        Input("audio_shards", split="val"),
        settings=("evaluation.detector", "training.model"),
    ),
    stage("onnx_model", export, Input("calibrated_model"), settings=("training.model",)),
    stage("metrics_report", test, Input("onnx_model"), Input("mel_features", split="test"), settings=("evaluation",)),
)


def cheap_config(**search: Any) -> Config:
    training = {"model": {"arch": "tcn", "channels": 8}, "schedule": {"epochs": EPOCHS}}
    tree = {"phrase": "robin", "training": training, "search": {"space": SPACE, "trials": 6, **search}}
    return Config.model_validate(tree)


def cheap_project(home: Path, **search: Any) -> Project:
    return Project(cheap_config(**search), home, graph=GRAPH)


def builds(home: Path) -> list[str]:
    return (home / BUILDS).read_text().splitlines()


if __name__ == "__main__":
    from wakeword_core.evaluation.measure import plots
    from wakeword_pipeline.search.trials import search

    home, pause_at, settings = Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])

    def pause(run: StageRun, record: EpochRecord) -> None:
        if sum(line.startswith("epoch") for line in builds(home)) == pause_at:
            print("in the middle", flush=True)
            sys.stdin.read()

    after_epoch = pause
    plots.trials_picture = lambda *given: b""  # each takes as long as a trial
    print("ready", flush=True)
    sys.stdin.readline()
    print(len(search(cheap_project(home, **settings)).rows), flush=True)
