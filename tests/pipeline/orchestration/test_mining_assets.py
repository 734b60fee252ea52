"""Mining and tuning through Dagster: what the assets show, and the MLflow runs of a training and its tuning."""

import shutil
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from toy_project import MINING, Toy, copy_of_toy

from wakeword_core.config.loading import save_config
from wakeword_core.mining import tuning
from wakeword_core.training.validation import ValidationFigures
from wakeword_pipeline.orchestration.definitions import define
from wakeword_pipeline.orchestration.resources import ProjectResource
from wakeword_pipeline.tracking.training_runs import MlflowResource

pytestmark = pytest.mark.slow
MODEL_ASSETS = ("trained_model", "mined_negatives", "tuned_model")


@pytest.fixture(scope="module")
def toy(shared_folder, tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Toy:
    made = copy_of_toy(shared_folder, tmp_path_factory.mktemp("toy"))
    shutil.copyfile(empty_store, made.folder / "home" / "mlflow.db")
    return made


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory):
    with dg.instance_for_test(temp_dir=str(tmp_path_factory.mktemp("dagster"))) as found:
        yield found


def run(toy: Toy, instance: dg.DagsterInstance, folder: Path, **mining: Any) -> dict[str, dict[str, Any]]:
    """Materialize the assets of the model; the metadata of each."""
    save_config(toy.project(**mining).config, folder / "config.yaml")
    bound = ProjectResource(config_path=str(folder / "config.yaml"), home=str(toy.folder / "home"))
    result = define(bound).resolve_implicit_global_asset_job_def().execute_in_process(
        asset_selection=[dg.AssetKey(name) for name in MODEL_ASSETS], instance=instance
    )  # fmt: skip
    assert result.success
    checks = result.get_asset_check_evaluations()
    assert {one.check_name for one in checks} == {
        "beats_chance", "training_healthy", "mined_from_training", "clips_verify", "tuning_not_worse"
    }  # fmt: skip
    assert [one.check_name for one in checks if not one.passed] == ["training_healthy"]
    (warned,) = (one for one in checks if one.check_name == "training_healthy")
    assert warned.severity is dg.AssetCheckSeverity.WARN and "6 windows with a wake word" in warned.description
    found = (one.step_materialization_data.materialization for one in result.get_asset_materialization_events())
    return {one.asset_key.to_user_string(): dict(one.metadata) for one in found}


@pytest.fixture(scope="module")
def runs(toy: Toy, instance, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict[str, Any]]]:
    """Metadata without mining, and with it: twice, the second time with nothing to do."""
    folder = tmp_path_factory.mktemp("settings")
    return [run(toy, instance, folder, **mining) for mining in ({}, MINING, MINING)]


def test_the_mined_clips_are_shown(runs) -> None:
    shown = runs[1]["mined_negatives"]
    top = shown["top_clips"]
    assert isinstance(top, dg.TableMetadataValue) and 3 <= len(top.records) == min(20, shown["clips"].value)
    assert {"score", "source", "from_role", "from_recording_id", "start_s"} <= set(top.records[0].data)
    assert shown["dagster/row_count"].value == shown["clips"].value
    for name in ("sources", "roles"):
        assert isinstance(shown[name], dg.TableMetadataValue)
    assert "data:image/png;base64," in shown["scores"].md_str
    assert "data:image/png;base64," in runs[1]["tuned_model"]["training_curve"].md_str
    assert runs[1]["tuned_model"]["kept"].value is True


def test_switched_off_nothing_is_mined_or_logged(runs, toy: Toy) -> None:
    off = runs[0]
    assert off["mined_negatives"]["clips"].value == 0 and off["tuned_model"]["tuned"].value is False
    assert "mlflow_run_id" not in off["tuned_model"]
    assert off["trained_model"]["mlflow_model_version"].value == 1


def test_a_tuning_has_a_run_of_its_own_below_the_trainings(runs, toy: Toy) -> None:
    client = MlflowResource(home=str(toy.folder / "home")).client()
    found = client.search_runs([client.get_experiment_by_name("wakeword").experiment_id])
    by_stage = {one.data.tags["stage"]: one for one in found}
    assert len(found) == 2 and set(by_stage) == {"trained_model", "tuned_model"}
    training, tuning = by_stage["trained_model"], by_stage["tuned_model"]
    assert {one.info.status for one in found} == {"FINISHED"}
    assert tuning.data.tags["mlflow.parentRunId"] == training.info.run_id
    assert runs[1]["tuned_model"]["mlflow_run_id"].value == tuning.info.run_id
    assert tuning.data.tags["kept"] == "true" and tuning.data.params["mining.tuning.epochs"] == "4"
    assert "mining.tuning.epochs" not in training.data.params
    assert [one.step for one in client.get_metric_history(tuning.info.run_id, "val_loss")] == [1, 2, 3, 4]
    assert tuning.data.metrics["final_mean_clip_score_tuned"] < tuning.data.metrics["final_mean_clip_score"]
    inputs = {one.dataset.name for one in tuning.inputs.dataset_inputs}
    assert {"mined_negatives", "trained_model", "mel_features[train]"} <= inputs
    files = {file.path for file in client.list_artifacts(tuning.info.run_id, "model")}
    assert {"model/model.safetensors", "model/history.jsonl"} <= files


def test_each_epoch_is_an_event_of_its_asset_while_it_is_made(runs, toy: Toy, instance) -> None:
    seen = instance.fetch_observations(dg.AssetKey("tuned_model"), limit=10).records
    epochs = [one.asset_observation.metadata["epoch"].value for one in reversed(seen)]
    assert epochs == [1, 2, 3, 4]
    shown = seen[0].asset_observation.metadata
    assert {"val_loss", "val_fpr", "val_fnr", "learning_rate", "seconds_left", "loss_word"} <= set(shown)
    made = instance.fetch_materializations(dg.AssetKey("tuned_model"), limit=10).records
    made = next(one for one in made if one.run_id == seen[0].run_id)
    assert all(one.storage_id < made.storage_id for one in seen)
    assert (toy.folder / "home" / "logs" / "wakeword.log").read_text().count(": epoch 4 of 4: loss ") == 1


def test_the_registered_model_is_the_tuned_one(runs, toy: Toy) -> None:
    client = MlflowResource(home=str(toy.folder / "home")).client()
    version = client.get_model_version("robin", str(runs[1]["tuned_model"]["mlflow_model_version"].value))
    assert version.run_id == runs[1]["tuned_model"]["mlflow_run_id"].value and int(version.version) == 2
    assert "mlflow_model" not in runs[1]["trained_model"]
    assert runs[2]["tuned_model"]["mlflow_run_id"] == runs[1]["tuned_model"]["mlflow_run_id"]
    assert runs[2]["tuned_model"]["reused"].value is True


def test_what_was_not_kept_is_not_registered(runs, toy: Toy, instance, tmp_path: Path, monkeypatch) -> None:
    flawless = ValidationFigures(loss=0.0, auc=1.0, pauc=1.0, f1=1.0, frr=0.0)
    monkeypatch.setattr(tuning, "validation_figures", lambda *_: flawless)  # nothing that is tuned is better
    spoilt = {
        "enabled": True,
        "search": {**MINING["search"], "min_score": 0.1},
        "tuning": {"keep": "better", "epochs": 2, "learning_rate_fraction": 1.0},
    }
    shown = run(toy, instance, tmp_path, **spoilt)["tuned_model"]
    client = MlflowResource(home=str(toy.folder / "home")).client()
    version = client.get_model_version("robin", str(shown["mlflow_model_version"].value))
    assert shown["kept"].value is False and version.run_id == runs[0]["trained_model"]["mlflow_run_id"].value
    assert client.get_run(shown["mlflow_run_id"].value).data.tags["kept"] == "false"
