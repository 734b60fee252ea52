"""The largest batch that fits is found, and nothing is changed by that."""

import time
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from sweeps_to_train import CMVN, CONTEXT, LONG, TAUGHT, config_for, oracle

from wakeword_core.errors import ConfigError
from wakeword_core.training import batch_finder
from wakeword_core.training.batch_finder import find_batch
from wakeword_core.training.objective import Objective


def sizes(found: batch_finder.BatchTest) -> list[int]:
    return [one.batch_size for one in found.trials]


def test_batches_double_up_to_the_windows_that_there_are_and_nothing_is_different_afterwards() -> None:
    config = config_for(None, CONTEXT, sampling={"micro_batch": 4}, teacher=TAUGHT)
    state, weights = torch.random.get_rng_state(), LONG.mel.clone()
    found = find_batch(LONG, CMVN, config, teacher=oracle(LONG))
    assert sizes(found) == [32 << turn for turn in range(len(found.trials))]
    assert found.largest <= max(32, len(LONG)) < 2 * found.largest and "more than there are windows" in found.end
    assert all(one.memory_gb > 0 and one.windows_per_second > 0 for one in found.trials)
    assert torch.equal(state, torch.random.get_rng_state()) and torch.equal(LONG.mel, weights)


@pytest.mark.parametrize("where", ["forward", "draw"])
def test_on_a_gpu_it_ends_where_the_memory_is_exhausted(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real, seen = getattr(Objective, where), list[int]()

    def limited(self: Objective, model: Any, batch: Any, *more: Any) -> Any:
        seen.append(len(batch.labels))
        if len(batch.labels) > limit:
            raise torch.OutOfMemoryError("full")
        return real(self, model, batch, *more)

    monkeypatch.setattr(Objective, where, limited)
    many, limit = LONG.joined(LONG).joined(LONG).joined(LONG), 70
    found = find_batch(many, CMVN, config_for(None, CONTEXT))
    assert sizes(found) == [32, 64] and 128 in seen and "128 windows would take more" in found.end
    limit = 20
    with pytest.raises(ConfigError, match=r"32 windows would take more than .*; take a smaller model"):
        find_batch(many, CMVN, config_for(None, CONTEXT))


def test_on_a_cpu_what_would_take_more_than_is_allowed_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step takes 10 MB a window beside 1 GB, and has none of it any more when it is over."""
    real, used, seen = Objective.forward, [1e9], list[int]()

    def hungry(self: Objective, model: Any, batch: Any) -> Any:
        seen.append(len(batch.labels))
        used[0] = 1e9 + 1e7 * len(batch.labels)
        time.sleep(0.1)
        used[0] = 1e9
        return real(self, model, batch)

    monkeypatch.setattr(Objective, "forward", hungry)
    monkeypatch.setattr(psutil.Process, "memory_info", lambda self: SimpleNamespace(rss=used[0]))
    many = LONG.joined(LONG).joined(LONG).joined(LONG)
    for allowed, largest in ((2.3, 128), (2.2, 64)):
        seen.clear()
        found = find_batch(many, CMVN, config_for(None, CONTEXT, {"memory_gb": allowed}))
        assert found.largest == max(seen) == largest
        assert found.trials[-1].memory_gb == pytest.approx(1 + largest / 100)
        assert f"{2 * largest} windows would take more than the {allowed} GB of memory that are" in found.end
    with pytest.raises(ConfigError, match=r"32 windows would take more than the 1\.3 GB .* compute\.memory_gb"):
        find_batch(many, CMVN, config_for(None, CONTEXT, {"memory_gb": 1.3}))
