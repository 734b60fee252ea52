"""Every optimizer moves what it should by its published rule, and goes on where it was; weights are averaged."""

import math

import pytest
import torch
from pydantic import TypeAdapter
from sweeps_to_train import config_for
from torch import nn
from torch.amp.grad_scaler import GradScaler

from wakeword_core.config import ModelConfig, TrainingConfig
from wakeword_core.config.training import EmaConfig, OptimizerConfig
from wakeword_core.models import REGISTRY, build_model
from wakeword_core.models.scoring import new_model
from wakeword_core.training.optim import (
    USUAL_STEPS,
    Clipper,
    Optimizers,
    averaged_copy,
    ema_decay,
    make_optimizers,
    ramped_decay,
    update_average,
)

KINDS = ("adamw", "adam", "sgd", "muon")


def settings(kind: str = "adamw", momentum: float = 0.95) -> TrainingConfig:
    return TrainingConfig.model_validate(
        {
            "optimizer": {"kind": kind, "weight_decay": 0.1, "clip_norm": 1e9, "momentum": momentum},
            "schedule": {"learning_rate": 0.05},
        }
    )


def toy() -> nn.Sequential:
    """A stem, a depthwise and a plain convolution, a norm and a classifier."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(4, 6, 3), nn.Conv1d(6, 6, 3, groups=6), nn.Conv1d(6, 5, 1), nn.BatchNorm1d(5))
    model.add_module("classifier", nn.Conv1d(5, 2, 1))
    return model


def moved(model: nn.Module, optimizers: Optimizers, config: TrainingConfig, steps: int, first: int = 0) -> None:
    clip, scaler = Clipper(config.optimizer, "cpu"), GradScaler("cpu", enabled=False)
    for step in range(first, first + steps):
        generator = torch.Generator().manual_seed(step)
        optimizers.zero_grad()
        for one in model.parameters():
            one.grad = torch.randn(one.shape, generator=generator)
        optimizers.step(clip, scaler)


def reference(model: nn.Module, kind: str, config: TrainingConfig, steps: int) -> None:
    """The rules by hand, in float64: every parameter by itself."""
    momenta = {name: torch.zeros_like(one, dtype=torch.float64) for name, one in model.named_parameters()}
    squares = {name: torch.zeros_like(one, dtype=torch.float64) for name, one in model.named_parameters()}
    rate = config.schedule.learning_rate
    for step in range(steps):
        generator = torch.Generator().manual_seed(step)
        for name, one in model.named_parameters():
            gradient, value = torch.randn(one.shape, generator=generator).double(), one.data.double()
            decay = config.optimizer.weight_decay if one.ndim > 1 else 0.0
            if kind == "sgd":
                gradient = gradient + decay * value
                momenta[name] = gradient if step == 0 else config.optimizer.momentum * momenta[name] + gradient
                value = value - rate * (gradient + config.optimizer.momentum * momenta[name])
            else:
                if kind == "adam":
                    gradient = gradient + decay * value
                else:
                    value = value * (1 - rate * decay)
                momenta[name] = 0.9 * momenta[name] + 0.1 * gradient
                squares[name] = 0.999 * squares[name] + 0.001 * gradient**2
                first = momenta[name] / (1 - 0.9 ** (step + 1))
                second = squares[name] / (1 - 0.999 ** (step + 1))
                value = value - rate * first / (second.sqrt() + 1e-8)
            one.data.copy_(value)


@pytest.mark.parametrize("kind", ["adamw", "adam", "sgd"])
def test_weights_move_by_the_published_rule(kind: str) -> None:
    model, expected, config = toy(), toy(), settings(kind)
    moved(model, make_optimizers(model.named_parameters(), config), config, 5)
    reference(expected, kind, config, 5)
    for (name, one), other in zip(model.named_parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6, msg=name)


def test_muon_moves_matrices_by_orthogonal_steps_and_the_rest_as_adamw() -> None:
    model, config = toy(), settings("muon", momentum=0.0)
    before = {name: one.detach().clone() for name, one in model.named_parameters()}
    moved(model, make_optimizers(model.named_parameters(), config), config, 1)
    expected = toy()
    reference(expected, "adamw", config, 1)
    for (name, one), other in zip(model.named_parameters(), expected.parameters(), strict=True):
        if name not in ("0.weight", "2.weight"):  # the depthwise convolution, the norm, biases and the classifier
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6, msg=name)
            continue
        step = (
            before[name] * (1 - config.schedule.learning_rate * config.optimizer.weight_decay) - one.detach()
        ).flatten(1)
        lengths = torch.linalg.svdvals(step) / (config.schedule.learning_rate * 0.2 * max(step.shape) ** 0.5)
        # Newton and Schulz's five iterations leave singular values between about 0.7 and 1.2 (Jordan et al. 2024)
        assert float(lengths.min()) > 0.6 and float(lengths.max()) < 1.3


def test_a_real_model_has_all_its_weights_moved_once() -> None:
    model = new_model(config_for())
    for kind in KINDS:
        groups = make_optimizers(model.named_parameters(), settings(kind)).groups
        places = [one.data_ptr() for group in groups for one in group["params"]]
        assert sorted(places) == sorted(one.data_ptr() for one in model.parameters()), kind


@pytest.mark.parametrize("kind", KINDS)
def test_the_state_goes_round(kind: str) -> None:
    whole, parts, config = toy(), toy(), settings(kind)
    moved(whole, make_optimizers(whole.named_parameters(), config), config, 4)
    first = make_optimizers(parts.named_parameters(), config)
    moved(parts, first, config, 2)
    saved = {name: tensor.clone() for name, tensor in first.tensors().items()}
    second = make_optimizers(parts.named_parameters(), config)
    second.restore(saved)
    moved(parts, second, config, 2, first=2)
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("kind", ["adamw", "adam", "sgd"])
def test_the_state_of_weights_with_channels_last_goes_round_through_a_file(kind: str) -> None:
    """Files hold moments without gaps; a fused step takes them to lie as their weights do."""

    def convolutions() -> nn.Module:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(4, 6, 3), nn.Conv2d(6, 5, 3))
        return model.to(memory_format=torch.channels_last)

    whole, parts, config = convolutions(), convolutions(), settings(kind)
    moved(whole, make_optimizers(whole.named_parameters(), config), config, 3)
    first, second = (make_optimizers(parts.named_parameters(), config) for _ in range(2))
    moved(parts, first, config, 2)
    second.restore({name: tensor.clone().contiguous() for name, tensor in first.tensors().items()})
    moved(parts, second, config, 1, first=2)
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("broken", [math.inf, math.nan])
@pytest.mark.parametrize("kind", KINDS)
def test_a_scaler_skips_the_step_of_all_weights_when_one_gradient_is_broken(kind: str, broken: float) -> None:
    model, config = toy(), settings(kind)
    optimizers, scaler = make_optimizers(model.named_parameters(), config), GradScaler("cpu", init_scale=4.0)
    before = [one.detach().clone() for one in model.parameters()]
    scaler.scale(torch.zeros(()))  # as each loss is
    for one in model.parameters():
        one.grad = torch.ones_like(one)
    model[0].weight.grad[0, 0, 0] = broken
    norm = optimizers.step(Clipper(config.optimizer, "cpu"), scaler)
    assert not norm.isfinite() and scaler.get_scale() == 2.0
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), before, strict=True))
    for one in model.parameters():
        one.grad = torch.ones_like(one)
    assert optimizers.step(Clipper(config.optimizer, "cpu"), scaler).isfinite()
    assert all(not torch.equal(one, other) for one, other in zip(model.parameters(), before, strict=True))


def test_the_rate_is_set_for_all_weights() -> None:
    for kind in KINDS:
        optimizers = make_optimizers(toy().named_parameters(), settings(kind))
        optimizers.rate = 0.0
        assert optimizers.rate == 0.0 and all(group["lr"] == 0.0 for group in optimizers.groups)


def clipped(norm: float, clipper: Clipper) -> tuple[float, float]:
    """What is told of gradients of some norm, and what is left of it."""
    one, other = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
    one.grad, other.grad = torch.tensor([0.6, 0.0]) * norm, torch.tensor([0.0, 0.8]) * norm
    told = float(clipper([one, other, nn.Parameter(torch.zeros(1))]))
    return told, float(torch.cat([one.grad, other.grad]).norm())


def test_gradients_are_clipped_to_a_norm() -> None:
    clipper = Clipper(OptimizerConfig.model_validate({"clip_norm": 2.0}), "cpu")
    assert clipped(1.0, clipper) == pytest.approx((1.0, 1.0))
    assert clipped(8.0, clipper) == pytest.approx((8.0, 2.0))
    assert clipped(0.0, clipper) == (0.0, 0.0) and len(clipper.norms) == 0


def test_gradients_are_clipped_to_a_multiple_of_the_median() -> None:
    clipper = Clipper(OptimizerConfig.model_validate({"clip_norm": 100.0, "adaptive_clip": 5.0}), "cpu")
    assert clipped(50.0, clipper) == pytest.approx((50.0, 50.0))  # nothing is usual yet
    for norm in (1.0, 2.0, 1.5, 1.0, 1.0):
        clipped(norm, clipper)
    assert clipped(20.0, clipper) == pytest.approx((20.0, 5.0))
    for _ in range(2 * USUAL_STEPS):
        clipped(3.0, clipper)
    assert len(clipper.norms) == USUAL_STEPS
    assert clipped(200.0, clipper) == pytest.approx((200.0, 15.0))


def test_a_broken_gradient_is_told_and_does_not_become_usual() -> None:
    clipper = Clipper(OptimizerConfig.model_validate({"clip_norm": 10.0, "adaptive_clip": 5.0}), "cpu")
    for norm in (1.0, 1.0, float("inf"), float("nan")):
        told, _ = clipped(norm, clipper)
        assert math.isfinite(told) == math.isfinite(norm)
    assert bool(clipper.norms.isfinite().all()) and clipped(9.0, clipper)[1] <= 10.0


@pytest.mark.parametrize("arch", REGISTRY)
@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_no_bias_and_no_norm_of_any_network_decays(arch: str, kind: str) -> None:
    model = build_model(TypeAdapter(ModelConfig).validate_python({"arch": arch}), 40, 64, 2)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    norms = {
        id(one)
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm | nn.LayerNorm)
        for one in module.parameters()
    }
    optimizers = make_optimizers(model.named_parameters(), settings(kind))
    decayed = [one for group in optimizers.groups if group["weight_decay"] > 0 for one in group["params"]]
    assert decayed and not norms & {id(one) for one in decayed}
    assert not [names[id(one)] for one in decayed if names.get(id(one), "").endswith("bias")]


def filled(value: float) -> nn.Module:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    for tensor in model.state_dict().values():
        tensor.fill_(value)
    return model


def test_average_by_hand_with_buffers() -> None:
    model = filled(1.0)
    average = averaged_copy(model)
    for tensor in model.state_dict().values():
        tensor.fill_(5)
    update_average(average, model, 0.75)
    for name, tensor in average.state_dict().items():
        expected = 5.0 if name.endswith("num_batches_tracked") else 2.0
        assert torch.equal(tensor, torch.full_like(tensor, expected)), name


def test_copy_is_apart_frozen_and_in_eval_mode() -> None:
    model = filled(1.0).train()
    average = averaged_copy(model)
    model[0].weight.data.fill_(9)
    assert float(average[0].weight.detach().max()) == 1.0
    assert not any(one.requires_grad for one in average.parameters())
    assert model.training
    assert not average.training
    update_average(average, model, 0.5)
    assert float(model[0].weight.detach().max()) == 9.0


def test_no_decay_copies_and_equal_values_do_not_drift() -> None:
    model = filled(0.1)
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
    ema = EmaConfig.model_validate({"decay": 0.999, "final_decay": 0.9995, "final_fraction": 0.25})
    for total in (20, 200, 20_000):
        decays = [ema_decay(step, total, ema) for step in range(total)]
        assert decays[-1] == pytest.approx(0.9995) and decays == sorted(decays)
        begin = int(0.75 * total)
        assert decays[begin - 1] == ramped_decay(0.999, begin - 1) < 0.9995


def test_the_average_gets_slower_at_the_end() -> None:
    ema = EmaConfig.model_validate({"decay": 0.999, "final_decay": 0.9995, "final_fraction": 0.25})
    decays = [ema_decay(step, 40_000, ema) for step in range(40_000)]
    assert decays[0] == 0.1 and decays[20_000] == 0.999 and decays[30_000] == 0.999
    assert decays[-1] == pytest.approx(0.9995) and decays[35_000] == pytest.approx(0.99925, abs=1e-6)
    assert decays == sorted(decays)
    plain = EmaConfig.model_validate({"decay": 0.999})
    assert max(ema_decay(step, 40_000, plain) for step in range(40_000)) == 0.999
