"""Tombstones: what is forgotten is in no listing and no manifest, and the person's name is in no file."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from wakeword_core.config import Config, DataConfig, SourceConfig
from wakeword_core.errors import DataError
from wakeword_core.files import hash_file
from wakeword_core.graph.project import Project
from wakeword_core.recordings.forgotten import FILE, NOTHING_FORGOTTEN, Forgotten
from wakeword_core.recordings.manifest import build_manifest, read_manifest
from wakeword_core.recordings.scan import scan
from wakeword_core.recordings.sources import State
from wakeword_core.workers.local import LocalWorkers


@pytest.fixture
def source(recordings: Path) -> SourceConfig:
    return SourceConfig(name="kitchen", path=recordings, role="negative", speaker="parent")


def test_tombstones_are_kept_with_their_first_date_and_reason(tmp_path: Path) -> None:
    assert Forgotten.load(tmp_path) is NOTHING_FORGOTTEN
    first = NOTHING_FORGOTTEN.adding(["a" * 64, "a" * 64], ["kitchen/anna"], "she asked")
    first.save(tmp_path)
    again = Forgotten.load(tmp_path).adding(["a" * 64, "b" * 64], [], "later")
    assert Forgotten.load(tmp_path) == first and len(first.tombstones) == 2
    assert again.tombstones[:2] == first.tombstones and again.tombstones[2].reason == "later"
    assert "anna" not in (tmp_path / FILE).read_text()


TOMBSTONE = {"kind": "recording", "sha256": "a" * 64, "date": "2026-05-03", "reason": ""}


@pytest.mark.parametrize(
    "text",
    [
        "[{", '[{"kind": "recording"}]', "7", "{}", '""', "null", "", "[null]", "[[]]", "[" * 10_000, "\udcff",
        json.dumps({"a": TOMBSTONE}), json.dumps([{**TOMBSTONE, "kind": "voice"}]),
        json.dumps([{**TOMBSTONE, "sha256": "a" * 63}]), json.dumps([{**TOMBSTONE, "sha256": "A" * 64}]),
        json.dumps([{**TOMBSTONE, "sha256": 7}]), json.dumps([{**TOMBSTONE, "date": None}]),
        json.dumps([{**TOMBSTONE, "more": 1}]), json.dumps([TOMBSTONE, "later"]),
    ],
)  # fmt: skip
def test_damaged_tombstones_are_never_taken_for_none(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text, errors="surrogateescape")
    with pytest.raises(DataError, match=r"forgotten\.json.* restore it from a backup"):
        Forgotten.add_to(tmp_path, ["b" * 64])
    with pytest.raises(DataError, match=r"forgotten\.json.* restore it from a backup"):
        Forgotten.load(tmp_path)


@pytest.mark.parametrize("kind", ["folder", "link to nothing", "pipe"])
def test_what_is_no_file_of_tombstones_is_never_taken_for_none(tmp_path: Path, kind: str) -> None:
    path = tmp_path / FILE
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"forgotten\.json.* restore it from a backup"):
        Forgotten.load(tmp_path)


def test_a_list_that_is_lost_stops_what_would_use_them_again(source, recordings: Path, tmp_path: Path) -> None:
    config = Config.model_validate({"data": {"sources": [source.model_dump(mode="json")]}})
    project = Project(config, tmp_path / "home")
    Forgotten.add_to(project.home, [hash_file(recordings / "spk1" / "3.wav")])
    project.build("raw_manifest")
    (project.home / FILE).unlink()
    with pytest.raises(DataError, match=r"forgotten\.json.* is gone.* restore it from a backup, or write \[\]"):
        project.listing()
    (project.home / FILE).write_text("[]")
    assert len(project.listing().rows) == 10


def test_a_forgotten_speaker_stays_forgotten_under_another_name(
    source, recordings: Path, tmp_path: Path, write_tone
) -> None:
    config = Config.model_validate({"data": {"sources": [source.model_dump(mode="json")]}})
    project = Project(config, tmp_path / "home")
    Forgotten.add_to(project.home, [], ["kitchen/spk2"], "asked")
    write_tone(recordings / "spk2" / "later.wav", seed=77)
    fingerprint = project.fingerprint()
    assert len(project.forgotten().recordings) == 3
    project.listing()
    assert project.fingerprint() == fingerprint
    (recordings / "spk2").rename(recordings / "someone")
    renamed = source.model_copy(update={"name": "hall"}).model_dump(mode="json")
    for sources in ([source.model_dump(mode="json")], [renamed]):
        project = Project(Config.model_validate({"data": {"sources": sources}}), project.home)
        listing = project.listing()
        assert len(listing.rows) == 8 and listing.forgotten == 3


def test_a_manifest_is_made_of_what_was_just_listed_unless_that_is_long_ago_or_something_was_forgotten_since(
    source, recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listings: list[object] = []

    def scanned(*given: Any, **more: Any) -> Any:
        listings.append(given)
        return scan(*given, **more)

    monkeypatch.setattr("wakeword_core.graph.listing.scan", scanned)
    config = Config.model_validate({"data": {"sources": [source.model_dump(mode="json")]}})
    project = Project(config, tmp_path / "home")
    assert project.find("raw_manifest") is None and len(listings) == 1
    assert project.build("raw_manifest")[0].figures["recordings"] == 10 and len(listings) == 1
    (recordings / "spk0" / "0.wav").unlink()
    assert project.build("raw_manifest")[0].figures["recordings"] == 9 and len(listings) == 2
    project.listing()
    (recordings / "spk0" / "1.wav").unlink()
    now = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: now() + 3_600)
    assert project.build("raw_manifest")[0].figures["recordings"] == 8 and len(listings) == 4
    project.listing()
    Forgotten.add_to(project.home, [hash_file(recordings / "spk1" / "3.wav")])
    assert project.build("raw_manifest")[0].figures["recordings"] == 7 and len(listings) == 6


def test_a_home_that_cannot_be_written_still_lists_and_says_what_is_not_noted(
    source, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = Config.model_validate({"data": {"sources": [source.model_dump(mode="json")]}})
    project = Project(config, tmp_path / "home")
    Forgotten.add_to(project.home, [], ["kitchen/spk2"])
    (project.home / ".forgotten.lock").unlink()
    (project.home / ".forgotten.lock").mkdir()  # as if it could not be opened
    assert len(project.listing().rows) == 8
    assert "2 new recordings of forgotten speakers are left out, but not noted" in caplog.text


def test_a_forgotten_recording_is_listed_no_more_and_its_file_is_no_matter(source, recordings, cache) -> None:
    path = recordings / "spk1" / "3.wav"
    forgotten = NOTHING_FORGOTTEN.adding([hash_file(path)], [], "")
    listing = scan([source], cache, forgotten=forgotten)
    assert len(listing.rows) == 9 and "spk1/3.wav" not in set(listing.rows["path"]) and listing.forgotten == 1
    path.unlink()
    assert scan([source], cache, forgotten=forgotten).fingerprint == listing.fingerprint


def test_a_forgotten_speaker_is_listed_no_more_nor_what_comes_later(source, recordings, cache, write_tone) -> None:
    forgotten = NOTHING_FORGOTTEN.adding([], ["kitchen/spk2"], "")
    before = scan([source], cache, forgotten=forgotten)
    write_tone(recordings / "spk2" / "new.wav", seed=77)
    after = scan([source], cache, forgotten=forgotten)
    assert not before.rows["path"].str.startswith("spk2/").any() and (before.forgotten, after.forgotten) == (2, 3)
    assert after.fingerprint == before.fingerprint


def test_rows_of_a_table_keep_what_is_stated_of_them(recordings: Path, cache) -> None:
    names = ["spk0/0.wav", "spk1/2.wav", "spk2/4.wav"]
    table = recordings / "table.csv"
    pd.DataFrame({"path": names, "speaker": ["ada", "bo", "cy"], "label": ["x", "y", "z"]}).to_csv(table, index=False)
    source = SourceConfig(name="bought", path=table, role="negative")
    listing = scan([source], cache, forgotten=NOTHING_FORGOTTEN.adding([], ["bought/bo"], ""))
    assert listing.rows["path"].tolist() == ["spk0/0.wav", "spk2/4.wav"]
    assert listing.stated["bought"]["speaker"].tolist() == ["ada", "cy"]


def test_a_manifest_tells_how_many_are_forgotten_and_nothing_else(source, recordings, cache, tmp_path: Path) -> None:
    forgotten = NOTHING_FORGOTTEN.adding([], ["kitchen/spk0"], "")
    out = tmp_path / "out"
    summary = build_manifest(
        [source], DataConfig(), "robin", 1, cache, out, forgotten=forgotten, workers=LocalWorkers(1)
    )
    assert (summary.recordings, summary.forgotten) == (8, 2)
    assert json.loads((out / "summary.json").read_text())["forgotten"] == 2
    assert "spk0" not in (out / "summary.json").read_text()
    assert not read_manifest(out, usable=False)["speaker"].eq("kitchen/spk0").any()
    everyone = forgotten.adding([], [f"kitchen/spk{number}" for number in range(5)], "")
    with pytest.raises(DataError, match="every recording there is has been forgotten"):
        build_manifest(
            [source], DataConfig(), "robin", 1, cache, tmp_path / "none", forgotten=everyone, workers=LocalWorkers(1)
        )


def test_measured_facts_are_removed(cache) -> None:
    cache.remember_facts([("a" * 64, "levels", {"peak": 1}), ("b" * 64, "levels", {"peak": 0.123456})])
    cache.remember_hashes([("/here/anna.wav", State(), "b" * 64), ("/here/bo.wav", State(), "a" * 64)])
    cache.forget(["b" * 64])
    assert [one for one, _ in cache.facts("levels", ["a" * 64, "b" * 64])] == ["a" * 64]
    assert not any(text in cache.path.read_bytes() for text in (b"0.123456", b"anna"))
    assert [row[0] for row in cache.hashes(Path("/here"))] == ["bo.wav"]


def test_tombstones_change_the_key_of_the_manifest_and_nothing_else_does(source, tmp_path: Path) -> None:
    config = Config.model_validate({"data": {"sources": [source.model_dump(mode="json")]}})
    project = Project(config, tmp_path / "home")
    before = project.expected_key("raw_manifest")
    NOTHING_FORGOTTEN.save(project.home)
    assert Project(config, project.home).expected_key("raw_manifest") == before
    NOTHING_FORGOTTEN.adding(["c" * 64], [], "").save(project.home)
    assert Project(config, project.home).expected_key("raw_manifest") != before
