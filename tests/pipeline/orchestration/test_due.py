"""How a build is cut into runs; what is due when is tested with what makes it."""

import sys
from pathlib import Path

import dagster as dg
import pytest

from wakeword_core.config import SPLITS, Config
from wakeword_core.errors import ConfigError, MissingDependencyError
from wakeword_core.graph.project import Project
from wakeword_pipeline.orchestration.due import Phase, due, places


def project(tmp_path: Path, **synthesis: object) -> Project:
    return Project(Config.model_validate({"synthesis": {"enabled": True, **synthesis}}), tmp_path)


def due_of(project: Project, *select: str) -> list[Phase]:
    return due(project, dg.DagsterInstance.ephemeral(), select)


def test_a_build_begins_with_what_comes_before_the_splits(tmp_path: Path) -> None:
    assert due_of(project(tmp_path)) == [Phase(("synthetic_speech", "raw_manifest"))]


def test_without_synthesis_there_is_no_synthetic_speech(tmp_path: Path) -> None:
    assert due_of(project(tmp_path, enabled=False)) == [Phase(("raw_manifest",))]


def test_a_selection_is_all_that_is_due(tmp_path: Path) -> None:
    assert due_of(project(tmp_path), "onnx_model") == [Phase(("onnx_model",))]
    assert due_of(project(tmp_path), "audio_shards") == [Phase(("audio_shards",), split) for split in SPLITS]
    assert due_of(project(tmp_path), "mel_features", "cmvn_stats", "audio_shards") == [
        Phase(("audio_shards", "mel_features"), split) for split in SPLITS
    ]


def test_everything_is_in_the_order_of_the_graph(tmp_path: Path) -> None:
    names = [stage for stage, _ in places(project(tmp_path))]
    assert names[0] == "synthetic_speech" and names.count("mel_features") == len(SPLITS)
    assert names.index("cmvn_stats") > names.index("mel_features")


def test_an_unknown_asset_is_named_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nonsense is not an asset of this project; there are .*raw_manifest"):
        due_of(project(tmp_path), "nonsense")


def test_a_package_of_the_last_run_is_missed_before_the_first(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    listening = {"evaluation": {"report": {"recognise": "whisper"}}}
    with pytest.raises(MissingDependencyError, match=r"espeakng-loader: .*\[speech\]"):
        due_of(Project(Config.model_validate(listening), tmp_path))
    due_of(Project(Config.model_validate(listening), tmp_path), "raw_manifest")
