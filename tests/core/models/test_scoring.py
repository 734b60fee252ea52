"""Scores, and model files that load exactly or not at all."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from wakeword_core.config import Config, FeaturesConfig, FrontendConfig, TcnConfig
from wakeword_core.errors import ArtifactError, DataError
from wakeword_core.features.cmvn import Cmvn
from wakeword_core.models.scoring import ScoringModel, count_parameters, load_model, model_card, new_model, save_model

CONFIG = Config(
    training={"model": TcnConfig(channels=8)},
    features=FeaturesConfig(frontend=FrontendConfig(n_mels=20, window_frames=40)),
)


@pytest.fixture
def model() -> ScoringModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = new_model(CONFIG)
    mean, std = np.linspace(-9, -3, 20, dtype=np.float32), np.linspace(1, 3, 20, dtype=np.float32)
    model.set_cmvn(Cmvn(mean, std))
    model.set_calibrator("temperature", {"temperature": 1.7})
    return model.eval()


def _x() -> torch.Tensor:
    return torch.randn(4, 20, 40, generator=torch.Generator().manual_seed(0)) * 2 - 6


def test_scores_are_tempered_softmax_of_normalised_features(model: ScoringModel) -> None:
    x = _x()
    normalised = (x - model.mean[None, :, None]) / model.std[None, :, None]
    torch.testing.assert_close(model.logits(x), model.backbone(normalised))
    torch.testing.assert_close(model(x), torch.softmax(model.backbone(normalised) / 1.7, 1))
    torch.testing.assert_close(model(x.half()), model(x.half().float()))


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        (np.zeros(21), np.ones(21), "21 mel bands"),
        (np.zeros(20), np.zeros(20), "positive deviations"),
        (np.full(20, np.nan), np.ones(20), "finite"),
    ],
)
def test_cmvn_that_cannot_work_is_refused(model: ScoringModel, mean: Any, std: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        model.set_cmvn(Cmvn(mean.astype(np.float32), std.astype(np.float32)))


def test_saved_and_loaded_is_the_same(model: ScoringModel, tmp_path: Path) -> None:
    save_model(tmp_path, model, {**model_card(CONFIG), "note": "kept"})
    state = torch.random.get_rng_state()
    loaded, card = load_model(tmp_path)
    assert torch.equal(state, torch.random.get_rng_state())
    assert not loaded.training
    assert torch.equal(loaded(_x()), model(_x()))
    assert card["labels"] == list(CONFIG.labels)
    assert card["note"] == "kept"
    assert card["frontend"]["n_mels"] == 20
    assert FrontendConfig(**card["frontend"]) == CONFIG.features.frontend


def test_saving_twice_gives_the_same_bytes(model: ScoringModel, tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_model(tmp_path / name, model, model_card(CONFIG))
    for name in ("model.safetensors", "model.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_cards_and_weights_that_are_no_use_are_not_saved(model: ScoringModel, tmp_path: Path) -> None:
    card = model_card(CONFIG)
    with pytest.raises(ArtifactError, match="lacks sample_rate"):
        save_model(tmp_path, model, {k: v for k, v in card.items() if k != "sample_rate"})
    with pytest.raises(ArtifactError, match="3 classes"):
        save_model(tmp_path, model, {**card, "labels": ["_negative", "a", "b"]})
    model.calibrator.temperature.fill_(float("nan"))
    with pytest.raises(ArtifactError, match="temperature are not finite"):
        save_model(tmp_path, model, card)
    assert list(tmp_path.iterdir()) == []


def _damage(folder: Path, how: str) -> None:
    weights, card = folder / "model.safetensors", folder / "model.json"
    state, facts = load_file(weights), json.loads(card.read_text())
    if how == "no card":
        card.unlink()
    elif how == "no weights":
        weights.unlink()
    elif how == "cut weights":
        weights.write_bytes(weights.read_bytes()[:-9])
    elif how == "foreign weights":
        weights.write_bytes(b"PK\x03\x04 a zip, say" * 40)
    elif how == "card is text":
        card.write_text("hello")
    elif how == "card is a list":
        card.write_text("[]")
    elif how == "card lacks labels":
        card.write_text(json.dumps({k: v for k, v in facts.items() if k != "labels"}))
    elif how == "labels do not fit":
        card.write_text(json.dumps({**facts, "labels": ["_negative"]}))
    elif how == "unknown architecture":
        card.write_text(json.dumps({**facts, "model": {"arch": "resnet9000"}}))
    elif how == "absurd size":
        card.write_text(json.dumps({**facts, "n_mels": -4}))
    elif how == "endless size":
        card.write_text(json.dumps({**facts, "n_mels": 0}).replace('"n_mels": 0', '"n_mels": 1e999'))
    elif how == "huge size":
        card.write_text(json.dumps({**facts, "n_mels": 10**13}))
    elif how == "deep card":
        card.write_text('{"a":' * 200_000)
    elif how == "labels are no text":
        card.write_text(json.dumps({**facts, "labels": [{}, 1]}))
    elif how == "short window":
        card.write_text(json.dumps({**facts, "frames": 3}))
    elif how == "a weight is missing":
        save_file({k: v for k, v in state.items() if k != "mean"}, weights)
    elif how == "a weight too many":
        save_file({**state, "extra": torch.zeros(1)}, weights)
    elif how == "another shape":
        save_file({**state, "mean": torch.zeros(21)}, weights)
    elif how == "another type":
        save_file({**state, "mean": torch.zeros(20, dtype=torch.float64)}, weights)
    elif how == "not finite":
        save_file({**state, "mean": torch.full((20,), float("inf"))}, weights)


@pytest.mark.parametrize(
    "how",
    [
        "no card",
        "no weights",
        "cut weights",
        "foreign weights",
        "card is text",
        "card is a list",
        "card lacks labels",
        "labels do not fit",
        "unknown architecture",
        "absurd size",
        "endless size",
        "huge size",
        "deep card",
        "labels are no text",
        "short window",
        "a weight is missing",
        "a weight too many",
        "another shape",
        "another type",
        "not finite",
    ],
)
def test_a_damaged_or_foreign_model_is_refused_in_a_sentence(model: ScoringModel, tmp_path: Path, how: str) -> None:
    save_model(tmp_path, model, model_card(CONFIG))
    load_model(tmp_path)
    _damage(tmp_path, how)
    with pytest.raises(ArtifactError, match=str(tmp_path)) as caught:
        load_model(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("arch", ["mixednet", "ds_cnn"])
def test_networks_of_microcontrollers_take_their_features(arch: str) -> None:
    tree = {"features": {"frontend": {"kind": "micro"}}, "training": {"model": {"arch": arch}}}
    model = new_model(Config.model_validate(tree)).eval()
    windows = torch.rand(3, 40, 151) * 26
    logits = model.logits(windows)  # of a network without training they are so far apart that scores are 0 or 1
    assert logits.shape == (3, 2) and not torch.allclose(logits[0], logits[1])
    assert torch.equal(model.normalise(windows), windows) and count_parameters(model) < 60_000
