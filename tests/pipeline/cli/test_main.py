"""The surface of the command line, and how it fails."""

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from wakeword_core.config import Config
from wakeword_core.config.judge import JudgeConfig
from wakeword_core.errors import ArtifactError, DataError
from wakeword_core.graph.project import Project
from wakeword_pipeline.cli.commands.run import require_judge
from wakeword_pipeline.cli.main import app

SURFACE = {
    "demo": {"--home", "--phrase", "--fast", "--json"},
    "run": {"--config", "--home", "--set", "--without", "--select", "--json"},
    "cross-validate": {"--config", "--home", "--set", "--folds", "--json"},
    "ui": {"--config", "--home", "--host", "--port", "--allow-host", "--without-token", "--service"},
    "status": {"--config", "--home", "--set", "--json"},
    "sources": {"--config", "--home", "--set", "--json"},
    "forget": {"--speaker", "--reason", "--rebuild", "--purge", "--yes", "--config", "--home", "--set", "--json"},
    "gc": {"--keep", "--delete", "--compact", "--remote", "--config", "--home", "--set", "--json"},
    "push": {"--config", "--home", "--set", "--json"},
    "pull": {"--config", "--home", "--set", "--json"},
    "lineage": {"--home", "--recordings", "--json"},
    "verify": {"--config", "--home", "--set", "--json"},
    "lr-find": {"--config", "--home", "--set", "--low", "--high", "--steps", "--out", "--json"},
    "batch-find": {"--config", "--home", "--set", "--json"},
    "search": {"--config", "--home", "--set", "--trials", "--json"},
    "models": {"--config", "--home", "--set", "--json"},
    "promote": {"--force", "--reason", "--config", "--home", "--set"},
    "rollback": {"--reason", "--config", "--home", "--set"},
    "score": {"--alone", "--out"},
    "detect": {"--alone", "--sensitivity", "--threshold", "--csv", "--json"},
    "evaluate": {
        "--source",
        "--background",
        "--speech",
        "--against",
        "--condition",
        "--phrase",
        "--labels",
        "--speaker",
        "--out",
        "--csv",
        "--minutes",
        "--home",
        "--alone",
        "--set",
        "--json",
    },
    "listen": {
        "--alone",
        "--device",
        "--sensitivity",
        "--threshold",
        "--seconds",
        "--judge",
        "--judge-absent",
        "--keep",
        "--json",
    },
    "captures": {"--delete", "--json"},
    "review": {
        "--doubtful",
        "--model",
        "--speaker",
        "--licence",
        "--reviewer",
        "--host",
        "--port",
        "--config",
        "--home",
        "--set",
    },
    "serve": {
        "--judge",
        "--host",
        "--port",
        "--wyoming",
        "--no-http",
        "--keep",
        "--sensitivity",
        "--follow-champion",
        "--config",
        "--home",
        "--set",
    },
    "export": {"--to", "--out", "--force", "--config", "--home", "--set", "--json"},
    "record": {
        "--count",
        "--negatives",
        "--room",
        "--speaker",
        "--licence",
        "--out",
        "--device",
        "--page",
        "--port",
        "--config",
        "--json",
    },
    "synth": {"--out", "--count", "--seed", "--say", "--ipa", "--config", "--set"},
}


def command(*arguments: str, expect: int) -> str:
    """Run in this process; standard error."""
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == expect, done.output
    return done.output


def test_help_tells_defaults() -> None:
    """Which rich would take for its markup."""
    assert "[default: wakeword.yaml]" in " ".join(command("run", "--help", expect=0).split())


def test_the_commands_and_options_are_the_agreed_ones() -> None:
    import typer.main

    group = typer.main.get_command(app)
    found = {
        name: {option for param in one.params for option in param.opts if option.startswith("--")}
        for name, one in group.commands.items()
    }
    assert found == SURFACE


def test_help_answers_at_once_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['wakeword', '--help']\n"
        "from wakeword_pipeline.cli.main import main\n"
        "try: main()\n"
        "except SystemExit:\n"
        "    print('HEAVY', sorted({'torch', 'dagster', 'mlflow', 'pandas', 'numpy'} & set(sys.modules)))"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "HEAVY []" in done.stdout and "synth" in done.stdout
    assert time.monotonic() - started < 5  # under a second on a quiet machine


def test_bad_usage_is_2(failing) -> None:
    assert failing("run", "--no-such-option")[0] == 2


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("training.schedule.epochs=0", "training.schedule.epochs"),
        ("training.epoch=3", "training.schedule.epochs"),
        ("training.model.arch=transformer", "training.model.arch"),
        ("phrase=", "phrase"),
        ("nonsense", "="),
    ],
)
def test_a_wrong_setting_is_one_line_and_2(monkeypatch, failing, tmp_path: Path, setting: str, said: str) -> None:
    (tmp_path / "wakeword.yaml").write_text("phrase: hey robin\n")
    monkeypatch.chdir(tmp_path)
    status, message = failing("run", "--set", setting)
    assert status == 2 and said in message and len(message.strip().splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["wakeword.yaml"]


def test_verbose_tells_what_led_to_an_error_and_changes_nothing_else(monkeypatch, failing, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    plain, verbose = (failing(*options, "run") for options in ((), ("--verbose",)))
    assert plain[0] == verbose[0] == 2 and "Traceback" not in plain[1]
    assert "Traceback" in verbose[1] and verbose[1].endswith(plain[1])


@pytest.mark.parametrize(
    ("settings", "missing", "said"),
    [
        ("phrase: 你好小智\nsynthesis: {enabled: true}", "", r"cannot read 你, 好, 小, 智"),
        ("phrase: robin\nsynthesis: {enabled: true, pronunciations: {robin: 'ɹ@bin'}}", "", r"'@'"),
        (
            "phrase: robin\nfeatures: {frontend: {kind: micro}}",
            "pymicro_features",
            r"micro needs pymicro-features: .* -m pip install -e '/.*\[esp\]'",
        ),
        *(
            (
                f"phrase: robin\n{wanted}",
                "pyopen_wakeword",
                r"needs .*pyopen-wakeword: .* -m pip install -e '/.*\[judge\]'",
            )
            for wanted in ("judge: {enabled: true}", "export: {openwakeword: {enabled: true}}")
        ),
    ],
)
def test_what_cannot_be_made_is_refused_before_there_is_a_home(
    monkeypatch, failing, tmp_path: Path, settings: str, missing: str, said: str
) -> None:
    """A word that no voice can say, or a package that is not installed."""
    (tmp_path / "wakeword.yaml").write_text(f"{settings}\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    if missing:
        monkeypatch.setitem(sys.modules, missing, None)
    status, message = failing("run")
    assert status == 1 and re.search(said, message) and len(message.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["wakeword.yaml"]


def test_a_demo_of_a_phrase_that_no_voice_can_read_leaves_nothing_and_blames_no_file(failing, tmp_path: Path) -> None:
    for phrase, code, said in (
        ("你好小智", 1, "wakeword: the English voices cannot read"),
        ("!!!", 2, "wakeword: phrase is"),
    ):
        status, message = failing("demo", "--phrase", phrase, "--home", str(tmp_path / "home"))
        assert status == code and message.startswith(said) and not list(tmp_path.iterdir())


def test_an_encoder_that_is_none_is_told_of_where_a_judge_is_to_be_made(monkeypatch, tmp_path: Path) -> None:
    judge = JudgeConfig(enabled=True, encoder="transformers", encoder_folder=tmp_path / "nothing")
    project = Project(Config(phrase="robin", judge=judge), tmp_path)
    project.store.root.mkdir()
    require_judge(project, ["raw_manifest"])
    with pytest.raises(ArtifactError, match=r"nothing is no encoder .*or do without: set judge\.enabled to false"):
        require_judge(project, ["judge_model"])
    monkeypatch.setattr(Project, "find", lambda project, stage: stage == "judge_model" or None)
    require_judge(project, [])


def test_rows_that_are_shorter_than_what_a_judge_hears_are_said_before_anything_is_built(tmp_path: Path) -> None:
    short = Config(phrase="robin", judge=JudgeConfig(enabled=True)).changed(
        {"features.frontend.window_frames": 50, "features.context.frames": 0}
    )
    advice = r"rows are 0\.\d+ s, but the judge hears 1\.46 s: make features\.frontend\.window_frames larger"
    with pytest.raises(DataError, match=advice):
        require_judge(Project(short, tmp_path), [])


def test_a_missing_configuration_is_said(monkeypatch, failing, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    status, message = failing("run")
    assert status == 2 and "wakeword.yaml" in message and not list(tmp_path.iterdir())


def test_a_model_that_is_none_is_said(failing, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    (tmp_path / "a.wav").write_bytes(b"")
    status, message = failing("detect", str(tmp_path), str(tmp_path / "a.wav"))
    assert status == 1 and "model.onnx" in message and len(message.strip().splitlines()) == 1


def test_a_demo_asks_for_room_before_it_writes(monkeypatch, failing, tmp_path: Path) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=10_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    status, message = failing("demo", "--home", str(tmp_path / "home"))
    assert status == 1 and "needs about 500 MB, but only 10 MB are free" in message
    assert list(tmp_path.iterdir()) == []


def test_a_sensitivity_is_a_threshold_of_the_model(monkeypatch, failing, tmp_path: Path) -> None:
    from wakeword_core import runtime
    from wakeword_pipeline.cli.commands import detect

    class Model(runtime.WakewordModel):
        def __init__(self, path: Path, *, alone: bool) -> None:
            self.path, self.threshold, self._thresholds = path, 0.5, {"strict": 0.9, "balanced": 0.5}
            self.sample_rate = 16_000

    used = []
    monkeypatch.setattr(detect, "open_model", Model)
    monkeypatch.setattr(detect, "detect_blocks", lambda model, blocks, threshold: used.append(threshold) or [])
    for options in ((), ("--sensitivity", "strict"), ("--threshold", "0.7")):
        command("detect", "model.onnx", "a.wav", "--json", *options, expect=0)
    assert used == [0.5, 0.9, 0.7]
    status, message = failing("detect", "model.onnx", "a.wav", "--sensitivity", "loud")
    assert status == 2 and "'loud'" in message and "strict, balanced" in message
    both = ("--sensitivity", "strict", "--threshold", "0.7")
    assert failing("detect", "model.onnx", "a.wav", *both)[0] == 2


def test_a_full_disk_is_said_before_anything_is_written(monkeypatch, failing, tmp_path: Path) -> None:
    import shutil
    from types import SimpleNamespace

    (tmp_path / "wakeword.yaml").write_text("phrase: hey robin\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1_000))
    status, message = failing("run")
    assert status == 1 and "free some space" in message and not (tmp_path / ".wakeword").exists()


def test_status_of_an_empty_home_is_all_missing(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "wakeword.yaml").write_text("phrase: hey robin\nsynthesis: {enabled: true}\n")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["status", "--config", "wakeword.yaml", "--json"])
    states = json.loads(done.output.splitlines()[-1])
    assert {state["state"] for state in states} == {"missing"} and len(states) == 19
    assert "missing" in CliRunner().invoke(app, ["status", "--config", "wakeword.yaml"]).output


@pytest.mark.parametrize("what", ["lr-find", "batch-find"])
def test_without_features_nothing_can_be_looked_for(what: str, monkeypatch, failing, tmp_path: Path) -> None:
    (tmp_path / "wakeword.yaml").write_text("phrase: hey robin\nsynthesis: {enabled: true}\n")
    monkeypatch.chdir(tmp_path)
    status, message = failing(what)
    assert status == 1 and "mel_features[train] is not built" in message and len(message.strip().splitlines()) == 1


def test_version() -> None:
    from wakeword_core import __version__

    assert __version__ in command("--version", expect=0)
