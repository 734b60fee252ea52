"""Cross-validation at the command line, of folds that cost nothing."""

import json
import sys
from pathlib import Path

import pytest

from wakeword_core.graph.cross_validation import Failure, Fold
from wakeword_pipeline.cli.commands import folds as command
from wakeword_pipeline.cli.main import main

FIGURES = {
    "words": 20,
    "misses": 2,
    "false_alarms": 1,
    "background_hours": 2.0,
    "fah": 0.5,
    "eer": 0.01,
    "roc_auc": 0.99,
}
FIGURES |= {"f1": 0.9, "latency_p50": 0.1}
WARNING = Failure("metrics_report", "enough_background", "warning", "1 false alarm in [2.00] h")
FOLDS = [
    Fold(0, "first", {**FIGURES, "frr": 0.10}, 20),
    Fold(1, "second", {**FIGURES, "frr": 0.20}, 20, [WARNING]),
]
FAILED = Fold(2, checks=5, problem="training diverged", failures=[Failure("cmvn_stats", "normalises", "error", "off")])


def run(folds: list[Fold], monkeypatch: pytest.MonkeyPatch, home: Path) -> int:
    """Exit status of the command."""
    asked: list[tuple[int, Path]] = []

    def cross_validate(config: object, home: Path, folds_asked: int, progress: object) -> list[Fold]:
        asked.append((folds_asked, home))
        return folds

    monkeypatch.setattr(command, "cross_validate", cross_validate)
    monkeypatch.chdir(home)
    (home / "wakeword.yaml").write_text("phrase: hey robin\n")
    arguments = ["cross-validate", "--home", str(home), "--folds", str(len(folds)), "--json"]
    monkeypatch.setattr(sys, "argv", ["wakeword", *arguments])
    try:
        main()
    except SystemExit as end:
        assert asked == [(len(folds), home)]
        return int(end.code or 0)
    return 0


def test_mean_spread_and_checks_are_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    assert run(FOLDS, monkeypatch, tmp_path) == 0
    screen, _, last = capsys.readouterr().out.rstrip().rpartition("\n")
    found = json.loads(last)
    assert found["mean"]["frr"] == pytest.approx(0.15) and found["deviation"]["frr"] == pytest.approx(0.0707, abs=1e-4)
    assert found["interval"]["frr"] == [0.0, pytest.approx(0.7853, abs=1e-3)]
    assert [one["key"] for one in found["folds"]] == ["first", "second"]
    assert "4 of 40 words missed (10.0%), 2 false alarms in 4.00 h" in screen
    rows = {line.split("│")[1].strip(): line for line in screen.splitlines() if line.startswith("│")}
    assert rows["mean"].split("│")[4].strip() == "0.15" and rows["95% from"].split("│")[4].strip() == "0"
    assert rows["0"].split("│")[-2].strip() == "20 of 20" and rows["1"].split("│")[-2].strip() == "19 of 20"
    assert "fold 1, metrics_report: warning: enough_background: 1 false alarm in [2.00] h" in screen


def test_a_failed_fold_is_an_error_after_all_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*FOLDS, FAILED], monkeypatch, tmp_path) == 1
    said = capsys.readouterr()
    found = json.loads(said.out.splitlines()[-1])
    assert found["folds"][2]["problem"] == "training diverged" and found["words"] == 40
    assert "1 of 3 folds failed: fold 2 (training diverged)" in said.err
    assert "error: normalises: off" in said.out


def test_one_fold_that_is_left_has_no_spread(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([FOLDS[0], FAILED], monkeypatch, tmp_path) == 1
    out = capsys.readouterr().out
    assert "mean" not in json.loads(out.splitlines()[-1]) and "deviation" not in out
