"""A search of the real graph, at toy size."""

import json
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from toy_project import Toy, copy_of_toy

from wakeword_core.config import Config
from wakeword_core.config.loading import load_config, save_config
from wakeword_core.graph.project import Project
from wakeword_pipeline.cli.main import main

pytestmark = [pytest.mark.slow, pytest.mark.long]
CHANNELS = "training.model.channels"


@pytest.fixture(scope="module")
def toy(shared_folder, tmp_path_factory: pytest.TempPathFactory) -> Toy:
    return copy_of_toy(shared_folder, tmp_path_factory.mktemp("toy"))


def wakeword(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """The JSON of a command."""
    for name in ("WAKEWORD_CONFIG", "WAKEWORD_HOME", "WAKEWORD_DAGSTER", "DAGSTER_HOME"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(sys, "argv", ["wakeword", *arguments, "--json"])
    with suppress(SystemExit):
        main()
    found: dict[str, Any] = json.loads(capsys.readouterr().out.rstrip().rpartition("\n")[2])
    return found


def test_figures_are_those_of_the_artifacts_and_the_best_is_built_again_from_its_file(
    toy: Toy,
    empty_store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    home = toy.copy(tmp_path / "home")
    shutil.copyfile(empty_store, home / "mlflow.db")
    shutil.rmtree(toy.project(home).require("audio_shards", "test").path)
    space = {CHANNELS: [8, 64]}
    search = {"space": space, "objectives": ["misses", "cpu", "bytes"], "trials": 2, "sampler": "random", "seed": 2}
    tree = toy.config.model_dump(mode="json") | {"search": search, "checks": {"unheard_error": 1}}
    save_config(Config.model_validate(tree), tmp_path / "toy.yaml")
    place = ("--config", str(tmp_path / "toy.yaml"), "--home", str(home))

    found = wakeword(monkeypatch, capsys, "search", *place)
    assert {trial["values"][CHANNELS] for trial in found["trials"]} == {8, 64}
    assert {one.config.get("split") for one in toy.project(home).store.all("audio_shards")} == {"train", "val"}
    assert len(toy.project(home).store.all("mel_features")) == 2 and not toy.project(home).store.all("metrics_report")

    (trial,) = (one for one in found["trials"] if one["number"] == found["best"])
    best = Project(load_config(Path(found["config"])), home)
    calibrated, onnx = best.require("calibrated_model"), best.require("onnx_model")  # under the trial's keys
    assert trial["figures"] == {
        "misses": calibrated.figures["val_frr"] if calibrated.figures["val_reachable"] else 1.0,
        "cpu": onnx.figures["cpu_ms_per_s"],
        "bytes": onnx.figures["bytes"],
    }
    sizes = {one["values"][CHANNELS]: one["figures"]["bytes"] for one in found["trials"]}
    assert sizes[8] < sizes[64]

    garbage = wakeword(monkeypatch, capsys, "gc", *place)
    listed = {path for item in garbage["items"] for path in item["paths"]}
    assert listed and not {str(calibrated.path), str(onnx.path), str(best.require("mel_features", "val").path)} & listed
