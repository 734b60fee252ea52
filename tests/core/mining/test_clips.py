"""Which clips are kept, and what is written of them."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from toy_project import RATE, pack

from wakeword_core.audio import encode_wav
from wakeword_core.errors import ArtifactError
from wakeword_core.mining import clips as clips_module
from wakeword_core.mining.clips import Clip, check_mined_recordings, choose_clips, cut_clip, read_clips, write_clips
from wakeword_core.shards.packed_split import iter_recordings, shard_paths, verify_shards
from wakeword_core.shards.shard_file import Recording

WINDOW, REACH = 4_000, (6_000, 2_000)


def noise(seconds: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-3_000, 3_000, round(seconds * RATE)).astype(np.int16)


def origin(samples: int = 20_000) -> Recording:
    pcm = noise(samples / RATE, 1)
    return Recording("origin", "tv", "negative", "who/1", "radio", samples / RATE, np.nan, np.nan, pcm)


def clip(one: str, score: float, origin: str = "o", start: float = 0.0) -> Clip:
    row = (one, "_negative", "hard_negative", "s", "s", 1.0, 0.0, 0.8)
    return Clip(*row, origin, "negative", start, start + 1, start + 0.8, score)


@pytest.mark.parametrize(
    ("window_end", "start", "end", "speech"),
    [
        (10_000, 4_000, 12_000, (2_000, 6_000)),  # wholly inside
        (3_000, 0, 5_000, (0, 3_000)),  # the recording begins within the window
        (19_000, 13_000, 20_000, (2_000, 6_000)),  # it ends soon after
        (21_500, 15_500, 20_000, (2_000, 4_500)),  # heard in the quiet after it
    ],
)
def test_a_clip_reaches_around_the_window_as_far_as_the_recording_goes(window_end, start, end, speech) -> None:
    whole = origin()
    found = cut_clip(whole, window_end, 0.75, WINDOW, REACH, RATE)
    assert (found.start * RATE, found.end * RATE, found.time * RATE) == (start, end, window_end)
    assert (round(found.speech_start * RATE), round(found.speech_end * RATE)) == speech
    assert found.recording_id == hashlib.sha256(encode_wav(whole.audio[start:end], RATE)).hexdigest()
    assert (found.from_recording_id, found.from_role, found.score) == ("origin", "negative", 0.75)
    assert (found.label, found.speaker, found.source) == ("tv", "who/1", "radio")


def test_the_highest_are_kept_and_equal_sound_once() -> None:
    many = [clip("a", 0.5), clip("b", 0.9), clip("a", 0.7, "other"), clip("c", 0.6), clip("d", 0.6, start=3.0)]
    assert choose_clips(many, 10) == [many[1], many[2], many[3], many[4]]
    assert choose_clips(many, 3) == [many[1], many[2], many[3]]
    assert choose_clips(reversed(many), 3) == choose_clips(many, 3)
    assert choose_clips([], 3) == []


def cut_some(folder: Path) -> tuple[Path, list[Clip]]:
    """Shards of four recordings, and clips of two of them, two of one."""
    shards = pack(folder, {name: ("background", noise(2.0, seed)) for seed, name in enumerate("abcd")})
    first, _, third, _ = iter_recordings(shards)
    ends = ((first, 30_000, 0.8), (third, 9_000, 0.95), (first, 12_000, 0.9))
    return shards, choose_clips([cut_clip(*one, WINDOW, REACH, RATE) for one in ends], 10)


def test_clips_are_recordings_with_the_origins_sound(tmp_path: Path) -> None:
    shards, clips = cut_some(tmp_path)
    out, done = tmp_path / "out", []
    write_clips(shards, clips, RATE, out, done.append)
    table = read_clips(out)
    assert done == [1, 2, 3] and verify_shards(out, table) == []
    assert table["score"].tolist() == [0.95, 0.9, 0.8] and set(table["role"]) == {"hard_negative"}
    assert set(table.columns) >= {
        "recording_id",
        "from_recording_id",
        "start",
        "end",
        "score",
        "from_role",
        "source",
        "speaker",
    }
    sounds = {one.recording_id: one for one in iter_recordings(shards)}
    written = {one.recording_id: one for one in iter_recordings(out)}
    assert set(written) == set(table["recording_id"]) and len(written) == 3
    for row in table.itertuples():
        source, found = sounds[row.from_recording_id], written[row.recording_id]
        assert np.array_equal(found.audio, source.audio[round(row.start * RATE) : round(row.end * RATE)])
        assert (found.role, found.label, found.speaker) == ("hard_negative", source.label, source.speaker)
        assert found.source == source.source == row.source and row.from_role == source.role
        assert found.seconds == pytest.approx(len(found.audio) / RATE)


def test_the_same_clips_give_the_same_bytes_in_as_many_shards_as_needed(tmp_path: Path, monkeypatch) -> None:
    shards, clips = cut_some(tmp_path)
    monkeypatch.setattr(clips_module, "_SHARD_BYTES", 20_000)
    for name in ("a", "b"):
        write_clips(shards, clips, RATE, tmp_path / name)
    written = shard_paths(tmp_path / "a")
    assert len(written) == 2 and verify_shards(tmp_path / "a", read_clips(tmp_path / "a")) == []
    for path in (*written, tmp_path / "a" / "clips.parquet"):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_no_clips_are_a_table_and_a_shard_without_rows(tmp_path: Path) -> None:
    write_clips(tmp_path / "nowhere", [], RATE, tmp_path / "out")  # no origin is even looked for
    assert len(read_clips(tmp_path / "out")) == 0 and list(iter_recordings(tmp_path / "out")) == []
    assert verify_shards(tmp_path / "out", read_clips(tmp_path / "out")) == []


def test_a_table_that_is_gone_is_an_error_that_says_what_to_build(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="build mined_negatives again"):
        read_clips(tmp_path)


@pytest.mark.parametrize(
    ("where", "wrong"),
    [
        ([("o", "train")], ""),
        ([("o", "val")], "is in val"),
        ([("o", "test")], "is in test"),
        ([("o", "train"), ("o", "val")], "train and val"),
        ([], "no split"),
    ],
)
def test_origins_must_be_of_the_training_split_alone(where, wrong) -> None:
    manifest = pd.DataFrame([("other", "test"), *where], columns=["recording_id", "split"])
    manifest = manifest.assign(source="mine", path=manifest["recording_id"] + ".wav")
    problems = check_mined_recordings(pd.DataFrame({"from_recording_id": ["o", "o"]}), manifest)
    assert len(problems) == bool(wrong)
    assert not wrong or (
        wrong in problems[0]
        and ("mine/o.wav" in problems[0]) == bool(where)
        and "build mined_negatives again" in problems[0]
    )


def test_a_clip_beside_the_table_is_found(tmp_path: Path) -> None:
    shards, clips = cut_some(tmp_path)
    write_clips(shards, clips, RATE, tmp_path / "out")
    table = read_clips(tmp_path / "out")
    assert any("in the shards but not" in one for one in verify_shards(tmp_path / "out", table.iloc[1:]))
    moved = replace(clips[0], speaker="somebody else")
    write_clips(shards, [moved, *clips[1:]], RATE, tmp_path / "out")
    assert any("speaker" in one for one in verify_shards(tmp_path / "out", table))
