"""A search at the command line, of trials that cost nothing."""

import json
import sys
from pathlib import Path

import pytest

from wakeword_pipeline.cli.main import main
from wakeword_pipeline.search import trials
from wakeword_pipeline.search.results import Found, Row

RATE, KIND = "training.schedule.learning_rate", "training.optimizer.kind"


def row(number: int, misses: float, cpu: float, *, best: bool) -> Row:
    values = {RATE: 0.0012345 * (number + 1), KIND: "adamw", "training.augment.gain_db": [0, number]}
    return Row(number, "finished", values, {"misses": misses, "cpu": cpu}, best)


FOUND = Found(
    "robin-01234567",
    ("misses", "cpu"),
    (
        row(0, 0.25, 3.0, best=False),
        row(1, 0.0425, 2.0, best=True),
        Row(2, "pruned", {RATE: 0.5, KIND: "muon"}, {}, best=False, epochs=3),
        Row(3, "failed", {RATE: 0.9, KIND: "muon"}, {}, best=False, problem="training diverged \x1b[2J"),
        *(row(number, 0.3 + number / 1000, 5.0, best=False) for number in range(4, 26)),
        row(26, 0.9, 1.0, best=True),
    ),
)


SPACE = ("--set", f"search.space.{RATE}=[0.1, 0.2]")


def run(monkeypatch: pytest.MonkeyPatch, home: Path, *arguments: str) -> int:
    monkeypatch.chdir(home)
    for name in ("WAKEWORD_CONFIG", "WAKEWORD_HOME", "WAKEWORD_DAGSTER", "DAGSTER_HOME"):
        monkeypatch.setenv(name, "")  # which a search sets
    (home / "wakeword.yaml").write_text("phrase: robin\n")
    monkeypatch.setattr(sys, "argv", ["wakeword", "search", "--home", str(home / "home"), *arguments])
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_the_best_trials_are_shown_with_what_to_build(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[int] = []

    def search(project: trials.Project, gpu: object) -> Found:
        asked.append(project.config.search.trials)
        return FOUND

    monkeypatch.setattr(trials, "search", search)
    monkeypatch.setenv("COLUMNS", "80")
    assert run(monkeypatch, tmp_path, *SPACE, "--trials", "27", "--json") == 0 and asked == [27]
    screen, _, last = capsys.readouterr().out.rstrip().rpartition("\n")
    assert "\nrobin-01234567: 25 finished, 1 pruned, 1 failed" in screen
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in screen.splitlines() if line.startswith("│")]
    assert rows[0] == ["* 1", "4.25", "2", "0.002469", "adamw", "[0, 1]"] and rows[1][0] == "0"
    assert len(rows) == 21 and rows[-1][:3] == ["* 26", "90", "1"]  # what is best is never left out
    assert all(heading in screen for heading in ("missed (%)", "CPU (ms a second)", "learning_rate", "gain_db"))
    assert "trial 3 failed: training diverged \\x1b[2J" in screen
    folder = tmp_path / "home" / "searches" / FOUND.name
    assert f"wakeword run --config {folder}/trial-1.yaml" in screen and f"{folder}/trials.png" in screen
    told = json.loads(last)
    assert told["best"] == 1 and len(told["trials"]) == 27 and told["config"] == f"{folder}/trial-1.yaml"
    assert told["trials"][3]["problem"] == "training diverged \x1b[2J"


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("phrase=robin", "search.space is empty"),
        (
            f"search.space.{RATE}=[0.1, 2]",
            f"search.space.{RATE}: {RATE} is 2, but must be auto, or a number above 0 and at most 1",
        ),
        ("search.space.training.learning=[0.1, 2]", "training.learning is not a setting"),
    ],
)
def test_what_cannot_be_searched_is_bad_usage(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], setting: str, said: str
) -> None:
    assert run(monkeypatch, tmp_path, "--set", setting) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("wakeword: search.space") and said in error
    assert not (tmp_path / "home").exists()
