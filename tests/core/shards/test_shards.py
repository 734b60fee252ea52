import hashlib
import json
import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from wakeword_core.audio import decode_wav, read_audio, to_pcm16
from wakeword_core.config import DataConfig, ShardsConfig, SourceConfig
from wakeword_core.errors import ArtifactError, DataError, WakewordError
from wakeword_core.files import hash_file
from wakeword_core.recordings.manifest import build_manifest, read_manifest
from wakeword_core.shards import packing, shard_file
from wakeword_core.shards.building import build_shards, shard_count
from wakeword_core.shards.packed_split import INDEX, iter_recordings, read_shard, shard_paths, verify_shards
from wakeword_core.store.parts import Parts
from wakeword_core.workers.local import LocalWorkers

RATE = 16_000
FOUR = ShardsConfig(count=4)


@pytest.fixture
def rows_of(tmp_path, cache, recordings):
    def rows():
        out = tmp_path / "manifest"
        out.mkdir(exist_ok=True)
        source = SourceConfig(name="mine", path=recordings, role="negative", speaker="parent")
        build_manifest([source], DataConfig(), "robin", 1, cache, out, workers=LocalWorkers(2))
        return read_manifest(out).assign(role="positive", label="robin", speech_start=0.1, speech_end=0.4)

    return rows


@pytest.fixture
def pack(tmp_path, recordings):
    def run(rows, name="out", config=FOUR, **options):
        out = tmp_path / name
        out.mkdir(exist_ok=True)
        parts = Parts(tmp_path / "parts")
        settings = {"sample_rate": RATE, "workers": LocalWorkers(2), "seed": 1, **options}
        summary = build_shards(rows, {"mine": recordings}, config=config, out=out, parts=parts, **settings)
        return out, summary, parts

    return run


def test_everything_comes_back(rows_of, pack, recordings):
    rows = rows_of()
    calls = []
    out, summary, _ = pack(rows, progress=lambda *call: calls.append(call))
    assert calls[-1] == ("pack recordings", 10, 10)
    assert (summary.shards, summary.recordings, summary.built, summary.reused) == (4, 10, 4, 0)
    assert summary.hours == pytest.approx(5 / 3600, abs=1e-4) and summary.labels == {"robin": 10}
    assert summary.bytes == sum(path.stat().st_size for path in shard_paths(out))
    assert verify_shards(out, rows) == []
    found = {one.recording_id: one for one in iter_recordings(out)}
    # who keeps one of them does not keep all that were read with it
    assert all(one.audio.flags.owndata for one in found.values())
    for row in rows.itertuples():
        one = found[row.recording_id]
        assert np.array_equal(one.audio, to_pcm16(read_audio(recordings / row.path, RATE)))
        assert (one.label, one.role, one.speaker, one.source) == (row.label, row.role, row.speaker, row.source)
        assert (one.speech_start, one.speech_end, one.seconds) == (row.speech_start, row.speech_end, 0.5)


def test_the_order_is_the_hash_of_seed_and_id(rows_of, pack):
    rows = rows_of()
    out, _, _ = pack(rows)
    orders = {one: hashlib.sha256(f"1:{one}".encode()).hexdigest() for one in rows["recording_id"]}
    for index, path in enumerate(shard_paths(out)):
        own = sorted((order, one) for one, order in orders.items() if int(order[:8], 16) * 4 >> 32 == index)
        assert [recording.recording_id for recording in read_shard(path)] == [one for _, one in own]


def test_reading_one_shard(rows_of, pack):
    out, _, _ = pack(rows_of(), config=ShardsConfig())
    recordings = read_shard(out / "00000.parquet")
    assert len(recordings) == 10 and shard_file.read_sample_rate(out / "00000.parquet") == RATE
    assert all(recording.audio.dtype == np.int16 and recording.seconds > 0 for recording in recordings)
    assert {(recording.role, recording.source) for recording in recordings} == {("positive", "mine")}


def test_roles_can_be_chosen(rows_of, pack):
    rows = rows_of()
    rows.loc[3, "role"] = "noise"
    out, _, _ = pack(rows)
    assert [one.recording_id for one in iter_recordings(out, roles=["noise"])] == [rows.loc[3, "recording_id"]]


def test_audio_is_not_read_where_nobody_has_the_role(rows_of, pack, monkeypatch):
    out, _, _ = pack(rows_of())
    monkeypatch.setattr(pq.ParquetFile, "read_row_group", lambda *given, **options: pytest.fail("read"))
    assert list(iter_recordings(out, roles=("rir",))) == []
    with pytest.raises(pytest.fail.Exception, match="read"):
        next(iter_recordings(out))


def test_recordings_are_brought_to_the_rate(tmp_path, rows_of, pack, recordings):
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(48_000) / 48_000)
    soundfile.write(recordings / "high.wav", np.stack([tone, tone], axis=1), 48_000)
    rows = rows_of()
    out, _, _ = pack(rows[rows["path"] == "high.wav"], config=ShardsConfig())
    one = next(iter_recordings(out))
    assert len(one.audio) == RATE and one.seconds == 1.0


def test_columns_are_as_datasets_reads_them(rows_of, pack):
    out, _, _ = pack(rows_of())
    table = pq.read_table(out / "00001.parquet")
    assert table.schema.names == [
        "audio", "recording_id", "label", "role", "speaker", "source", "seconds", "speech_start", "speech_end",
        "digest",
    ]  # fmt: skip
    assert table.schema.field("audio").type == pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert features["audio"] == {"sampling_rate": RATE, "_type": "Audio"}
    assert features["recording_id"] == {"dtype": "string", "_type": "Value"}
    assert features["seconds"] == {"dtype": "float64", "_type": "Value"}
    assert list(features) == table.schema.names
    row = table.slice(0, 1).to_pylist()[0]
    assert row["audio"]["path"] == f"{row['recording_id']}.wav" and decode_wav(row["audio"]["bytes"])[1] == RATE


def test_one_new_recording_rewrites_no_shard(rows_of, pack, recordings, write_tone):
    out, summary, _ = pack(rows_of())
    assert (summary.built, summary.reused) == (4, 0)
    write_tone(recordings / "spk9" / "new.wav", seed=99)
    again, summary, _ = pack(rows_of(), "again")
    assert (summary.built, summary.reused, summary.dead) == (1, 4, 0)
    for path in shard_paths(out):
        assert path.samefile(again / path.name)
    assert len(read_shard(again / "00004.parquet")) == 1 and verify_shards(again, rows_of()) == []


def test_bytes_do_not_depend_on_row_order_or_workers(rows_of, pack, tmp_path):
    rows = rows_of()
    first, _, _ = pack(rows)
    shutil.rmtree(tmp_path / "parts")
    second, _, _ = pack(rows.sample(frac=1, random_state=0), "second", workers=LocalWorkers(1))
    assert [path.read_bytes() for path in shard_paths(first)] == [path.read_bytes() for path in shard_paths(second)]


@pytest.mark.parametrize("change", ["label", "rate", "span"])
def test_what_a_shard_holds_is_in_its_key(rows_of, pack, change):
    rows = rows_of()
    pack(rows)
    if change == "rate":
        _, summary, _ = pack(rows, "again", sample_rate=8_000)
        assert summary.built == 4
    else:
        rows.loc[0, {"label": "label", "span": "speech_end"}[change]] = {"label": "wren", "span": 0.3}[change]
        _, summary, _ = pack(rows, "again")
        assert (summary.built, summary.copied, summary.dead) == (1, 1, 1)


def test_a_rename_rewrites_nothing(rows_of, pack, recordings):
    pack(rows_of())
    (recordings / "spk0" / "0.wav").rename(recordings / "spk0" / "renamed.wav")
    assert pack(rows_of(), "again")[1].built == 0


def test_more_shards_than_recordings_leave_some_empty(rows_of, pack):
    rows = rows_of().head(2)
    out, summary, _ = pack(rows, config=ShardsConfig(count=8))
    assert summary.shards == 8 and len(shard_paths(out)) == 8
    assert verify_shards(out, rows) == [] and len(list(iter_recordings(out))) == 2
    assert min(len(read_shard(path)) for path in shard_paths(out)) == 0


def test_the_count_is_a_power_of_two_that_small_growth_does_not_change():
    config = ShardsConfig(shard_mb=64)
    counts = [shard_count(size * 1e6, 10_000, config) for size in (0, 1, 64, 65, 128, 129, 500, 510, 512, 513)]
    assert counts == [1, 1, 1, 2, 2, 4, 8, 8, 8, 16]
    assert shard_count(1e12, 5, config) == 4 and shard_count(1, 5, ShardsConfig(count=7)) == 7


def test_row_groups_bound_what_a_reader_holds(rows_of, pack, monkeypatch):
    monkeypatch.setattr(shard_file, "_ROW_GROUP_BYTES", 40_000)
    rows = rows_of()
    out, _, _ = pack(rows, config=ShardsConfig(count=1))
    assert pq.ParquetFile(out / "00000.parquet").num_row_groups == 4
    assert verify_shards(out, rows) == []


def flip(path, find=None):
    """Flip one bit in the middle of a recording's samples."""
    data = bytearray(path.read_bytes())
    data[data.index(b"RIFF") + 4_000] ^= 1
    path.unlink()
    path.write_bytes(data)


def test_one_flipped_bit_in_the_audio_is_found(rows_of, pack):
    rows = rows_of()
    out, _, _ = pack(rows, config=ShardsConfig(count=1))
    flip(out / "00000.parquet")
    problems = verify_shards(out, rows)
    assert any("00000.parquet is damaged" in problem for problem in problems)
    with pytest.raises(ArtifactError, match="damaged"):
        read_shard(out / "00000.parquet")


def test_a_flipped_bit_is_found_by_the_sums_alone(rows_of, pack, monkeypatch):
    rows = rows_of()
    out, _, _ = pack(rows, config=ShardsConfig(count=1))
    sums = {"00000.parquet": hash_file(out / "00000.parquet")}
    assert verify_shards(out, rows, sums) == []
    flip(out / "00000.parquet")
    original = pq.ParquetFile
    monkeypatch.setattr(pq, "ParquetFile", lambda path, **options: original(path))
    sentence, changed_row = verify_shards(out, rows, sums)
    assert sentence == f"{out}/00000.parquet holds other bytes than were written; build audio_shards again"
    assert changed_row.endswith("is not as it was written")
    assert verify_shards(out, rows, sums, verified=sums.values()) == []  # where it was read before


def test_audio_of_another_length_is_found_without_any_sum(rows_of, pack):
    rows = rows_of()
    out, _, _ = pack(rows, config=ShardsConfig(count=1))
    path = out / "00000.parquet"
    table = pq.read_table(path)
    seconds = pa.array([0.5001, *table.column("seconds").to_pylist()[1:]])
    table = table.set_column(table.column_names.index("seconds"), "seconds", seconds)
    metadata = pq.read_metadata(path).metadata
    path.unlink()
    pq.write_table(table.replace_schema_metadata({**table.schema.metadata, b"wakeword": metadata[b"wakeword"]}), path)
    (problem,) = verify_shards(out, rows)
    assert "has another length than was written" in problem


def test_each_shard_is_decoded_once_to_be_verified(rows_of, pack, monkeypatch):
    rows = rows_of()
    out, _, _ = pack(rows)
    opened = []
    original = pq.ParquetFile
    monkeypatch.setattr(pq, "ParquetFile", lambda path, **options: opened.append(path) or original(path, **options))
    assert verify_shards(out, rows) == [] and sorted(opened) == shard_paths(out)


@pytest.mark.parametrize("damage", ["cut", "junk", "missing", "none"])
def test_damaged_and_missing_shards_are_reported(rows_of, pack, damage):
    rows = rows_of()
    out, _, _ = pack(rows)
    path = out / "00001.parquet"
    data = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(data[:-100])
    elif damage == "junk":
        path.write_bytes(b"junk" * 100)
    elif damage == "none":
        shutil.rmtree(out)
        out.mkdir()
    assert len(verify_shards(out, rows)) >= 1
    if damage in ("missing", "none"):
        with pytest.raises(ArtifactError, match="build"):
            shard_paths(out)


def test_shards_of_other_rows_are_reported(rows_of, pack):
    rows = rows_of()
    out, _, _ = pack(rows)
    assert any("in the shards but not in the manifest" in one for one in verify_shards(out, rows.iloc[1:]))
    other = rows.copy()
    other.loc[0, "recording_id"] = "f" * 64
    assert any("in the manifest but not in the shards" in one for one in verify_shards(out, other))
    for column, value in (("label", "wren"), ("speech_start", 9.0), ("seconds", 3.0)):
        other = rows.copy()
        other.loc[0, column] = value
        assert any(f"{column} of recording mine/{rows.loc[0, 'path']}" in one for one in verify_shards(out, other))


def test_a_recording_changed_since_the_scan_is_named(rows_of, pack, recordings, write_tone):
    rows = rows_of()
    write_tone(recordings / "spk1" / "3.wav", seed=1234)
    with pytest.raises(
        DataError, match=r"shard 0000\d\.parquet failed after 2 tries: recording mine/spk1/3\.wav.*chang"
    ):
        pack(rows)


def test_a_failed_shard_is_tried_again(rows_of, pack, monkeypatch, caplog):
    rows = rows_of()
    failures = iter([True, False])

    def flaky(path):
        if path.suffix == ".wav" and next(failures, False):
            raise OSError(5, "Input/output error")
        return read(path)

    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", flaky)
    out, _, _ = pack(rows, config=ShardsConfig(count=1))
    assert verify_shards(out, rows) == [] and "failed at try 1" in caplog.text
    assert sorted(path.name for path in out.iterdir()) == ["00000.parquet", INDEX]


@pytest.mark.parametrize("retries", [0, 2])
def test_a_shard_that_keeps_failing_is_reported_and_leaves_nothing_half_made(
    rows_of, pack, monkeypatch, tmp_path, retries
):
    rows = rows_of()
    tries = []

    def broken(path):
        tries.append(path)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "read_bytes", broken)
    with pytest.raises(DataError, match=rf"00000\.parquet failed after {retries + 1} tries: recording mine/spk.*Input"):
        pack(rows, config=ShardsConfig(count=1), retries=retries)
    assert len(tries) == retries + 1
    assert list((tmp_path / "out").iterdir()) == []


def test_finished_shards_survive_a_failure(rows_of, pack, monkeypatch):
    rows = rows_of()
    reads = []

    def breaks_later(path):
        reads.append(path)
        if len(reads) > 8:
            raise OSError(5, "Input/output error")
        return read(path)

    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", breaks_later)
    with pytest.raises(DataError):
        pack(rows, workers=LocalWorkers(1))
    monkeypatch.setattr(Path, "read_bytes", read)
    _, summary, _ = pack(rows, "again")
    assert summary.reused >= 1 and summary.built >= 1


def test_what_reads_back_other_than_written_is_not_named(rows_of, pack, monkeypatch, tmp_path):
    rows = rows_of()
    original = packing.write_recordings

    def bad_disk(path, *arguments):
        sums = original(path, *arguments)
        return replace(sums, crc32=sums.crc32 ^ 1)

    monkeypatch.setattr(packing, "write_recordings", bad_disk)
    with pytest.raises(DataError, match="reads back other than it was written"):
        pack(rows, config=ShardsConfig(count=1))
    assert list((tmp_path / "out").iterdir()) == []


def test_a_link_that_leaves_the_root_is_refused(rows_of, pack, recordings, tmp_path):
    rows = rows_of()
    path = recordings / "spk0" / "0.wav"
    path.rename(tmp_path / "outside.wav")
    path.symlink_to(tmp_path / "outside.wav")
    with pytest.raises(DataError, match="leads outside"):
        pack(rows)


def test_a_nearly_full_disk_is_refused_before_writing(rows_of, pack, monkeypatch, tmp_path):
    rows = rows_of()
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 10, 1_000))
    with pytest.raises(WakewordError, match="free some space"):
        pack(rows)
    assert list((tmp_path / "out").iterdir()) == []


def test_no_place_to_write_is_an_error(rows_of, recordings, tmp_path):
    rows = rows_of()
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="failed after 2 tries"):
        build_shards(
            rows, {"mine": recordings}, RATE, FOUR, LocalWorkers(1), 1, tmp_path / "file", Parts(tmp_path / "parts")
        )


def test_nothing_to_pack_and_twice_the_same_are_errors(rows_of, pack):
    rows = rows_of()
    with pytest.raises(DataError, match="no usable recordings"):
        pack(rows.head(0))
    rows.loc[1, "recording_id"] = rows.loc[0, "recording_id"]
    with pytest.raises(DataError, match="twice"):
        pack(rows)
