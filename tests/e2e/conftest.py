"""One home built by the real command, killed once on the way; the tests of the pipeline look at it."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import soundfile
from listening import listening

from wakeword_core.config import SynthesisConfig
from wakeword_core.speech.synthesis import synthesize
from wakeword_pipeline.cli.main import main

sys.path.insert(0, str(Path(__file__).parent))

CONFIG = """
phrase: hey robin
preset: tiny
compute: {workers: 1}
data:
  sources:
    - {name: kitchen, path: recordings, role: positive, licence: CC0-1.0, speaker: "regex:(?P<speaker>[^/]+)$"}
synthesis: {enabled: true, positives: 48, hard_negatives: 32, negatives: 48, background_minutes: 1.5}
shards: {count: 2}
training: {schedule: {epochs: 4}, sampling: {steps_per_epoch: 12, batch_size: 32}}
checks: {min_val_auc: 0.5}
evaluation: {conditions: {test: {snr_db: [null], far_snr_db: []}, tuning: {snr_db: [null]}}}
export: {int8: {calibration_windows: 32, max_f1_drop: 0.5}}   # a network trained for seconds on a handful of clips
"""


@dataclass
class Home:
    """A project folder with a configuration, some recordings and a home."""

    folder: Path
    killed_with: frozenset[str]
    """Artifacts (stage/key) that were complete when the first run was killed."""
    result: dict[str, Any]
    """The JSON that the resumed run ended with."""

    @property
    def path(self) -> Path:
        return self.folder / "home"

    def wakeword(self, *arguments: str, expect: int = 0) -> str:
        """Run a command on this home as from a shell, but in this process; its standard output, or error if it fails.

        A process for each command would import torch, Dagster and MLflow twenty times.
        """
        out, err = io.StringIO(), io.StringIO()
        with (
            pytest.MonkeyPatch.context() as patch,
            mock.patch.dict(os.environ, WAKEWORD_HOME=str(self.path)),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            patch.chdir(self.folder)
            patch.setattr(sys, "argv", ["wakeword", *arguments])
            with pytest.raises(SystemExit) as ended:
                main()
        assert (ended.value.code or 0) == expect, out.getvalue() + err.getvalue()
        return out.getvalue() if expect == 0 else err.getvalue()

    def run(self, *arguments: str) -> dict[str, Any]:
        """`wakeword run --json` and its result."""
        return result_of(self.wakeword("run", "--json", *arguments))


def result_of(printed: str) -> dict[str, Any]:
    """The object in the last line of what a command printed."""
    return json.loads(printed.splitlines()[-1])


def command(folder: Path, *arguments: str) -> dict[str, Any]:
    """The first options of subprocess for a command in a process of its own, on the home in a project folder."""
    environment = {**os.environ, "WAKEWORD_HOME": str(folder / "home")}
    return {"args": [sys.executable, "-m", "wakeword_pipeline.cli", *arguments], "cwd": folder, "env": environment}


def complete(home: Path) -> frozenset[str]:
    """Artifacts on disk, as stage/key."""
    cards = home.glob("store/*/*/artifact.json")
    return frozenset(f"{card.parent.parent.name}/{card.parent.name}" for card in cards if card.parent.name[0] != ".")


def run_and_kill(folder: Path, when: Callable[[], bool]) -> None:
    """Start a run and kill it, with no chance to clean up, as soon as `when` holds."""
    with (folder / "killed.log").open("w") as log:
        process = subprocess.Popen(**command(folder, "run"), stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + 400
        try:
            while not when():
                assert process.poll() is None, (folder / "killed.log").read_text()
                assert time.monotonic() < deadline, "the run never got that far"
                time.sleep(0.05)
            assert listening(process.pid) <= {"127.0.0.1", "::1"}
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home whose first run was killed in the middle of training and whose second run finished."""
    folder = tmp_path_factory.mktemp("project")
    spoken = folder / "spoken"
    recordings = folder / "recordings"
    recordings.mkdir()
    few = SynthesisConfig(enabled=True, positives=24, hard_negatives=0, negatives=0, background_minutes=0)
    synthesize("hey robin", few, 16_000, 99, spoken, spoken / "cache")
    for number, path in enumerate(sorted(spoken.glob("positive/*.flac"))):
        sound, rate = soundfile.read(path)
        soundfile.write(recordings / f"person{number:02}.wav", sound, rate)
    (recordings / "broken.wav").write_bytes(b"RIFF, but nothing more")
    (folder / "wakeword.yaml").write_text(CONFIG)
    home = folder / "home"
    run_and_kill(folder, lambda: any(home.glob("store/trained_model/.building-*/checkpoints/last*")))
    killed = Home(folder, complete(home), {})
    return replace(killed, result=killed.run())
