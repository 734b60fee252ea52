"""The settings in the launchpad: all of the tree, with types, help and bounds, to the same end as `--set`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import dagster as dg
import pytest

from wakeword_core.config import Config, ModelConfig
from wakeword_core.config.base import Settings
from wakeword_core.config.loading import AUTO, PRESETS, load_config
from wakeword_core.errors import ConfigError
from wakeword_pipeline.orchestration.definitions import define, defs
from wakeword_pipeline.orchestration.launchpad import given_settings, settings_schema
from wakeword_pipeline.orchestration.resources import ProjectResource, config_of_run

ARCHITECTURES = {model.model_fields["arch"].default: model for model in get_args(get_args(ModelConfig)[0])}


def leaves(group: type[Settings], *names: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every setting of the tree with its names in the launchpad, and what the tree says of it."""
    for name, setting in group.model_fields.items():
        inner = setting.annotation
        if (*names, name) == ("training", "model"):
            for arch, model in ARCHITECTURES.items():
                yield from (found for found in leaves(model, *names, name, arch) if found[0][-1] != "arch")
        elif isinstance(inner, type) and issubclass(inner, Settings):
            yield from leaves(inner, *names, name)
        else:
            yield (*names, name), setting


def field_of(dotted: str) -> dg.Field:
    """The field of the schema with a dotted name."""
    kind: Any = settings_schema()
    for name in dotted.split("."):
        field = kind.fields[name]
        kind = field.config_type
    return field


def as_given(config: Config) -> dict[str, Any]:
    """All of a configuration as it would stand in the launchpad."""
    tree = config.model_dump(mode="json")
    model = tree["training"]["model"]
    tree["training"]["model"] = {model.pop("arch"): model}
    return tree


def check(given: dict[str, Any]) -> dict[str, Any]:
    """What the launchpad makes of settings; DagsterInvalidConfigError where it refuses them."""
    config = config_of_run({"settings": given})
    return dg.validate_run_config(defs.resolve_job_def("build_all"), config)["resources"]["project"]["config"][
        "settings"
    ]


def loaded(given: dict[str, Any]) -> Config:
    return ProjectResource("", "", check(given)).config()


def test_every_setting_of_the_tree_is_there_optional_and_explained() -> None:
    for names, setting in leaves(Config):
        field = field_of(".".join(names))
        # a network of another package has to be named
        assert field.is_required == setting.is_required() and not field.default_provided, names
        assert setting.description and " ".join(setting.description.split()) in field.description, names
        assert (" Default: " in field.description) != setting.is_required(), names
        assert " Allowed: " in field.description, names


def test_nothing_is_there_that_the_tree_does_not_have() -> None:
    def count(kind: Any) -> int:
        groups = (dg.Shape, dg.Selector)
        inner = [field.config_type for field in kind.fields.values()]
        return sum(count(one) if isinstance(one, groups) else 1 for one in inner)

    assert count(settings_schema()) == len(list(leaves(Config))) + 1  # and the preset


@pytest.mark.parametrize("preset", PRESETS)
def test_what_the_tree_allows_is_allowed_and_is_what_arrives(preset: str) -> None:
    config = load_config(None, preset=preset)
    assert loaded(as_given(config)) == config


@pytest.mark.parametrize("arch", [arch for arch in ARCHITECTURES if arch != "plugin"])
def test_every_architecture_can_be_chosen_with_all_that_it_has(arch: str) -> None:
    config = load_config(None, [f"training.model.arch={arch}", "judge.enabled=false", "compute.workers=3"])
    assert loaded(as_given(config)) == config
    assert loaded({"training": {"model": {arch: {}}}}).training.model == config.training.model


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("training.schedule.epochs", "Int"),
        ("checks.min_val_auc", "Float"),
        ("mining.enabled", "Bool"),
        ("phrase", "String"),
    ],
)
def test_plain_values_have_dagsters_plain_types(name: str, kind: str) -> None:
    assert field_of(name).config_type.given_name == kind


def test_names_to_choose_from_are_listed() -> None:
    kind = field_of("training.schedule.kind").config_type
    assert isinstance(kind, dg.Enum)
    assert kind.config_values == ["cosine", "one_cycle", "step", "plateau", "constant"]
    assert field_of("preset").config_type.config_values == [*PRESETS, AUTO]
    assert set(field_of("training.model").config_type.fields) == set(ARCHITECTURES)


def test_default_and_bounds_are_told() -> None:
    told = field_of("training.schedule.epochs").description
    assert told == "Epochs at most. Default: 20. Allowed: a whole number, at least 1, at most 10,000."
    assert "Default: 64. Allowed: a whole number, at least 8" in field_of("training.model.tcn.channels").description


def test_only_what_is_given_is_set_and_null_is_a_value() -> None:
    given = {"export": {"platform": None}, "training": {"schedule": {}}}
    assert given_settings(check(given)) == {"export.platform": None}


SOURCE = {"name": "a", "path": "/recordings", "role": "noise"}


@pytest.mark.parametrize(
    ("given", "command_line"),
    [
        ({"training": {"schedule": {"epochs": 30}}}, ["training.schedule.epochs=30"]),
        ({"preset": "accurate", "seed": 5}, ["preset=accurate", "seed=5"]),
        ({"training": {"model": {"bc_resnet": {"tau": 2}}}}, ["training.model.arch=bc_resnet", "training.model.tau=2"]),
        ({"training": {"start_from": "abcdef", "freeze": 3}}, ["training.start_from=abcdef", "training.freeze=3"]),
        (
            {"training": {"start_from": "abcdef", "freeze": ["stem"]}},
            ["training.start_from=abcdef", "training.freeze=[stem]"],
        ),
        ({"training": {"loss": {"class_weights": "balanced"}}}, ["training.loss.class_weights=balanced"]),
        (
            {"training": {"loss": {"class_weights": {"_negative": 1e-5}}}},
            ["training.loss.class_weights={_negative: 0.00001}"],
        ),
        ({"export": {"platform": "rpi_4"}}, ["export.platform=rpi_4"]),
        ({"data": {"sources": [SOURCE]}}, ["data.sources=[{name: a, path: /recordings, role: noise}]"]),
        ({"synthesis": {"engines": {"espeak": 1}}}, ["synthesis.engines={espeak: 1}"]),
        ({"synthesis": {"pronunciations": {"robin": "ˈɹɒbɪn"}}}, ["synthesis.pronunciations={robin: ˈɹɒbɪn}"]),
        (
            {"evaluation": {"operating_points": {"points": {"rare": 0.1}}}},
            ["evaluation.operating_points.points.rare=0.1"],
        ),
        (
            {"evaluation": {"conditions": {"test": {"snr_db": [None, 3]}}}},
            ["evaluation.conditions.test.snr_db=[null, 3]"],
        ),
        ({"search": {"space": {"training.schedule.epochs": [2, 3]}}}, ["search.space.training.schedule.epochs=[2, 3]"]),
    ],
)
def test_a_setting_does_what_it_does_on_the_command_line(given: dict, command_line: list[str]) -> None:
    assert loaded(given) == load_config(None, command_line) != load_config(None)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"training": {"schedule": {"epochs": "many"}}}, ["settings:training:schedule:epochs", "Int"]),
        ({"training": {"schedule": {"epochs": 2.5}}}, ["settings:training:schedule:epochs", "Int"]),
        ({"training": {"schedule": {"epoch": 2}}}, ["settings:training:schedule", '"epoch"']),
        ({"training": {"optimizer": {"kind": "adm"}}}, ["settings:training:optimizer:kind", "adamw"]),
        ({"training": {"model": {"tcn": {"tau": 2}}}}, ["settings:training:model:tcn", '"tau"']),
        ({"training": {"model": {"tcn": {}, "crnn": {}}}}, ["settings:training:model"]),
        ({"data": {"sources": [{"name": "a", "role": "noise"}]}}, ["settings:data:sources[0]", '"path"']),
        ({"evaluation": {"conditions": {"test": {"snr_db": ["loud"]}}}}, ["snr_db[0]"]),
        ({"preset": "huge"}, ["settings:preset", "text_only"]),
    ],
)
def test_a_wrong_value_is_refused_with_its_path(given: dict, said: list[str]) -> None:
    with pytest.raises(dg.DagsterInvalidConfigError) as refused:
        check(given)
    assert all(part in str(refused.value) for part in said), str(refused.value)


def test_what_only_the_tree_can_tell_is_said_in_its_sentence() -> None:
    with pytest.raises(ConfigError, match=r"^training.schedule.epochs is 0, but must be at least 1$"):
        loaded({"training": {"schedule": {"epochs": 0}}})


def test_a_run_fails_with_the_sentence_of_the_tree(tmp_path: Path) -> None:
    job = define(ProjectResource("", str(tmp_path / "home"))).resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(
        asset_selection=[dg.AssetKey("raw_manifest")],
        run_config=config_of_run({"settings": {"data": {"health": {"max_seconds": 0.1}}}}),
        raise_on_error=False,
    )
    (failure,) = (event.step_failure_data for event in result.all_events if event.is_step_failure)
    assert "min_seconds must be below max_seconds" in failure.user_failure_data.description


def test_a_preset_is_a_partition_of_its_job() -> None:
    job = defs.resolve_job_def("build_preset")
    assert job.partitions_def.get_partition_keys() == [*PRESETS, AUTO]
    config = job.partitioned_config.get_run_config_for_partition_key("tiny")
    given = dg.validate_run_config(job, config)["resources"]["project"]["config"]["settings"]
    assert given_settings(given) == {"preset": "tiny"}
    assert ProjectResource("", "", given).config() == load_config(None, preset="tiny")
