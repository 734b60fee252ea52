"""`wakeword sources`, on the example of the document."""

import io
import json
import re
import sys
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from wakeword_core.config.loading import load_config
from wakeword_core.files import hash_file
from wakeword_core.graph.project import Project
from wakeword_core.recordings.forgotten import Forgotten
from wakeword_pipeline.cli.main import main

DOCUMENT = Path(__file__).parents[4] / "docs" / "data_sets.md"
RATE = 16_000


def sound(seed: int, seconds: float, kind: str = "WAV") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.random.default_rng(seed).normal(0, 0.1, round(RATE * seconds)), RATE, format=kind)
    return file.getvalue()


def write_commands(folder: Path) -> None:
    folder.mkdir(parents=True)
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    for split, start, words in (("train", 0, ["left", "left", "right"]), ("validation", 10, ["right"])):
        audio = [{"bytes": sound(start + index, 18), "path": f"{word}/{index}.wav"} for index, word in enumerate(words)]
        rows = {
            "audio": pa.array([*audio, None], kind),
            "word": [*words, "left"],
            "speaker_id": [f"{split}-{index % 2}" for index in range(len(words) + 1)],
            "text": [*words, ""],
        }
        pq.write_table(pa.table(rows), folder / f"{split}-00000.parquet")


def write_rooms(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        for name, content in (
            ("1.flac", sound(20, 54, "FLAC")),
            ("1.json", b'{"who": "ann", "rights": "CC0-1.0"}'),
            ("2.flac", sound(21, 54, "FLAC")),
            ("2.json", b'{"who": "bo", "rights": ""}'),
            ("../3.flac", sound(22, 1, "FLAC")),
        ):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The document's example: its configuration, the output that it shows, and its data sets."""
    blocks = re.findall(r"```\w*\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "wakeword.yaml").write_text(blocks[0])
    write_commands(tmp_path / "corpora" / "commands")
    write_rooms(tmp_path / "corpora" / "rooms.tar")
    monkeypatch.setenv("WAKEWORD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("WAKEWORD_CONFIG", str(tmp_path / "wakeword.yaml"))
    monkeypatch.setenv("WAKEWORD_HOME", str(tmp_path / "home"))
    return blocks


def printed(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *arguments: str,
    columns: int = 100,
    command: str = "sources",
) -> str:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys, "argv", ["wakeword", command, *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert not stopped.value.code
    return capsys.readouterr().out


def test_what_is_forgotten_is_counted_as_no_source_shows_it(tmp_path: Path, monkeypatch, capsys) -> None:
    (tmp_path / "words").mkdir()
    for number in range(3):
        (tmp_path / "words" / f"{number}.wav").write_bytes(sound(number, 1))
    (tmp_path / "wakeword.yaml").write_text(
        "phrase: robin\ndata: {sources: [{name: words, path: words, role: positive}]}\n"
    )
    monkeypatch.chdir(tmp_path)
    home = tmp_path / "my [/old] home"
    monkeypatch.setenv("WAKEWORD_HOME", str(home))
    assert "are forgotten" not in printed(monkeypatch, capsys)
    Forgotten.add_to(home, [hash_file(tmp_path / "words" / f"{number}.wav") for number in range(2)])
    assert f"2 recordings are forgotten in {home}, and" in printed(monkeypatch, capsys)
    facts = json.loads(printed(monkeypatch, capsys, "--json").splitlines()[-1])
    assert facts["forgotten"] == 2 and facts["sources"][0]["recordings"] == 1


def test_the_document_shows_what_is_printed(project: list[str], tmp_path: Path, monkeypatch, capsys) -> None:
    text = printed(monkeypatch, capsys).replace(str(tmp_path), "/data")
    lines = [line.rstrip() for line in text.rstrip().splitlines()]
    assert "\n".join(lines) == project[1].rstrip()
    narrow = printed(monkeypatch, capsys, columns=80).splitlines()
    assert all(len(line.rstrip()) <= 80 or str(tmp_path) in line for line in narrow)


def test_json_has_all_of_it_and_a_broken_source_stops_nothing(
    project: list[str], tmp_path: Path, monkeypatch, capsys
) -> None:
    (tmp_path / "corpora" / "rooms.tar").write_bytes(b"no tar")
    output = printed(monkeypatch, capsys, "--json", "--set", "data.missing_source=fail")
    commands, rooms = json.loads(output.splitlines()[-1])["sources"]
    assert (commands["recordings"], commands["hours"], commands["problem"]) == (4, 0.02, "")
    assert commands["labels"] == {"left": 2, "right": 2} and commands["splits"] == {"train": 3, "val": 1}
    assert (commands["speakers"], commands["unknown_speakers"], commands["rates"]) == (3, 0, {"16000": 4})
    (refused,) = commands["refused"]
    assert (refused["reason"], refused["count"]) == ("cells without the bytes of a recording", 2)
    assert rooms["recordings"] == 0 and "rooms.tar cannot be read" in rooms["problem"]


def test_no_sources_is_said(project: list[str], tmp_path: Path, monkeypatch, capsys) -> None:
    (tmp_path / "wakeword.yaml").write_text("phrase: hey robin\n")
    said = "wakeword.yaml has no sources of recordings; add one under data.sources."
    assert printed(monkeypatch, capsys).strip() == f"{tmp_path}/{said}"


def test_what_is_to_be_built_is_shown_and_not_what_was_last_run(
    project: list[str], tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.delenv("WAKEWORD_CONFIG")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "demo.yaml").write_text("phrase: hello house\n")
    (tmp_path / "home" / "last.json").write_text(json.dumps({"config": str(tmp_path / "home" / "demo.yaml")}))
    assert "commands" in printed(monkeypatch, capsys) and "left" in printed(monkeypatch, capsys)


def test_a_recording_of_a_data_set_is_forgotten_by_its_path(
    project: list[str], tmp_path: Path, monkeypatch, capsys
) -> None:
    Project(load_config(tmp_path / "wakeword.yaml"), tmp_path / "home").build("raw_manifest")
    named = tmp_path / "corpora" / "commands" / "train-00000.parquet" / "left" / "0.wav"
    assert len(list((tmp_path / "cache").rglob("left/*.wav"))) == 2
    assert "raw_manifest" in printed(monkeypatch, capsys, str(named), command="forget")
    assert len(list((tmp_path / "cache").rglob("left/*.wav"))) == 1
    commands, _ = json.loads(printed(monkeypatch, capsys, "--json").splitlines()[-1])["sources"]
    assert commands["labels"] == {"left": 1, "right": 2}


def test_many_labels_are_told_by_their_number(project: list[str], tmp_path: Path, monkeypatch, capsys) -> None:
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    audio = pa.array([{"bytes": sound(30 + index, 0.3), "path": ""} for index in range(14)], kind)
    words = [f"word {index:02d}" for index in range(14)]
    rows = pa.table({"audio": audio, "word": words, "speaker_id": ["x"] * 14})
    pq.write_table(rows, tmp_path / "corpora" / "commands" / "train-00000.parquet")
    lines = printed(monkeypatch, capsys, columns=400).splitlines()
    assert lines[2].rstrip().endswith("word 10 1, and 3 more") and "right 1, word 00 1" in lines[2]
