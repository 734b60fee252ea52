"""Listing and deleting what was kept."""

import json
from pathlib import Path

import numpy as np
import pytest

from wakeword_core.config import KeepConfig
from wakeword_core.errors import ConfigError
from wakeword_core.runtime.captures import Keeper, captures_in
from wakeword_pipeline.cli.commands.captures import delete_captures, list_captures


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two captures, one of a word that would paint the terminal, and a file of somebody else."""
    keeper = Keeper(tmp_path, KeepConfig())
    for ago, kind, word in ((5.0, "event", "hey robin"), (1.0, "near_miss", "[bold red]\x1b[31mrobin")):
        keeper.keep(np.zeros(16_000, np.int16), 16_000, kind, word, {"score": 0.93, "threshold": 0.6}, ago)
    (tmp_path / "notes.txt").write_text("mine")
    return tmp_path


def test_captures_are_listed_oldest_first_and_told_apart(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    list_captures(folder, as_json=False)
    told = capsys.readouterr().out
    assert told.index("_event") < told.index("_near-miss") and "2 captures (1 event, 1 near_miss)" in told
    assert "[bold red]" in told and "\x1b" not in told
    list_captures(folder, as_json=True)
    rows = json.loads(capsys.readouterr().out)["captures"]
    assert [(row["kind"], row["score"]) for row in rows] == [("event", 0.93), ("near_miss", 0.93)]
    assert [Path(row["sound"]).is_file() for row in rows] == [True, True]


def test_one_command_deletes_them_and_nothing_else(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    delete_captures(folder)
    assert "deleted 2 captures" in capsys.readouterr().out
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    list_captures(folder, as_json=False)
    assert "0 captures, 0.0 MB" in capsys.readouterr().out


def test_a_folder_that_is_not_there_is_an_error(folder: Path) -> None:
    with pytest.raises(ConfigError, match="there is no folder"):
        list_captures(folder / "none", as_json=False)


def test_facts_that_somebody_wrote_hide_no_capture_and_lead_nowhere_else(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = captures_in(folder)
    first.facts.write_text("[]")
    second.facts.write_text('{"sound": "/etc/passwd", "kind": "event", "word": ["x"], "score": {"a": 1}}')
    list_captures(folder, as_json=False)
    assert "2 captures" in capsys.readouterr().out
    list_captures(folder, as_json=True)
    rows = json.loads(capsys.readouterr().out)["captures"]
    assert [row["sound"] for row in rows] == [str(first.sound), str(second.sound)]
    assert [row["kind"] for row in rows] == ["event", "near_miss"]
    first.sound.unlink()
    list_captures(folder, as_json=False)
    assert "1 captures" in capsys.readouterr().out
    delete_captures(folder)
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
