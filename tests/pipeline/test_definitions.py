"""The asset graph as people see it: a change of any of this should be meant."""

import subprocess
import sys

import dagster as dg
import pytest

from wakeword_core.checks import CHECKS
from wakeword_core.config import Config
from wakeword_core.project import RAW_AUDIO
from wakeword_core.stages import STAGES
from wakeword_pipeline.definitions import ASSETS, defs

GRAPH = {
    "raw_audio": ("ingest", set()),
    "synthetic_speech": ("ingest", set()),
    "raw_manifest": ("ingest", {"raw_audio", "synthetic_speech"}),
    "audio_shards": ("ingest", {"raw_manifest"}),
    "mel_features": ("features", {"audio_shards"}),
    "cmvn_stats": ("features", {"mel_features"}),
    "trained_model": ("model", {"mel_features", "cmvn_stats"}),
    "mined_negatives": ("model", {"trained_model", "audio_shards"}),
    "tuned_model": ("model", {"trained_model", "mined_negatives", "mel_features", "cmvn_stats"}),
    "calibrated_model": ("model", {"tuned_model", "mel_features", "audio_shards"}),
    "onnx_model": ("delivery", {"calibrated_model"}),
    "int8_model": ("delivery", {"onnx_model", "mel_features"}),
    "metrics_report": (
        "delivery",
        {"onnx_model", "calibrated_model", "trained_model", "tuned_model", "raw_manifest", "mel_features"}
        | {"audio_shards"},
    ),
    "model_bundle": ("delivery", {"onnx_model", "int8_model", "metrics_report", "raw_manifest"}),
}


@pytest.fixture(scope="module")
def graph():
    return defs.resolve_asset_graph()


def test_groups_and_edges(graph) -> None:
    found = {
        node.key.to_user_string(): (node.group_name, {parent.to_user_string() for parent in node.parent_keys})
        for node in graph.asset_nodes
    }
    assert found == GRAPH


def test_dagsters_edges_are_the_projects(graph) -> None:
    """The stage table is what is built; the assets only show it."""
    for stage in STAGES:
        parents = {parent.to_user_string() for parent in graph.get(dg.AssetKey(stage.name)).parent_keys}
        assert parents == {one.stage for one in stage.inputs}, stage.name
        assert graph.get(dg.AssetKey(stage.name)).is_partitioned == stage.partitioned


def test_every_asset_is_described_owned_and_of_a_kind(graph) -> None:
    for node in graph.asset_nodes:
        assert node.description
        if node.key.to_user_string() != RAW_AUDIO:
            assert node.owners == ["team:wakeword"] and node.kinds


def test_only_splits_are_partitions(graph) -> None:
    partitioned = {node.key.to_user_string() for node in graph.asset_nodes if node.is_partitioned}
    assert partitioned == {"audio_shards", "mel_features"}
    assert graph.get(dg.AssetKey("mel_features")).partitions_def.get_partition_keys() == ["train", "val", "test"]


def test_every_stage_with_checks_has_them_in_the_graph(graph) -> None:
    specs = {spec.key: spec.blocking for asset in ASSETS if hasattr(asset, "check_specs") for spec in asset.check_specs}
    assert specs == {dg.AssetCheckKey(dg.AssetKey(check.stage), check.name): check.blocking for check in CHECKS}
    assert {stage.name for stage in STAGES} - {check.stage for check in CHECKS} == {"synthetic_speech"}


def test_the_gpu_is_used_by_one_at_a_time() -> None:
    pools = {op.pool for asset in ASSETS if isinstance(asset, dg.AssetsDefinition) for op in [asset.op] if op.pool}
    assert pools == {"gpu"}


def test_nothing_starts_by_itself() -> None:
    repository = defs.get_repository_def()
    assert all(sensor.default_status.value != "RUNNING" for sensor in repository.sensor_defs)
    assert all(schedule.default_status.value != "RUNNING" for schedule in repository.schedule_defs)


def test_settings_of_every_stage_are_json() -> None:
    from wakeword_core.files import canonical_json

    for stage in STAGES:
        canonical_json(stage.settings(Config(), "train" if stage.partitioned else None))


def test_definitions_load_without_torch_and_mlflow() -> None:
    code = "import sys, wakeword_pipeline.definitions; print(sorted({'torch', 'mlflow', 'pandas'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in ("[]", "['pandas']")
