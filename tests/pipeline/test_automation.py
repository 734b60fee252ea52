"""When the sensor begins builds, and of what: on a graph of three stages that write text."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from wakeword_core.config import SPLITS, Config, Split
from wakeword_core.graph.project import Project
from wakeword_core.graph.stage import Input, Stage, StageRun
from wakeword_core.stage_names import RAW_AUDIO, StageName
from wakeword_pipeline.automation import SENSOR, Watch, build_all, look, nightly_schedule, rebuild_sensor
from wakeword_pipeline.phases import Phase

QUIET = 60


def write(run: StageRun) -> None:
    """Contents follow from those of the inputs; a manifest has a facet for each split."""
    recordings = run.recordings.content if not run.inputs else ""
    (run.out / "data.txt").write_text(f"{recordings}{[artifact.content for artifact in run.inputs.values()]}")
    run.facets = dict(zip(SPLITS, recordings.split("-"), strict=False))


def seed(config: Config, split: Split | None) -> dict:
    return {"seed": config.seed}


def only_split(config: Config, split: Split | None) -> dict:
    return {"split": split}


def stage(name: StageName, *inputs: Input, settings=only_split, **more: Any) -> Stage:
    return Stage(name, "1", write, inputs, settings, "group", (), "", **more)


GRAPH = (
    stage("raw_manifest", Input(RAW_AUDIO)),
    stage("audio_shards", Input("raw_manifest", facet="split"), partitioned=True),
    stage("trained_model", Input("audio_shards", split="train"), settings=seed),
    stage("onnx_model", Input("trained_model"), Input("audio_shards", split="val")),
)


class World:
    """A project whose recordings a test changes, a Dagster instance, and a clock."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Project, "fingerprint", lambda project, fresh=False: self.recordings)
        self.home, self.instance = home, dg.DagsterInstance.ephemeral()
        self.recordings, self.now, self.watch, self.seed = "a-b-c", 1_000.0, Watch(), 1

    @property
    def project(self) -> Project:
        config = Config.model_validate({"seed": self.seed, "automation": {"quiet_seconds": QUIET}})
        return Project(config, self.home, graph=GRAPH)

    def look(self) -> tuple[list[Phase], str]:
        self.watch, phases, why = look(Watch.of(self.watch.cursor), self.project, self.instance, self.now)
        assert bool(phases) != bool(why)
        return phases, why

    def build(self, phases: list[Phase]) -> None:
        """What Dagster would do."""
        for phase in phases:
            for name in phase.assets:
                artifact, _ = self.project.build(name, phase.partition)
                version, key = {"dagster/data_version": artifact.content}, {"artifact_key": artifact.key}
                self.instance.report_runless_asset_event(
                    dg.AssetMaterialization(name, partition=phase.partition, tags=version, metadata=key)
                )

    def rest(self) -> list[list[Phase]]:
        """All that is begun until nothing more is to be done, once the recordings were at rest."""
        begun: list[list[Phase]] = []
        self.look()
        self.now += QUIET
        while phases := self.look()[0]:
            begun.append(phases)
            self.build(phases)
            assert len(begun) < 10
        return begun


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path / "home", monkeypatch)


MANIFEST = [Phase(("raw_manifest",))]
EVERYTHING = [
    MANIFEST,
    [Phase(("audio_shards",), split) for split in SPLITS],
    [Phase(("trained_model", "onnx_model"))],
]


def test_the_first_build_is_of_everything_phase_by_phase(world: World) -> None:
    assert world.rest() == EVERYTHING
    assert world.look() == ([], "the recordings are as they were")


@pytest.mark.parametrize(
    ("recordings", "rebuilt"),
    [
        pytest.param("A-b-c", [[Phase(("audio_shards",), "train")], EVERYTHING[2]], id="train"),
        pytest.param("a-B-c", [[Phase(("audio_shards",), "val")], [Phase(("onnx_model",))]], id="val"),
        pytest.param("a-b-C", [[Phase(("audio_shards",), "test")]], id="test"),
        pytest.param("a-b-c-renamed", [], id="renamed"),
        pytest.param("A-B-c", [[Phase(("audio_shards",), one) for one in ("train", "val")], EVERYTHING[2]], id="two"),
    ],
)
def test_a_change_rebuilds_what_it_reaches_and_nothing_else(world: World, recordings: str, rebuilt: list) -> None:
    world.rest()
    world.recordings = recordings
    assert world.rest() == [MANIFEST, *rebuilt]


def test_nothing_begins_while_recordings_still_change(world: World) -> None:
    for copied in range(5):
        world.recordings = f"a-b-c{copied}"
        assert world.look() == ([], "the recordings have changed; they may not be at rest")
        world.now += QUIET - 1
        assert world.look() == ([], f"the recordings have not been at rest for {QUIET} s yet")
    world.now += 1
    assert world.look()[0] == MANIFEST


def test_a_change_in_the_middle_of_a_build_begins_with_the_manifest_again(world: World) -> None:
    world.look()
    world.now += QUIET
    world.build(world.look()[0])
    world.recordings = "a-B-c"
    assert world.look()[0] == []
    world.now += QUIET
    assert world.look()[0] == MANIFEST


def test_recordings_that_come_back_are_recorded_again(world: World) -> None:
    """Their artifacts are still there, but Dagster's newest are those of the others."""
    world.rest()
    world.recordings = "a-b-C"
    world.rest()
    world.recordings = "a-b-c"
    assert world.rest() == [MANIFEST, [Phase(("audio_shards",), "test")]]


def test_other_settings_begin_nothing_but_are_what_the_next_build_has(world: World) -> None:
    world.rest()
    world.seed = 2
    assert world.look() == ([], "the recordings are as they were")
    world.recordings = "a-b-C"
    assert world.rest() == [MANIFEST, [Phase(("audio_shards",), "test")], EVERYTHING[2]]


@pytest.mark.parametrize("on", [False, True])
def test_one_setting_switches_it_on(on: bool) -> None:
    config = Config.model_validate(
        {"automation": {"rebuild_on_change": on, "nightly": on, "check_seconds": 15, "nightly_cron": "30 2 * * 1"}}
    )
    sensor, schedule = rebuild_sensor(config), nightly_schedule(config)
    assert (sensor.default_status.value == "RUNNING") == (schedule.default_status.value == "RUNNING") == on
    assert sensor.name == SENSOR and sensor.minimum_interval_seconds == 15 and schedule.cron_schedule == "30 2 * * 1"


@pytest.fixture
def tick(tmp_path: Path, world: World) -> Callable[[], dg.SensorResult | dg.SkipReason]:
    """The sensor itself, evaluated once."""
    from wakeword_core.config.loading import save_config
    from wakeword_pipeline.resources import ProjectResource

    save_config(Config.model_validate({"automation": {"quiet_seconds": 0}}), tmp_path / "config.yaml")
    resource = ProjectResource(config_path=str(tmp_path / "config.yaml"), home=str(world.home))
    sensor = rebuild_sensor(Config())

    def evaluate(cursor: str | None) -> dg.SensorResult | dg.SkipReason:
        with dg.build_sensor_context(
            instance=world.instance, cursor=cursor, resources={"project": resource}
        ) as context:
            return sensor(context)

    return evaluate


def test_the_sensor_asks_for_runs_of_pinned_recordings_once(world: World, tick) -> None:
    first = tick(None)
    assert first.skip_reason and not first.run_requests
    second = tick(first.cursor)
    (request,) = second.run_requests
    assert request.asset_selection == [dg.AssetKey("raw_manifest")] and request.partition_key is None
    given = request.run_config["resources"]["project"]["config"]
    assert given["fingerprint"] == "a-b-c" and given["home"] == str(world.home) and not given["overrides"]
    assert second.asset_events[0].tags == {"dagster/data_version": "a-b-c"}
    assert tick(second.cursor).run_requests[0].run_key == request.run_key
    world.instance.add_run(a_run(world.instance, dg.DagsterRunStatus.STARTED, request.run_key))
    assert "is going on" in str(tick(second.cursor).skip_message)


def test_a_run_that_failed_is_not_begun_again(world: World, tick) -> None:
    request = tick(tick(None).cursor).run_requests[0]
    world.instance.add_run(a_run(world.instance, dg.DagsterRunStatus.FAILURE, request.run_key))
    result = tick(tick(None).cursor)
    assert not result.run_requests and "did not finish" in str(result.skip_reason)
    world.recordings = "a-b-C"
    assert tick(tick(result.cursor).cursor).run_requests


def a_run(instance: dg.DagsterInstance, status: dg.DagsterRunStatus, run_key: str) -> dg.DagsterRun:
    return dg.DagsterRun(job_name="any", status=status, tags={"dagster/run_key": run_key})


@pytest.mark.parametrize("status", [0, 1])
def test_the_nightly_build_is_the_command(status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from wakeword_pipeline.resources import ProjectResource

    ran: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        ran.append(command)
        return subprocess.CompletedProcess(command, status)

    monkeypatch.setattr("wakeword_pipeline.automation.subprocess.run", run)
    resource = ProjectResource(config_path="a.yaml", home=str(tmp_path), overrides=["training.schedule.epochs=3"])
    result = build_all.execute_in_process(resources={"project": resource}, raise_on_error=False)
    assert result.success == (status == 0)
    assert ran[0][2:] == [
        "wakeword_pipeline.cli", "run", "--config", "a.yaml", "--home", str(tmp_path),
        "--set", "training.schedule.epochs=3",
    ]  # fmt: skip


def test_an_idle_tick_asks_for_no_status(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It compares whole listings, which is too much for every half minute of nothing."""
    world.rest()

    def asked(project: Project) -> None:
        raise AssertionError("nothing has changed")

    monkeypatch.setattr("wakeword_pipeline.phases.status", asked)
    assert world.look() == ([], "the recordings are as they were")
