"""The MLflow store appears whole or not at all."""

from pathlib import Path

import pytest

from wakeword_pipeline.tracking import KEY_TAG, MlflowResource


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
    version = client.get_model_version_by_alias("robin", "candidate")
    assert version.tags["frr"] == "0.05" and len(version.description) <= 5_000
    assert version.description.startswith(long) and version.description.endswith("the whole card is in the bundle)")
