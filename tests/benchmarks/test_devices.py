"""The table of devices: the build's own figures, or every file and the other engines measured in one run."""

import io
import json
from types import SimpleNamespace

import devices
import peers
import pytest
from rich.console import Console

from wakeword_core.config import DetectorConfig
from wakeword_core.errors import ArtifactError
from wakeword_core.files import write_json
from wakeword_core.listeners.opening import open_listener
from wakeword_core.store.artifacts import ArtifactStore

TESTED = {
    "words": 90, "misses": 9, "frr": 0.1, "frr_interval": [0.05, 0.18], "false_alarm_count": 1,
    "background_hours": 1.5, "fah": 0.67, "fah_interval": [0.02, 3.7],
}  # fmt: skip
ROWS = [
    {"file": "model.onnx", "bytes": 501_000, "cpu_ms_per_s": 6.5, "tested": TESTED},
    {"file": "alexa.tflite", "bytes": 53_056, "memory_bytes": 28_560, "memory": "arena", "note": "of ESPHome"},
]
POINT = {"reachable": True, "frr": 0.1, "frr_interval": [0.05, 0.18], "fah": 0.5, "fah_interval": [0.1, 2.0]}


def printed(report):
    console = Console(width=peers.WIDTH, file=io.StringIO())
    console.print(devices.table(report))
    return console.file.getvalue()


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Make a home with a bundle that has nothing but a card, and the configuration; returns the arguments."""
    monkeypatch.setenv("AUDIO_ROOT", "/nowhere")
    (tmp_path / "config.yaml").write_text("phrase: alexa\ndata: {sources: []}\n")

    def with_card(card):
        def make(build):
            write_json(build.path / "model_card.json", card)

        ArtifactStore(tmp_path / "home" / "store").build("model_bundle", {}, {"phrase": "alexa"}, "1", make)
        return ["--home", str(tmp_path / "home"), "--config", str(tmp_path / "config.yaml")]

    return with_card


def test_the_figures_of_the_build_are_printed_and_nothing_is_measured(home, capsys):
    assert devices.main(home({"formats": ROWS})) == 0
    out, err = capsys.readouterr()
    report = json.loads(out.splitlines()[-1])
    assert (report["name"], report["phrase"]) == ("devices", "alexa")
    assert [row["file"] for row in report["rows"]] == ["model.onnx", "alexa.tflite"]
    assert "10 % (5 % to 18 %)" in " ".join(err.split()) and "29 (arena)" in err and "measured anew" in err


def test_a_bundle_without_a_table_and_a_home_without_a_bundle_are_one_line(home, tmp_path, capsys):
    arguments = home({})
    for place, said in (
        (arguments[1], "has no table of formats; build the bundle"),
        (str(tmp_path), "no model bundle"),
    ):
        assert devices.main(["--home", place, *arguments[2:]]) == 1
        err = capsys.readouterr().err.splitlines()
        assert said in err[-1] and err[-1].startswith("devices: ")
    with pytest.raises(ArtifactError):
        devices.rows_of(tmp_path)
    for wrong in ([], [*arguments, "--minutes", "0"]):
        with pytest.raises(SystemExit):
            devices.main(wrong)


def test_memory_is_of_the_arena_or_not_told(tmp_path, adapters):
    micro, open_head = (
        adapters["microWakeWord"],
        open_listener(str(adapters["openWakeWord"].files[0]), DetectorConfig()),
    )
    assert devices.with_memory(devices.Format(open_head.name), open_head).memory_bytes is None
    pytest.importorskip("tflite_micro", reason="needs the esp extra: pip install -e '.[esp]'")
    row = devices.with_memory(devices.Format("alexa.tflite"), micro)
    assert row.memory == "arena" and 15_000 < row.memory_bytes < 30_000


def test_memory_is_of_a_process_that_runs_exactly_the_file(write_model, tmp_path):
    write_model(tmp_path / "model.onnx")
    assert devices._loaded_alone([tmp_path / "model.onnx"]) == tmp_path / "model.onnx"
    (tmp_path / "model.streaming.onnx").touch()
    assert devices._loaded_alone([tmp_path / "model.onnx"]) is None
    assert devices._loaded_alone([tmp_path / "model.streaming.onnx"]) == tmp_path / "model.onnx"
    assert devices._loaded_alone([tmp_path / "model.fp16.onnx"]) == tmp_path / "model.fp16.onnx"
    assert devices._loaded_alone([tmp_path / "model.onnx", tmp_path / "judge.onnx"]) is None
    assert devices._loaded_alone([tmp_path / "model.pt2"]) is None
    (tmp_path / "model.streaming.onnx").unlink()
    engine = open_listener(str(tmp_path / "model.onnx"), DetectorConfig())
    row = devices.with_memory(devices.Format("model.onnx"), engine)
    assert row.memory == "process" and 20e6 < row.memory_bytes < 500e6


def test_all_are_measured_in_one_run(write_model, tmp_path, monkeypatch, adapters):
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    write_model(bundle / "model.onnx")
    write_json(bundle / "model_card.json", {"formats": [{"file": "model.onnx"}]})
    heard = []

    def listen(everybody, audio, config, targets, minutes, progress):
        heard.extend(engine.name for engine in everybody)
        points = {f"{target:g}": POINT for target in targets}
        found = {name: {"model_bytes": 1_000, "cpu_ms_per_s": 2.0, "points": points} for name in heard}
        return SimpleNamespace(words=90, background_hours=1.5), found

    monkeypatch.setattr(peers, "shards_of_model", lambda model, home, splits: "audio")
    monkeypatch.setattr(peers, "listen", listen)
    monkeypatch.setattr(devices, "with_memory", lambda row, engine: row)
    chosen = SimpleNamespace(snr=10.0, minutes=None)
    config = devices.Config(phrase="alexa")
    report = json.loads(json.dumps(devices.compare(tmp_path, config, bundle, chosen, peers.silent), allow_nan=False))
    assert heard == ["model.onnx", "microWakeWord", "openWakeWord"] == [row["file"] for row in report["rows"]]
    assert all(set(row["points"]) == {"0.5", "2"} for row in report["rows"])
    text = printed(report)
    assert "90 words at 10 dB, 1.50 h" in text and "10.0 % (5.0–18.0)" in text and "microWakeWord" in text
    assert any("95 % intervals" in one for one in devices.remarks(report))
