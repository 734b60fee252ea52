"""What commands print of a home whose recordings, speakers, labels and licences have names that attack a terminal."""

import json
import re
import shlex
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import typer.main

from wakeword_core.audio import write_audio
from wakeword_pipeline.cli.main import app, main

RATE = 16_000
PHRASE = "[/bold] hey [red]robin <script> ![x](http://x)"
NAMES = ("\x1b]0;mine\x07", "up\nwakeword: forged", "\x9b2J\r[red]", "\u202edraw\u200b", "[/bold]<script>", "👍 ok é")
"""Of speakers; files and labels are called like them."""
DANGEROUS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2028\u2029\u2066-\u2069\ud800-\udfff]")


class Home:
    def __init__(self, folder: Path) -> None:
        self.folder, self.config = folder, folder / "wakeword.yaml"
        generator = np.random.default_rng(1)
        for name in NAMES:
            for role in ("positive", "negative"):
                path = folder / role / name / f"{name}.wav"
                write_audio(path, generator.normal(0, 0.1, RATE // 2).astype(np.float32), RATE)
        sources = [
            {"name": "positive", "path": "positive", "role": "positive", "speaker": "parent"},
            {"name": "negative", "path": "negative", "role": "negative", "speaker": "parent", "labels": "parent"},
            {"name": "kitchen", "path": "gone", "role": "negative"},
        ]
        checks = {"unheard_error": 1}  # they are noise
        self.config.write_text(
            json.dumps({"phrase": PHRASE, "data": {"sources": sources}, "checks": checks, "compute": {"workers": 1}})
        )

    def wakeword(self, *arguments: str, expect: int = 0, columns: int = 400) -> tuple[str, str]:
        """Run a command in this process: what it prints, and its errors and log lines."""
        out, errors = StringIO(), StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(errors):
            patch.setenv("COLUMNS", str(columns))
            patch.setenv("WAKEWORD_CONFIG", str(self.config))
            patch.setenv("WAKEWORD_HOME", str(self.folder / "home"))
            patch.setattr(sys, "argv", ["wakeword", *arguments])
            try:
                main()
            except SystemExit as stopped:
                assert (stopped.code or 0) == expect, errors.getvalue()
        return out.getvalue(), errors.getvalue()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("a hostile home"))


@pytest.fixture(scope="module")
def built(home: Home) -> tuple[str, str]:
    """What the command that makes the manifest prints."""
    return home.wakeword("run", "--select", "raw_manifest")


def test_a_run_tells_each_check_that_is_not_passed_once_and_so_does_the_next_one(
    home: Home, built: tuple[str, str]
) -> None:
    again, _ = home.wakeword("run", "--select", "raw_manifest", "--json", columns=150)
    assert f"look inside wakeword ui --home {shlex.quote(str(home.folder / 'home'))}" in again.splitlines()
    table, _, result = again.rstrip().rpartition("\n")
    assert built[0].count("kitchen is left out: ") == table.count("kitchen is left out: ") == 1
    failed = json.loads(result)["failed_checks"]
    assert [(one["artifact"], one["check"], one["severity"]) for one in failed if "kitchen" in one["description"]] == [
        ("raw_manifest", "sources_read", "warning")
    ]
    assert home.wakeword("status")[0].count("warning: sources_read: kitchen is left out") == 1
    states = {state["asset"]: state for state in json.loads(home.wakeword("status", "--json")[0])}
    assert states["raw_manifest"]["failed_checks"] == failed


def test_no_command_prints_what_a_terminal_obeys(home: Home, built: tuple[str, str]) -> None:
    path, out = str(home.folder / "negative" / NAMES[0] / f"{NAMES[0]}.wav"), str(home.folder / NAMES[0])
    forged = f"phrase={NAMES[0]}"
    tried = [
        (0, "status"),
        (0, "sources"),
        (0, "models"),
        (0, "gc"),
        (0, "lineage", "raw_manifest"),
        (0, "lineage", "raw_manifest", "--recordings"),
        (0, "lineage", path),
        (0, "forget", path),
        (1, "forget", "--speaker", NAMES[1]),
        (0, "forget", "--speaker", f"negative/{NAMES[2]}"),
        (1, "detect", path, path),
        (1, "score", path, path, "--out", path),
        (1, "listen", path),
        (1, "serve", path),
        (1, "export", path, "--to", "onnx", "--out", out),
        (2, "push", "--set", forged),
        (2, "pull", "--set", f"remote.url=file://{out}"),
        (1, "verify", path),
        (1, "promote", NAMES[0]),
        (1, "rollback"),
        (1, "lr-find"),
        (1, "batch-find"),
        (2, "search", "--set", f"search.space.{NAMES[0]}=[1, 2]"),
        (0, "synth", "hey", "--count", "1", "--out", out),
        (2, "synth", NAMES[5], "--out", path),
        (0, "captures", out),
        (2, "review", path),
        (2, "record", NAMES[0], "--out", out),
        (2, "evaluate", path, "--source", out),
        (2, "run", "--set", forged),
        (2, "run", "--select", NAMES[0]),
        (2, "cross-validate", "--set", forged),
        (2, "demo", "--phrase", NAMES[0]),
    ]
    printed = list(built)
    for expect, *arguments in tried:
        printed += home.wakeword(*map(str, arguments), expect=int(expect))
    everything = "".join(printed)
    assert not DANGEROUS.search(everything) and "\nwakeword: forged" not in everything
    assert PHRASE in printed[0] and PHRASE in printed[1] and PHRASE in printed[2]
    assert r"\x1b]0;mine\x07" in everything and "👍 ok é" in everything and "[/bold]<script>" in everything
    assert {str(command) for _, command, *_ in tried} == set(typer.main.get_command(app).commands) - {
        "ui"
    }  # which becomes another program
