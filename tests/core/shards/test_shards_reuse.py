"""What older shards hold stays there: little is written, nothing decoded again, and the content is a fresh build's."""

import hashlib

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wakeword_core.config import ShardsConfig
from wakeword_core.errors import ArtifactError, DataError
from wakeword_core.recordings import sources
from wakeword_core.recordings.forgotten import NOTHING_FORGOTTEN, Forgotten
from wakeword_core.shards import packing
from wakeword_core.shards.building import build_shards
from wakeword_core.shards.packed_split import INDEX, iter_recordings, read_index, verify_shards, write_index
from wakeword_core.store.parts import LatestParts, Parts
from wakeword_core.workers.local import LocalWorkers

RATE = 8_000


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """A folder with 24 FLAC recordings, and their manifest rows."""
    root = tmp_path_factory.mktemp("sounds")
    rng = np.random.default_rng(3)
    rows = []
    for index in range(24):
        seconds = 0.1 + 0.01 * index
        soundfile.write(root / f"{index}.flac", rng.normal(0, 0.1, round(seconds * RATE)), RATE)
        one = hashlib.sha256((root / f"{index}.flac").read_bytes()).hexdigest()
        span = {"speech_start": 0.01, "speech_end": np.nan}
        facts = {"label": "robin", "role": "positive", "speaker": f"s{index % 5}", "split": "train"}
        rows.append(
            {"recording_id": one, "path": f"{index}.flac", "source": "mine", "seconds": seconds, **facts, **span}
        )
    return root, pd.DataFrame(rows)


def build(root, rows, home, name, config=None, seed=1, rate=RATE, generation=None, forgotten=NOTHING_FORGOTTEN):
    """Build, and return what counts, as read back, and the summary."""
    out = home / name
    out.mkdir(parents=True)
    parts = Parts(home / "parts", generation)
    summary = build_shards(
        rows,
        {"mine": root},
        rate,
        config or ShardsConfig(count=3),
        LocalWorkers(1),
        seed,
        out,
        parts,
        forgotten=forgotten,
    )
    read = [(one.recording_id, one.label, one.speaker, one.audio.tobytes()) for one in iter_recordings(out)]
    assert [one for one, *_ in read] == read_index(out)["recording_id"].tolist()
    return (read, summary.content), summary


@pytest.fixture
def decoded(sounds, monkeypatch):
    """Names of the recordings that were decoded."""
    found = []
    original = packing.read_pcm16
    names = {path.read_bytes(): path.name for path in sounds[0].iterdir()}

    def counted(data, rate):
        found.append(names[data])
        return original(data, rate)

    monkeypatch.setattr(packing, "read_pcm16", counted)
    return found


def test_only_what_is_new_is_read_and_written(sounds, tmp_path, decoded):
    root, rows = sounds
    build(root, rows.iloc[2:], tmp_path, "before")
    decoded.clear()
    after, summary = build(root, rows, tmp_path, "after")
    assert sorted(decoded) == ["0.flac", "1.flac"]
    assert (summary.built, summary.reused, summary.copied, summary.dead) == (1, 3, 0, 0)
    assert after == build(root, rows, tmp_path / "fresh", "full")[0]
    assert verify_shards(tmp_path / "after", rows) == []


@pytest.mark.parametrize("change", ["label", "speech_end"])
def test_a_changed_row_needs_no_decoding(sounds, tmp_path, decoded, change):
    root, rows = sounds
    build(root, rows, tmp_path, "before")
    decoded.clear()
    changed = rows.copy()
    changed.loc[3:4, change] = "wren" if change == "label" else 0.05
    after, summary = build(root, changed, tmp_path, "after")
    assert decoded == [] and (summary.built, summary.copied, summary.dead) == (1, 2, 2)
    assert after == build(root, changed, tmp_path / "fresh", "full")[0]
    assert verify_shards(tmp_path / "after", changed) == []


def test_rows_that_are_gone_stay_behind_without_counting(sounds, tmp_path):
    root, rows = sounds
    build(root, rows, tmp_path, "before")
    left = rows.drop(index=[2, 5])
    after, summary = build(root, left, tmp_path, "after")
    assert (summary.built, summary.reused, summary.dead) == (0, 3, 2)
    assert after == build(root, left, tmp_path / "fresh", "full")[0]
    assert verify_shards(tmp_path / "after", left) == []


@pytest.mark.parametrize(("share", "built"), [(0.0, 2), (0.1, 2), (0.2, 1)])
def test_too_much_that_is_dead_or_scattered_is_written_anew(sounds, tmp_path, decoded, share, built):
    root, rows = sounds
    config = ShardsConfig(count=3, compact_above=share)
    build(root, rows.iloc[1:], tmp_path, "before", config)
    decoded.clear()
    changed = rows.drop(index=[7, 8])  # two are dead and one is new, of 22
    after, summary = build(root, changed, tmp_path, "after", config)
    assert decoded == ["0.flac"] and summary.built == built and summary.dead == (2 if built == 1 else 0)
    assert after == build(root, changed, tmp_path / "fresh", "full", config)[0]


def test_a_compact_build_has_the_bytes_of_a_fresh_one(sounds, tmp_path):
    root, rows = sounds
    config = ShardsConfig(count=2, compact_above=0.0)
    build(root, rows.iloc[:20], tmp_path, "before", config)
    build(root, rows.iloc[4:], tmp_path, "after", config)
    build(root, rows.iloc[4:], tmp_path / "fresh", "full", config)
    for path in (tmp_path / "after").iterdir():
        assert path.read_bytes() == (tmp_path / "fresh" / "full" / path.name).read_bytes()


def test_small_shards_are_merged_as_they_come(sounds, tmp_path):
    root, rows = sounds
    config, sizes = ShardsConfig(count=1, compact_above=1.0), []
    for step, count in enumerate(range(16, 25)):
        build(root, rows.iloc[:count], tmp_path, str(step), config)
        sizes.append(read_index(tmp_path / str(step))["file"].value_counts().sort_values(ascending=False).tolist())
    assert sizes == [[16], [16, 1], [16, 2], [16, 2, 1], [16, 4], [16, 4, 1], [16, 4, 2], [16, 4, 2, 1], [16, 8]]


def test_another_number_of_shards_takes_from_those_that_are_there(sounds, tmp_path, decoded):
    root, rows = sounds
    build(root, rows, tmp_path, "before", ShardsConfig(count=2))
    decoded.clear()
    after, summary = build(root, rows, tmp_path, "after", ShardsConfig(count=4))
    assert decoded == [] and (summary.shards, summary.copied) == (4, 24)
    assert after == build(root, rows, tmp_path / "fresh", "full", ShardsConfig(count=4))[0]


@pytest.mark.parametrize("by", ["recording", "speaker"])
def test_no_shard_with_anything_forgotten_is_shared(sounds, tmp_path, decoded, by):
    root, rows = sounds
    build(root, rows, tmp_path, "before")
    gone = rows.iloc[[4]] if by == "recording" else rows[rows["speaker"] == "s4"]
    ids, speakers = (gone["recording_id"], []) if by == "recording" else ([], ["s4"])
    left, forgotten = rows.drop(index=gone.index), Forgotten().adding(ids, speakers, "asked")
    build(root, left, tmp_path, "between")  # where it is dead, but there
    decoded.clear()
    after, summary = build(root, left, tmp_path, "after", forgotten=forgotten)
    assert decoded == [] and summary.copied > 0
    for path in (tmp_path / "after").iterdir():
        assert not any(one.encode() in path.read_bytes() for one in gone["recording_id"])
    assert after == build(root, left, tmp_path / "fresh", "full")[0]


def test_an_index_that_names_what_is_not_there_is_refused(sounds, tmp_path):
    root, rows = sounds
    build(root, rows, tmp_path, "out")
    index = pq.read_table(tmp_path / "out" / INDEX)
    for name, value in (("file", "00009.parquet"), ("row", 99), ("row", -1)):
        wrong = index.to_pandas()
        wrong.loc[3, name] = value
        write_index(tmp_path / "out", wrong)
        with pytest.raises(ArtifactError, match=r"index\.parquet"):
            list(iter_recordings(tmp_path / "out", roles=["positive"]))
    wrong = index.to_pandas()
    wrong.loc[[0, 1], "row"] = wrong.loc[[1, 0], "row"].to_numpy()
    wrong.loc[[0, 1], "file"] = wrong.loc[[1, 0], "file"].to_numpy()
    write_index(tmp_path / "out", wrong)
    assert any("names other rows" in problem for problem in verify_shards(tmp_path / "out", rows))


@pytest.mark.parametrize("options", [{"seed": 2}, {"rate": 16_000}])
def test_shards_of_another_seed_or_rate_are_not_looked_at(sounds, tmp_path, options):
    root, rows = sounds
    build(root, rows, tmp_path, "before")
    assert build(root, rows, tmp_path, "after", **options)[1].copied == 0


def test_shards_of_another_version_are_made_anew(sounds, tmp_path, monkeypatch, decoded):
    root, rows = sounds
    before, _ = build(root, rows, tmp_path, "before", generation="2")
    decoded.clear()
    original = packing.read_pcm16
    monkeypatch.setattr(packing, "read_pcm16", lambda path, rate: original(path, rate) // 2)
    after, summary = build(root, rows, tmp_path, "after", generation="3")
    assert (summary.built, summary.copied, len(decoded)) == (3, 0, 24)
    assert after != before and verify_shards(tmp_path / "after", rows) == []


@pytest.mark.parametrize("damage", ["flip", "cut", "junk", "list"])
def test_a_damaged_older_shard_is_not_copied_from(sounds, tmp_path, decoded, damage):
    root, rows = sounds
    one = ShardsConfig(count=1)
    build(root, rows.iloc[1:], tmp_path, "before", one)
    part = next(path for path in (tmp_path / "parts").iterdir() if not path.suffix)
    data = bytearray(part.read_bytes())
    if damage == "flip":
        data[data.index(b"RIFF") + 60] ^= 1
    part.write_bytes({"flip": bytes(data), "cut": bytes(data[:-50]), "junk": b"junk"}.get(damage, bytes(data)))
    if damage == "list":
        next((tmp_path / "parts").glob("latest-*.json")).write_text('{"not": "a list')
    decoded.clear()
    after, summary = build(root, rows, tmp_path, "after", one)
    assert summary.copied == 0 and len(decoded) == 24
    assert after == build(root, rows, tmp_path / "fresh", "full", one)[0]


@given(st.lists(st.sets(st.integers(0, 23), min_size=1), min_size=2, max_size=4), st.sampled_from([0.0, 0.3, 1.0]))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_history_never_shows_in_what_counts(sounds, tmp_path_factory, sets, share):
    root, rows = sounds
    home = tmp_path_factory.mktemp("history")
    config = ShardsConfig(count=2, compact_above=share)
    for step, chosen in enumerate(sets):
        last, _ = build(root, rows.iloc[sorted(chosen)], home, str(step), config)
        assert verify_shards(home / str(step), rows.iloc[sorted(chosen)]) == []
    assert last == build(root, rows.iloc[sorted(sets[-1])], home / "fresh", "full", config)[0]


def test_a_recording_deleted_since_the_scan_is_named(sounds, tmp_path):
    root, rows = sounds
    gone = rows.copy()
    gone.loc[5, "path"] = "gone.flac"
    with pytest.raises(DataError, match=r"recording mine/gone\.flac is gone since the scan"):
        build(root, gone, tmp_path, "out")


def test_a_large_recording_replaced_while_it_is_decoded_is_named(sounds, tmp_path, monkeypatch):
    root, rows = sounds
    monkeypatch.setattr(sources, "WHOLE_FILE_BYTES", 0)  # what is read once is what was hashed
    original = packing.read_pcm16

    def replaced(path, rate):
        if path.name == "7.flac":
            path.write_bytes(path.read_bytes())  # as good as new, but nobody can know what was read
        return original(path, rate)

    monkeypatch.setattr(packing, "read_pcm16", replaced)
    with pytest.raises(DataError, match=r"recording mine/7\.flac: its bytes changed since the scan"):
        build(root, rows, tmp_path, "out")


def test_large_files_are_hashed_in_pieces(sounds, tmp_path, monkeypatch):
    root, rows = sounds
    expected, _ = build(root, rows, tmp_path, "small")
    monkeypatch.setattr(sources, "WHOLE_FILE_BYTES", 0)
    assert build(root, rows, tmp_path / "fresh", "large")[0] == expected
    wrong = rows.copy()
    wrong.loc[3, "recording_id"] = "0" * 64
    with pytest.raises(DataError, match=r"mine/3\.flac: its bytes changed"):
        build(root, wrong, tmp_path / "wrong", "large")


@pytest.mark.parametrize("subtype, header", [("PCM_16", 0), ("PCM_24", 0), ("FLOAT", 0), ("PCM_16", 8)])
def test_files_taken_as_they_are_are_what_decoding_gives(tmp_path, subtype, header):
    from wakeword_core.audio import encode_wav, read_audio, to_pcm16

    root = tmp_path / "sounds"
    root.mkdir()
    path = root / "a.wav"
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.2, 2_000), RATE, subtype=subtype)
    if header:  # a chunk that players skip
        data = path.read_bytes()
        path.write_bytes(data[:36] + b"LIST" + (4).to_bytes(4, "little") + b"INFO" + data[36:])
    name = hashlib.sha256(path.read_bytes()).hexdigest()
    row = packing.ShardRow(name, "x", "y", "z", "mine", 0.25, 0.0, 0.1, path="a.wav")
    data, seconds = packing._Reader(packing.ShardJob(tmp_path, [row], {"mine": root}, RATE)).read(row)
    assert data == encode_wav(to_pcm16(read_audio(path, RATE)), RATE) and seconds == 0.25


def test_the_latest_parts_are_remembered_by_place_and_generation(tmp_path):
    parts = Parts(tmp_path)
    LatestParts(parts, "here").remember(["a", "b"], "two")
    found = LatestParts(parts, "here")
    assert (found.keys, found.layout) == (["a", "b"], "two")
    assert LatestParts(parts, "there").keys == LatestParts(Parts(tmp_path, 2), "here").keys == []
    found.remember(["c"])
    assert (LatestParts(parts, "here").keys, LatestParts(parts, "here").layout) == (["c"], "")
