"""The graph on disk: which artifact belongs to the present settings, and why another does not."""

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from wakeword_core.config import SPLITS, Config
from wakeword_core.errors import ArtifactError, DataError
from wakeword_core.graph.project import Project
from wakeword_core.graph.stage import Check, CheckRun, Input, Stage, StageRun, Verdict
from wakeword_core.graph.stages import STAGES
from wakeword_core.graph.stages.manifest import all_sources
from wakeword_core.graph.status import status
from wakeword_core.store.artifacts import Artifact, artifact_name
from wakeword_core.store.graph import keys_behind


def write(name: str):
    """A stage body that writes its inputs' contents and its own name."""

    def make(run: StageRun) -> None:
        seen = ",".join(sorted(f"{key}={artifact.content}" for key, artifact in run.inputs.items()))
        (run.out / "data.txt").write_text(f"{name} {run.split} {seen}")
        run.facets = {split: f"{split}-{run.config.seed // 10}" for split in SPLITS}

    return make


def stage(name: str, inputs: tuple[Input, ...], settings: tuple[str, ...], version: str = "1", **more: Any) -> Stage:
    return Stage(name, version, write(name), inputs, settings, "group", (), "", **more)


GRAPH = (
    stage("raw_manifest", (Input("raw_audio"),), ("seed",)),
    stage("shards", (Input("raw_manifest", facet="split"),), (), partitioned=True),
    stage("stats", (Input("shards", split="train"),), ()),
)


@pytest.fixture
def make_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Project, "fingerprint", lambda self: "0" * 64)

    def make(graph: tuple[Stage, ...] = GRAPH, **settings: Any) -> Project:
        return Project(Config.model_validate(settings), tmp_path / "home", graph=graph)

    return make


def written(text: str):
    """A stage body that writes a text, and the same parts as any."""

    def make(run: StageRun) -> None:
        (run.out / "data.txt").write_text(text)
        run.facets = {split: f"{split}-{run.config.seed // 10}" for split in SPLITS}

    return make


def build_all(project: Project) -> list[str]:
    """Build everything; the names of what was not there."""
    order = [("raw_manifest", None), *(("shards", split) for split in SPLITS), ("stats", None)]
    return [artifact_name(*name) for name in order if project.build(*name)[1]]


def states(project: Project) -> dict[str, tuple[str, str]]:
    return {state.name: (state.state, state.because) for state in status(project)}


def test_everything_is_missing_then_fresh(make_project) -> None:
    project = make_project()
    assert {state for state, _ in states(project).values()} == {"missing"}
    assert build_all(project) == ["raw_manifest", "shards[train]", "shards[val]", "shards[test]", "stats"]
    assert {state for state, _ in states(make_project()).values()} == {"fresh"}


def test_a_changed_setting_is_named_and_what_depends_on_it_waits(make_project) -> None:
    build_all(make_project(seed=1))
    found = states(make_project(seed=11))
    assert found["raw_manifest"] == ("stale", "seed 1 → 11")
    assert found["shards[val]"] == ("stale", "waits for raw_manifest")


def test_a_facet_that_stays_the_same_keeps_what_is_below_fresh(make_project) -> None:
    build_all(make_project(seed=1))
    project = make_project(seed=2)
    assert build_all(project) == ["raw_manifest"]


def test_a_changed_input_is_named(make_project) -> None:
    build_all(make_project(seed=1))
    project = make_project(seed=11)
    project.build("raw_manifest")
    assert states(project)["shards[train]"] == ("stale", "raw_manifest changed (seed 1 → 11)")


def test_a_raised_code_version_is_named(make_project) -> None:
    build_all(make_project())
    newer = (*GRAPH[:2], stage("stats", GRAPH[2].inputs, (), "2"))
    assert states(make_project(newer))["stats"] == ("stale", "code version 1 → 2")


def test_an_input_that_decides_nothing_is_there_to_be_measured_on(make_project) -> None:
    """Its changes make nothing stale, until a setting has it decide."""
    watching = Input("shards", split="val", decides=lambda config: config.seed == 3)
    graph = (*GRAPH[:2], stage("stats", (*GRAPH[2].inputs, watching), ()))
    project = make_project(graph)
    build_all(project)
    stats = project.require("stats")
    assert "shards[val]=" in stats.file("data.txt").read_text() and set(stats.inputs) == {"shards[train]"}
    assert states(make_project(graph, seed=2))["stats"][0] == "stale"  # the manifest is
    watched = make_project(graph, seed=3)
    watched.build("raw_manifest")
    assert states(watched)["stats"] == ("stale", "shards[val] is new")


def test_damage_is_named_and_repaired(make_project) -> None:
    project = make_project()
    build_all(project)
    found = project.find("stats")
    (found.path / "data.txt").write_text("cut")
    assert states(make_project())["stats"] == ("stale", "its files are damaged")
    again = make_project()
    assert again.build("stats")[1] and states(again)["stats"][0] == "fresh"


def test_nothing_is_built_on_an_input_that_the_disk_changed(make_project) -> None:
    project = make_project()
    build_all(project)
    shards, stats = project.require("shards", "train"), project.require("stats")
    data, times = shards.file("data.txt"), shards.file("data.txt").stat()
    data.write_bytes(data.read_bytes()[::-1])
    os.utime(data, ns=(times.st_atime_ns, times.st_mtime_ns))
    shutil.rmtree(stats.path)
    assert states(make_project())["shards[train]"][0] == "fresh"  # to look costs no reading
    with pytest.raises(
        ArtifactError, match=r"shards\[train\], from which stats is to be built, changed on disk.* again"
    ):
        make_project().build("stats")
    assert build_all(make_project()) == ["shards[train]", "stats"]
    assert list(shards.path.parent.glob(".damaged-*")) and make_project().require("stats").content == stats.content


def test_a_missing_input_is_an_error_that_says_what_to_build(make_project) -> None:
    with pytest.raises(ArtifactError, match=r"raw_manifest is not built .* `wakeword run` builds it"):
        make_project().build("shards", "train")


def test_a_split_is_needed_exactly_where_there_are_splits(make_project) -> None:
    with pytest.raises(ArtifactError, match="shards needs a split"):
        make_project().build("shards")
    with pytest.raises(ArtifactError, match="stats has no split"):
        make_project().build("stats", "train")


def test_upstream_reaches_the_recordings(make_project) -> None:
    project = make_project()
    build_all(project)
    keys = keys_behind(project.store, project.require("stats"))
    assert list(keys) == ["raw_audio", "raw_manifest", "shards[train]"]


def test_a_project_without_recordings_says_what_to_do() -> None:
    with pytest.raises(DataError, match=r"synthesis\.enabled"):
        all_sources((), None)


class Counted:
    """A check that holds while some recorded sentence does, and counts how often it is made."""

    def __init__(self) -> None:
        self.made, self.verdict = 0, Verdict(True, "fine", {"figure": 1})

    def __call__(self, artifact: Artifact, run: CheckRun) -> Verdict:
        self.made += 1
        return self.verdict


@pytest.fixture
def counted() -> Counted:
    return Counted()


def checked(counted: Counted, **more: Any) -> tuple[Stage, ...]:
    """The graph, whose last stage has a check."""
    check = Check("holds", "Something holds.", counted, **more)
    return (*GRAPH[:2], replace(GRAPH[2], checks=(check,)))


def test_a_check_is_made_once_for_a_content(make_project, counted: Counted) -> None:
    graph = checked(counted)
    build_all(make_project(graph))
    assert make_project(graph).recorded_verdicts("stats") is None and counted.made == 0  # it only looks
    first = make_project(graph).verdicts("stats")
    assert (first[0].passed, first[0].description, first[0].figures) == (True, "fine", {"figure": 1})
    assert make_project(graph).verdicts("stats") == make_project(graph).recorded_verdicts("stats") == first
    assert counted.made == 1
    newer = make_project(
        (*GRAPH[:2], replace(graph[2], make=lambda run: (run.out / "data.txt").write_text("new"), version="2"))
    )
    build_all(newer)
    assert newer.verdicts("stats")[0].passed and counted.made == 2
    assert make_project(graph).recorded_verdicts("stats") == first


def test_a_check_is_made_again_for_other_limits_and_other_inputs_and_for_nothing_else(
    make_project, counted: Counted
) -> None:
    graph = checked(counted, inputs=(Input("shards", split="val"),), limits=("checks.max_frr",))
    project = make_project(graph)
    build_all(project)
    project.verdicts("stats")
    make_project(graph, checks={"max_frr": 0.4}).verdicts("stats")
    assert counted.made == 2
    assert make_project(graph, checks={"max_frr": 0.4, "drift_error_psi": 1}).recorded_verdicts("stats")
    (only_val,) = [replace(graph[1], make=lambda run: (run.out / "data.txt").write_text(f"{run.split} again"))]
    changed = make_project((graph[0], replace(only_val, version="2"), graph[2]))
    build_all(changed)
    assert changed.recorded_verdicts("stats") is None and changed.verdicts("stats") and counted.made == 3


def test_a_check_of_one_split_says_nothing_of_another(make_project, counted: Counted) -> None:
    graph = (GRAPH[0], replace(GRAPH[1], checks=(Check("holds", "Something holds.", counted),)), GRAPH[2])
    project = make_project(graph)
    build_all(project)
    counted.verdict = Verdict(False, "wrong")
    assert project.verdicts("shards", "train")[0].stops
    counted.verdict = Verdict(True, "fine")
    assert project.recorded_verdicts("shards", "test") is None
    assert project.verdicts("shards", "test")[0].passed and not project.verdicts("shards", "train")[0].passed


@pytest.mark.parametrize(("severity", "blocking", "stops"), [(None, True, True), ("warning", True, False)])
def test_a_warning_of_a_blocking_check_stops_nothing(
    make_project, counted: Counted, severity: str | None, blocking: bool, stops: bool
) -> None:
    graph = checked(counted, blocking=blocking)
    project = make_project(graph)
    build_all(project)
    counted.verdict = Verdict(False, "a little large", severity=severity)
    (verdict,) = project.verdicts("stats")
    assert not verdict.passed and verdict.stops is stops is verdict.failed


@pytest.mark.parametrize("text", ["{", "[]", "{}", '["holds"]', '[{"key": "x"}]', '[{"check": "holds"}]'])
def test_records_of_checks_that_cannot_be_read_are_made_anew(make_project, counted: Counted, text: str) -> None:
    project = make_project(checked(counted))
    build_all(project)
    (project.require("stats").path / "checks.json").write_text(text)
    assert project.recorded_verdicts("stats") is None and project.verdicts("stats")[0].passed


def test_what_the_disk_changed_before_anything_looked_at_it_is_built_anew(make_project) -> None:
    project = make_project()
    build_all(project)
    file = project.require("stats").file("data.txt")
    before, times = file.read_text(), file.stat()
    file.write_text(before[::-1])
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert build_all(make_project()) == ["stats"] and project.require("stats").file("data.txt").read_text() == before


def test_an_artifact_of_an_earlier_version_that_lacks_a_part_is_named(make_project) -> None:
    project = make_project()
    project.build("raw_manifest")
    consumer = (GRAPH[0], stage("stats", (Input("raw_manifest", facet="weather"),), ()))
    with pytest.raises(ArtifactError, match=r"raw_manifest .* says nothing of its weather; remove .* builds it anew"):
        make_project(consumer).build("stats")


def test_parts_of_an_earlier_version_of_a_stage_or_of_its_libraries_are_not_reused(
    make_project, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def make(run: StageRun) -> None:
        target = run.out / "part"
        if not run.parts.link("same", target):
            made.append(run.key)
            target.write_text("part")
            run.parts.keep("same", target)

    def build(version: str, seed: int) -> None:
        cached = replace(stage("stats", (), ("seed",), version), make=make)
        make_project((replace(cached, libraries=("numpy",)),), seed=seed).build("stats")

    build("1", 1)
    build("1", 2)
    assert len(made) == 1
    build("2", 2)
    assert len(made) == 2
    monkeypatch.setattr("wakeword_core.store.artifacts.library_versions", lambda names: dict.fromkeys(names, "0.0"))
    build("2", 3)
    assert len(made) == 3


def test_rows_of_features_are_made_anew_with_the_shards_whose_sound_they_hold() -> None:
    shards, features = (
        next(stage for stage in STAGES if stage.name == name) for name in ("audio_shards", "mel_features")
    )
    assert features.version.startswith(f"{shards.version}.") and set(features.libraries) >= set(shards.libraries)


def test_a_check_that_looks_at_a_part_of_an_input_is_made_again_for_that_part_alone(
    make_project, counted: Counted
) -> None:
    check = Check("holds", "Something holds.", counted, inputs=(Input("raw_manifest", facet="split"),))
    graph = (GRAPH[0], replace(GRAPH[1], checks=(check,)), GRAPH[2])
    project = make_project(graph, seed=1)
    build_all(project)
    project.verdicts("shards", "train")
    other = make_project((replace(graph[0], version="2", make=written("other bytes")), *graph[1:]), seed=1)
    build_all(other)
    assert other.find("raw_manifest").content != project.find("raw_manifest").content
    assert other.recorded_verdicts("shards", "train") and counted.made == 1


def test_a_verdict_is_kept_when_what_it_is_compared_with_changes_and_changes_back(
    make_project, counted: Counted
) -> None:
    graph = checked(counted, limits=("checks.max_frr",))
    project = make_project(graph)
    build_all(project)
    for max_frr in (0.5, 0.4, 0.5, 0.4):
        make_project(graph, checks={"max_frr": max_frr}).verdicts("stats")
    assert counted.made == 2


def test_a_check_that_the_disk_makes_fail_sets_the_artifact_aside(make_project, counted: Counted) -> None:
    def raises(artifact: Artifact, run: CheckRun) -> Verdict:
        if artifact.file("data.txt").read_text() != before:
            raise ValueError("cannot be decoded")
        return Verdict(True, "fine")

    graph = (
        *GRAPH[:2],
        replace(GRAPH[2], checks=(Check("holds", "Something holds.", raises, limits=("checks.max_frr",)),)),
    )
    project = make_project(graph)
    build_all(project)
    file = project.require("stats").file("data.txt")
    before, times = file.read_text(), file.stat()
    project.verdicts("stats")
    file.write_text(before[::-1])
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(ArtifactError, match=r"stats changed on disk .*data\.txt.* run again"):
        make_project(graph, checks={"max_frr": 0.4}).verdicts("stats")
    assert build_all(make_project(graph)) == ["stats"]


def test_an_error_of_a_check_is_not_hidden(make_project) -> None:
    def raises(artifact: Artifact, run: CheckRun) -> Verdict:
        raise ZeroDivisionError

    project = make_project((*GRAPH[:2], replace(GRAPH[2], checks=(Check("holds", "Something holds.", raises),))))
    build_all(project)
    with pytest.raises(ZeroDivisionError):
        project.verdicts("stats")
    assert project.find("stats") and project.recorded_verdicts("stats") is None


def test_a_verdict_that_still_counts_outlives_many_of_other_limits(make_project, counted: Counted) -> None:
    """Verdicts are kept in the order in which they last counted, up to some number."""
    lasting = Check("lasts", "Has no limits.", counted)
    limited = Check("limited", "Has one.", lambda artifact, run: Verdict(True, "fine"), limits=("checks.max_frr",))
    graph = (*GRAPH[:2], replace(GRAPH[2], checks=(lasting, limited)))
    build_all(make_project(graph))
    for percent in range(1, 100):
        for tenth in (0, 5):
            make_project(graph, checks={"max_frr": percent / 100 + tenth / 1_000}).verdicts("stats")
    assert counted.made == 1
