"""What a training uses of the machine is measured, and not guessed."""

import time
from functools import partial
from itertools import count

import numpy as np
import pytest
import torch

from wakeword_core.training.usage import Usage


def test_a_busy_process_uses_a_core_and_a_sleeping_one_none() -> None:
    busy = Usage(torch.device("cpu"))
    began = time.process_time()
    while time.process_time() - began < 0.2:
        sum(range(1_000))
    asleep = Usage(torch.device("cpu"))
    time.sleep(0.2)
    slept = asleep.used().cpu_cores
    assert slept < 0.5 and busy.used().cpu_cores > slept


def test_memory_is_that_of_the_fullest_step() -> None:
    usage = Usage(torch.device("cpu"))
    before = usage.used().memory_mb
    rows = np.ones(20_000_000)  # 160 MB
    usage.look()
    del rows
    assert usage.used().memory_mb > before + 100
    assert Usage(torch.device("cpu")).used().memory_mb < before + 100


class NVMLError(Exception):
    """As of NVIDIA's library, whose errors are of no other kind."""


@pytest.mark.parametrize("error", [ModuleNotFoundError("pynvml"), NVMLError("Not Supported")], ids=repr)
def test_a_gpu_that_does_not_tell_is_asked_once(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def utilization(device: torch.device) -> int:
        asked.append(1)
        raise error

    monkeypatch.setattr(torch.cuda, "utilization", utilization)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 3_000_000)
    usage = Usage(torch.device("cuda"))
    usage.look()
    used = usage.used()
    assert (used.gpu_share, used.gpu_memory_mb, len(asked)) == (None, 3.0, 1)
    shares = iter((20, 60))
    monkeypatch.setattr(torch.cuda, "utilization", lambda device: next(shares))
    monkeypatch.setattr(time, "monotonic", partial(next, count(100.0)))  # a second later at each look
    assert Usage(torch.device("cuda")).used().gpu_share == pytest.approx(0.4)
