"""Several processes end where one does: forked ones, as torchrun would start them, that meet by Gloo on the CPU."""

import multiprocessing
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sweeps_to_train import (
    AUGMENT,
    CMVN,
    LOSS,
    TINY_TCN,
    VAL,
    VIEWED,
    assert_near,
    config_for,
    history,
    sgd_config,
)

from wakeword_core.config import BcResNetConfig, Config, TcnConfig
from wakeword_core.errors import ConfigError
from wakeword_core.training.distributed import ALONE, SharedNorm, is_one_of_several, join_ranks
from wakeword_core.training.loop import train
from wakeword_core.training.objective import Objective

WEIGHTED = {**LOSS, "class_weights": "balanced", "hard_negative_weight": 3.0}
MIXED = {**AUGMENT, "mixup_alpha": 0.5, "shift_frames": 3}


def _train(config: Config, out: Path, *further: Any) -> None:
    train(VIEWED, VAL, CMVN, config, out, *further)


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


@pytest.mark.parametrize(
    ("count", "config"),
    [
        (2, sgd_config()),
        (3, sgd_config(loss=WEIGHTED, augment=MIXED, sampling={"kind": "difficulty", "clean_share": 0.3})),
        (2, sgd_config(TcnConfig(**TINY_TCN, dropout=0, members=2), loss={**WEIGHTED, "pooling": "window"})),
        (
            2,
            sgd_config(
                loss={**LOSS, "metric": "arcface"}, optimizer={"kind": "muon"}, schedule={"learning_rate": 1e-3}
            ),
        ),
        (
            2,
            sgd_config(BcResNetConfig(dropout=0), schedule={"epochs": 1}, sampling={"steps_per_epoch": 1}),
        ),  # the next step is another by chance
    ],
    ids=["plain", "weighted, mixed, difficult", "members", "arcface, muon", "bc_resnet"],
)
def test_a_training_of_several_is_that_of_one(count: int, config: Config, tmp_path: Path) -> None:
    _train(config, tmp_path / "one")
    assert _in_ranks(count, lambda rank: _train(config, tmp_path / "several")) == [0] * count
    assert_near(tmp_path / "one", tmp_path / "several")


def test_a_stopped_training_goes_on_with_another_number_of_processes(tmp_path: Path) -> None:
    config = sgd_config(sampling={"kind": "difficulty"})
    _train(config, tmp_path / "one")

    def stopped(what: str, done: int, total: int) -> None:
        if done == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    def part(rank: int) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if rank == 1:  # that one of them has a signal stops them all, after the same batch
            _train(config, tmp_path / "several", stopped)
        else:
            with pytest.raises(KeyboardInterrupt):
                _train(config, tmp_path / "several")

    assert _in_ranks(2, part) == [0, -signal.SIGTERM]
    assert len(history(tmp_path / "several")) == 1
    done: list[int] = []
    _train(config, tmp_path / "several", lambda what, step, total: done.append(step))
    assert done == [4]
    assert_near(tmp_path / "one", tmp_path / "several")


def test_processes_that_differ_or_run_out_of_memory_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def differing(rank: int) -> None:
        with pytest.raises(ConfigError, match="differ in data, settings or checkpoints"):
            _train(sgd_config(schedule={"learning_rate": 0.01 * (rank + 1)}), tmp_path / "differing")

    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("full")

    def exhausted(rank: int) -> None:
        monkeypatch.setattr(Objective, "forward", full)
        with pytest.raises(ConfigError, match=r"set training\.sampling\.micro_batch=4"):
            _train(sgd_config(), tmp_path / "exhausted")

    assert _in_ranks(2, differing) == [0, 0]
    assert _in_ranks(2, exhausted) == [0, 0]


@pytest.mark.parametrize("shape", [(6, 3, 5), (6, 3, 4, 2)], ids=["1d", "2d"])
def test_shared_norms_are_batch_norms_of_all_rows(shape: tuple[int, ...], tmp_path: Path) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 2 + 5
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    whole = (torch.nn.BatchNorm1d if len(shape) == 3 else torch.nn.BatchNorm2d)(3)

    def forward(norm: torch.nn.Module, rows: slice) -> list[torch.Tensor]:
        seen = x[rows].clone().requires_grad_()
        y = norm(seen)
        (y * weight[rows]).sum().backward()
        return [y.detach(), seen.grad]

    wanted = forward(whole, slice(None))

    def shared(rank: int) -> None:
        rows = slice(0, 4) if rank == 0 else slice(4, 6)
        with join_ranks("cpu") as ranks:
            norm = SharedNorm(type(whole)(3))
            found = forward(norm, rows)
            gradients = [one.grad for one in norm.parameters()]
            ranks.add_up(gradients)
        for one, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(one, other[rows], rtol=1e-4, atol=1e-5)
        for one, other in zip(gradients, whole.parameters(), strict=True):
            torch.testing.assert_close(one, other.grad, rtol=1e-4, atol=1e-5)
        for one, other in zip(norm.buffers(), whole.buffers(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(norm.eval()(x), whole.eval()(x))

    assert _in_ranks(2, shared) == [0, 0]


def test_alone_nothing_is_asked_of_others() -> None:
    assert not is_one_of_several()
    with join_ranks("cpu") as ranks:
        assert ranks == ALONE and ranks.first
    assert ranks.any(True) and not ranks.any(False) and ranks.broadcast([1.5]) == [1.5]
    with pytest.raises(ValueError, match="processes is 3, but a batch has 2"):
        config_for(sampling={"batch_size": 2}, compute={"processes": 3})
