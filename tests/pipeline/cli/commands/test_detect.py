"""Looking through recordings and folders of them."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from wakeword_core.audio import write_audio
from wakeword_core.config import DetectorConfig, FrontendConfig
from wakeword_core.errors import ArtifactError
from wakeword_pipeline.cli.commands.detect import detect

RATE = 16_000


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A model to which loud sound is the wake word."""
    weights = np.stack([np.full(16 * 20, sign / 320, np.float32) for sign in (-1, 1)], 1)
    nodes = [
        helper.make_node("Flatten", ["log_mel"], ["f"]),
        helper.make_node("Gemm", ["f", "w", "b"], ["l"]),
        helper.make_node("Softmax", ["l"], ["scores"], axis=1),
    ]
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)]
        for name, shape in (("log_mel", ["batch", 16, 20]), ("scores", ["batch", 2]))
    ]
    constants = [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(np.float32([-4, 4]), "b")]
    file = helper.make_model(
        helper.make_graph(nodes, "g", *ends, constants), opset_imports=[helper.make_opsetid("", 18)], ir_version=8
    )
    card = {
        "phrase": "hey robin", "labels": ["_negative", "hey robin"], "sample_rate": RATE, "threshold": 0.5,
        "frontend": FrontendConfig(n_mels=16, window_frames=20).model_dump(mode="json"),
        "detector": DetectorConfig().model_dump(mode="json"), "operating_points": {},
    }  # fmt: skip
    helper.set_model_props(file, {"wakeword": json.dumps(card)})
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    onnx.save(file, path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two recordings, the second with a word and behind a link; a text, and links to nothing and around."""
    quiet = np.random.default_rng(0).normal(0, 0.001, 2 * RATE).astype(np.float32)
    loud = np.concatenate([quiet, np.random.default_rng(1).normal(0, 0.3, RATE).astype(np.float32)])
    write_audio(tmp_path / "a.wav", quiet, RATE)
    write_audio(tmp_path / "inner" / "b.flac", loud, RATE)
    (tmp_path / "inner" / "b.flac").rename(tmp_path / "inner" / "no ending")
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "gone.wav").symlink_to(tmp_path / "nowhere")
    (tmp_path / "inner" / "around").symlink_to(tmp_path)
    (tmp_path / "inner").rename(elsewhere := tmp_path.with_name(f"{tmp_path.name} elsewhere"))
    (tmp_path / "inner").symlink_to(elsewhere)
    return tmp_path


def test_folders_are_searched_for_what_is_audio(model, folder, capsys, caplog) -> None:
    detect(model, [folder], None, None, alone=False, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert list(found) == [str(folder / "a.wav"), str(folder / "inner" / "no ending")]
    assert found[str(folder / "a.wav")] == []
    assert [event["label"] for event in found[str(folder / "inner" / "no ending")]] == ["hey robin"]
    assert f"no audio that can be read in {folder}: gone.wav, notes.txt" in caplog.text


def test_detections_are_rows_of_a_table(model, folder, capsys) -> None:
    detect(model, [folder], None, None, alone=False, as_json=True, table=folder / "new" / "found.csv")
    (event,) = json.loads(capsys.readouterr().out)[str(folder / "inner" / "no ending")]
    lines = (folder / "new" / "found.csv").read_text(encoding="utf-8").splitlines()
    named = folder / "inner" / "no ending"
    assert lines == ["path,time,score,label", f"{named},{event['time']},{event['score']},hey robin"]


def test_one_bad_recording_is_told_and_the_others_are_looked_through(model, folder, capsys) -> None:
    bad = folder / "bad.wav"
    data = (folder / "a.wav").read_bytes()
    bad.write_bytes(b"RIFF" + data[4:40])
    (folder / "empty").mkdir()
    (folder / "among").mkdir()
    (folder / "among" / "cut").write_bytes(data[:-9_000])
    (folder / "among" / "._a.wav").write_bytes(b"what another system keeps of a file")
    paths = [bad, folder / "missing.wav", folder / "empty", folder / "among", folder / "a.wav"]
    with pytest.raises(SystemExit) as stopped:
        detect(model, paths, None, None, alone=False, as_json=False)
    said = capsys.readouterr()
    assert stopped.value.code == 1 and said.out == f"{folder / 'a.wav'}\tnothing found\n"
    lines = said.err.splitlines()
    assert len(lines) == 5 and all(any(str(path) in line for line in lines) for path in paths[:4])
    assert any(f"{folder / 'among' / 'cut'} is cut: " in line for line in lines)


def test_sound_in_which_nothing_can_be_heard_gets_a_hint(model, tmp_path, caplog) -> None:
    write_audio(tmp_path / "a.wav", np.zeros(3 * RATE, np.float32), RATE)
    detect(model, [tmp_path / "a.wav"], None, None, alone=False, as_json=True)
    assert f"{tmp_path / 'a.wav'}: every sample is the same" in caplog.text


def test_a_model_of_windows_is_no_streaming_one(model, tmp_path) -> None:
    path = tmp_path / "model.streaming.onnx"
    path.write_bytes(model.read_bytes())
    with pytest.raises(ArtifactError, match="no usable stream"):
        detect(path, [tmp_path], None, None, alone=False, as_json=True)
