"""Several processes end where one does: forked ones that meet by Gloo on the CPU, and ones that torchrun starts."""

import multiprocessing
import os
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
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
    KilledError,
    config_for,
    history,
    same_weights,
    weights,
)

from wakeword_core.config import BcResNetConfig, Config, TcnConfig
from wakeword_core.errors import ConfigError, WakewordError
from wakeword_core.training import launch
from wakeword_core.training.distributed import ALONE, SharedNorm, ranks_here, under_torchrun
from wakeword_core.training.epoch import _micro_batches
from wakeword_core.training.fit import train
from wakeword_core.training.objective import Objective
from wakeword_core.training.records import EpochRecord

WEIGHTED = {**LOSS, "class_weights": "balanced", "hard_negative_weight": 3.0}
MIXED = {**AUGMENT, "mixup_alpha": 0.5, "shift_frames": 3}


def _config(model: Any = None, **training: Any) -> Config:
    """SGD, since what Adam makes of a gradient that is zero but for rounding is as large as any other step."""
    chosen = {"epochs": 2, "steps_per_epoch": 2, "optimizer": "sgd", "learning_rate": 1e-2, "momentum": 0.5}
    return config_for(model or TcnConfig(**TINY_TCN, dropout=0), CONTEXT, **{**chosen, **training})


def _train(config: Config, out: Path, *further: Any) -> None:
    train(LONG, VAL, CMVN, config, out, *further)


def _in_ranks(count: int, what: Callable[[int], None]) -> list[int]:
    """Do it in forked processes that torchrun might have started; their exit codes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def one(rank: int) -> None:
        torch.set_num_threads(1)  # a pool of threads does not survive the fork
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        os.environ |= {name: str(value) for name, value in place.items()}
        what(rank)

    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=one, args=(rank,)) for rank in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    return [process.exitcode for process in processes]


def _assert_near(one: Path, other: Path) -> None:
    for mine, theirs in zip(history(one), history(other), strict=True):
        for name in ("train_loss", "val_loss", "gradient_norm", "val_score", "learning_rate"):
            assert getattr(mine, name) == pytest.approx(getattr(theirs, name), rel=1e-4, abs=1e-5), name
    found, wanted = weights(one), weights(other)
    assert found.keys() == wanted.keys()
    for name in found:
        torch.testing.assert_close(found[name], wanted[name], rtol=1e-5, atol=1e-5, msg=lambda text, n=name: n + text)


@pytest.mark.parametrize(
    ("count", "config"),
    [
        (2, _config()),
        (3, _config(loss=WEIGHTED, augment=MIXED, sampler="difficulty")),
        (2, _config(TcnConfig(**TINY_TCN, dropout=0, members=2), loss={**WEIGHTED, "pooling": "window"})),
        (2, _config(loss={**LOSS, "metric": "arcface"}, optimizer="muon", learning_rate=1e-3)),
        (2, _config(BcResNetConfig(dropout=0), steps_per_epoch=1)),
    ],
    ids=["plain", "weighted, mixed, difficult", "members", "arcface, muon", "bc_resnet"],
)
def test_a_training_of_several_is_that_of_one(count: int, config: Config, tmp_path: Path) -> None:
    _train(config, tmp_path / "one")
    assert _in_ranks(count, lambda rank: _train(config, tmp_path / "several")) == [0] * count
    _assert_near(tmp_path / "one", tmp_path / "several")
