"""Rows are drawn by how wrong the model was about them."""

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from sweeps_to_train import CMVN, CONTEXT, LONG, TINY_TCN, VAL, KilledError, config_for, history, same_weights, untimed

from wakeword_core.config import ROLES, LossConfig, TcnConfig, TrainingConfig
from wakeword_core.training.checkpoint import LAST
from wakeword_core.training.data import UNSEEN, Sampler, systematic_sample
from wakeword_core.training.loop import train
from wakeword_core.training.losses import Zones
from wakeword_core.training.objective import Targets, wrongness
from wakeword_core.training.records import EpochRecord


@settings(max_examples=60, deadline=None)
@given(weights=st.lists(st.floats(0.01, 1), min_size=1, max_size=40), count=st.integers(1, 120), seed=st.integers(0, 9))
def test_each_is_drawn_its_expected_number_of_times(weights: list[float], count: int, seed: int) -> None:
    given_weights = torch.tensor(weights, dtype=torch.float64)
    drawn = systematic_sample(given_weights, count, torch.Generator().manual_seed(seed))
    assert drawn.shape == (count,)
    copies = torch.bincount(drawn, minlength=len(weights))
    expected = given_weights / given_weights.sum() * count
    assert bool((copies >= (expected - 1e-9).floor()).all() and (copies <= (expected + 1e-9).ceil()).all())


def test_equal_weights_give_no_early_repeats_and_another_order_each_time() -> None:
    orders = [systematic_sample(torch.ones(30).double(), 90, torch.Generator().manual_seed(seed)) for seed in range(2)]
    for order in orders:
        assert all(sorted(order[at : at + 30].tolist()) == list(range(30)) for at in (0, 30, 60))
    assert not torch.equal(*orders)


def test_batches_keep_their_shares_and_hold_what_is_difficult() -> None:
    config = TrainingConfig(
        sampling={"kind": "difficulty", "batch_size": 20, "steps_per_epoch": 4, "difficulty_floor": 0.1}
    )
    sampler = Sampler(LONG, ("_negative", "word"), config, seed=0)
    difficulty = torch.zeros(len(LONG))
    words = torch.nonzero(LONG.labels > 0).flatten()
    difficulty[words[:4]] = 1.0
    epoch = sampler.epoch(0, difficulty)
    plain = Sampler(LONG, ("_negative", "word"), config, seed=0).epoch(0)
    for batch, other in zip(epoch, plain, strict=True):
        counts, wanted = (torch.bincount(LONG.roles[rows], minlength=len(ROLES)) for rows in (batch, other))
        assert counts[0] == wanted[0] == 6 and counts[ROLES.index("hard_negative")] == 4
    copies = torch.bincount(epoch.flatten(), minlength=len(LONG))
    expected = 24 / (4 + 16 * 0.1)  # draws of words, by their weights
    assert set(copies[words[:4]].tolist()) <= {int(expected), int(expected) + 1}
    assert set(copies[words[4:]].tolist()) <= {0, 1} and int(copies[words[4:]].sum()) > 0
    assert torch.equal(epoch, sampler.epoch(0, difficulty)) and not torch.equal(epoch, sampler.epoch(1, difficulty))


@pytest.mark.parametrize("pooling", ["stream", "window"])
def test_wrongness_by_hand(pooling: str) -> None:
    """A word is sought at its best steps, everything else heard at the worst."""
    right = torch.tensor([[0.9, 0.2, 0.8], [0.6, 0.9, 0.7]])
    p = torch.stack([torch.stack([1 - right[0], right[0]]), torch.stack([right[1], 1 - right[1]])])
    hit = torch.tensor([[False, True, True], [False, False, False]])
    places = torch.tensor([1, 2]) if pooling == "window" else None
    targets = Targets(torch.tensor([1, 0]), Zones(hit, ~hit), places, torch.ones(2))
    found = wrongness(p.log(), targets, LossConfig(pooling=pooling, best_steps=1, worst_steps=2), rows=2)
    wanted = [0.8, 0.3] if pooling == "window" else [0.2, 0.35]
    assert found.tolist() == pytest.approx(wanted)


def test_nothing_is_learnt_about_a_row_that_nothing_was_asked_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a word that is mixed with another, whose window does not hold it: it stays as difficult as it was."""
    shares = torch.tensor([1.0, 0.0])
    nowhere = torch.zeros(2, 3, dtype=torch.bool)
    targets = Targets(torch.zeros(2, dtype=torch.int64), Zones(nowhere, ~nowhere), None, shares)
    assert wrongness(torch.zeros(2, 2, 3), targets, LossConfig(), rows=2).isnan().tolist() == [False, True]

    def unknown(logits: torch.Tensor, targets: Targets, loss: LossConfig, rows: int) -> torch.Tensor:
        return torch.where(torch.arange(rows) < rows // 2, math.nan, 0.25)

    monkeypatch.setattr("wakeword_core.training.loop.wrongness", unknown)
    train(
        LONG,
        VAL,
        CMVN,
        config_for(None, CONTEXT, schedule={"epochs": 1}, sampling={"kind": "difficulty"}, validation={"keep": "last"}),
        tmp_path,
    )
    difficulty = load_file(tmp_path / "checkpoints" / LAST)["difficulty/rows"]
    assert set(difficulty.tolist()) == {0.25, UNSEEN}


def test_what_is_wrong_comes_more_often_and_a_killed_training_goes_on_alike(tmp_path: Path) -> None:
    model = TcnConfig(**TINY_TCN, dropout=0.3)
    config = config_for(
        model,
        CONTEXT,
        schedule={"epochs": 4},
        sampling={"steps_per_epoch": 2, "kind": "difficulty"},
        validation={"keep": "last"},
    )
    train(LONG, VAL, CMVN, config, tmp_path / "whole")

    def kill(record: EpochRecord) -> None:
        if record.epoch == 2:
            raise KilledError

    def stop(what: str, done: int, total: int) -> None:
        if done == 5:
            raise KilledError

    with pytest.raises(KilledError):
        train(LONG, VAL, CMVN, config, tmp_path / "parts", on_epoch=kill)
    early = load_file(tmp_path / "parts" / "checkpoints" / LAST)["difficulty/rows"]
    with pytest.raises(KilledError):
        train(LONG, VAL, CMVN, config, tmp_path / "parts", stop)
    train(LONG, VAL, CMVN, config, tmp_path / "parts")
    assert same_weights(tmp_path / "whole", tmp_path / "parts")
    assert untimed(history(tmp_path / "whole")) == untimed(history(tmp_path / "parts"))
    late = load_file(tmp_path / "parts" / "checkpoints" / LAST)["difficulty/rows"]
    assert early.shape == (len(LONG),) and bool(((early >= 0) & (early <= 1)).all()) and not torch.equal(early, late)
    assert 0 < int((early == 1.0).sum()) < len(LONG) - 16  # those that were not seen yet
    train(
        LONG,
        VAL,
        CMVN,
        config_for(
            model, CONTEXT, schedule={"epochs": 4}, sampling={"steps_per_epoch": 2}, validation={"keep": "last"}
        ),
        tmp_path / "balanced",
    )
    even = config_for(
        model,
        CONTEXT,
        schedule={"epochs": 4},
        sampling={"steps_per_epoch": 2, "kind": "difficulty", "difficulty_floor": 1.0},
        validation={"keep": "last"},
    )
    train(LONG, VAL, CMVN, even, tmp_path / "even")
    assert not same_weights(tmp_path / "whole", tmp_path / "balanced")
    assert not same_weights(tmp_path / "whole", tmp_path / "even")
