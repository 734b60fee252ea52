import logging
import os
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wakeword_core.config import SourceConfig
from wakeword_core.errors import DataError
from wakeword_core.files import digest, hash_file
from wakeword_core.recordings import scan as module
from wakeword_core.recordings.scan import ScanCache, map_unordered, scan
from wakeword_core.recordings.sources import State, find_recordings


def source(path, **settings):
    return SourceConfig(**{"name": "mine", "path": path, "role": "positive", **settings})


def make(root, *names):
    for index, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"sound %d" % index)
    return root


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
    with pytest.raises(DataError, match="is not a folder"):
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


def test_rows_are_hashed_as_json_whatever_the_number_at_once(monkeypatch):
    frame = pd.DataFrame({"a": ["x", "é", '"'] * 5, "b": [1.5, None, 2.0] * 5})
    rows = [[one, None if pd.isna(other) else other] for one, other in frame.itertuples(index=False)]
    for at_once in (1, 4, 15, 100):
        monkeypatch.setattr(module, "_HASHED_AT_ONCE", at_once)
        assert module.hash_rows(frame) == digest(rows)
        assert module.hash_rows(frame.iloc[:0]) == digest([])


@settings(deadline=None, max_examples=25)
@given(st.lists(st.text("ab/ é-.0", min_size=1, max_size=6), unique=True, max_size=12), st.data())
def test_remembered_hashes_are_found_whatever_the_names(tmp_path_factory, names, data):
    """The cache and the listing are walked side by side: both must sort alike."""
    folder = tmp_path_factory.mktemp("names")
    paths = {f"{name.strip('/').replace('//', '/').replace('./', 'x/')}x.wav" for name in names}
    make(folder / "r", "z.wav", *(path for path in paths if not any(one[:1] in ("", ".") for one in path.split("/"))))
    cache = ScanCache(folder / "cache")
    first = scan([source(folder / "r")], cache).rows
    changed = data.draw(st.sets(st.sampled_from(first["path"].tolist())))
    for path in changed:
        (folder / "r" / path).write_bytes(b"new" + path.encode())
    read = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "hash_file", lambda path: read.append(path) or hash_file(path))
        again = scan([source(folder / "r")], cache).rows
    cache.close()
    assert {str(path.relative_to(folder / "r")) for path in read} == changed
    assert again["recording_id"].tolist() == [hash_file(folder / "r" / path) for path in first["path"]]


def test_more_files_than_are_asked_for_at_once(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(module, "_READ_AT_ONCE", 3)
    monkeypatch.setattr(module, "_ASKED_AT_ONCE", 2)
    make(tmp_path / "r", *(f"{index}.wav" for index in range(10)))
    ids = scan([source(tmp_path / "r")], cache).rows["recording_id"].tolist()
    assert [row[0] for row in cache.hashes(tmp_path / "r")] == [f"{index}.wav" for index in range(10)]
    cache.remember_facts([(one, "levels", {"peak": 1}) for one in ids])
    assert dict(cache.facts("levels", ids)) == {one: {"peak": 1} for one in ids}


def test_no_sources_give_an_empty_listing(cache):
    assert scan([], cache).rows.empty


def test_neighbouring_folders_do_not_share_the_cache(tmp_path, cache):
    make(tmp_path / "r", "a.wav")
    make(tmp_path / "r2", "a.wav")
    scan([source(tmp_path / "r"), source(tmp_path / "r2", name="two")], cache)
    assert [row[0] for row in cache.hashes(tmp_path / "r")] == ["a.wav"]


def test_hashes_done_before_a_failure_are_kept(tmp_path, monkeypatch, cache):
    make(tmp_path / "r", *(f"{index}.wav" for index in range(10)))

    def stop(what, done, total):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan([source(tmp_path / "r")], cache, stop, workers=1)
    assert len(list(cache.hashes(tmp_path / "r"))) == 5


@pytest.mark.parametrize("damage", ["junk", "cut", "flip", "version", "folder"])
def test_a_damaged_cache_is_made_anew_with_a_warning(tmp_path, damage, caplog):
    make(tmp_path / "r", *(f"{index}.wav" for index in range(300)))
    cache = ScanCache(tmp_path / "cache")
    before = scan([source(tmp_path / "r")], cache).fingerprint
    cache.close()
    data = bytearray(cache.path.read_bytes())
    if damage == "junk":
        data = b"not a database" * 100
    elif damage == "cut":
        data = data[: len(data) // 2]
    elif damage == "flip":
        data[4096 : 4096 + 200] = bytes(200)
    if damage == "folder":
        cache.path.unlink()
        cache.path.mkdir()
    else:
        cache.path.write_bytes(data)
    if damage == "version":
        with sqlite3.connect(cache.path) as connection:
            connection.execute("PRAGMA user_version = 99")
    with caplog.at_level(logging.WARNING):
        repaired = ScanCache(tmp_path / "cache")
    assert "made anew" in caplog.text
    assert list(repaired.hashes(tmp_path / "r")) == []
    assert scan([source(tmp_path / "r")], repaired).fingerprint == before
    assert len(list((tmp_path / "cache").glob("*damaged*"))) == 1
    repaired.forget(["of a recording that the damaged file may name"])
    assert not list((tmp_path / "cache").glob("*damaged*"))


def test_a_cache_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="cannot write the scan cache"):
        ScanCache(tmp_path / "file")


def test_two_processes_may_make_the_cache_at_once(tmp_path):
    """The second sees no tables, and waits while the first makes them."""
    first = sqlite3.connect(tmp_path / "scan.sqlite", isolation_level=None)
    first.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(lambda: list(ScanCache(tmp_path).hashes(tmp_path)))
        while not second.running():
            time.sleep(0.01)
        time.sleep(0.2)
        for statement in module._SCHEMA.split(";")[:-1]:
            first.execute(statement)
        first.execute("COMMIT")
        assert second.result() == []


@pytest.mark.parametrize("after", ["sqlite_master", "user_version"])
def test_a_cache_that_another_process_makes_meanwhile_is_no_damaged_one(tmp_path, monkeypatch, caplog, after):
    others, making = [], []

    class Connection(sqlite3.Connection):
        def execute(self, query, *given):
            found = super().execute(query, *given)
            if after not in query or others or making:
                return found
            making.append(True)
            rows = found.fetchall()
            others.append(ScanCache(tmp_path))
            return Rows(rows)

    class Rows(list):
        def fetchone(self):
            return self[0]

    real = sqlite3.connect
    monkeypatch.setattr(module.sqlite3, "connect", lambda path, timeout: real(path, timeout, factory=Connection))
    cache = ScanCache(tmp_path)
    others[0].remember_facts([("1", "levels", 1)])
    assert dict(cache.facts("levels", ["1"])) == {"1": 1} and "anew" not in caplog.text


def test_a_locked_cache_is_an_error_and_is_not_thrown_away(tmp_path, cache, monkeypatch):
    cache.remember_facts([("1", "levels", 1)])
    monkeypatch.setattr(module, "_open_cache", lambda path: sqlite3.connect(tmp_path / "none" / "x").execute(""))
    with pytest.raises(DataError, match="cannot be opened"):
        ScanCache(tmp_path / "cache")
    assert cache.path.is_file() and dict(cache.facts("levels", ["1"])) == {"1": 1}


def test_a_failing_cache_is_a_clear_error(cache):
    cache.close()
    for use in (lambda: next(cache.facts("levels", ["1"])), lambda: cache.remember_hashes([("a", State(), "b")])):
        with pytest.raises(DataError, match=r"scan cache .* failed"):
            use()


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


def test_facts_are_remembered_by_bytes_and_kind(tmp_path):
    first = ScanCache(tmp_path)
    first.remember_facts([("1", "levels", {"peak": 0.5}), ("2", "levels", {"peak": 0.25}), ("1", "header", [1])])
    again = ScanCache(tmp_path)
    assert list(again.facts("levels", ["1", "3"])) == [("1", {"peak": 0.5})]
    assert list(again.facts("header", ["1", "2"])) == [("1", [1])]


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_map_unordered_yields_every_result_and_passes_errors_on(workers):
    assert sorted(map_unordered(lambda x: x * x, range(100), workers)) == [(x, x * x) for x in range(100)]
    with pytest.raises(ZeroDivisionError):
        list(map_unordered(lambda x: 1 // x, range(3), workers))


def test_a_fact_that_is_damaged_is_not_known(cache):
    cache.remember_facts([("1", "levels", {"peak": 1}), ("2", "levels", {"peak": 2}), ("3", "levels", [3])])
    with sqlite3.connect(cache.path) as other:
        other.execute("UPDATE facts SET value = 'no JSON' WHERE sha256 = '2'")
    other.close()
    assert dict(cache.facts("levels", ["1", "2", "3"])) == {"1": {"peak": 1}, "3": [3]}
