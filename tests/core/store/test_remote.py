"""Artifacts shared through a folder: taken instead of built, held against their hashes, and kept while needed."""

import errno
import json
import logging
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("obstore", reason="the extra remote is not installed")
sys.path.insert(0, str(Path(__file__).parent))

from shared_artifacts import FILES, machine, make, never, writes

from wakeword_core.errors import ArtifactError, RemoteError, WakewordError
from wakeword_core.files import digest, hash_file
from wakeword_core.store.artifacts import CARD, CHECKS_FILE, Artifact, ArtifactStore, Build
from wakeword_core.store.cleaning import remote_garbage
from wakeword_core.store.objects import Objects
from wakeword_core.store.remote import Remote

DAY = 86_400


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "a shared folder"
    path.mkdir()
    return path


@pytest.fixture
def url(folder: Path) -> str:
    return folder.as_uri()


@pytest.fixture
def pushed(tmp_path: Path, url: str) -> Artifact:
    """An artifact that one machine has built and uploaded."""
    return make(machine(tmp_path / "one", url, uploads=True))[0]


@pytest.fixture
def other(tmp_path: Path, url: str) -> ArtifactStore:
    """The store of a machine that has nothing yet."""
    return machine(tmp_path / "other", url)


def card_of(folder: Path, artifact: Artifact) -> Path:
    return folder / "artifacts" / artifact.stage / artifact.key / CARD


def object_of(folder: Path, artifact: Artifact, name: str) -> Path:
    sha256 = artifact.files[name].sha256
    return folder / "files" / sha256[:2] / sha256


def rewrite(card: Path, **changes: Any) -> None:
    """Write a card as somebody would who wants it to be believed, with its seal."""
    tree = json.loads(card.read_text()) | changes
    del tree["seal"]
    card.write_text(json.dumps(tree | {"seal": digest(tree)}))


def test_a_machine_with_the_same_inputs_builds_nothing(pushed: Artifact, other: ArtifactStore) -> None:
    artifact, built = make(other, fill=never)
    assert not built and artifact.content == pushed.content and artifact.damaged(read=True) == []
    assert {name: artifact.file(name).read_bytes() for name in artifact.files} == FILES
    assert [path.name for path in artifact.path.parent.iterdir() if path.is_dir()] == [artifact.key]


def test_a_build_uploads_only_where_that_is_wanted_and_push_does_it_later(
    tmp_path: Path, url: str, folder: Path
) -> None:
    artifact = make(machine(tmp_path / "one", url))[0]
    assert list(folder.iterdir()) == []
    remote = Remote(url)
    assert remote.push(artifact) and not remote.push(artifact)
    assert make(machine(tmp_path / "two", url), fill=never)[0].content == artifact.content


def test_an_upload_that_was_broken_off_is_no_artifact_and_the_next_one_goes_on_with_it(
    tmp_path: Path, url: str, folder: Path, other: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = make(machine(tmp_path / "one", url))[0]
    sent: list[str] = []
    write, one_by_one = Objects.write, threading.Lock()

    def breaks(self: Objects, name: str, content: Any, **options: Any) -> bool:
        with one_by_one:
            if sent:
                raise RemoteError("the network is gone")
            sent.append(name)
            return write(self, name, content, **options)

    monkeypatch.setattr(Objects, "write", breaks)
    with pytest.raises(RemoteError, match="the network is gone"):
        Remote(url).push(artifact)
    assert len(sent) == 1 and other.fetch("model", artifact.key) is None

    monkeypatch.setattr(Objects, "write", write)
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("files/*/*")}
    assert Remote(url).push(artifact)
    assert len(times) == 1 and all(path.stat().st_mtime_ns == written for path, written in times.items())
    assert other.fetch("model", artifact.key) is not None


def test_a_failed_upload_does_not_fail_the_build(
    tmp_path: Path, url: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder.rmdir()
    with caplog.at_level(logging.WARNING):
        assert make(machine(tmp_path / "one", url, uploads=True))[1]
    assert "there is no folder" in caplog.text and "`wakeword push` uploads it later" in caplog.text


def test_of_two_who_made_it_with_other_bytes_the_first_one_counts(
    tmp_path: Path, url: str, pushed: Artifact, other: ArtifactStore
) -> None:
    second = make(ArtifactStore(tmp_path / "two" / "store"), files={"model/weights": b"other"})[0]
    assert second.key == pushed.key and second.content != pushed.content
    assert not Remote(url).push(second)
    fetched = other.fetch("model", pushed.key)
    assert fetched is not None and fetched.content == pushed.content


def test_a_writer_who_comes_second_by_a_moment_leaves_the_first_one_be(
    tmp_path: Path, url: str, pushed: Artifact, other: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = make(ArtifactStore(tmp_path / "two" / "store"), files={"model/weights": b"other"})[0]
    monkeypatch.setattr(Objects, "read", lambda self, name, most: None)  # when it looked, there was none
    assert not Remote(url).push(second)
    monkeypatch.undo()
    fetched = other.fetch("model", pushed.key)
    assert fetched is not None and fetched.content == pushed.content


@pytest.mark.parametrize(
    "damage", [b"x" * 300_000, b"short", b"x" * 300_001, None], ids=["bytes", "short", "long", "gone"]
)
def test_what_is_damaged_there_is_built_here_and_replaced(
    damage: bytes | None,
    tmp_path: Path,
    url: str,
    folder: Path,
    pushed: Artifact,
    other: ArtifactStore,
    caplog: pytest.LogCaptureFixture,
) -> None:
    weights = object_of(folder, pushed, "model/weights")
    weights.unlink()
    if damage is not None:
        weights.write_bytes(damage)
    with pytest.raises(ArtifactError, match=f"{weights.name} is missing, or has not the bytes of its name"):
        other.fetch("model", pushed.key)
    assert other.find("model", pushed.key) is None
    third = machine(tmp_path / "third", url, uploads=True)
    with caplog.at_level(logging.WARNING):
        assert make(third)[1]
    assert f"model {pushed.key} is built here" in caplog.text
    assert hash_file(weights) == weights.name
    assert make(other, fill=never)[0].damaged(read=True) == []


def outside(name: str) -> dict[str, Any]:
    return {"files": {name: {"size": 6, "sha256": "0" * 64}}}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (outside("../../outside"), "files"),
        (outside("/outside"), "files"),
        (outside("model/../../outside"), "files"),
        (outside("a\x00b"), "files"),
        (outside(CARD), "lists artifact.json, which no stage writes"),
        (outside(CHECKS_FILE), "lists checks.json, which no stage writes"),
        ({"key": "0" * 20}, "it is of model 000"),
        ({"stage": "onnx_model"}, "it is of onnx_model"),
        ({"config": {"other": 1}}, "its key is not that of what it was made from"),
        ({"inputs": {"x": {"stage": "../x", "key": "k", "content": "c"}}}, "inputs"),
        ({"files": {"a": {"size": -1, "sha256": "0" * 64}}}, "size"),
        ({"surprise": 1}, "surprise"),
        ({"files": {"a": {"size": 10**18, "sha256": "0" * 64}}}, "needs about 1,000,000,000,000 MB"),
    ],
)
def test_a_card_of_anybody_leads_nowhere_else(
    changes: dict[str, Any], says: str, folder: Path, pushed: Artifact, other: ArtifactStore
) -> None:
    rewrite(card_of(folder, pushed), **changes)
    with pytest.raises(WakewordError, match=says):
        other.fetch("model", pushed.key)
    assert other.find("model", pushed.key) is None
    below = {path.relative_to(other.root).parts[0] for path in other.root.rglob("*")}
    assert below == {"model"} and {path.name for path in other.root.parent.iterdir()} == {"store"}


def test_a_card_that_was_changed_or_is_none_or_is_too_large_is_refused(
    folder: Path, pushed: Artifact, other: ArtifactStore
) -> None:
    card = card_of(folder, pushed)
    text = card.read_text()
    for wrong, says in (
        (text.replace('"cpu"', '"tpu"'), "changed after it was written"),
        ("[]", "no card"),
        ("{", "EOF"),
    ):
        card.write_text(wrong)
        with pytest.raises(ArtifactError, match=says):
            other.fetch("model", pushed.key)
    with card.open("w") as file:
        file.truncate(2**30)
    with pytest.raises(RemoteError, match=r"has more than the [\d,]+ bytes that are allowed"):
        other.fetch("model", pushed.key)


def test_what_there_is_no_room_for_is_built_here(folder: Path, pushed: Artifact, other: ArtifactStore) -> None:
    rewrite(card_of(folder, pushed), files={"a": {"size": 10**18, "sha256": "0" * 64}})
    assert make(other)[1]


def test_what_fills_the_disk_while_it_is_fetched_leaves_the_room_to_the_build(
    pushed: Artifact, other: ArtifactStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stream = Objects.stream

    def full(self: Objects, name: str, *arguments: Any) -> Any:
        chunks = stream(self, name, *arguments)
        if name.rpartition("/")[2] != pushed.files["model/weights"].sha256:
            return chunks
        return (chunk if number else raise_full() for number, chunk in enumerate(chunks))

    def raise_full() -> bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fill(build: Build) -> None:
        assert [path.name for path in build.path.parent.iterdir() if path.is_dir()] == [build.path.name]
        writes(FILES)(build)

    monkeypatch.setattr(Objects, "stream", full)
    with caplog.at_level(logging.WARNING):
        assert make(other, fill=fill)[1]
    assert "(No space left on device)" in caplog.text and "is built here" in caplog.text


def test_links_of_a_shared_folder_are_refused(
    tmp_path: Path, folder: Path, pushed: Artifact, other: ArtifactStore
) -> None:
    weights = object_of(folder, pushed, "model/weights")
    secret = tmp_path / "secret"
    weights.rename(secret)
    weights.symlink_to(secret)
    with pytest.raises(RemoteError, match="is a link that leads out of the remote"):
        other.fetch("model", pushed.key)


def test_a_transfer_that_broke_goes_on_where_it_was(
    pushed: Artifact, other: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two files one is half there, and one is wrong; what no card lists does not stay."""
    half = other.root / "model" / f".fetching-{pushed.key}"
    (half / "model").mkdir(parents=True)
    (half / "model" / "weights").write_bytes(FILES["model/weights"][:100_000])
    (half / "note.txt").write_bytes(b"wrong!")
    (half / "stray").write_bytes(b"of another attempt")
    begun: dict[str, int] = {}
    stream = Objects.stream

    def noting(self: Objects, name: str, start: int = 0) -> Any:
        begun[name.rpartition("/")[2]] = start
        return stream(self, name, start)

    monkeypatch.setattr(Objects, "stream", noting)
    fetched = other.fetch("model", pushed.key)
    assert fetched is not None and fetched.damaged(read=True) == [] and not (fetched.path / "stray").exists()
    assert begun[pushed.files["model/weights"].sha256] == 100_000 and begun[pushed.files["note.txt"].sha256] == 0


def test_links_in_what_a_broken_transfer_left_are_not_followed(
    tmp_path: Path, pushed: Artifact, other: ArtifactStore
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    half = other.root / "model" / f".fetching-{pushed.key}"
    half.mkdir(parents=True)
    (half / "note.txt").symlink_to(victim)
    fetched = other.fetch("model", pushed.key)
    assert fetched is not None and victim.read_bytes() == b"mine" and not fetched.file("note.txt").is_symlink()


def test_files_that_are_here_already_are_linked_and_not_fetched(
    tmp_path: Path, url: str, folder: Path, pushed: Artifact
) -> None:
    third = machine(tmp_path / "third", url)
    mine = make(third, fill=writes({"same": FILES["model/weights"]}), mine=True)[0]
    object_of(folder, pushed, "model/weights").unlink()
    fetched = third.fetch("model", pushed.key)
    assert fetched is not None and fetched.file("model/weights").samefile(mine.file("same"))


def test_a_damaged_file_that_another_artifact_shares_is_neither_taken_nor_changed(
    tmp_path: Path, url: str, pushed: Artifact
) -> None:
    third = machine(tmp_path / "third", url)
    mine = make(third, fill=writes({"same": FILES["model/weights"]}), mine=True)[0]
    mine.file("same").write_bytes(FILES["model/weights"][:10])
    half = third.root / "model" / f".fetching-{pushed.key}" / "model"
    half.mkdir(parents=True)
    os.link(mine.file("same"), half / "weights")
    fetched = third.fetch("model", pushed.key)
    assert fetched is not None and fetched.damaged(read=True) == []
    assert mine.file("same").read_bytes() == FILES["model/weights"][:10]


def test_damaged_artifacts_are_not_uploaded(tmp_path: Path, url: str, folder: Path) -> None:
    artifact = make(machine(tmp_path / "one", url))[0]
    artifact.file("note.txt").write_bytes(b"a toad")
    with pytest.raises(ArtifactError, match=r"model .* is damaged \(note.txt\)"):
        Remote(url).push(artifact)
    assert list(folder.iterdir()) == []


def aged(folder: Path, days: float) -> None:
    """Let everything have been written so many days ago."""
    then = time.time() - days * DAY
    for path in folder.rglob("*"):
        os.utime(path, (then, then))


def test_garbage_is_what_no_root_needs_and_nobody_pushed_lately(tmp_path: Path, url: str, folder: Path) -> None:
    store = machine(tmp_path / "one", url, uploads=True)
    data = make(store, "data", files={"data": b"d"})[0]
    model = make(store, "model", data, files={"weights": b"w"})[0]
    old = make(store, "model", data, files={"weights": b"old", "shared": b"w"}, old=True)[0]
    orphan = folder / "files" / "ab" / ("ab" + "0" * 62)
    orphan.parent.mkdir()
    orphan.write_bytes(b"half an upload")
    remote, nobody = Remote(url), ArtifactStore(tmp_path / "nobody")

    def listed(roots: set[tuple[str, str]], keep_days: float = 30) -> set[str]:
        return {item.what for item in remote_garbage(remote, nobody, roots, keep_days)}

    assert listed(set()) == set()  # all of it was pushed today
    assert listed(set(), 0) == {data.key, model.key, old.key}  # its upload may go on
    aged(folder, 40)
    assert listed({("model", model.key)}) == {old.key, "1 file"}
    assert listed(set(), 50) == {"1 file"}
    assert not remote.push(old)  # which counts as used again
    assert listed(set()) == {model.key, "1 file"}

    items = remote_garbage(remote, nobody, {("model", model.key)}, 0)
    assert {item.what: item.size for item in items} == {old.key: 3, "1 file": 14}
    remote.delete(items)
    assert {path.name for path in folder.rglob("files/*/*")} == {
        data.files["data"].sha256, model.files["weights"].sha256,
    }  # fmt: skip
    third = machine(tmp_path / "third", url)
    assert third.fetch("model", model.key) and third.fetch("data", data.key) and third.fetch("model", old.key) is None


def test_a_file_that_is_pushed_again_while_garbage_is_deleted_stays(
    tmp_path: Path, url: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = machine(tmp_path / "one", url, uploads=True)
    old = make(store, files={"shared": b"w", "own": b"o"}, old=True)[0]
    aged(folder, 40)
    remote = Remote(url)
    items = remote_garbage(remote, ArtifactStore(tmp_path / "nobody"), set(), 30)
    new = make(store, files={"weights": b"w"})[0]
    with caplog.at_level(logging.WARNING):
        remote.delete(items)
    assert "stays: 1 of the files" in caplog.text
    assert [path.name for path in folder.rglob("files/*/*")] == [new.files["weights"].sha256]
    other = machine(tmp_path / "other", url)
    assert other.fetch("model", new.key) and other.fetch("model", old.key) is None


def test_what_is_there_already_is_not_read_again_to_be_pushed(
    url: str, pushed: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Artifact, "damaged", never)
    assert not Remote(url).push(pushed)


def test_nothing_is_collected_while_a_card_cannot_be_read(tmp_path: Path, folder: Path, pushed: Artifact) -> None:
    rewrite(card_of(folder, pushed), of_a_later_version=1)
    with pytest.raises(ArtifactError, match="may be of another version of wakeword"):
        remote_garbage(Remote(folder.as_uri()), ArtifactStore(tmp_path / "nobody"), set(), 0)


def test_what_is_not_ours_in_a_bucket_is_let_be(tmp_path: Path, folder: Path, pushed: Artifact) -> None:
    for name in (
        "readme.txt",
        "artifacts/readme.txt",
        "artifacts/model/note.json",
        "artifacts/model/x/y/artifact.json",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("mine")
    remote = Remote(folder.as_uri())
    remote.delete(remote_garbage(remote, ArtifactStore(tmp_path / "nobody"), set(), 0))
    assert len([path for path in folder.rglob("*") if path.is_file()]) == 4
