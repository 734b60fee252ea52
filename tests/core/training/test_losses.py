"""Zones by hand, and the loss against plain loops."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from wakeword_core.config import LossConfig
from wakeword_core.training.losses import NO_WORD, Zones, stream_loss, zones


def _config(**changes: Any) -> LossConfig:
    chosen = {
        "label_smoothing": 0.1,
        "best_steps": 2,
        "early_weight": 0.7,
        "worst_early_steps": 2,
        "worst_steps": 3,
        "all_steps_weight": 0.4,
    }
    return LossConfig(**{**chosen, **changes})


def _logits(*shape: int, seed: int = 0) -> torch.Tensor:
    return (torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 3).double()


def _steps(ends: list[int], rows: int) -> torch.Tensor:
    return torch.tensor(ends).expand(rows, -1)


def _batch(classes: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, Zones]:
    """Logits, labels and zones of eight rows of twelve steps; half of the rows hold a word."""
    labels = torch.tensor([0, 1, 2, 0, 3, 0, 1, 0]).clamp_max(classes - 1)
    ends = torch.where(labels > 0, torch.tensor([0, 20, 8, 0, 33, 0, 90, 0]), NO_WORD)
    return _logits(8, classes, 12, seed=seed), labels, zones(ends, _steps(list(range(0, 36, 3)), 8), 8, 6)


def test_zones_by_hand() -> None:
    ends = torch.tensor([NO_WORD, 10, 12])
    found = zones(ends, _steps([3, 6, 9, 12, 15, 18], 3), hit_frames=5, early_frames=4)
    no, yes = False, True
    assert found.hit.tolist() == [
        [no, no, no, no, no, no],
        [no, no, no, yes, yes, no],
        [no, no, no, yes, yes, no],
    ]
    assert found.quiet.tolist() == [
        [yes, yes, yes, yes, yes, yes],
        [yes, no, no, no, no, no],
        [yes, yes, no, no, no, no],
    ]


def test_limits_of_zones_are_whole_frames() -> None:
    found = zones(torch.tensor([10]), _steps(list(range(20)), 1), hit_frames=3, early_frames=2)
    assert torch.nonzero(found.hit[0]).flatten().tolist() == [10, 11, 12, 13]
    assert torch.nonzero(found.quiet[0]).flatten().tolist() == list(range(8))


@pytest.mark.parametrize(("end", "nearest"), [(0, 0), (14, 2), (16, 2), (17, 2), (18, 3), (99, 4)])
def test_a_word_without_a_step_in_its_zone_takes_the_nearest(end: int, nearest: int) -> None:
    found = zones(torch.tensor([end]), _steps([5, 10, 15, 20, 25], 1), hit_frames=0, early_frames=0)
    assert torch.nonzero(found.hit[0]).flatten().tolist() == [nearest]
    assert not bool((found.hit & found.quiet).any())
    before = [step < end and position != nearest for position, step in enumerate((5, 10, 15, 20, 25))]
    assert found.quiet[0].tolist() == before


@settings(max_examples=40, deadline=None)
@given(
    ends=st.lists(st.integers(-1, 60), min_size=1, max_size=6),
    hit=st.integers(0, 40),
    early=st.integers(0, 40),
    stride=st.integers(1, 9),
)
def test_every_word_has_a_hit_and_no_step_asks_two_things(ends: list[int], hit: int, early: int, stride: int) -> None:
    found = zones(torch.tensor(ends), _steps(list(range(20, 50, stride)), len(ends)), hit, early)
    word = torch.tensor(ends) != NO_WORD
    assert torch.equal(found.hit.any(1), word)
    assert not bool((found.hit & found.quiet).any())
    assert bool(found.quiet[~word].all())


def _by_loops(logits: torch.Tensor, labels: torch.Tensor, zone: Zones, config: LossConfig) -> float:
    """The definition, one step at a time."""
    found, early, worst, everything = [], [], [], []
    for row, label in enumerate(labels.tolist()):
        steps = []
        for values in logits[row].T.tolist():
            log_p = np.asarray(values) - np.log(np.sum(np.exp(values)))
            wanted = np.full(len(log_p), config.label_smoothing / len(log_p))
            wanted[label] += 1 - config.label_smoothing
            steps.append((-float(wanted @ log_p), -float(log_p[0])))
        if label:
            hits = sorted(loss for (loss, _), hit in zip(steps, zone.hit[row].tolist(), strict=True) if hit)
            found.append(np.mean(hits[: config.best_steps]))
            alarms = [
                noise if quiet else 0.0 for (_, noise), quiet in zip(steps, zone.quiet[row].tolist(), strict=True)
            ]
            early.append(np.mean(sorted(alarms)[-config.worst_early_steps :]))
        else:
            losses = sorted(loss for loss, _ in steps)
            worst.append(np.mean(losses[-config.worst_steps :]))
            everything.append(np.mean(losses))
    total = 0.0
    if found:
        total += np.mean(found) + config.early_weight * np.mean(early)
    if worst:
        total += np.mean(worst) + config.all_steps_weight * np.mean(everything)
    return float(total)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"label_smoothing": 0.0},
        {"best_steps": 1, "worst_steps": 1, "worst_early_steps": 1},
        {"best_steps": 99, "worst_steps": 99, "worst_early_steps": 99},
        {"early_weight": 0.0, "all_steps_weight": 0.0},
    ],
    ids=str,
)
def test_loss_is_that_of_plain_loops(changes: dict[str, Any], classes: int) -> None:
    logits, labels, zone = _batch(classes)
    for rows in (labels >= 0, labels > 0, labels == 0):
        part = Zones(zone.hit[rows], zone.quiet[rows])
        loss = stream_loss(logits[rows], labels[rows], part, _config(**changes))
        assert loss.ndim == 0
        assert float(loss) == pytest.approx(_by_loops(logits[rows], labels[rows], part, _config(**changes)), rel=1e-9)


@pytest.mark.parametrize("label", [0, 1, 2])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_one_step_is_cross_entropy(label: int, smoothing: float) -> None:
    logits, labels = _logits(6, 3, 1), torch.full((6,), label)
    zone = zones(torch.where(labels > 0, 7, NO_WORD), _steps([9], 6), 3, 3)
    loss = stream_loss(logits, labels, zone, _config(label_smoothing=smoothing, all_steps_weight=0.0))
    wanted = functional.cross_entropy(logits[:, :, 0], labels, label_smoothing=smoothing)
    assert float(loss) == pytest.approx(float(wanted), rel=1e-9)


def test_only_the_steps_that_count_have_a_gradient() -> None:
    logits, labels, zone = _batch()
    config = _config(all_steps_weight=0.0)
    log_p = torch.log_softmax(logits, 1)
    logits.requires_grad_()
    stream_loss(logits, labels, zone, config).backward()
    assert logits.grad is not None
    used = logits.grad.abs().sum(1) > 0
    spread = log_p.mean(1)
    for row, label in enumerate(labels.tolist()):
        wanted = (1 - config.label_smoothing) * log_p[row, label] + config.label_smoothing * spread[row]
        if label:
            hit = torch.nonzero(zone.hit[row]).flatten()
            quiet = torch.nonzero(zone.quiet[row]).flatten()
            best = hit[wanted[hit].argsort(descending=True)[: config.best_steps]]
            early = quiet[log_p[row, 0, quiet].argsort()[: config.worst_early_steps]]
            expected = {*best.tolist(), *early.tolist()}
        else:
            expected = set(wanted.argsort()[: config.worst_steps].tolist())
        assert set(torch.nonzero(used[row]).flatten().tolist()) == expected, row


def test_free_steps_of_words_may_say_anything() -> None:
    logits, labels, zone = _batch()
    free = (labels > 0)[:, None] & ~zone.hit & ~zone.quiet
    assert bool(free.any())
    changed = torch.where(free[:, None], _logits(*logits.shape, seed=9), logits)
    assert torch.equal(stream_loss(logits, labels, zone, _config()), stream_loss(changed, labels, zone, _config()))


def test_another_word_before_the_word_counts_as_much_as_the_word_itself() -> None:
    """Quiet means no wake word at all."""
    zone = Zones(torch.tensor([[False, True]]), torch.tensor([[True, False]]))
    losses = []
    for heard in (0, 1, 2):
        logits = torch.zeros(1, 3, 2)
        logits[0, heard, 0] = 5.0
        losses.append(float(stream_loss(logits, torch.tensor([1]), zone, _config())))
    assert losses[1] == pytest.approx(losses[2], rel=1e-6)
    assert losses[1] > losses[0] + 1


@pytest.mark.parametrize("rows", ["words", "negatives", "none"])
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_a_batch_of_one_kind_and_extreme_scores_stay_finite(rows: str, scale: float) -> None:
    logits, labels, zone = _batch()
    chosen = {"words": labels > 0, "negatives": labels == 0, "none": labels < 0}[rows]
    x = (logits[chosen].float() * scale).requires_grad_()
    loss = stream_loss(x, labels[chosen], Zones(zone.hit[chosen], zone.quiet[chosen]), _config())
    assert bool(loss.isfinite())
    if rows != "none":
        loss.backward()
        assert x.grad is not None
        assert bool(x.grad.isfinite().all())
