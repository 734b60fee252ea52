"""Compaction leaves nothing of rows that do not count, changes neither key nor content, and survives a kill."""

import os
from pathlib import Path

import numpy as np
import pytest

from wakeword_core.audio import write_audio
from wakeword_core.config import Config
from wakeword_core.errors import ArtifactError
from wakeword_core.files import hash_file
from wakeword_core.graph.compaction import compact
from wakeword_core.graph.project import Project
from wakeword_core.lineage.forgetting import search
from wakeword_core.recordings.forgotten import Forgotten
from wakeword_core.shards import packed_split
from wakeword_core.shards.packed_split import iter_recordings
from wakeword_core.store.artifacts import Artifact, ArtifactStore
from wakeword_core.store.cleaning import delete, garbage

RATE = 16_000
NAMES = ("audio_shards", "mel_features")
CONFIG = {
    "shards": {"count": 1, "compact_above": 1.0},
    "features": {"frontend": {"n_mels": 8, "window_frames": 24}, "context": {"frames": 0}, "augment": {"views": 1}},
    "compute": {"device": "cpu", "workers": 1},
}


def record(folder: Path, numbers: range) -> None:
    for number in numbers:
        sound = np.random.default_rng(number).normal(0, 0.1, RATE // 2).astype(np.float32)
        write_audio(folder / f"{number}.wav", sound, RATE)


def project(folder: Path, home: str = "home") -> Project:
    source = {"name": "other", "path": str(folder / "recordings"), "role": "negative", "split": "val"}
    return Project(Config.model_validate({**CONFIG, "data": {"sources": [source]}}), folder / home)


def build(made: Project) -> dict[str, Artifact]:
    """Shards and features of validation, built and checked."""
    made.build("raw_manifest")
    for name in NAMES:
        made.build(name, "val")
        assert all(verdict.passed for verdict in made.verdicts(name, "val"))
    return {name: made.require(name, "val") for name in NAMES}


@pytest.fixture
def changed(tmp_path: Path) -> Path:
    """A home with shards and features of eight recordings, of which one is gone by now, and one came later."""
    record(tmp_path / "recordings", range(8))
    build(project(tmp_path))
    (tmp_path / "recordings" / "3.wav").rename(tmp_path / "gone.wav")
    record(tmp_path / "recordings", range(8, 9))
    build(project(tmp_path))
    return tmp_path


def test_what_is_compact_is_what_a_first_build_makes(changed: Path) -> None:
    made = project(changed)
    before = {name: made.require(name, "val") for name in NAMES}
    assert (before["audio_shards"].figures["dead"], before["audio_shards"].figures["scattered"]) == (1, 1)
    assert before["mel_features"].figures["dead"] > 0
    with made.store.undisturbed("a test"):
        assert compact(made) == ["audio_shards[val]", "mel_features[val]"]
    made, fresh = project(changed), build(project(changed, "fresh"))
    for name in NAMES:
        after = made.require(name, "val")
        assert (after.key, after.content) == (before[name].key, before[name].content)
        assert after.figures["dead"] == 0 and after.damaged(read=True) == []
        assert {file: entry for file, entry in after.files.items() if file != "val.h5"} == {
            file: entry for file, entry in fresh[name].files.items() if file != "val.h5"
        }
        assert made.recorded_verdicts(name, "val") is not None
    with made.store.undisturbed("a test"):
        assert compact(made) == []
        delete(garbage(made.store, [(artifact.stage, artifact.key) for artifact in before.values()], []))
    assert not search(made.store.root, [hash_file(changed / "gone.wav")]).holders
    assert len(list(iter_recordings(made.require("audio_shards", "val").path))) == 8


def test_what_a_removed_recording_left_goes_when_it_is_forgotten(changed: Path) -> None:
    made, gone = project(changed), hash_file(changed / "gone.wav")
    before = {name: made.require(name, "val") for name in NAMES}
    Forgotten.add_to(made.home, [gone])
    made = project(changed)
    made.build("raw_manifest")
    with made.store.undisturbed("a test"):
        assert compact(made, [hash_file(changed / "recordings" / "8.wav")[::-1]]) == []
        assert compact(made, [gone]) == ["audio_shards[val]", "mel_features[val]"]
    after = {name: project(changed).require(name, "val") for name in NAMES}
    for name, artifact in after.items():
        assert (artifact.key, artifact.content) == (before[name].key, before[name].content)
        assert not search(artifact.path, [gone]).holders


@pytest.mark.parametrize("kill", [1, 2, 3, 4])
def test_a_kill_between_two_names_loses_nothing(changed: Path, monkeypatch: pytest.MonkeyPatch, kill: int) -> None:
    """Each artifact changes place by two renames: after an odd one it has no name for a moment."""
    made, renamed = project(changed), []
    original = Path.rename

    def killed(path: Path, target: Path) -> Path:
        if len(renamed) == kill:
            raise KeyboardInterrupt
        if path.parent.name in NAMES:
            renamed.append(path)
        return original(path, target)

    before = {name: made.require(name, "val") for name in NAMES}
    with made.store.undisturbed("a test"), monkeypatch.context() as patched:
        patched.setattr(Path, "rename", killed)
        if kill < 4:
            with pytest.raises(KeyboardInterrupt):
                compact(made)
        else:
            compact(made)
    made = project(changed)
    with made.store.undisturbed("a test"):  # as the next command that deletes anything does
        found = {name: made.require(name, "val") for name in NAMES}
    for name in NAMES:
        assert (found[name].key, found[name].content) == (before[name].key, before[name].content)
        assert found[name].damaged(read=True) == [] and all(one.passed for one in made.verdicts(name, "val"))
    with made.store.undisturbed("a test"):
        compact(made)
    assert project(changed).require("mel_features", "val").figures["dead"] == 0


def test_a_build_gives_an_artifact_its_name_back(changed: Path) -> None:
    shards = project(changed).require("audio_shards", "val")
    os.rename(shards.path, shards.path.with_name(f".replaced-{shards.key}-1"))
    again, built = ArtifactStore(shards.path.parents[1]).build(
        shards.stage, shards.inputs, shards.config, shards.code_version, lambda _: pytest.fail("built again")
    )
    assert not built and again == shards


def test_content_that_would_change_is_an_error(changed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from wakeword_core.shards import building

    made = project(changed)
    monkeypatch.setattr(building, "index_content", lambda index: "0" * 64)
    with made.store.undisturbed("a test"), pytest.raises(ArtifactError, match="is not what it was"):
        compact(made)


def test_files_that_were_checked_in_another_artifact_are_not_read_again(
    changed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    original = packed_split._verify_file
    monkeypatch.setattr(
        packed_split, "_verify_file", lambda path, *rest: read.append(path.name) or original(path, *rest)
    )
    record(changed / "recordings", range(9, 10))
    build(project(changed))
    assert read == ["00001.parquet"]  # which has taken in what came before
