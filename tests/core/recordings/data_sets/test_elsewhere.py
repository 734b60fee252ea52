"""Data sets of the hub and of stores, and what a server may name."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from made_data_sets import RATE, DataSet, sha256, sound, table, write_parquet, write_tar

from wakeword_core.config.recordings import ColumnsConfig
from wakeword_core.config.remote import HubName
from wakeword_core.errors import ConfigError, DataError, RemoteError
from wakeword_core.recordings.data_sets import files
from wakeword_core.recordings.data_sets.hub import read_split
from wakeword_core.recordings.data_sets.members import BrokenFileError, Member, Wanted


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


def test_another_data_set_of_a_store_needs_the_store(data: DataSet) -> None:
    pytest.importorskip("obstore", reason="the extra remote is not installed")
    for name in ("a.tar", "b.tar"):
        write_tar(data.folder / name, (f"{name}.wav", sound(5)))
    store = data.folder.as_uri()
    assert len(data.listing(f"{store}/a.tar").columns["path"]) == 1
    data.folder.rename(data.folder.with_name("away"))
    assert len(data.listing(f"{store}/a.tar").columns["path"]) == 1
    assert "source 'words' cannot be copied: there is no folder" in data.problem(f"{store}/b.tar")


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
    monkeypatch.setattr(files, "splits_on_hub", hub.splits)
    monkeypatch.setattr(files, "read_split", hub.read)
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


def test_a_data_set_of_which_something_else_is_wanted_needs_the_network(
    data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = Hub()
    monkeypatch.setattr(files, "splits_on_hub", hub.splits)
    monkeypatch.setattr(files, "read_split", hub.read)
    data.listing("hf://owner/name")
    hub.is_there = False
    for _ in range(2):
        assert "no network" in data.problem("hf://owner/name", more=", include: [train]")
    hub.is_there = True
    assert data.listing("hf://owner/name", more=", include: [train]").columns["path"] == ["train/x.wav"]


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
