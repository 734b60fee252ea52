"""The loss against plain loops, against torch, and as it was before it could be chosen."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional
from whole_losses import Weights, classification_loss, stream_loss, window_loss

from wakeword_core.config import LossConfig
from wakeword_core.training.losses import (
    NO_WORD,
    Zones,
    draw_step,
    zones,
)


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


def _step_losses(values: list[float], target: int, config: LossConfig, weights: np.ndarray) -> float:
    """Loss of one step that is to be `target`: smoothed cross-entropy, each class's part focal and weighted."""
    top = max(values)
    log_p = np.asarray(values) - top - np.log(np.sum(np.exp(np.asarray(values) - top)))
    wanted = np.zeros(len(log_p)) + config.label_smoothing / len(log_p)
    wanted[target] += 1 - config.label_smoothing
    total = 0.0
    for one in range(len(log_p)):
        part = -wanted[one] * log_p[one] * weights[one]
        if config.kind == "focal":
            part *= (1 - np.exp(log_p[one])) ** config.focal_gamma
            if config.focal_alpha is not None:
                part *= config.focal_alpha if one else 1 - config.focal_alpha
        total += part
    return float(total)


def _by_loops(
    logits: torch.Tensor,
    labels: torch.Tensor,
    zone: Zones,
    config: LossConfig,
    weights: np.ndarray | None = None,
    counts: list[float] | None = None,
) -> float:
    """The definition of pooling "stream", one step at a time; a row that counts n times is n rows."""
    weights = np.ones(logits.shape[1]) if weights is None else weights
    unsmoothed = config.model_copy(update={"label_smoothing": 0.0})
    sums = {"word": np.zeros(3), "rest": np.zeros(3)}  # losses, weights, rows
    for row, label in enumerate(labels.tolist()):
        steps = logits[row].T.tolist()
        losses = [_step_losses(values, label, config, weights) for values in steps]
        if label:
            hits = sorted(loss for loss, hit in zip(losses, zone.hit[row].tolist(), strict=True) if hit)
            alarms = [
                _step_losses(values, 0, unsmoothed, weights) if quiet else 0.0
                for values, quiet in zip(steps, zone.quiet[row].tolist(), strict=True)
            ]
            mine = np.mean(hits[: config.best_steps])
            mine += config.early_weight * np.mean(sorted(alarms)[-config.worst_early_steps :])
        else:
            mine = np.mean(sorted(losses)[-config.worst_steps :]) + config.all_steps_weight * np.mean(losses)
        count = counts[row] if counts else 1.0
        sums["word" if label else "rest"] += count * np.array([mine, weights[label], 1.0])
    there = [one / one[2] for one in sums.values() if one[2]]
    return float(sum(one[0] for one in there) / np.mean([one[1] for one in there])) if there else 0.0


def _window_by_loops(
    logits: torch.Tensor, labels: torch.Tensor, config: LossConfig, weights: np.ndarray, counts: list[float]
) -> float:
    rows = zip(logits.tolist(), labels.tolist(), counts, strict=True)
    losses = [(count * _step_losses(values, label, config, weights), label, count) for values, label, count in rows]
    return sum(loss for loss, _, _ in losses) / sum(count * weights[label] for _, label, count in losses)


def _frozen(logits: torch.Tensor, labels: torch.Tensor, zone: Zones, config: LossConfig) -> torch.Tensor:
    """The loss as it was before it could be chosen, word for word; the defaults must stay this."""

    def best(values: torch.Tensor, allowed: torch.Tensor, count: int) -> torch.Tensor:
        ranked = values.masked_fill(~allowed, -torch.inf).topk(min(count, values.shape[1]), dim=1).values
        taken = ranked.isfinite()
        return ranked.masked_fill(~taken, 0.0).sum(dim=1) / taken.sum(dim=1)

    def worst(values: torch.Tensor, count: int) -> torch.Tensor:
        return values.topk(min(count, values.shape[1]), dim=1).values

    log_p = torch.log_softmax(logits, dim=1)
    spread = log_p.mean(dim=1)
    eps = config.label_smoothing
    word = labels > 0
    loss = logits.new_zeros(())
    if bool(word.any()):
        mine = log_p[word].gather(1, labels[word][:, None, None].expand(-1, 1, log_p.shape[2]))[:, 0]
        found = (1 - eps) * mine + eps * spread[word]
        loss = loss - best(found, zone.hit[word], config.best_steps).mean()
        early = (-log_p[word][:, 0]).masked_fill(~zone.quiet[word], 0.0)
        loss = loss + config.early_weight * worst(early, config.worst_early_steps).mean()
    if bool((~word).any()):
        wrong = -((1 - eps) * log_p[~word][:, 0] + eps * spread[~word])
        highest = wrong.topk(min(config.worst_steps, wrong.shape[1]), dim=1).values
        loss = loss + highest.mean() + config.all_steps_weight * wrong.mean()
    return loss


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("changes", [{}, {"label_smoothing": 0.0}, {"best_steps": 8, "worst_steps": 5}], ids=str)
def test_the_defaults_are_the_loss_of_before(changes: dict[str, Any], dtype: torch.dtype) -> None:
    logits, labels, zone = _batch()
    for rows in (labels >= 0, labels > 0, labels == 0):
        part, found = Zones(zone.hit[rows], zone.quiet[rows]), []
        for loss in (_frozen, lambda *args: classification_loss(*args[:3], None, args[3])):
            x = logits[rows].to(dtype).requires_grad_()
            value = loss(x, labels[rows], part, _config(**changes))
            value.backward()
            found.append((value, x.grad))
        for one, other in zip(*found, strict=True):
            torch.testing.assert_close(one, other, rtol=32 * torch.finfo(dtype).eps, atol=torch.finfo(dtype).eps)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"label_smoothing": 0.0},
        {"best_steps": 1, "worst_steps": 1, "worst_early_steps": 1},
        {"best_steps": 99, "worst_steps": 99, "worst_early_steps": 99},
        {"early_weight": 0.0, "all_steps_weight": 0.0},
        {"kind": "focal"},
        {"kind": "focal", "focal_gamma": 0.5, "focal_alpha": 0.2, "label_smoothing": 0.0},
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


KINDS: list[dict[str, Any]] = [
    {},
    {"kind": "focal", "focal_gamma": 2.0},
    {"kind": "focal", "focal_gamma": 0.5, "focal_alpha": 0.3},
]
WEIGHTS = Weights(torch.tensor([0.5, 2.0, 1.0, 4.0]), torch.tensor([1.0, 1.0, 1.0, 3.0, 1.0, 0.5, 1.0, 1.0]))
"""Of the batch of `_batch`: its fourth row counts thrice, its sixth half."""


@pytest.mark.parametrize("pooling", ["stream", "window"])
@pytest.mark.parametrize("weights", [Weights(), WEIGHTS], ids=["equal", "weighted"])
@pytest.mark.parametrize("changes", KINDS, ids=str)
@pytest.mark.parametrize("rows", ["words", "negatives", "none"])
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_a_batch_of_one_kind_and_extreme_scores_stay_finite(
    rows: str, scale: float, changes: dict[str, Any], weights: Weights, pooling: str
) -> None:
    logits, labels, zone = _batch()
    chosen = {"words": labels > 0, "negatives": labels == 0, "none": labels < 0}[rows]
    x = logits[chosen].float().sign() * 1e4 if scale > 1 else logits[chosen].float()
    x.requires_grad_()
    part = Zones(zone.hit[chosen], zone.quiet[chosen])
    weights = Weights(weights.classes, None if weights.rows is None else weights.rows[chosen])
    step = draw_step(part, torch.Generator().manual_seed(0)) if len(x) else labels[chosen]
    loss = classification_loss(x, labels[chosen], part, step, _config(pooling=pooling, **changes), weights)
    assert bool(loss.isfinite())
    if rows != "none":
        loss.backward()
        assert x.grad is not None
        assert bool(x.grad.isfinite().all())
        assert scale > 1 or bool((x.grad != 0).any())


@pytest.mark.parametrize("sure", [0.0, 20.0, 120.0, 1e4])
@pytest.mark.parametrize("gamma", [0.3, 1.0, 2.0])
def test_focal_loss_has_a_slope_however_sure_a_model_is(gamma: float, sure: float) -> None:
    """(1 - p) ** gamma has none at p = 1 where gamma is below 1."""
    for sign in (1, -1):
        x = torch.tensor([[0.0, sign * sure]], requires_grad=True)
        window_loss(x, torch.tensor([1]), _config(kind="focal", focal_gamma=gamma)).backward()
        assert x.grad is not None and bool(x.grad.isfinite().all())


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", ["nothing", "classes", "rows", "both"])
@pytest.mark.parametrize("changes", KINDS, ids=str)
def test_weighted_losses_are_those_of_plain_loops(changes: dict[str, Any], weighted: str, smoothing: float) -> None:
    logits, labels, zone = _batch()
    config = _config(label_smoothing=smoothing, **changes)
    classes = WEIGHTS.classes.double() if weighted in ("classes", "both") else None
    rows = WEIGHTS.rows.double() if weighted in ("rows", "both") else None
    for kind in (labels >= 0, labels > 0, labels == 0):
        here, part = labels[kind], Zones(zone.hit[kind], zone.quiet[kind])
        counts = None if rows is None else rows[kind]
        arguments = (
            np.ones(4) if classes is None else classes.numpy(),
            [1.0] * len(here) if counts is None else counts.tolist(),
        )
        stream = stream_loss(logits[kind], here, part, config, Weights(classes, counts))
        assert float(stream) == pytest.approx(_by_loops(logits[kind], here, part, config, *arguments), rel=1e-9)
        single = logits[kind][:, :, 5]
        window = window_loss(single, here, config, Weights(classes, counts))
        assert float(window) == pytest.approx(_window_by_loops(single, here, config, *arguments), rel=1e-9)


@settings(max_examples=50, deadline=None)
@given(
    labels=st.lists(st.integers(0, 3), min_size=1, max_size=9),
    weights=st.none() | st.lists(st.floats(1e-2, 1e2), min_size=4, max_size=4),
    smoothing=st.sampled_from([0.0, 0.05, 0.3]),
    seed=st.integers(0, 99),
)
def test_window_pooling_is_torchs_cross_entropy(
    labels: list[int], weights: list[float] | None, smoothing: float, seed: int
) -> None:
    classes = torch.tensor(weights, dtype=torch.float64) if weights else None
    logits, target = _logits(len(labels), 4, seed=seed), torch.tensor(labels)
    wanted = functional.cross_entropy(logits, target, weight=classes, label_smoothing=smoothing)
    found = window_loss(logits, target, _config(label_smoothing=smoothing), Weights(classes))
    assert float(found) == pytest.approx(float(wanted), rel=1e-9)


@pytest.mark.parametrize("weights", [Weights(), WEIGHTS], ids=["equal", "weighted"])
def test_focal_loss_without_gamma_and_alpha_is_cross_entropy(weights: Weights) -> None:
    logits, labels, zone = _batch()
    for smoothing in (0.0, 0.1):
        plain = _config(label_smoothing=smoothing)
        focal = _config(label_smoothing=smoothing, kind="focal", focal_gamma=0.0)
        assert torch.equal(*(stream_loss(logits, labels, zone, one, weights) for one in (plain, focal)))
        assert torch.equal(*(window_loss(logits[:, :, 3], labels, one, weights) for one in (plain, focal)))


@pytest.mark.parametrize("weights", [Weights(), WEIGHTS], ids=["equal", "weighted"])
@pytest.mark.parametrize("pooling", ["stream", "window"])
def test_gamma_and_alpha_have_an_effect_with_class_weights_and_without(pooling: str, weights: Weights) -> None:
    logits, labels, zone = _batch()
    step = draw_step(zone, torch.Generator().manual_seed(0))
    losses = []
    for gamma, alpha in ((2.0, None), (2.0, 0.2), (2.0, 0.8), (1.0, 0.2), (1.0, None)):
        config = _config(pooling=pooling, kind="focal", focal_gamma=gamma, focal_alpha=alpha)
        losses.append(float(classification_loss(logits, labels, zone, step, config, weights)))
    assert all(abs(one - other) > 1e-3 for place, one in enumerate(losses) for other in losses[place + 1 :])


def test_focal_loss_of_two_classes_is_the_papers() -> None:
    """FL(p) = -alpha (1 - p) ** gamma log p for the foreground, with 1 - alpha for the background (equation 5)."""
    config = _config(label_smoothing=0.0, kind="focal", focal_gamma=2.0, focal_alpha=0.25)
    for label, alpha in ((1, 0.25), (0, 0.75)):
        for p in (0.05, 0.5, 0.9):
            logits = torch.log(torch.tensor([[1 - p, p] if label else [p, 1 - p]], dtype=torch.float64))
            found = window_loss(logits, torch.tensor([label]), config)
            assert float(found) == pytest.approx(-alpha * (1 - p) ** 2 * np.log(p), rel=1e-9)


def _both(logits: torch.Tensor, labels: torch.Tensor, zone: Zones, config: LossConfig, weights: Weights) -> list[float]:
    return [
        float(stream_loss(logits, labels, zone, config, weights)),
        float(window_loss(logits[:, :, 4], labels, config, weights)),
    ]


@pytest.mark.parametrize("factor", [1e-3, 1.0, 7.3])
@pytest.mark.parametrize("changes", KINDS, ids=str)
def test_only_the_ratios_of_class_weights_count(changes: dict[str, Any], factor: float) -> None:
    logits, labels, zone = _batch()
    config = _config(**changes)
    equal = Weights(torch.full((4,), factor).double())
    assert _both(logits, labels, zone, config, equal) == pytest.approx(
        _both(logits, labels, zone, config, Weights()), rel=1e-6
    )
    some = torch.tensor([1.0, 5.0, 2.0, 0.1]).double()
    found, scaled = (_both(logits, labels, zone, config, Weights(one)) for one in (some, factor * some))
    assert found == pytest.approx(scaled, rel=1e-6)
    assert found != pytest.approx(_both(logits, labels, zone, config, Weights()), rel=1e-2)


@settings(max_examples=40, deadline=None)
@given(counts=st.lists(st.integers(1, 4), min_size=8, max_size=8), weighted=st.booleans(), focal=st.booleans())
def test_a_row_that_counts_n_times_is_a_row_that_stands_there_n_times(
    counts: list[int], weighted: bool, focal: bool
) -> None:
    logits, labels, zone = _batch()
    config = _config(kind="focal" if focal else "cross_entropy")
    classes = WEIGHTS.classes.double() if weighted else None
    rows = torch.arange(8).repeat_interleave(torch.tensor(counts))
    repeated = (logits[rows], labels[rows], Zones(zone.hit[rows], zone.quiet[rows]), config, Weights(classes))
    found = _both(logits, labels, zone, config, Weights(classes, torch.tensor(counts).double()))
    assert found == pytest.approx(_both(*repeated), rel=1e-9)


def test_window_pooling_looks_at_the_one_step_and_nothing_else() -> None:
    logits, labels, zone = _batch()
    config, step = _config(pooling="window"), torch.tensor([0, 5, 2, 11, 3, 3, 7, 1])
    logits.requires_grad_()
    loss = classification_loss(logits, labels, zone, step, config)
    loss.backward()
    assert logits.grad is not None
    assert [torch.nonzero(row.abs().sum(0)).flatten().tolist() for row in logits.grad] == [[one] for one in step]
    chosen = torch.stack([row[:, one] for row, one in zip(logits, step.tolist(), strict=True)])
    wanted = functional.cross_entropy(chosen.detach(), labels, label_smoothing=config.label_smoothing)
    assert float(loss.detach()) == pytest.approx(float(wanted), rel=1e-9)
