"""`wakeword export`: which model it takes, what it prints, and how it fails."""

import json
import sys
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from wakeword_core.export.targets import TARGETS
from wakeword_core.files import write_json, write_text
from wakeword_core.store.artifacts import ArtifactStore, Build
from wakeword_pipeline.cli.main import main
from wakeword_pipeline.cli.using import export


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple]:
    """What was exported; nothing is written."""
    calls: list[tuple] = []

    def record(model: Path, target: str, out: Path, *, force: bool) -> list[str]:
        calls.append((model, target, out, force))
        return ["model.onnx", "README.md", "exported-files.json"]

    monkeypatch.setattr("wakeword_pipeline.cli.commands.export.export_target", record)
    monkeypatch.chdir(tmp_path)
    for name in ("WAKEWORD_CONFIG", "WAKEWORD_HOME"):
        monkeypatch.delenv(name, raising=False)
    return calls


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["wakeword", "export", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_a_model_alone_is_enough(asked, monkeypatch, tmp_path: Path, capsys) -> None:
    assert run(monkeypatch, "bundle", "--to", "onnx", "--out", "new") == 0
    assert asked == [(Path("bundle"), "onnx", Path("new"), False)]
    assert capsys.readouterr().out == "new holds model.onnx, README.md, exported-files.json\n"
    assert list(tmp_path.iterdir()) == []


def test_json_is_one_object(asked, monkeypatch, capsys) -> None:
    assert run(monkeypatch, "bundle", "--to", "torch", "--out", "new", "--force", "--json") == 0
    assert asked[0][1:] == ("torch", Path("new"), True)
    assert json.loads(capsys.readouterr().out) == {
        "target": "torch", "folder": "new", "files": ["model.onnx", "README.md", "exported-files.json"],
    }  # fmt: skip


def test_without_a_model_the_homes_is_taken(asked, monkeypatch, tmp_path: Path, capsys) -> None:
    def make(build: Build) -> None:
        write_json(build.path / "model_card.json", {})

    write_text(tmp_path / "wakeword.yaml", "phrase: hey robin\n")
    assert run(monkeypatch, "--to", "onnx", "--out", "new") == 1
    assert "there is no model bundle of 'hey robin'" in capsys.readouterr().err and not asked
    store = ArtifactStore(tmp_path / ".wakeword" / "store")
    bundle, _ = store.build("model_bundle", {}, {"phrase": "hey robin"}, "1", make)
    assert run(monkeypatch, "--to", "onnx", "--out", "new") == 0
    assert asked[0][0] == bundle.path


def test_bad_usage_is_2_and_what_is_missing_is_1_and_one_line(monkeypatch, tmp_path: Path, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    for wrong in (["bundle", "--to", "tflite", "--out", "new"], ["bundle", "--to", "onnx"], ["bundle", "--out", "new"]):
        assert run(monkeypatch, *wrong) == 2
    capsys.readouterr()
    assert run(monkeypatch, "nothing", "--to", "onnx", "--out", "new") == 1
    said = capsys.readouterr().err
    assert said.startswith("wakeword: there is no model at nothing") and len(said.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_the_command_offers_every_target() -> None:
    assert get_args(get_type_hints(export)["target"]) == TARGETS
