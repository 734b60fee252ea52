"""The graph on disk: which artifact belongs to the present settings, and why another does not."""

from pathlib import Path

import pytest

from wakeword_core import stages
from wakeword_core.config import Config
from wakeword_core.errors import ArtifactError, DataError
from wakeword_core.project import Input, Project, Stage
from wakeword_core.store.artifacts import Build
from wakeword_core.store.graph import keys_behind


def write(name: str):
    """A stage body that writes its inputs' contents and its own name."""

    def make(project: Project, build: Build, inputs, split) -> None:
        seen = ",".join(sorted(f"{key}={one.content}" for key, one in inputs.items()))
        (build.path / "data.txt").write_text(f"{name} {split} {seen}")
        build.facets = {one: f"{one}-{project.config.seed // 10}" for one in ("train", "val", "test")}

    return make


def seed(config: Config, split) -> dict:
    return {"seed": config.seed}


def only_split(config: Config, split) -> dict:
    return {"split": split}


def nothing(config: Config, split) -> dict:
    return {}


GRAPH = (
    Stage("raw_manifest", (Input("raw_audio"),), seed, write("manifest"), "1"),
    Stage("shards", (Input("raw_manifest", facet="split"),), only_split, write("shards"), "1", partitioned=True),
    Stage("stats", (Input("shards", split="train"),), nothing, write("stats"), "1"),
)


@pytest.fixture
def make_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stages, "STAGES", GRAPH)
    monkeypatch.setattr(Project, "fingerprint", lambda self, fresh=False: "0" * 64)
    return lambda **settings: Project(Config.model_validate(settings), tmp_path / "home")


def build_all(project: Project) -> list[str]:
    project.build("raw_manifest")
    for split in ("train", "val", "test"):
        project.build("shards", split)
    project.build("stats")
    return project.built


def states(project: Project) -> dict[str, tuple[str, str]]:
    return {state.name: (state.state, state.because) for state in project.status()}


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
    assert project.reused == ["shards[train]", "shards[val]", "shards[test]", "stats"]


def test_a_changed_input_is_named(make_project) -> None:
    build_all(make_project(seed=1))
    project = make_project(seed=11)
    project.build("raw_manifest")
    assert states(project)["shards[train]"] == ("stale", "raw_manifest changed (seed 1 → 11)")


def test_a_raised_code_version_is_named(make_project, monkeypatch: pytest.MonkeyPatch) -> None:
    build_all(make_project())
    newer = (*GRAPH[:2], Stage("stats", GRAPH[2].inputs, nothing, write("stats"), "2"))
    monkeypatch.setattr(stages, "STAGES", newer)
    assert states(make_project())["stats"] == ("stale", "code version 1 → 2")


def test_an_input_that_decides_nothing_is_there_to_be_measured_on(
    make_project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its changes make nothing stale, until a setting has it decide."""
    watching = Input("shards", split="val", decides=lambda config: config.seed == 3)
    graph = (*GRAPH[:2], Stage("stats", (*GRAPH[2].inputs, watching), nothing, write("stats"), "1"))
    monkeypatch.setattr(stages, "STAGES", graph)
    project = make_project()
    build_all(project)
    stats = project.require("stats")
    assert "shards[val]=" in stats.file("data.txt").read_text() and set(stats.inputs) == {"shards[train]"}
    assert states(make_project(seed=2))["stats"][0] == "stale"  # the manifest is
    watched = make_project(seed=3)
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


def test_a_missing_input_is_an_error_that_says_what_to_build(make_project) -> None:
    with pytest.raises(ArtifactError, match=r"raw_manifest is not built .* `wakeword run` builds it"):
        make_project().build("shards", "train")


def test_a_split_is_needed_exactly_where_there_are_splits(make_project) -> None:
    with pytest.raises(ArtifactError, match="shards needs split"):
        make_project().build("shards")
    with pytest.raises(ArtifactError, match="stats has no split"):
        make_project().build("stats", "train")


def test_upstream_reaches_the_recordings(make_project) -> None:
    project = make_project()
    build_all(project)
    keys = keys_behind(project.store, project.require("stats"))
    assert list(keys) == ["raw_audio", "raw_manifest", "shards[train]"]


def test_a_project_without_recordings_says_what_to_do(make_project) -> None:
    with pytest.raises(DataError, match=r"synthesis\.enabled"):
        make_project().sources()
