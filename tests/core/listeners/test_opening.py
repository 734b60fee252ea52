"""Opening a model by what its file is."""

import shutil

import numpy as np
import pytest
from loud_model import save_model

from wakeword_core.config import DetectorConfig
from wakeword_core.errors import ArtifactError, ConfigError
from wakeword_core.files import write_json
from wakeword_core.listeners.listener import OwnModel
from wakeword_core.listeners.opening import open_listener
from wakeword_core.listeners.peers import MicroWakeWord, OpenWakeWord
from wakeword_core.runtime import WakewordModel

RULES = DetectorConfig(lockout_seconds=0.7)
MANIFEST = {
    "model": "robin.tflite",
    "wake_word": "hey robin",
    "micro": {"probability_cutoff": 0.9, "sliding_window_size": 7},
}


@pytest.fixture
def device(adapters, tmp_path):
    """A model for microcontrollers and its manifest."""
    shutil.copy(adapters[MicroWakeWord.name].files[0], tmp_path / "robin.tflite")
    write_json(tmp_path / "robin.json", MANIFEST)
    return tmp_path / "robin.tflite"


@pytest.mark.parametrize("named", ["model.onnx", ""])
def test_a_model_of_this_project_by_its_file_and_by_its_folder(tmp_path, make_noise, named) -> None:
    save_model(tmp_path, bias=1.0, threshold=0.7)
    opened = open_listener(str(tmp_path / named), RULES)
    assert isinstance(opened, OwnModel) and opened.files == [tmp_path / "model.onnx"]
    assert (opened.phrase, opened.threshold, opened.labels) == ("hey robin", 0.7, ("_negative", "hey robin"))
    assert opened.name == (named or tmp_path.name) and opened.detector.lockout_seconds == 0.3
    pcm = make_noise(2.0, level=3_000.0)
    times, scores = opened.score(pcm)
    assert np.array_equal(scores, WakewordModel(tmp_path).score_audio(pcm)[1])
    opened.reset()
    streamed = opened.push(pcm)
    assert streamed[0] == pytest.approx(times) and streamed[1] == pytest.approx(scores, abs=1e-6)


@pytest.mark.parametrize("ending", [".tflite", ".json"])
def test_the_file_of_a_microcontroller_ships_with_the_cutoff_of_its_manifest(
    device, adapters, make_noise, ending
) -> None:
    opened = open_listener(str(device.with_suffix(ending)), RULES)
    assert isinstance(opened, MicroWakeWord) and opened.files == [device]
    assert (opened.detector.smoothing, opened.detector.lockout_seconds) == (7, 0.7)
    assert opened.phrase == "hey robin" and opened.name == f"robin{ending}"
    assert 0.9 < opened.threshold < 0.9 + 1e-9  # it detects above its cutoff
    pcm = make_noise(3.0, level=3_000.0)
    assert np.array_equal(opened.score(pcm)[1], adapters[MicroWakeWord.name].score(pcm)[1])


def test_a_head_of_openwakeword_says_nothing_of_its_word(adapters, make_noise, tmp_path) -> None:
    shipped = adapters[OpenWakeWord.name]
    shutil.copy(shipped.files[0], tmp_path / "robin.tflite")
    opened = open_listener(str(tmp_path / "robin.tflite"), RULES, "ours")
    assert isinstance(opened, OpenWakeWord) and opened.files[1:] == shipped.files[1:]
    assert (opened.name, opened.phrase, opened.threshold) == ("ours", "", 0.5)
    pcm = make_noise(2.0, level=3_000.0)
    assert np.array_equal(opened.score(pcm)[1], shipped.score(pcm)[1])


@pytest.mark.parametrize(
    ("named", "kind"), [("microWakeWord:alexa", MicroWakeWord), ("openwakeword:alexa", OpenWakeWord)]
)
def test_a_model_that_comes_with_an_engine(adapters, named, kind) -> None:
    opened = open_listener(named, RULES)
    assert isinstance(opened, kind) and opened.name == named and opened.phrase.casefold() == "alexa"


def test_a_model_for_microcontrollers_without_its_manifest_is_none_of_openwakeword(device) -> None:
    device.with_suffix(".json").unlink()
    with pytest.raises(ArtifactError, match=r"needs its manifest, robin\.json, beside it"):
        open_listener(str(device), RULES)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"micro": {"probability_cutoff": 2.0, "sliding_window_size": 7}}, "micro.probability_cutoff"),
        ({"micro": {}}, "no manifest"),
        ({"model": "../robin.tflite"}, "no manifest"),
        ({"model": "gone.tflite"}, "gone.tflite cannot be read"),
    ],
)
def test_a_manifest_that_cannot_be_used(device, change, said) -> None:
    write_json(device.with_suffix(".json"), MANIFEST | change)
    with pytest.raises(ArtifactError, match=said):
        open_listener(str(device), RULES)


def test_files_that_are_no_models(adapters, tmp_path) -> None:
    (tmp_path / "text.tflite").write_text("hello, this is a text")
    for given, kind, said in (
        ("text.tflite", ArtifactError, "no TensorFlow Lite model"),
        ("gone.tflite", ArtifactError, "gone.tflite cannot be read"),
        ("gone.onnx", ArtifactError, "gone.onnx"),
        ("judge.onnx", ArtifactError, "no judge"),
        ("word.wav", ConfigError, "microWakeWord:WORD or openWakeWord:WORD"),
        ("gone", ConfigError, "no model that can be heard with"),
    ):
        with pytest.raises(kind, match=said):
            open_listener(str(tmp_path / given), RULES)
