"""Gradients of batches in parts: their shares, their sums, and memory that runs out."""

import logging
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from sweeps_to_train import (
    AUGMENT,
    CMVN,
    CONTEXT,
    LONG,
    LOSS,
    TINY_TCN,
    VAL,
    config_for,
    material,
    merged,
    same_weights,
)

from wakeword_core.config import ROLES, Config, TcnConfig, TinyConvConfig, TrainingConfig
from wakeword_core.errors import ConfigError
from wakeword_core.models.scoring import new_model
from wakeword_core.training.data import Sampler
from wakeword_core.training.distributed import Ranks
from wakeword_core.training.loop import micro_batches, train
from wakeword_core.training.objective import Batch, LossOutput, Objective

DROPS = TcnConfig(**TINY_TCN, dropout=0.3)


def config(**training: Any) -> Config:
    return config_for(
        DROPS, CONTEXT, **merged({"schedule": {"epochs": 3}, "optimizer": {"adaptive_clip": 5.0}}, training)
    )


def test_memory_that_runs_out_halves_the_micro_batch_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    train(LONG, VAL, CMVN, config(sampling={"micro_batch": 4}), tmp_path / "small")
    real, most = Objective.forward, []

    def limited(self: Objective, model: Any, batch: Batch) -> LossOutput:
        judged = real(self, model, batch)  # random numbers are drawn before the memory is full
        if len(batch.labels) > 4:
            raise torch.OutOfMemoryError("full")
        most.append(len(batch.labels))
        return judged

    monkeypatch.setattr(Objective, "forward", limited)
    with caplog.at_level(logging.WARNING):
        train(LONG, VAL, CMVN, config(), tmp_path / "halved")
    assert [record.message for record in caplog.records if "exhausted" in record.message] == [
        f"the GPU's memory is exhausted: batches are computed {rows} rows at once from here on" for rows in (8, 4)
    ]
    assert set(most) == {4} and len(most) == 3 * 4 * 4
    assert same_weights(tmp_path / "small", tmp_path / "halved")


def test_memory_for_not_even_two_rows_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError("full")

    for name, wrong in (
        ("forward", "too small for 2 rows"),
        ("draw", "for 16 rows; lower training.sampling.batch_size"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(Objective, name, full)
            with pytest.raises(ConfigError, match=wrong):
                train(LONG, VAL, CMVN, config(), tmp_path)


def test_micro_batches_are_a_share_of_every_kind() -> None:
    sampler = Sampler(
        LONG, ("negative", "word"), TrainingConfig(sampling={"batch_size": 24, "steps_per_epoch": 1}), seed=0
    )
    batch = sampler.epoch(0)[0]
    for most, count in ((24, 1), (12, 2), (8, 3), (7, 4)):
        parts = [batch[part] for part in micro_batches(len(batch), most)]
        assert len(parts) == count and max(map(len, parts)) <= most
        assert sorted(torch.cat(parts).tolist()) == sorted(batch.tolist())
        for part in parts:
            assert set(LONG.roles[part].tolist()) >= {ROLES.index(one) for one in ("positive", "hard_negative")}


def test_no_network_sees_a_row_by_itself(tmp_path: Path) -> None:
    """tiny_conv normalises what it has pooled, of which a row has one value."""
    settings = config_for(
        TinyConvConfig(channels=4),
        CONTEXT,
        schedule={"epochs": 1},
        sampling={"steps_per_epoch": 1, "batch_size": 3, "micro_batch": 2},
    )
    assert math.isfinite(train(LONG, VAL, CMVN, settings, tmp_path).val_loss)


@pytest.mark.parametrize(("rows", "most", "parts"), [(2, 2, [2]), (3, 2, [3]), (7, 2, [3, 2, 2]), (9, 8, [5, 4])])
def test_no_row_is_left_to_itself(rows: int, most: int, parts: list[int]) -> None:
    batch = torch.arange(rows)
    assert [len(batch[part]) for part in micro_batches(rows, most)] == parts


@pytest.mark.parametrize(("rows", "most", "count"), [(16, 16, 2), (16, 3, 2), (17, 4, 3), (5, 1, 2), (4, 1, 4)])
def test_processes_share_a_batch_and_have_as_many_parts_each(rows: int, most: int, count: int) -> None:
    shared = [[list(range(rows)[part]) for part in micro_batches(rows, most, Ranks(r, count))] for r in range(count)]
    assert sorted(row for parts in shared for part in parts for row in part) == list(range(rows))
    assert len({len(parts) for parts in shared}) == 1 and all(part for parts in shared for part in parts)
    if rows % count == 0:
        assert max(len(part) for parts in shared for part in parts) <= most


WINDOW = {"pooling": "window", "class_weights": "balanced", "hard_negative_weight": 3.0, "label_smoothing": 0.1}
EXACT: dict[str, tuple[Any, dict[str, Any], float]] = {
    "plain": (TcnConfig(**TINY_TCN), {}, 0.0),
    "weighted": (TcnConfig(**TINY_TCN), {"class_weights": "balanced", "hard_negative_weight": 3.0}, 0.0),
    "focal, mixed": (TcnConfig(**TINY_TCN), {"kind": "focal", "focal_alpha": 0.3, "hard_negative_weight": 2.0}, 0.5),
    "members": (TcnConfig(**TINY_TCN, members=2), {"metric": "arcface", "class_weights": "balanced"}, 0.0),
    "window": (TcnConfig(**TINY_TCN, members=2), WINDOW, 0.5),
    "whole windows": (TinyConvConfig(channels=4), WINDOW, 0.5),
}


@pytest.mark.parametrize("most", [5, 3])
@pytest.mark.parametrize("name", EXACT)
def test_losses_and_gradients_of_micro_batches_add_up_to_the_batchs(name: str, most: int) -> None:
    """With the statistics of batch norm fixed; words and other rows in no even shares, some parts without any."""
    architecture, loss, mixed = EXACT[name]
    settings = config_for(architecture, CONTEXT, loss={**LOSS, **loss}, augment={**AUGMENT, "mixup_alpha": mixed})
    torch.manual_seed(0)
    model = new_model(settings).train()
    objective, windows = Objective(settings, model, LONG.labels), LONG
    for one in model.modules():
        if isinstance(one, torch.nn.modules.batchnorm._BatchNorm | torch.nn.Dropout):
            one.eval()
    rows = torch.tensor([0, 4, 8, 1, 2, 3, 5, 6, 9, 10, 13])
    batch = objective.draw(model, material(windows, rows, rows.flip(0)), torch.Generator().manual_seed(0))
    found = []
    for at_once in (11, most):
        model.zero_grad(), objective.zero_grad()
        losses = [objective(model, batch.part(part)).loss for part in micro_batches(11, at_once)]
        sum(losses).backward()
        gradients = [one.grad.flatten() for one in (*model.parameters(), *objective.parameters())]
        found.append(torch.cat([sum(losses).detach()[None], *gradients]))
    assert len(losses) == math.ceil(11 / most)
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=2e-6)
    assert float(found[0].abs().max()) > 0.1
