"""What batches are made of."""

import logging
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wakeword_core.config import ROLES, TrainingConfig
from wakeword_core.errors import DataError
from wakeword_core.features.store import WindowSet
from wakeword_core.training.data import Sampler, derived_seed
from wakeword_core.training.pools import whole_shares

LABELS = ("_negative", "hey")


def _windows(*kinds: tuple[str, int, int]) -> WindowSet:
    """Rows of (role, label, count)."""
    roles = torch.cat([torch.full((count,), ROLES.index(role)) for role, _, count in kinds])
    labels = torch.cat([torch.full((count,), label) for _, label, count in kinds])
    rows = len(roles)
    views, ends = torch.zeros(rows, dtype=torch.int64), torch.where(labels > 0, 2, -1)
    return WindowSet(torch.zeros(rows, 4, 4), labels, roles, views, ends, torch.zeros(rows, dtype=torch.bool))


def _mixture(windows: WindowSet, config: TrainingConfig, labels: tuple[str, ...] = LABELS) -> list[Counter[str]]:
    rows = Sampler(windows, labels, config, 1).epoch(0)
    return [Counter(ROLES[int(role)] for role in windows.roles[batch]) for batch in rows]


def _sampler(windows: WindowSet, steps: int, batch: int, seed: int = 1) -> Sampler:
    sampling = {"steps_per_epoch": steps, "batch_size": batch}
    return Sampler(windows, LABELS, TrainingConfig(sampling=sampling), seed)


def test_every_batch_has_the_configured_shares() -> None:
    windows = _windows(("positive", 1, 30), ("negative", 0, 300), ("hard_negative", 0, 50))
    for batch in _mixture(windows, TrainingConfig(sampling={"batch_size": 50, "mix": (0.3, 0.5, 0.2)})):
        assert batch == {"positive": 15, "negative": 25, "hard_negative": 10}


def test_background_and_noise_count_as_negatives() -> None:
    windows = _windows(("positive", 1, 9), ("negative", 0, 20), ("background", 0, 20), ("noise", 0, 20))
    rows = Sampler(windows, LABELS, TrainingConfig(sampling={"batch_size": 10}), 1).epoch(0)
    seen = {ROLES[int(role)] for role in windows.roles[rows].flatten()}
    assert seen == {"positive", "negative", "background", "noise"}


def test_without_hard_negatives_their_share_goes_to_negatives_and_is_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    batches = _mixture(
        _windows(("positive", 1, 9), ("negative", 0, 90)), TrainingConfig(sampling={"batch_size": 10, "mix": (3, 5, 2)})
    )
    assert len(batches) > 0
    assert all(batch == {"positive": 3, "negative": 7} for batch in batches)
    assert "no hard negatives" in caplog.text


@pytest.mark.parametrize("mix", [(3, 5, 2), (3, 7, 0)])
def test_hard_negatives_alone_take_the_share_of_negatives(mix: tuple[float, float, float]) -> None:
    batches = _mixture(
        _windows(("positive", 1, 9), ("hard_negative", 0, 90)), TrainingConfig(sampling={"batch_size": 10, "mix": mix})
    )
    assert len(batches) == 13
    assert all(batch == {"positive": 3, "hard_negative": 7} for batch in batches)


@pytest.mark.parametrize(
    ("kinds", "message"),
    [
        ([("negative", 0, 5)], "no window of 'hey'"),
        ([("positive", 1, 5)], "no window of negatives"),
        ([("positive", 1, 5), ("rir", 0, 5)], "no window of negatives"),
        ([], "no window of 'hey'"),
    ],
)
def test_a_missing_class_is_an_error(kinds: list[tuple[str, int, int]], message: str) -> None:
    windows = _windows(*kinds, ("rir", 0, 1))
    with pytest.raises(DataError, match=message):
        Sampler(windows, LABELS, TrainingConfig(), 1)


def test_rare_wake_words_get_as_much_as_frequent_ones_and_none_may_be_missing() -> None:
    windows = _windows(("positive", 1, 500), ("positive", 2, 5), ("negative", 0, 100))
    labels = ("_negative", "a", "b")
    rows = Sampler(windows, labels, TrainingConfig(sampling={"batch_size": 20, "mix": (0.4, 0.6, 0)}), 1).epoch(0)
    assert torch.equal(torch.bincount(windows.labels[rows].flatten()), torch.tensor([12, 4, 4]) * len(rows))
    with pytest.raises(DataError, match="'c'"):
        Sampler(windows, (*labels, "c"), TrainingConfig(), 1)


def test_steps_are_once_through_the_negatives_up_to_the_limit() -> None:
    windows = _windows(("positive", 1, 30), ("negative", 0, 301), ("hard_negative", 0, 5_000))
    config = TrainingConfig(sampling={"batch_size": 20, "mix": (0.3, 0.5, 0.2)})
    sampler = Sampler(windows, LABELS, config, 1)
    assert sampler.steps == 31
    negatives = sampler.epoch(0).flatten()
    assert len(set(negatives.tolist()) & set(range(30, 331))) == 301
    limited = config.changed({"sampling.max_steps_per_epoch": 7})
    assert Sampler(windows, LABELS, limited, 1).steps == 7
    assert Sampler(windows, LABELS, config.changed({"sampling.steps_per_epoch": 900}), 1).steps == 900


def test_no_window_repeats_before_all_were_used() -> None:
    windows = _windows(("positive", 1, 7), ("negative", 0, 500))
    rows = Sampler(windows, LABELS, TrainingConfig(sampling={"batch_size": 10, "steps_per_epoch": 20}), 1).epoch(0)
    positives = rows[rows < 7].tolist()
    for start in range(0, len(positives) - 6, 7):
        assert sorted(positives[start : start + 7]) == list(range(7))


def test_epochs_differ_and_depend_on_seed_and_epoch_only() -> None:
    windows = _windows(("positive", 1, 30), ("negative", 0, 100))
    config = TrainingConfig(sampling={"batch_size": 10})
    one, same, other = (Sampler(windows, LABELS, config, seed) for seed in (1, 1, 2))
    state = torch.random.get_rng_state()
    one.epoch(0)
    assert torch.equal(one.epoch(3), same.epoch(3))
    assert not torch.equal(one.epoch(3), one.epoch(4))
    assert not torch.equal(one.epoch(3), other.epoch(3))
    assert torch.equal(state, torch.random.get_rng_state())
    assert len({derived_seed(seed, epoch, "x") for seed in range(20) for epoch in range(20)}) == 400


def test_a_batch_too_small_for_its_kinds_is_an_error() -> None:
    windows = _windows(("positive", 1, 3), ("negative", 0, 3), ("hard_negative", 0, 3))
    with pytest.raises(DataError, match="batch_size is 2"):
        Sampler(windows, LABELS, TrainingConfig(sampling={"batch_size": 2}), 1)


@settings(max_examples=60, deadline=None)
@given(shares=st.lists(st.floats(0.001, 10), min_size=1, max_size=6), total=st.integers(6, 300))
def test_whole_shares_add_up_and_stay_close(shares: list[float], total: int) -> None:
    counts = whole_shares(shares, total)
    assert sum(counts) == total
    assert min(counts) >= 1
    for count, share in zip(counts, shares, strict=True):
        assert count <= max(share / sum(shares) * total + 1, 1)


def test_noise_is_drawn_from_all_rows_of_noise_and_background_and_no_others() -> None:
    windows = _windows(
        ("positive", 1, 9), ("noise", 0, 4), ("negative", 0, 20), ("background", 0, 3), ("hard_negative", 0, 5)
    )
    drawn = _sampler(windows, 6, 25).noise(0)
    assert drawn.shape == (6, 25)
    assert drawn.dtype == torch.int64
    assert set(drawn.flatten().tolist()) == {*range(9, 13), *range(33, 36)}


def test_noise_depends_on_seed_and_epoch_only() -> None:
    windows = _windows(("positive", 1, 9), ("noise", 0, 50))
    one, same, other = (_sampler(windows, 6, 20, seed) for seed in (1, 1, 2))
    state = torch.random.get_rng_state()
    one.noise(0)
    assert torch.equal(one.noise(3), same.noise(3))
    assert not torch.equal(one.noise(3), one.noise(4))
    assert not torch.equal(one.noise(3), other.noise(3))
    assert torch.equal(state, torch.random.get_rng_state())


def test_without_noise_none_is_drawn() -> None:
    windows = _windows(("positive", 1, 9), ("negative", 0, 20), ("hard_negative", 0, 5))
    assert _sampler(windows, 6, 25).noise(0).numel() == 0


def test_plain_batches_may_be_smaller_than_the_number_of_kinds() -> None:
    windows = _windows(("positive", 1, 4), ("negative", 0, 4), ("hard_negative", 0, 4))
    rows = Sampler(windows, LABELS, TrainingConfig(sampling={"kind": "plain", "batch_size": 2}), seed=0).epoch(0)
    assert rows.shape == (6, 2) and len(rows.unique()) == 12


def test_plain_batches_have_no_shares_to_tell_of(caplog: pytest.LogCaptureFixture) -> None:
    windows = _windows(("positive", 1, 4), ("negative", 0, 4))
    with caplog.at_level(logging.INFO):
        Sampler(windows, LABELS, TrainingConfig(sampling={"kind": "plain", "batch_size": 4}), seed=0)
        assert not caplog.records
        Sampler(windows, LABELS, TrainingConfig(sampling={"batch_size": 4}), seed=0)
        assert "no hard negatives" in caplog.text


def test_plain_batches_hold_every_window_once_before_any_twice() -> None:
    windows = _windows(("positive", 1, 30), ("negative", 0, 50))
    sampler = Sampler(windows, LABELS, TrainingConfig(sampling={"kind": "plain", "batch_size": 16}), seed=3)
    first, second = sampler.epoch(0), sampler.epoch(1)
    assert first.shape == (5, 16) and sorted(first.flatten().tolist()) == list(range(80))
    assert not torch.equal(first, second) and torch.equal(first, sampler.epoch(0))
    with pytest.raises(DataError, match="no window of 'hey'"):
        Sampler(
            _windows(("negative", 0, 50)), LABELS, TrainingConfig(sampling={"kind": "plain", "batch_size": 16}), seed=3
        )
