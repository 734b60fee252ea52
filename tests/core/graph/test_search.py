"""What may be searched is what the tree of settings allows, and what a trial builds holds nothing of the test."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from wakeword_core.config import Config
from wakeword_core.config.loading import load_config, save_config
from wakeword_core.errors import ConfigError, WakewordError
from wakeword_core.graph import search
from wakeword_core.graph.project import Project
from wakeword_core.graph.search import MEASURES, Dimension, build_trial, dimensions, places_of, search_name
from wakeword_core.graph.stage import Check, CheckRun, Input, Verdict
from wakeword_core.graph.stages import STAGES
from wakeword_core.runtime.exported import MODEL_FILE, WEIGHTS_CARD, WEIGHTS_FILE

RATE, EPOCHS, ARCH = "training.schedule.learning_rate", "training.schedule.epochs", "training.model.arch"


def project(home: Path, space: dict[str, Any], **settings: Any) -> Project:
    return Project(Config.model_validate({"search": {"space": space, **settings}}), home)


def test_ranges_and_choices_are_as_the_settings_are(tmp_path: Path) -> None:
    asked = {
        RATE: {"low": 1e-4, "high": 1, "log": True},
        EPOCHS: {"low": 2, "high": 20},
        "training.sampling": {"clean_share": {"low": 0, "high": 1}, "mix": [[0.3, 0.5, 0.2], [0.5, 0.3, 0.2]]},
        "training.sampling.batch_size": {"low": 32, "high": 256, "step": 32},
        "features.augment.real_views": {"low": 1, "high": 32, "log": True},
    }
    assert dimensions(project(tmp_path, asked)) == [
        Dimension(RATE, (), 1e-4, 1.0, None, True),
        Dimension(EPOCHS, (), 2, 20, None, False, True),
        Dimension("training.sampling.clean_share", (), 0.0, 1.0),
        Dimension("training.sampling.mix", ([0.3, 0.5, 0.2], [0.5, 0.3, 0.2])),
        Dimension("training.sampling.batch_size", (), 32, 256, 32, False, True),
        Dimension("features.augment.real_views", (), 1, 32, None, True, True),
    ]


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({}, "search.space is empty: name the settings to search"),
        ({EPOCHS: {"low": 0, "high": 9}}, f"search.space.{EPOCHS}: {EPOCHS} is 0, but must be at least 1"),
        ({EPOCHS: {"low": 1, "high": 20_000}}, "must be at most 10000"),
        ({EPOCHS: {"low": 1.5, "high": 9}}, f"{EPOCHS} is 1.5, but must be a whole number"),
        ({EPOCHS: {"low": 1, "high": 9, "step": 0.5}}, f"{EPOCHS} is 1.5, but must be a whole number"),
        ({RATE: {"low": 0, "high": 1}}, f"{RATE} is 0.0, but must be auto, or a number above 0 and at most 1"),
        ({"training.optimizer.kind": ["adamw", "fast"]}, "training.optimizer.kind is 'fast', but must be 'adamw'"),
        ({"training.optimizer.kind": {"low": 0, "high": 1}}, "training.optimizer.kind is 0.*, but must be 'adamw'"),
        ({"training.schedule.epoch": [1, 2]}, f"is not a setting; did you mean {EPOCHS}?"),
        ({"features.windows.tail_seconds": [0.1, "long"]}, "is 'long', but must be a number"),
        ({"serving.port": [1, 2]}, "search.space.serving.port: nothing that trials are judged by depends on it"),
        ({"export.onnx.opset": [18, 20]}, "nothing that trials are judged by depends on it"),
        ({"compute.threads": [1, 2]}, "nothing that trials are judged by depends on it"),
        ({"seed": [1, 2]}, "all trials are judged by the same seed"),
        ({"evaluation.streams.gap_seconds": [1, 2]}, "judged by the same evaluation.streams"),
        ({"evaluation": [{}, {"detector": {}}]}, "judged by the same evaluation.streams"),
        ({"training.validation.metric": ["pauc", "f1"]}, "set search.pruning.enabled to false to search it"),
        ({ARCH: ["tcn", "bc_resnet"], "training.model.channels": [8, 16]}, "training.model.channels is not a setting"),
    ],
)
def test_what_cannot_be_searched_is_refused_with_a_sentence(tmp_path: Path, space: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said.replace("(", r"\(").replace("?", r"\?")) as refused:
        dimensions(project(tmp_path, space))
    assert str(refused.value).startswith("search.space") and "\n" not in str(refused.value)


def test_trials_that_would_begin_with_different_models_are_refused(tmp_path: Path) -> None:
    asked = project(tmp_path, {EPOCHS: [2, 3]}, objectives=["misses"])
    asked.config = asked.config.changed({"training.start_from": "champion"})
    with pytest.raises(ConfigError, match="may be another one from trial to trial; name a model by its key"):
        dimensions(asked)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        (f"search.space.{EPOCHS}=3", r"is 3, but must be a list of values, or a range such as \{low: 1, high: 10\}"),
        (f"search.space.{EPOCHS}=[3]", "it needs at least two choices, all of them different"),
        (f"search.space.{EPOCHS}=[3, 3]", "it needs at least two choices, all of them different"),
        (f"search.space.{EPOCHS}={{low: 3, high: 3}}", "it needs a low end and a high end above it"),
        (f"search.space.{EPOCHS}={{low: 3}}", "it needs a low end and a high end above it"),
        (f"search.space.{EPOCHS}={{low: 3, high: 5, step: 3}}", "its step must not be larger than the range"),
        (f"search.space={{training.schedule: [{{}}, {{epochs: 3}}], {EPOCHS}: [1, 2]}}", "searched in one way only"),
        (f"search.space.{EPOCHS}={{low: 3, high: 5, to: 6}}", f"{EPOCHS}.to is not a setting; allowed here: low, high"),
        (f"search.space.{RATE}={{low: 0, high: 1, log: true}}", "with log, the low end must be above 0"),
        (f"search.space.{RATE}={{low: 1, high: 2, choices: [1, 2]}}", "it has choices, so it needs no low"),
        ("search.objectives=[cpu, cpu]", "must name each objective once"),
        ("search.objectives=[speed]", "must be 'misses', 'cpu' or 'bytes'"),
    ],
)
def test_a_space_that_is_none_is_refused_when_it_is_read(setting: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_config(None, [setting])


def test_a_setting_that_every_architecture_has_is_searched_beside_them(tmp_path: Path) -> None:
    found = dimensions(
        project(tmp_path, {ARCH: ["tcn", "bc_resnet"], "training.model.dropout": {"low": 0, "high": 0.3}})
    )
    assert [one.name for one in found] == [ARCH, "training.model.dropout"]


def test_a_space_is_kept_in_a_file_and_changes_no_key(tmp_path: Path) -> None:
    config = load_config(None, [f"search.space.{RATE}={{low: 0.001, high: 0.1, log: true}}", "search.trials=7"])
    save_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config
    over = load_config(tmp_path / "config.yaml", [f"search.space.{RATE}=[0.1, 0.2]"])
    assert over.search.space[RATE].choices == (0.1, 0.2)
    for stage in STAGES:
        assert stage.deciding_settings(config, stage.splits[0]) == stage.deciding_settings(Config(), stage.splits[0])


@pytest.mark.parametrize(("objectives", "last"), [(["misses"], "calibrated_model"), (["cpu", "bytes"], "onnx_model")])
def test_a_trial_builds_what_it_is_judged_by_and_nothing_of_the_test(
    tmp_path: Path, objectives: list[str], last: str
) -> None:
    places = places_of(project(tmp_path, {EPOCHS: [1, 2]}, objectives=objectives))
    assert places[-1] == (last, None) and ("mel_features", "val") in places
    assert not {"test", "metrics_report"} & {part for place in places for part in place}


def test_a_stage_that_held_the_test_would_end_the_search(tmp_path: Path) -> None:
    peeks = [
        replace(stage, inputs=(*stage.inputs, Input("audio_shards", split="test")))
        if stage.name == "calibrated_model"
        else stage
        for stage in STAGES
    ]
    one = Project(project(tmp_path, {EPOCHS: [1, 2]}).config, tmp_path, graph=tuple(peeks))
    with pytest.raises(ValueError, match=r"must not look at the test, but would build audio_shards\[test\]"):
        build_trial(one, lambda node: None, lambda record, at_work: None)
    assert not (tmp_path / "store").exists()


def test_a_search_is_known_by_what_its_trials_depend_on(tmp_path: Path) -> None:
    def name(space: dict[str, Any], more: dict[str, Any] | None = None, **settings: Any) -> str:
        config = Config.model_validate({"search": {"space": space, **settings}, **(more or {})})
        one = Project(config, tmp_path)
        return search_name(one, dimensions(one))

    space = {EPOCHS: [1, 2]}
    first = name(space)
    assert first == name(space, trials=99, seed=5, sampler="random")
    assert first == name(space, {"training": {"schedule": {"epochs": 7}}, "serving": {"port": 9}})
    assert len({first, name({EPOCHS: [1, 3]}), name(space, objectives=["cpu"]), name(space, {"seed": 2})}) == 4


def test_a_search_with_another_teacher_or_start_is_another(tmp_path: Path) -> None:
    def name(**training: Any) -> str:
        config = Config.model_validate({"search": {"space": {EPOCHS: [1, 2]}}, "training": training})
        one = Project(config, tmp_path / "home")
        return search_name(one, dimensions(one))

    def model(place: str, content: bytes) -> str:
        (tmp_path / place).mkdir()
        for file in (MODEL_FILE, WEIGHTS_FILE, WEIGHTS_CARD):
            (tmp_path / place / file).write_bytes(content)
        return str(tmp_path / place)

    one, alike, other = model("one", b"1"), model("alike", b"1"), model("other", b"2")
    taught, started = name(teacher={"models": [one]}), name(start_from=one)
    assert len({name(), taught, started, name(teacher={"models": [other]}), name(start_from=other)}) == 5
    assert (name(teacher={"models": [alike]}), name(start_from=alike)) == (taught, started)


def test_misses_are_of_the_operating_point_and_all_where_there_is_none() -> None:
    read = MEASURES["misses"].read
    assert read({"val_frr": 0.25, "val_reachable": True}) == 0.25
    assert read({"val_frr": 0.25, "val_reachable": False}) == 1.0
    assert [MEASURES[name].shown(0.0425) for name in ("misses", "cpu")] == ["4.25", "0.0425"]


def test_a_check_that_stops_a_build_ends_a_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def off(artifact: object, run: CheckRun) -> Verdict:
        return Verdict(False, "it is off")

    shards = replace(
        next(stage for stage in STAGES if stage.name == "audio_shards"),
        make=lambda run: (run.out / "audio").write_text("a"),
        inputs=(),
        settings=(),
        checks=(Check("sound", "", off),),
    )
    one = Project(project(tmp_path, {EPOCHS: [1, 2]}).config, tmp_path, graph=(shards,))
    monkeypatch.setattr(search, "places_of", lambda project: [("audio_shards", "val")])
    with pytest.raises(WakewordError, match=r"the check sound of audio_shards\[val\] failed: it is off"):
        build_trial(one, lambda node: None, lambda record, at_work: None)
