from pathlib import Path
from typing import get_args, get_origin

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from wakeword_core.config import Config, loading
from wakeword_core.config.loading import PRESETS, load_config, save_config
from wakeword_core.errors import ConfigError
from wakeword_core.models import REGISTRY
from wakeword_core.models.scoring import count_parameters, new_model

ROOT = Path(__file__).parents[3]


def test_no_file_and_an_empty_file_are_the_defaults(write):
    assert load_config(None) == Config()
    assert load_config(write("")) == Config()


def test_groups_with_everything_commented_out_are_the_defaults(write):
    assert (
        load_config(write("training:\n  schedule:\n    # epochs: 3\ndata:\n  sources:\n    # - name: a\n")) == Config()
    )


def test_only_sources_may_be_urls_and_other_paths_lie_beside_the_configuration(write):
    path = write("data: {corrections: 's3://b/c.csv'}\nsynthesis: {piper_voices: ['s3://b/v.onnx']}\n")
    config = load_config(path)
    for found in (config.data.corrections, *config.synthesis.piper_voices):
        assert Path(found).is_relative_to(path.resolve().parent)


def contains(found, wanted):
    if isinstance(wanted, dict):
        return all(contains(found[name], value) for name, value in wanted.items())
    return found == wanted


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_loads_and_changes_something(name):
    wanted = yaml.safe_load(
        (ROOT / "wakeword_core" / "config" / "presets" / f"{name}.yaml").read_text(encoding="utf-8")
    )
    config = load_config(None, preset=name)
    assert wanted
    assert contains(config.model_dump(mode="json"), wanted)
    assert name == "balanced" or config != Config()


def test_presets_have_their_architectures():
    archs = {name: load_config(None, preset=name).training.model.arch for name in PRESETS}
    assert archs == {"tiny": "tiny_conv", "balanced": "tcn", "accurate": "tcn", "text_only": "tcn"}
    sizes = [count_parameters(new_model(load_config(None, preset=name))) for name in ("tiny", "balanced", "accurate")]
    assert sizes == sorted(set(sizes))


def test_file_wins_over_preset_and_override_over_file(write):
    path = write("preset: tiny\ntraining:\n  schedule:\n    epochs: 7\n")
    assert load_config(path).training.schedule.epochs == 7
    assert load_config(path).features == load_config(None, preset="tiny").features != Config().features
    assert load_config(path, ["training.schedule.epochs=9"]).training.schedule.epochs == 9


def test_preset_argument_wins_over_override_and_override_over_file(write):
    path = write("preset: tiny\n")
    accurate, balanced = (load_config(None, preset=name).training.model for name in ("accurate", "balanced"))
    assert accurate != balanced
    assert load_config(path, ["preset=accurate"]).training.model == accurate
    assert load_config(path, ["preset=accurate"], preset="balanced").training.model == balanced


FOLDER = "{name: a, path: x, role: %s}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("synthesis: {enabled: true}", "text_only"),
        ("synthesis: {enabled: true}\ndata: {sources: [" + FOLDER % "noise" + "]}", "text_only"),
        ("synthesis: {enabled: true}\ndata: {sources: [" + FOLDER % "positive" + "]}", "balanced"),
        ("synthesis: {enabled: true}\ndata: {sources: [{name: a, path: x.csv, role: negative}]}", "balanced"),
        (
            "synthesis: {enabled: true}\ndata: {sources: [{name: a, path: x, role: positive, synthetic: true}]}",
            "text_only",
        ),
        ("synthesis: {enabled: true, positives: 0}", "balanced"),
        ("synthesis: {enabled: false}", "balanced"),
    ],
)
def test_the_preset_auto_is_for_text_where_nobody_recorded_the_phrase(write, caplog, text, expected):
    caplog.set_level("INFO")
    path = write(f"preset: auto\n{text}\n")
    assert load_config(path) == load_config(path, preset=expected)
    assert ("text_only" in caplog.text) == (expected == "text_only")
    assert ("The preset balanced is taken, since a may list recordings" in caplog.text) == ("x.csv" in text)


@pytest.mark.parametrize(("given", "path"), [("champion", ""), ("./champion", "champion"), ("3f2a9c04d1", "")])
def test_the_champion_is_no_path_unless_it_is_written_as_one(write, given, path):
    file = write(f"training: {{start_from: {given}}}\n")
    assert load_config(file).training.start_from == (str(file.parent / path) if path else given)


def test_what_is_given_beside_the_preset_auto_is_kept(write):
    path = write("preset: auto\nsynthesis: {enabled: true, positives: 7}\n")
    assert load_config(path, ["training.schedule.epochs=3"]).training.schedule.epochs == 3
    assert load_config(path).synthesis.positives == 7
    recorded = "data.sources=[{name: a, path: x, role: positive}]"
    assert load_config(path, [recorded]) == load_config(path, [recorded], preset="balanced")


def test_a_table_that_is_given_stands_for_the_whole(write):
    path = write("preset: text_only\nsynthesis: {engines: {espeak: 1}}\n")
    assert load_config(path).synthesis.engines == {"espeak": 1}
    assert load_config(None, ["synthesis.engines={hibari: 2}"], "text_only").synthesis.engines == {"hibari": 2}


def test_an_override_of_one_entry_of_a_table_leaves_the_others():
    default = Config().synthesis.engines
    assert load_config(None, ["synthesis.engines.kokoro=2"]).synthesis.engines == default | {"kokoro": 2}
    chosen = load_config(None, preset="text_only").synthesis.engines
    assert load_config(None, ["synthesis.engines.kokoro=0"], "text_only").synthesis.engines == chosen | {"kokoro": 0}


def test_every_table_is_known_as_one():
    def names(group):
        for name, field in group.model_fields.items():
            kinds = [field.annotation, *get_args(field.annotation)]
            if any(get_origin(kind) is dict for kind in kinds):
                yield name
            for kind in kinds:
                if isinstance(kind, type) and issubclass(kind, BaseModel):
                    yield from names(kind)

    assert set(names(Config)) == loading._TABLES


def test_another_architecture_replaces_the_presets_model(write):
    assert load_config(write("preset: tiny\ntraining:\n  model:\n    arch: bc_resnet\n")).training.model.tau == 1
    assert load_config(write("preset: tiny\ntraining:\n  model:\n    channels: 9\n")).training.model.arch == "tiny_conv"
    assert load_config(write("training:\n  model:\n    channels: 32\n")).training.model.arch == "tcn"


@pytest.mark.parametrize("arch", REGISTRY)
def test_every_architecture_can_be_named_alone(write, arch):
    config = load_config(write(f"training: {{model: {{arch: {arch}}}}}\n"), preset="tiny")
    assert config.training.model.arch == arch
    assert (
        load_config(None, [f"training.model.arch={arch}", "training.model.dropout=0.25"]).training.model.dropout == 0.25
    )


@pytest.mark.parametrize(
    "overrides",
    [
        ["training.model.arch=bc_resnet", "training.model.tau=2"],
        ["training.model.tau=2", "training.model.arch=bc_resnet"],
    ],
)
def test_architecture_and_its_settings_in_any_order(overrides):
    assert load_config(None, overrides, preset="tiny").training.model.tau == 2


def test_naming_the_same_architecture_keeps_its_settings():
    assert load_config(None, ["training.model.arch=tiny_conv"], preset="tiny").training.model.channels == 16


def test_override_values_are_read_as_yaml():
    config = load_config(
        None,
        ["training.sampling.mix=[1, 2, 3]", "phrase=hello house", "training.precision.amp=false", "shards.count=null"],
    )
    assert config.training.sampling.mix == (1, 2, 3)
    assert config.phrase == "hello house"
    assert config.training.precision.amp is False
    assert config.shards.count is None


def test_number_with_exponent_and_no_point():
    assert load_config(None, ["training.schedule.learning_rate=1e-3"]).training.schedule.learning_rate == 1e-3


def test_override_of_one_entry_of_a_default_list():
    assert load_config(None, ["evaluation.conditions.test.snr_db.1=5"]).evaluation.conditions.test.snr_db[:3] == (
        None,
        5.0,
        10.0,
    )


def test_override_of_a_source_by_index_and_one_more(write):
    path = write("data:\n  sources:\n  - {name: a, path: x, role: noise}\n")
    config = load_config(path, ["data.sources.0.path=/y", "data.sources.1={name: b, path: z, role: noise}"])
    assert [source.path for source in config.data.sources] == [Path("/y"), path.parent / "z"]


def test_source_paths_start_at_the_files_folder(write, monkeypatch):
    monkeypatch.chdir("/")
    path = write("data:\n  sources:\n  - {name: a, path: sub/../in, role: noise}\n")
    assert load_config(path).data.sources[0].path == path.parent / "in"


def test_variables_in_source_paths(refused, write, monkeypatch):
    path = write("data:\n  sources:\n  - {name: a, path: '${HERE}/x', role: noise}\n")
    monkeypatch.setenv("HERE", "/some/where")
    assert load_config(path).data.sources[0].path == Path("/some/where/x")
    monkeypatch.delenv("HERE")
    message = refused(path)
    assert "HERE is not set" in message
    assert "data.sources.0.path" in message


def test_homes_in_source_paths(refused, write, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/home/ann")
    entry = "{name: a, path: '%s', role: noise, link_roots: [~/store, $HOME/blobs, ../c]}"
    for written, meant in (("~/x", "/home/ann/x"), ("$HOME/x", "/home/ann/x"), ("a$b", str(tmp_path / "a$b"))):
        source = load_config(write(f"data:\n  sources:\n  - {entry % written}\n")).data.sources[0]
        assert source.path == Path(meant)
        assert source.link_roots == (Path("/home/ann/store"), Path("/home/ann/blobs"), tmp_path.parent / "c")
    message = refused(write(f"data:\n  sources:\n  - {entry % '~nobody-of-this-name/x'}\n"))
    assert "the home folder ~nobody-of-this-name is not known" in message


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_changes_no_features_in_training_but_log_mels(name):
    config = load_config(None, ["features.frontend.kind=micro"], preset=name)
    assert config.features.frontend.n_mels == 40 and not config.training.augment.unfit_for("mfcc")
    assert load_config(None, preset=name).training.augment.unfit_for("mfcc")


@pytest.mark.parametrize("name", PRESETS)
def test_saved_configuration_loads_equal(tmp_path, name):
    source = "data.sources=[{name: a, path: /x, role: noise, speaker: 'regex:(?P<speaker>\\d+)'}]"
    config = load_config(None, [source, "phrase='yes'", "features.frontend.log_floor=1e-9"], preset=name)
    save_config(config, tmp_path / "saved.yaml")
    assert load_config(tmp_path / "saved.yaml") == config


@settings(max_examples=40, deadline=None)
@given(
    phrase=st.from_regex(r"[a-zA-Z0-9àé: #'\"{-]{0,20}[a-z]", fullmatch=True),
    rate=st.floats(1e-12, 1.0),
    snrs=st.lists(st.none() | st.floats(-20, 60), min_size=1, max_size=4),
)
def test_any_values_round_trip(tmp_path_factory, phrase, rate, snrs):
    tree = {
        "phrase": phrase,
        "training": {"schedule": {"learning_rate": rate}},
        "evaluation": {"conditions": {"test": {"snr_db": snrs}}},
    }
    config = Config.model_validate(tree)
    path = tmp_path_factory.mktemp("saved") / "wakeword.yaml"
    save_config(config, path)
    assert load_config(path) == config


def test_starting_point_of_users_loads():
    config = load_config(ROOT / "wakeword.yaml")
    assert config.synthesis.enabled
    assert config.data.sources == ()
    assert config.training.model.arch == "tcn"


def test_example_needs_audio_root_and_keeps_speakers_apart(refused, monkeypatch):
    monkeypatch.delenv("AUDIO_ROOT", raising=False)
    assert "AUDIO_ROOT is not set" in refused(ROOT / "examples" / "alexa.yaml")
    monkeypatch.setenv("AUDIO_ROOT", "/recordings")
    config = load_config(ROOT / "examples" / "alexa.yaml")
    assert config.labels == ("_negative", "alexa")
    # nothing synthetic is tested on: words alone are for training
    made = config.synthesis
    assert made.words and not (made.positives or made.hard_negatives or made.negatives or made.background_minutes)
    assert all(source.licence for source in config.data.sources)
    assert {source.split for source in config.data.sources} == {None, "train", "val", "test"}


def test_one_pronunciation_may_stand_without_a_list(tmp_path):
    path = tmp_path / "wakeword.yaml"
    path.write_text("synthesis: {pronunciations: {hey robin: heɪ, 小智: [a, b]}, people: [child]}\n", encoding="utf-8")
    made = load_config(path).synthesis
    assert made.pronunciations == {"hey robin": ("heɪ",), "小智": ("a", "b")} and made.people == ("child",)
    for wrong, said in (("heɪ", "names with values"), ("{a: []}", "at least 1"), ("{a: [5]}", "text")):
        with pytest.raises(ConfigError, match=f"synthesis.pronunciations.*{said}"):
            load_config(path, [f"synthesis.pronunciations={wrong}"])
