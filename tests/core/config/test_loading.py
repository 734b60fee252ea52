from operator import attrgetter
from pathlib import Path
from typing import get_args, get_origin

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from wakeword_core.config import Config, loading
from wakeword_core.config.explaining import RENAMED
from wakeword_core.config.loading import PRESETS, load_config, save_config
from wakeword_core.errors import ConfigError
from wakeword_core.models import REGISTRY
from wakeword_core.models.scoring import count_parameters, new_model

ROOT = Path(__file__).parents[3]


@pytest.fixture
def write(tmp_path):
    def write_it(text):
        path = tmp_path / "wakeword.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write_it


def refused(path=None, *overrides, preset=None):
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides, preset)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    return message


def test_no_file_and_an_empty_file_are_the_defaults(write):
    assert load_config(None) == Config()
    assert load_config(write("")) == Config()


def test_groups_with_everything_commented_out_are_the_defaults(write):
    assert (
        load_config(write("training:\n  schedule:\n    # epochs: 3\ndata:\n  sources:\n    # - name: a\n")) == Config()
    )


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


def test_variables_in_source_paths(write, monkeypatch):
    path = write("data:\n  sources:\n  - {name: a, path: '${HERE}/x', role: noise}\n")
    monkeypatch.setenv("HERE", "/some/where")
    assert load_config(path).data.sources[0].path == Path("/some/where/x")
    monkeypatch.delenv("HERE")
    message = refused(path)
    assert "HERE is not set" in message
    assert "data.sources.0.path" in message


def test_homes_in_source_paths(write, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/home/ann")
    entry = "{name: a, path: '%s', role: noise, link_roots: [~/store, $HOME/blobs, ../c]}"
    for written, meant in (("~/x", "/home/ann/x"), ("$HOME/x", "/home/ann/x"), ("a$b", str(tmp_path / "a$b"))):
        source = load_config(write(f"data:\n  sources:\n  - {entry % written}\n")).data.sources[0]
        assert source.path == Path(meant)
        assert source.link_roots == (Path("/home/ann/store"), Path("/home/ann/blobs"), tmp_path.parent / "c")
    message = refused(write(f"data:\n  sources:\n  - {entry % '~nobody-of-this-name/x'}\n"))
    assert "the home folder ~nobody-of-this-name is not known" in message


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("training.schedule.epochs=0", "training.schedule.epochs is 0, but must be at least 1"),
        ("training.schedule.epochs=99999", "training.schedule.epochs is 99999, but must be at most 10000"),
        ("training.schedule.epochs=1.5", "training.schedule.epochs is 1.5, but must be a whole number"),
        ("training.schedule.epochs=many", "training.schedule.epochs is 'many', but must be a whole number"),
        ("training.schedule.epochs.x=2", 'training.schedule.epochs is {"x": 2}, but must be a whole number'),
        ("training.schedule.learning_rate=.nan", "training.schedule.learning_rate is NaN, but must be a finite number"),
        ("training.schedule.learning_rate=0", "training.schedule.learning_rate is 0, but must be more than 0"),
        ("training.ema.decay=1", "training.ema.decay is 1, but must be less than 1"),
        ("training.precision.amp=3", "training.precision.amp is 3, but must be true or false"),
        ("compute.device=gpu", "compute.device is 'gpu', but must be 'auto', 'cpu' or 'cuda'"),
        ("training=3", "training is 3, but must be a group of settings (name: value)"),
        ("training.sampling.mix=[0.1, 0.2]", "training.sampling.mix is [0.1, 0.2], but must be a list of 3 values"),
        ("training.sampling.mix.0=a", "training.sampling.mix.0 is 'a', but must be a number"),
        ("features.augment.gain_db=[1,2,3]", "must be a list of at most 2 values"),
        (
            "evaluation.conditions.test.snr_db=[]",
            "evaluation.conditions.test.snr_db is [], but must be a list of at least 1 value",
        ),
        ("phrase=yes", "phrase is true, but must be text (put it in quotes)"),
        ("phrase=''", "phrase is '', but must be text of at least 1 character"),
        ("phrase='?!'", "phrase is '?!', but must contain letters"),
        ("training.model.tau=2", "training.model.tau is not a setting; it belongs to training.model.arch=bc_resnet"),
        ("training.model.chanels=3", "training.model.chanels is not a setting; did you mean training.model.channels?"),
        ("training.model.kernel=1", "training.model.kernel is 1, but must be at least 2"),
        (
            "training.model.arch=foo",
            "training.model.arch is 'foo', but must be 'bc_resnet', 'tiny_conv', 'tcn', 'mixednet', 'cd_dnn', "
            "'ds_cnn', 'crnn', 'mobilenetv3', 'resnet18', 'resnet34' or 'conformer'",
        ),
        (
            "training.model.gru_units=8",
            "training.model.gru_units is not a setting; it belongs to training.model.arch=mobilenetv3",
        ),
        ("training.model={arch: crnn, cell: rnn}", "training.model.cell is 'rnn', but must be 'gru' or 'lstm'"),
        ("training.model={arch: conformer, kernel: 4}", "training.model.kernel is 4, but must be odd"),
        (
            "training.model={arch: conformer, channels: 66}",
            "training.model.channels is 66, but channels must be a multiple of heads (4)",
        ),
        ("training.model={arch: mixednet, kernels: [5, 7]}", "training.model.kernels.0 is 5, but must be a list"),
        (
            "training.model={arch: mixednet, kernels: [[5], [0]]}",
            "training.model.kernels.1.0 is 0, but must be at least 1",
        ),
        ("training.model={arch: bc_resnet, tau: 4}", "training.model.tau is 4, but must be 1, 1.5, 2, 3, 6 or 8"),
        ("training.epoch=3", "training.epoch is not a setting; did you mean training.schedule.epochs?"),
        ("epochs=3", "epochs is not a setting; did you mean training.schedule.epochs?"),
        ("xyzzy=3", "xyzzy is not a setting; allowed here: phrase, seed,"),
        ("data.sources=5", "data.sources is 5, but must be a list"),
        ("data.sources=[{name: a, path: x, role: foo}]", "data.sources.0.role is 'foo', but must be 'positive',"),
        ("data.sources=[{name: a, role: noise}]", "data.sources.0.path is missing"),
        ("data.sources=[{name: a, path: 3, role: noise}]", "data.sources.0.path is 3, but must be a path"),
        ("data.sources=[{name: a, path: '', role: noise}]", "data.sources.0.path is empty, but must be a folder"),
        ("data.sources=[{name: a/b, path: x, role: noise}]", "data.sources.0.name is 'a/b', but must be text that"),
        ("data.sources=[{name: a, path: x, role: noise, speakr: b}]", "did you mean data.sources.0.speaker?"),
        (
            "data.sources=[{name: a, path: x, role: noise, speaker: b}]",
            "data.sources.0.speaker is 'b', but must be unknown,",
        ),
        ("data.sources.2.path=/x", "data.sources has no entries yet, and '2' is none of them"),
        ("features.frontend.f_max=9000", "features.frontend.f_max is 9000 and data.audio.sample_rate is 16000, but"),
        (
            "features.frontend={kind: micro, n_mels: 64}",
            "features.frontend.n_mels is 64 and features.frontend.kind is 'micro', but n_mels must be 40 with kind",
        ),
        ("features.frontend={kind: micro, hop_length: 320}", "hop_length must be 160 with kind micro"),
        ("features.frontend={kind: micro, f_max: 8000}", "f_max must be 7500 with kind micro"),
        ("features.augment.speed=[0.1,3]", "features.augment.speed is [0.1, 3], but speed must lie between 0.5 and 2"),
        ("data.splits.val_fraction=0.8", "data.splits.val_fraction is 0.8 and data.splits.test_fraction is 0.2, but"),
        ("synthesis.engines={}", "synthesis.engines is wrong: must give at least one engine a share above 0"),
        (
            "synthesis={hard_negatives: 1, confusables: [a, b]}",
            "synthesis.hard_negatives is 1, but hard_negatives must be at least 2, one for each of the confusables",
        ),
        ("preset=big", "preset is 'big', but must be tiny, balanced, accurate, text_only or auto"),
        ("epochs", "--set 'epochs' must have the form dotted.name=value"),
        ("a..b=3", "must have the form dotted.name=value"),
        ("phrase=[x", "--set phrase, line 1"),
    ],
)
def test_wrong_setting_is_one_sentence(override, expected):
    assert expected in refused(None, override)


def test_microcontrollers_hear_16_khz_alone():
    said = refused(None, "features.frontend.kind=micro", "data.audio.sample_rate=8000")
    assert said.startswith("data.audio.sample_rate is 8000 and features.frontend.kind is 'micro', but")


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_changes_no_features_in_training_but_log_mels(name):
    config = load_config(None, ["features.frontend.kind=micro"], preset=name)
    assert config.features.frontend.n_mels == 40 and not config.training.augment.changes_something
    assert load_config(None, preset=name).training.augment.changes_something


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_an_old_name_is_told_the_new_one(write, old, new):
    attrgetter(new)(Config())
    assert refused(None, f"{old}=1") == f"{old} is now {new}"
    path = write(nested(old, 1))
    assert refused(path) == f"{path}: {old} is now {new}"


def nested(name, value):
    for part in reversed(name.split(".")):
        value = {part: value}
    return yaml.safe_dump(value)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("model.channels=3", "model.channels is now training.model.channels"),
        ("model={arch: tcn}", "model is now training.model"),
        ("training={epochs: 3}", "training.epochs is now training.schedule.epochs"),
        (
            "evaluation.operating_points.night=1",
            "evaluation.operating_points.night is now evaluation.operating_points.points.night",
        ),
    ],
)
def test_an_old_name_is_found_in_and_above_a_group(setting, expected):
    assert refused(None, setting) == expected


def test_a_group_with_the_name_of_an_old_setting_is_no_old_setting():
    config = load_config(None, ["training.optimizer={kind: sgd}", "evaluation.operating_points.default=strict"])
    assert (config.training.optimizer.kind, config.evaluation.operating_points.default) == ("sgd", "strict")


def test_first_of_several_errors_is_told_and_the_rest_counted():
    message = refused(None, "training.schedule.epochs=0", "training.sampling.batch_size=1", "training.epoch=3")
    assert "training.epoch is not a setting" in message
    assert message.endswith("(and 2 more wrong settings)")


LONG_NUMBERS = ("9" * 5_000, "0x" + "f" * 5_000, "0b" + "1" * 20_000, "0" + "7" * 5_000, "1" + ":59" * 3_000)


def one_source(settings):
    return f"data: {{sources: [{{name: a, role: noise, {settings}}}]}}"


@pytest.mark.parametrize("number", [*LONG_NUMBERS, "1" + ":59" * 3_000 + ".5", "[" * 3_000])
def test_what_no_setting_can_be_is_one_sentence_in_an_override_too(number):
    assert "--set seed, line 1, column " in refused(None, f"seed={number}")


@pytest.mark.parametrize("name", [".".join("a" * 5_000), "data.sources." + "9" * 5_000 + ".path"])
def test_a_name_that_no_setting_has_is_one_sentence(name):
    assert refused(None, f"{name}=1").startswith("--set ")


@pytest.mark.parametrize("path", ["a\0b", "a\ud800b", "x" * 5_000])
def test_a_path_that_no_file_has_is_one_sentence(path):
    with pytest.raises(ConfigError, match="cannot read the configuration file"):
        load_config(Path(path))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("phrase: a\nphrase: b\n", "line 2, column 1: phrase is set twice"),
        ("training:\n  epochs: 1\n  epochs: 2\n", "line 3, column 3: epochs is set twice"),
        ("- a\n", "must hold settings (name: value), not"),
        ("on: 3\n", "line 1, column 1: a setting's name must be text"),
        ("? [a]\n: 3\n", "a setting's name must be text"),
        ("a: &x [1]\nb: *x\n", "line 2, column 4: references (*name) are not supported"),
        ("phrase: 'a\n", "line"),
        ("phrase: !!python/object/apply:os.system ['true']\n", "python/object/apply"),
        ("phrase: a\x07\n", "not valid YAML"),
        ("a: " + "[" * 5_000, "nested too deeply"),
        ("seed: [" + "1," * 20_001 + "]", "more than 20,000 names and values"),
        ("data: " + "{a: " * 60 + "1" + "}" * 60, "nested too deeply"),
        *((f"seed: {number}\n", "line 1, column 7: a number of ") for number in LONG_NUMBERS),
        (one_source('path: "a\\0b"'), "but must be a path without null characters"),
        (one_source('path: "a\\ud800b"'), "must be a path of valid text"),
        (one_source(f"path: {'x' * 300}"), "255 a name"),
        (one_source(f"path: {'x/' * 3_000}"), "of at most 4,000 bytes"),
        (one_source('path: x, link_roots: ["a\\0b"]'), "but must be a path without null characters"),
        (one_source(f"path: x, link_roots: [{'x' * 300}]"), "255 a name"),
        (one_source('path: x, include: ["[z-a]"]'), "must be a glob pattern, but [z-a] is none: bad character range"),
        (one_source(f'path: x, exclude: ["{"**/" * 20_000}"]'), "must be a pattern of at most 1,000 characters"),
        (one_source(f'path: x, speaker: "regex:{"(" * 3_000}"'), "not a regular expression"),
        (one_source('path: x, speaker: "regex:(?P<speaker>a{99999999999})"'), "the repetition number is too large"),
        (one_source(f'path: x, speaker: "block:{"9" * 5_000}"'), "block:N"),
        (one_source('path: x, licence: "a\\nb"'), "must be one line of text without control characters"),
        (one_source('path: x, label: "\\e[2J"'), "must be one line of text without control characters"),
    ],
)
def test_wrong_file_is_one_sentence_that_names_it(write, text, expected):
    path = write(text)
    message = refused(path)
    assert str(path) in message
    assert expected in message


def test_file_that_is_not_text(tmp_path):
    path = tmp_path / "wakeword.yaml"
    path.write_bytes(b"phrase: \xff\xfe")
    assert "is not UTF-8 text" in refused(path)


def test_file_over_a_megabyte(write):
    assert "at most 1,000,000" in refused(write("#" * 1_000_001))


def test_missing_file_and_folder(tmp_path):
    assert "there is no configuration file" in refused(tmp_path / "none.yaml")
    assert "cannot read the configuration file" in refused(tmp_path)


def test_error_in_a_file_names_the_file(write):
    path = write("training:\n  schedule:\n    epochs: 0\n")
    assert refused(path) == f"{path}: training.schedule.epochs is 0, but must be at least 1"


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


def test_example_needs_audio_root_and_keeps_speakers_apart(monkeypatch):
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
