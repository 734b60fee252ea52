"""The toy project of mining's tests, with rows that are long enough for a judge."""

import sys
from pathlib import Path
from unittest import mock

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "mining"))

import toy_project

from wakeword_core.graph.project import Project


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with the shards and the features of its training split."""
    with mock.patch.object(toy_project, "EARLY", ()):
        toy = toy_project.make_toy(tmp_path_factory.mktemp("toy"))
    settings = {"features.context.frames": 120, "judge.enabled": True, "judge.head.steps": 40, "judge.head.count": 2}
    found = Project(toy.config.changed({**settings, "checks.min_val_auc": 0.5}), toy.folder / "home")
    for stage, split in (("raw_manifest", None), ("audio_shards", "train"), ("mel_features", "train")):
        found.build(stage, split)
    return found
