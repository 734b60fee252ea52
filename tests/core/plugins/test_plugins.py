"""Plug-ins are found by name, checked by their own settings, and blamed by their package."""

import sys

import pytest
from pydantic import ValidationError

from wakeword_core.config import Config
from wakeword_core.config.loading import load_config, save_config
from wakeword_core.errors import ConfigError, WakewordError
from wakeword_core.plugins import GROUPS, find_plugin, plugins

NETWORK = "training.model={arch: plugin, name: means}"
SETTINGS = "from wakeword_core.config.base import Settings\nclass Own(Settings):\n    size: int = 3\n"


def refused(*overrides: str) -> str:
    with pytest.raises(WakewordError) as caught:
        load_config(None, overrides)
    return str(caught.value)


def test_every_kind_is_found_with_its_package_and_nothing_is_imported(examples):
    found = {kind: plugins(kind) for kind in GROUPS}
    packages = {
        kind: {name: [one.package for one in several] for name, several in named.items()}
        for kind, named in found.items()
    }
    assert packages == {
        "model": {"means": ["wakeword-examples 1.0"]},
        "loss": {"squared": ["wakeword-examples 1.0"]},
        "augmentation": {"reversed_polarity": ["wakeword-examples 1.0"]},
        "front end": {"energies": ["wakeword-examples 1.0"]},
        "speech engine": {"whistle": ["wakeword-examples 1.0"]},
    }
    assert not any(name.startswith("wakeword_examples") for name in sys.modules)


@pytest.mark.parametrize(
    ("override", "setting", "known"),
    [
        ("training.model={arch: plugin, name: foo}", "training.model.name", "'means'"),
        ("training.loss={kind: plugin, plugin: {name: foo}}", "training.loss.plugin.name", "'squared'"),
        ("features.augment.plugins=[{name: foo}]", "features.augment.plugins.0.name", "'reversed_polarity'"),
        ("features.frontend={kind: plugin, plugin: {name: foo}}", "features.frontend.plugin.name", "'energies'"),
    ],
)
def test_an_unknown_name_is_told_what_there_is(examples, override, setting, known):
    assert refused(override) == f"{setting} is 'foo', but must be {known} (of wakeword-examples 1.0)"


def test_an_unknown_engine_is_told_ours_and_those_of_packages(examples):
    said = refused("synthesis.engines={foo: 1}")
    assert said.endswith("'foo' must be 'espeak', 'hibari', 'kokoro', 'piper' or 'whistle' (of wakeword-examples 1.0)")


def test_a_name_is_refused_where_no_package_has_any(site):
    assert refused(NETWORK).endswith("'means', but must be that of a package, but none is installed that has a model")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("training.loss.kind=plugin", "kind plugin needs the name of a loss: set plugin.name"),
        ("features.frontend.kind=plugin", "kind plugin needs the name of a front end: set plugin.name"),
        ("training.model.arch=plugin", "training.model.name is missing"),
    ],
)
def test_a_kind_without_a_name_is_refused(override, said):
    assert said in refused(override)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("{channels: 2}", "channels: Input should be greater than or equal to 4"),
        ("{chanels: 8}", "chanels: Extra inputs are not permitted"),
        ("{channels: many}", "channels: Input should be a valid integer"),
    ],
)
def test_settings_are_checked_by_the_package(examples, settings, said):
    sentence = refused(f"training.model={{arch: plugin, name: means, settings: {settings}}}")
    assert sentence.startswith("training.model.settings.chan") and said in sentence
    assert sentence.endswith("the settings of wakeword-examples 1.0 are: channels")


def test_settings_that_are_left_out_are_at_the_packages_defaults_and_survive_a_file(examples, tmp_path):
    config = load_config(None, [NETWORK, "training.model.settings.channels=8"])
    assert config.training.model.settings == {"channels": 8}
    assert load_config(None, [NETWORK]).training.model.settings == {"channels": 16}
    save_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config


def test_other_settings_of_ours_have_no_place_for_those_of_packages(examples):
    assert "training.model.channels is not a setting" in refused(
        "training.model={arch: plugin, name: means, channels: 8}"
    )


@pytest.mark.parametrize(
    ("source", "failed"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise OSError(2, 'No such file')", "FileNotFoundError: No such file"),
        ("make = 3", "TypeError: odd:make cannot be called"),
        ("", "AttributeError: module 'odd' has no attribute 'make'"),
        (
            "def make(settings, *given): ...",
            "the first parameter of odd:make is not annotated with a class of settings",
        ),
        ("def make(): ...", "the first parameter of odd:make is not annotated with a class of settings"),
        ("def make(settings: 'Gone'): ...", "NameError: name 'Gone' is not defined"),
    ],
)
def test_a_broken_package_is_one_sentence(site, source, failed):
    site.install("odd-things", "0.3", {"wakeword.models": {"odd": "odd:make"}}, {"odd.py": source})
    said = (
        f"the model 'odd' of the package odd-things 0.3 cannot be used ({failed}); mend that package, or do without it"
    )
    assert refused("training.model={arch: plugin, name: odd}") == said


@pytest.mark.parametrize(
    ("body", "failed"),
    [
        ("raise ValueError('no weights here')", "ValueError: no weights here"),
        ("return 3", "it is no StreamingBackbone and no WindowBackbone"),
        ("return Flat()", "it gives [2, 3] for 2 windows of 16 by 32, and not one score of each of the 2 classes"),
    ],
)
def test_a_network_that_cannot_score_windows_is_refused_when_it_is_made(site, body, failed):
    from wakeword_core.models import build_model

    source = f"""{SETTINGS}
from torch import nn
from wakeword_core.models.layers import WindowBackbone
class Flat(WindowBackbone):
    def embed(self, x): return x.mean(2)
    def dropout(self, x): return x
    def classifier(self, x): return x[:, :3]
def make(settings: Own, n_mels, frames, classes):
    {body}
"""
    site.install("odd-things", "0.3", {"wakeword.models": {"odd": "odd:make"}}, {"odd.py": source})
    config = load_config(None, ["training.model={arch: plugin, name: odd}"])
    with pytest.raises(WakewordError) as caught:
        build_model(config.training.model, 16, 32, 2)
    assert f"the model 'odd' of the package odd-things 0.3 cannot be used ({failed})" in str(caught.value)


def test_memory_that_is_exhausted_is_not_the_packages_fault(site):
    site.install("odd-things", "0.3", {"wakeword.losses": {"odd": "odd:make"}}, {"odd.py": "raise MemoryError"})
    with pytest.raises(MemoryError):
        find_plugin("loss", "odd").load()


def test_two_packages_of_one_name_are_both_told(examples):
    examples.install("other-means", "2", {"wakeword.models": {"means": "other:make"}}, {"other.py": ""})
    assert refused(NETWORK) == (
        "training.model.name is 'means', but must be the model of one package, and other-means 2 and "
        "wakeword-examples 1.0 have it: uninstall one of them"
    )


def test_a_configuration_without_plugins_looks_at_no_package(monkeypatch):
    def nobody(**given):
        raise AssertionError("looked at")

    monkeypatch.setattr("wakeword_core.plugins.entry_points", nobody)
    Config().subset("training", "features.frontend", "features.augment", "synthesis")


def test_a_plugin_that_is_gone_is_told(examples):
    config = load_config(None, [NETWORK])
    examples.install("wakeword-examples", "1.1", {}, {})
    with pytest.raises(ConfigError, match="none is installed that has a model"):
        config.subset("training")
    with pytest.raises(ValidationError):
        Config.model_validate(config.model_dump())
