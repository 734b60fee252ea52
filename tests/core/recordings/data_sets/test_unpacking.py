"""Data sets are listed as folders are: unpacked once, forgotten as any recording, bounded, and whole after a kill."""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_data_sets import DataSet, counts, sha256, sound, table, write_parquet, write_tar

from wakeword_core.config.loading import load_config, save_config
from wakeword_core.graph.project import Project
from wakeword_core.lineage.named_recordings import find_recordings, known_recordings
from wakeword_core.recordings.data_sets import files, unpacking
from wakeword_core.recordings.data_sets.members import Member
from wakeword_core.recordings.forgotten import Forgotten
from wakeword_core.recordings.manifest import read_manifest
from wakeword_core.recordings.scan import ScanCache


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
    read, happened = files.read_members, list[Path]()

    def reading(place: Path, *arguments: Any) -> Iterator[Member]:
        for member in read(place, *arguments):
            yield member
            if place == path and not happened:
                happened.append(place)
                during()

    monkeypatch.setattr(files, "read_members", reading)


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


class KilledError(BaseException):
    """Nothing is tidied up after it."""


def test_what_a_kill_leaves_is_no_part_of_the_data_set(data: DataSet) -> None:
    def killing(table: pa.Table, *_: Any, **options: Any) -> None:
        raise KilledError

    path = write_parquet(data.folder / "a.parquet", table(3))
    for killed in ("pyarrow.parquet.write_table", "wakeword_core.recordings.data_sets.unpacking.write_json"):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(KilledError):
            patch.setattr(killed, killing)
            data.listing(path)
        listing = data.listing(path)
        assert listing.columns["recording_id"] == [sha256(sound(seed)) for seed in range(3)]
        assert set(data.unpacked()) == set(listing.columns["path"])
        write_parquet(path, table(3))


@pytest.mark.parametrize(
    ("more", "removing"),
    [("", "shutil.rmtree"), (", include: [a.parquet]", "os.walk")],
    ids=["its file is gone", "other files are chosen"],
)
def test_what_a_kill_leaves_unnamed_is_removed(data: DataSet, more: str, removing: str) -> None:
    def kill(*_: Any, **__: Any) -> None:
        raise KilledError

    write_parquet(data.folder / "a.parquet", table(2))
    other = write_parquet(data.folder / "b.parquet", table(2, 10))
    data.listing(data.folder)
    if not more:
        other.unlink()
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(removing, kill)
        data.listing(data.folder, more=more)
    project = data.project(data.folder, more=more)
    unpacking.remove_forgotten(project.config.data.sources, project.forgotten())
    assert "b.parquet/10.wav" not in data.unpacked()
    assert project.listing().columns["path"] == ["a.parquet/0.wav", "a.parquet/1.wav"]


def test_something_can_be_forgotten_after_a_kill_while_a_file_was_unpacked_again(data: DataSet) -> None:
    def kill() -> None:
        raise KilledError

    path = write_parquet(data.folder / "a.parquet", table(2))
    write_parquet(data.folder / "b.parquet", table(2, 10))
    data.listing(data.folder)
    write_parquet(path, table(3))
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KilledError):
        changing(patch, path, kill)
        data.listing(data.folder)
    project = data.project(data.folder)
    Forgotten.add_to(project.home, [sha256(sound(seed)) for seed in (0, 10)], (), "asked")
    unpacking.remove_forgotten(project.config.data.sources, project.forgotten())
    assert not {"a.parquet/0.wav", "b.parquet/10.wav"} & data.unpacked().keys()
    assert not [path for path in (data.home.parent / "cache").rglob("*") if path.is_file() and _names(path, "10.wav")]
    assert project.listing().columns["recording_id"] == [sha256(sound(seed)) for seed in (1, 2, 11)]


def _names(path: Path, recording: str) -> bool:
    return path.suffix in (".rows", ".parquet") and any(
        name.endswith(f"/{recording}") for name in pq.read_table(path, columns=["path"])["path"].to_pylist()
    )


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
