"""Speakers take turns in the test; folds are told one by one and together."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wakeword_core import cross_validation
from wakeword_core.artifacts import ArtifactStore
from wakeword_core.config import Config
from wakeword_core.cross_validation import Fold, cross_validate, fold_configs, together
from wakeword_core.errors import ConfigError
from wakeword_core.splits import split_of


def config(**data: Any) -> Config:
    sources = [{"name": "mine", "path": "/mine", "role": "positive"}]
    return Config.model_validate({"phrase": "hey", "data": {"sources": sources, **data}})


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_every_speaker_is_in_the_test_once(folds: int) -> None:
    made = fold_configs(config(), folds)
    speakers = [f"speaker {number}" for number in range(500)]
    places = [[split_of(speaker, 7, one.data) for one in made] for speaker in speakers]
    assert all(place.count("test") == 1 for place in places)
    sizes = [sum(place[number] == "test" for place in places) for number in range(folds)]
    assert min(sizes) > 500 / folds * 0.7
    first = [split_of(speaker, 7, config(test_fraction=1 / folds).data) for speaker in speakers]
    assert [place[0] for place in places] == first


def test_what_cannot_be_cross_validated_is_said() -> None:
    with pytest.raises(ConfigError, match="at least 2"):
        fold_configs(config(), 1)
    with pytest.raises(ConfigError, match="val_fraction is too large for 2 folds"):
        fold_configs(config(val_fraction=0.45), 2)
    fixed = {"name": "mine", "path": "/mine", "role": "positive", "split": "train"}
    with pytest.raises(ConfigError, match="none can take turns"):
        fold_configs(config(sources=[fixed]), 3)


def figures(misses: int, words: int, alarms: int, hours: float, **more: float | None) -> dict[str, Any]:
    told = {"misses": misses, "words": words, "false_alarms": alarms, "background_hours": hours}
    return {**told, "frr": misses / words, "fah": alarms / hours, **more}


def test_folds_together_by_hand() -> None:
    found = together([Fold(0, "a", figures(1, 10, 0, 2.0, eer=0.1)), Fold(1, "b", figures(9, 30, 3, 1.0, eer=None))])
    assert found.mean == pytest.approx({"frr": 0.2, "fah": 1.5})
    assert found.deviation == pytest.approx({"frr": 0.1414, "fah": 2.1213}, abs=1e-4)
    assert (found.frr, found.fah) == pytest.approx((0.25, 1.0))
    assert (found.words, found.misses, found.false_alarms, found.background_hours) == (40, 10, 3, 3.0)


def test_each_fold_is_built_up_to_its_report(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    built: list[tuple[float, str, str | None]] = []
    stages = {
        "mel_features": SimpleNamespace(partitioned=True),
        "metrics_report": SimpleNamespace(partitioned=False),
        "int8_model": SimpleNamespace(partitioned=False),
    }

    def project(one: Config, home: Path, progress: object) -> SimpleNamespace:
        def build(stage: str, split: str | None) -> tuple[SimpleNamespace, bool]:
            built.append((one.data.split_rotation, stage, split))
            return SimpleNamespace(key=f"{stage}{one.data.split_rotation}", figures={"frr": 0.5}), True

        return SimpleNamespace(stages=stages, build=build, store=ArtifactStore(home))

    monkeypatch.setattr(cross_validation, "Project", project)
    found = list(cross_validate(config(), tmp_path, 2))
    assert [one.key for one in found] == ["metrics_report0.0", "metrics_report0.5"]
    once = [("mel_features", "train"), ("mel_features", "val"), ("mel_features", "test"), ("metrics_report", None)]
    assert built == [(rotation, *one) for rotation in (0.0, 0.5) for one in once]
