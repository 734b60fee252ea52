"""The command that measures models on somebody's recordings."""

import json

import numpy as np
import pytest
from loud_model import RATE, loud_and_quiet, save_model
from typer.testing import CliRunner

from wakeword_core.audio import write_audio
from wakeword_core.errors import ConfigError, WakewordError
from wakeword_pipeline.cli.main import app


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a model, words and other sound, in which the command is run."""
    monkeypatch.chdir(tmp_path)
    save_model(tmp_path / "bundle")
    (tmp_path / "bundle" / "other.onnx").write_bytes((tmp_path / "bundle" / "model.onnx").read_bytes())
    calm = np.random.default_rng(1).normal(0, 15.0, 4 * RATE)
    for path, pcm in (("words/a.wav", loud_and_quiet(1.5)), ("other/b.wav", calm)):
        write_audio(tmp_path / path, pcm.astype(np.float32) / 32_768, RATE)
    return tmp_path


def run(*arguments: str):
    return CliRunner().invoke(app, ["evaluate", *arguments])


def test_a_folder_and_a_file_are_held_beside_one_another(place) -> None:
    given = ("bundle", "--source", "words", "--background", "other", "--against", "bundle/other.onnx")
    quick = ("--condition", "clean", "--set", "evaluation.operating_points.sweep_points=10", "--csv", "--json")
    done = run(*given, *quick, "--out", "there")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout.splitlines()[-1])
    assert [model["name"] for model in found["models"]] == ["bundle", "other.onnx"]
    assert all((model["words"], model["misses"], model["fah"]) == (1, 0, 0) for model in found["models"])
    assert found["conditions"] == ["clean"] and found["report"] == "there/report.html"
    names = {path.name for path in (place / "there").iterdir()}
    assert names == {"report.html", "metrics.json", "events.csv", "windows.csv"}
    assert {path.name for path in place.iterdir()} == {"bundle", "words", "other", "there"}  # nothing else is kept
    done = run(*given[:5], "--condition", "clean", "--home", "kept", "--minutes", "0.5")
    assert done.exit_code == 0, done.output
    assert "report.html" in done.stdout and not list((place / "evaluation").glob("*.csv"))
    text = " ".join(done.stdout.split())
    assert "'hey robin': 1 recordings of the word (clean)" in text and "The report is evaluation/report.html" in text
    assert (place / "kept" / "store").is_dir() and (place / "evaluation" / "report.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        (("--against", "bundle"), ConfigError, "bundle is named twice"),
        (("--condition", "loud"), ConfigError, "no condition 'loud'"),
        (("--condition", "10 dB, 5 dB"), ConfigError, "no condition '10 dB, 5 dB'"),
        (("--against", "nothing.onnx"), WakewordError, "nothing.onnx"),
        (("--set", "evaluation.streams.gap=1"), ConfigError, "gap"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_read(place, arguments, error, said) -> None:
    done = run("bundle", "--source", "nowhere", *arguments)
    assert isinstance(done.exception, error) and said in str(done.exception)
    assert not (place / "evaluation").exists()
