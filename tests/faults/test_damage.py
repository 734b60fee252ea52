"""A shard that changed after it was written: the check finds it, and what is built again has the old bytes."""

import os
from dataclasses import replace

import pytest

from wakeword_core.errors import WakewordError


def damage(path, how):
    """Change a file where it lies, so that every hard link to it changes too."""
    data = bytearray(path.read_bytes())
    if how == "flip":
        data[data.index(b"RIFF") + 1_000] ^= 4
    with path.open("r+b") as file:
        file.write(data)
        file.truncate(len(data) // 2 if how == "cut" else len(data))


@pytest.fixture
def shard(trial):
    return trial.build("audio_shards").file("00001.parquet")


@pytest.fixture
def verdict(trial):
    def run():
        return trial.project().verdicts("audio_shards", "train")[0]

    return run


def test_a_flipped_bit_is_found_and_the_shard_made_again(trial, shard, verdict):
    whole = shard.read_bytes()
    assert verdict().passed
    damage(shard, "flip")
    assert trial.project().find("audio_shards", "train") is None
    again = trial.build("audio_shards")
    assert again.file("00001.parquet").read_bytes() == whole
    assert (again.figures["built"], again.figures["reused"], again.figures["copied"]) == (1, 1, 0)
    assert verdict().passed


def test_a_bit_that_the_disk_flipped_fails_the_check_and_the_shard_is_made_again(trial, shard, verdict):
    """Such a file looks untouched."""
    whole, times = shard.read_bytes(), shard.stat()
    damage(shard, "flip")
    os.utime(shard, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(WakewordError, match=r"audio_shards\[train\] changed on disk .*00001\.parquet.* run again"):
        verdict()
    again = trial.build("audio_shards")
    assert again.file("00001.parquet").read_bytes() == whole and verdict().passed


def test_a_cut_shard_is_noticed_without_being_read(trial, shard, verdict):
    whole = shard.read_bytes()
    damage(shard, "cut")
    again = trial.build("audio_shards")
    assert again.file("00001.parquet").read_bytes() == whole and again.figures["built"] == 1
    assert verdict().passed


def test_damaged_shards_are_neither_linked_nor_copied_from(trial, shard, caplog):
    damage(shard, "flip")
    damage(shard.with_name("00000.parquet"), "flip")
    (trial.recordings / "yes" / "01.flac").unlink()
    found = trial.build("audio_shards")
    assert "is damaged and will be made again" in caplog.text
    assert (found.figures["built"], found.figures["reused"], found.figures["copied"]) == (2, 0, 0)
    assert found.content == trial.build("audio_shards", "fresh").content


def test_recordings_that_change_before_a_pinned_manifest_is_made_are_noticed(trial):
    """Else it would lack recordings for ever under the key of those that there were."""
    pinned = replace(trial.project(), pinned_fingerprint=trial.project().fingerprint())
    (trial.recordings / "yes" / "01.flac").unlink()
    with pytest.raises(WakewordError, match="recordings changed since this build began"):
        pinned.build("raw_manifest")
    assert pinned.store.all("raw_manifest") == []


def test_a_recording_that_comes_while_the_manifest_is_made_is_in_the_next_one(trial):
    late = trial.recordings / "yes" / "late.flac"

    def add(what, done, total):
        if what == "measure recordings" and not late.exists():
            late.write_bytes((trial.recordings / "yes" / "01.flac").read_bytes()[:-1])

    first, _ = replace(trial.project(), progress=add).build("raw_manifest")
    assert late.exists()
    second = trial.build("raw_manifest")
    assert second.key != first.key and second.figures["recordings"] == first.figures["recordings"] + 1


@pytest.mark.parametrize("how, said", [("deleted", "is gone since the scan"), ("replaced", "its bytes changed since")])
def test_a_recording_that_is_not_what_was_scanned_is_named_and_not_packed(trial, how, said):
    trial.build("raw_manifest")
    project = trial.project()
    project.fingerprint()  # what the build goes by from here on
    path = trial.recordings / "no" / "06.flac"
    if how == "deleted":
        path.unlink()
    else:
        path.write_bytes((trial.recordings / "no" / "09.flac").read_bytes())
    with pytest.raises(WakewordError, match=rf"shard 0000\d\.parquet failed .*recording no/06\.flac.* {said}"):
        project.build("audio_shards", "train")
    assert project.store.all("audio_shards") == []
