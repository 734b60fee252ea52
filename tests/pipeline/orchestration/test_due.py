"""How a build is cut into runs."""

from pathlib import Path

import pytest

from wakeword_core.config import Config
from wakeword_core.errors import ConfigError
from wakeword_core.graph.project import Project
from wakeword_pipeline.orchestration.build import Phase, plan


def project(tmp_path: Path, **synthesis: object) -> Project:
    return Project(Config.model_validate({"synthesis": {"enabled": True, **synthesis}}), tmp_path)


def test_a_full_build_is_ingest_each_split_and_the_rest(tmp_path: Path) -> None:
    phases = plan(project(tmp_path))
    assert phases[0] == Phase(("synthetic_speech", "raw_manifest"))
    assert phases[1:4] == [Phase(("audio_shards", "mel_features"), split) for split in ("train", "val", "test")]
    assert phases[4].assets[0] == "cmvn_stats" and phases[4].partition is None and len(phases) == 5


def test_without_synthesis_there_is_no_synthetic_speech(tmp_path: Path) -> None:
    assert plan(project(tmp_path, enabled=False))[0] == Phase(("raw_manifest",))


def test_a_selection_leaves_out_empty_phases(tmp_path: Path) -> None:
    assert plan(project(tmp_path), ["onnx_model"]) == [Phase(("onnx_model",))]
    assert [phase.partition for phase in plan(project(tmp_path), ["audio_shards"])] == ["train", "val", "test"]


def test_an_unknown_asset_is_named_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nonsense is not an asset of this project; there are .*raw_manifest"):
        plan(project(tmp_path), ["nonsense"])
