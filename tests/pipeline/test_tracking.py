"""The MLflow store appears whole or not at all."""

from pathlib import Path

import pytest

from wakeword_pipeline.tracking import MlflowResource


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
