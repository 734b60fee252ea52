"""The last epochs round the network as its integers are rounded: what is trained is what the file computes."""

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sweeps_to_train import KilledError, history, same_weights, untimed, weights

from wakeword_core.config import ROLES, Config, DsCnnConfig, MixedNetConfig, ModelConfig, TcnConfig
from wakeword_core.errors import WakewordError
from wakeword_core.export.tflite.fake_quantize import rounded_odds, trained_rounding
from wakeword_core.export.tflite.network import folded, network_of
from wakeword_core.export.tflite.quantize import FEATURES, measured
from wakeword_core.features.cmvn import Cmvn
from wakeword_core.features.store import WindowSet
from wakeword_core.models.scoring import ScoringModel, load_model
from wakeword_core.training.loop import train
from wakeword_core.training.quantizing import rounded_logits
from wakeword_core.training.records import EpochRecord
from wakeword_core.training.run import EPOCHS

BANDS, FRAMES = 40, 48
CMVN = Cmvn(np.zeros(BANDS, np.float32), np.ones(BANDS, np.float32))
SMALL = MixedNetConfig(stem_channels=8, channels=8, kernels=((3,), (2, 3)), head_steps=2, dropout=0.2)
SMALL_DS_CNN = DsCnnConfig(causal=True, stride=3, channels=6, blocks=1, head_steps=2, dropout=0.0)
NOTHING = {
    name: 0 for name in ("noise_probability", "colour_db", "band_warp", "style_probability", "isolate_probability")
}


def sweeps(seed: int, rows: int = 96) -> WindowSet:
    """A rising sweep is the word and a falling one is not, in features of a microcontroller's front end."""
    generator = torch.Generator().manual_seed(seed)
    mel = torch.randn(rows, BANDS, FRAMES, generator=generator) * 2 + 8
    kind = torch.arange(rows) % 4
    sweep = torch.zeros(BANDS, 20)
    for frame in range(20):
        sweep[2 * frame : 2 * frame + 2, frame] = 5.0
    mel[kind == 0, :, 24:44] += sweep
    mel[kind == 1, :, 24:44] += sweep.flip(0)
    names = ("positive", "hard_negative", "negative", "background")
    roles = torch.tensor([ROLES.index(name) for name in names])[kind]
    clean, real = torch.zeros(rows, dtype=torch.int64), torch.zeros(rows, dtype=torch.bool)
    return WindowSet(mel.clamp(0, 26).half(), (kind == 0).long(), roles, clean, torch.where(kind == 0, 43, -1), real)


def config_for(rounded: int, model: ModelConfig = SMALL, epochs: int = 4, rate: float = 0.01, **changes: Any) -> Config:
    """The toy task, of whose epochs the last ones are rounded."""
    return Config.model_validate(
        {
            "training": {
                "model": model,
                "schedule": {"epochs": epochs, "learning_rate": rate},
                "sampling": {"steps_per_epoch": 6, "batch_size": 16},
                "ema": {"decay": 0.8},
                "augment": {"gain_db": (0, 0), **NOTHING},
                "quantization": {"epochs": rounded, "rows": 32},
            },
            "features": {
                "frontend": {"kind": "micro", "window_frames": FRAMES},
                "windows": {"tail_seconds": 0.05},
                "context": {"frames": 0},
            },
            "compute": {"threads": 1, "device": "cpu"},
        }
    ).changed(changes)


TRAIN, VAL = sweeps(1), sweeps(2)


def odds_of(model: ScoringModel, windows: WindowSet, rounding: Any) -> torch.Tensor:
    with torch.no_grad():
        frames = model.backbone.aligned(windows.mel.float())
        return rounded_odds(folded(model), rounding, frames)[:, -1]


def test_without_it_nothing_is_rounded_and_nothing_more_is_kept(tmp_path: Path) -> None:
    train(TRAIN, VAL, CMVN, config_for(0, epochs=1), tmp_path)
    model, _ = load_model(tmp_path)
    assert model.rounding is None and trained_rounding(model) is None
    assert not any("rounding" in name for name in weights(tmp_path))
    assert config_for(0).subset("training") == config_for(0, **{"training.quantization.rows": 8}).subset("training")
    assert "quantization" not in config_for(0).subset("training")["training"]
    assert "quantization" in config_for(1).subset("training")["training"]


@pytest.mark.parametrize("model", [SMALL, SMALL_DS_CNN], ids=["mixednet", "ds_cnn"])
def test_the_model_keeps_the_rounding_of_its_last_epoch(model: ModelConfig, tmp_path: Path) -> None:
    config = config_for(2, model, **{"training.validation.keep_every": 1})
    train(TRAIN, VAL, CMVN, config, tmp_path)
    kept = trained_rounding(load_model(tmp_path)[0])
    assert kept is not None and kept.scales[0] == FEATURES
    # set by the averaged weights with which the last epoch began
    before, _ = load_model(tmp_path / EPOCHS / "00003")
    rows = TRAIN.mel[torch.linspace(0, len(TRAIN) - 1, 32, dtype=torch.float64).long()].float()
    expected = measured(network_of(before), [rows.transpose(1, 2).numpy()])
    assert kept.scales == expected.scales
    assert all((mine == theirs).all() for mine, theirs in zip(kept.shares, expected.shares, strict=True))
    first, second = (load_model(tmp_path / EPOCHS / f"{epoch:05d}")[0] for epoch in (2, 3))
    assert first.rounding is None and trained_rounding(second) is not None and trained_rounding(second) != kept


def test_statistics_of_norms_stay_and_weights_move_while_it_is_rounded(tmp_path: Path) -> None:
    config = config_for(2, **{"training.validation.keep_every": 1, "training.ema.decay": 0.0})
    train(TRAIN, VAL, CMVN, config, tmp_path)
    at = [weights(tmp_path / EPOCHS / f"{epoch:05d}") for epoch in (1, 2, 3, 4)]
    statistics = [name for name in at[0] if "running" in name]
    assert statistics and not any(torch.equal(at[0][name], at[1][name]) for name in statistics)
    assert all(torch.equal(at[1][name], at[3][name]) for name in statistics)
    moving = [name for name in at[0] if name.endswith("weight")]
    assert moving and not any(torch.equal(at[2][name], at[3][name]) for name in moving)


def test_gradients_are_those_of_a_network_that_is_not_rounded_where_steps_are_small() -> None:
    """Straight through the roundings: with steps next to nothing they are the usual ones, in every weight."""
    config = config_for(1, SMALL.model_copy(update={"dropout": 0.0}))
    torch.manual_seed(0)
    model = ScoringModel(config.training.model, BANDS, FRAMES, 2).eval()
    x = torch.rand(4, BANDS, FRAMES, generator=torch.Generator().manual_seed(1)) * 20
    rounding = measured(network_of(model), [x.transpose(1, 2).numpy()])

    def gradients(logits: torch.Tensor) -> torch.Tensor:
        torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 0, 1])).backward()
        found = torch.cat([parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None])
        model.zero_grad()
        return found

    plain = gradients(model.logits(x))
    rounded = gradients(rounded_logits(model, x, rounding)[:, :, -1])
    assert len(plain) == len(rounded) and plain.norm() > 0
    assert torch.cosine_similarity(plain, rounded, dim=0) > 0.98


def test_a_training_that_was_ended_goes_on_to_the_same_weights_bit_for_bit(tmp_path: Path) -> None:
    """Before the first rounded epoch, between two of them, and in the middle of one."""
    config = config_for(3, epochs=5)
    train(TRAIN, VAL, CMVN, config, tmp_path / "whole")
    for place in ("2", "3", "4"):

        def kill(record: EpochRecord, at: int = int(place)) -> None:
            if record.epoch == at:
                raise KilledError

        with pytest.raises(KilledError):
            train(TRAIN, VAL, CMVN, config, tmp_path / place, on_epoch=kill)
        train(TRAIN, VAL, CMVN, config, tmp_path / place)
        assert same_weights(tmp_path / "whole", tmp_path / place)
        assert untimed(history(tmp_path / "whole")) == untimed(history(tmp_path / place))


@pytest.mark.parametrize("step", [13, 21])
def test_an_epoch_that_was_stopped_goes_on_with_its_rounding(step: int, tmp_path: Path, term_raises: None) -> None:
    config = config_for(2)
    train(TRAIN, VAL, CMVN, config, tmp_path / "whole")

    def stop(what: str, done: int, total: int) -> None:
        if done == step:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(InterruptedError):
        train(TRAIN, VAL, CMVN, config, tmp_path / "parts", stop)
    train(TRAIN, VAL, CMVN, config, tmp_path / "parts")
    assert same_weights(tmp_path / "whole", tmp_path / "parts")


def test_a_training_that_goes_on_sets_its_own_rounding(tmp_path: Path) -> None:
    train(TRAIN, VAL, CMVN, config_for(1, epochs=2), tmp_path / "base")
    base, _ = load_model(tmp_path / "base")
    train(TRAIN, VAL, CMVN, config_for(1, epochs=1), tmp_path / "on", start_from=base)
    train(TRAIN, VAL, CMVN, config_for(0, epochs=1), tmp_path / "off", start_from=base)
    found = [trained_rounding(load_model(tmp_path / name)[0]) for name in ("base", "on", "off")]
    assert found[0] is not None and found[1] is not None and found[0] != found[1] and found[2] is None


def ill_scaled(model: ScoringModel, factor: float = 256.0) -> ScoringModel:
    """The same network, one channel of which is many times larger than those that share its steps."""
    backbone: Any = model.backbone
    assert not backbone.blocks[0].residual
    with torch.no_grad():
        backbone.stem_norm.weight[0] *= factor
        backbone.stem_norm.bias[0] *= factor
        backbone.blocks[0].depthwise.groups[0].weight[0] /= factor
    return model


def loss_of(odds: torch.Tensor) -> float:
    return float(torch.nn.functional.binary_cross_entropy_with_logits(odds.double(), VAL.labels.double()))


def test_it_wins_back_what_rounding_costs(tmp_path: Path) -> None:
    """A network of which rounding leaves little learns to bear it when it is rounded while it is trained further."""
    shape = MixedNetConfig(stem_channels=8, channels=12, kernels=((3,), (3,)), head_steps=2, dropout=0.0)
    train(TRAIN, VAL, CMVN, config_for(0, shape, epochs=16), tmp_path / "base")
    base = ill_scaled(load_model(tmp_path / "base")[0])
    with torch.no_grad():
        logits = base.logits(VAL.mel.float())
    whole = loss_of(logits[:, 1] - logits[:, 0])
    afterwards = loss_of(odds_of(base, VAL, measured(network_of(base), [TRAIN.mel.float().transpose(1, 2).numpy()])))
    train(TRAIN, VAL, CMVN, config_for(8, shape, epochs=8, rate=0.003), tmp_path / "taught", start_from=base)
    taught, _ = load_model(tmp_path / "taught")
    with_it = loss_of(odds_of(taught, VAL, trained_rounding(taught)))
    assert afterwards > 1.5 * whole
    assert with_it - whole < 0.5 * (afterwards - whole)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"features.frontend.kind": "log_mel"}, "features.frontend.kind is log_mel; set it to micro"),
        (
            {"evaluation.calibration.method": "isotonic"},
            "isotonic, which integers do not compute; set it to temperature",
        ),
        ({"training.model": TcnConfig(kernel=3, dilations=(1,), head_steps=2)}, "set it to mixednet or ds_cnn"),
        ({"training.model": SMALL_DS_CNN.model_copy(update={"causal": False})}, "causal to true"),
        ({"training.schedule.epochs": 1}, r"quantization\.epochs is 1, but a training of 1 epochs that begins"),
    ],
)
def test_a_network_that_cannot_be_in_such_integers_is_refused_at_once(
    changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    records: list[EpochRecord] = []
    with pytest.raises(WakewordError, match=said):
        train(TRAIN, VAL, CMVN, config_for(1, **changes), tmp_path, on_epoch=records.append)
    assert records == []


def test_what_is_not_kept_is_not_rounded() -> None:
    with pytest.raises(ValidationError, match=r"validation\.keep is best: set that to last"):
        config_for(1, **{"training.validation.keep": "best"})
