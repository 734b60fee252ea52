"""Finished models that a configuration names: an error says by which setting."""

from pathlib import Path

import pytest

from wakeword_core.config import Config
from wakeword_core.errors import ArtifactError, ConfigError
from wakeword_core.graph.project import Project

NAMING = {"judge.second": "{}", "training.start_from": "{}", "training.teacher.models": ["{}"]}


def project(setting: str, model: str, home: Path) -> Project:
    named = NAMING[setting]
    value = [model] if isinstance(named, list) else model
    return Project(Config().changed({"judge.enabled": True, setting: value}), home)


@pytest.mark.parametrize("setting", NAMING)
def test_a_model_that_cannot_be_used_is_told_by_its_setting(tmp_path: Path, setting: str) -> None:
    (tmp_path / "judge.onnx").write_bytes(b"no model")
    for model, kind, said in (
        ("nowhere.onnx", ConfigError, "there is no model at nowhere"),
        ("abcdef123456", ConfigError, "no model with the key 'abcdef123456'"),
        (str(tmp_path / "judge.onnx"), (ArtifactError, ConfigError), "judge.onnx"),
    ):
        with pytest.raises(kind, match=said) as told:
            project(setting, model, tmp_path / "home").models.require_fitting()
        assert str(told.value).count(setting) == 1
