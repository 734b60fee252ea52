"""The toy project of mining's tests, with rows that are long enough for a judge."""

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "mining"))

from toy_project import record_toy, toy_in

from wakeword_core.graph.project import Project

SETTINGS = {
    "features.context.frames": 120,
    "judge.enabled": True,
    "judge.head.steps": 40,
    "judge.head.count": 2,
    "checks.min_val_auc": 0.5,
}


def project_in(folder: Path) -> Project:
    return Project(toy_in(folder).config.changed(SETTINGS), folder / "home")


def build_rows(folder: Path) -> None:
    record_toy(folder)
    for stage, split in (("raw_manifest", None), ("audio_shards", "train"), ("mel_features", "train")):
        project_in(folder).build(stage, split)


@pytest.fixture(scope="session")
def project(shared_folder, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with the shards and the features of its training split, copied from the one that is built for all."""
    folder = tmp_path_factory.mktemp("judged")
    shutil.copytree(shared_folder("toy_of_the_judge", build_rows), folder, dirs_exist_ok=True)
    return project_in(folder)
