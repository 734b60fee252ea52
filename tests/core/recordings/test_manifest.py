"""What a manifest says of recordings and their sources, and how it is written and read."""

import json
import logging
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from sound_files import RATE, noise, source, write

from wakeword_core.config import DataConfig
from wakeword_core.config.base import deciding
from wakeword_core.errors import ArtifactError, DataError
from wakeword_core.recordings.manifest import (
    COLUMNS,
    read_manifest,
    split_facets,
)
from wakeword_core.recordings.splits import check_splits


def test_a_missing_folder_and_an_empty_one_are_errors(tmp_path, build):
    with pytest.raises(DataError, match="does not exist"):
        build(source(tmp_path / "none"))
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="has no recordings"):
        build(source(tmp_path / "none"))
    with pytest.raises(DataError, match="no sources"):
        build()


def test_a_missing_source_is_counted_and_the_rest_is_used(tmp_path, recordings, build):
    gone = source(tmp_path / "none", "gone")
    frame, summary = build(source(recordings), gone)
    assert len(frame) == summary.usable == 10 and set(frame["source"]) == {"mine"}
    assert [one["source"] for one in summary.missing_sources] == ["gone"]
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["missing_sources"] == summary.missing_sources
    with pytest.raises(DataError, match="does not exist"):
        build(source(recordings), gone, config=DataConfig(missing_source="fail"))


def test_a_source_whose_labels_do_not_fit_is_left_out_whole(tmp_path, recordings, build, write_tone):
    write_tone(tmp_path / "tree" / "robin" / "a.wav", seed=40)
    write_tone(tmp_path / "tree" / "cat" / "b.wav", seed=41)
    tree = source(tmp_path / "tree", "tree", role="positive", labels="parent")
    frame, summary = build(source(recordings), tree)
    (missing,) = summary.missing_sources
    assert set(frame["source"]) == {"mine"} and "cat/b.wav is labelled 'cat'" in missing["problem"]
    assert "no wake word" in missing["problem"]
    with pytest.raises(DataError, match="no wake word"):
        build(source(recordings), tree, config=DataConfig(missing_source="fail"))


def test_labels_and_speakers_from_folders(tmp_path, build, write_tone):
    for index, name in enumerate(("ann/robin/a", "ann/cat/b", "bob/robin/c")):
        write_tone(tmp_path / "tree" / f"{name}.wav", seed=index)
    frame, summary = build(source(tmp_path / "tree", labels="parent", speaker="folder:1"))
    assert frame["label"].tolist() == ["_negative", "robin", "robin"]
    assert frame["role"].tolist() == ["negative", "positive", "positive"]
    assert frame["speaker"].tolist() == ["mine/ann", "mine/ann", "mine/bob"]
    assert frame["speech_ratio"].notna().tolist() == [False, True, True], "the span of a word is looked for"
    assert summary.labels == {"_negative": 1, "robin": 2}


def test_columns_and_measures(tmp_path, build):
    x = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    write(tmp_path / "r" / "ann" / "a.wav", np.stack([x, x], axis=1))
    frame, _ = build(source(tmp_path / "r", speaker="parent", licence="CC0-1.0", label=None))
    assert list(read_manifest(tmp_path / "out").columns) == list(COLUMNS)
    row = frame.loc["ann/a.wav"]
    assert (row.sample_rate, row.channels, row.frames, row.seconds) == (RATE, 2, RATE, 1.0)
    assert row.peak == pytest.approx(0.5, abs=1e-3) and row.clipped_ratio == 0
    assert row.rms_dbfs == pytest.approx(20 * np.log10(0.5 / np.sqrt(2)), abs=0.01)
    assert (row.speaker, row.speaker_known, row.licence, row.label) == ("mine/ann", True, "CC0-1.0", "_negative")
    assert np.isnan([row.speech_ratio, row.speech_start, row.speech_end]).all()


def test_the_summary_counts_and_is_written(tmp_path, recordings, build, write_tone):
    write_tone(tmp_path / "pos" / "a.wav", seconds=0.9, seed=50)
    write_tone(tmp_path / "pos" / "b.wav", seconds=0.05, seed=51)
    frame, summary = build(
        source(recordings, "spoken", speaker="parent", licence="MIT", split="test"),
        source(tmp_path / "pos", "words", role="positive"),
    )
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == asdict(summary)
    assert (summary.recordings, summary.usable, summary.quarantined) == (12, 11, 1)
    assert summary.hours == pytest.approx((10 * 0.5 + 0.9) / 3600, abs=1e-4)
    assert summary.roles == {"negative": 10, "positive": 1} and summary.labels == {"_negative": 10, "robin": 1}
    assert summary.licences == {"MIT": 10, "not stated": 1} and summary.sources == {"spoken": 10, "words": 1}
    assert summary.speakers == 6 and summary.unknown_speaker_share == pytest.approx(1 / 11, abs=1e-3)
    assert sum(summary.splits.values()) == 11 and summary.splits["test"] >= 10
    assert summary.split_labels["test"]["_negative"] == 10 and summary.split_speakers["test"] >= 5
    assert sum(summary.split_hours.values()) == pytest.approx(summary.hours, abs=3e-4)
    assert check_splits(frame.reset_index()) == []


def test_reading_one_split_of_the_usable(recordings, tmp_path, build):
    (recordings / "empty.wav").write_bytes(b"")
    frame, _ = build(source(recordings, speaker="parent"))
    parts = [read_manifest(tmp_path / "out", split) for split in ("train", "val", "test")]
    assert sum(map(len, parts)) == 10 and len(frame) == 11
    assert {len(set(part["split"])) for part in parts} <= {0, 1}
    assert not read_manifest(tmp_path / "out")["path"].eq("empty.wav").any()


def test_a_damaged_or_missing_manifest_is_an_artifact_error(recordings, tmp_path, build):
    build(source(recordings))
    path = tmp_path / "out" / "manifest.parquet"
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match=r"manifest\.parquet cannot be read"):
        read_manifest(tmp_path / "out")
    pd.DataFrame({"id": ["a"], "source": "mine"}).to_parquet(path)
    with pytest.raises(ArtifactError, match="is of another version of wakeword: it lacks recording_id; build"):
        read_manifest(tmp_path / "out", columns=("recording_id", "source"))
    path.unlink()
    with pytest.raises(ArtifactError):
        read_manifest(tmp_path / "out")


def test_sound_that_is_not_read_is_said_once(tmp_path, recordings, build, caplog, monkeypatch):
    monkeypatch.setattr("wakeword_core.recordings.sources.av_version", lambda: "")
    (recordings / "a.m4a").touch()
    _, summary = build(source(recordings), source(tmp_path / "none", "gone"))
    warned = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert not warned, "what is left out is said by the check of the manifest"
    (said,) = summary.not_read
    assert said.startswith("source 'mine': 1 files that PyAV reads (pip install") and said.endswith("such as a.m4a")


def test_the_same_recordings_give_the_same_bytes(recordings, tmp_path, build):
    build(source(recordings))
    first = (tmp_path / "out" / "manifest.parquet").read_bytes()
    build(source(recordings))
    assert (tmp_path / "out" / "manifest.parquet").read_bytes() == first


def test_a_facet_changes_only_with_its_own_split(recordings, build, write_tone, tmp_path):
    everything = source(recordings, speaker="parent")
    frame, _ = build(everything)
    before = split_facets(frame.reset_index())
    (recordings / "spk0" / "0.wav").rename(recordings / "spk0" / "other name.wav")
    assert split_facets(build(everything)[0].reset_index()) == before
    write_tone(recordings / "spk0" / "more.wav", seed=60)
    frame, _ = build(everything)
    after = split_facets(frame.reset_index())
    changed = {split for split in before if before[split] != after[split]}
    assert changed == {frame.loc["spk0/more.wav", "split"]}
    (recordings / "nothing.wav").write_bytes(b"")
    assert split_facets(build(everything)[0].reset_index()) == after


def test_sources_that_no_person_was_recorded_for_are_named(tmp_path, build):
    for name in ("people", "voices"):
        write(tmp_path / name / "a.wav", noise(seed=len(name)))
    people, voices = source(tmp_path / "people", "people"), source(tmp_path / "voices", "voices", synthetic=True)
    _, summary = build(people, voices)
    assert summary.synthetic == ["voices"]
    # what is not synthetic is in the key as it always was
    assert "synthetic" in deciding(voices) and "synthetic" not in deciding(people)
