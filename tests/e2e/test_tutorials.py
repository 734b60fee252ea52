"""Somebody types what tutorials tell them to, line by line, and gets what they promise.

The commands are those of the documents, in their order, and only this is otherwise than at home: a configuration that
a tutorial has one write is merged with `SMALL`, so that its build takes a minute; `make run` is the command behind it;
what installs something is left out; a server gets a free port; and voices are espeak's, at a microphone and a
loudspeaker that are none. The tutorials of devices are not here: they need one.
"""

import contextlib
import io
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from documents import BEHIND_MAKE, ROOT, all_blocks, lines_of
from spoken import take

from wakeword_core.config import SynthesisConfig
from wakeword_core.runtime.captures import captures_in
from wakeword_core.serving.client import JudgeClient
from wakeword_core.speech.synthesis import synthesize
from wakeword_pipeline.cli.commands import record
from wakeword_pipeline.cli.main import main

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.server]

SMALL: dict[str, Any] = {
    "synthesis": {
        **{"engines": {"espeak": 1}, "positives": 60, "hard_negatives": 40, "negatives": 60, "words": 40, "pieces": 10},
        **{"background_minutes": 2, "held_out_background_minutes": 2},
    },
    "features": {"augment": {"views": 2, "negative_views": 1, "real_views": 4}},
    "training": {"schedule": {"epochs": 3}, "sampling": {"max_steps_per_epoch": 30}},
    "mining": {"tuning": {"epochs": 1}},
    "judge": {"rows": {"positives": 100, "negatives": 200}, "head": {"count": 1, "steps": 60}},
    "evaluation": {"conditions": {"test": {"snr_db": [None], "far_snr_db": []}, "tuning": {"snr_db": [None]}}},
    # a network that was trained for seconds
    "checks": {"min_val_auc": 0.5, "max_frr": 1.0},
    "export": {"int8": {"max_f1_drop": 0.5}},
}
AT_A_PAGE = ("serve", "review", "ui")
"""Commands that run until Ctrl-C; `record --page` is one, too."""
PATIENCE_SECONDS = 180


def merged(tree: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """A configuration with some settings over it."""
    both = {name: merged(tree[name], over[name]) for name in tree.keys() & over if isinstance(over[name], dict)}
    return {**tree, **over, **both}


class Reader:
    """Who does what a tutorial says, in a folder of their own, and remembers what each command printed."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.patch = folder, patch
        self.printed: dict[str, str] = {}
        self.does: dict[str, Callable[[str], None]] = {}
        """Beginning of a command -> what is done at the page that it opens, or once it is through."""
        patch.chdir(folder)

    def follow(self, tutorial: str) -> None:
        """Write and type everything that the tutorial has, from the first line to the last."""
        document = ROOT / "docs" / "tutorials" / f"{tutorial}.md"
        text = document.read_text("utf-8")
        for language, block in all_blocks(document):
            if language == "yaml":
                name = re.findall(r"`(\w+\.yaml)`", text.partition(block)[0])[-1]
                tree = merged(yaml.safe_load(block), SMALL)
                (self.folder / name).write_text(yaml.safe_dump(tree, sort_keys=False))
            else:
                for words in lines_of(block):
                    self.type(words)

    def type(self, words: list[str]) -> None:
        """Do one line."""
        match words:
            case ["make", target, *given]:
                options = (shlex.split(word.removeprefix("ARGS=")) for word in given)
                self.type(["wakeword", BEHIND_MAKE[target], *(option for some in options for option in some)])
            case ["wakeword", name, *options]:
                line = shlex.join(words)
                done = next((do for start, do in self.does.items() if line.startswith(start)), None)
                if name in AT_A_PAGE or "--page" in options:
                    with self.at_page([name, *options]) as address:
                        (done or answers)(address)
                    return
                self.printed[line] = self.run(name, *options)
                if done:
                    done(self.printed[line])
            case ["mkdir", *_]:
                subprocess.run(words, check=True)
                self.does["mkdir"]("")
            case _:
                assert words[0] in (".", "pip"), words

    def run(self, *arguments: str) -> str:
        """What a command prints, in this process: each of its own would import torch, Dagster and MLflow."""
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            patch.setattr(sys, "argv", ["wakeword", *arguments])
            if arguments[0] == "record":
                other = "open the window" if "--negatives" in arguments else "hey robin"
                patch.setattr(record, "microphone", lambda rate, device: somebody_says(other, rate))
                patch.setattr(sys, "stdin", io.StringIO("yes\n" + 100 * "\n"))
            with pytest.raises(SystemExit) as ended:
                main()
        assert not ended.value.code, f"{shlex.join(arguments)}\n{out.getvalue()}{err.getvalue()}"
        return out.getvalue()

    @contextlib.contextmanager
    def at_page(self, arguments: list[str]) -> Iterator[str]:
        """The address of a server, which ends by Ctrl-C."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        command = [sys.executable, "-P", "-m", "wakeword_pipeline.cli", *arguments, "--port", str(port)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        said = self.folder / f"{arguments[0]}.log"
        with said.open("w") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
        address, deadline = f"http://127.0.0.1:{port}", time.monotonic() + PATIENCE_SECONDS
        try:
            while True:
                with contextlib.suppress(OSError):
                    answers(address)
                    break
                assert process.poll() is None and time.monotonic() < deadline, said.read_text()
                time.sleep(0.2)
            yield address
        finally:
            os.killpg(process.pid, signal.SIGINT)
            assert process.wait(timeout=60) in (0, 130), said.read_text()


def answers(address: str) -> None:
    """Fail where no page answers."""
    with urllib.request.urlopen(address, timeout=10) as answer:
        assert answer.status == 200


somebodys_turns = iter(range(1_000_000))


@contextlib.contextmanager
def somebody_says(text: str, rate: int) -> Iterator[Iterator[np.ndarray]]:
    """A microphone: a text once, each time a little later, to who is near and to who walks away in turn; then quiet."""
    turn = next(somebodys_turns)
    silence = np.random.default_rng(turn).normal(0, 30, 61 * rate).astype(np.int16)
    waiting = silence[: round((6.0 if turn % 2 else 1.5) * rate)]
    said = take(0.8 + 0.004 * (turn % 100), text=text)
    yield iter(np.array_split(np.concatenate([waiting, said, silence]), 100))


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    played: list[int] = []
    loudspeaker = SimpleNamespace(
        PortAudioError=OSError, play=lambda samples, rate, blocking: played.append(len(samples)), played=played
    )
    monkeypatch.setitem(sys.modules, "sounddevice", loudspeaker)
    return Reader(tmp_path, monkeypatch)


def spoken(phrase: str, folder: Path, count: int, minutes: float = 0) -> list[Path]:
    """Recordings of a phrase by as many voices, or of something else."""
    few = SynthesisConfig(
        **{"enabled": True, "engines": {"espeak": 1}, "positives": count, "hard_negatives": 0, "negatives": 0},
        **{"words": 0, "background_minutes": minutes},
    )
    synthesize(phrase, few, 16_000, 99, folder, folder / "cache")
    found = sorted(folder.glob("background/*/*.flac" if minutes else "positive/*.flac"))
    assert found
    return found


def test_a_wake_word_from_a_phrase(reader: Reader) -> None:
    words = spoken("hello house", reader.folder / "me", 3)

    def say_it(address: str) -> None:
        with JudgeClient(address) as client:
            assert client.model().words == ["hello house"]
            assert max(client.verify(word).confidence for word in words) > 0.1

    reader.does["wakeword serve"] = say_it
    reader.follow("phrase")
    assert sys.modules["sounddevice"].played and "hello house" in reader.printed["wakeword synth 'hello house' --say"]
    assert "champion" in reader.printed["wakeword models --config house.yaml"]
    assert_all_is_fresh(reader.printed["wakeword status"])


def assert_all_is_fresh(status: str) -> None:
    """Fail for a step that would be made otherwise today, but for a comparison with a model that is deleted."""
    unfinished = re.findall(r"^\W*(?:stale|missing|waiting) +(\S+)", status, re.MULTILINE)
    assert "fresh" in status and set(unfinished) <= {"champion_comparison"}, status


def test_recordings_of_ones_own_then_the_television_then_somebody_withdraws(reader: Reader) -> None:
    family = reader.folder / "recordings" / "family"
    words = spoken("hey robin", reader.folder / "them", 24)
    television = spoken("hey robin", reader.folder / "it", 0, minutes=3)

    def copy_files(_: str) -> None:
        for number, word in enumerate(words):
            word.rename(family / ("anna", "ben", "cleo")[number % 3] / word.name)
        for number, sound in enumerate(television):
            sound.rename(family.parent / "kitchen" / f"{number}.flac")

    reader.does["mkdir"] = copy_files
    reader.follow("recordings")
    assert "recordings" in reader.printed["wakeword sources"] and "family" in reader.printed["wakeword sources"]
    takes = (reader.folder / "recordings" / "recordings.csv").read_text()
    assert takes.count("Anna") >= 40 and takes.count("background") >= 15
    assert "champion" in reader.printed["wakeword models"]

    def watch(address: str) -> None:
        with JudgeClient(address) as client:
            for sound in sorted([*family.rglob("*.flac"), *(family.parent / "kitchen").glob("*.flac")]):
                client.verify(sound)

    def say_which_were_wrong(address: str) -> None:
        for number, capture in enumerate(captures_in(reader.folder / "kept")):
            said = {"name": capture.sound.stem, "state": "no" if number % 3 else "yes", "word": "hey robin"}
            request = urllib.request.Request(
                f"{address}/reviews", json.dumps(said).encode(), {"Content-Type": "application/json"}
            )
            with urllib.request.urlopen(request, timeout=60) as answer:
                assert answer.status == 200

    reader.does = {"wakeword serve": watch, "wakeword review": say_which_were_wrong}
    reader.follow("television")
    labelled = sorted((reader.folder / "kept" / "labelled").glob("*.flac"))
    assert len(labelled) > 3 and captures_in(reader.folder / "kept") == []
    assert reader.printed["wakeword detect champion kept/labelled"].count(".flac") >= len(labelled)

    hers = "wakeword lineage raw_manifest --recordings"
    before: list[str] = []
    reader.does = {"wakeword forget --speaker family/anna --reason": before.append}
    reader.follow("forget")
    assert before and "family/anna" not in reader.printed[hers] and "family/ben" in reader.printed[hers]
    assert_all_is_fresh(reader.printed["wakeword status"])
