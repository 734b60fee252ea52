"""The moving average of weights and batch norm statistics."""

import pytest
import torch
from torch import nn

from wakeword_core.config import TrainingConfig
from wakeword_core.training.optim import averaged_copy, ema_decay, ramped_decay, update_average


def _model(value: float) -> nn.Module:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    for tensor in model.state_dict().values():
        tensor.fill_(value)
    return model


def test_average_by_hand_with_buffers() -> None:
    model = _model(1.0)
    average = averaged_copy(model)
    for tensor in model.state_dict().values():
        tensor.fill_(5)
    update_average(average, model, 0.75)
    for name, tensor in average.state_dict().items():
        expected = 5.0 if name.endswith("num_batches_tracked") else 2.0
        assert torch.equal(tensor, torch.full_like(tensor, expected)), name


def test_copy_is_apart_frozen_and_in_eval_mode() -> None:
    model = _model(1.0).train()
    average = averaged_copy(model)
    model[0].weight.data.fill_(9)
    assert float(average[0].weight.detach().max()) == 1.0
    assert not any(one.requires_grad for one in average.parameters())
    assert model.training
    assert not average.training
    update_average(average, model, 0.5)
    assert float(model[0].weight.detach().max()) == 9.0


def test_no_decay_copies_and_equal_values_do_not_drift() -> None:
    model = _model(0.1)
    average = averaged_copy(model)
    for step in range(50):
        update_average(average, model, ramped_decay(0.998, step))
    assert all(torch.equal(one, model.state_dict()[name]) for name, one in average.state_dict().items())
    model[0].weight.data.fill_(3)
    update_average(average, model, 0.0)
    assert torch.equal(average[0].weight, model[0].weight)


def test_decay_ramps_up_to_the_configured_one() -> None:
    ramp = [ramped_decay(0.9, step) for step in range(200)]
    assert ramp[0] == 0.1
    assert ramp == sorted(ramp)
    assert ramp[-1] == 0.9
    assert ramped_decay(0.0, 1_000) == 0.0


def test_the_final_decay_is_reached_however_short_the_training() -> None:
    settings = TrainingConfig(ema_decay=0.999, ema_final_decay=0.9995, ema_final_fraction=0.25)
    for total in (20, 200, 20_000):
        decays = [ema_decay(step, total, settings) for step in range(total)]
        assert decays[-1] == pytest.approx(0.9995) and decays == sorted(decays)
        begin = int(0.75 * total)
        assert decays[begin - 1] == ramped_decay(0.999, begin - 1) < 0.9995


def test_the_average_gets_slower_at_the_end() -> None:
    settings = TrainingConfig(ema_decay=0.999, ema_final_decay=0.9995, ema_final_fraction=0.25)
    decays = [ema_decay(step, 40_000, settings) for step in range(40_000)]
    assert decays[0] == 0.1 and decays[20_000] == 0.999 and decays[30_000] == 0.999
    assert decays[-1] == pytest.approx(0.9995) and decays[35_000] == pytest.approx(0.99925, abs=1e-6)
    assert decays == sorted(decays)
    plain = TrainingConfig(ema_decay=0.999)
    assert max(ema_decay(step, 40_000, plain) for step in range(40_000)) == 0.999
