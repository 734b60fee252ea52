"""`wakeword forget` and `wakeword gc` as a person meets them: what they say, ask, refuse and leave."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import dagster as dg
import numpy as np
import pytest
from typer.testing import CliRunner

from wakeword_core.audio import write_audio
from wakeword_core.config import Config
from wakeword_core.config.loading import save_config
from wakeword_core.errors import WakewordError
from wakeword_core.files import hash_file
from wakeword_core.graph.project import Project
from wakeword_core.lineage.forgetting import search
from wakeword_core.recordings.corrections import make_table, read_corrections, save_correction
from wakeword_core.recordings.forgotten import FILE, Forgotten
from wakeword_core.registry.history import Entry
from wakeword_core.store.artifacts import Artifact, Build
from wakeword_pipeline.cli.main import app
from wakeword_pipeline.orchestration.runs import BUILD_TAG, last_builds
from wakeword_pipeline.tracking.training_runs import KEY_TAG, STAGE_TAG, MlflowResource
from wakeword_pipeline.tracking.versions import delete_runs, mirror, model_runs

RATE = 16_000


def configured(folder: Path) -> Config:
    source = {"name": "home", "path": str(folder / "recordings"), "role": "negative", "speaker": "parent"}
    tree = {"data": {"sources": [{**source, "split": "train"}]}, "compute": {"workers": 1}, "shards": {"count": 2}}
    return Config.model_validate(tree)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings of two speakers, and a home with their manifest and shards."""
    folder, generator = tmp_path_factory.mktemp("built"), np.random.default_rng(3)
    for speaker in ("ada", "bo"):
        for number in range(2):
            sound = generator.normal(0, 0.1, RATE // 2).astype(np.float32)
            write_audio(folder / "recordings" / speaker / f"{number}.wav", sound, RATE)
    made = Project(configured(folder), folder / "home")
    made.build("raw_manifest")
    made.build("audio_shards", "train")
    return folder


@pytest.fixture
def project(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The same of its own, to be changed."""
    shutil.copytree(built, tmp_path, dirs_exist_ok=True)
    save_config(config := configured(tmp_path), tmp_path / "wakeword.yaml")
    for name in ("WAKEWORD_CONFIG", "WAKEWORD_HOME", "WAKEWORD_DAGSTER", "DAGSTER_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WAKEWORD_CONFIG", str(tmp_path / "wakeword.yaml"))
    return Project(config, tmp_path / "home")


@pytest.fixture
def tracked(project: Project, empty_store: Path) -> Project:
    """The project, with a place for runs."""
    shutil.copyfile(empty_store, project.home / "mlflow.db")
    return project


def stand_in(project: Project, stage: str, *inputs: Artifact) -> Artifact:
    def make(build: Build) -> None:
        (build.path / "weights").write_bytes(b"w" * 1_000)

    edges = {one.key: {"stage": one.stage, "key": one.key, "content": one.content} for one in inputs}
    return project.store.build(stage, edges, {"stage": stage}, "1", make)[0]


def register(project: Project, artifact: Artifact, exported: Artifact) -> str:
    """An MLflow run of an artifact with a copy of its file, whose exported model is champion; the run's id."""
    store = MlflowResource(home=str(project.home))
    client = store.client()
    experiment = store.experiment_id(client)
    run = client.create_run(experiment, tags={KEY_TAG: artifact.key, STAGE_TAG: artifact.stage}).info.run_id
    client.log_artifact(run, str(artifact.file("weights")), artifact_path="model")
    client.set_terminated(run, "FINISHED")
    store.register(run, "hey_robin")
    weights = {artifact.stage: artifact.key}
    with project.registry().changing() as registry:
        registry.adding(Entry(exported.key, "promoted", "as the test wants it", "person", artifacts=weights))
    mirror(project)
    return run


def command(project: Project, *arguments: str, expect: int = 0, answers: str | None = None) -> str:
    done = CliRunner().invoke(app, [*arguments, "--home", str(project.home)], input=answers)
    assert done.exit_code == expect, (done.output, done.exception)
    return done.output if expect == 0 else str(done.exception)


def test_a_recording_is_forgotten_named_and_purged(tracked: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tracked
    path = Path(project.config.data.sources[0].path) / "ada" / "0.wav"
    model = stand_in(project, "trained_model", project.require("audio_shards", "train"))
    exported = stand_in(project, "onnx_model", model)
    run = register(project, model, exported)
    (kept,) = model_runs(str(project.home))
    assert kept.key == model.key and (kept.files / "model" / "weights").is_file()

    said = command(project, "forget", str(path), "--reason", "asked")
    for part in (
        "trained_model",
        "audio_shards",
        "holds it",
        f"MLflow run {run[:8]}",
        "hey_robin version 1 (champion)",
    ):
        assert part in " ".join(said.split())
    assert "exported or copied out of the home" in said and model.path.is_dir() and path.is_file()
    (stone,) = Forgotten.load(project.home).tombstones
    assert (stone.sha256, stone.reason) == (hash_file(path), "asked")

    built = Project(project.config, project.home)
    built.build("raw_manifest")
    built.build("audio_shards", "train")
    assert str(command(project, "forget", stone.sha256, "--purge", expect=1)).startswith(
        "--purge asks before it deletes"
    )

    # MLflow's database may have been lost once, and what it copied then belongs to no run; people copy models too
    copies = project.home / "mlruns" / ("f" * 32) / "artifacts" / "model" / "other", project.home / "mine" / "model"
    for copy in copies:
        copy.parent.mkdir(parents=True)
        shutil.copyfile(model.file("weights"), copy)
    copies[0].write_bytes(b"of a training that nobody knows")

    import wakeword_pipeline.cli.commands.forget as module

    monkeypatch.setattr(module.sys.stdin.__class__, "isatty", lambda self: True, raising=False)
    last = json.loads(command(project, "forget", stone.sha256, "--purge", "--yes", "--json").splitlines()[-1])
    assert last["purged"] is True and last["mlflow"][0]["versions"] == ["hey_robin version 1 (champion)"]
    assert not any(copy.exists() for copy in copies)
    assert not model.path.exists() and not kept.files.exists() and model_runs(str(project.home)) == []
    assert search(project.store.root, [stone.sha256]).holders == []
    removed = project.registry()
    assert removed.champion is None and removed.history[-1].decision == "removed"
    assert (removed.history[-1].key, removed.history[-1].reason) == (exported.key, "made from what was forgotten")
    assert built.require("audio_shards", "train").damaged(read=True) == []
    assert Forgotten.load(project.home).tombstones == (stone,)
    assert "There is no artifact that holds it" in command(project, "forget", stone.sha256)


def test_a_file_that_was_edited_is_forgotten_as_it_was_and_as_it_is(project: Project) -> None:
    path = Path(project.config.data.sources[0].path) / "ada" / "0.wav"
    before = hash_file(path)
    write_audio(path, np.full(RATE, 0.1, np.float32), RATE)
    said = command(project, "forget", str(path), "--json")
    result = json.loads(said.splitlines()[-1])
    assert result["recordings"] == sorted([before, hash_file(path)])
    assert f"what was there then ({before[:16]}) is forgotten together with what is there now" in said
    assert {item["stage"] for item in result["affected"]} >= {"raw_manifest", "audio_shards"}
    shutil.rmtree(path.parent)
    folder = json.loads(command(project, "forget", str(path.parent), "--json").splitlines()[-1])
    assert len(folder["recordings"]) == 2 and before in folder["recordings"]
    assert {one.sha256 for one in Forgotten.load(project.home).tombstones} > {before}


def test_what_is_forgotten_loses_its_correction(project: Project, tmp_path: Path) -> None:
    ids = [hash_file(tmp_path / "recordings" / "ada" / f"{number}.wav") for number in range(2)]
    table = tmp_path / "corrections.csv"
    make_table(table)
    for recording_id in ids:
        save_correction(table, recording_id, "left_out", recording=f"home/{recording_id[:4]}")
    corrected = project.config.changed({"data.corrections": str(table)})
    save_config(corrected, tmp_path / "wakeword.yaml")
    command(project, "forget", str(tmp_path / "recordings" / "ada" / "0.wav"))
    assert list(read_corrections(table)) == ids[1:] and ids[0][:4] not in table.read_text()


def test_a_purge_whose_rebuild_fails_says_that_nothing_is_deleted(project: Project, monkeypatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise WakewordError("check beats_chance of trained_model: no better than chance")

    monkeypatch.setattr("wakeword_pipeline.cli.commands.run.run_config", fails)
    path = Path(project.config.data.sources[0].path) / "ada" / "0.wav"
    said = command(project, "forget", str(path), "--rebuild", "--purge", "--yes", expect=1)
    assert "no better than chance; what was named is forgotten, but the build without it failed" in said
    assert Forgotten.load(project.home).recordings == {hash_file(path)}


def test_a_speaker_is_forgotten_with_all_recordings(project: Project) -> None:
    folder = Path(project.config.data.sources[0].path)
    write_audio(folder / "bo" / "new.wav", np.full(RATE, 0.1, np.float32), RATE)  # in no manifest yet
    said = json.loads(command(project, "forget", "--speaker", "bo", "--json").splitlines()[-1])
    assert len(said["recordings"]) == 3 and said["purged"] is False
    assert {one.kind for one in Forgotten.load(project.home).tombstones} == {"recording", "speaker"}
    (folder / "bo").rename(folder / "somebody")
    after = Project(project.config, project.home)
    assert after.build("raw_manifest")[0].figures["recordings"] == 2


def test_what_is_not_clear_is_refused_and_nothing_written(project: Project) -> None:
    for arguments, message in (
        ((), "name either a recording or --speaker"),
        (("",), "name either a recording or --speaker"),
        (("--speaker", ""), "name either a recording or --speaker"),
        (("x.wav", "--speaker", "ada"), "name either a recording or --speaker"),
        (("x.wav",), "x.wav is no recording"),
        (("--speaker", "nobody"), "no manifest of this home has a speaker nobody"),
    ):
        assert message in command(project, "forget", *arguments, expect=1), arguments
    assert not (project.home / FILE).exists()


def test_forgetting_waits_for_a_build(project: Project) -> None:
    with project.store.in_use():
        assert "forget must wait" in command(project, "forget", "--speaker", "bo", expect=1)
    assert not (project.home / FILE).exists()


def test_gc_lists_and_deletes_what_nothing_needs(tracked: Project) -> None:
    project = tracked
    shards = project.require("audio_shards", "train")
    old, champion = stand_in(project, "cmvn_stats", shards), stand_in(project, "trained_model", shards)
    newer = stand_in(project, "cmvn_stats", shards, champion)
    onnx = stand_in(project, "onnx_model", champion)
    stand_in(project, "onnx_model", champion, newer)  # what status shows
    register(project, champion, onnx)
    said = command(project, "gc")
    assert old.key[:10] in said and "Nothing was deleted" in said and old.path.is_dir()
    assert not [one.stage for one in (shards, champion, newer, onnx) if one.key[:10] in said], said
    with project.store.in_use():
        assert "gc --delete must wait" in command(project, "gc", "--delete", expect=1)
    result = json.loads(command(project, "gc", "--delete", "--json").splitlines()[-1])
    assert result["deleted"] and result["freed"] > 1_000 and [one["what"] for one in result["items"]] == [old.key[:10]]
    assert not old.path.exists() and all(one.path.is_dir() for one in (shards, champion, newer, onnx))
    assert "is needed" in command(project, "gc")
    (run,) = model_runs(str(project.home))
    (project.home / "mlflow.db").rename(project.home / "mlflow.db.lost")
    (item,) = json.loads(command(project, "gc", "--json").splitlines()[-1])["items"]
    assert item["because"] == "no run in MLflow knows it" and item["paths"] == [str(run.files.parent)]
    command(project, "gc", "--delete")
    assert not run.files.parent.exists() and "is needed" in command(project, "gc")


def test_a_phrase_that_is_written_alike_leaves_anothers_model_alone(tracked: Project) -> None:
    project = tracked
    model = stand_in(project, "trained_model", project.require("audio_shards", "train"))
    register(project, model, stand_in(project, "onnx_model", model))
    for phrase in ("hey-robin", "hey, robin"):
        mirror(Project(project.config.model_copy(update={"phrase": phrase}), project.home))
    (run,) = model_runs(str(project.home))
    assert [str(version) for version in run.versions] == ["hey_robin version 1 (champion)"]


def test_gc_needs_a_home_with_artifacts(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["gc", "--home", str(tmp_path / "none")])
    assert done.exit_code == 1 and "holds no artifacts" in str(done.exception) and not (tmp_path / "none").exists()


def test_the_last_builds_are_told_by_their_tag(tmp_path: Path) -> None:
    @dg.asset
    def model(given: dg.ResourceParam[str]) -> dg.MaterializeResult:
        if given == "bad":
            raise dg.Failure("broken")
        return dg.MaterializeResult(metadata={"artifact_key": given})

    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:

        def run(build: str | None, key: str) -> None:
            dg.materialize(
                [model],
                instance=instance,
                resources={"given": key},
                tags={BUILD_TAG: build} if build else {},
                raise_on_error=False,
            )

        for build, key in (("one", "a"), ("two", "b"), ("one", "c"), ("two", "bad"), (None, "e")):
            run(build, key)
        found = [last_builds(instance, count) for count in (1, 2, 9)]
    latest, one = {("model", "e")}, {("model", "a"), ("model", "c")}
    assert found == [latest, latest | one, latest | one]


def test_runs_outside_of_the_home_are_not_deleted(tracked: Project, tmp_path: Path) -> None:
    project = tracked
    model = stand_in(project, "trained_model", project.require("audio_shards", "train"))
    register(project, model, stand_in(project, "onnx_model", model))
    (run,) = model_runs(str(project.home))
    other = tmp_path / "elsewhere"
    other.mkdir()
    with pytest.raises(Exception, match="lie outside of the home"):
        delete_runs(str(project.home), [replace(run, files=other)])
    assert other.is_dir()


def without_a_recording(project: Project) -> tuple[str, Project, Artifact]:
    """Remove a recording: its hash, the project since, and shards that hold it though it does not count."""
    path = Path(project.config.data.sources[0].path) / "ada" / "0.wav"
    gone = hash_file(path)
    path.unlink()
    after = Project(project.config.changed({"shards.compact_above": 1.0}), project.home)
    after.build("raw_manifest")
    return gone, after, after.build("audio_shards", "train")[0]


def test_what_a_removed_recording_left_is_compacted_away(project: Project) -> None:
    assert "all is compact" in command(project, "gc", "--compact")
    gone, _, before = without_a_recording(project)
    assert before.figures["dead"] == 1
    result = json.loads(command(project, "gc", "--compact", "--delete", "--json").splitlines()[-1])
    assert result["compacted"] == ["audio_shards[train]"] and result["deleted"]
    (compact,) = project.store.all("audio_shards")
    assert (compact.key, compact.content, compact.figures["dead"]) == (before.key, before.content, 0)
    assert search(project.store.root, [gone]).holders == []


@pytest.mark.parametrize("rebuilds", [True, False])
def test_a_purge_compacts_what_holds_it_without_counting_it(tracked: Project, monkeypatch, rebuilds: bool) -> None:
    project = tracked
    gone, after, before = without_a_recording(project)
    model = stand_in(after, "cmvn_stats", before)

    def rebuild(*_: object, **__: object) -> None:
        after.build("raw_manifest")

    monkeypatch.setattr("wakeword_pipeline.cli.commands.run.run_config", rebuild)
    said = command(project, "forget", gone, "--purge", "--yes", *(["--rebuild"] if rebuilds else []))
    assert "audio_shards[train] held rows of theirs that did not count" in said
    assert project.store.find("audio_shards", before.key) and model.path.exists()
    assert search(project.home, [gone]).holders == []


@pytest.mark.parametrize("others", [False, True])
def test_a_purge_where_a_source_is_gone_says_so_and_deletes_what_holds_it(
    tracked: Project, tmp_path: Path, others: bool
) -> None:
    gone, after, before = without_a_recording(tracked)
    model = stand_in(after, "cmvn_stats", before)
    folder = Path(tracked.config.data.sources[0].path)
    if others:  # of which a manifest can be made, by which nothing is known of those shards
        shutil.copytree(folder / "bo", tmp_path / "others")
        more = {"name": "others", "path": str(tmp_path / "others"), "role": "negative", "speaker": "unknown"}
        sources = [*tracked.config.model_dump(mode="json")["data"]["sources"], more]
        save_config(tracked.config.changed({"data.sources": sources}), tmp_path / "wakeword.yaml")
    folder.rename(folder.with_name("elsewhere"))
    said = command(tracked, "forget", gone, "--purge", "--yes")
    assert "No whole manifest can be made without what is forgotten (" in said and "does not exist" in said
    assert tracked.store.find("audio_shards", before.key) is None and not model.path.exists()
    assert search(tracked.home, [gone]).holders == []
