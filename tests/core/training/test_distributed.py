"""Several processes end where one does: forked ones that meet by Gloo on the CPU, and ones that torchrun starts."""

import dataclasses
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
    CONTEXT,
    LONG,
    LOSS,
    TINY_TCN,
    VAL,
    KilledError,
    config_for,
    history,
    weights,
)

from wakeword_core.config import BcResNetConfig, Config, TcnConfig
from wakeword_core.errors import ConfigError, WakewordError
from wakeword_core.progress import silent
from wakeword_core.training import launch
from wakeword_core.training.distributed import ALONE, SharedNorm, ranks_here, under_torchrun
from wakeword_core.training.fit import train
from wakeword_core.training.objective import Objective
from wakeword_core.training.records import EpochRecord

WEIGHTED = {**LOSS, "class_weights": "balanced", "hard_negative_weight": 3.0}
VIEWED = dataclasses.replace(LONG, views=torch.arange(len(LONG)) // 4 % 2)
MIXED = {**AUGMENT, "mixup_alpha": 0.5, "shift_frames": 3}


def _config(model: Any = None, **training: Any) -> Config:
    """SGD, since what Adam makes of a gradient that is zero but for rounding is as large as any other step."""
    chosen = {"epochs": 2, "steps_per_epoch": 2, "optimizer": "sgd", "learning_rate": 1e-2, "momentum": 0.5}
    return config_for(model or TcnConfig(**TINY_TCN, dropout=0), CONTEXT, **{**chosen, **training})


def _train(config: Config, out: Path, *further: Any) -> None:
    train(VIEWED, VAL, CMVN, config, out, *further)


def _changed(config: Config, **settings: Any) -> Config:
    return config.model_copy(update={"training": config.training.model_copy(update=settings)})


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
        (3, _config(loss=WEIGHTED, augment=MIXED, sampler="difficulty", clean_share=0.3)),
        (2, _config(TcnConfig(**TINY_TCN, dropout=0, members=2), loss={**WEIGHTED, "pooling": "window"})),
        (2, _config(loss={**LOSS, "metric": "arcface"}, optimizer="muon", learning_rate=1e-3)),
        (2, _config(BcResNetConfig(dropout=0), epochs=1, steps_per_epoch=1)),  # the next step is another by chance
    ],
    ids=["plain", "weighted, mixed, difficult", "members", "arcface, muon", "bc_resnet"],
)
def test_a_training_of_several_is_that_of_one(count: int, config: Config, tmp_path: Path) -> None:
    _train(config, tmp_path / "one")
    assert _in_ranks(count, lambda rank: _train(config, tmp_path / "several")) == [0] * count
    _assert_near(tmp_path / "one", tmp_path / "several")


def test_a_stopped_training_goes_on_with_another_number_of_processes(tmp_path: Path) -> None:
    config = _config(sampler="difficulty")
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
    _assert_near(tmp_path / "one", tmp_path / "several")


def test_processes_that_differ_or_run_out_of_memory_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def differing(rank: int) -> None:
        with pytest.raises(ConfigError, match="differ in data, settings or checkpoints"):
            _train(_config(learning_rate=0.01 * (rank + 1)), tmp_path / "differing")

    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("full")

    def exhausted(rank: int) -> None:
        monkeypatch.setattr(Objective, "forward", full)
        with pytest.raises(ConfigError, match=r"set training\.micro_batch=4"):
            _train(_config(), tmp_path / "exhausted")

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
        with ranks_here("cpu") as ranks:
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
    assert not under_torchrun()
    with ranks_here("cpu") as ranks:
        assert ranks == ALONE and ranks.first
    assert ranks.any(True) and not ranks.any(False) and ranks.of_first([1.5]) == [1.5]
    with pytest.raises(ValueError, match="processes is 3, but a batch has 2"):
        config_for(batch_size=2, processes=3)


def test_torchrun_is_started_and_listened_to(tmp_path: Path) -> None:
    """By the setting alone: what a user with two GPUs does, on the CPU."""
    config = _config(processes=2, loss=WEIGHTED, threads=1)
    told: list[tuple[str, int, int]] = []
    records: list[EpochRecord] = []
    _train(config, tmp_path / "several", lambda *one: told.append(one), records.append)
    assert told[-1] == ("training", 4, 4) and records == history(tmp_path / "several") and len(records) == 2
    assert not (tmp_path / "several" / "checkpoints" / "processes").exists()
    _train(_changed(config, processes=1), tmp_path / "one")
    _assert_near(tmp_path / "one", tmp_path / "several")


_RECORD = dataclasses.asdict(
    EpochRecord(**{one.name: 1 if one.name == "epoch" else 0.5 for one in dataclasses.fields(EpochRecord)})
)
_WAITS = "time.sleep(60)"


@pytest.fixture
def torchrun(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Put a script in torchrun's place, which can `tell` and knows its job as `job`."""

    def replaced(code: str) -> None:
        script = tmp_path / "torchrun.py"
        lines = ["import json, os, signal, sys, time", "job = json.load(open(sys.argv[-2] + '/job.json'))"]
        lines += ["def tell(**what): print(json.dumps(what), flush=True)", code]
        script.write_text("\n".join(lines))
        monkeypatch.setattr(launch, "_TORCHRUN", (str(script),))

    return replaced


def test_a_process_that_dies_is_a_sentence(torchrun: Callable[[str], None], tmp_path: Path) -> None:
    torchrun("sys.exit('Root Cause:\\n exitcode  : -9 (pid: 5)')")
    with pytest.raises(WakewordError, match=r"ended with exit status -9; .*processes\.log has what it said"):
        _train(_config(processes=2), tmp_path / "out")
    assert "Root Cause" in (tmp_path / "out" / "checkpoints" / "processes.log").read_text()
    torchrun("sys.exit(1)")
    with pytest.raises(WakewordError, match="ended by itself"):
        _train(_config(processes=2), tmp_path / "out")


def test_what_goes_wrong_in_a_process_is_raised_here(torchrun: Callable[[str], None], tmp_path: Path) -> None:
    torchrun(f"tell(error=['ConfigError', 'diverged']); {_WAITS}")
    with pytest.raises(ConfigError, match="diverged"):
        _train(_config(processes=2), tmp_path)

    def kill(record: EpochRecord) -> None:
        raise KilledError

    torchrun(f"tell(epoch={_RECORD}); {_WAITS}")
    with pytest.raises(KilledError):
        _train(_config(processes=2), tmp_path, silent, kill)


def test_when_memory_is_exhausted_all_start_again_with_fewer_rows(
    torchrun: Callable[[str], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = "{0: 8, 8: 4}"
    torchrun(
        f"at_once = job['micro_batch']\n"
        f"if at_once != 4: tell(fewer_rows={rows}[at_once]); {_WAITS}\n"
        "tell(error=['ConfigError', f'{at_once} rows at once'])"
    )
    with pytest.raises(ConfigError, match="4 rows at once"):
        _train(_config(processes=2), tmp_path)
    assert [one.args[0] for one in caplog.records if "exhausted" in one.message] == [8, 4]


def test_a_signal_is_passed_on_and_all_have_ended_before_it_takes_effect(
    torchrun: Callable[[str], None], term_raises: None, tmp_path: Path
) -> None:
    saved = tmp_path / "saved"
    torchrun(
        "def stop(*_): time.sleep(0.2); open(" + repr(str(saved)) + ", 'w'); sys.exit(1)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "while True: tell(progress=['training', 1, 4]); time.sleep(0.05)"
    )

    signals = iter([signal.SIGTERM])  # a second one would not be held back

    def interrupt(what: str, done: int, total: int) -> None:
        for one in signals:
            os.kill(os.getpid(), one)

    with pytest.raises(InterruptedError):
        _train(_config(processes=2), tmp_path / "out", interrupt)
    assert saved.exists()
