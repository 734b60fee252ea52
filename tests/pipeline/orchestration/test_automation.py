"""When the sensor begins builds, and of what: on a graph of three stages that write text."""

from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest

from wakeword_core.config import SPLITS, Config
from wakeword_core.config.loading import save_config
from wakeword_core.graph.project import Project
from wakeword_core.graph.stage import Input, Stage, StageRun
from wakeword_core.stage_names import RAW_AUDIO
from wakeword_pipeline.orchestration.automation import SENSOR, Watch, build_all, look, nightly_schedule, rebuild_sensor
from wakeword_pipeline.orchestration.due import Phase, code_version
from wakeword_pipeline.orchestration.resources import ProjectResource, current_build
from wakeword_pipeline.orchestration.runs import BUILD_TAG

QUIET = 60


def write(run: StageRun) -> None:
    """Contents follow from those of the inputs; a manifest has a facet for each split."""
    recordings = World.present.recordings if not run.inputs else ""
    (run.out / "data.txt").write_text(f"{recordings}{[artifact.content for artifact in run.inputs.values()]}")
    run.facets = {split: part for split, part in zip(SPLITS, recordings.split("-"), strict=False)}


def stage(name: str, *inputs: Input, settings: tuple[str, ...] = (), partitioned: bool = False) -> Stage:
    return Stage(name, "1", write, inputs, settings, "group", ("text",), "A text.", partitioned=partitioned)


GRAPH = (
    stage("raw_manifest", Input(RAW_AUDIO)),
    stage("audio_shards", Input("raw_manifest", facet="split"), partitioned=True),
    stage("cmvn_stats", Input("audio_shards", split="train"), settings=("seed",)),
    stage("onnx_model", Input("cmvn_stats"), Input("audio_shards", split="val")),
)


class World:
    """A project whose recordings a test changes, a Dagster instance, and a clock."""

    present: "World"
    """That of the test that runs."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Project, "fingerprint", lambda project: self.recordings)
        World.present = self
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
                settings = code_version(self.project.stages[name], self.project.config)
                version = {"dagster/data_version": artifact.content, "dagster/code_version": settings}
                key = {"artifact_key": artifact.key}
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


@pytest.fixture(autouse=True)
def toy_graph(world: World) -> Iterator[None]:
    """What opens the project in this process gets the graph of the tests."""
    token = current_build.set(world.project)
    yield
    current_build.reset(token)


def resource_of(world: World, folder: Path, **automation: float) -> ProjectResource:
    save_config(Config.model_validate({"automation": automation}), folder / "config.yaml")
    return ProjectResource(config_path=str(folder / "config.yaml"), home=str(world.home))


MANIFEST = [Phase(("raw_manifest",))]
EVERYTHING = [
    MANIFEST,
    [Phase(("audio_shards",), split) for split in SPLITS],
    [Phase(("cmvn_stats", "onnx_model"))],
]


def test_the_first_build_is_of_everything_phase_by_phase(world: World) -> None:
    assert world.rest() == EVERYTHING
    assert world.look() == ([], "the recordings have not changed")


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
        assert world.look() == ([], "the recordings have changed; the build waits until they stop changing")
        world.now += QUIET - 1
        reason = f"the recordings changed less than {QUIET} s ago; the build waits until they stop changing"
        assert world.look() == ([], reason)
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
    assert world.look() == ([], "the recordings have not changed")
    world.recordings = "a-b-C"
    assert world.rest() == [MANIFEST, [Phase(("audio_shards",), "test")], EVERYTHING[2]]


@pytest.mark.parametrize("on", [False, True])
def test_one_setting_switches_it_on(on: bool) -> None:
    config = Config.model_validate(
        {"automation": {"rebuild_on_change": on, "nightly": on, "check_seconds": 15, "nightly_cron": "30 2 * * 1"}}
    )
    sensor, schedule = rebuild_sensor(config.automation), nightly_schedule(config.automation)
    assert (sensor.default_status.value == "RUNNING") == (schedule.default_status.value == "RUNNING") == on
    assert sensor.name == SENSOR and sensor.minimum_interval_seconds == 15 and schedule.cron_schedule == "30 2 * * 1"


@pytest.fixture
def tick(tmp_path: Path, world: World) -> Callable[[], dg.SensorResult | dg.SkipReason]:
    """The sensor itself, evaluated once."""
    resource = resource_of(world, tmp_path, quiet_seconds=0)
    sensor = rebuild_sensor(Config().automation)

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
    assert given["fingerprint"] == ""  # of what its run finds
    assert given["home"] == str(world.home) and not given["settings"]
    assert second.asset_events[0].tags == {"dagster/data_version": "a-b-c"}
    assert tick(second.cursor).run_requests[0].run_key == request.run_key
    world.instance.add_run(a_run(world.instance, dg.DagsterRunStatus.STARTED, request.run_key))
    assert "has not finished yet" in str(tick(second.cursor).skip_message)


def test_a_run_that_failed_is_not_begun_again(world: World, tick) -> None:
    cursor = tick(None).cursor
    request = tick(cursor).run_requests[0]
    world.instance.add_run(a_run(world.instance, dg.DagsterRunStatus.FAILURE, request.run_key))
    result = tick(cursor)
    assert not result.run_requests and "did not finish" in str(result.skip_reason)
    world.recordings = "a-b-C"
    assert tick(tick(result.cursor).cursor).run_requests


def test_recordings_that_come_back_are_built_again(world: World, tick) -> None:
    """Although the run that was made of them then has a key of its own."""
    cursor = tick(None).cursor
    request = tick(cursor).run_requests[0]
    world.instance.add_run(a_run(world.instance, dg.DagsterRunStatus.SUCCESS, request.run_key))
    world.recordings = "a-b-C"
    away = tick(tick(cursor).cursor)
    world.recordings = "a-b-c"
    back = tick(tick(away.cursor).cursor)
    assert back.run_requests and back.run_requests[0].run_key != request.run_key


def test_what_follows_the_manifest_is_of_the_recordings_that_it_lists(world: World, tick) -> None:
    second = tick(tick(None).cursor)
    world.build(MANIFEST)
    requests = tick(second.cursor).run_requests
    assert len(requests) == len(SPLITS)
    assert {one.run_config["resources"]["project"]["config"]["fingerprint"] for one in requests} == {"a-b-c"}


def a_run(instance: dg.DagsterInstance, status: dg.DagsterRunStatus, run_key: str) -> dg.DagsterRun:
    return dg.DagsterRun(job_name="any", status=status, tags={"dagster/run_key": run_key})


def test_the_nightly_build_makes_what_is_due_in_runs_of_its_own(world: World, tmp_path: Path) -> None:
    resource = resource_of(world, tmp_path)
    (world.home / "dagster").mkdir(parents=True)
    for begun in (EVERYTHING, []):
        before = {run.run_id for run in world.instance.get_runs()}
        assert build_all.execute_in_process(instance=world.instance, resources={"project": resource}).success
        runs = [run for run in world.instance.get_runs() if run.run_id not in before and BUILD_TAG in run.tags]
        selected = [{key.to_user_string() for key in run.asset_selection or ()} for run in reversed(runs)]
        assert [names for names in selected if names] == [set(phase.assets) for phases in begun for phase in phases]


def test_a_nightly_build_that_fails_says_why(world: World, tmp_path: Path) -> None:
    world.recordings = "broken"
    result = build_all.execute_in_process(
        instance=world.instance, resources={"project": resource_of(world, tmp_path)}, raise_on_error=False
    )
    failure = result.failure_data_for_node("build_everything")
    assert not result.success and "audio_shards[val]" in failure.user_failure_data.description


def test_an_idle_tick_plans_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks at every artifact, which is too much for every half minute of nothing."""
    world.rest()

    def asked(*_: object) -> None:
        raise AssertionError("nothing has changed")

    monkeypatch.setattr(Project, "find", asked)
    assert world.look() == ([], "the recordings have not changed")
