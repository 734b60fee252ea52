"""The surface of the command line, and how it fails."""

import errno
import json
import re
import shutil
import sqlite3
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
from wakeword_pipeline.cli.main import app, main

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


def failing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Exit status and standard error of a whole command."""
    monkeypatch.setattr(sys, "argv", ["wakeword", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    return int(stopped.value.code or 0), capsys.readouterr().err


def test_bad_usage_is_2(monkeypatch, capsys) -> None:
    assert failing(monkeypatch, capsys, "run", "--no-such-option")[0] == 2


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
def test_a_wrong_setting_is_one_line_and_2(monkeypatch, capsys, tmp_path: Path, setting: str, said: str) -> None:
    (tmp_path / "wakeword.yaml").write_text("phrase: hey robin\n")
    monkeypatch.chdir(tmp_path)
    status, message = failing(monkeypatch, capsys, "run", "--set", setting)
    assert status == 2 and said in message and len(message.strip().splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["wakeword.yaml"]


def test_verbose_tells_what_led_to_an_error_and_changes_nothing_else(monkeypatch, capsys, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    plain, verbose = (failing(monkeypatch, capsys, *options, "run") for options in ((), ("--verbose",)))
    assert plain[0] == verbose[0] == 2 and "Traceback" not in plain[1]
    assert "Traceback" in verbose[1] and verbose[1].endswith(plain[1])


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device", "/a/\x1b[2Jb"), r"/a/\x1b[2Jb: No space left on device"),
        (OSError(5, "Input/output error"), "Input/output error"),
        (MemoryError(), "there is not enough memory; close other programs, or work on less at once"),
        (KeyError("nothing\nmore"), r"an unexpected error: KeyError: 'nothing\nmore'; please report it"),
        (json.JSONDecodeError("odd\nlines", "x", 0), "an unexpected error: json.decoder.JSONDecodeError: odd"),
        (RecursionError(), "an unexpected error: RecursionError: without a message; please report it"),
    ],
)
def test_whatever_is_left_is_one_line_and_1(monkeypatch, capsys, error: Exception, said: str) -> None:
    from wakeword_pipeline.cli.commands import status

    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(status, "show_status", fails)
    code, plain = failing(monkeypatch, capsys, "status")
    assert code == 1 and len(plain.splitlines()) == 1 and "Traceback" not in plain
    assert said in re.sub(r" in wakeword_pipeline/cli/making.py, line \d+", "", plain)
    assert plain.endswith("; run again with --verbose for the traceback\n")
    code, verbose = failing(monkeypatch, capsys, "--verbose", "status")
    assert code == 1 and "Traceback" in verbose and said.partition(":")[0] in verbose and "run again" not in verbose


def test_a_phrase_that_no_voice_can_read_is_refused_before_there_is_a_home(monkeypatch, capsys, tmp_path: Path) -> None:
    (tmp_path / "wakeword.yaml").write_text("phrase: 你好小智\nsynthesis: {enabled: true}\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    status, message = failing(monkeypatch, capsys, "run")
    assert status == 1 and "cannot read 你, 好, 小, 智" in message and len(message.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["wakeword.yaml"]


def test_a_demo_of_a_phrase_that_no_voice_can_read_leaves_nothing_and_blames_no_file(
    monkeypatch, capsys, tmp_path: Path
) -> None:
    for phrase, code, said in (
        ("你好小智", 1, "wakeword: the English voices cannot read"),
        ("!!!", 2, "wakeword: phrase is"),
    ):
        status, message = failing(monkeypatch, capsys, "demo", "--phrase", phrase, "--home", str(tmp_path / "home"))
        assert status == code and message.startswith(said) and not list(tmp_path.iterdir())


def test_a_pronunciation_that_is_none_is_refused_before_there_is_a_home(monkeypatch, capsys, tmp_path: Path) -> None:
    text = "phrase: robin\nsynthesis: {enabled: true, pronunciations: {robin: 'ɹ@bin'}}\n"
    (tmp_path / "wakeword.yaml").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    status, message = failing(monkeypatch, capsys, "run")
    assert status == 1 and "'@'" in message and len(message.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["wakeword.yaml"]


def test_a_package_that_features_need_is_told_of_before_there_is_a_home(monkeypatch, capsys, tmp_path: Path) -> None:
    (tmp_path / "wakeword.yaml").write_text("phrase: robin\nfeatures: {frontend: {kind: micro}}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "pymicro_features", None)
    status, message = failing(monkeypatch, capsys, "run")
    assert status == 1 and re.search(r"micro needs pymicro-features: .* -m pip install -e '/.*\[esp\]'", message)
    assert len(message.splitlines()) == 1 and [path.name for path in tmp_path.iterdir()] == ["wakeword.yaml"]


@pytest.mark.parametrize("wanted", ["judge: {enabled: true}", "export: {openwakeword: {enabled: true}}"])
def test_an_embedding_that_is_needed_is_told_of_before_there_is_a_home(
    monkeypatch, capsys, tmp_path: Path, wanted: str
) -> None:
    (tmp_path / "wakeword.yaml").write_text(f"phrase: robin\n{wanted}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "pyopen_wakeword", None)
    status, message = failing(monkeypatch, capsys, "run")
    assert status == 1 and re.search(r"needs .*pyopen-wakeword: .* -m pip install -e '/.*\[judge\]'", message)
    assert len(message.splitlines()) == 1 and [path.name for path in tmp_path.iterdir()] == ["wakeword.yaml"]


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


def test_a_missing_configuration_is_said(monkeypatch, capsys, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    status, message = failing(monkeypatch, capsys, "run")
    assert status == 2 and "wakeword.yaml" in message and not list(tmp_path.iterdir())


def test_a_model_that_is_none_is_said(monkeypatch, capsys, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    (tmp_path / "a.wav").write_bytes(b"")
    status, message = failing(monkeypatch, capsys, "detect", str(tmp_path), str(tmp_path / "a.wav"))
    assert status == 1 and "model.onnx" in message and len(message.strip().splitlines()) == 1


class OfALibraryError(Exception):
    """As Dagster and MLflow have: it does not say what it was raised from."""

    __module__ = "mlflow.exceptions"


def of_a_library(error: Exception) -> Exception:
    wrapped = OfALibraryError(f"INTERNAL_ERROR: {error}")
    wrapped.__context__ = error
    return wrapped


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/h/x"), "/h/x: No space left on device; free some space or"),
        (OSError(errno.EROFS, "Read-only file system", "/h/x"), "/h/x: Read-only file system; make it writable or"),
        (PermissionError(errno.EACCES, "Permission denied", "/h/x"), "/h/x: Permission denied; make it writable or"),
        (OSError(errno.EIO, "Input/output error"), "[Errno 5] Input/output error; look after that disk"),
        (OSError("Unable to create file (errno = 28, error message = 'No space left on device')"), "; free some space"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "(os error 28); free some"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "/h/x"), "/h/x: No such file or directory"),
        (sqlite3.OperationalError("database or disk is full"), "(database or disk is full); free some"),
        (sqlite3.OperationalError("attempt to write a readonly database"), "(readonly database); make it writable"),
        (sqlite3.OperationalError("database is locked"), "another process is at work there; run the command again"),
        (sqlite3.DatabaseError("file is not\na database"), "cannot be used (file is not a database); run the command"),
        (of_a_library(sqlite3.OperationalError("database or disk is full")), "(database or disk is full); free some"),
    ],
)  # fmt: skip
def test_a_fault_of_a_disk_or_a_database_is_one_line(
    monkeypatch, capsys, tmp_path: Path, error: Exception, said: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("wakeword_pipeline.cli.commands.status.show_status", fail)
    monkeypatch.setenv("WAKEWORD_HOME", str(tmp_path))
    status, message = failing(monkeypatch, capsys, "status")
    assert status == 1 and said in message and len(message.strip().splitlines()) == 1
    assert "Traceback" in failing(monkeypatch, capsys, "--verbose", "status")[1]


def test_a_mistake_of_ours_is_not_called_a_fault_of_a_disk(monkeypatch, capsys) -> None:
    def fail(*_: object, **__: object) -> None:
        try:
            (Path("/") / "nowhere" / "x").read_text()
        except OSError:
            raise ZeroDivisionError from None

    monkeypatch.setattr("wakeword_pipeline.cli.commands.status.show_status", fail)
    status, message = failing(monkeypatch, capsys, "status")
    assert status == 1 and "an unexpected error" in message and "ZeroDivisionError" in message


def test_a_demo_asks_for_room_before_it_writes(monkeypatch, capsys, tmp_path: Path) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=10_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    status, message = failing(monkeypatch, capsys, "demo", "--home", str(tmp_path / "home"))
    assert status == 1 and "needs about 500 MB, but only 10 MB are free" in message
    assert list(tmp_path.iterdir()) == []


def test_a_sensitivity_is_a_threshold_of_the_model(monkeypatch, capsys, tmp_path: Path) -> None:
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
    status, message = failing(monkeypatch, capsys, "detect", "model.onnx", "a.wav", "--sensitivity", "loud")
    assert status == 2 and "'loud'" in message and "strict, balanced" in message
    both = ("--sensitivity", "strict", "--threshold", "0.7")
    assert failing(monkeypatch, capsys, "detect", "model.onnx", "a.wav", *both)[0] == 2


def test_a_full_disk_is_said_before_anything_is_written(monkeypatch, capsys, tmp_path: Path) -> None:
    import shutil
    from types import SimpleNamespace

    (tmp_path / "wakeword.yaml").write_text("phrase: hey robin\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1_000))
    status, message = failing(monkeypatch, capsys, "run")
    assert status == 1 and "free some space" in message and not (tmp_path / ".wakeword").exists()


def test_status_of_an_empty_home_is_all_missing(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "wakeword.yaml").write_text("phrase: hey robin\nsynthesis: {enabled: true}\n")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["status", "--config", "wakeword.yaml", "--json"])
    states = json.loads(done.output.splitlines()[-1])
    assert {state["state"] for state in states} == {"missing"} and len(states) == 19
    assert "missing" in CliRunner().invoke(app, ["status", "--config", "wakeword.yaml"]).output


@pytest.mark.parametrize("what", ["lr-find", "batch-find"])
def test_without_features_nothing_can_be_looked_for(what: str, monkeypatch, capsys, tmp_path: Path) -> None:
    (tmp_path / "wakeword.yaml").write_text("phrase: hey robin\nsynthesis: {enabled: true}\n")
    monkeypatch.chdir(tmp_path)
    status, message = failing(monkeypatch, capsys, what)
    assert status == 1 and "mel_features[train] is not built" in message and len(message.strip().splitlines()) == 1


def test_synth_makes_recordings(tmp_path: Path) -> None:
    pytest.importorskip("espeakng_loader", reason="needs the speech extra")
    import soundfile

    command("synth", "hello house", "--out", str(tmp_path / "out"), "--count", "3", expect=0)
    found = sorted((tmp_path / "out").rglob("*.flac"))
    assert len(found) == 3 and all(soundfile.info(path).samplerate == 16_000 for path in found)


def test_synth_says_the_first_one_and_how(tmp_path: Path, monkeypatch) -> None:
    pytest.importorskip("espeakng_loader", reason="needs the speech extra")
    from wakeword_core.runtime import microphone
    from wakeword_pipeline.cli.commands import synth

    played = []
    monkeypatch.setattr(synth, "play", lambda samples, rate: played.append((len(samples), rate)))
    monkeypatch.chdir(tmp_path)
    assert "hˈeɪ" in command("synth", "hey robin", "--say", expect=0)
    assert len(played) == 1 and played[0][1] == 16_000 and not list(tmp_path.iterdir())
    # without a loudspeaker there is a file, and it says where
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)

    def without(what: str) -> None:
        raise microphone.MissingDependencyError(f"{what} needs sounddevice")

    monkeypatch.setattr("wakeword_core.runtime.loudspeaker.portaudio", without)
    said = command("synth", "小智", "--say", "--ipa", "ʃaʊ ˈdʒɪ", expect=0)
    (path,) = tmp_path.iterdir()
    assert "ʃaʊ dʒˈɪ" in said and path.name in said and path.suffix == ".flac"
    (tmp_path / "config.yaml").write_text("synthesis: {pronunciations: {hello: [ola, alo]}, people_share: 0}\n")
    said = command("synth", "hello", "--say", "--config", "config.yaml", "--out", "there", expect=0)
    assert ("ola" in said or "alo" in said) and len(list((tmp_path / "there").iterdir())) == 1


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["hey"], 2, "--out"),
        (["hey", "--say", "--ipa", "h%"], 1, "'%'"),
        (["hey", "--say", "--set", "synthesis.accents=[klingon]"], 2, "synthesis.accents"),
        (["hey", "--say", "--set", "synthesis.people=[robot]"], 2, "synthesis.people"),
    ],
)
def test_synth_says_what_is_wrong(monkeypatch, capsys, tmp_path: Path, arguments, status, said) -> None:
    pytest.importorskip("espeakng_loader", reason="needs the speech extra")
    monkeypatch.chdir(tmp_path)
    code, message = failing(monkeypatch, capsys, "synth", *arguments)
    assert code == status and said in message and len(message.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_version() -> None:
    from wakeword_core import __version__

    assert __version__ in command("--version", expect=0)
