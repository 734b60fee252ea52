"""From a report that doubts a recording, by what a person answers on the page, to the next manifest."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from wakeword_core.audio import write_audio
from wakeword_core.config.loading import load_config
from wakeword_core.errors import ArtifactError, DataError
from wakeword_core.files import hash_file
from wakeword_core.graph.doubtful import doubtful_recordings, model_of, newest_report
from wakeword_core.graph.project import Project
from wakeword_core.lineage.subjects import find_subject
from wakeword_core.recordings.corrections import (
    COLUMNS,
    Correction,
    forget_corrections,
    make_table,
    read_corrections,
    save_correction,
)
from wakeword_core.recordings.forgotten import Forgotten
from wakeword_core.recordings.manifest import read_manifest
from wakeword_core.reviewing.app import create_app
from wakeword_core.reviewing.doubtful_sound import DoubtfulSound
from wakeword_core.store.artifacts import Build

RATE = 16_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four recordings of a word, one of which is none."""
    generator = np.random.default_rng(5)
    for name in ("one", "two", "three", "cat"):
        write_audio(tmp_path / "words" / f"{name}.wav", generator.normal(0, 0.1, RATE // 2).astype(np.float32), RATE)
    return tmp_path


def project(folder: Path, *settings: str) -> Project:
    config = folder / "wakeword.yaml"
    config.write_text("phrase: robin\ndata:\n  sources:\n    - {name: words, path: words, role: positive}\n")
    return Project(load_config(config, ["compute.workers=1", *settings]), folder / "home")


def reported(of: Project, folder: Path) -> dict[str, str]:
    """Keep a report that doubts two of the recordings, and one that is not there; the ids by name."""
    ids = {path.stem: hash_file(path) for path in (folder / "words").iterdir()}
    heard = [
        {"recording_id": ids["cat"], "label": "robin", "heard": "cat", "unheard": 1.0, "source": "x", "speaker": ""},
        {"recording_id": "f" * 64, "label": "robin", "heard": "", "unheard": 1.0, "source": "x", "speaker": ""},
    ]
    unlike = [
        {"recording_id": ids[name], "label": label, "positive": label == "robin", "score": 0.03}
        for name, label in (("cat", "robin"), ("two", "robin"), ("three", "_negative"))
    ]

    def make(build: Build) -> None:
        metrics = {"doubtful": {"worst": heard}, "suspicious": {"worst": unlike}}
        (build.path / "metrics.json").write_text(json.dumps(metrics))

    model = {"onnx_model": {"stage": "onnx_model", "key": "0" * 16, "content": "0"}}
    of.store.build("metrics_report", model, {"phrase": "robin"}, "1", make)
    return ids


def test_a_mislabelled_recording_is_labelled_rightly_by_the_next_manifest_until_its_row_is_removed(folder) -> None:
    plain = project(folder)
    first, _ = plain.build("raw_manifest")
    ids = reported(plain, folder)
    (folder / "words" / "cat.wav").rename(folder / "words" / "moved.wav")

    table = folder / "corrections.csv"
    make_table(table)
    corrected = project(folder, "data.corrections=corrections.csv")
    report = newest_report(corrected)
    doubted = doubtful_recordings(corrected, report)
    assert [(one.recording_id, one.place, one.label) for one in doubted] == [
        (ids["cat"], "words/moved.wav", "robin"),
        (ids["two"], "words/two.wav", "robin"),
    ]
    assert doubted[0].why == "Whisper heard “cat”, not 100 % of the word" and "score of 0.030" in doubted[1].why
    assert model_of(corrected, report) is None
    asking = TestClient(
        create_app(DoubtfulSound(doubted, ["robin"], table, corrected.home)), base_url="http://127.0.0.1:8766"
    )
    said = {"name": ids["cat"], "state": "no", "reviewer": "anna", "word": "robin"}
    assert asking.post("/reviews", json=said).json()["state"] == "no"
    assert asking.post("/reviews", json={**said, "name": ids["two"], "state": "left_out"}).status_code == 200

    corrected = project(folder, "data.corrections=corrections.csv")
    built, _ = corrected.build("raw_manifest")
    assert built.key != first.key
    rows = read_manifest(built.path, usable=False).set_index("path")
    assert rows.loc["moved.wav", ["label", "role", "status"]].tolist() == ["_negative", "hard_negative", "ok"]
    assert rows.loc["two.wav", ["label", "status"]].tolist() == ["robin", "quarantined"]
    assert built.figures["reasons"] == {"left out after listening": 1}
    newest = find_subject(str(folder / "words" / "moved.wav"), corrected.store).recording[-1].row
    assert "anna listened to it" in newest["reason"] and "its source says 'robin'" in newest["reason"]

    table.write_text(f"{','.join(COLUMNS)}\n")
    (folder / "words" / "moved.wav").rename(folder / "words" / "cat.wav")
    again, now = project(folder, "data.corrections=corrections.csv").build("raw_manifest")
    assert not now and again.key == first.key and again.content == first.content


def test_what_is_forgotten_while_the_page_is_open_is_gone_from_it_and_nothing_is_said_of_it(
    folder, monkeypatch
) -> None:
    ids = reported(plain := project(folder), folder)
    table = folder / "corrections.csv"
    reviewed = DoubtfulSound(doubtful_recordings(plain, newest_report(plain)), ["robin"], table, plain.home)
    asking = TestClient(create_app(reviewed), base_url="http://127.0.0.1:8766")
    said = {"name": ids["cat"], "state": "no"}
    assert asking.post("/reviews", json=said).status_code == 200

    Forgotten.add_to(plain.home, [ids["cat"]])
    forget_corrections(table, [ids["cat"]])
    assert [one["name"] for one in asking.get("/captures").json()["captures"]] == [ids["two"]]
    assert asking.get(f"/captures/{ids['cat']}/sound").status_code == 404
    refused = asking.post("/reviews", json=said)
    assert refused.status_code >= 400 and "there is no recording words/cat.wav any more" in refused.text
    assert read_corrections(table) == {}

    def forgotten_meanwhile(path: Path, name: str, *rest: Any, **more: Any) -> Correction:
        """Save a correction just after `wakeword forget` has looked for it."""
        Forgotten.add_to(plain.home, [name])
        return save_correction(path, name, *rest, **more)

    monkeypatch.setattr("wakeword_core.reviewing.doubtful_sound.save_correction", forgotten_meanwhile)
    assert asking.post("/reviews", json={**said, "name": ids["two"]}).status_code >= 400
    assert read_corrections(table) == {}


def test_a_correction_stays_where_its_recording_cannot_be_read_just_then(folder, monkeypatch) -> None:
    ids = reported(plain := project(folder), folder)
    table = folder / "corrections.csv"
    reviewed = DoubtfulSound(doubtful_recordings(plain, newest_report(plain)), ["robin"], table, plain.home)
    asking = TestClient(create_app(reviewed), base_url="http://127.0.0.1:8766")

    def gone_meanwhile(path: Path, name: str, *rest: Any, **more: Any) -> Correction:
        """Save a correction just before the disk of the recording is taken away."""
        said = save_correction(path, name, *rest, **more)
        reviewed.recordings[name].path.unlink()
        return said

    monkeypatch.setattr("wakeword_core.reviewing.doubtful_sound.save_correction", gone_meanwhile)
    assert asking.post("/reviews", json={"name": ids["cat"], "state": "no"}).status_code == 200
    assert read_corrections(table).keys() == {ids["cat"]}


def test_what_is_not_there_is_one_sentence(folder) -> None:
    empty = project(folder, "data.corrections=corrections.csv")
    with pytest.raises(ArtifactError, match="has no report of 'robin' yet"):
        newest_report(empty)
    reported(empty, folder)
    report = newest_report(empty)
    with pytest.raises(DataError, match="`wakeword review --doubtful` makes it"):
        doubtful_recordings(empty, report)
    report.file("metrics.json").write_text("[]")
    with pytest.raises(DataError, match="cannot be read"):
        doubtful_recordings(empty, report)
