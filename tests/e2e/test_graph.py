"""The whole graph through the command line and Dagster, on a small synthetic set."""

import json
import shutil
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import dagster as dg
import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from daemon import built_by, daemon, going_on, instance_of, materialized, wait_until

from wakeword_core.config import SPLITS
from wakeword_core.config.loading import load_config
from wakeword_core.graph.project import Project
from wakeword_core.recordings.splits import split_of
from wakeword_pipeline.orchestration.automation import rebuild_sensor
from wakeword_pipeline.orchestration.due import due
from wakeword_pipeline.orchestration.resources import ProjectResource

pytestmark = pytest.mark.slow
PARTITIONED = ("audio_shards", "mel_features")
PLAIN = (
    "synthetic_speech",
    "raw_manifest",
    "cmvn_stats",
    "trained_model",
    "mined_negatives",
    "tuned_model",
    "calibrated_model",
    "onnx_model",
    "metrics_report",
    "int8_model",
    "fp16_model",
    "model_bundle",
    "champion_comparison",
)
LATE = set(PLAIN[PLAIN.index("trained_model") :])
"""What a training is followed by, and itself."""
ALL = {*PLAIN, *(f"{name}[{split}]" for name in PARTITIONED for split in SPLITS)}
NETWORKS = {"trained_model", "tuned_model"}
REBUILT = {"raw_manifest", "audio_shards[val]", "mel_features[val]", *(LATE - {"mined_negatives"})}
"""What another recording in validation reaches. Both networks are what they were, and are checked on it."""


@pytest.fixture
def instance(built) -> Iterator[dg.DagsterInstance]:
    with instance_of(built.path) as found:
        yield found


def test_a_killed_run_goes_on_and_repeats_only_what_was_unfinished(built) -> None:
    finished = {name.split("/")[0] for name in built.killed_with}
    assert {"raw_manifest", "mel_features", "cmvn_stats"} <= finished and "trained_model" not in finished
    assert set(built.result["built"]) == LATE
    assert set(built.result["built"]) | set(built.result["reused"]) == ALL


def test_the_killed_training_went_on_from_its_checkpoint(built) -> None:
    """MLflow saw each epoch once: those before the kill and those after it, in one run."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{built.path / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("wakeword").experiment_id])
    assert len(runs) == 1 and runs[0].info.status == "FINISHED"
    epochs = [metric.step for metric in client.get_metric_history(runs[0].info.run_id, "val_loss")]
    assert sorted(epochs) == [1, 2, 3, 4]


def test_a_learning_rate_is_looked_for_on_the_built_features(built, tmp_path: Path) -> None:
    picture = tmp_path / "rates.png"
    options = ("--steps", "20", "--low", "1e-4", "--high", "1e-1", "--set", "training.sampling.batch_size=16")
    printed = built.wakeword("lr-find", *options, "--out", str(picture), "--json")
    found = json.loads(printed.splitlines()[-1])
    assert 1e-4 <= found["lowest"] <= 1e-1 and found["suggestion"] == pytest.approx(found["lowest"] / 5)
    assert f"--set training.schedule.learning_rate={found['suggestion']:.2g}" in printed
    assert picture.read_bytes().startswith(b"\x89PNG") and found["picture"] == str(picture)
    assert "suggested" in printed and "set in training.schedule.learning_rate" in printed


def test_the_largest_batch_is_looked_for_on_the_built_features(built) -> None:
    printed = built.wakeword("batch-find", "--set", "compute.memory_gb=8", "--json")
    found = json.loads(printed.splitlines()[-1])
    assert [one["batch_size"] for one in found["tried"]] == [32 << turn for turn in range(len(found["tried"]))]
    assert all(0 < one["memory_gb"] <= 8 and one["windows_per_second"] > 0 for one in found["tried"])
    assert f"--set training.sampling.batch_size={found['largest']}" in printed


def test_nothing_is_left_half_made(built) -> None:
    leftovers = [p for p in built.path.glob("store/*/.building-*")] + [p for p in built.path.rglob("*.part")]
    assert leftovers == []


def test_the_result_names_files_that_are_there(built) -> None:
    result = built.result
    assert Path(result["model"]).is_file() and Path(result["report"]).is_file()
    assert result["model_bytes"] == Path(result["model"]).stat().st_size
    assert 0 < result["int8_bytes"] < 0.35 * result["model_bytes"]
    assert 0 <= result["frr"] <= 1 and result["fah"] >= 0 and result["background_hours"] > 0
    assert result["cpu_ms_per_s"] > 0 and 0 < result["threshold"] < 1


def test_a_second_run_builds_nothing(built) -> None:
    again = built.run()
    assert again["built"] == [] and set(again["reused"]) == ALL and again["model"] == built.result["model"]


def test_every_asset_is_recorded_with_its_content_as_data_version(built, instance) -> None:
    states = json.loads(built.wakeword("status", "--json", "--config", "wakeword.yaml"))
    assert {state["asset"] for state in states} == ALL and {state["state"] for state in states} == {"fresh"}
    for state in states:
        stage, _, split = state["asset"].rstrip("]").partition("[")
        records = instance.fetch_materializations(
            dg.AssetRecordsFilter(dg.AssetKey(stage), asset_partitions=[split] if split else None), limit=1
        ).records
        card = json.loads((Path(state["path"]) / "artifact.json").read_text())
        materialization = records[0].asset_materialization
        assert materialization.tags["dagster/data_version"] == card["content"]
        assert materialization.metadata["artifact_key"].value == card["key"]


def test_all_checks_passed_and_were_recorded(built, instance) -> None:
    stages = Project(load_config(built.folder / "wakeword.yaml"), built.path).stages.values()
    checks = {
        dg.AssetCheckKey(dg.AssetKey(stage.name), check.name): check for stage in stages for check in stage.checks
    }
    records = instance.event_log_storage.get_latest_asset_check_execution_by_key(list(checks))
    assert set(records) == set(checks)
    blocking = {key for key, check in checks.items() if check.blocking}
    assert {key for key, record in records.items() if record.status.value == "SUCCEEDED"} >= blocking
    splits = {stage.name for stage in stages if stage.partitioned}
    told = instance.event_log_storage.get_asset_check_partition_info(
        [key for key in checks if key.asset_key.path[0] in splits]
    )
    assert {(one.check_key, one.partition_key) for one in told} == {
        (key, split) for key in checks if key.asset_key.path[0] in splits for split in SPLITS
    }


def test_mlflow_knows_parameters_data_and_the_dagster_run(built, instance) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{built.path / 'mlflow.db'}")
    run = client.search_runs([client.get_experiment_by_name("wakeword").experiment_id])[0]
    assert run.data.params["training.model.arch"] == "tiny_conv"
    assert run.data.params["training.schedule.epochs"] == "4"
    assert instance.get_run_by_id(run.data.tags["dagster_run_id"]) is not None
    inputs = {one.dataset.name: one.dataset.digest for one in run.inputs.dataset_inputs}
    card = json.loads(next(built.path.glob("store/trained_model/*/artifact.json")).read_text())
    assert inputs == {name: one["content"][:36] for name, one in card["inputs"].items()}
    version = client.get_model_version_by_alias("hey_robin", "champion")
    assert version.run_id == run.info.run_id
    assert {file.path for file in client.list_artifacts(run.info.run_id, "model")} >= {"model/model.safetensors"}
    record = instance.fetch_materializations(dg.AssetKey("trained_model"), limit=10).records[-1]
    assert record.asset_materialization.metadata["mlflow_run_id"].value == run.info.run_id


def test_the_broken_recording_is_in_the_manifest_with_its_reason(built) -> None:
    manifest = next(built.path.glob("store/raw_manifest/*/manifest.parquet"))
    rows = pq.read_table(manifest).to_pandas().set_index("path")
    assert rows.loc["broken.wav", "status"] == "quarantined" and rows.loc["broken.wav", "reason"]


def test_features_follow_the_format(built) -> None:
    for split in SPLITS:
        with h5py.File(next(built.path.glob(f"store/mel_features/*/{split}.h5"))) as file:
            frames = 301 if split == "train" else 151  # training rows hold what is around a window too
            assert file["segments_mel"].shape[1:] == (1, 1, 64, frames)
            assert {"labels", "recording_ids", "valid_frames", "word_ends"} <= set(file)
            assert {"config_json", "labels_json", "label2id_json", "versions_json"} <= set(file.attrs)


def test_changing_training_makes_the_model_stale_and_nothing_before_it(built) -> None:
    status = built.wakeword("status", "--json", "--set", "training.schedule.learning_rate=0.004")
    stale = {state["asset"]: state["because"] for state in json.loads(status) if state["state"] == "stale"}
    assert set(stale) == LATE and "training.schedule.learning_rate" in stale["trained_model"]


def test_a_flipped_byte_in_a_shard_is_found_and_the_shard_made_again(built) -> None:
    states = {
        state["asset"]: state for state in json.loads(built.wakeword("status", "--json", "--config", "wakeword.yaml"))
    }
    shard = Path(states["audio_shards[val]"]["path"]) / "00000.parquet"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.unlink()
    shard.write_bytes(data)
    split = json.loads((shard.parent / "artifact.json").read_text())["config"]["split"]
    assert built.run()["built"] == [f"audio_shards[{split}]"]
    assert built.run()["built"] == []


def test_score_and_detect(built, tmp_path: Path) -> None:
    recording = sorted((built.folder / "recordings").glob("person*.wav"))[0]
    built.wakeword("score", built.result["model"], str(recording), "--out", str(tmp_path / "scores.npz"))
    with np.load(tmp_path / "scores.npz") as scores:
        assert scores["time"].shape == scores["score"].shape and np.ptp(np.diff(scores["time"])) < 1e-9
        assert ((scores["score"] >= 0) & (scores["score"] <= 1)).all()
        highest = float(scores["score"].max())
    options = ("--threshold", str(highest / 2), "--json")
    found = json.loads(built.wakeword("detect", str(Path(built.result["model"]).parent), str(recording), *options))
    assert found[str(recording)] and found[str(recording)][0]["label"] == "hey robin"
    for sensitivity in ("strict", "balanced", "lenient"):
        options = ("--sensitivity", sensitivity, "--json")
        assert str(recording) in json.loads(built.wakeword("detect", built.result["model"], str(recording), *options))
    options = ("--sensitivity", "loud")
    assert "strict" in built.wakeword("detect", built.result["model"], str(recording), *options, expect=2)


def test_the_first_model_is_champion_and_says_so(built) -> None:
    assert built.result["registry_role"] == "champion" and "no check found an error" in built.result["registry_reason"]
    (model,) = json.loads(built.wakeword("models", "--json"))["models"]
    assert model["role"] == "champion" and Path(built.result["model"]).parent == Path(model["path"])
    assert model["figures"]["frr"] == built.result["frr"]


@pytest.mark.long
def test_a_judge_is_made_put_beside_the_model_and_used(built, tmp_path: Path) -> None:
    pytest.importorskip("pyopen_wakeword", reason="needs the extra `judge`: Google's speech embedding")
    pytest.importorskip("ai_edge_litert", reason="needs the extra `judge`: what reads the embedding's file")
    from wakeword_core.export.openwakeword import steps_taken

    settings = ("--set", "judge.enabled=true", "--set", "judge.head.steps=60")
    settings += ("--set", "export.openwakeword.enabled=true")
    result = built.run(*settings)
    made = {
        "judge_model",
        "judged_model",
        "metrics_report",
        "openwakeword_model",
        "model_bundle",
        "champion_comparison",
    }
    assert set(result["built"]) == made
    together = result["with_judge"]
    assert together["words"] == result["words"]
    assert 0 < together["heard_share"] <= 1
    page = Path(result["report"]).read_text()
    assert 'id="cascade"' in page and "computing of both" in page
    bundle = Path(result["model"]).parent
    card = (bundle / "model_card.md").read_text()
    words = [bundle / "openwakeword" / f"hey_robin.{kind}" for kind in ("onnx", "tflite")]
    assert all(name in card for name in ("judge.onnx", *(f"openwakeword/{path.name}" for path in words)))
    assert [steps_taken(path) for path in words] == [9, 9]
    for path in (bundle, bundle / "judge.onnx"):
        built.wakeword("verify", str(path), *settings)
    sound = sorted((built.folder / "recordings").glob("person*.wav"))[0]
    out = {name: tmp_path / f"{name}.npz" for name in ("together", "alone")}
    built.wakeword("score", result["model"], str(sound), "--out", str(out["together"]))
    built.wakeword("score", result["model"], str(sound), "--out", str(out["alone"]), "--alone")
    scores = {name: np.load(path) for name, path in out.items()}
    assert np.array_equal(scores["together"]["time"], scores["alone"]["time"])
    assert not np.allclose(scores["together"]["score"], scores["alone"]["score"])


@pytest.mark.long
def test_a_model_is_taught_by_another_and_goes_on_from_it(built) -> None:
    """Both are named by the key that `wakeword models` prints; the card names them, too."""
    (model,) = json.loads(built.wakeword("models", "--json"))["models"]
    key = model["key"]
    settings = ("--set", f'training.teacher.models=["{key}"]', "--set", f'training.start_from="{key}"')
    settings += ("--set", "training.schedule.epochs=1", "--set", "registry.promote=manual")
    result = built.run(*settings)
    assert set(result["built"]) == {"teacher_scores", *LATE}
    card = (Path(result["model"]).parent / "model_card.md").read_text()
    calibrated = json.loads((Path(model["path"]) / "model_card.json").read_text())["lineage"]
    behind = next(one["key"] for one in calibrated if one["name"] == "calibrated_model")
    assert f"it was taught by calibrated_model `{behind}`" in card
    assert f"its training went on from calibrated_model `{behind}`" in card
    assert built.run(*settings)["built"] == []
    rates = ("--steps", "20", "--low", "1e-4", "--high", "1e-1", "--json")
    found = json.loads(built.wakeword("lr-find", *settings, *rates).splitlines()[-1])
    assert found["suggestion"] == pytest.approx(found["lowest"])  # a fifth of it, which is a fifth of what is set
    wrong = ("--set", f'training.start_from="{key}"', "--set", "training.model.channels=20")
    assert "channels=16" in built.wakeword("run", "--config", "wakeword.yaml", *wrong, expect=2)


def test_a_recording_with_another_name_changes_nothing_but_the_manifest(built) -> None:
    elsewhere = built.folder / "recordings" / "moved"
    elsewhere.mkdir()
    shutil.move(built.folder / "recordings" / "person05.wav", elsewhere)
    assert built.run()["built"] == ["raw_manifest"]


def automatic(built) -> Path:
    """The configuration of builds that begin by themselves."""
    path = built.folder / "automatic.yaml"
    settings = "automation: {rebuild_on_change: true, check_seconds: 5, quiet_seconds: 0}\n"
    path.write_text((built.folder / "wakeword.yaml").read_text() + settings)
    return path


def say_once_more(built) -> None:
    """Record the word in validation."""
    recordings, splits = built.folder / "recordings", load_config(built.folder / "wakeword.yaml").data.splits
    spoken = (recordings / f"more{number}.wav" for number in count())
    new = next(one for one in spoken if not one.exists() and split_of(f"kitchen/{one.stem}", 1, splits) == "val")
    sound, rate = soundfile.read(recordings / "person03.wav")
    soundfile.write(new, 0.8 * sound, rate)


def test_a_sensor_rebuilds_what_changed_recordings_reach_and_nothing_else(built, instance) -> None:
    config, before = automatic(built), time.time()
    say_once_more(built)
    resource = ProjectResource(config_path=str(config), home=str(built.path))
    runs = list(built_by(rebuild_sensor(load_config(config).automation), resource, instance))
    assert [name for run in runs for name in run if name in NETWORKS] == []
    assert materialized(instance, (*PLAIN, *PARTITIONED), before) == REBUILT


@pytest.mark.long
@pytest.mark.server
def test_the_daemon_rebuilds_as_much_and_does_so_by_itself(built, instance) -> None:
    config, before = automatic(built), time.time()
    loaded = load_config(config)
    with daemon(built.path, config):
        say_once_more(built)
        wait_until(lambda: not going_on(instance) and not due(Project(loaded, built.path), instance), built.path)
    assert materialized(instance, (*PLAIN, *PARTITIONED), before) == REBUILT


def test_a_failed_check_stops_what_is_downstream_and_says_why(built) -> None:
    options = ("--set", "checks.min_val_auc=0.9999999", "--set", "training.schedule.epochs=1")
    message = built.wakeword("run", *options, expect=1)
    assert "beats_chance" in message and "checks.min_val_auc" in message
    states = json.loads(built.wakeword("status", "--json", "--config", "wakeword.yaml", *options))
    assert {s["asset"]: s["state"] for s in states}["calibrated_model"] != "fresh"


def test_a_wrong_setting_is_one_sentence_and_writes_nothing(built, tmp_path: Path) -> None:
    message = built.wakeword("run", "--home", str(tmp_path / "new"), "--set", "training.schedule.epochs=0", expect=2)
    assert "training.schedule.epochs" in message and len(message.strip().splitlines()) == 1
    assert not (tmp_path / "new").exists()


def test_an_unknown_asset_is_a_wrong_setting(built) -> None:
    assert "raw_manifest" in built.wakeword("run", "--select", "nonsense", expect=2)
