import csv
import errno
import os
import stat
from collections import namedtuple

import pytest

from wakeword_core import files
from wakeword_core.errors import WakewordError


def test_equal_values_have_equal_digests():
    assert files.digest({"a": 1, "b": [1.5, None]}) == files.digest({"b": [1.5, None], "a": 1})
    assert files.digest({"a": 1}) != files.digest({"a": 2})


def test_digest_refuses_nan():
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.digest(float("nan"))


def test_hash_file_is_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert files.hash_file(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_replacing_makes_folders_and_the_whole_file(tmp_path):
    with files.replacing(tmp_path / "new" / "a") as part:
        part.write_text("x")
        assert not (tmp_path / "new" / "a").exists()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a"]


def test_replacing_leaves_the_old_file_and_nothing_else_on_error(tmp_path):
    target = tmp_path / "a"
    target.write_text("old")
    with pytest.raises(RuntimeError), files.replacing(target) as part:
        part.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_write_that_fails_names_the_file(tmp_path):
    path = tmp_path / "kept.bin"
    with pytest.raises(OSError, match="No space left on device") as caught, files.replacing(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert caught.value.filename == str(path) and not list(tmp_path.iterdir())


def test_written_files_have_ordinary_permissions(tmp_path):
    (tmp_path / "plain").touch()
    files.write_text(tmp_path / "ours", "x")
    assert stat.S_IMODE((tmp_path / "ours").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_no_text_in_a_table_is_a_formula(tmp_path):
    rows = [{"label": text, "score": -0.5} for text in ('=HYPERLINK("x")', "+1", "-a", "@a", "\ta", "a=b")]
    files.write_csv(tmp_path / "a.csv", ("label", "score", "more"), rows)
    with (tmp_path / "a.csv").open(newline="") as file:
        header, *written = csv.reader(file)
    assert header == ["label", "score", "more"]
    assert [label for label, *_ in written] == ['\'=HYPERLINK("x")', "'+1", "'-a", "'@a", "'\ta", "a=b"]
    assert {tuple(others) for _, *others in written} == {("-0.5", "")}


def test_json_round_trip_and_refusal_of_nan(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, {"b": 1, "a": "é"})
    assert files.read_json(path) == {"a": "é", "b": 1}
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(path, float("inf"))
    assert files.read_json(path) == {"a": "é", "b": 1}


@pytest.mark.parametrize(
    "damaged",
    [b"", b"{", b"[1,]", b"\xff\xfe", b'"\xff"', b'"\\ud800"', b"[NaN]", b"-Infinity", b"1" * 5000, b"[" * 10**6],
)
def test_json_of_other_hands_is_a_value_or_a_value_error(tmp_path, damaged):
    (tmp_path / "a.json").write_bytes(damaged)
    with pytest.raises(ValueError, match=r"line 1 column|number out of range"):
        files.read_json(tmp_path / "a.json")


def test_json_that_is_too_large_is_refused_before_it_is_read(tmp_path):
    with (tmp_path / "a.json").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ValueError, match="more than the 256 MB"):
        files.read_json(tmp_path / "a.json")


def test_link_shares_bytes_and_replaces_the_target(tmp_path):
    source, target = tmp_path / "s", tmp_path / "deep" / "t"
    source.write_text("new")
    files.link_or_copy(source, target)
    assert target.samefile(source)
    target.unlink()
    target.write_text("old")
    files.link_or_copy(source, target)
    files.link_or_copy(source, target)
    assert target.samefile(source)
    assert [path.name for path in target.parent.iterdir()] == ["t"]


def test_copy_where_links_are_impossible(tmp_path, monkeypatch):
    def refuse(*_args):
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "s").write_text("new")
    files.link_or_copy(tmp_path / "s", tmp_path / "t")
    assert (tmp_path / "t").read_text() == "new"
    assert not (tmp_path / "t").samefile(tmp_path / "s")


def test_half_written_files_are_found(tmp_path):
    with files.replacing(tmp_path / "deep" / "a") as part:
        assert files.unfinished_parts(tmp_path) == [part]
    assert files.unfinished_parts(tmp_path) == []


@pytest.mark.parametrize("relative", ["../x", "a/../../x", "/etc/passwd", "link/x"])
def test_paths_that_leave_the_root_are_refused(tmp_path, relative):
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(tmp_path)
    with pytest.raises(WakewordError, match="leads outside"):
        files.contained(root, relative)


def test_paths_inside_the_root(tmp_path):
    assert files.contained(tmp_path, "a/../b") == tmp_path.resolve() / "b"


def test_full_disk_is_refused_before_work(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: usage(10**9, 0, 100_000_000))
    files.require_space(tmp_path / "not" / "there", 90_000_000, "shards")
    with pytest.raises(WakewordError, match=r"shards needs about 95 MB, but only 100 MB are free"):
        files.require_space(tmp_path / "not" / "there", 95_000_000, "shards")
