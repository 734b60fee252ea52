"""Listening, without a microphone."""

import contextlib
import json
import sys

import numpy as np
import pytest
from loud_model import loud_and_quiet, save_model

from wakeword_core.errors import ArtifactError, ConfigError, DataError, MissingDependencyError
from wakeword_core.runtime import live
from wakeword_core.runtime.captures import captures_in, read_facts
from wakeword_core.runtime.detector import Detection
from wakeword_pipeline.cli.commands import listen


class Model:
    phrase, sample_rate, names, labels = "hey robin", 16_000, ("model.onnx",), ("_negative", "hey robin")

    def __init__(self, path) -> None:
        self.path = path

    def threshold_at(self, point, threshold):
        return threshold or 0.5


class Streaming(Model):
    names = ("model.streaming.onnx",)


class Detector:
    """Detects where a block begins with 1."""

    def __init__(self, model, threshold, point) -> None:
        self.score, self.heard = 0.0, 0

    def process(self, block):
        self.heard += len(block)
        return [Detection(self.heard / 16_000, 0.9, "hey robin")] if block[0] else []


@pytest.fixture
def used(monkeypatch):
    """What the microphone was opened with."""
    opened = []

    @contextlib.contextmanager
    def microphone(rate, device):
        opened.append((rate, device))
        yield (np.full(1_600, number == 2, np.int16) for number in range(1_000))

    monkeypatch.setattr(listen, "microphone", microphone)
    monkeypatch.setattr(listen, "Detector", Detector)
    monkeypatch.setattr(live, "WakewordModel", Model)
    monkeypatch.setattr(live, "StreamingModel", Streaming)
    return opened


def test_each_detection_is_a_line_and_it_stops_in_time(used, tmp_path, capsys) -> None:
    listen.listen(tmp_path / "model.onnx", "3", None, None, 1.0, alone=False, as_json=True)
    said = capsys.readouterr()
    assert [json.loads(line) for line in said.out.splitlines()] == [{"time": 0.3, "score": 0.9, "label": "hey robin"}]
    assert "hey robin" in said.err and used == [(16_000, "3")]
    listen.listen(tmp_path / "model.onnx", "USB", None, 0.7, 0.5, alone=False, as_json=False)
    said = capsys.readouterr()
    assert "0.30 s  0.900  hey robin" in said.out and "0.700" in said.err and used[1] == (16_000, "USB")


@pytest.mark.parametrize(("absent", "count"), [("accept", 1), ("reject", 0)])
def test_where_the_judge_is_not_there_the_policy_decides(used, tmp_path, capsys, caplog, absent, count) -> None:
    where = {"judge_url": "http://127.0.0.1:1", "judge_absent": absent}
    listen.listen(tmp_path / "model.onnx", None, None, None, 1.0, alone=False, as_json=True, **where)
    assert len(capsys.readouterr().out.splitlines()) == count
    assert "the judge gives no answer (http://127.0.0.1:1 cannot be asked" in caplog.text


def test_a_judge_needs_an_address_and_what_asks_it(used, monkeypatch, tmp_path) -> None:
    with pytest.raises(ConfigError, match="the address of a server is like"):
        listen.listen(tmp_path, None, None, None, 1.0, alone=False, as_json=True, judge_url="judge.onnx")
    monkeypatch.setitem(sys.modules, "wakeword_core.serving.client", None)
    with pytest.raises(MissingDependencyError, match=r"-m pip install -e '/.*\[serve\]'"):
        listen.listen(tmp_path, None, None, None, 1.0, alone=False, as_json=True, judge_url="http://127.0.0.1:1")


def test_it_says_that_it_listens_only_once_it_does(used, monkeypatch, tmp_path, capsys) -> None:
    def microphone(rate, device):
        raise DataError("there is no microphone")

    monkeypatch.setattr(listen, "microphone", microphone)
    with pytest.raises(DataError):
        listen.listen(tmp_path / "model.onnx", None, None, None, 1.0, alone=False, as_json=False)
    assert "listening" not in capsys.readouterr().err


def test_the_streaming_file_alone_is_enough(used, tmp_path) -> None:
    assert type(live.open_model(tmp_path / "a.streaming.onnx")) is Streaming
    assert type(live.open_model(tmp_path)) is Model
    (tmp_path / "model.streaming.onnx").touch()
    assert type(live.open_model(tmp_path)) is Streaming
    (tmp_path / "model.onnx").touch()
    assert type(live.open_model(tmp_path)) is Model


def test_no_model_is_said_before_the_microphone_is_opened(tmp_path) -> None:
    with pytest.raises(ArtifactError, match="no model at"):
        listen.listen(tmp_path, None, None, None, 1.0, alone=False, as_json=True)


def test_sound_that_says_nothing_gets_a_hint_once(used, monkeypatch, tmp_path, caplog) -> None:
    @contextlib.contextmanager
    def silent(rate, device):
        yield (np.zeros(16_000, np.int16) for _ in range(40))

    monkeypatch.setattr(listen, "microphone", silent)
    listen.listen(tmp_path / "model.onnx", None, None, None, 35.0, alone=False, as_json=True)
    assert [record.getMessage() for record in caplog.records] == [
        "the microphone: every sample is the same: is the microphone muted, or another one in use?"
    ]


def test_what_the_microphone_hears_is_kept_where_that_is_asked_for(monkeypatch, tmp_path, capsys) -> None:
    """Around the detection, by the real detector; without the option nothing is."""
    path = save_model(tmp_path / "model")
    heard = loud_and_quiet(3.0)

    @contextlib.contextmanager
    def microphone(rate, device):
        yield iter(np.split(heard, 30))

    monkeypatch.setattr(listen, "microphone", microphone)
    for keep in (None, tmp_path / "kept"):
        listen.listen(path, None, None, None, None, alone=False, as_json=True, keep=keep)
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    captures = captures_in(tmp_path / "kept")
    assert [one.kind for one in captures] == ["event"] * (len(found) // 2) and captures
    assert read_facts(captures[0])["model"] == "artifact-key"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["kept", "model"]


@pytest.mark.parametrize(("absent", "kinds"), [("accept", ["event"]), ("reject", ["refused"])])
def test_what_is_kept_when_it_is_stopped_says_what_the_judge_made_of_it(monkeypatch, tmp_path, capsys, absent, kinds):
    path, heard = save_model(tmp_path / "model"), loud_and_quiet(1.5)

    @contextlib.contextmanager
    def microphone(rate, device):
        def blocks():
            yield from np.split(heard, 15)
            raise KeyboardInterrupt

        yield blocks()

    monkeypatch.setattr(listen, "microphone", microphone)
    where = {"judge_url": "http://127.0.0.1:1", "judge_absent": absent, "keep": tmp_path / "kept"}
    with pytest.raises(KeyboardInterrupt):
        listen.listen(path, None, None, None, None, alone=False, as_json=True, **where)
    assert [one.kind for one in captures_in(tmp_path / "kept")] == kinds
    assert len(capsys.readouterr().out.splitlines()) == kinds.count("event")
