"""The asset graph as people see it: a change of any of this should be meant."""

import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest
from tiny_project import tiny_project

from wakeword_core.config import Config
from wakeword_core.config.loading import load_config
from wakeword_core.graph.project import Project
from wakeword_core.graph.stages import STAGES
from wakeword_core.stage_names import CHAMPION, RAW_AUDIO
from wakeword_pipeline.orchestration.assets import assets_of, observe_job
from wakeword_pipeline.orchestration.definitions import define, defs
from wakeword_pipeline.orchestration.due import code_version
from wakeword_pipeline.orchestration.home import config_path
from wakeword_pipeline.orchestration.resources import ProjectResource, config_of_run

ASSETS = assets_of(Config())
GRAPH = {
    "raw_audio": ("ingest", set()),
    "synthetic_speech": ("ingest", set()),
    "raw_manifest": ("ingest", {"raw_audio", "synthetic_speech"}),
    "audio_shards": ("ingest", {"raw_manifest"}),
    "mel_features": ("features", {"audio_shards", "raw_manifest"}),
    "cmvn_stats": ("features", {"mel_features"}),
    "teacher_scores": ("model", {"mel_features"}),
    "trained_model": ("model", {"mel_features", "cmvn_stats"}),
    "mined_negatives": ("model", {"trained_model", "audio_shards"}),
    "tuned_model": ("model", {"trained_model", "mined_negatives", "mel_features", "cmvn_stats", "audio_shards"}),
    "calibrated_model": ("model", {"tuned_model", "mel_features", "audio_shards", "raw_manifest"}),
    "onnx_model": ("delivery", {"calibrated_model"}),
    "int8_model": ("delivery", {"onnx_model", "mel_features", "audio_shards"}),
    "fp16_model": ("delivery", {"onnx_model", "mel_features"}),
    "tflite_model": ("delivery", {"calibrated_model", "mel_features", "audio_shards", "raw_manifest"}),
    "torch_program": ("delivery", {"calibrated_model", "onnx_model", "mel_features"}),
    "metrics_report": (
        "delivery",
        {"onnx_model", "calibrated_model", "trained_model", "tuned_model", "raw_manifest", "mel_features"}
        | {"audio_shards", "tflite_model", "judged_model"},
    ),
    "judge_model": ("model", {"audio_shards", "mel_features", "raw_manifest"}),
    "judged_model": ("delivery", {"onnx_model", "judge_model", "audio_shards", "raw_manifest"}),
    "openwakeword_model": ("delivery", {"judge_model", "audio_shards", "raw_manifest"}),
    "model_bundle": (
        "delivery",
        {"judged_model", "onnx_model", "int8_model", "fp16_model", "tflite_model", "openwakeword_model"}
        | {"torch_program", "metrics_report", "raw_manifest"},
    ),
    "champion_comparison": ("delivery", {"onnx_model", "judged_model", "tflite_model", "model_bundle", "audio_shards"}),
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
        # the champion is of an earlier build, and no edge between assets
        inputs = {one.stage for one in stage.inputs if one.decides(load_config(config_path()))}
        assert parents == inputs - {CHAMPION}, stage.name
        assert graph.get(dg.AssetKey(stage.name)).is_partitioned == stage.partitioned


@pytest.mark.parametrize(
    ("settings", "trained", "tuned"),
    [
        ({}, {"train"}, {"train"}),
        ({"training": {"validation": {"keep": "best"}}}, {"train", "val"}, {"train"}),
        ({"training": {"schedule": {"kind": "plateau"}}}, {"train", "val"}, {"train"}),
        ({"mining": {"enabled": True}}, {"train"}, {"train"}),
        ({"mining": {"enabled": True, "tuning": {"keep": "better"}}}, {"train"}, {"train", "val"}),
        (
            {"mining": {"enabled": True}, "training": {"validation": {"keep": "best"}}},
            {"train", "val"},
            {"train", "val"},
        ),
        (
            {"mining": {"enabled": True}, "training": {"schedule": {"kind": "plateau"}}},
            {"train", "val"},
            {"train", "val"},
        ),
    ],
)
def test_validation_is_an_edge_where_it_decides(settings: dict, trained: set[str], tuned: set[str]) -> None:
    assets = assets_of(Config.model_validate(settings))
    graph = dg.Definitions(assets=assets, resources=defs.resources).resolve_asset_graph()
    for name, expected in (("trained_model", trained), ("tuned_model", tuned)):
        mapping = graph.get(dg.AssetKey(name)).partition_mappings[dg.AssetKey("mel_features")]
        assert set(mapping.partition_keys) == expected
    noise = dg.AssetKey("audio_shards") in graph.get(dg.AssetKey("tuned_model")).parent_keys
    assert noise is ("mining" in settings)


def test_teachers_are_an_edge_where_there_are_any() -> None:
    assets = assets_of(Config.model_validate({"training": {"teacher": {"models": ["abcdef"]}}}))
    graph = dg.Definitions(assets=assets, resources=defs.resources).resolve_asset_graph()
    scores = dg.AssetKey("teacher_scores")
    assert scores in graph.get(dg.AssetKey("trained_model")).parent_keys
    assert scores not in graph.get(dg.AssetKey("tuned_model")).parent_keys  # without mining there is no tuning


def test_a_broken_configuration_still_shows_the_graph(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "broken.yaml").write_text("training: {schedule: {epochs: many}}")
    shown = define(ProjectResource(config_path=str(tmp_path / "broken.yaml"), home=str(tmp_path)))
    assert len(list(shown.resolve_asset_graph().asset_nodes)) == len(GRAPH)
    assert "default settings" in caplog.text and "training.schedule.epochs is 'many'" in caplog.text


def test_every_asset_is_described_owned_and_of_a_kind(graph) -> None:
    for node in graph.asset_nodes:
        assert node.description
        if node.key.to_user_string() != RAW_AUDIO:
            assert node.owners == ["team:wakeword"] and node.kinds


def test_a_server_can_load_everything() -> None:
    dg.Definitions.validate_loadable(defs)


def test_only_splits_are_partitions(graph) -> None:
    partitioned = {node.key.to_user_string() for node in graph.asset_nodes if node.is_partitioned}
    assert partitioned == {"audio_shards", "mel_features"}
    assert graph.get(dg.AssetKey("mel_features")).partitions_def.get_partition_keys() == ["train", "val", "test"]


def test_the_checks_of_every_stage_are_in_the_graph(graph) -> None:
    specs = {spec.key: spec.blocking for asset in ASSETS if hasattr(asset, "check_specs") for spec in asset.check_specs}
    expected = {(stage.name, check.name): check.blocking for stage in STAGES for check in stage.checks}
    assert {(key.asset_key.to_user_string(), key.name): blocking for key, blocking in specs.items()} == expected


def test_every_asset_has_a_check(graph) -> None:
    checked = {key.asset_key for key in graph.asset_check_keys}
    assert {node.key for node in graph.asset_nodes} == checked


@pytest.mark.parametrize("hours", [0.05, 48])  # 0.05: the least there may be
def test_assets_grow_stale_only_where_that_is_asked_for(tmp_path: Path, graph, hours: float) -> None:
    assert all(node.freshness_policy is None for node in graph.asset_nodes)
    (tmp_path / "config.yaml").write_text(f"checks: {{stale_after_hours: {hours}}}\n")
    aging = define(ProjectResource(config_path=str(tmp_path / "config.yaml"), home=str(tmp_path / "home")))
    policies = {node.key.to_user_string(): node.freshness_policy for node in aging.resolve_asset_graph().asset_nodes}
    assert policies.pop(RAW_AUDIO) is None and len(policies) == len(STAGES)
    for policy in policies.values():
        assert policy.fail_window.to_timedelta() == timedelta(hours=hours) > policy.warn_window.to_timedelta()
    missing = define(ProjectResource(config_path=str(tmp_path / "none.yaml"), home=str(tmp_path / "home")))
    assert all(node.freshness_policy is None for node in missing.resolve_asset_graph().asset_nodes)


@pytest.mark.parametrize(
    "settings",
    [
        {"training": {"schedule": {"epochs": 3}}},
        {"evaluation": {"report": {"clips": 3}}},
        {"mining": {"enabled": True}},
        {"checks": {"max_frr": 0.1}},
    ],
)
def test_a_changed_setting_shows_on_the_assets_that_depend_on_it(settings: dict) -> None:
    before, after = (
        {key.to_user_string(): asset.code_versions_by_key[key] for asset in assets_of(config)[1:] for key in asset.keys}
        for config in (Config(), Config.model_validate(settings))
    )
    changed = {
        stage.name
        for stage in STAGES
        if stage.deciding_settings(Config(), None) != stage.deciding_settings(Config.model_validate(settings), None)
    }
    assert {name for name in before if before[name] != after[name]} == changed
    assert bool(changed) is ("checks" not in settings)


def test_a_raised_version_of_a_stage_shows_on_its_asset() -> None:
    assert code_version(STAGES[0], Config()) != code_version(replace(STAGES[0], version="0"), Config())


def test_what_a_run_made_with_other_settings_is_not_in_step(tmp_path: Path) -> None:
    config = tiny_project(tmp_path)
    project = ProjectResource(str(config), str(tmp_path / "home"))
    job = define(project).resolve_implicit_global_asset_job_def()
    manifest = dg.AssetKey("raw_manifest")
    planned = job.asset_layer.get(manifest).code_version
    health = {"data": {"health": {"max_seconds": 0.8}}}
    for settings, in_step in (({}, True), (health, False)):
        result = job.execute_in_process(
            asset_selection=[manifest], run_config=config_of_run({"settings": settings}), raise_on_error=False
        )
        (made,) = result.asset_materializations_for_node("raw_manifest")
        assert (made.tags["dagster/code_version"] == planned) is in_step
        expected = replace(project, settings=settings).open().find("raw_manifest")
        assert made.metadata["artifact_key"].value == expected.key
    told = Project(load_config(config, ["data.health.max_seconds=0.8"]), tmp_path / "home").find("raw_manifest")
    assert told.key == expected.key


def test_a_source_that_is_missing_warns_where_recordings_are_observed(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("data: {sources: [{name: attic, path: gone, role: noise}]}\n")
    bound = define(ProjectResource(config_path=str(tmp_path / "config.yaml"), home=str(tmp_path / "home")))
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        result = bound.resolve_job_def(observe_job.name).execute_in_process(instance=instance)
    (found,) = result.get_asset_check_evaluations()
    assert result.success and not found.passed and found.severity is dg.AssetCheckSeverity.WARN
    assert "attic: the folder" in found.description


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
        canonical_json(stage.deciding_settings(Config(), "train" if stage.partitioned else None))


def test_definitions_load_without_torch_and_mlflow() -> None:
    code = (
        "import sys, wakeword_pipeline.orchestration.definitions\n"
        "print(sorted({'torch', 'mlflow', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in ("[]", "['pandas']")


def test_a_run_from_the_page_names_missing_packages_of_all_that_it_selects(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    tracked = {"tracking": {"trackers": ["wandb"]}}
    bound = ProjectResource(config_path="", home=str(tmp_path / "home"), settings=tracked)
    run = define(bound).resolve_implicit_global_asset_job_def().execute_in_process(
        asset_selection=[dg.AssetKey(name) for name in ("raw_manifest", "trained_model")],
        instance=dg.DagsterInstance.ephemeral(),
        raise_on_error=False,
    )  # fmt: skip
    failures = [event for event in run.all_events if event.is_step_failure]
    assert "raw_manifest" in {failure.step_key for failure in failures}
    assert all("[trackers]" in failure.step_failure_data.user_failure_data.description for failure in failures)
