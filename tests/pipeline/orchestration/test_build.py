"""Which runs a build makes, and what stops it: on the project's graph, with stages and checks that cost nothing."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from shutil import copyfile, rmtree

import dagster as dg
import pytest
import soundfile

from wakeword_core.config import SPLITS, Config
from wakeword_core.files import write_json
from wakeword_core.graph.project import Project
from wakeword_core.graph.stage import Check, CheckRun, Stage, StageRun, Verdict
from wakeword_core.graph.stages import STAGES
from wakeword_core.graph.stages.bundle import CARD_JSON, MODEL_FACET
from wakeword_core.registry.history import Entry
from wakeword_core.runtime.exported import CARD_MARKDOWN
from wakeword_core.stage_names import CHAMPION, COMPARISON, MODEL
from wakeword_core.store.artifacts import Artifact, artifact_name
from wakeword_core.store.locks import is_held
from wakeword_core.training.records import HISTORY
from wakeword_pipeline.orchestration.build import BuildFailedError, Outcome, run_build
from wakeword_pipeline.orchestration.due import places

EVERYTHING = [
    {"raw_manifest"},
    *({f"audio_shards[{split}]", f"mel_features[{split}]"} for split in SPLITS),
    {stage.name for stage in STAGES[4:] if stage.optional(Config())},
]
"""The assets of each run of the first build; synthetic speech is off, and so are microcontrollers."""
DELIVERY = {"metrics_report", "model_bundle", COMPARISON}
CARD = {
    "model": {"threshold": 0.5},
    "metrics": {"test": {"frr": 0.0, "fah": 0.0, "background_hours": 1.0}},
    "data": {"learnt_from": {"commercial_use": "allowed"}, "without_licence": [], "recordings": 1, "hours": 1.0},
}
FIGURES = {
    "tuned_model": {"tuned": False, "kept": False},
    "metrics_report": dict.fromkeys(
        ("frr", "fah", "words", "misses", "false_alarms", "background_hours", "threshold"), 0.0
    ),
    COMPARISON: {"opponent": "", "compared": False, "passed": True, "sentence": "there is no champion"},
}


class World:
    """A project of one recording, a Dagster instance, and what the checks of its stages say."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance, number: int) -> None:
        self.folder, self.home, self.instance = folder, folder / "home", instance
        self.phrase = f"robin {'abcdefghijklm'[number]}"
        """Everything depends on it: it gives a test a store of its own, without another database for MLflow."""
        self.verdicts: dict[tuple[str, str | None], Verdict] = {}
        self.on_the_gpu: set[str] = set()
        self.meanwhile: dict[str, Callable[[], None]] = {}
        """What happens once while a stage is made."""
        self.begin()

    def begin(self) -> "World":
        """Forget the runs and checks until now."""
        self.before = {run.run_id for run in self.instance.get_runs()}
        self.measured: list[tuple[str, str | None]] = []
        return self

    def build(self, *select: str, **settings: dict) -> Outcome:
        return run_build(self.project(**settings), self.instance, select)

    def project(self, **settings: dict) -> Project:
        source = {"name": "clips", "path": self.folder / "clips", "role": "negative"}
        config = Config.model_validate({"phrase": self.phrase, "data": {"sources": [source]}, **settings})
        return Project(config, self.home, graph=tuple(self.stage(stage) for stage in STAGES))

    def stage(self, stage: Stage) -> Stage:
        def make(run: StageRun) -> None:
            if happens := self.meanwhile.pop(stage.name, None):
                happens()
            if is_held(self.home / "gpu.lock"):
                self.on_the_gpu.add(stage.name)
            (run.out / "data.txt").write_text(run.key)
            (run.out / HISTORY).touch()
            (run.out / CARD_MARKDOWN).write_text("card")
            write_json(run.out / CARD_JSON, CARD)
            facets = [*SPLITS, *(edge.facet for other in STAGES for edge in other.inputs if edge.facet)]
            run.facets = dict.fromkeys(facets, run.key)
            if "onnx_model" in run.inputs:
                run.facets[MODEL_FACET] = run.inputs["onnx_model"].content
            run.figures = dict(FIGURES.get(stage.name, {}))
            if champion := run.inputs.get(CHAMPION):
                run.figures |= {"opponent": champion.key, "compared": True}

        def check(artifact: Artifact, run: CheckRun) -> Verdict:
            self.measured.append((stage.name, run.split))
            return self.verdicts.get((stage.name, run.split), Verdict(True, "fine"))

        checks = tuple(Check("fine", "As it should be.", check, limits=found.limits) for found in stage.checks[:1])
        return replace(stage, make=make, checks=checks)

    def runs(self) -> list[set[str]]:
        """The assets that each run of its builds has executed, oldest first."""
        steps = []
        for run in reversed([run for run in self.instance.get_runs() if run.run_id not in self.before]):
            entries = self.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_START)
            split = run.tags.get("dagster/partition")
            steps.append({f"{entry.step_key}[{split}]" if split else str(entry.step_key) for entry in entries})
        return [step for step in steps if "raw_audio" not in step]


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[Callable[[], World]]:
    folder, numbers = tmp_path_factory.mktemp("worlds"), count()
    for name in ("clips", "home/dagster"):
        (folder / name).mkdir(parents=True)
    copyfile(empty_store, folder / "home" / "mlflow.db")
    soundfile.write(folder / "clips" / "a.wav", [0.0] * 16_000, 16_000)
    with dg.instance_for_test(temp_dir=str(folder / "home" / "dagster")) as instance:
        yield lambda: World(folder, instance, next(numbers))


@pytest.fixture
def world(worlds: Callable[[], World]) -> World:
    return worlds()


@pytest.fixture(scope="module")
def first(worlds: Callable[[], World]) -> tuple[World, Outcome]:
    """A world in which everything was built once, with a warning of a blocking check, and the outcome."""
    world = worlds()
    world.verdicts["tuned_model", None] = Verdict(False, "worse, but kept in any case", severity="warning")
    outcome = world.build()
    assert world.runs() == EVERYTHING and len(world.measured) == len(set(world.measured)) == len(names(EVERYTHING))
    return world, outcome


@pytest.fixture
def built(first: tuple[World, Outcome]) -> World:
    return first[0].begin()


def names(runs: list[set[str]]) -> set[str]:
    return set().union(*runs)


def test_a_warning_of_a_blocking_check_stops_nothing_and_what_is_done_is_not_run_again(first, built: World) -> None:
    """Such as of a tuning that is worse but kept all the same, or of a small network that stays large in INT8."""
    made = first[1]
    assert set(made.built) == names(EVERYTHING) and made.reused == []
    again = built.build()
    assert again.built == [] and set(again.reused) == set(made.built)
    assert built.runs() == [] and built.measured == []


@pytest.mark.parametrize("stage", ["trained_model", "raw_manifest"])
def test_what_the_disk_changed_is_built_again_before_anything_is_built_on_it(built: World, stage: str) -> None:
    """Size and time are as they were; so what is made from it next comes out as if nothing had happened."""
    project = built.project()
    follower, split = ("tuned_model", None) if stage == "trained_model" else ("audio_shards", "val")
    damaged = project.require(stage).file("data.txt")
    whole, times = damaged.read_bytes(), damaged.stat()
    damaged.write_bytes(whole[::-1])
    os.utime(damaged, ns=(times.st_atime_ns, times.st_mtime_ns))
    rmtree(project.require(follower, split).path)
    assert set(built.build().built) == {stage, artifact_name(follower, split)}
    assert built.project().require(stage).file("data.txt").read_bytes() == whole
    assert built.begin().build().built == [] and built.runs() == []


def test_who_uses_the_gpu_holds_its_lock_meanwhile(built: World) -> None:
    switched_on = {stage.name for stage in STAGES if stage.gpu} - {"teacher_scores"}  # of teachers there are none
    assert built.on_the_gpu == switched_on != set()


def test_a_setting_of_the_report_runs_what_shows_it_and_nothing_else(built: World) -> None:
    outcome = built.build(evaluation={"report": {"clips": 7}})
    assert built.runs() == [DELIVERY]
    assert {"metrics_report", "model_bundle"} <= set(outcome.built) <= DELIVERY
    assert {name for name, _ in built.measured} <= DELIVERY


def test_what_another_configuration_recorded_last_is_recorded_again(built: World) -> None:
    built.build(evaluation={"report": {"clips": 8}})
    built.begin()
    assert built.build().built == [] and built.measured == []
    assert "metrics_report" in names(built.runs()) <= DELIVERY
    assert built.begin().build().built == [] and built.runs() == []


def test_what_was_recorded_of_other_settings_with_the_same_content_is_recorded_again(built: World) -> None:
    other = {"dagster/data_version": built.project().require("raw_manifest").content, "dagster/code_version": "other"}
    built.instance.report_runless_asset_event(dg.AssetMaterialization("raw_manifest", tags=other))
    assert built.build().built == [] and names(built.runs()) == {"raw_manifest"}
    assert built.begin().build().built == [] and not built.runs()


def test_another_limit_makes_its_checks_again_and_nothing_else(built: World) -> None:
    assert built.build(checks={"min_val_auc": 0.55}).built == []
    assert built.runs() == [{"trained_model"}] and built.measured == [("trained_model", None)]


def test_an_error_of_a_blocking_check_stops_what_is_downstream_and_is_said_again(world: World) -> None:
    world.verdicts["trained_model", None] = Verdict(False, "no better than chance")
    for _ in range(2):
        with pytest.raises(BuildFailedError, match=r"^check fine of trained_model: no better than chance$"):
            world.build()
        assert world.runs() == [*EVERYTHING[:-1], {"cmvn_stats", "trained_model"}]
    assert world.build("cmvn_stats").reused == ["cmvn_stats"]
    with pytest.raises(BuildFailedError, match="no better than chance"):
        world.build("onnx_model")


def test_another_build_of_the_home_that_records_meanwhile_stops_nothing(world: World) -> None:
    def record() -> None:
        other = {"dagster/data_version": "of other settings"}
        world.instance.report_runless_asset_event(dg.AssetMaterialization("raw_manifest", tags=other))

    world.meanwhile["cmvn_stats"] = record
    assert set(world.build().built) == names(EVERYTHING)
    assert world.begin().build().built == [] and names(world.runs()) == {"raw_manifest"}  # which is recorded again


def test_a_check_of_one_split_is_that_splits(world: World) -> None:
    """The verdict on the last split that was checked is not the others'."""
    world.verdicts["mel_features", "train"] = Verdict(False, "not finite")
    for _ in range(2):
        with pytest.raises(BuildFailedError, match=r"^check fine of mel_features\[train\]: not finite$"):
            world.build()
        assert world.runs() == EVERYTHING[:-1]


def test_an_error_that_nobody_foresaw_is_one_line_and_where_its_traceback_is(world: World, caplog) -> None:
    def fails() -> None:
        raise RuntimeError("no such table\n[SQL: select]")

    world.meanwhile["raw_manifest"] = fails
    with caplog.at_level("DEBUG", "wakeword_pipeline"), pytest.raises(BuildFailedError) as failed:
        world.build()
    assert str(failed.value) == (
        "raw_manifest: RuntimeError: no such table; `wakeword ui` shows its traceback, as does --verbose"
    )
    assert 'raise RuntimeError("no such table' in caplog.text


def test_a_signal_to_stop_ends_a_build_as_one_and_the_next_goes_on(world: World) -> None:
    def stops() -> None:
        raise dg.DagsterExecutionInterruptedError

    world.meanwhile["raw_manifest"] = stops
    with pytest.raises(KeyboardInterrupt):
        world.build("raw_manifest")
    assert world.build("raw_manifest").built == ["raw_manifest"]


def test_recordings_that_vanish_before_they_are_observed_end_the_build_with_one_sentence(world: World) -> None:
    attic = {"name": "attic", "path": world.folder / "attic", "role": "noise"}
    attic["path"].mkdir()
    soundfile.write(attic["path"] / "a.wav", [0.0] * 16_000, 16_000)
    project = world.project(data={"missing_source": "fail", "sources": [attic]})
    project.fingerprint()
    rmtree(attic["path"])
    with pytest.raises(BuildFailedError, match=r"^raw_audio: the folder .* of source 'attic' does not exist"):
        run_build(project, world.instance)
    assert world.runs() == []


def test_what_another_machine_has_built_is_taken_checked_and_recorded(
    built: World, worlds: Callable[[], World], tmp_path: Path, empty_store: Path
) -> None:
    pytest.importorskip("obstore", reason="the extra remote is not installed")
    remote = {"url": tmp_path.as_uri()}
    one, other = built.project(remote=remote), worlds()
    assert one.remote is not None and all([one.remote.push(one.require(*place)) for place in places(one)])
    other.phrase, other.home = built.phrase, tmp_path / "home"
    other.home.mkdir()
    copyfile(empty_store, other.home / "mlflow.db")
    outcome = other.build(remote=remote)
    assert outcome.built == [] and set(outcome.reused) == names(EVERYTHING)
    assert other.runs() == EVERYTHING and len(other.measured) == len(names(EVERYTHING))
    assert other.project().require("model_bundle").content == one.require("model_bundle").content


def test_a_model_that_is_promoted_during_a_build_is_what_the_new_one_is_held_against(built: World) -> None:
    other, new = ({"export": {"onnx": {"parity_tolerance": tolerance}}} for tolerance in (2e-4, 3e-4))
    built.build(MODEL, **other)
    promoted = built.project(**other).require(MODEL).key

    def promote() -> None:
        with built.project().registry().changing() as registry:
            registry.adding(Entry(promoted, "promoted", "it hears no dog", "person"))

    built.meanwhile[COMPARISON] = promote
    built.build(**new)
    champion = built.project().registry().champion
    assert (champion.key, champion.opponent) == (built.project(**new).require(MODEL).key, promoted)
    assert champion.cleared and champion.by == "gate"
