"""What nothing needs is found and deleted; what a build reads, in this process or another, never is."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from wakeword_core.errors import ArtifactError
from wakeword_core.files import read_json, write_json
from wakeword_core.lineage.recordings import manifest_behind
from wakeword_core.store.artifacts import CARD, Artifact, ArtifactStore, Build
from wakeword_core.store.cleaning import delete, freed_bytes, garbage

READER = """
import sys
from pathlib import Path
from wakeword_core.store.artifacts import ArtifactStore

store = ArtifactStore(Path(sys.argv[1]))
with store.in_use():
    print("reading", flush=True)
    sys.stdin.readline()
"""
BUILDER = """
import sys
from pathlib import Path
from wakeword_core.store.artifacts import ArtifactStore

def make(build):
    (build.path / "half").write_text("x")
    print("building", flush=True)
    sys.stdin.readline()

ArtifactStore(Path(sys.argv[1])).build("model", {}, {"who": "other"}, "1", make)
"""


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "store")


def make(store: ArtifactStore, stage: str, *inputs: Artifact, text: str = "", piece: str = "") -> Artifact:
    """An artifact made from others; with a reusable piece of its own if asked."""

    def fill(build: Build) -> None:
        (build.path / "data").write_text(f"{stage} {text}")
        if piece:
            target = build.path / "piece"
            target.write_text(piece * 2_000)
            build.parts.keep(piece, target)

    edges = {one.stage: {"stage": one.stage, "key": one.key, "content": one.content} for one in inputs}
    return store.build(stage, edges, {"text": text}, "1", fill)[0]


def name(artifact: Artifact) -> tuple[str, str]:
    return artifact.stage, artifact.key


def test_what_the_roots_were_made_from_stays_and_the_rest_goes(store: ArtifactStore) -> None:
    old, new = (make(store, "raw_manifest", text=text) for text in ("old", "new"))
    shared = make(store, "shards", old, text="same", piece="a")
    unused = make(store, "shards", old, text="unused", piece="b")
    model = make(store, "model", shared)
    pieces = {path.read_text()[0]: path.name for path in (store.root / "shards.parts").glob("*[ab]")}
    items = garbage(store, [name(model)], [])
    assert {item.paths[0].name for item in items} == {new.key, unused.key, pieces["b"]}
    freed, before = freed_bytes(items), disk_bytes(store)
    delete(items)
    assert before - disk_bytes(store) == freed > 2_000
    assert {name(one) for one in store.all()} == {name(one) for one in (old, shared, model)}
    assert sorted(path.name for path in (store.root / "shards.parts").iterdir()) == [pieces["a"], f"{pieces['a']}.json"]
    assert garbage(store, [name(model)], []) == []
    assert manifest_behind(store, model.key).key == old.key and manifest_behind(store, "nothing") is None


def disk_bytes(store: ArtifactStore) -> int:
    """Bytes of all files of a store, each once."""
    stats = {path.stat().st_ino: path.stat().st_size for path in store.root.rglob("*") if path.is_file()}
    return sum(stats.values())


def test_a_piece_that_something_kept_still_holds_frees_nothing(store: ArtifactStore) -> None:
    kept, other = (make(store, "shards", text=text, piece="a") for text in ("kept", "other"))
    items = garbage(store, [name(kept)], [])
    assert [item.paths[0].name for item in items] == [other.key]
    assert freed_bytes(items) < 2_000 < items[0].size
    delete(items)
    assert kept.damaged(read=True) == [] and store.find("shards", kept.key)


def test_leftovers_go_but_for_a_build_that_may_go_on(store: ArtifactStore) -> None:
    kept = make(store, "model")
    for folder in (".building-old", ".building-mine", ".damaged-x-1", ".replaced-x-1", ".deleting-x-1", "nocard"):
        (store.root / "model" / folder).mkdir()
        (store.root / "model" / folder / "piece").write_text("p")
    (store.root / "model.parts").mkdir()
    (store.root / "model.parts" / "linked").hardlink_to(store.root / "model" / ".building-mine" / "piece")
    (store.root / "model.parts" / "latest-hint.json").write_text("[]")
    items = garbage(store, [name(kept)], [("model", "mine")])
    found = {path.name for item in items for path in item.paths}
    assert found == {".building-old", ".damaged-x-1", ".replaced-x-1", ".deleting-x-1", "nocard"}
    delete(items)
    assert {path.name for path in (store.root / "model").iterdir() if path.is_dir()} == {kept.key, ".building-mine"}


def test_of_links_in_a_store_only_the_links_are_deleted(store: ArtifactStore, tmp_path: Path) -> None:
    kept = make(store, "model", piece="a")
    (tmp_path / "mine" / "photos" / "2024").mkdir(parents=True)
    (picture := tmp_path / "mine" / "photos" / "2024" / "1.jpg").write_text("picture")
    links = [
        store.root / "stage",  # a stage's folder
        store.root / "stage.parts",
        store.root / "model" / "0123456789abcdef0123",  # an artifact
        store.root / "model" / ".building-0123456789abcdef0123",
        store.root / "model" / "file",
        store.root / "model.parts" / "piece",
    ]
    for link in links:
        link.symlink_to(tmp_path / "mine" / "photos" if link.name != "file" else picture)
    (inside := store.root / "model" / ".damaged-x-1").mkdir()
    (inside / "deep").symlink_to(tmp_path / "mine")
    items = garbage(store, [name(kept)], [])
    assert {path for item in items for path in item.paths} == {*links, inside}
    assert freed_bytes(items) < 1_000
    delete(items)
    assert picture.read_text() == "picture" and not any(link.is_symlink() for link in links) and not inside.exists()
    assert kept.damaged(read=True) == [] and garbage(store, [name(kept)], []) == []


def test_nothing_is_deleted_while_another_process_reads(store: ArtifactStore) -> None:
    make(store, "model")
    with other_process(READER, store) as reader:
        assert reader.stdout.readline() == "reading\n"
        with (
            pytest.raises(ArtifactError, match="gc must wait: another process builds, reads or deletes in"),
            store.undisturbed("gc"),
        ):
            pytest.fail("it was let in")
        reader.communicate("go\n")
    with store.undisturbed("gc"):
        pass


def test_what_another_process_builds_is_no_leftover(store: ArtifactStore) -> None:
    with other_process(BUILDER, store) as builder:
        assert builder.stdout.readline() == "building\n"
        assert garbage(store, [], []) == []
        builder.kill()
        builder.wait()
    assert [item.because for item in garbage(store, [], [])] == ["an unfinished build"]


def test_a_build_waits_for_a_deletion_and_says_so(store: ArtifactStore, caplog) -> None:
    import threading

    inside = threading.Event()

    def build() -> None:
        with store.in_use():
            inside.set()

    with store.undisturbed("gc"):
        waiting = threading.Thread(target=build)
        waiting.start()
        assert not inside.wait(0.2)
    waiting.join(10)
    assert inside.is_set() and "is deleting artifacts" in caplog.text


def test_what_stands_in_for_an_input_that_is_gone_stays(store: ArtifactStore) -> None:
    gone, same, other = (make(store, "raw_manifest", text=text) for text in ("one", "two", "three"))
    again = replace(same, content=gone.content)
    card = read_json(same.path / CARD)
    write_json(same.path / CARD, {**{name: card[name] for name in card if name != "seal"}, "content": again.content})
    model = make(store, "model", gone)
    shutil.rmtree(gone.path)
    assert [item.paths[0].name for item in garbage(store, [name(model)], [])] == [other.key]
    assert manifest_behind(store, model.key) == again


def other_process(code: str, store: ArtifactStore) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, str(store.root)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
