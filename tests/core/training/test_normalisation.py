"""What features are normalised by besides the training split's statistics: each window by its own, or nothing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from models_table import REGISTRY
from pydantic import TypeAdapter, ValidationError
from sweeps_to_train import CMVN, CONTEXT, LONG, VAL, config_for, history

from wakeword_core.config import Config, ModelConfig, TinyConvConfig
from wakeword_core.config.models import scores_every_step
from wakeword_core.errors import ConfigError
from wakeword_core.lineage.given import GivenModel
from wakeword_core.models import build_model
from wakeword_core.models.layers import standardised
from wakeword_core.models.scoring import load_model, model_card, new_model, save_model
from wakeword_core.training.loop import train
from wakeword_core.training.starting import layers_to_freeze, require_startable

TINY = TinyConvConfig(channels=4)


def normalised_by(normalisation: str, **training) -> Config:
    return config_for(TINY, CONTEXT, **training).changed({"training.normalisation": normalisation})


def test_windows_get_mean_0_and_deviation_1_but_quiet_is_not_blown_up() -> None:
    x = torch.randn(3, 5, 200, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 6)[:, None] + 7
    x[:, 4] = 2 + 1e-3 * x[:, 4]
    found = standardised(x)
    assert float(found.mean(2).abs().max()) < 1e-5
    torch.testing.assert_close(found[:, :4].std(2, correction=0), torch.ones(3, 4), atol=0.01, rtol=0)
    assert float(found[:, 4].abs().max()) < 0.3


def test_a_model_that_goes_by_the_window_does_not_hear_gain_and_colour(tmp_path: Path) -> None:
    config = normalised_by("window")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = new_model(config).eval()
    model.set_cmvn(CMVN)
    x = torch.randn(2, model.n_mels, model.frames, generator=torch.Generator().manual_seed(1)) * 2 - 6
    louder = x + torch.linspace(-3, 3, model.n_mels)[:, None]
    torch.testing.assert_close(model(louder), model(x), atol=1e-5, rtol=0)
    save_model(tmp_path, model, model_card(config))
    again, card = load_model(tmp_path)
    assert again.normalisation == card["normalisation"] == "window"
    assert torch.equal(again(x), model(x))
    assert list(layers_to_freeze(model.backbone, 2)) == ["stages.0", "stages.1"]


def test_the_card_says_nothing_where_the_corpus_is_gone_by(tmp_path: Path) -> None:
    config = normalised_by("corpus")
    save_model(tmp_path, new_model(config), model_card(config))
    assert "normalisation" not in load_model(tmp_path)[1]


@pytest.mark.parametrize("normalisation", ["window", "off"])
@pytest.mark.parametrize("loss", [{}, {"metric": "triplet"}])
def test_it_is_learnt_with(normalisation: str, loss: dict, tmp_path: Path) -> None:
    schedule = {"epochs": 12, "learning_rate": 0.01}
    config = normalised_by(normalisation, loss=loss, schedule=schedule, validation={"keep": "last"})
    train(LONG, VAL, CMVN, config, tmp_path)
    first, last = history(tmp_path)[0], history(tmp_path)[-1]
    model, _ = load_model(tmp_path)
    assert last.train_loss < 0.9 * first.train_loss and model.normalisation == normalisation
    assert model.cmvn.changes_nothing is (normalisation == "off")


@pytest.mark.parametrize("arch", REGISTRY)
def test_networks_that_score_every_step_have_no_windows_to_go_by(arch: str) -> None:
    settings: ModelConfig = TypeAdapter(ModelConfig).validate_python({"arch": arch})
    small = {"width": 4} if arch.startswith("resnet") else {}
    assert build_model(settings.model_copy(update=small), 40, 98, 2).streams is scores_every_step(settings)
    given = {"training": {"model": {"arch": arch}, "normalisation": "window"}}
    if scores_every_step(settings):
        with pytest.raises(ValidationError, match=f"a network of arch {arch} scores every step of a stream"):
            Config.model_validate(given)
    else:
        Config.model_validate(given)
    assert scores_every_step(TypeAdapter(ModelConfig).validate_python({"arch": "ds_cnn", "causal": True}))


def test_a_training_goes_on_only_from_a_model_that_is_normalised_alike(tmp_path: Path) -> None:
    save_model(tmp_path, new_model(normalised_by("window")), model_card(normalised_by("window")))
    model = GivenModel(str(tmp_path), tmp_path, "outside_model", "k", "c")
    require_startable(model, normalised_by("window"))
    with pytest.raises(ConfigError, match=r"whose training\.normalisation is window, but here it is off"):
        require_startable(model, normalised_by("off"))


def test_it_is_exported_and_streams_window_by_window(tmp_path: Path) -> None:
    from wakeword_core.export.onnx_export import export_onnx
    from wakeword_core.export.streaming import export_streaming

    config = normalised_by("window")
    model = new_model(config).eval()
    model.set_cmvn(replace(CMVN, mean=CMVN.mean - np.float32(6)))
    detector = config.evaluation.detector.model_dump(mode="json")
    card = {**model_card(config), "detector": detector, "threshold": 0.5, "operating_points": {}, "keys": {}}
    export_onnx(model, card, config.export.onnx, tmp_path)
    summary = export_streaming(tmp_path / "model.onnx", config.export.onnx.parity_tolerance, tmp_path)
    assert not summary.native and summary.parity <= config.export.onnx.parity_tolerance
