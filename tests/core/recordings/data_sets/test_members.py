"""What tables and archives hold, and whatever is wrong with them."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_data_sets import DataSet, counts, sha256, sound, table, write_arrow, write_parquet, write_tar

from wakeword_core.config.recordings import ColumnsConfig
from wakeword_core.recordings.data_sets import members
from wakeword_core.recordings.data_sets.members import BrokenFileError, Wanted, split_of_path


def test_a_table_has_its_recordings_and_what_is_said_of_them(data: DataSet) -> None:
    features = {"info": {"features": {"word": {"names": ["bed", "robin"], "_type": "ClassLabel"}}}}
    rows = table(
        3,
        word=pa.array([1, 0, -1]),
        who=pa.array(["ann", None, " bo "]).dictionary_encode(),
        rights=pa.array(["CC0-1.0", "", "MIT"]),
        part=pa.array(["validation", "TRAIN", None]),
    ).replace_schema_metadata({"huggingface": json.dumps(features)})
    path = write_parquet(data.folder / "a.parquet", rows)
    columns = "{label: word, speaker: who, licence: rights, split: part}"
    listing = data.listing(path, columns=columns)
    assert listing.columns["path"] == [f"a.parquet/{index}.wav" for index in range(3)]
    assert listing.columns["recording_id"] == [sha256(sound(index)) for index in range(3)]
    assert listing.stated["words"].to_dict("list") == {
        "label": ["robin", "bed", ""],
        "speaker": ["ann", "", "bo"],
        "licence": ["CC0-1.0", "", "MIT"],
        "split": ["val", "train", ""],
    }
    assert listing.missing == {} and counts(listing) == {}


@pytest.mark.parametrize("new", [pa.ipc.new_stream, pa.ipc.new_file])
def test_a_folder_of_save_to_disk_is_read_but_for_what_lies_there_besides(data: DataSet, new) -> None:
    for split, start in (("train", 0), ("validation", 5)):
        write_arrow(data.folder / split / "data-00000-of-00001.arrow", table(2, start), new)
        state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}
        (data.folder / split / "state.json").write_text(json.dumps(state))
    write_arrow(data.folder / "train" / "cache-1.arrow", table(1, 9))
    listing = data.listing(data.folder, columns="{split: '@path'}")
    assert listing.columns["recording_id"] == [sha256(sound(seed)) for seed in (0, 1, 5, 6)]
    assert listing.stated["words"]["split"].tolist() == ["train", "train", "val", "val"]
    assert counts(listing) == {"Arrow files that state.json beside them does not name": 1}


def test_bytes_may_be_a_column_of_their_own_and_columns_parts_of_others(data: DataSet) -> None:
    rows = pa.table(
        {
            "flac": pa.array([sound(1, "FLAC"), sound(2, "FLAC")], pa.large_binary()),
            "meta": [{"who": {"id": 7}}, {"who": {"id": 8}}],
        }
    )
    path = write_parquet(data.folder / "a.parquet", rows)
    listing = data.listing(path, columns="{audio: flac, speaker: meta.who.id}")
    assert listing.columns["path"] == ["a.parquet/0000001.flac", "a.parquet/0000002.flac"]
    assert listing.stated["words"]["speaker"].tolist() == ["7", "8"]


@pytest.mark.parametrize(("name", "mode"), [("a.tar", "w"), ("a.tar.gz", "w:gz"), ("a.tgz", "w:gz")])
def test_a_tar_has_samples_of_files_that_share_a_name(data: DataSet, name: str, mode: str) -> None:
    path = write_tar(
        data.folder / name,
        ("./x/1.wav", sound(1)),
        ("./x/1.json", b'{"who": {"id": 3}, "ok": true, "list": [1]}'),
        ("./x/1.cls", b"robin\n"),
        ("x/2.cls", b"bed"),
        ("x/2.flac", sound(2, "FLAC")),
        ("x/._2.flac", b"of a Mac"),
        ("README.md", b"none"),
        mode=mode,
    )
    listing = data.listing(path, columns="{label: cls, speaker: json.who.id}")
    assert listing.columns["path"] == [f"{name}/x/1.wav", f"{name}/x/2.flac"]
    assert listing.stated["words"].to_dict("list") == {"label": ["robin", "bed"], "speaker": ["3", ""]}
    assert counts(listing) == {"not audio": 1}
    only = data.listing(path, columns="{audio: flac}")
    assert only.columns["path"] == [f"{name}/x/2.flac"]


def test_nothing_of_a_tar_leads_out_of_it(data: DataSet, tmp_path: Path) -> None:
    path = data.folder / "a.tar"
    with tarfile.open(path, "w") as archive:
        for name in ("\udcff.wav", "../out.wav", "/tmp/out.wav", "x/../../out.wav", "a\\b.wav", "good.wav"):
            entry = tarfile.TarInfo(name)
            entry.size = len(sound(1))
            archive.addfile(entry, io.BytesIO(sound(1)))
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
            entry = tarfile.TarInfo(f"{kind!r}.wav")
            entry.type, entry.linkname = kind, "/etc/passwd"
            archive.addfile(entry)
    listing = data.listing(path)
    assert listing.columns["path"] == ["a.tar/good.wav"]
    assert counts(listing) == {
        "links and devices in a tar": 4,
        "names in a tar that lead out of it or that no file can have": 5,
    }
    assert list(data.unpacked()) == ["a.tar/good.wav"] and not list(tmp_path.rglob("out.wav"))


def test_a_header_that_claims_gigabytes_is_not_read(data: DataSet) -> None:
    entry = tarfile.TarInfo("long")
    entry.type, entry.size = tarfile.GNUTYPE_LONGNAME, 4 << 30
    (data.folder / "a.tar").write_bytes(entry.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 16))
    assert "an entry that is no file claims 4,294,967,296 bytes" in data.problem(data.folder / "a.tar")


def write_repeated(path: Path, count: int, audio: bytes, word: str) -> None:
    """Rows of one recording and one word, each of which is stored once, in a dictionary."""
    kinds = {"audio": pa.array([audio]), "word": pa.array([word])}
    indices = pa.array([0] * count, pa.int32())
    rows = pa.table({name: pa.DictionaryArray.from_arrays(indices, values) for name, values in kinds.items()})
    pq.write_table(rows, path, compression="zstd", store_schema=False, dictionary_pagesize_limit=1 << 30)


def test_a_small_table_that_unpacks_to_gigabytes_is_read_a_row_at_a_time(data: DataSet) -> None:
    path = data.folder / "a.parquet"
    write_repeated(path, 200, bytes(1 << 20), "robin")
    assert path.stat().st_size < 10_000
    columns = ColumnsConfig(audio="audio", label="word")
    before = pa.total_allocated_bytes()
    for member in members.read_members(path, Wanted("a", columns, 1 << 20, set()), 1 << 30):
        assert len(member.content) == 1 << 20 and pa.total_allocated_bytes() - before < 20 << 20


@pytest.mark.parametrize("compression", ["lz4", "zstd", None])
@pytest.mark.parametrize("new", [pa.ipc.new_stream, pa.ipc.new_file])
def test_an_arrow_file_is_read_a_batch_at_a_time_and_none_that_takes_too_much_memory(
    data: DataSet, monkeypatch: pytest.MonkeyPatch, new: Any, compression: str | None
) -> None:
    megabyte, path = 1 << 20, data.folder / "a.arrow"
    rows = pa.table({"audio": [bytes(megabyte)] * 24, "word": pa.array(["robin" * 1_000] * 24).dictionary_encode()})
    wanted = Wanted("a", ColumnsConfig(audio="audio", label="word"), megabyte, set())

    def write(rows_at_once: int) -> None:
        with new(path, rows.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
            writer.write_table(rows, max_chunksize=rows_at_once)

    monkeypatch.setattr(members, "_MOST_BATCH_BYTES", 5 * megabyte)
    write(4)
    before, read = pa.total_allocated_bytes(), 0
    for member in members.read_members(path, wanted, 1 << 30):
        assert len(member.content) == megabyte and pa.total_allocated_bytes() - before < 12 * megabyte
        read += 1
    assert read == 24
    write(8)
    if compression:
        assert path.stat().st_size < megabyte
    with pytest.raises(BrokenFileError, match=r"a record batch of it takes \d+ MB of memory, and 5 MB are allowed"):
        next(members.read_members(path, wanted, 1 << 30))


def test_a_text_without_end_costs_its_recordings(data: DataSet) -> None:
    write_repeated(data.folder / "a.parquet", 3, sound(1), "robin" * 1_000)
    problem = data.problem(data.folder / "a.parquet", columns="{label: word}")
    assert "3 recordings of which a text of more than 1,000 characters is said, such as a.parquet/row 1" in problem


def test_an_empty_shard_lacks_no_column(data: DataSet) -> None:
    write_tar(data.folder / "a.tar")
    write_tar(data.folder / "b.tar", ("1.wav", sound(1)), ("1.cls", b"bed"))
    pq.write_table(table(0, word=pa.array([], pa.string())), data.folder / "c.parquet")
    listing = data.listing(data.folder, columns="{label: cls}", more=", include: ['*.tar']")
    assert listing.columns["path"] == ["b.tar/1.wav"] and counts(listing) == {"not chosen by include and exclude": 1}
    assert data.problem(data.folder / "c.parquet", columns="{label: word}").endswith("or all of it is forgotten")


@pytest.mark.parametrize(
    ("name", "content"), [("a.tgz", b"\x1f\x8b\x08\x08"), ("a.parquet", b"PAR1"), ("a.arrow", b"")]
)
def test_a_file_of_next_to_nothing_is_broken(data: DataSet, name: str, content: bytes) -> None:
    (data.folder / name).write_bytes(content)
    assert f"source 'words' has no recordings: {name} cannot be read (" in data.problem(data.folder / name)


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.parquet", "a.arrow"])
def test_a_broken_file_is_named_and_the_others_are_used_until_it_is_whole(data: DataSet, name: str) -> None:
    write_parquet(data.folder / "good.parquet", table(1, 50))
    path = data.folder / name
    if name == "a.parquet":
        write_parquet(path, table(4))
    elif name == "a.arrow":
        write_arrow(path, table(4))
    else:
        files = [(f"{index}.wav", sound(index)) for index in range(4)]
        write_tar(path, *files, mode="w:gz" if name.endswith("gz") else "w")
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 0xFF
    path.write_bytes(damaged if name == "a.parquet" else whole[: len(whole) // 2])
    listing = data.listing(data.folder)
    assert listing.columns["path"] == ["good.parquet/50.wav"]
    (reason,) = listing.left_out["words"].unexpected
    assert reason.startswith("1 files of the data set, one of which cannot be read (") and name in reason
    path.write_bytes(whole)
    assert len(data.listing(data.folder).columns["path"]) == 5


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ("{label: wrd}", "has no column 'wrd', or several (it has audio, word, many)"),
        ("{audio: sound}", "has no column 'sound'"),
        ("{speaker: word.id}", "has no column 'word.id'"),
        ("{audio: word}", "has string in its column 'word', but recordings must be bytes, or {bytes, path}"),
        ("{label: many}", "but a label must be text or a number"),
        ("{label: audio.bytes}", "has binary in its column 'audio.bytes', but a label must be text"),
    ],
)
def test_a_column_that_there_is_not_is_answered_with_those_that_there_are(
    data: DataSet, columns: str, said: str
) -> None:
    rows = table(1, word=pa.array(["bed"]), many=pa.array([[1, 2]]))
    for path in (write_parquet(data.folder / "a.parquet", rows), write_arrow(data.folder / "a.arrow", rows)):
        problem = data.problem(path, columns=columns)
        assert said in problem and problem.startswith(f"source 'words' has no recordings: {path.name} ")


def test_a_tar_without_a_named_column_says_which_it_has(data: DataSet) -> None:
    path = write_tar(data.folder / "a.tar", ("1.wav", sound(1)), ("1.json", b'{"who": 1}'), ("1.txt", b"bed"))
    assert "no column 'json.whom' (its columns are json.who, txt)" in data.problem(path, columns="{label: json.whom}")


def test_cells_that_hold_no_recording_are_counted(data: DataSet) -> None:
    audio: list[Any] = [None, {"bytes": None, "path": "/etc/passwd"}, {"bytes": b"", "path": ""}]
    audio += [{"bytes": b"just text", "path": "t.txt"}, {"bytes": sound(1), "path": "../../x.wav"}]
    audio += [{"bytes": sound(2), "path": "0000005.wav"}, {"bytes": b"no sound", "path": "said.wav"}]
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    path = write_parquet(data.folder / "a.parquet", pa.table({"audio": pa.array(audio, kind)}))
    listing = data.listing(path)
    names = ("0000005.wav", "0000006.wav", "said.wav")  # a number stands for a name that leads out, and for one taken
    assert sorted(listing.columns["path"]) == [f"a.parquet/{name}" for name in names]
    assert counts(listing) == {
        "cells without the bytes of a recording": 3,
        "recordings of a data set that are no sound": 1,
    }


def test_json_that_is_none_costs_its_own_recording_and_only_where_it_is_asked(data: DataSet) -> None:
    files = [("1.wav", sound(1)), ("1.json", b"{"), ("2.wav", sound(2)), ("2.json", b'{"who": "ann"}')]
    path = write_tar(data.folder / "a.tar", *files)
    listing = data.listing(path, columns="{speaker: json.who}")
    assert listing.columns["path"] == ["a.tar/2.wav"]
    assert counts(listing) == {"recordings whose .json cannot be read": 1}
    assert len(data.listing(path).columns["path"]) == 2


def test_a_sample_is_held_in_memory_within_bounds(data: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [(f"x.{index}.wav", sound(index)) for index in range(8)]
    path = write_tar(data.folder / "a.tar", *files, ("x.cls", b"robin"))
    monkeypatch.setattr(members, "_BYTES_AT_ONCE", 40_000)
    assert len(data.listing(path).columns["path"]) == 8
    problem = data.problem(path, "data.health.max_file_mb=0.04", columns="{label: cls}")
    assert "in files called ./x.*" in problem


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("data/train-00000-of-00002.parquet", "train"),
        ("test_corpus/validation/data-0.arrow", "val"),
        ("Dev.tar", "val"),
        ("validated.tar", ""),
        ("train.100.tar", "train"),
    ],
)
def test_a_split_is_read_off_names(path: str, split: str) -> None:
    assert split_of_path(path) == split
