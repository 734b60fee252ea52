"""What a scan remembers of files and of what was measured of them, and what becomes of a cache that is damaged."""

import logging
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sound_files import make, source

from wakeword_core.errors import DataError
from wakeword_core.files import hash_file
from wakeword_core.recordings import scan as module
from wakeword_core.recordings.scan import ScanCache, scan
from wakeword_core.recordings.sources import State


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


@pytest.mark.parametrize("count", [4_096, 5_000])
def test_more_files_than_are_asked_for_at_once(tmp_path, cache, count):
    """4,096 are read from the cache at once, and facts of 500."""
    names = [f"{index:04}.wav" for index in range(count)]
    cache.remember_hashes((str(tmp_path / name), State(), f"hash of {name}") for name in names)
    found = list(cache.hashes(tmp_path))
    assert [path for path, *_ in found] == names
    ids = [sha256 for *_, sha256 in found]
    cache.remember_facts([(one, "levels", {"peak": 1}) for one in ids])
    assert dict(cache.facts("levels", ids)) == {one: {"peak": 1} for one in ids}


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
        scan([source(tmp_path / "r")], cache, stop, threads=1)
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

    def connect(path, timeout) -> sqlite3.Connection:
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(module.sqlite3, "connect", connect)
    with pytest.raises(DataError, match=r"cannot be opened .*; is another process using it"):
        ScanCache(tmp_path / "cache")
    assert cache.path.is_file() and dict(cache.facts("levels", ["1"])) == {"1": 1}


def test_a_failing_cache_is_a_clear_error(cache):
    cache.close()
    for use in (lambda: next(cache.facts("levels", ["1"])), lambda: cache.remember_hashes([("a", State(), "b")])):
        with pytest.raises(DataError, match=r"scan cache .* failed"):
            use()


def test_facts_are_remembered_by_bytes_and_kind(tmp_path):
    first = ScanCache(tmp_path)
    first.remember_facts([("1", "levels", {"peak": 0.5}), ("2", "levels", {"peak": 0.25}), ("1", "header", [1])])
    again = ScanCache(tmp_path)
    assert list(again.facts("levels", ["1", "3"])) == [("1", {"peak": 0.5})]
    assert list(again.facts("header", ["1", "2"])) == [("1", [1])]


def test_a_fact_that_is_damaged_is_not_known(cache):
    cache.remember_facts([("1", "levels", {"peak": 1}), ("2", "levels", {"peak": 2}), ("3", "levels", [3])])
    with sqlite3.connect(cache.path) as other:
        other.execute("UPDATE facts SET value = 'no JSON' WHERE sha256 = '2'")
    other.close()
    assert dict(cache.facts("levels", ["1", "2", "3"])) == {"1": {"peak": 1}, "3": [3]}
