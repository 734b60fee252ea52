"""Teachers and starting models in the graph: inputs by their bytes, looked at before anything is built, and cached."""

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from toy_project import MINING, Toy

from wakeword_core.config import Config
from wakeword_core.errors import ConfigError
from wakeword_core.graph.project import Project
from wakeword_core.graph.stage import CheckRun
from wakeword_core.graph.stages import STAGES
from wakeword_core.graph.stages.training import STAGE as TRAINING
from wakeword_core.graph.status import status
from wakeword_core.recordings.manifest import MANIFEST_FILE
from wakeword_core.registry.history import Entry
from wakeword_core.store.graph import Graph
from wakeword_core.teaching.scores import load_scores, scores_file


@pytest.fixture(scope="module")
def home(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which the toy model has taught another one, which was tuned."""
    folder = toy.copy(tmp_path_factory.mktemp("taught") / "home")
    project = taught(toy, folder)
    for stage in ("teacher_scores", "trained_model", "mined_negatives", "tuned_model"):
        project.build(stage)
    return folder


def teacher_key(toy: Toy) -> str:
    return toy.project().require("trained_model").key


def taught(toy: Toy, home: Path, **changes: Any) -> Project:
    settings = {"training.teacher.models": [teacher_key(toy)], "training.teacher.share": 0.7, "mining": MINING}
    settings |= {f"training.{name.replace('__', '.')}": value for name, value in changes.items()}
    return Project(toy.config.changed(settings), home)


def test_without_a_teacher_or_a_start_nothing_is_named_anywhere(toy: Toy) -> None:
    config = Config()
    settings = TRAINING.deciding_settings(config, None)["training"]
    assert not {"teacher", "start_from", "freeze", "start_rate"} & set(settings)
    assert all(stage.models(config) == {} for stage in STAGES)
    assert "teacher_scores" not in toy.project().stages


def test_a_teacher_is_an_input_by_its_bytes_and_lineage_tells_it_from_the_model(toy: Toy, home: Path) -> None:
    project = taught(toy, home)
    scores, trained, old = (
        project.require("teacher_scores"),
        project.require("trained_model"),
        toy.project().require("trained_model"),
    )
    wanted = {"stage": "trained_model", "key": old.key, "content": old.content}
    assert scores.inputs["trained_model[teacher_1]"] == wanted
    assert set(scores.inputs) == {"mel_features[train]", "trained_model[teacher_1]"}
    assert trained.inputs["teacher_scores"]["content"] == scores.content and trained.key != old.key
    assert all(verdict.passed for verdict in project.verdicts("teacher_scores"))
    graph = Graph.of_store(project.store)
    node = graph.nodes["trained_model", trained.key]
    assert old.key in {member.key for member in graph.upstream(node)}
    assert old.key not in {member.key for member in graph.own_upstream(node)}
    assert set(graph.given_models(node)) == {"trained_model[teacher_1]"}


def test_scores_are_used_again_whatever_else_of_training_changes(toy: Toy, home: Path) -> None:
    project = taught(toy, home, teacher__share=0.2, teacher__temperature=4.0, schedule__epochs=1)
    scores, built = project.build("teacher_scores")
    assert not built and scores.key == taught(toy, home).require("teacher_scores").key
    assert project.find("trained_model") is None


def test_what_one_teacher_said_is_taken_over_when_another_joins(toy: Toy, home: Path) -> None:
    other = taught(toy, home).require("trained_model").key
    project = taught(toy, home, teacher__models=[teacher_key(toy), other], teacher__weights=[3, 1])
    scores, _ = project.build("teacher_scores")
    assert scores.figures["scored_now"] == 1 and len(scores.figures["teachers"]) == 2
    first = taught(toy, home).require("teacher_scores")
    assert scores.files["teacher_1.safetensors"] == first.files["teacher_1.safetensors"]


def test_status_says_what_a_new_teacher_changes(toy: Toy, home: Path) -> None:
    now = {state.name: state for state in status(taught(toy, home))}
    assert {now[name].state for name in ("teacher_scores", "trained_model", "tuned_model")} == {"fresh"}
    other = taught(toy, home, teacher__models=[taught(toy, home).require("tuned_model").key])
    states = {state.name: state for state in status(other)}
    assert "tuned_model[teacher_1] is new" in states["teacher_scores"].because
    assert states["trained_model"].because.startswith("waits for teacher_scores")
    alone = {state.name: state for state in status(Project(toy.config, home))}
    assert alone["trained_model"].state == "fresh"


def test_a_teacher_that_does_not_hear_the_word_stops_the_build(toy: Toy, home: Path, tmp_path: Path) -> None:
    project = taught(toy, home)
    scores, (check, _) = project.require("teacher_scores"), project.stages["teacher_scores"].checks
    said = load_scores(scores.path)
    replace(said, log_probabilities=said.log_probabilities.flip(2)).save(tmp_path / scores_file(1))
    inputs = {"mel_features[train]": project.require("mel_features", "train")}
    run = CheckRun(project.config, inputs, None, project.store)
    verdict = check.run(replace(scores, path=tmp_path), run)
    assert check.blocking and not verdict.passed and "checks.min_val_auc" in verdict.description
    assert check.run(scores, run).passed and verdict.figures["auc"][0] < project.config.checks.min_val_auc


def test_a_teacher_that_learnt_from_the_test_is_a_warning_that_counts(toy: Toy, home: Path, tmp_path: Path) -> None:
    project = taught(toy, home)
    _, check = project.stages["teacher_scores"].checks
    scores, manifest = project.require("teacher_scores"), project.require("raw_manifest")
    run = CheckRun(project.config, {"raw_manifest": manifest}, None, project.store)
    verdict = check.run(scores, run)
    assert verdict.passed and not check.blocking and "no teacher of this home learnt" in verdict.description
    rows = pd.read_parquet(manifest.path / MANIFEST_FILE)
    swapped = rows.assign(split=rows["split"].map({"train": "test", "test": "train"}).fillna(rows["split"]))
    swapped.to_parquet(tmp_path / MANIFEST_FILE)
    other = CheckRun(project.config, {"raw_manifest": replace(manifest, path=tmp_path)}, None, project.store)
    verdict = check.run(scores, other)
    count = int((rows["split"] == "train").sum())
    assert not verdict.passed and f"learnt from {count} of the {count} recordings of the test" in verdict.description


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"phrase": "cat", "training.teacher.models": ["KEY"]}, "tells 'robin' apart, but the model is to tell"),
        (
            {"training.start_from": "KEY", "training.model.channels": 16},
            "channels=8, but training.model is channels=16",
        ),
        ({"training.start_from": "KEY", "features.frontend.n_mels": 20}, "n_mels=16, but features.frontend"),
        ({"training.teacher.models": ["abcdef123"]}, "no model with the key"),
        ({"training.teacher.models": ["KEY", "FOLDER"]}, "names one model twice, as .* and as .*; name it once"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_built(
    settings: dict[str, Any], said: str, toy: Toy, tmp_path: Path
) -> None:
    key = teacher_key(toy)
    home = toy.copy(tmp_path / "home")
    given = {"KEY": key, "FOLDER": str(home / "store" / "trained_model" / key)}
    filled = {
        name: [given.get(one, one) for one in value] if isinstance(value, list) else given.get(value, value)
        for name, value in settings.items()
    }
    before = {path.parent for path in home.glob("store/*/*/artifact.json")}
    project = Project(toy.config.changed(filled), home)
    with pytest.raises(ConfigError, match=said):
        project.build("raw_manifest")
    assert {path.parent for path in home.glob("store/*/*/artifact.json")} == before


def crown(project: Project) -> str:
    """Make the toy's network champion, as if all that comes after it had been built; its key."""
    made = project.require("trained_model")
    for stage in ("tuned_model", "calibrated_model", "onnx_model"):
        inputs = {made.stage: {"stage": made.stage, "key": made.key, "content": made.content}}
        fill = partial(shutil.copytree, made.path, ignore=shutil.ignore_patterns("*artifact.json"), dirs_exist_ok=True)
        made, _ = project.store.build(
            stage, inputs, {"phrase": "robin"}, "1", lambda build, fill=fill: fill(build.path)
        )
    with project.registry().changing() as registry:
        registry.adding(Entry(made.key, "promoted", "for the test", "person"))
    return made.key


def test_a_champion_that_cannot_be_gone_on_from_is_refused_with_both_named(toy: Toy, tmp_path: Path) -> None:
    home = toy.copy(tmp_path / "home")
    key = crown(toy.project(home))
    wider = toy.config.changed({"training.start_from": "champion", "training.model.channels": 16})
    said = f"names the champion {key}, a model of channels=8, but training.model is channels=16"
    with pytest.raises(ConfigError, match=said):
        Project(wider, home).build("raw_manifest")
    same = Project(toy.config.changed({"training.start_from": "champion"}), home)
    assert not same.build("trained_model")[1], "it is what would come of the present recordings already"


def test_a_training_goes_on_from_a_model_of_the_home_and_keeps_its_layers(toy: Toy, home: Path) -> None:
    from safetensors.torch import load_file

    key = teacher_key(toy)
    changes = {"training.start_from": key, "training.freeze": ["stem"], "training.schedule.epochs": 1}
    project = Project(toy.config.changed(changes), home)
    trained, _ = project.build("trained_model")
    old = project.store.find("trained_model", key)
    assert old is not None and trained.inputs["trained_model[start]"]["content"] == old.content
    before, after = (load_file(one.path / "model.safetensors") for one in (old, trained))
    assert before["backbone.stem.weight"].equal(after["backbone.stem.weight"])
    assert not before["backbone.classifier.weight"].equal(after["backbone.classifier.weight"])
    assert "training" in trained.config and trained.config["training"]["freeze"] == ["stem"]
    (state,) = [one for one in status(project) if one.name == "trained_model"]
    assert state.state == "fresh"
