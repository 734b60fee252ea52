"""`wakeword review`: what it serves to whom, and what it refuses before anything is served."""

import getpass
import sys
from pathlib import Path

import pytest
from kept_captures import keep_captures
from loud_model import save_model

from wakeword_core.reviewing import server
from wakeword_core.reviewing.app import Defaults
from wakeword_pipeline.cli.main import main


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """What was to be served; nothing is."""
    made: list[tuple] = []
    monkeypatch.setattr(server, "serve_review", lambda *given: made.append(given) or given[-1]("http://a:1"))
    return made


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["wakeword", "review", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_a_folder_alone_is_enough_and_the_user_is_the_reviewer(served, monkeypatch, tmp_path: Path, capsys) -> None:
    keep_captures(tmp_path, 1)
    monkeypatch.setattr(getpass, "getuser", lambda: "anna")
    assert run(monkeypatch, str(tmp_path)) == 0
    captured, defaults, host, port, _ = served[0]
    assert (captured.folder, captured.model, defaults) == (tmp_path, None, Defaults("anna"))
    assert (host, port) == ("127.0.0.1", 8766)
    assert f"{tmp_path} is reviewed on http://a:1; stop with Ctrl-C" in capsys.readouterr().err


def test_options_say_the_rest_and_a_system_may_know_no_user(served, monkeypatch, tmp_path: Path) -> None:
    model = save_model(tmp_path / "model")
    given = ("--model", str(model), "--speaker", "parent", "--licence", "CC0-1.0", "--host", "::1", "--port", "0")
    monkeypatch.setattr(getpass, "getuser", lambda: (_ for _ in ()).throw(OSError("No username set")))
    assert run(monkeypatch, str(tmp_path), *given) == 0
    captured, defaults, host, port, _ = served[0]
    assert (captured.model.phrase, defaults) == ("hey robin", Defaults("", "parent", "CC0-1.0"))
    assert (host, port) == ("::1", 0)
    assert run(monkeypatch, str(tmp_path), "--reviewer", "ben") == 0
    assert served[1][1] == Defaults("ben")


def test_what_cannot_be_reviewed_or_would_be_open_to_others_is_one_line(monkeypatch, tmp_path: Path, capsys) -> None:
    monkeypatch.delenv("WAKEWORD_TOKEN", raising=False)
    config, home, named = tmp_path / "wakeword.yaml", tmp_path / "home", ("--set", "data.corrections=corrections.csv")
    config.write_text("phrase: hey robin\n")
    for status, said, arguments in (
        (2, "there is no folder", [str(tmp_path / "none")]),
        (2, "WAKEWORD_TOKEN", [str(tmp_path), "--host", "0.0.0.0", "--port", "0"]),
        (1, "model.onnx", [str(tmp_path), "--model", str(tmp_path / "model.onnx")]),
        (1, "the speaker must be one line of at most 200", [str(tmp_path), "--speaker", "x" * 201]),
        (1, "the reviewer must be one line", [str(tmp_path), "--reviewer", "anna\nben"]),
        (2, "name either the folder", []),
        (2, "name either the folder", [str(tmp_path), "--doubtful"]),
        (2, "--speaker and --licence are of captures", ["--doubtful", "--speaker", "parent"]),
        (2, "data: {corrections: corrections.csv}", ["--doubtful", "--config", str(config), "--home", str(home)]),
        (1, "has no report", [*("--doubtful", "--config", str(config), "--home", str(home)), *named]),
    ):
        assert run(monkeypatch, *arguments) == status
        message = capsys.readouterr().err
        assert said in message and len(message.splitlines()) == 1
