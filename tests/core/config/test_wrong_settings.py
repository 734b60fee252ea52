"""Each wrong setting, override and file is one sentence that says what is wrong and where."""

from operator import attrgetter
from pathlib import Path

import pytest
import yaml

from wakeword_core.config import Config
from wakeword_core.config.explaining import RENAMED, allowed_values
from wakeword_core.config.loading import load_config
from wakeword_core.errors import ConfigError


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("training.schedule.epochs=0", "training.schedule.epochs is 0, but must be at least 1"),
        ("training.schedule.epochs=99999", "training.schedule.epochs is 99999, but must be at most 10000"),
        ("training.schedule.epochs=1.5", "training.schedule.epochs is 1.5, but must be a whole number"),
        ("training.schedule.epochs=many", "training.schedule.epochs is 'many', but must be a whole number"),
        ("training.schedule.epochs.x=2", 'training.schedule.epochs is {"x": 2}, but must be a whole number'),
        ("training.ema.decay=.nan", "training.ema.decay is NaN, but must be a finite number"),
        ("training.schedule.learning_rate=.nan", "learning_rate is NaN, but must be auto, or a number above 0 and at"),
        (
            "training.schedule.learning_rate=0",
            "learning_rate is 0, but must be auto, or a number above 0 and at",
        ),
        ("training.schedule.learning_rate=fast", "learning_rate is 'fast', but must be auto, or a number above 0"),
        ("training.schedule.learning_rate=true", "learning_rate is true, but must be auto, or a number above 0"),
        ("training.optimizer.clip_norm=0", "training.optimizer.clip_norm is 0, but must be more than 0"),
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
            "'ds_cnn', 'crnn', 'mobilenetv3', 'resnet18', 'resnet34', 'conformer', 'vgg', 'custom' or 'plugin'",
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
        ("training.model={arch: vgg, depth: 12}", "training.model.depth is 12, but must be 11, 13, 16 or 19"),
        ("training.model={arch: custom, layers: []}", "training.model.layers is [], but must be a list of at least 1"),
        (
            "training.model={arch: custom, layers: [{kind: mean}, {kind: convolution}]}",
            "training.model.layers.1.kind is 'convolution', but must be 'conv', 'depthwise',",
        ),
        (
            "training.model={arch: custom, layers: [{kind: conv, channels: 8}, {kind: conv}]}",
            "training.model.layers.1 is wrong: a layer of kind conv has channels of its own: set 1 or more",
        ),
        (
            "training.model={arch: custom, layers: [{kind: depthwise, channels: 8}]}",
            "training.model.layers.0 is wrong: a layer of kind depthwise keeps those before it: set 0",
        ),
        (
            "training.model={arch: custom, layers: [{kind: dense, channels: 8, kernel: [3, 3]}]}",
            "training.model.layers.0 is wrong: a layer of kind dense sees all that is left, without kernel and stride",
        ),
        (
            "training.model={arch: custom, layers: [{kind: max_pool, kernel: [32, 2]}, {kind: conv, channels: 4}]}",
            "layer 1 of training.model (conv) sees 3 bands by 3 steps, but 2 by 75 are left there",
        ),
        (
            "training.model={arch: custom, causal: true, layers: [{kind: max_pool, kernel: [2, 64]}]}",
            "the layers of training.model leave 2 steps of a window, but head_steps is 8",
        ),
        ("training.model={arch: bc_resnet, tau: 4}", "training.model.tau is 4, but must be 1, 1.5, 2, 3, 6 or 8"),
        ("training.epoch=3", "training.epoch is not a setting; did you mean training.schedule.epochs?"),
        ("epochs=3", "epochs is not a setting; did you mean training.schedule.epochs?"),
        ("xyzzy=3", "xyzzy is not a setting; allowed here: phrase, seed,"),
        ("data.sources=5", "data.sources is 5, but must be a list"),
        ("data.sources=[{name: a, path: x, role: foo}]", "data.sources.0.role is 'foo', but must be 'positive',"),
        ("data.sources=[{name: a, role: noise}]", "data.sources.0.path is missing"),
        ("data.sources=[{name: a, path: 3, role: noise}]", "data.sources.0.path is 3, but must be a path"),
        ("data.sources=[{name: a, path: '', role: noise}]", "data.sources.0.path is empty, but must be a path"),
        ("data.sources=[{name: a/b, path: x, role: noise}]", "data.sources.0.name is 'a/b', but must be text that"),
        ("data.sources=[{name: a, path: x, role: noise, speakr: b}]", "did you mean data.sources.0.speaker?"),
        (
            "data.sources=[{name: a, path: /mine, url: 'file:///theirs', role: noise}]",
            "data.sources.0 is wrong: a URL must be given as the path, and not beside the path of a folder, from which",
        ),
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
        ("features.augment.speed=[0.1,3]", "features.augment.speed.0 is 0.1, but must be at least 0.5"),
        ("features.augment.tempo=[1,3]", "features.augment.tempo.1 is 3, but must be at most 2"),
        ("features.augment.rt60_seconds=[0.01,0.02]", "features.augment.rt60_seconds.0 is 0.01, but must be at least"),
        ("features.augment.rt60_seconds=[0.1,900]", "features.augment.rt60_seconds.1 is 900, but must be at most 5"),
        ("features.augment.gain_db=[0,800]", "features.augment.gain_db.1 is 800, but must be at most 100"),
        (
            "features.rows.negative_hop_seconds=0.00001",
            "features.rows.negative_hop_seconds is 1e-05, but must be at least 0.01",
        ),
        ("training.augment.noise_snr_db=[-800,0]", "augment.noise_snr_db.0 is -800, but must be at least -100"),
        (
            "evaluation.conditions.test.far_rt60_seconds=[0.5,0.4]",
            "but far_rt60_seconds must be given as [from, to] with from <= to",
        ),
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
def test_wrong_setting_is_one_sentence(refused, override, expected):
    assert expected in refused(None, override)


def test_microcontrollers_hear_16_khz_alone(refused):
    said = refused(None, "features.frontend.kind=micro", "data.audio.sample_rate=8000")
    assert said.startswith("data.audio.sample_rate is 8000 and features.frontend.kind is 'micro', but")


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_an_old_name_is_told_the_new_one(refused, write, old, new):
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
def test_an_old_name_is_found_in_and_above_a_group(refused, setting, expected):
    assert refused(None, setting) == expected


def test_a_group_with_the_name_of_an_old_setting_is_no_old_setting():
    config = load_config(None, ["training.optimizer={kind: sgd}", "evaluation.operating_points.default=strict"])
    assert (config.training.optimizer.kind, config.evaluation.operating_points.default) == ("sgd", "strict")


@pytest.mark.parametrize("group", ["training.schedule", "training.optimizer"])
def test_a_misspelt_setting_of_such_a_group_is_no_old_setting(refused, write, group):
    for said in (refused(None, f"{group}.kin=3"), refused(write(nested(group, {"kin": 3})))):
        assert f"{group}.kin is not a setting; did you mean {group}.kind?" in said


def test_a_file_is_blamed_for_what_it_says_and_not_for_an_override(refused, write):
    path = write("training: {schedule: {epochs: 3}}")
    for override in (
        "seed=-1",
        "seeds=1",
        "training={schedule: {epochs: 0}}",
        "training.schedule.epochs=0",
        "serving.http=false",
    ):
        assert str(path) not in refused(path, override)
    assert refused(write("training: {schedule: {epochs: 0}}"), "seed=2").startswith(f"{path}: training.schedule.epochs")


def test_first_of_several_errors_is_told_and_the_rest_counted(refused):
    message = refused(None, "training.schedule.epochs=0", "training.sampling.batch_size=1", "training.epoch=3")
    assert "training.epoch is not a setting" in message
    assert message.endswith("(and 2 more wrong settings)")


LONG_NUMBERS = ("9" * 5_000, "0x" + "f" * 5_000, "0b" + "1" * 20_000, "0" + "7" * 5_000, "1" + ":59" * 3_000)


def one_source(settings):
    return f"data: {{sources: [{{name: a, role: noise, {settings}}}]}}"


@pytest.mark.parametrize("number", [*LONG_NUMBERS, "1" + ":59" * 3_000 + ".5", "[" * 3_000])
def test_what_no_setting_can_be_is_one_sentence_in_an_override_too(refused, number):
    assert "--set seed, line 1, column " in refused(None, f"seed={number}")


@pytest.mark.parametrize("name", [".".join("a" * 5_000), "data.sources." + "9" * 5_000 + ".path"])
def test_a_name_that_no_setting_has_is_one_sentence(refused, name):
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
def test_wrong_file_is_one_sentence_that_names_it(refused, write, text, expected):
    path = write(text)
    message = refused(path)
    assert str(path) in message
    assert expected in message


def test_file_that_is_not_text(refused, tmp_path):
    path = tmp_path / "wakeword.yaml"
    path.write_bytes(b"phrase: \xff\xfe")
    assert "is not UTF-8 text" in refused(path)


def test_file_over_a_megabyte(refused, write):
    assert "at most 1,000,000" in refused(write("#" * 1_000_001))


def test_missing_file_and_folder(refused, tmp_path):
    assert "there is no configuration file" in refused(tmp_path / "none.yaml")
    assert "cannot read the configuration file" in refused(tmp_path)


def test_error_in_a_file_names_the_file(refused, write):
    path = write("training:\n  schedule:\n    epochs: 0\n")
    assert refused(path) == f"{path}: training.schedule.epochs is 0, but must be at least 1"


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "integer", "minimum": 1, "exclusiveMaximum": 9}, "a whole number, at least 1, less than 9"),
        ({"anyOf": [{"type": "number"}, {"type": "null"}]}, "a number or null"),
        ({"enum": ["a", "b"]}, "a or b"),
        ({"type": "array", "items": {"type": "string"}, "minItems": 1}, "a list, at least 1 long, each text"),
        ({"type": "array", "prefixItems": [{"type": "number"}] * 2}, "[a number, a number]"),
        (
            {"type": "object", "additionalProperties": {"$ref": "#/$defs/Share"}},
            "names with values, each true or false",
        ),
        ({}, ""),
    ],
)
def test_what_a_setting_allows_is_said_in_words(schema: dict, words: str) -> None:
    assert allowed_values(schema, {"Share": {"type": "boolean"}}) == words
