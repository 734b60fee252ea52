"""The MLflow store appears whole or not at all."""

from pathlib import Path

import pytest

from wakeword_core.store.artifacts import ArtifactStore, Build
from wakeword_pipeline.tracking.training_runs import KEY_TAG, MlflowResource


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
    client = store.client()
    assert client.get_experiment_by_name("wakeword") is None
    assert (tmp_path / "home" / "mlflow.db").is_file() and not list((tmp_path / "home").glob(".*"))
    assert store.find("nothing") == ""


def test_the_registered_version_is_described_by_its_card(tmp_path: Path) -> None:
    store = MlflowResource(home=str(tmp_path / "home"))
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


def test_files_of_earlier_epochs_keep_their_folders(tmp_path: Path) -> None:
    """They have the names of the model's own files."""

    texts = {"model.json": "last", "epochs/00002/model.json": "2", "epochs/00004/model.json": "4"}

    def make(build: Build) -> None:
        for name, text in texts.items():
            (build.path / name).parent.mkdir(parents=True, exist_ok=True)
            (build.path / name).write_text(text)
        build.figures = {"val_auc": 0.9}

    artifact, _ = ArtifactStore(tmp_path / "home" / "store").build("trained_model", {}, {}, "1", make)
    store = MlflowResource(home=str(tmp_path / "home"))
    client = store.client()
    run = client.create_run(client.create_experiment("wakeword", artifact_location=(tmp_path / "runs").as_uri()))
    store.finish(client, run.info.run_id, artifact)
    logged = next((tmp_path / "runs").rglob("artifacts")) / "model"
    found = {str(path.relative_to(logged)): path.read_text() for path in logged.rglob("*.json")}
    assert found == texts
