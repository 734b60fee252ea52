"""A training that goes on from a finished model: what it takes over, what stays as it is, and what is refused."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sweeps_to_train import CMVN, FRAMES, N_MELS, QUICK, TINY_TCN, TRAIN, VAL, config_for, history, weights

from wakeword_core.config import Config, TcnConfig, TinyConvConfig
from wakeword_core.errors import ConfigError
from wakeword_core.features.cmvn import Cmvn
from wakeword_core.lineage.given import GivenModel
from wakeword_core.models.scoring import load_model, model_card, new_model, save_model
from wakeword_core.training.loop import train
from wakeword_core.training.starting import (
    layers_to_freeze,
    require_startable,
    starting_config,
    starting_model,
)

OTHER = Cmvn(np.full(N_MELS, -5, np.float32), np.full(N_MELS, 3, np.float32))


def given(folder: Path) -> GivenModel:
    return GivenModel(str(folder), folder, "outside_model", "k", "c")


def started(model: Any = None, epochs: int = 2, **training: Any) -> Config:
    config = config_for(model or TcnConfig(**TINY_TCN), schedule={"epochs": epochs}, validation={"keep": "last"})
    return config.changed({f"training.{name}": value for name, value in {"start_from": "abcdef", **training}.items()})


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    train(TRAIN, VAL, CMVN, config_for(**QUICK), folder)
    return folder


def go_on(base: Path, config: Config, out: Path) -> None:
    start = starting_model(base, config)
    train(TRAIN, VAL, start.cmvn, starting_config(config), out, start_from=start)


def test_it_begins_where_the_model_left_off_and_moves_less(base: Path, tmp_path: Path) -> None:
    go_on(base, started(), tmp_path / "on")
    train(TRAIN, VAL, CMVN, config_for(schedule={"epochs": 2}), tmp_path / "anew")
    on, anew = history(tmp_path / "on"), history(tmp_path / "anew")
    assert on[0].val_loss < 0.3 * anew[0].val_loss and on[0].val_auc > anew[0].val_auc
    peak = max(record.learning_rate for record in on)
    assert peak <= 0.2 * config_for().training.schedule.learning_rate
    assert starting_config(config_for()) == config_for()


def test_layers_that_are_frozen_do_not_move_nor_do_their_norms(base: Path, tmp_path: Path) -> None:
    go_on(base, started(freeze=3, start_rate=1.0), tmp_path)
    before, after = weights(base), weights(tmp_path)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    kept = {name for name in before if name.startswith(("backbone.stem", "backbone.blocks.0."))}
    assert len(kept) > 6 and not moved & kept
    assert {"backbone.classifier.weight", "backbone.blocks.1.convolution.weight"} <= moved
    assert "backbone.blocks.1.norm.running_mean" in moved


def test_the_same_layers_of_every_network_of_an_ensemble_are_frozen(tmp_path: Path) -> None:
    config = started(TcnConfig(**TINY_TCN, members=2), freeze=("stem", "blocks"))
    torch.manual_seed(5)
    save_model(tmp_path / "base", new_model(config), model_card(config))
    go_on(tmp_path / "base", config, tmp_path / "on")
    before, after = weights(tmp_path / "base"), weights(tmp_path / "on")
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    for member in (0, 1):
        assert f"backbone.members.{member}.classifier.weight" in moved
        assert f"backbone.members.{member}.stem_norm.weight" in moved  # named by itself, and not named here
        assert not any(name.startswith(f"backbone.members.{member}.blocks") for name in moved)
        assert f"backbone.members.{member}.stem.weight" not in moved


def test_of_another_word_everything_but_the_head_is_taken_over(base: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = started().model_copy(update={"phrase": "hello cat"})
    with caplog.at_level(logging.INFO):
        start = starting_model(base, config)
    assert "told hey robin: the layer that makes scores is replaced by a new one for hello cat" in caplog.text
    before, after = load_model(base)[0].state_dict(), start.state_dict()
    other = {name for name in before if not torch.equal(before[name], after[name])}
    assert other == {"backbone.classifier.weight", "backbone.classifier.bias"}
    same = starting_model(base, started()).state_dict()
    assert all(torch.equal(before[name], same[name]) for name in before)


def test_more_wake_words_get_a_head_of_their_own(base: Path) -> None:
    config = started().changed({"synthesis.enabled": True, "synthesis.phrases": ["cat"]})
    assert config.labels[1:] == ("cat", "hey robin")
    assert starting_model(base, config).backbone.classifier.weight.shape[0] == 3


def test_features_are_normalised_as_they_were(base: Path, tmp_path: Path) -> None:
    config = started(epochs=1)
    start = starting_model(base, config)
    assert np.array_equal(start.cmvn.mean, CMVN.mean) and np.array_equal(start.cmvn.std, CMVN.std)
    train(TRAIN, VAL, OTHER, config_for(schedule={"epochs": 1}), tmp_path / "anew")
    assert float(weights(tmp_path / "anew")["mean"][0]) == -5
    go_on(base, config, tmp_path / "on")
    assert float(weights(tmp_path / "on")["mean"][0]) == -6


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"training": {"model": TinyConvConfig(channels=4)}}, ("arch=tcn", "arch=tiny_conv")),
        ({"training": {"model": TcnConfig(**{**TINY_TCN, "channels": 16})}}, ("channels=8", "channels=16")),
        ({"frontend": {"hop_length": 200}}, ("hop_length=160", "hop_length=200")),
        ({"frontend": {"window_frames": FRAMES + 8}}, ("window_frames=32", "window_frames=40")),
        ({"rate": 16_001}, ("sample_rate=16000", "sample_rate=16001")),
    ],
)
def test_a_model_of_another_kind_is_refused_with_both_named(base: Path, change: dict, said: tuple[str, str]) -> None:
    config = started()
    update: dict[str, Any] = {}
    if "training" in change:
        update["training"] = config.training.model_copy(update=change["training"])
    if "frontend" in change:
        frontend = config.features.frontend.model_copy(update=change["frontend"])
        update["features"] = config.features.model_copy(update={"frontend": frontend})
    if "rate" in change:
        audio = config.data.audio.model_copy(update={"sample_rate": change["rate"]})
        update["data"] = config.data.model_copy(update={"audio": audio})
    require_startable(given(base), config)
    with pytest.raises(ConfigError) as error:
        require_startable(given(base), config.model_copy(update=update))
    assert all(part in str(error.value) for part in said), error.value


def test_dropout_may_be_another(base: Path) -> None:
    require_startable(given(base), started(TcnConfig(**TINY_TCN, dropout=0.4)))


def test_an_exported_file_cannot_be_trained_further(base: Path, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"onnx")
    with pytest.raises(ConfigError, match="cannot be trained further"):
        require_startable(replace(given(base), path=tmp_path / "model.onnx"), started())


@pytest.mark.parametrize("wanted", [5, ("stem", "bloks"), ("classifier",)])
def test_layers_that_there_are_not_are_refused_with_those_that_there_are(base: Path, wanted: Any) -> None:
    with pytest.raises(ConfigError, match=r"the 4 layers are stem, stem_norm, blocks.0, blocks.1"):
        require_startable(given(base), started(freeze=wanted))


def test_every_architecture_has_layers_to_freeze(base: Path) -> None:
    from wakeword_core.models import REGISTRY

    for arch in REGISTRY:
        config = Config.model_validate({"training": {"model": {"arch": arch}}})
        backbone = new_model(config).backbone
        names = list(layers_to_freeze(backbone, 1))
        assert len(names) == 1 and "classifier" not in names[0], arch
        with pytest.raises(ConfigError, match="layers are"):
            layers_to_freeze(backbone, 999)
