import os

import pandas as pd
import pytest
from sound_files import make, source

from wakeword_core.errors import DataError
from wakeword_core.files import digest, hash_file
from wakeword_core.recordings import scan as module
from wakeword_core.recordings.row import hash_rows, hash_table
from wakeword_core.recordings.scan import ScanCache, scan
from wakeword_core.recordings.sources import find_recordings


def list_recordings(of):
    """Relative paths of a source's recordings."""
    return [file.path for file in find_recordings(of)[0]]


def test_lists_sound_only_sorted_and_without_hidden_files(tmp_path):
    make(tmp_path, "b/2.FLAC", "b/1.ogg", "a.wav", ".hidden.wav", ".git/x.wav", "notes.txt", "c.oga")
    assert list_recordings(source(tmp_path)) == ["a.wav", "b/1.ogg", "b/2.FLAC", "c.oga"]


def test_formats_that_are_not_read_are_mentioned(tmp_path, cache, monkeypatch):
    make(tmp_path, "a.wav", "b.m4a", "c.aac")
    assert list_recordings(source(tmp_path)) == ["a.wav", "b.m4a", "c.aac"]
    monkeypatch.setattr("wakeword_core.recordings.sources.av_version", lambda: "")
    (said,) = scan([source(tmp_path)], cache).left_out["mine"].unexpected
    assert said == "2 files that PyAV reads (pip install av), such as b.m4a"
    (tmp_path / "a.wav").unlink()
    assert said in scan([source(tmp_path)], cache).missing["mine"]


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        (["**/*"], ["**/x*"], ["a.wav", "d/e/y1.wav", "d/y.wav"]),
        (["*"], [], ["a.wav"]),
        (["d/*"], [], ["d/x.wav", "d/y.wav"]),
        (["d/**"], [], ["d/e/y1.wav", "d/x.wav", "d/y.wav"]),
        (["**/y*.wav"], ["d/e/*"], ["d/y.wav"]),
        (["**/[xy].wav"], [], ["d/x.wav", "d/y.wav"]),
        (["**/[!y].wav"], [], ["a.wav", "d/x.wav"]),
        (["**/y?.wav", "a.wav"], [], ["a.wav", "d/e/y1.wav"]),
        (["./a.wav"], [], ["a.wav"]),
        (["**/[^y].wav"], ["d/*.w.v"], ["d/y.wav"]),
    ],
)
def test_include_and_exclude(tmp_path, include, exclude, expected):
    make(tmp_path, "a.wav", "d/x.wav", "d/y.wav", "d/e/y1.wav")
    assert list_recordings(source(tmp_path, include=include, exclude=exclude)) == expected


def test_a_missing_folder_is_named_with_its_source(tmp_path):
    with pytest.raises(DataError, match=r"none of source 'mine' does not exist.*data\.sources"):
        list_recordings(source(tmp_path / "none"))


def test_a_file_in_the_folders_place_is_an_error(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="is a file, and no table"):
        list_recordings(source(tmp_path / "file"))


def test_no_recordings_names_the_patterns(tmp_path):
    make(tmp_path, "a.wav")
    with pytest.raises(DataError, match=r"matches include \*\.flac, x/\*\* and not exclude y"):
        list_recordings(source(tmp_path, include=["*.flac", "x/**"], exclude=["y"]))


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path, monkeypatch):
    def refuse(folder):
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"cannot list .* of source 'mine': Permission denied"):
        list_recordings(source(tmp_path))


def test_a_linked_folder_outside_is_left_out_and_said_unless_excluded(tmp_path):
    make(tmp_path / "root", "a.wav")
    make(tmp_path / "other", "b.wav")
    (tmp_path / "root" / "link").symlink_to(tmp_path / "other")
    files, left_out = find_recordings(source(tmp_path / "root"))
    assert [file.path for file in files] == ["a.wav"]
    assert left_out.unexpected == ["1 linked folders that lead outside (link_roots), such as link"]
    assert find_recordings(source(tmp_path / "root", exclude=["link/**"]))[1].unexpected == []
    assert list_recordings(source(tmp_path / "root", link_roots=[tmp_path / "other"])) == ["a.wav", "link/b.wav"]


def test_a_linked_file_outside_is_listed_but_not_read(tmp_path, cache):
    make(tmp_path / "root", "a.wav", "d/b.wav")
    make(tmp_path, "secret.wav")
    (tmp_path / "root" / "link.wav").symlink_to(tmp_path / "secret.wav")
    (tmp_path / "root" / "inside.wav").symlink_to("d/b.wav")
    rows = scan([source(tmp_path / "root")], cache).rows.set_index("path")
    assert "leads outside" in rows.loc["link.wav", "error"]
    assert rows.loc["link.wav", "recording_id"] != hash_file(tmp_path / "secret.wav")
    assert rows.loc["inside.wav", "recording_id"] == rows.loc["d/b.wav", "recording_id"]


def test_a_hidden_folder_is_reached_by_a_link_and_no_folder_twice(tmp_path):
    make(tmp_path, "r/.store/v1/a.wav", "r/seen/b.wav")
    (tmp_path / "r" / "now").symlink_to(".store/v1")
    (tmp_path / "r" / "again").symlink_to("seen")
    (tmp_path / "r" / "seen" / "up").symlink_to("..")
    (tmp_path / "r" / "then").symlink_to("now")
    assert list_recordings(source(tmp_path / "r")) == ["now/a.wav", "seen/b.wav"]


def test_a_link_out_of_a_linked_folder_is_left_out(tmp_path):
    make(tmp_path, "r/.store/a.wav", "other/b.wav")
    (tmp_path / "r" / "now").symlink_to(".store")
    (tmp_path / "r" / ".store" / "out").symlink_to(tmp_path / "other")
    files, left_out = find_recordings(source(tmp_path / "r"))
    assert [file.path for file in files] == ["now/a.wav"] and "such as now/out" in left_out.unexpected[0]


def test_links_to_files_are_followed_where_their_source_allows(tmp_path, cache):
    make(tmp_path, "blobs/1", "blobs/2", "other/3", "r/.store/4")
    for name, target in (
        ("a.wav", "../blobs/1"),
        ("b.flac", "../blobs/2"),
        ("c.wav", "../other/3"),
        ("d.wav", ".store/4"),
    ):
        (tmp_path / "r" / name).symlink_to(target)
    (tmp_path / "r" / "loop").symlink_to("loop")
    (tmp_path / "r" / "loop.wav").symlink_to("loop.wav")
    listed = scan([source(tmp_path / "r", link_roots=[tmp_path / "blobs"])], cache).rows.set_index("path")
    assert listed.index[listed["error"] == ""].tolist() == ["a.wav", "b.flac", "d.wav"]
    assert listed.loc["a.wav", "recording_id"] == hash_file(tmp_path / "blobs" / "1")
    assert "link_roots" in listed.loc["c.wav", "error"] and "cannot be read" in listed.loc["loop.wav", "error"]


def test_what_a_store_keeps_by_hash_is_used_by_the_name_that_links_to_it(tmp_path):
    for number, name in enumerate(["cat/a.wav", "dog/b.m4a"]):
        make(tmp_path, f"blobs/{number}", name)
        (tmp_path / "blobs" / str(number)).write_bytes(b"fLaC" + bytes(number))
        (tmp_path / name).unlink()
        (tmp_path / name).symlink_to(f"../blobs/{number}")
    make(tmp_path, "blobs/2")
    (tmp_path / "blobs" / "2").write_bytes(b"fLaC without a name")
    files, left_out = find_recordings(source(tmp_path))
    assert [file.path for file in files] == ["blobs/2", "cat/a.wav", "dog/b.m4a"]
    assert left_out.counts == {"other names of recordings": 2} and left_out.unexpected == []


def test_a_folder_that_cannot_be_listed_leaves_out_only_itself(tmp_path, monkeypatch):
    make(tmp_path, "rec/a.wav", "lost+found/b.wav")
    real = os.scandir

    def refuse(folder):
        if str(folder).endswith("lost+found"):
            raise PermissionError(13, "Permission denied", str(folder))
        return real(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    files, left_out = find_recordings(source(tmp_path))
    assert [file.path for file in files] == ["rec/a.wav"]
    assert left_out.unexpected == ["1 folders that cannot be listed, such as lost+found"]
    for exclude in ("lost+found/**", "lost+found", "lost*/*"):
        assert find_recordings(source(tmp_path, exclude=[exclude]))[1].unexpected == []
    assert find_recordings(source(tmp_path, include=["rec/**"]))[1].unexpected == []
    assert len(find_recordings(source(tmp_path, include=["**/*.wav"]))[1].unexpected) == 1


def test_a_root_that_is_a_link_and_a_neighbour_that_begins_alike(tmp_path, cache):
    make(tmp_path, "real/a.wav", "real2/b.wav")
    (tmp_path / "root").symlink_to("real")
    (tmp_path / "real" / "sly.wav").symlink_to(tmp_path / "real2" / "b.wav")
    rows = scan([source(tmp_path / "root")], cache).rows.set_index("path")
    assert rows.loc["a.wav", "error"] == "" and "leads outside" in rows.loc["sly.wav", "error"]


def test_pipes_and_circles_of_links_do_not_hang(tmp_path, cache):
    make(tmp_path, "r/a.wav")
    os.mkfifo(tmp_path / "r" / "pipe.wav")
    (tmp_path / "r" / "x.wav").symlink_to("y.wav")
    (tmp_path / "r" / "y.wav").symlink_to("x.wav")
    rows = scan([source(tmp_path / "r")], cache).rows.set_index("path")
    assert rows.loc["pipe.wav", "error"] == "cannot be read (no ordinary file)"
    assert all("symbolic links" in rows.loc[name, "error"] for name in ("x.wav", "y.wav"))


def test_a_dangling_link_is_listed_with_its_error(tmp_path, cache):
    make(tmp_path, "r/a.wav")
    (tmp_path / "r" / "gone.wav").symlink_to("nothing.wav")
    rows = scan([source(tmp_path / "r")], cache).rows.set_index("path")
    assert "No such file" in rows.loc["gone.wav", "error"] and rows.loc["a.wav", "error"] == ""


def test_a_name_that_is_not_text_leaves_out_only_itself(tmp_path, cache):
    tmp_path = tmp_path / "r"
    make(tmp_path, "a.wav")
    try:
        for name in (b"bad\xff.wav", b"gr\xfc\xdf", b"notes\xff.txt"):
            (tmp_path / os.fsdecode(name)).write_bytes(b"RIFF\0\0\0\0WAVE" if name != b"notes\xff.txt" else b"x")
    except OSError:
        pytest.skip("this file system takes text names only")
    listing = scan([source(tmp_path)], cache)
    errors = dict(zip(listing.rows["path"], listing.rows["error"], strict=True))
    unread = "cannot be read (its name is not UTF-8; rename it)"
    assert errors == {"a.wav": "", "bad\\xff.wav": unread, "gr\\xfc\\xdf": unread}
    assert str(listing.left_out["mine"]) == "1 not audio, such as notes\\xff.txt"
    assert list_recordings(source(tmp_path, exclude=["bad*", "gr*"])) == ["a.wav"]


def test_what_is_no_sound_is_counted_and_looked_into_once(tmp_path, cache, monkeypatch):
    tmp_path = tmp_path / "r"
    make(tmp_path, "a.wav", "a.lab", "LICENSE", ".DS_Store", ".cache/x.wav", "._a.wav", "photo.heic")
    (tmp_path / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic")
    (tmp_path / "take").write_bytes(b"fLaC" + bytes(40))
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "pipe")
    looked = []
    real = open
    monkeypatch.setattr("builtins.open", lambda path, *args: looked.append(os.path.basename(path)) or real(path, *args))
    for expected in (["LICENSE", "a.lab", "empty", "photo.heic", "take"], []):
        listing = scan([source(tmp_path)], cache)
        assert listing.rows["path"].tolist() == ["a.wav", "take"]
        assert listing.left_out["mine"].counts == {"not audio": 5, "hidden": 1}
        assert listing.left_out["mine"].unexpected == [] and looked == expected
        looked.clear()


def test_bytes_that_change_and_keep_size_and_time_are_read_again(tmp_path, cache):
    make(tmp_path, "a.wav", "b.wav")
    before = scan([source(tmp_path)], cache)
    state = (tmp_path / "a.wav").stat()
    (tmp_path / "a.wav").write_bytes(b"noise 0")
    os.utime(tmp_path / "a.wav", ns=(state.st_atime_ns, state.st_mtime_ns))
    after = scan([source(tmp_path)], cache)
    assert after.rows["recording_id"][0] == hash_file(tmp_path / "a.wav") != before.rows["recording_id"][0]
    assert after.rows["recording_id"][1] == before.rows["recording_id"][1]


def test_ids_are_hashes_of_bytes(tmp_path, cache):
    make(tmp_path / "r", "a.wav", "b.wav")
    listing = scan([source(tmp_path / "r")], cache)
    assert listing.rows["recording_id"].tolist() == [hash_file(tmp_path / "r" / name) for name in ("a.wav", "b.wav")]
    assert listing.rows["size"].tolist() == [7, 7]


def test_an_unchanged_tree_is_not_read_again(tmp_path, monkeypatch):
    make(tmp_path / "r", "a.wav", "b.wav", "c.wav")
    calls = []
    first = scan([source(tmp_path / "r")], ScanCache(tmp_path / "cache"), lambda *call: calls.append(call))
    assert calls[-1] == ("hash mine", 3, 3)

    read = []
    monkeypatch.setattr(module, "hash_file", lambda path: read.append(path.name) or hash_file(path))
    again = scan([source(tmp_path / "r")], ScanCache(tmp_path / "cache"))
    assert read == [] and again.fingerprint == first.fingerprint
    (tmp_path / "r" / "b.wav").write_bytes(b"changed")
    changed = scan([source(tmp_path / "r")], ScanCache(tmp_path / "cache"))
    assert read == ["b.wav"] and changed.fingerprint != first.fingerprint


@pytest.mark.parametrize("change", ["rename", "remove", "add", "source"])
def test_the_fingerprint_sees_every_change(tmp_path, cache, change):
    make(tmp_path / "r", "a.wav", "b.wav")
    before = scan([source(tmp_path / "r")], cache).fingerprint
    name = "mine"
    if change == "rename":
        (tmp_path / "r" / "b.wav").rename(tmp_path / "r" / "c.wav")
    elif change == "remove":
        (tmp_path / "r" / "b.wav").unlink()
    elif change == "add":
        (tmp_path / "r" / "c.wav").write_bytes(b"more")
    else:
        name = "other"
    assert scan([source(tmp_path / "r", name=name)], cache).fingerprint != before


def test_a_missing_source_is_named_and_the_rest_goes_on(tmp_path, cache, caplog):
    make(tmp_path, "r/a.wav", "r/b.wav")
    (tmp_path / "empty").mkdir()
    sources = [source(tmp_path / "none", name="gone"), source(tmp_path / "r"), source(tmp_path / "empty", name="bare")]
    listing = scan(sources, cache)
    assert set(listing.rows["source"]) == {"mine"} and list(listing.missing) == ["gone", "bare"]
    assert "does not exist" in listing.missing["gone"]
    assert caplog.text == "", "folders are listed many times a build; the check of the manifest says it once"
    assert listing.fingerprint != scan(sources[1:2], cache).fingerprint
    with pytest.raises(DataError, match=r"'gone' does not exist.*; source 'bare' has no recordings"):
        scan(sources, cache, missing="fail")


def test_a_broken_cache_is_no_missing_source(tmp_path, cache):
    make(tmp_path, "r/a.wav")
    cache.close()
    with pytest.raises(DataError, match="scan cache"):
        scan([source(tmp_path / "r")], cache)


@pytest.mark.parametrize("count", [0, 1, 4_096, 4_097, 10_000])
def test_rows_are_hashed_as_json_however_many(count):
    """4,096 are hashed at once."""
    frame = pd.DataFrame({"a": ["x", "é", '"'] * 4_000, "b": [1.5, None, 2.0] * 4_000}).iloc[:count]
    rows = [[one, None if pd.isna(other) else other] for one, other in frame.itertuples(index=False)]
    assert hash_table(frame) == hash_rows(iter(rows)) == digest(rows)


def test_no_sources_give_an_empty_listing(cache):
    assert scan([], cache).rows.empty


def test_unreadable_files_are_listed_with_their_error(tmp_path, cache, monkeypatch):
    make(tmp_path / "r", "a.wav", "b.wav")

    def refuse(path):
        if path.name == "b.wav":
            raise PermissionError(13, "Permission denied")
        return hash_file(path)

    monkeypatch.setattr(module, "hash_file", refuse)
    rows = scan([source(tmp_path / "r")], cache).rows.set_index("path")
    assert rows.loc["b.wav", "error"] == "cannot be read (Permission denied)" and len(rows) == 2
    assert rows["recording_id"].nunique() == 2 and [row[0] for row in cache.hashes(tmp_path / "r")] == ["a.wav"]
