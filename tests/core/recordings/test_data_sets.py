"""Data sets as sources: what they hold is listed as of any folder, and whatever is wrong with one is told."""

import errno
import hashlib
import io
import json
import logging
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from wakeword_core.config.loading import load_config, save_config
from wakeword_core.config.recordings import ColumnsConfig
from wakeword_core.config.remote import HubName
from wakeword_core.errors import ConfigError, DataError, RemoteError
from wakeword_core.graph.project import Project
from wakeword_core.lineage.forgetting import find_recordings, known_recordings
from wakeword_core.recordings import data_sets, members, unpacking
from wakeword_core.recordings.forgotten import Forgotten
from wakeword_core.recordings.hub import read_split
from wakeword_core.recordings.manifest import read_manifest
from wakeword_core.recordings.members import BrokenFileError, Member, Wanted, split_of_path
from wakeword_core.recordings.scan import Listing, ScanCache

RATE = 16_000


def sound(seed: int, kind: str = "WAV") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.random.default_rng(seed).normal(0, 0.1, RATE // 2), RATE, format=kind)
    return file.getvalue()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def table(count: int, start: int = 0, **columns: Any) -> pa.Table:
    """Recordings as `datasets` writes them."""
    audio = [{"bytes": sound(start + index), "path": f"{start + index}.wav"} for index in range(count)]
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    return pa.table({"audio": pa.array(audio, kind), **columns})


def write_parquet(path: Path, rows: pa.Table) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows, path, write_page_checksum=True, compression="none", use_dictionary=False)
    return path


def write_arrow(path: Path, rows: pa.Table, new: Callable[..., Any] = pa.ipc.new_stream) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with new(path, rows.schema) as writer:
        writer.write_table(rows)
    return path


def write_tar(path: Path, *files: tuple[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


class DataSet:
    """A data set in a folder, and the project that names it."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder, self.home = folder, home

    def project(self, path: Path | str, *settings: str, more: str = "", columns: str = "{}") -> Project:
        source = f"{{name: words, path: '{path}', role: negative, columns: {columns}{more}}}"
        return Project(load_config(None, [f"data.sources=[{source}]", *settings]), self.home)

    def listing(self, path: Path | str, *settings: str, **options: str) -> Listing:
        return self.project(path, *settings, **options).listing()

    def problem(self, path: Path | str, *settings: str, **options: str) -> str:
        listing = self.listing(path, *settings, **options)
        assert listing.columns["path"] == []
        return listing.missing["words"]

    def unpacked(self) -> dict[str, Path]:
        (root,) = (self.home.parent / "cache" / "unpacked").glob("*/recordings")
        return {str(path.relative_to(root)): path for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataSet:
    monkeypatch.setenv("WAKEWORD_CACHE", str(tmp_path / "cache"))
    (tmp_path / "set").mkdir()
    return DataSet(tmp_path / "set", tmp_path / "home")


def counts(listing: Listing) -> dict[str, int]:
    return dict(listing.left_out["words"].counts)


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


def test_rows_with_equal_bytes_are_used_once(data: DataSet) -> None:
    path = write_parquet(data.folder / "a.parquet", pa.concat_tables([table(2), table(1)]))
    project = data.project(path)
    manifest = read_manifest(project.build("raw_manifest")[0].path, usable=False)
    assert manifest["path"].tolist() == ["a.parquet/0.wav", "a.parquet/1.wav", "a.parquet/0000003.wav"]
    assert manifest["reason"].tolist() == ["", "", "duplicate of words/a.parquet/0.wav"]


def test_a_manifest_and_shards_are_those_of_the_same_files_in_a_folder(data: DataSet, tmp_path: Path) -> None:
    write_parquet(data.folder / "a.parquet", table(4))
    for seed in range(4):
        (tmp_path / "files").mkdir(exist_ok=True)
        (tmp_path / "files" / f"{seed}.wav").write_bytes(sound(seed))
    split = ", split: train"
    of_set = data.project(data.folder, more=split)
    source = f"{{name: words, path: '{tmp_path / 'files'}', role: negative{split}}}"
    of_folder = Project(load_config(None, [f"data.sources=[{source}]"]), tmp_path / "other")
    built = [project.build("raw_manifest")[0].facets["train"] for project in (of_set, of_folder)]
    shards = [project.build("audio_shards", "train")[0].content for project in (of_set, of_folder)]
    assert built[0] == built[1] and shards[0] == shards[1]


def test_only_a_file_that_changed_is_unpacked_again_and_one_that_is_gone_is_removed(data: DataSet) -> None:
    for name, start in (("a", 0), ("b", 10), ("x/c", 20)):
        write_parquet(data.folder / f"{name}.parquet", table(2, start))
    write_tar(data.folder / "d.tar", ("0.wav", b""), ("../1.wav", sound(1)))
    (data.folder / "broken.tar").write_bytes(b"no tar")
    first = data.listing(data.folder)
    before = {name: path.stat().st_ino for name, path in data.unpacked().items()}
    (index,) = data.home.parent.rglob("index.json")
    written = index.stat().st_mtime_ns
    assert data.listing(data.folder).fingerprint == first.fingerprint and index.stat().st_mtime_ns == written
    write_parquet(data.folder / "a.parquet", table(3, 0))
    (data.folder / "b.parquet").unlink()
    listing = data.listing(data.folder)
    assert listing.columns["recording_id"] == [sha256(sound(seed)) for seed in (0, 1, 2, 20, 21)]
    after = {name: path.stat().st_ino for name, path in data.unpacked().items()}
    assert set(after) == {*listing.columns["path"]}
    kept = "x/c.parquet/20.wav"
    assert after[kept] == before[kept]


def test_what_is_lost_of_the_copy_is_unpacked_again(data: DataSet) -> None:
    write_parquet(data.folder / "a.parquet", table(2))
    first = data.listing(data.folder)
    for path in data.unpacked().values():
        path.unlink()
        path.parent.rmdir() if not any(path.parent.iterdir()) else None
    assert data.listing(data.folder).fingerprint == first.fingerprint


def test_other_columns_say_other_things(data: DataSet) -> None:
    path = write_parquet(data.folder / "a.parquet", table(1, one=pa.array(["x"]), two=pa.array(["y"])))
    said = [data.listing(path, columns=f"{{label: {name}}}").stated["words"]["label"][0] for name in ("one", "two")]
    assert said == ["x", "y"]


def changing(monkeypatch: pytest.MonkeyPatch, path: Path, during: Callable[[], object]) -> None:
    """Let something happen while a file is read for the first time."""
    read, happened = data_sets.read_members, list[Path]()

    def reading(place: Path, *arguments: Any) -> Iterator[Member]:
        for member in read(place, *arguments):
            yield member
            if place == path and not happened:
                happened.append(place)
                during()

    monkeypatch.setattr(data_sets, "read_members", reading)


def test_a_file_that_changes_while_it_is_read_is_read_again_when_it_is_at_rest(data: DataSet, monkeypatch) -> None:
    path = write_parquet(data.folder / "a.parquet", table(2))
    write_parquet(data.folder / "b.parquet", table(1, 50))
    changing(monkeypatch, path, lambda: os.utime(path))
    listing = data.listing(data.folder)
    assert listing.columns["path"] == ["b.parquet/50.wav"]
    assert "is being changed; run again when it is at rest" in str(listing.left_out["words"])
    assert len(data.listing(data.folder).columns["path"]) == 3


def test_a_file_that_goes_while_it_is_read_is_told(data: DataSet, monkeypatch) -> None:
    path = write_parquet(data.folder / "a.parquet", table(2))
    changing(monkeypatch, path, path.unlink)
    assert "is being changed" in data.problem(data.folder)


def test_what_was_unpacked_before_the_disk_was_full_is_not_unpacked_again(data: DataSet) -> None:
    for name, start in (("a", 0), ("b", 10)):
        write_parquet(data.folder / f"{name}.parquet", table(2, start))

    write = Path.write_bytes

    def writing(path: Path, content: bytes) -> int:
        if path.name == "11.wav":
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, content)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "write_bytes", writing)
        said = "source 'words' is not unpacked whole: No space left on device; run again to go on"
        assert data.problem(data.folder) == said
    before = {name: path.stat().st_ino for name, path in data.unpacked().items()}
    assert set(before) == {"a.parquet/0.wav", "a.parquet/1.wav"}
    assert len(data.listing(data.folder).columns["path"]) == 4
    assert before.items() <= {name: path.stat().st_ino for name, path in data.unpacked().items()}.items()


def test_what_a_kill_leaves_is_no_part_of_the_data_set(data: DataSet) -> None:
    class KilledError(BaseException):
        """Nothing is tidied up after it."""

    def killing(table: pa.Table, *_: Any, **options: Any) -> None:
        raise KilledError

    path = write_parquet(data.folder / "a.parquet", table(3))
    for killed in ("pyarrow.parquet.write_table", "wakeword_core.recordings.unpacking.write_json"):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(KilledError):
            patch.setattr(killed, killing)
            data.listing(path)
        listing = data.listing(path)
        assert listing.columns["recording_id"] == [sha256(sound(seed)) for seed in range(3)]
        assert set(data.unpacked()) == set(listing.columns["path"])
        write_parquet(path, table(3))


def test_links_must_not_lead_out_of_the_folder(data: DataSet, tmp_path: Path) -> None:
    write_parquet(data.folder / "a.parquet", table(1))
    outside = write_parquet(tmp_path / "blobs" / "b", table(1, 5))
    (data.folder / "b.parquet").symlink_to(outside)
    listing = data.listing(data.folder)
    assert listing.columns["path"] == ["a.parquet/0.wav"]
    assert "a link that leads outside" in str(listing.left_out["words"])
    linked = data.listing(data.folder, more=f", link_roots: ['{tmp_path / 'blobs'}']")
    assert linked.columns["path"] == ["a.parquet/0.wav", "b.parquet/5.wav"]


def test_include_and_exclude_choose_files_of_the_data_set(data: DataSet) -> None:
    for index in range(3):
        write_parquet(data.folder / f"part-{index}.parquet", table(1, index))
    listing = data.listing(data.folder, more=", include: ['part-[01]*'], exclude: ['*-1*']")
    assert listing.columns["path"] == ["part-0.parquet/0.wav"] and counts(listing) == {
        "not chosen by include and exclude": 2
    }


def test_there_is_a_bound_to_a_recording_and_to_all_of_them(data: DataSet) -> None:
    for path in (
        write_parquet(data.folder / "a.parquet", table(2)),
        write_tar(data.folder / "a.tar", ("1.wav", sound(1)), ("2.wav", sound(2))),
    ):
        listing = data.listing(path, "data.health.max_file_mb=0.01")
        assert "2 recordings above data.health.max_file_mb" in listing.missing["words"]
        problem = data.problem(path, "compute.copies_gb=0.00002")
        assert f"{path.name} of a data set holds more than the 2e-05 GB that compute.copies_gb leaves" in problem
        assert len(data.listing(path).columns["path"]) == 2


def test_what_is_forgotten_goes_from_the_copy_and_does_not_come_back(data: DataSet) -> None:
    path = write_parquet(data.folder / "a.parquet", table(3))
    project = data.project(path)
    project.listing()
    Forgotten.add_to(project.home, [sha256(sound(1))], (), "asked")
    unpacking.remove_forgotten(project.config.data.sources, project.forgotten())
    assert set(data.unpacked()) == {"a.parquet/0.wav", "a.parquet/2.wav"}
    assert b"a.parquet/1.wav" not in b"".join(
        file.read_bytes() for file in (data.home.parent / "cache").rglob("*.rows")
    )
    for _ in range(2):
        listing = project.listing()
        assert listing.columns["path"] == ["a.parquet/0.wav", "a.parquet/2.wav"] and listing.forgotten == 1
        os.utime(path)


def test_a_recording_is_found_by_its_path_in_the_data_set(data: DataSet, cache: ScanCache) -> None:
    path = write_parquet(data.folder / "a.parquet", table(3))
    for named in (path, data.folder):
        project = data.project(named)
        project.build("raw_manifest")
        known = known_recordings(project.store)
        roots = {source.name: source.folder for source in project.config.data.sources}
        assert find_recordings(f"{path}/1.wav", known, roots, cache).recording_ids == [sha256(sound(1))]
        assert len(find_recordings(str(data.folder), known, roots, cache).recording_ids) == 3


def test_several_data_sets_and_a_folder_become_one_manifest_and_a_broken_one_is_named(
    data: DataSet, recordings: Path
) -> None:
    write_parquet(data.folder / "a.parquet", table(3, who=pa.array(["ann", "ann", None])))
    write_tar(data.folder / "b.tar", ("1.wav", sound(11)), ("2.wav", sound(12)), ("2.txt", b"x"))
    (data.folder / "c.tar").write_bytes(b"no tar")
    folder = data.folder
    sources = ", ".join(
        [
            f"{{name: a, path: '{folder}/a.parquet', role: negative, licence: MIT, columns: {{speaker: who}}}}",
            f"{{name: b, path: '{folder}/b.tar', role: noise}}",
            f"{{name: c, path: '{folder}/c.tar', role: noise}}",
            f"{{name: d, path: '{recordings}', role: negative, speaker: parent}}",
        ]
    )
    project = Project(load_config(None, [f"data.sources=[{sources}]"]), data.home)
    figures = project.build("raw_manifest")[0].figures
    assert figures["sources"] == {"a": 3, "b": 2, "d": 10}
    assert [entry["source"] for entry in figures["missing_sources"]] == ["c"]
    of_a = next(entry for entry in figures["found"] if entry["source"] == "a")
    assert (of_a["used"], of_a["speakers"], of_a["unknown_speakers"]) == (3, 1, 1)
    assert (of_a["licences"], of_a["rates"], of_a["labels"]) == ("MIT 3", "16000 3", "_negative 3")


def test_a_configuration_with_a_data_set_is_saved_and_loaded(data: DataSet, tmp_path: Path) -> None:
    for path in (data.folder / "a.tar", "hf://owner/name@main/small"):
        config = data.project(path, columns="{label: cls}").config
        save_config(config, tmp_path / "saved.yaml")
        assert load_config(tmp_path / "saved.yaml") == config


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("hf://google/speech_commands", ("google/speech_commands", None, None)),
        ("hf://datasets/google/speech_commands@v0.02/v1", ("google/speech_commands", "v0.02", "v1")),
        ("hf://owner/name@refs/convert/parquet", ("owner/name", "refs/convert/parquet", None)),
    ],
)
def test_a_url_of_the_hub_names_a_data_set(url: str, named: tuple[str, str | None, str | None]) -> None:
    assert HubName.of(url) == named


@pytest.mark.parametrize(
    "url", ["hf://", "hf://name", "hf://a/b/c/d", "hf://a/b?x=1", "hf://u:pw@host/a/b", "hf://../b"]
)
def test_what_is_no_data_set_of_the_hub_is_refused_without_being_repeated(data: DataSet, url: str) -> None:
    with pytest.raises(ConfigError, match="hf://owner/name@revision/subset") as error:
        data.project(url)
    assert "pw" not in str(error.value)


def test_a_store_of_data_sets_is_copied_and_unpacked(data: DataSet) -> None:
    pytest.importorskip("obstore", reason="the extra remote is not installed")
    write_parquet(data.folder / "a.parquet", table(2))
    write_tar(data.folder / "b.tar", ("1.wav", sound(5)))
    (data.folder / "notes.txt").write_text("none")
    assert len(data.listing(data.folder.as_uri()).columns["path"]) == 3
    only = data.listing(f"{data.folder.as_uri()}/b.tar")
    assert only.columns["path"] == ["b.tar/1.wav"]


class Hub:
    """Stands for the network."""

    revision = "1"
    is_there = True

    def splits(self, named: HubName) -> tuple[str, list[str]]:
        if not self.is_there:
            raise RemoteError("the hub does not give the data set owner/name (no network)")
        return self.revision, ["train", "test"]

    def read(self, named: HubName, wanted: Wanted) -> Iterator[Member]:
        assert named.revision == self.revision
        yield Member("x.wav", sound(int(self.revision) * 10 + len(wanted.name)), ())


def test_a_data_set_of_the_hub_is_read_when_it_has_another_revision_and_used_without_a_network(
    data: DataSet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hub = Hub()
    monkeypatch.setattr(data_sets, "splits_on_hub", hub.splits)
    monkeypatch.setattr(data_sets, "read_split", hub.read)
    hub.is_there = False
    assert "no network" in data.problem("hf://owner/name")
    hub.is_there = True
    first = data.listing("hf://owner/name")
    assert first.columns["path"] == ["test/x.wav", "train/x.wav"]
    hub.is_there = False
    with caplog.at_level(logging.WARNING):
        assert data.listing("hf://owner/name").fingerprint == first.fingerprint
    assert "is used as it was unpacked last" in caplog.text
    hub.is_there, hub.revision = True, "2"
    assert data.listing("hf://owner/name").fingerprint != first.fingerprint


def test_a_server_bounds_which_data_sets_may_be_named(data: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    root = data.folder.parent
    monkeypatch.setenv("WAKEWORD_DATA_ROOTS", str(root))
    write_parquet(data.folder / "a.parquet", table(1))
    assert len(data.listing(data.folder).columns["path"]) == 1
    with pytest.raises(ConfigError, match="only WAKEWORD_REMOTE may name a store elsewhere"):
        data.listing("hf://owner/name")
    monkeypatch.setenv("WAKEWORD_CACHE", "/elsewhere")
    with pytest.raises(ConfigError, match="lies outside of"):
        data.listing(data.folder)


def test_a_missing_data_set_is_named(data: DataSet) -> None:
    assert "does not exist; correct its path" in data.problem(data.folder / "none.tar")
    (data.folder / "a.csv").write_text("path\n")
    assert "is no data set (.parquet" in data.problem(data.folder / "a.csv")
    assert "a folder of recordings is a source without columns" in data.problem(data.folder)
    with pytest.raises(DataError, match=r"none\.tar"):
        data.listing(data.folder / "none.tar", "data.missing_source=fail")


def test_what_datasets_itself_saves_is_read(data: DataSet) -> None:
    datasets = pytest.importorskip("datasets", reason="the extra datasets is not installed")
    features = {"audio": {"_type": "Audio"}, "word": {"names": ["bed", "robin"], "_type": "ClassLabel"}}
    rows = table(4, word=pa.array([0, 1, 1, 0]))
    rows = rows.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    saved = datasets.Dataset(datasets.table.InMemoryTable(rows))
    datasets.DatasetDict({"train": saved, "test": saved.select([3])}).save_to_disk(data.folder / "arrow")
    saved.to_parquet(data.folder / "parquet" / "validation.parquet")
    listing = data.listing(data.folder, columns="{label: word, split: '@path'}")
    assert listing.columns["recording_id"] == [sha256(sound(seed)) for seed in (3, 0, 1, 2, 3, 0, 1, 2, 3)]
    assert listing.stated["words"]["split"].tolist() == ["test", *["train"] * 4, *["val"] * 4]
    assert listing.stated["words"]["label"].tolist()[:3] == ["bed", "bed", "robin"]


def test_rows_of_the_hub_are_read_undecoded(tmp_path: Path) -> None:
    """From a local copy: there, the hub's name is a path."""
    pytest.importorskip("datasets", reason="the extra datasets is not installed")
    features = {
        "audio": {"sampling_rate": RATE, "_type": "Audio"},
        "word": {"names": ["bed", "robin"], "_type": "ClassLabel"},
    }
    rows = table(20, word=pa.array([0, 1] * 10))
    rows = rows.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    write_parquet(tmp_path / "data" / "train-00000-of-00001.parquet", rows)
    here, there = HubName(str(tmp_path), None, None), set[str]()
    wanted = Wanted("train", ColumnsConfig(label="word", split="@path"), 1 << 20, there)
    found = list(read_split(here, wanted))
    assert [member.content for member in found] == [sound(seed) for seed in range(20)]
    assert [tuple(member.stated) for member in found[:2]] == [("bed", "train"), ("robin", "train")]
    assert there == {"audio", "word"}
    with pytest.raises(BrokenFileError, match=r"no column 'wrd', or several \(it has audio, word\)"):
        list(read_split(here, Wanted("train", ColumnsConfig(label="wrd"), 1 << 20, set())))
    with pytest.raises(BrokenFileError, match="cannot be read"):
        list(read_split(here, Wanted("test", ColumnsConfig(), 1 << 20, set())))
