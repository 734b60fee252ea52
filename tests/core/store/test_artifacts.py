import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from wakeword_core.errors import ArtifactError
from wakeword_core.python import library_versions
from wakeword_core.store.artifacts import CARD, ArtifactStore, artifact_key
from wakeword_core.store.parts import Parts, read_hash

INPUTS = {"manifest": {"stage": "raw_manifest", "key": "k", "content": "c"}}


def write_two(build):
    (build.path / "sub").mkdir(exist_ok=True)
    (build.path / "a.txt").write_text("alpha")
    (build.path / "sub" / "b.txt").write_text("beta")
    build.figures["rows"] = 2
    build.facets["train"] = "t"


def build(store, make=write_two, **options):
    return store.build("stage", INPUTS, {"x": 1}, "1", make, **options)


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(tmp_path / "store")


def test_card_is_complete_and_read_back(store):
    made, built = build(store)
    assert built
    card = json.loads((made.path / CARD).read_text())
    assert card.keys() >= {
        "stage",
        "key",
        "content",
        "inputs",
        "config",
        "code_version",
        "files",
        "seconds",
        "versions",
        "device",
    }
    assert card["inputs"] == INPUTS
    assert card["config"] == {"x": 1}
    assert card["versions"]["python"]
    assert set(made.files) == {"a.txt", "sub/b.txt"}
    assert made.size == len("alphabeta")
    assert made.figures == {"rows": 2}
    assert made.facets == {"train": "t"}
    assert store.find("stage", made.key) == made
    assert store.all() == store.all("stage") == [made]
    assert store.all("other") == []


def test_complete_artifact_is_returned_without_building(store):
    first, _ = build(store)
    again, built = build(store, make=lambda _: pytest.fail("built twice"))
    assert not built
    assert again == first


def test_one_that_lacks_a_file_is_built_again_and_the_old_is_kept(store):
    first, _ = build(store)
    first.file("a.txt").unlink()
    again, built = build(store)
    assert built
    assert again.content == first.content
    assert len(store.all()) == 1
    assert list((store.root / "stage").glob(".replaced-*"))


def test_content_does_not_depend_on_time_or_store(store, tmp_path):
    first, _ = build(store)
    time.sleep(0.01)
    second, _ = build(ArtifactStore(tmp_path / "other"))
    assert (first.key, first.content) == (second.key, second.content)
    assert first.created != second.created


def test_content_depends_on_names_and_bytes(tmp_path):
    def written(name, text):
        store = ArtifactStore(tmp_path / f"{name}{text}")
        return build(store, make=lambda one: (one.path / name).write_text(text))[0].content

    assert len({written("a", "x"), written("b", "x"), written("a", "y")}) == 3


def test_key_depends_on_contents_config_and_code_version():
    base = artifact_key({"a": "1"}, {"x": 1}, "1")
    assert base == artifact_key({"a": "1"}, {"x": 1}, "1")
    others = [artifact_key({"a": "2"}, {"x": 1}, "1"), artifact_key({"a": "1"}, {"x": 2}, "1")]
    others += [artifact_key({"a": "1"}, {"x": 1}, "2"), artifact_key({"b": "1"}, {"x": 1}, "1")]
    assert len({base, *others}) == 5


def test_key_of_an_input_does_not_enter_the_key(store):
    first, _ = build(store)
    renamed = {"manifest": {"stage": "raw_manifest", "key": "another", "content": "c"}}
    again, built = store.build("stage", renamed, {"x": 1}, "1", write_two)
    assert not built
    assert again.key == first.key


def test_failed_build_leaves_no_artifact_and_can_be_repeated(store):
    def fail(one):
        (one.path / "junk").write_text("half")
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError):
        build(store, make=fail)
    assert store.all() == []
    made, built = build(store)
    assert built
    assert "junk" not in made.files


def test_resumable_build_finds_finished_files_but_no_half_written_ones(store):
    def fail(one):
        (one.path / "finished").write_text("whole")
        (one.path / ".next.abc.part").write_text("half")
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError):
        build(store, make=fail, resumable=True)
    made, _ = build(store, resumable=True)
    assert set(made.files) == {"finished", "a.txt", "sub/b.txt"}


@pytest.mark.parametrize("damage", [lambda path: path.write_text("al"), Path.unlink])
def test_cut_or_missing_file_makes_it_absent_and_rebuilt(store, damage, caplog):
    made, _ = build(store)
    damage(made.file("a.txt"))
    assert store.find("stage", made.key) is None
    assert "damaged (a.txt)" in caplog.text
    again, built = build(store)
    assert built
    assert again.file("a.txt").read_text() == "alpha"


def test_changed_bytes_are_found_in_files_that_were_touched(store):
    made, _ = build(store)
    path, card = made.file("a.txt"), made.path / "artifact.json"
    path.write_text("alphA")
    assert made.damaged(read=False) == ["a.txt"]
    path.write_text("alpha")
    assert path.stat().st_mtime_ns > card.stat().st_mtime_ns
    assert made.damaged(read=False) == []
    assert path.stat().st_mtime_ns <= card.stat().st_mtime_ns  # so that it is read no more for that


def test_bytes_that_the_disk_changed_are_found_when_read(store):
    made, _ = build(store)
    path = made.file("a.txt")
    times = path.stat()
    path.write_text("alphA")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert made.damaged(read=False) == []
    assert made.damaged(read=True) == ["a.txt"]
    store.discard(made)
    assert store.find("stage", made.key) is None
    assert build(store)[1]


def test_unknown_file_is_an_error_that_lists_the_files(store):
    made, _ = build(store)
    with pytest.raises(ArtifactError, match=r"has no file 'c.txt'; it has a.txt, sub/b.txt"):
        made.file("c.txt")


def test_an_artifact_with_an_unreadable_card_is_built_again(store, caplog):
    made, _ = build(store)
    (made.path / CARD).write_text("{")
    assert store.find("stage", made.key) is None and store.all() == []
    assert "cannot be read" in caplog.text
    again, built = build(store)
    assert built and again.content == made.content


def test_store_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ArtifactError, match="cannot write to"):
        build(ArtifactStore(tmp_path / "file"))


def test_lock_that_cannot_be_written(store, monkeypatch):
    real = os.open

    def refuse(path, *args, **options):
        if Path(path).name.startswith(".lock-"):
            raise PermissionError(13, "Permission denied")
        return real(path, *args, **options)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ArtifactError, match="Permission denied; choose another --home"):
        build(store)


def test_a_lock_that_is_a_link_is_refused_and_what_it_leads_to_stays(store, tmp_path):
    (victim := tmp_path / "diary").write_text("mine")
    for lock in (store.root / ".in-use", store.root / "stage" / ".lock-abc"):
        lock.parent.mkdir(parents=True, exist_ok=True)
        lock.symlink_to(victim)
    with pytest.raises(ArtifactError, match=r"\.in-use is a link, and a lock never is one; remove it"), store.in_use():
        pytest.fail("it was opened")
    with pytest.raises(ArtifactError, match="is a link"), store.undisturbed("gc"):
        pytest.fail("it was opened")
    with pytest.raises(ArtifactError, match="is a link"):
        store.is_building("stage", "abc")
    assert victim.read_text() == "mine"


LINKED = ("stage", "stage.parts", "artifact", "card", "file", "folder", "building", "unfinished")


@pytest.mark.parametrize("what", LINKED)
def test_nothing_is_built_or_found_through_a_link(store, tmp_path, what):
    made, _ = build(store)
    (other := tmp_path / "other").mkdir()
    (other / "diary").write_text("mine")
    building = made.path.with_name(f".building-{made.key}")
    path = {
        "stage": made.path.parent, "stage.parts": store.root / "stage.parts", "artifact": made.path,
        "card": made.path / CARD, "file": made.path / "a.txt", "folder": made.path / "sub",
        "building": building, "unfinished": building / "sub",
    }[what]  # fmt: skip
    if path.exists():
        path.rename(other / "moved")
    if what in ("building", "unfinished", "stage.parts"):
        shutil.rmtree(made.path)
        path.parent.mkdir(exist_ok=True)
    path.symlink_to(other / "moved" if (other / "moved").exists() else other)
    before = {one: one.read_bytes() for one in other.rglob("*") if one.is_file()}
    assert store.find("stage", made.key) is None and store.all() == []
    if what in ("stage", "stage.parts"):
        with pytest.raises(ArtifactError, match=f"{what} is a link, and nothing below .* may be one"):
            build(store)
    else:
        again, built = build(store, resumable=True)
        assert built and not any(one.is_symlink() for one in (again.path, *again.path.rglob("*")))
        assert again.content == made.content and again.damaged(read=True) == []
    assert {one: one.read_bytes() for one in other.rglob("*") if one.is_file()} == before


def test_concurrent_builders_of_one_key_build_once(store):
    entered, release, results = threading.Event(), threading.Event(), []

    def slow(one):
        entered.set()
        assert release.wait(20)
        write_two(one)

    first = threading.Thread(target=lambda: results.append(("first", build(store, make=slow)[1])))
    first.start()
    assert entered.wait(20)
    second = threading.Thread(target=lambda: results.append(("second", build(store)[1])))
    second.start()
    time.sleep(0.1)
    assert second.is_alive()
    release.set()
    first.join(20)
    second.join(20)
    assert dict(results) == {"first": True, "second": False}


KILLED = """
import sys
from pathlib import Path
from wakeword_core.store.artifacts import ArtifactStore
from wakeword_core.files import replacing

def make(build):
    (build.path / "done.txt").write_text("done")
    with replacing(build.path / "half.txt") as part:
        part.write_text("ha")
        print("in the middle", flush=True)
        sys.stdin.read()

inputs = {"manifest": {"stage": "raw_manifest", "key": "k", "content": "c"}}
ArtifactStore(Path(sys.argv[1])).build("stage", inputs, {"x": 1}, "1", make, resumable=sys.argv[2] == "resumable")
"""


@pytest.mark.parametrize("resumable", [True, False])
def test_build_after_a_killed_build_completes(store, resumable):
    command = [sys.executable, "-c", KILLED, str(store.root), "resumable" if resumable else "fresh"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "in the middle\n"
        os.kill(process.pid, signal.SIGKILL)
        process.wait(20)
    assert store.all() == []
    made, built = build(store, resumable=resumable)
    assert built
    assert set(made.files) == {"a.txt", "sub/b.txt"} | ({"done.txt"} if resumable else set())
    assert made.damaged(read=True) == []


def test_kill_between_the_card_and_the_rename_is_repaired(store, monkeypatch):
    def killed(*_args):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        build(store, resumable=True)
    monkeypatch.undo()
    assert store.all() == []
    made, built = build(store, resumable=True)
    assert built
    assert CARD not in made.files


@pytest.fixture
def parts(tmp_path):
    one = Parts(tmp_path / "parts")
    made = tmp_path / "made"
    made.write_text("shard")
    one.keep("key", made)
    made.unlink()
    return one


def test_part_is_reused(parts, tmp_path):
    assert parts.link("key", tmp_path / "deep" / "target")
    assert (tmp_path / "deep" / "target").read_text() == "shard"
    assert not parts.link("another", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_part_is_read_once_in_a_process_whatever_names_it_gets(parts, tmp_path, monkeypatch):
    (tmp_path / "made").write_text("shard")
    parts.keep("key", tmp_path / "made")
    monkeypatch.setattr("wakeword_core.store.parts.hash_file", lambda path: pytest.fail(f"read {path}"))
    time.sleep(0.03)  # or it would be too new for its times to tell anything
    for name in ("first", "second"):
        assert parts.link("key", tmp_path / name)
    time.sleep(0.03)
    assert read_hash(tmp_path / "first", again=False) == hashlib.sha256(b"shard").hexdigest()


def test_what_is_built_again_takes_the_place_of_what_was_there(store):
    first, _ = build(store)
    again, built = store.build("stage", INPUTS, {"x": 1}, "1", write_other, again=True)
    assert built and (again.key, again.content) == (first.key, "of its own")
    assert again.file("other.txt").exists() and store.find("stage", first.key) == again


def write_other(build):
    (build.path / "other.txt").write_text("other")
    build.content = "of its own"


def test_part_with_a_flipped_bit_is_made_again(parts, tmp_path, caplog):
    (parts.root / "key").write_text("shArd")
    assert not parts.link("key", tmp_path / "target")
    assert "damaged" in caplog.text
    (tmp_path / "again").write_text("shard")
    parts.keep("key", tmp_path / "again")
    assert parts.link("key", tmp_path / "target")
    assert (tmp_path / "target").read_text() == "shard"


@pytest.mark.parametrize("text", ["", "{", "{}", '{"size": 5, "sha256": "x", "more": 1}'])
def test_part_with_a_broken_record_is_made_again(parts, tmp_path, text):
    (parts.root / "key.json").write_text(text)
    assert not parts.link("key", tmp_path / "target")


def test_part_without_a_record_is_made_again(parts, tmp_path):
    (parts.root / "key.json").unlink()
    assert not parts.link("key", tmp_path / "target")


def test_parts_are_shared_by_artifacts_of_a_stage(store):
    def make(one):
        one.figures["reused"] = one.parts.link("aa", one.path / "00000.parquet")
        if not one.figures["reused"]:
            (one.path / "00000.parquet").write_text("rows")
            one.parts.keep("aa", one.path / "00000.parquet")

    first, _ = store.build("stage", {}, {"x": 1}, "1", make)
    second, _ = store.build("stage", {}, {"x": 2}, "1", make)
    assert (first.figures["reused"], second.figures["reused"]) == (False, True)
    assert second.file("00000.parquet").samefile(first.file("00000.parquet"))
    assert len(store.all()) == 2


def test_versions_leave_out_what_is_not_installed():
    assert set(library_versions(("numpy", "no-such-package"))) == {"numpy"}


def test_a_part_that_another_build_is_about_to_keep_is_left_alone(tmp_path):
    parts = Parts(tmp_path / "parts")
    parts.root.mkdir()
    (parts.root / "k").write_text("made by another, its note not yet written")
    assert not parts.link("k", tmp_path / "target")
    assert (parts.root / "k").exists() and not (tmp_path / "target").exists()
