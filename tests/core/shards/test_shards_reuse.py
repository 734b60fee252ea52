"""Recordings that an older shard holds are taken from it: the same bytes, without decoding anything again."""

import hashlib

import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wakeword_core.config import ShardsConfig
from wakeword_core.errors import DataError
from wakeword_core.recordings.row import row_columns
from wakeword_core.shards import packing
from wakeword_core.shards.packed_split import build_shards, shard_paths, verify_shards
from wakeword_core.store.parts import LatestParts, Parts

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


def build(root, rows, home, name, config=None, seed=1, rate=RATE, generation=None):
    out = home / name
    out.mkdir(parents=True)
    parts = Parts(home / "parts", generation)
    summary = build_shards(rows, {"mine": root}, rate, config or ShardsConfig(count=3), 1, seed, out, parts)
    return [path.read_bytes() for path in shard_paths(out)], summary


@pytest.fixture
def decoded(monkeypatch):
    """Paths of the recordings that were read."""
    found = []
    original = packing.read_pcm16

    def counted(path, rate):
        found.append(path.name)
        return original(path, rate)

    monkeypatch.setattr(packing, "read_pcm16", counted)
    return found


def test_only_what_is_new_is_read_and_the_bytes_are_those_of_a_full_build(sounds, tmp_path, decoded):
    root, rows = sounds
    build(root, rows.iloc[2:], tmp_path, "before")
    decoded.clear()
    after, summary = build(root, rows, tmp_path, "after")
    assert sorted(decoded) == ["0.flac", "1.flac"]
    orders = [int(hashlib.sha256(f"1:{one}".encode()).hexdigest()[:8], 16) % 3 for one in rows["recording_id"]]
    touched = set(orders[:2])
    assert (summary.built, summary.copied) == (len(touched), sum(order in touched for order in orders) - 2)
    assert after == build(root, rows, tmp_path / "fresh", "full")[0]
    assert verify_shards(tmp_path / "after", rows) == []


@pytest.mark.parametrize("change", ["label", "speech_end"])
def test_a_changed_row_needs_no_decoding(sounds, tmp_path, decoded, change):
    root, rows = sounds
    build(root, rows, tmp_path, "before")
    decoded.clear()
    changed = rows.copy()
    changed.loc[:, change] = "wren" if change == "label" else 0.05
    after, summary = build(root, changed, tmp_path, "after")
    assert decoded == [] and (summary.built, summary.copied) == (3, 24)
    assert after == build(root, changed, tmp_path / "fresh", "full")[0]


def test_a_doubled_count_of_shards_takes_from_the_half(sounds, tmp_path, decoded):
    root, rows = sounds
    build(root, rows, tmp_path, "before", ShardsConfig(count=2))
    decoded.clear()
    after, summary = build(root, rows, tmp_path, "after", ShardsConfig(count=4))
    assert decoded == [] and summary.copied == 24
    assert after == build(root, rows, tmp_path / "fresh", "full", ShardsConfig(count=4))[0]


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


@pytest.mark.parametrize(("rate", "copied"), [(RATE, 1), (2 * RATE, 0)])
def test_an_older_shard_of_another_rate_is_not_copied_from(sounds, tmp_path, rate, copied):
    root, rows = sounds
    build(root, rows, tmp_path, "before", ShardsConfig(count=1))
    row = packing.ShardRow(**rows.loc[0, list(row_columns(packing.ShardRow))])
    job = packing.ShardJob([row], {"mine": root}, rate, tmp_path / "before" / "00000.parquet")
    assert packing.pack_shard(job, tmp_path / "other.parquet", lambda done: None) == copied


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


@given(st.lists(st.sets(st.integers(0, 23), min_size=1), min_size=2, max_size=3), st.sampled_from([1, 2, 4]))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_history_never_shows_in_the_bytes(sounds, tmp_path_factory, sets, count):
    root, rows = sounds
    home = tmp_path_factory.mktemp("history")
    config = ShardsConfig(count=count)
    for step, chosen in enumerate(sets):
        last, _ = build(root, rows.iloc[sorted(chosen)], home, str(step), config)
    assert last == build(root, rows.iloc[sorted(sets[-1])], home / "fresh", "full", config)[0]


def test_a_recording_deleted_since_the_scan_is_named(sounds, tmp_path):
    root, rows = sounds
    gone = rows.copy()
    gone.loc[5, "path"] = "gone.flac"
    with pytest.raises(DataError, match=r"recording mine/gone\.flac is gone since the scan"):
        build(root, gone, tmp_path, "out")


def test_a_recording_replaced_while_it_is_decoded_is_named(sounds, tmp_path, monkeypatch):
    root, rows = sounds
    original = packing.read_pcm16

    def replaced(path, rate):
        if path.name == "7.flac":
            path.write_bytes(path.read_bytes())  # as good as new, but nobody can know what was read
        return original(path, rate)

    monkeypatch.setattr(packing, "read_pcm16", replaced)
    with pytest.raises(DataError, match=r"recording mine/7\.flac: it was replaced while it was read"):
        build(root, rows, tmp_path, "out")


def test_large_files_are_hashed_in_pieces(sounds, tmp_path, monkeypatch):
    root, rows = sounds
    expected, _ = build(root, rows, tmp_path, "small")
    monkeypatch.setattr(packing, "_WHOLE_FILE_BYTES", 0)
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
    data, seconds = packing._Reader(packing.ShardJob([row], {"mine": root}, RATE)).read(row)
    assert data == encode_wav(to_pcm16(read_audio(path, RATE)), RATE) and seconds == 0.25


def test_latest_parts_of_other_counts(tmp_path):
    parts = Parts(tmp_path)
    for key in ("a", "b", "c"):
        (tmp_path / key).touch()
    LatestParts(parts, "here").remember(["a", "b"])
    found = LatestParts(parts, "here")
    assert [path.name for path in (found.find(index, 4) for index in range(4))] == ["a", "b", "a", "b"]
    assert found.find(0, 3) is None and LatestParts(parts, "there").find(0, 2) is None
    found.remember(["c", "gone"])
    assert LatestParts(parts, "here").find(0, 2) == tmp_path / "c"
    assert LatestParts(parts, "here").find(1, 2) is None
