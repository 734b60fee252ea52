"""`sound_files` is a module beside the tests."""

import sys
from pathlib import Path

import pytest

from wakeword_core.config import DataConfig
from wakeword_core.recordings.manifest import build_manifest, read_manifest
from wakeword_core.workers.local import LocalWorkers

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def build(tmp_path, cache):
    def run(*sources, config=None, seed=1, **options):
        out = tmp_path / "out"
        out.mkdir(exist_ok=True)
        summary = build_manifest(
            sources, config or DataConfig(), "robin", seed, cache, out, **options, workers=LocalWorkers(2)
        )
        return read_manifest(out, usable=False).set_index("path"), summary

    return run
