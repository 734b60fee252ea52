"""`wakeword push` and `pull`, `gc --remote`, and what `forget` says of a remote, as a person meets them."""

import errno
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("obstore", reason="the extra remote is not installed")

from wakeword_core.audio import write_audio
from wakeword_core.config import Config
from wakeword_core.config.loading import save_config
from wakeword_core.errors import ConfigError
from wakeword_core.files import hash_file
from wakeword_core.graph.project import Project
from wakeword_core.lineage.forgetting import search
from wakeword_core.store.artifacts import Build
from wakeword_core.store.objects import Objects
from wakeword_pipeline.cli.main import app

RATE = 16_000
BUILT = ("raw_manifest", "audio_shards[train]")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings, and a home with their manifest and shards."""
    folder, generator = tmp_path_factory.mktemp("recorded"), np.random.default_rng(3)
    for speaker in ("ada", "bo"):
        sound = generator.normal(0, 0.1, RATE // 2).astype(np.float32)
        write_audio(folder / "recordings" / speaker / "0.wav", sound, RATE)
    project = Project(config_of(folder), folder / "home")
    project.build("raw_manifest")
    project.build("audio_shards", "train")
    return folder


def config_of(folder: Path) -> Config:
    source = {"name": "home", "path": folder / "recordings", "role": "negative", "speaker": "parent", "split": "train"}
    remote = {"url": (folder.parent / "shared").as_uri()}
    rest = {"compute": {"workers": 1}, "shards": {"count": 1}, "remote": remote}
    return Config.model_validate({"data": {"sources": [source]}, **rest})


@pytest.fixture
def machines(recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Project]:
    """Two machines with the same recordings, of which the first has a manifest and shards, and a remote."""
    for name in ("WAKEWORD_CONFIG", "WAKEWORD_HOME", "WAKEWORD_DAGSTER", "DAGSTER_HOME"):
        monkeypatch.setenv(name, "")  # so that what commands set is gone after the test
        monkeypatch.delenv(name)
    (tmp_path / "shared").mkdir()
    shutil.copytree(recorded, tmp_path / "one")
    shutil.copytree(recorded / "recordings", tmp_path / "two" / "recordings")
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        save_config(config_of(folder), folder / "wakeword.yaml")
    return [Project(config_of(folder), folder / "home") for folder in folders]


def command(project: Project, *arguments: str, expect: int = 0) -> str:
    config = ("--config", str(project.home.parent / "wakeword.yaml"))
    done = CliRunner().invoke(app, [*arguments, "--home", str(project.home), *config])
    assert done.exit_code == expect, (done.output, done.exception)
    return " ".join((done.output if expect == 0 else f"{done.output} {done.exception}").split())


def facts(project: Project, *arguments: str) -> dict[str, Any]:
    said = command(project, *arguments, "--json")
    return json.loads(said[said.index("{") :])


def objects(project: Project) -> list[Path]:
    return sorted(path for path in Path(project.home.parents[1] / "shared").rglob("*") if path.is_file())


def test_what_one_machine_pushed_another_pulls_and_builds_no_more(machines: list[Project]) -> None:
    one, two = machines
    said = command(one, "push")
    assert f"Uploaded 2 artifacts to {one.config.remote.url}; 0 artifacts were there already." in said
    assert "Not built yet for the present recordings and settings: audio_shards[val], " in said
    pushed = facts(one, "push")
    assert pushed["uploaded"] == [] and pushed["there"] == list(BUILT) and "trained_model" in pushed["missing"]

    pulled = facts(two, "pull")
    assert pulled["fetched"] == list(BUILT) and "audio_shards[val]" in pulled["missing"]
    assert "Fetched 0 artifacts" in command(two, "pull")
    again = Project(two.config, two.home)
    assert not again.build("raw_manifest")[1] and not again.build("audio_shards", "train")[1]
    assert again.verdicts("audio_shards", "train")[0].passed
    assert "audio_shards" in command(two, "status")


def test_without_a_remote_there_is_nothing_to_push_to(machines: list[Project]) -> None:
    for name in ("push", "pull", "gc"):
        arguments = [name, *(["--remote"] if name == "gc" else []), "--set", "remote.url=''"]
        done = CliRunner().invoke(app, [*arguments, "--home", str(machines[0].home)])
        assert isinstance(done.exception, ConfigError) and "WAKEWORD_REMOTE" in str(done.exception)


def test_gc_lists_and_deletes_what_nothing_needs_on_the_remote(machines: list[Project]) -> None:
    one, two = machines
    command(one, "push")
    old, _ = (one.store.build("onnx_model", {}, {"number": number}, "1", write_old)[0] for number in range(2))
    assert one.remote is not None and one.remote.push(old)
    for path in objects(one):
        os.utime(path, (time.time() - 40 * 86_400,) * 2)
    listed = command(one, "gc", "--remote")
    assert old.key in listed and "`wakeword gc --remote --delete` deletes all of this" in listed
    result = facts(one, "gc", "--remote", "--delete")
    assert [item["what"] for item in result["items"]] == [old.key] and result["freed"] == 3
    assert "is needed" in command(one, "gc", "--remote") and old.path.is_dir()
    assert "holds no artifacts" in command(two, "gc", "--remote", "--delete", expect=1)
    assert facts(two, "pull")["fetched"] == list(BUILT)


def write_old(build: Build) -> None:
    (build.path / "model").write_bytes(b"old")


def test_what_is_forgotten_is_named_on_the_remote_and_purged_there(machines: list[Project]) -> None:
    one, two = machines
    command(one, "push")
    recording = str(Path(one.config.data.sources[0].path) / "ada" / "0.wav")
    said = command(one, "forget", recording)
    assert f"{one.config.remote.url} has such artifacts, too; --purge deletes them there." in said
    said = facts(one, "forget", recording, "--purge", "--yes")
    assert {item["stage"] for item in said["remote"]} == {"raw_manifest", "audio_shards"}
    assert objects(one) == [] and facts(two, "pull")["fetched"] == []
    assert "There is no artifact on file:" in command(one, "forget", recording)


@pytest.fixture
def grown(machines: list[Project]) -> tuple[Project, Project, str]:
    """The machines after one recording has gone and another has come, and the hash of the one that has gone.

    The shards of the first machine share the file that holds it with older ones, and the remote has them.
    """
    gone, changed = "", []
    sound = np.random.default_rng(4).normal(0, 0.1, RATE // 2).astype(np.float32)
    for project in machines:
        recordings = Path(project.config.data.sources[0].path)
        gone = hash_file(recordings / "ada" / "0.wav")
        (recordings / "ada" / "0.wav").unlink()
        write_audio(recordings / "bo" / "1.wav", sound, RATE)
        config = project.config.changed({"shards.compact_above": 1.0})
        save_config(config, project.home.parent / "wakeword.yaml")
        changed.append(Project(config, project.home))
    one, two = changed
    one.build("raw_manifest")
    shards, built = one.build("audio_shards", "train")
    assert built and (shards.figures["dead"], shards.figures["scattered"], shards.figures["shards"]) == (1, 1, 2)
    assert facts(one, "push")["uploaded"] == list(BUILT)
    return one, two, gone


def test_shards_that_share_files_are_pulled_whole_and_go_on_with_what_is_here(
    grown: tuple[Project, Project, str],
) -> None:
    one, two, _ = grown
    pushed = Project(one.config, one.home).require("audio_shards", "train")
    command(two, "pull")
    pulled = Project(two.config, two.home).require("audio_shards", "train")
    assert pulled.files == pushed.files and pulled.damaged(read=True) == []
    assert Project(two.config, two.home).verdicts("audio_shards", "train")[0].passed

    (one.home / "store" / "audio_shards" / pushed.key).rename(one.home / "lost")  # its first shard is in another, too
    command(one, "pull")
    again = Project(one.config, one.home).require("audio_shards", "train")
    (base,) = (path for path in again.path.parent.glob("[!.]*/00000.parquet") if path.parent != again.path)
    assert again.file("00000.parquet").samefile(base) and again.damaged(read=True) == []


def test_what_is_compacted_here_keeps_the_copy_of_the_remote(grown: tuple[Project, Project, str]) -> None:
    one, two, gone = grown
    before = Project(one.config, one.home).require("audio_shards", "train")
    assert facts(one, "gc", "--compact", "--delete")["compacted"] == ["audio_shards[train]"]
    after = Project(one.config, one.home).require("audio_shards", "train")
    assert (after.key, after.content) == (before.key, before.content) and after.files != before.files
    assert facts(one, "push")["uploaded"] == [] and search(one.home.parents[1] / "shared", [gone]).holders
    assert facts(two, "pull")["fetched"] == list(BUILT)
    assert Project(two.config, two.home).require("audio_shards", "train").files == before.files
    assert "goes without --remote" in command(one, "gc", "--compact", "--remote", expect=1)


def test_a_purge_deletes_what_the_remote_holds_without_counting_it(
    grown: tuple[Project, Project, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _, gone = grown
    shards = Project(one.config, one.home).require("audio_shards", "train")
    for older in one.store.cards("audio_shards"):
        if older.key != shards.key:  # by whose files it would be known
            shutil.rmtree(older.path)
    edge = {"stage": shards.stage, "key": shards.key, "content": shards.content}
    made_from_it, _ = one.store.build("cmvn_stats", {"audio_shards[train]": edge}, {}, "1", write_old)
    assert one.remote is not None and one.remote.push(made_from_it)

    def rebuild(*_: object, **__: object) -> None:
        Project(one.config, one.home).build("raw_manifest")

    monkeypatch.setattr("wakeword_pipeline.cli.commands.run.run_config", rebuild)
    said = facts(one, "forget", gone, "--rebuild", "--purge", "--yes")
    assert [(item["stage"], item["because"]) for item in said["remote"]] == [("audio_shards", "holds it")]
    assert one.remote.artifacts(one.store.root)[-1].artifact.key == made_from_it.key and made_from_it.path.is_dir()
    assert "audio_shards[train]" in facts(one, "push")["uploaded"]
    assert search(one.home.parents[1] / "shared", [gone]).holders == []


def test_a_home_that_lacks_what_the_remote_has_looks_into_it(machines: list[Project]) -> None:
    one, two = machines
    command(one, "push")
    known = objects(one)
    two.scan_cache()  # and nothing built
    other = command(two, "forget", "0" * 64)
    assert "There is no artifact on file:" in other and objects(one) == known
    recording = str(Path(two.config.data.sources[0].path) / "bo" / "0.wav")
    assert {item["stage"] for item in facts(two, "forget", recording)["remote"]} == {"raw_manifest", "audio_shards"}
    assert [path for path in two.store.root.iterdir() if path.name.startswith(".looked")] == []
    command(two, "forget", recording, "--purge", "--yes")
    assert objects(one) == []


def test_what_cannot_be_looked_into_for_want_of_room_is_not_purged(
    machines: list[Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Objects, name: str, start: int = 0) -> Iterator[bytes]:
        yield from () if name.startswith("files/") else stream(self, name, start)
        if name.startswith("files/"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    one, two = machines
    command(one, "push")
    known, stream = objects(one), Objects.stream
    monkeypatch.setattr(Objects, "stream", full)
    said = command(two, "forget", "0" * 64, "--purge", "--yes", expect=1)
    assert "Not searched: file:" in said and "(No space left on device)" in said
    assert objects(one) == known


def test_a_remote_that_cannot_be_searched_is_named_and_a_purge_is_not_done_then(machines: list[Project]) -> None:
    one, _ = machines
    shared = one.home.parents[1] / "shared"
    command(one, "push")
    shared.rename(shared.with_name("gone"))
    recording = str(Path(one.config.data.sources[0].path) / "ada" / "0.wav")
    said = command(one, "forget", recording)
    assert "Not searched: file:" in said and "may still have what was made from it (there is no folder" in said
    said = command(one, "forget", recording, "--purge", "--yes", expect=1)
    assert "could not be searched and may still have what was made from it" in said
    assert not list((one.store.root / "audio_shards").glob("[!.]*"))
    shared.with_name("gone").rename(shared)
    command(one, "forget", recording, "--purge", "--yes")
    assert objects(one) == []
