import json
import os
import shutil
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
import soundfile

from wakeword_core.audio import from_pcm16, read_blocks, resample
from wakeword_core.config import DataConfig, SourceConfig
from wakeword_core.errors import ArtifactError, DataError
from wakeword_core.recordings import measuring
from wakeword_core.recordings.health import NOT_HEARD
from wakeword_core.recordings.manifest import (
    COLUMNS,
    build_manifest,
    check_manifest,
    prevents_model,
    read_manifest,
    split_facets,
)
from wakeword_core.recordings.scan import ScanCache
from wakeword_core.recordings.splits import check_splits
from wakeword_core.speech import espeak

RATE = 16_000


def source(path, name="mine", role="negative", **settings):
    return SourceConfig(name=name, path=path, role=role, **settings)


@pytest.fixture
def build(tmp_path, cache):
    def run(*sources, config=None, seed=1, **options):
        out = tmp_path / "out"
        out.mkdir(exist_ok=True)
        summary = build_manifest(sources, config or DataConfig(), "robin", seed, cache, out, **options, workers=2)
        return read_manifest(out, usable=False).set_index("path"), summary

    return run


def noise(seconds=0.5, rate=RATE, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * rate))


def write(path, x, rate=RATE, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, x, rate, **options)


def nan_sound():
    x = noise()
    x[100] = np.nan
    return x


BAD = {
    "broken": (lambda p: p.write_bytes(b"RIFF" + bytes(500)), "cannot be read as audio", "broken"),
    "cut": (lambda p: (write(p, noise(5), format="FLAC"), os.truncate(p, 40_000)), "breaks off", "broken"),
    "empty": (lambda p: p.write_bytes(b""), "an empty file of 0 bytes", "empty file"),
    "no samples": (lambda p: write(p, np.zeros(0)), "0.000 s long; at least 0.2 s are needed", "too short"),
    "silent": (
        lambda p: write(p, np.zeros(RATE)),
        "silent: -200.0 dBFS, below -70 (data.audio.silence_dbfs)",
        "silent",
    ),
    "clipped": (
        lambda p: write(p, np.sign(noise(0.5))),
        "clipped: 100.0% of samples at full scale; at most 5.0% are accepted (data.health.max_clipped_ratio)",
        "clipped",
    ),
    "8-channel": (
        lambda p: write(p, np.repeat(noise()[:, None], 8, axis=1)),
        "8 channels; at most 2 are accepted (data.health.max_channels)",
        "too many channels",
    ),
    "0.05 s": (
        lambda p: write(p, noise(0.05)),
        "0.050 s long; at least 0.2 s are needed (data.health.min_seconds)",
        "too short",
    ),
    "10-minute": (
        lambda p: write(p, noise(600, 8_000), 8_000),
        "600.0 s long; at most 60 s are accepted (data.health.max_seconds)",
        "too long",
    ),
    "NaN": (lambda p: write(p, nan_sound(), subtype="FLOAT"), "not numbers (NaN or infinite)", "not numbers"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_recordings_stay_with_their_reason(tmp_path, build, name):
    make, says, kind = BAD[name]
    write(tmp_path / "r" / "good.wav", noise(seed=9))
    make(tmp_path / "r" / "bad.wav")
    frame, summary = build(source(tmp_path / "r"))
    assert frame.loc["bad.wav", "status"] == "quarantined" and says in frame.loc["bad.wav", "reason"]
    assert str(tmp_path) not in frame.loc["bad.wav", "reason"]
    assert (frame.loc["good.wav", "status"], frame.loc["good.wav", "reason"]) == ("ok", "")
    assert summary.reasons == {kind: 1} and (summary.usable, summary.quarantined) == (1, 1)


GOOD = {
    "8-bit": lambda p: write(p, noise(), subtype="PCM_U8"),
    "48 kHz": lambda p: write(p, noise(rate=48_000), 48_000),
    "stereo": lambda p: write(p, np.stack([noise(), noise()], axis=1)),
    "quiet": lambda p: write(p, noise() * 0.01),
    "float": lambda p: write(p, noise(), subtype="FLOAT"),
}


@pytest.mark.parametrize("name", GOOD)
def test_unusual_but_fit_recordings_are_used(tmp_path, build, name):
    GOOD[name](tmp_path / "r" / "a.wav")
    frame, summary = build(source(tmp_path / "r"))
    assert frame.loc["a.wav", "status"] == "ok" and summary.usable == 1


def test_large_files_are_not_decoded(tmp_path, build, monkeypatch):
    write(tmp_path / "r" / "a.wav", noise(2))
    monkeypatch.setattr(measuring, "probe", lambda path: pytest.fail("was opened"))
    frame, _ = build(source(tmp_path / "r"), config=DataConfig(health={"max_file_mb": 0.01}))
    assert "a file of 0.1 MB; at most 0.01 MB are accepted (data.health.max_file_mb)" in frame.loc["a.wav", "reason"]


@pytest.mark.parametrize(("role", "status"), [("background", "ok"), ("noise", "ok"), ("negative", "quarantined")])
def test_background_may_be_long(tmp_path, build, role, status):
    write(tmp_path / "r" / "a.wav", noise(90, 8_000), 8_000)
    assert build(source(tmp_path / "r", role=role))[0].loc["a.wav", "status"] == status


def test_a_link_to_outside_is_quarantined(tmp_path, build):
    write(tmp_path / "r" / "a.wav", noise())
    write(tmp_path / "secret.wav", noise(seed=2))
    (tmp_path / "r" / "b.wav").symlink_to(tmp_path / "secret.wav")
    frame, summary = build(source(tmp_path / "r"))
    assert "leads outside" in frame.loc["b.wav", "reason"] and summary.reasons == {"unreadable": 1}


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


def test_a_source_whose_labels_do_not_fit_is_left_out_whole(tmp_path, recordings, build, write_tone, caplog):
    write_tone(tmp_path / "tree" / "robin" / "a.wav", seed=40)
    write_tone(tmp_path / "tree" / "cat" / "b.wav", seed=41)
    tree = source(tmp_path / "tree", "tree", role="positive", labels="parent")
    frame, summary = build(source(recordings), tree)
    assert set(frame["source"]) == {"mine"} and "cat/b.wav is labelled 'cat'" in caplog.text
    assert "no wake word" in summary.missing_sources[0]["problem"]
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


def test_measures_do_not_depend_on_the_block_length(tmp_path, monkeypatch):
    write(tmp_path / "a.wav", noise(1))
    whole = measuring.measure_sound(tmp_path / "a.wav", RATE, None, 0.5)
    monkeypatch.setattr("wakeword_core.audio._BLOCK_FRAMES", 999)
    assert len(list(read_blocks(tmp_path / "a.wav"))) == 17
    assert measuring.measure_sound(tmp_path / "a.wav", RATE, None, 0.5) == whole


@pytest.mark.parametrize("role", ["positive", "hard_negative"])
def test_the_word_is_found_in_its_recording(tmp_path, build, role):
    pcm, rate = espeak.speak("computer", espeak.Voice())
    word = resample(from_pcm16(pcm), rate, 48_000)
    hiss = np.random.default_rng(0).normal(0, 1e-4, 48_000)
    write(tmp_path / "r" / "a.wav", np.concatenate([hiss, word, hiss]), 48_000)
    row = build(source(tmp_path / "r", role=role))[0].loc["a.wav"]
    assert row.speech_start == pytest.approx(1.0, abs=0.2)
    assert row.speech_end == pytest.approx(1 + len(word) / 48_000, abs=0.4)
    assert 0 < row.speech_ratio < 1 and row.reason == ""


def test_a_positive_without_detected_speech_is_kept_with_a_note(tmp_path, build):
    x = np.random.default_rng(0).normal(0, 1e-5, 2 * RATE)
    x[RATE : RATE + 3_200] += 0.01 * np.sin(np.arange(3_200))
    write(tmp_path / "r" / "a.wav", x, subtype="FLOAT")
    frame, summary = build(source(tmp_path / "r", role="positive"))
    row = frame.loc["a.wav"]
    assert (row.status, row.reason, row.speech_ratio) == ("ok", NOT_HEARD, 0.0)
    assert (row.speech_start, row.speech_end) == (pytest.approx(1.0, abs=0.05), pytest.approx(1.2, abs=0.05))
    assert summary.notes == {NOT_HEARD: 1} and summary.labels == {"robin": 1}


def test_duplicates_keep_the_first_and_conflicts_keep_none(tmp_path, build):
    write(tmp_path / "one" / "b.wav", noise(seed=1))
    shutil.copy(tmp_path / "one" / "b.wav", tmp_path / "one" / "c.wav")
    write(tmp_path / "two" / "d.wav", noise(seed=2))
    write(tmp_path / "three" / "e.wav", noise(seed=3))
    shutil.copy(tmp_path / "two" / "d.wav", tmp_path / "three" / "f.wav")
    shutil.copy(tmp_path / "one" / "b.wav", tmp_path / "zero.wav")
    frame, summary = build(
        source(tmp_path / "one", "one"),
        source(tmp_path / "two", "two"),
        source(tmp_path / "three", "three", role="positive"),
    )
    assert frame.loc["b.wav", "status"] == "ok" and frame.loc["c.wav", "reason"] == "duplicate of one/b.wav"
    for name in ("d.wav", "f.wav"):
        assert "_negative as negative and robin as positive" in frame.loc[name, "reason"]
    assert summary.reasons == {"conflicting labels": 2, "duplicate": 1}
    assert frame[frame["status"] == "ok"]["recording_id"].is_unique


def test_the_same_bytes_in_another_role_conflict(tmp_path, build):
    write(tmp_path / "one" / "a.wav", noise())
    write(tmp_path / "two" / "b.wav", noise())
    write(tmp_path / "two" / "c.wav", noise(seed=5))
    _, summary = build(source(tmp_path / "one", "one"), source(tmp_path / "two", "two", role="noise"))
    assert summary.reasons == {"conflicting labels": 2}


def test_an_unchanged_tree_is_not_decoded_again(recordings, build, monkeypatch):
    calls = []
    first, summary = build(
        source(recordings, role="positive", speaker="parent"), progress=lambda *call: calls.append(call)
    )
    assert ("measure recordings", 10, 10) in calls and ("read headers", 10, 10) in calls
    monkeypatch.setattr(soundfile, "SoundFile", lambda *args: pytest.fail("was opened"))
    again, summary_again = build(source(recordings, role="positive", speaker="parent"))
    pd.testing.assert_frame_equal(first, again)
    assert summary == summary_again
    (recordings / "spk0" / "0.wav").rename(recordings / "spk0" / "renamed.wav")
    assert build(source(recordings, role="positive", speaker="parent"))[1] == summary


def test_only_what_is_new_is_decoded(recordings, build, write_tone):
    build(source(recordings))
    write_tone(recordings / "new.wav", seed=77)
    calls = []
    build(source(recordings), progress=lambda *call: calls.append(call))
    assert ("measure recordings", 1, 1) in calls and ("hash mine", 11, 11) in calls
    calls.clear()
    build(source(recordings, role="positive"), progress=lambda *call: calls.append(call))
    assert ("measure recordings", 11, 11) in calls, "speech is measured when a source becomes a positive one"


@pytest.mark.parametrize(
    ("name", "value", "measured"),
    [
        ("MEASURING_VERSION", 99, {"read headers", "measure recordings"}),
        ("decoder_versions", lambda: {"libsndfile": "99"}, {"read headers", "measure recordings"}),
        ("library_versions", lambda names: dict.fromkeys(names, "99"), {"measure recordings"}),
    ],
)
def test_other_code_or_libraries_measure_anew(recordings, build, monkeypatch, name, value, measured):
    spoken = source(recordings, role="positive")
    build(spoken)
    calls = []
    monkeypatch.setattr(measuring, name, value)
    build(spoken, progress=lambda *call: calls.append(call))
    assert {what for what, done, total in calls if (done, total) == (10, 10)} - {"hash mine"} == measured
    calls.clear()
    build(spoken, progress=lambda *call: calls.append(call))
    assert {what for what, *_ in calls} == {"hash mine"}


def test_limits_may_change_without_measuring_again(tmp_path, build, monkeypatch):
    write(tmp_path / "r" / "a.wav", noise(0.3))
    write(tmp_path / "r" / "b.wav", noise(1.0))
    assert build(source(tmp_path / "r"))[1].usable == 2
    monkeypatch.setattr(soundfile, "SoundFile", lambda *args: pytest.fail("was opened"))
    assert build(source(tmp_path / "r"), config=DataConfig(health={"min_seconds": 0.5}))[1].reasons == {"too short": 1}


def test_what_the_disk_refuses_is_not_remembered_as_broken(tmp_path, monkeypatch):
    write(tmp_path / "a.wav", noise())
    with pytest.raises(DataError, match="No such file"):
        measuring.measure_header(tmp_path / "gone.wav")
    assert "error" not in measuring.measure_header(tmp_path / "a.wav")


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
    path.unlink()
    with pytest.raises(ArtifactError):
        read_manifest(tmp_path / "out")


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


def frame_of(*rows):
    columns = ["recording_id", "label", "role", "speaker", "split", "status"]
    return pd.DataFrame([(str(index), *row, "ok") for index, row in enumerate(rows)], columns=columns)


def test_a_complete_manifest_has_no_problems():
    rows = [(label, role, f"{label}{split}", split) for label, role in (("robin", "positive"), ("_negative", "noise"))
            for split in ("train", "val", "test")]  # fmt: skip
    assert check_manifest(frame_of(*rows), ["_negative", "robin"]) == []


def test_a_label_with_two_recordings_is_reported():
    rows = [("_negative", "background", split, split) for split in ("train", "val", "test")]
    rows += [("robin", "positive", "ann", "train"), ("robin", "positive", "bob", "test")]
    problems = check_manifest(frame_of(*rows), ["_negative", "robin"])
    assert len(problems) == 1
    assert "no usable recording of 'robin' in val: there are 2 by 2 speaker groups" in problems[0]
    assert "block:N, or unknown" in problems[0] and "hold each with split" in problems[0]


@pytest.mark.parametrize(("split", "prevented"), [("train", True), ("val", True), ("test", False)])
def test_a_model_needs_every_label_in_training_and_validation_only(split, prevented):
    rows = [("_negative", "background", name, name) for name in ("train", "val", "test")]
    rows += [("robin", "positive", name, name) for name in ("train", "val", "test") if name != split]
    assert prevents_model(frame_of(*rows), ["_negative", "robin"]) == prevented


@pytest.mark.parametrize("missing", ["robin", "_negative"])
def test_a_missing_class_is_reported_in_every_split(missing):
    kept = ("robin", "positive") if missing == "_negative" else ("_negative", "negative")
    rows = [(*kept, split, split) for split in ("train", "val", "test")] + [("_negative", "rir", "room", "test")] * (
        missing == "_negative"
    )
    problems = check_manifest(frame_of(*rows), ["_negative", "robin"])
    assert len(problems) == 3 and all(repr(missing) in problem for problem in problems)


@pytest.fixture
def first_data(tmp_path, write_tone):
    """Ten recordings in two folders, of the word and of others, as somebody may begin."""
    for index in range(10):
        folder = "robin" if index < 5 else "others"
        write_tone(tmp_path / "first" / folder / f"{index}.wav", seed=index)
    return tmp_path / "first"


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("speaker", ["parent", "unknown"])
def test_ten_recordings_in_two_folders_are_in_every_split(first_data, build, seed, speaker):
    sources = [
        source(first_data / "robin", "robin", role="positive", speaker=speaker),
        source(first_data / "others", "others", role="negative", speaker=speaker),
    ]
    frame, _ = build(*sources, seed=seed)
    assert check_manifest(frame, ["_negative", "robin"]) == []
    assert frame.groupby(["label", "split"]).size().to_dict() == {
        (label, split): 3 if split == "train" else 1
        for label in ("_negative", "robin") for split in ("train", "val", "test")
    }  # fmt: skip


def test_two_speakers_of_a_word_are_enough_to_train_and_one_is_not(first_data, build):
    labelled = {"role": "negative", "labels": "parent", "words": ("robin",)}
    frame, _ = build(source(first_data, "first", speaker="parent", **labelled))
    assert set(frame["split"]) == {"train"} and len(check_manifest(frame, ["_negative", "robin"])) == 4
    assert prevents_model(frame, ["_negative", "robin"])  # there is nothing to validate on
    frame, _ = build(source(first_data, "blocks", speaker="block:3", **labelled))
    (problem,) = check_manifest(frame, ["_negative", "robin"])
    assert problem.startswith("no usable recording of 'robin' in test: there are 5 by 2 speaker groups in all; three")
    assert not prevents_model(frame, ["_negative", "robin"])


def test_new_speakers_move_nobody_whose_split_is_known(recordings, build, write_tone):
    spoken = source(recordings, "spoken", speaker="parent")
    before = build(spoken)[0]["split"]
    for number in range(12):
        write_tone(recordings / f"new{number}" / "a.wav", seed=50 + number)
    after = build(spoken)[0]["split"]
    assert after[before.index].equals(before) and set(after) == {"train", "val", "test"}


def test_quarantined_recordings_do_not_count():
    frame = frame_of(*[("robin", "positive", split, split) for split in ("train", "val", "test")])
    frame.loc[0, "status"] = "quarantined"
    assert len(check_manifest(frame, ["robin"])) == 1


def test_a_cache_of_another_run_can_be_open_at_the_same_time(recordings, tmp_path, build):
    other = ScanCache(tmp_path / "cache")
    build(source(recordings))
    assert len(list(other.hashes(recordings))) == 10
