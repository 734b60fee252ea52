"""A small project on disk, in this process and in others that can be killed."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from wakeword_core.config import Config
from wakeword_core.graph.project import Project
from wakeword_core.progress import Progress, silent
from wakeword_core.store.artifacts import Artifact

RATE = 16_000
EARLY = (("raw_manifest", None), ("audio_shards", "train"), ("mel_features", "train"))

STAGE = """
import json, sys
from pathlib import Path
from wakeword_core.workers import base
from wakeword_core.config import Config
from wakeword_core.graph.project import Project

asked = json.loads(sys.argv[1])
if asked["processes"]:
    base.WORTH_SECONDS = 0

def pause(what, done, total):
    ready = not asked["once"] or any(Path(asked["home"]).glob(asked["once"]))
    if what.startswith(asked["pause"] or "nothing") and done and ready:
        print("in the middle", flush=True)
        sys.stdin.read()

project = Project(Config.model_validate(asked["config"]), Path(asked["home"]), pause)
print("ready", flush=True)
if asked["wait"]:
    sys.stdin.readline()
for stage, split in asked["stages"]:
    artifact, built = project.build(stage, split)
    print(json.dumps({"stage": stage, "built": built, "content": artifact.content}), flush=True)
"""
"""Builds stages; in the middle of one, as its progress tells, it may say so and wait to be killed."""


@dataclass
class Trial:
    """Recordings and settings, to be built in any number of homes."""

    folder: Path
    config: Config

    @property
    def recordings(self) -> Path:
        return self.folder / "recordings"

    def record(self, index: int) -> None:
        """Write one recording, as is told by its number."""
        path = self.recordings / f"{'yes' if index % 3 else 'no'}" / f"{index:02}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        sound = np.random.default_rng([5, index]).normal(0, 0.1, round(0.4 * RATE) + index)
        soundfile.write(path, sound, RATE)

    def project(self, home: str = "home", progress: Progress = silent) -> Project:
        return Project(self.config, self.folder / home, progress)

    def build(self, last: str, home: str = "home") -> Artifact:
        """Every stage up to one; its artifact."""
        project = self.project(home)
        for stage, split in EARLY:
            artifact, _ = project.build(stage, split)
            if stage == last:
                break
        return artifact

    def start(
        self, *stages: str, pause: str = "", once: str = "", processes: bool = False, wait: bool = False
    ) -> subprocess.Popen:
        """Another process that builds stages in the same home; it pauses at a progress, once some file is there."""
        asked: dict[str, Any] = {
            "config": self.config.model_dump(mode="json"),
            "home": str(self.folder / "home"),
            "stages": [one for one in EARLY if one[0] in stages],
            "pause": pause,
            "once": once,
            "processes": processes,
            "wait": wait,
        }
        return subprocess.Popen(
            [sys.executable, "-c", STAGE, json.dumps(asked)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    """Thirty recordings, all for training, in two shards."""
    sources = [
        {"name": name, "path": str(tmp_path / "recordings" / name), "role": role, "split": "train"}
        for name, role in (("yes", "negative"), ("no", "background"))
    ]
    config = {
        "phrase": "robin",
        "data": {"sources": sources},
        "compute": {"workers": 2, "batch_windows": 4},
        "synthesis": {"enabled": False},
        "shards": {"count": 2},
        "features": {"augment": {"views": 1, "negative_views": 1}},
    }
    made = Trial(tmp_path, Config.model_validate(config))
    for index in range(30):
        made.record(index)
    return made
