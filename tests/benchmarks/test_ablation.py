"""What a part is worth is told by pairs of one seed, and what was scored once is not scored again."""

import argparse
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import ablation
import pytest
from ablation import WHOLE, Trained, config_without, spread, summary

from wakeword_core.config import Config
from wakeword_core.evaluation.streams.operating_points import OperatingPoints
from wakeword_core.files import digest

PROJECT = "training: {augment: {mixup_alpha: 0, colour_db: 3}}\nsynthesis: {words: 0}\n"


def missed(balanced: float | None, strict: float | None = 0.5) -> ablation.Missed:
    return {split: {"0.1": strict, "0.5": balanced} for split in ("val", "test")}


def given(folder: Path, *names: str) -> argparse.Namespace:
    (folder / "project.yaml").write_text(PROJECT)
    return argparse.Namespace(config=folder / "project.yaml", set=[], preset=None, without=list(names), seeds=[1, 2])


def test_worth_is_the_difference_of_pairs(tmp_path: Path) -> None:
    several = [
        Trained(WHOLE, 1, missed(0.10), 1.0, "a"),
        Trained("noise", 1, missed(0.12, None), 1.0, "b"),
        Trained(WHOLE, 2, missed(0.30), 1.0, "c"),
        Trained("noise", 2, missed(0.36), 1.0, "d"),
    ]
    whole, noise = summary(several, given(tmp_path))["parts"]
    assert whole["left_out"] == WHOLE and whole["worth"] == {}
    assert whole["misses"]["test"]["0.5"]["mean"] == pytest.approx(0.2)
    worth = noise["worth"]["test"]
    assert worth["0.1"] is None
    assert worth["0.5"]["mean"] == pytest.approx(0.04)  # seeds differ by 0.2, which is no part of it
    assert worth["0.5"]["deviation"] == pytest.approx(0.0283, abs=1e-4)
    assert worth["0.5"]["interval"] == pytest.approx([0.04 - 12.706 * 0.02, 0.04 + 12.706 * 0.02], abs=1e-3)


def test_one_seed_has_no_spread() -> None:
    assert spread([0.25]) == {"mean": 0.25, "deviation": None, "interval": None}


def test_what_is_left_out_beats_settings_and_seeds_differ(tmp_path: Path) -> None:
    arguments = given(tmp_path)
    arguments.set = ["training.augment.colour_db=7", "training.schedule.epochs=2"]
    whole, less = (config_without(name, 3, arguments) for name in (WHOLE, "colour"))
    assert (whole.training.augment.colour_db, less.training.augment.colour_db) == (7, 0)
    assert whole.training.schedule.epochs == less.training.schedule.epochs == 2 and whole.seed == less.seed == 3


def test_a_second_call_goes_on_where_the_first_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Parts that are not used are passed over; each training is scored once, and one that failed is tried again."""
    scored: list[str] = []
    broken = {"noise"}

    def key_of(config: Config) -> str:
        return digest(config.model_dump(mode="json"))

    class Project:
        def __init__(self, config: Config, home: Path) -> None:
            self.config, self.home = config, home

        def require(self, stage: str, split: str | None = None) -> SimpleNamespace:
            return SimpleNamespace(path=tmp_path, key=f"{stage} of {self.config.seed}")

    def build(project: Project, name: str) -> SimpleNamespace:
        if any(part in name for part in broken):
            raise KeyboardInterrupt
        return SimpleNamespace(key=key_of(project.config), file=lambda name: name)

    def score(model: object, shards: object, targets: list[float], config: Config) -> dict[str, float]:
        scored.append(key_of(config))
        return {f"{target:g}": config.training.augment.colour_db / 10 for target in targets}

    points = {"balanced": SimpleNamespace(target_fah=0.5, frr=0.25, reachable=True)}
    monkeypatch.setattr(ablation, "Project", Project)
    monkeypatch.setattr(ablation, "built_up_to_onnx", build)
    monkeypatch.setattr(ablation, "missed_on_test", score)
    monkeypatch.setattr(OperatingPoints, "load", lambda folder: SimpleNamespace(points=points))
    arguments = ["--config", str(given(tmp_path).config), "--home", str(tmp_path / "home"), "--seeds", "1", "2"]
    arguments += ["--without", "colour", "mixup", "noise", "--out", str(tmp_path / "out.json")]
    monkeypatch.setattr(sys, "argv", ["ablation.py", *arguments])
    with pytest.raises(KeyboardInterrupt):
        ablation.main()
    assert len(scored) == 2 and len(json.loads((tmp_path / "out.json").read_text())["trainings"]) == 2
    broken.clear()
    assert ablation.main() == 0
    assert len(scored) == len(set(scored)) == 6
    said = capsys.readouterr()
    found = json.loads(said.out.splitlines()[-1])
    assert found == json.loads((tmp_path / "out.json").read_text())
    assert [one["left_out"] for one in found["parts"]] == [WHOLE, "colour", "noise"]
    assert found["parts"][1]["worth"]["test"]["0.5"]["mean"] == pytest.approx(-0.3)
    assert "not used by this project anyway: mixup" in said.err and "-30.0 points" in said.err
