"""The range test finds rates that train well, and leaves no trace."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sweeps_to_train import CMVN, CONTEXT, LONG, LOSS, TAUGHT, TINY_TCN, VAL, KilledError, config_for, oracle

from wakeword_core.config import TcnConfig
from wakeword_core.errors import ConfigError, DataError
from wakeword_core.models.scoring import new_model
from wakeword_core.training.loop import train
from wakeword_core.training.lr_finder import Rates, find_rate
from wakeword_core.training.objective import LossOutput, Objective

FEW = Rates(1e-5, 1e-1, 20)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_nothing_is_different_afterwards(optimizer: str) -> None:
    """With dropout and ArcFace's centres; nor are the windows, the model to begin with and what is random elsewhere."""
    loss = {**LOSS, "metric": "arcface"}
    model = TcnConfig(**TINY_TCN, dropout=0.3)
    config = config_for(model, CONTEXT, loss=loss, optimizer={"kind": optimizer, "adaptive_clip": 5.0})
    started_from = new_model(config)

    def state() -> list[Any]:
        tensors = [*started_from.state_dict().values(), LONG.mel, LONG.labels, LONG.word_ends, LONG.roles]
        generators = [torch.random.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()]
        return [*(tensor.tolist() for tensor in tensors), *generators, torch.initial_seed(), started_from.training]

    before = state()
    rates = find_rate(LONG, CMVN, config, FEW, start_from=started_from)
    assert state() == before
    assert rates.losses[-1] != rates.losses[0]


def test_it_is_taught_as_the_training_would_be() -> None:
    none, silent, taught = (
        config_for(None, CONTEXT, teacher=teacher) for teacher in ({}, {**TAUGHT, "share": 0}, {**TAUGHT, "share": 0.8})
    )
    plain = find_rate(LONG, CMVN, none, FEW).losses
    assert find_rate(LONG, CMVN, silent, FEW, teacher=oracle(LONG)).losses == plain
    assert find_rate(LONG, CMVN, taught, FEW, teacher=oracle(LONG)).losses != plain
    with pytest.raises(DataError, match="build the scores again"):
        find_rate(LONG, CMVN, taught, FEW, teacher=oracle(LONG).padded(81))


def test_the_test_itself_leaves_the_random_state_and_threads() -> None:
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    find_rate(LONG, CMVN, config_for(context=CONTEXT, compute={"threads": threads + 1}), FEW)
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.get_num_threads() == threads


def test_it_computes_as_the_training_would() -> None:
    """As settings of CUDA say, which are those of the whole process while it goes on."""
    seen: set[tuple[bool, bool]] = set()

    def look(what: str, done: int, total: int) -> None:
        seen.add((torch.backends.cudnn.benchmark, torch.backends.cuda.matmul.allow_tf32))

    config = config_for(context=CONTEXT, compute={"cudnn_benchmark": True}, precision={"tf32": "on"})
    find_rate(LONG, CMVN, config, FEW, look)
    assert seen == {(True, True)}
    assert not torch.backends.cudnn.benchmark and not torch.backends.cuda.matmul.allow_tf32


def test_a_test_that_is_stopped_leaves_the_random_state_too() -> None:
    def stop(what: str, done: int, total: int) -> None:
        raise KilledError

    state = torch.random.get_rng_state()
    with pytest.raises(KilledError):
        find_rate(LONG, CMVN, config_for(context=CONTEXT), FEW, stop)
    assert torch.equal(state, torch.random.get_rng_state())


def test_rates_grow_by_a_factor_and_the_same_seed_gives_the_same_curve() -> None:
    seen: list[tuple[str, int, int]] = []
    config = config_for(context=CONTEXT)
    found = find_rate(LONG, CMVN, config, FEW, lambda *one: seen.append(one))
    assert found.rates[0] == pytest.approx(1e-5) and found.rates[-1] == pytest.approx(1e-1)
    ratios = np.diff(np.log(found.rates))
    assert ratios == pytest.approx(np.full(19, np.log(1e4) / 19))
    assert seen == [("learning rates", done, 20) for done in range(1, 21)]
    assert len(found.losses) == len(found.smoothed) == 20 and not found.diverged
    assert find_rate(LONG, CMVN, config, FEW) == found
    assert find_rate(LONG, CMVN, config.model_copy(update={"seed": 2}), FEW).losses != found.losses


@pytest.mark.parametrize("micro_batch", [0, 5])
def test_its_batches_are_those_of_the_training(micro_batch: int, tmp_path: Path) -> None:
    """At one rate without a schedule, losses are the training's own, epoch by epoch."""
    config = config_for(
        TcnConfig(**TINY_TCN, dropout=0.3),
        CONTEXT,
        schedule={"learning_rate": 1e-9, "warmup_fraction": 0, "final_lr_fraction": 1, "epochs": 5},
        sampling={"steps_per_epoch": 4, "micro_batch": micro_batch},
    )
    found = find_rate(LONG, CMVN, config, Rates(1e-9, 1.0001e-9, 20))
    losses: list[float] = []
    train(LONG, VAL, CMVN, config, tmp_path, on_epoch=lambda record: losses.append(record.train_loss))
    assert np.reshape(found.losses, (5, 4)).mean(axis=1) == pytest.approx(losses, rel=1e-5)


def _found_in_a_bowl(curvature: float, monkeypatch: pytest.MonkeyPatch) -> float:
    """The suggestion for plain gradient descent to a point that each batch moves, curvatures being up to this one.

    It fails at rates above 2 / curvature, and since curvatures differ much, learns most just below that.
    """
    noise, curvatures = torch.Generator().manual_seed(0), curvature * torch.logspace(-3, 0, 64)

    def forward(self: Objective, model: Any, *_: Any) -> LossOutput:
        weights = next(one for one in model.parameters() if one.numel() >= 64).flatten()[:64]
        point = 1 + 0.3 * torch.randn(64, generator=noise)
        return LossOutput((curvatures * (weights - point).square()).sum() / 2, torch.empty(0), torch.tensor(0.0))

    monkeypatch.setattr(Objective, "forward", forward)
    config = config_for(
        context=CONTEXT,
        optimizer={"kind": "sgd", "momentum": 0.0, "weight_decay": 0.0, "clip_norm": 1e9},
        sampling={"batch_size": 4},
    )
    return find_rate(LONG, CMVN, config, Rates(1e-5, 10.0, 120)).suggestion


def test_the_suggestion_is_near_the_best_rate_of_a_convex_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """Well below where it fails and not far below what is best; and as many times lower as the problem is steeper."""
    found = {curvature: _found_in_a_bowl(curvature, monkeypatch) for curvature in (1.0, 200.0)}
    for curvature, rate in found.items():
        assert 0.1 < rate * curvature < 0.5
    assert found[1.0] == pytest.approx(200 * found[200.0], rel=0.15)


def test_batches_are_computed_in_parts_and_exhausted_memory_halves_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in training."""
    seen: list[int] = []
    forward = Objective.forward

    def limited(self: Objective, model: Any, batch: Any) -> LossOutput:
        seen.append(len(batch.labels))
        if len(batch.labels) > limit:
            raise torch.OutOfMemoryError
        return forward(self, model, batch)

    monkeypatch.setattr(Objective, "forward", limited)
    model, limit = TcnConfig(**TINY_TCN, dropout=0), 16
    parts = find_rate(LONG, CMVN, config_for(model, CONTEXT, sampling={"micro_batch": 5}), FEW)
    assert set(seen) == {4}
    seen.clear()
    limit, config = 6, config_for(model, CONTEXT)
    halved = find_rate(LONG, CMVN, config, FEW)
    assert seen[:3] == [16, 8, 4] and set(seen[3:]) == {4}
    assert halved == parts


def _fed(monkeypatch: pytest.MonkeyPatch, losses: list[float]) -> None:
    """Make the objective give these losses, whatever the model does."""
    left = iter(losses)

    def forward(self: Objective, model: Any, *_: Any) -> LossOutput:
        return LossOutput(next(model.parameters()).sum() * 0 + next(left), torch.empty(0), torch.tensor(0.0))

    monkeypatch.setattr(Objective, "forward", forward)


def test_marks_of_a_known_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flat at 2, down in an arc around 1e-3, lowest at 1e-2, up again; with noise of a batch."""
    place = np.linspace(-6, 0, 200)
    curve = np.where(place < -2, 1 + 1 / (1 + np.exp(4 * (place + 3))), 1 + 0.9 * (place + 2) + 1 / (1 + np.exp(4)))
    noise = np.random.default_rng(0).normal(0, 0.1, 200)
    _fed(monkeypatch, (curve + noise).tolist())
    found = find_rate(LONG, CMVN, config_for(context=CONTEXT))
    assert np.log10(found.steepest) == pytest.approx(-3, abs=0.35)
    assert np.log10(found.lowest) == pytest.approx(-2.1, abs=0.35)
    assert found.suggestion == pytest.approx(found.lowest / 5)
    assert np.abs(np.asarray(found.smoothed) - curve).mean() < 0.5 * np.abs(noise).mean()
    assert found.loss_at(found.lowest) == pytest.approx(min(found.smoothed))
    assert found.loss_at(1e-9) == found.smoothed[0] and found.loss_at(9.0) == found.smoothed[-1]


@pytest.mark.parametrize("end", [float("nan"), float("inf"), 1e6, 20.0])
def test_it_ends_when_the_loss_runs_away_and_what_was_before_still_counts(
    end: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = [*np.linspace(2, 1, 100).tolist(), *[end] * 100]
    _fed(monkeypatch, losses)
    found = find_rate(LONG, CMVN, config_for(context=CONTEXT))
    assert found.diverged and 100 <= len(found.rates) < 110
    assert np.isfinite(found.losses).all() and max(found.smoothed) <= 4.5
    # the losses that ran away before it was noticed move the lowest a little down, never up
    assert 0.3 < found.lowest / np.geomspace(1e-6, 1, 200)[99] <= 1


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        (np.linspace(2, 1, 20), "go to a higher one"),
        (np.linspace(1, 2, 20), "begin with a lower one"),
        ([*np.linspace(2, 1, 12), *np.linspace(1, 2, 8)], ""),
        ([*np.linspace(2, 1, 20), float("nan")], ""),
    ],
    ids=["falls", "rises", "both", "falls and runs away"],
)
def test_a_lowest_loss_at_an_end_of_the_rates_is_said(losses: Any, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _fed(monkeypatch, list(losses))
    found = find_rate(LONG, CMVN, config_for(context=CONTEXT), Rates(1e-5, 1e-1, len(losses)))
    assert said in found.too_narrow and bool(said) == bool(found.too_narrow)


def test_a_loss_that_runs_away_at_once_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    _fed(monkeypatch, [1.0] * 5 + [float("nan")])
    with pytest.raises(ConfigError, match=r"after 5 batches.*begin below 1e-05"):
        find_rate(LONG, CMVN, config_for(context=CONTEXT), FEW)


@pytest.mark.parametrize(
    ("rates", "said"),
    [((0, 1, 50), "above 0"), ((1e-2, 1e-2, 50), "rise"), ((1e-1, 1e-2, 50), "rise"), ((1e-5, 1, 19), "20 or more")],
)
def test_ranges_that_are_none_are_refused(rates: tuple[float, float, int], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Rates(*rates)


def test_windows_that_cannot_be_trained_on_are_refused() -> None:
    with pytest.raises(DataError, match=r"training windows are \(16, 56\)"):
        find_rate(LONG, CMVN, config_for(), FEW)
    with pytest.raises(DataError, match="no window of 'hey robin'"):
        find_rate(replace(LONG, labels=LONG.labels * 0), CMVN, config_for(context=CONTEXT), FEW)


def test_a_model_that_is_trained_further_is_tested_as_it_is(tmp_path: Path) -> None:
    config = config_for(
        TcnConfig(**TINY_TCN, dropout=0), CONTEXT, schedule={"epochs": 8, "learning_rate": 3e-2}, ema={"decay": 0}
    )
    train(LONG, VAL, CMVN, config, tmp_path)
    from wakeword_core.models.scoring import load_model

    model, _ = load_model(tmp_path)
    new, further = (find_rate(LONG, CMVN, config, FEW, start_from=one) for one in (None, model))
    assert further.smoothed[0] < 0.8 * new.smoothed[0]
