"""How many places of a batch real positives have beside synthetic ones."""

import hashlib
from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sweeps_to_train import CMVN, VAL, config_for

from wakeword_core.config import ROLES, TrainingConfig
from wakeword_core.errors import DataError
from wakeword_core.features.store import WindowSet
from wakeword_core.training.data import Sampler
from wakeword_core.training.feed import on_device
from wakeword_core.training.run import run_hash

LABELS = ("_negative", "a", "b")
REAL, MADE = False, True
FEW = (("positive", 1, REAL, 6), ("positive", 1, MADE, 40), ("positive", 2, REAL, 9))
OTHERS = (("negative", 0, REAL, 80), ("negative", 0, MADE, 40), ("hard_negative", 0, MADE, 30))


def window_set(*kinds: tuple[str, int, bool, int]) -> WindowSet:
    """Rows of (role, label, whether synthetic, count)."""
    roles = torch.cat([torch.full((count,), ROLES.index(role)) for role, *_, count in kinds])
    labels = torch.cat([torch.full((count,), label) for _, label, _, count in kinds])
    synthetic = torch.cat([torch.full((count,), made) for *_, made, count in kinds])
    rows = len(roles)
    ends = torch.where(labels > 0, 2, -1)
    return WindowSet(torch.zeros(rows, 4, 4), labels, roles, torch.arange(rows) % 3, ends, synthetic)


def sampler(windows: WindowSet, real_share: float | None, labels: tuple[str, ...] = LABELS, **more: Any) -> Sampler:
    sampling = {"batch_size": 20, "steps_per_epoch": 9, "real_share": real_share, **more}
    return Sampler(windows, labels, TrainingConfig(sampling=sampling), 7)


def contents(windows: WindowSet, batch: torch.Tensor) -> Counter[tuple[int, bool]]:
    """Rows of a batch by label and whether they are synthetic."""
    return Counter(zip(windows.labels[batch].tolist(), windows.synthetic[batch].tolist(), strict=True))


@pytest.mark.parametrize(
    ("sampling", "drawn"),
    [
        ({}, "e2b2dbda705a458b"),
        ({"clean_share": 0.3}, "6115357422f90088"),
        ({"kind": "plain"}, "df91f650e3f390f2"),
        ({"kind": "difficulty"}, "15a7dd468ecf6dbb"),
    ],
)
def test_without_a_share_rows_are_drawn_as_before_there_was_one(sampling: dict[str, Any], drawn: str) -> None:
    windows = window_set(*FEW, *OTHERS)
    difficulty = torch.linspace(0, 1, len(windows)).double() if sampling.get("kind") == "difficulty" else None
    made = sampler(windows, None, **sampling)
    rows = torch.cat([made.epoch(epoch, difficulty) for epoch in range(3)])
    assert hashlib.sha256(rows.numpy().tobytes()).hexdigest()[:16] == drawn


@settings(deadline=None, max_examples=40)
@given(
    share=st.floats(0.01, 0.99),
    real=st.integers(1, 30),
    made=st.integers(1, 300),
    batch=st.integers(12, 200),
)
def test_every_batch_has_the_share_and_no_other_kind_loses_a_place(
    share: float, real: int, made: int, batch: int
) -> None:
    windows = window_set(("positive", 1, REAL, real), ("positive", 1, MADE, made), *FEW[2:], *OTHERS)
    chosen = sampler(windows, share, batch_size=batch).epoch(0)
    without = contents(windows, sampler(windows, None, batch_size=batch).epoch(0)[0])
    positives = without[1, REAL] + without[1, MADE]
    for rows in chosen:
        found = contents(windows, rows)
        assert found[1, REAL] + found[1, MADE] == positives
        assert found[1, REAL] == min(max(round(share * positives), 1), positives - 1)
        assert found[2, REAL] == without[2, REAL]
        assert len(rows) == batch


def test_few_real_windows_come_again_and_again_but_none_before_all_came() -> None:
    windows = window_set(*FEW, *OTHERS)
    rows = sampler(windows, 2 / 3, mix=(0.3, 0.5, 0.2)).epoch(0).flatten()
    counts = torch.bincount(rows, minlength=len(windows))[:6]
    assert int(counts.sum()) == 9 * 2 and int(counts.max()) - int(counts.min()) == 0
    drawn = sampler(windows, None).epoch(0).flatten()
    assert int((drawn < 6).sum()) < 6 * 2


@pytest.mark.parametrize(("share", "left_out"), [(0.0, REAL), (1.0, MADE)])
def test_a_share_of_nothing_or_all_leaves_the_others_out(share: float, left_out: bool) -> None:
    windows = window_set(*FEW, *OTHERS)
    for rows in sampler(windows, share).epoch(0):
        found = contents(windows, rows)
        assert found[1, left_out] == 0 and found[1, not left_out] == 3
        # which the other word has only real windows of
        assert found[2, REAL] == 3


@pytest.mark.parametrize("origin", [REAL, MADE])
def test_words_with_windows_of_one_origin_are_drawn_as_they_are(origin: bool) -> None:
    windows = window_set(("positive", 1, origin, 46), *FEW[2:], *OTHERS)
    for share in (0.0, 0.5, 1.0):
        assert torch.equal(sampler(windows, share).epoch(2), sampler(windows, None).epoch(2))


def test_origins_of_negatives_make_no_difference() -> None:
    windows, flipped = (window_set(*FEW, *((*kind[:2], kind[2] ^ flip, kind[3]) for kind in OTHERS)) for flip in (0, 1))
    assert torch.equal(sampler(windows, 0.5).epoch(0), sampler(flipped, 0.5).epoch(0))


def test_difficult_and_clean_windows_keep_their_shares_of_both_origins() -> None:
    windows = window_set(*FEW, *OTHERS)
    difficulty = torch.zeros(len(windows))
    difficulty[0] = difficulty[6] = 1
    made = sampler(windows, 0.5, kind="difficulty", clean_share=0.5, batch_size=40, steps_per_epoch=30)
    rows = made.epoch(0, difficulty)
    real, other = rows[:, :3].flatten(), rows[:, 3:6].flatten()
    for part, first in ((real, 0), (other, 6)):
        assert int((windows.views[part] == 0).sum()) == len(part) // 2
        counts = torch.bincount(part, minlength=46)
        assert int(counts.argmax()) == first
    assert bool((real < 6).all()) and bool(((other >= 6) & (other < 46)).all())


def test_plain_batches_know_no_shares() -> None:
    windows = window_set(*FEW, *OTHERS)
    assert torch.equal(sampler(windows, 0.5, kind="plain").epoch(0), sampler(windows, None, kind="plain").epoch(0))


def test_a_batch_without_room_for_both_is_refused_in_words() -> None:
    windows = window_set(*FEW, *OTHERS)
    with pytest.raises(DataError, match=r"one window of 'a'.*batch_size.*real_share to null"):
        sampler(windows, 0.5, batch_size=6)
    assert sampler(windows, 1.0, batch_size=6).epoch(0).shape == (9, 6)


def test_a_checkpoint_belongs_to_the_origins_of_its_windows_where_they_count() -> None:
    windows = window_set(*FEW, *OTHERS)
    other = on_device(windows, "cpu")
    other.synthetic = ~windows.synthetic
    for share, same in ((None, True), (0.5, False)):
        config = config_for(sampling={"real_share": share})
        assert (run_hash(windows, VAL, CMVN, config) == run_hash(other, VAL, CMVN, config)) is same


def test_joined_windows_keep_their_origins() -> None:
    real, made = window_set(FEW[0]), window_set(FEW[1])
    assert real.joined(made).synthetic.tolist() == [REAL] * 6 + [MADE] * 40
