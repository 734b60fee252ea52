"""The MLflow store appears whole or not at all."""

import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from wakeword_core.errors import WakewordError
from wakeword_core.store.artifacts import ArtifactStore, Build
from wakeword_pipeline.orchestration.faults import fault_in_words
from wakeword_pipeline.tracking.training_runs import KEY_TAG, MlflowResource
from wakeword_pipeline.tracking.versions import delete_runs, model_runs


def test_a_store_that_was_cut_off_while_being_made_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    class Killed(BaseException):
        pass

    def cut_off(*args: object, **options: object) -> None:
        raise Killed

    store = MlflowResource(home=str(tmp_path / "home"))
    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, "search_experiments", cut_off)
        with pytest.raises(Killed):
            store.client()
    assert not (tmp_path / "home" / "mlflow.db").exists()
    (tmp_path / "home" / "mlflow.db").touch()  # as a disk that was full left it
    with ThreadPoolExecutor() as threads:  # who comes second uses the same one
        client, other = threads.map(lambda _: store.client(), range(2))
    assert client.get_experiment_by_name("wakeword") is None
    assert (tmp_path / "home" / "mlflow.db").is_file() and not list((tmp_path / "home").glob(".*"))
    assert store.find("nothing") == ""
    assert other.get_experiment_by_name("wakeword").experiment_id == store.experiment_id(client)


def test_the_registered_version_is_described_by_its_card(tmp_path: Path, empty_store: Path) -> None:
    store = store_at(tmp_path / "home", empty_store)
    client = store.client()
    experiment = client.create_experiment("wakeword")
    run = client.create_run(experiment, tags={KEY_TAG: "trained"}).info.run_id
    client.set_terminated(run, "FINISHED")
    assert store.describe("robin", ["tuned", "trained"], "a card", {}) is None  # nothing is registered yet
    store.register(run, "robin")
    long = "# robin\n" + "x" * 70 + "\n"
    assert store.describe("robin", ["tuned", "trained"], long * 200, {"frr": "0.05"}) == 1
    version = client.get_model_version("robin", "1")
    assert version.tags["frr"] == "0.05" and len(version.description) <= 5_000
    assert version.description.startswith(long) and version.description.endswith("the whole card is in the bundle)")


def test_files_of_earlier_epochs_keep_their_folders(tmp_path: Path, empty_store: Path) -> None:
    """They have the names of the model's own files."""

    texts = {"model.json": "last", "epochs/00002/model.json": "2", "epochs/00004/model.json": "4"}

    def make(build: Build) -> None:
        for name, text in texts.items():
            (build.path / name).parent.mkdir(parents=True, exist_ok=True)
            (build.path / name).write_text(text)
        build.figures = {"val_auc": 0.9}

    artifact, _ = ArtifactStore(tmp_path / "home" / "store").build("trained_model", {}, {}, "1", make)
    store = store_at(tmp_path / "home", empty_store)
    client = store.client()
    outside = client.create_experiment("outside", artifact_location=(tmp_path / "runs").as_uri())
    with pytest.raises(WakewordError, match=r"would be written to .*runs.*, outside of .*home; move .*mlflow.db away"):
        store.finish(client, client.create_run(outside).info.run_id, artifact)
    assert not (tmp_path / "runs").exists()
    run = client.create_run(store.experiment_id(client)).info.run_id
    store.finish(client, run, artifact)
    logged = tmp_path / "home" / "mlruns" / run / "artifacts" / "model"
    found = {str(path.relative_to(logged)): path.read_text() for path in logged.rglob("*.json")}
    assert found == texts


def store_at(home: Path, empty_store: Path) -> MlflowResource:
    home.mkdir(exist_ok=True)
    shutil.copyfile(empty_store, home / "mlflow.db")
    return MlflowResource(home=str(home))


@pytest.mark.parametrize("name", ["new", "it's new", "caf\N{LATIN SMALL LETTER E WITH ACUTE} #1"])
def test_what_mlflow_keeps_follows_a_home_that_is_moved(tmp_path: Path, empty_store: Path, name: str) -> None:
    store = store_at(tmp_path / "old", empty_store)
    client = store.client()
    experiment = store.experiment_id(client)
    run = client.create_run(experiment, tags={KEY_TAG: "trained"}).info.run_id
    (tmp_path / "weights").write_text("w")
    client.log_artifact(run, str(tmp_path / "weights"), artifact_path="model")
    client.set_terminated(run, "FINISHED")
    store.register(run, "robin")
    logged = client.create_logged_model(experiment, name="by_hand")
    beside = client.create_experiment("beside", artifact_location=(tmp_path / "old" / "mlruns-of-a-friend").as_uri())
    (tmp_path / "old").rename(tmp_path / name)

    store = MlflowResource(home=str(tmp_path / name))
    client, files = store.client(), tmp_path / name / "mlruns"
    assert client.get_experiment(experiment).artifact_location == files.as_uri()
    assert client.get_experiment(beside).artifact_location.endswith("/old/mlruns-of-a-friend")  # which is not ours
    assert client.get_run(run).info.artifact_uri == (files / run / "artifacts").as_uri()
    version = client.get_model_version("robin", "1")
    assert version.source == (files / run / "artifacts" / "model").as_uri()
    assert client.get_model_version_download_uri("robin", "1") == version.source
    assert client.get_logged_model(logged.model_id).artifact_location.startswith(files.as_uri())
    assert [one.path for one in client.list_artifacts(run, "model")] == ["model/weights"]
    later = client.create_run(experiment).info.run_id
    client.log_artifact(later, str(tmp_path / "weights"), artifact_path="model")
    assert (files / later / "artifacts" / "model" / "weights").is_file() and not (tmp_path / "old").exists()
    assert store.unknown_files() == []
    (tmp_path / name / "mlflow.db").unlink()
    assert store.unknown_files() == sorted([files / run, files / later])


def test_a_path_in_the_database_is_never_one_to_delete_or_write(tmp_path: Path, empty_store: Path) -> None:
    store = store_at(tmp_path / "home", empty_store)
    client = store.client()
    run = client.create_run(store.experiment_id(client), tags={KEY_TAG: "trained"}).info.run_id
    (diary := tmp_path / "mine" / "diary").parent.mkdir()
    diary.write_text("mine")
    with closing(sqlite3.connect(tmp_path / "home" / "mlflow.db")) as database, database:
        database.execute("UPDATE runs SET artifact_uri = ?", (diary.parent.as_uri(),))
    (found,) = model_runs(store.home)
    assert found.files == tmp_path / "home" / "mlruns" / run / "artifacts"
    delete_runs(store.home, [found])
    assert diary.read_text() == "mine" and model_runs(store.home) == []


@pytest.mark.parametrize("damage", ["garbage", "cut", "other tables", "two heads", "older", "deleted", "folder"])
def test_a_database_that_cannot_be_used_is_named_at_once_with_what_to_do(
    tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    store = store_at(tmp_path / "home", empty_store)
    path = tmp_path / "home" / "mlflow.db"
    monkeypatch.setenv("WAKEWORD_HOME", store.home)
    data = path.read_bytes()
    if damage == "folder":
        path.unlink()
        path.mkdir()
    elif damage in ("garbage", "cut"):
        path.write_bytes(b"x" * len(data) if damage == "garbage" else data[: len(data) // 2])
    elif damage == "deleted":
        client = store.client()
        client.delete_experiment(store.experiment_id(client))
    else:
        with closing(sqlite3.connect(path)) as database, database:
            if damage == "other tables":
                database.execute("ALTER TABLE experiments RENAME TO trials")
            else:
                other = "UPDATE alembic_version SET" if damage == "older" else "INSERT INTO alembic_version"
                database.execute(f"{other} {'version_num =' if damage == 'older' else 'VALUES'} ('451aebb31d03')")
    with pytest.raises(Exception) as caught:
        store.client().create_run(store.experiment_id(store.client()))
    said = fault_in_words(caught.value)
    assert said.startswith(f"{path}, in which MLflow keeps trainings, ") and "move it away" in said
    assert "\n" not in said
