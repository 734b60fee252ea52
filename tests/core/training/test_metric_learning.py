"""Triplets and angles by hand and by plain loops in float64, and what they leave alone."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sweeps_to_train import FRAMES, N_MELS, TINY_TCN
from torch import nn
from torch.nn import functional

from wakeword_core.config import BcResNetConfig, LossConfig, TcnConfig, TinyConvConfig
from wakeword_core.models import build_model
from wakeword_core.training.losses import MetricLoss, arcface_loss, triplet_loss
from wakeword_core.training.objective import window_embeddings

CLASSES = 3
TRIPLETS = [
    {"triplet_distance": distance, "triplet_soft_margin": soft, "triplet_margin": margin}
    for distance in ("euclidean", "cosine")
    for soft, margin in ((False, 0.3), (False, 4.0), (True, 0.3))
]


def _triplet(**changes: Any) -> LossConfig:
    return LossConfig(metric="triplet", **changes)


def _arcface(**changes: Any) -> LossConfig:
    return LossConfig(metric="arcface", **changes)


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _backbone(model: Any) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_model(model, N_MELS, FRAMES, CLASSES).train()


def _metric_loss(config: LossConfig, backbone: nn.Module) -> MetricLoss:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return MetricLoss(config, backbone, CLASSES)


def _triplets_by_loops(x: np.ndarray, labels: list[int], config: LossConfig) -> float:
    """Every triplet of a word, one after the other: the worst of each anchor."""

    def distance(one: np.ndarray, other: np.ndarray) -> float:
        if config.triplet_distance == "euclidean":
            return math.sqrt(sum((a - b) ** 2 for a, b in zip(one, other, strict=True)))
        return 1 - float(one @ other) / (math.sqrt(one @ one) * math.sqrt(other @ other))

    losses = []
    for anchor, label in enumerate(labels):
        found = []
        for positive, same in enumerate(labels):
            for negative, other in enumerate(labels):
                if label > 0 and same == label and positive != anchor and other != label:
                    gap = distance(x[anchor], x[positive]) - distance(x[anchor], x[negative])
                    soft = config.triplet_soft_margin
                    found.append(math.log1p(math.exp(gap)) if soft else max(0.0, config.triplet_margin + gap))
        losses += [max(found)] if found else []
    return sum(losses) / len(losses) if losses else 0.0


@settings(max_examples=30, deadline=None)
@given(labels=st.lists(st.integers(0, 3), min_size=1, max_size=9), seed=st.integers(0, 99), which=st.integers(0, 5))
def test_triplets_are_those_of_plain_loops(labels: list[int], seed: int, which: int) -> None:
    config = _triplet(**TRIPLETS[which])
    x = _random(len(labels), 4, seed=seed)
    found = triplet_loss(x, torch.tensor(labels), config)
    assert found.ndim == 0
    assert float(found) == pytest.approx(_triplets_by_loops(x.numpy(), labels, config), rel=1e-9, abs=1e-12)


def test_a_triplet_by_hand() -> None:
    """On a line: words at 0, 1 and 3, one more word at 10, noise at -1.5. Every anchor's worst: 3-1.5, 2-2.5, 3-4.5."""
    x = torch.tensor([[0.0], [1.0], [3.0], [10.0], [-1.5]])
    labels = torch.tensor([1, 1, 1, 2, 0])
    gaps = [3 - 1.5, 2 - 2.5, 3 - 4.5]
    for margin in (0.0, 1.0, 2.0):
        wanted = sum(max(0.0, gap + margin) for gap in gaps) / 3
        assert float(triplet_loss(x, labels, _triplet(triplet_margin=margin))) == pytest.approx(wanted)
    soft = sum(math.log1p(math.exp(gap)) for gap in gaps) / 3
    assert float(triplet_loss(x, labels, _triplet(triplet_soft_margin=True))) == pytest.approx(soft)


def test_a_triplet_of_angles_by_hand() -> None:
    """Only directions count: the word at 0 and 90 degrees, noise at 180."""
    x = torch.tensor([[2.0, 0.0], [0.0, 0.1], [-7.0, 0.0]])
    config = _triplet(triplet_distance="cosine", triplet_margin=1.5)
    # anchor at 0: 1 - 2; at 90: 1 - 1
    assert float(triplet_loss(x, torch.tensor([1, 1, 0]), config)) == pytest.approx((0.5 + 1.5) / 2)


def test_rows_of_no_word_are_negatives_and_nothing_else() -> None:
    x = _random(8, 4).requires_grad_()
    labels = torch.tensor([1, 1, 0, 0, 0, 0, 0, 0])
    config = _triplet(triplet_margin=10.0)
    triplet_loss(x, labels, config).backward()
    assert x.grad is not None
    apart = torch.cdist(x.detach()[:2], x.detach()[2:]).argmin(dim=1) + 2
    assert set(torch.nonzero(x.grad.abs().sum(1)).flatten().tolist()) == {0, 1, *apart.tolist()}
    far = torch.cat([x.detach()[:2], x.detach()[2:] * 1e3])  # nothing pulls those together
    assert float(triplet_loss(far, labels, config)) == 0
    assert float(triplet_loss(x.detach()[2:], labels[2:], config)) == 0


@pytest.mark.parametrize("labels", [[0, 0, 0], [1, 0, 0], [1, 1, 1], [1, 2, 0], [1]], ids=str)
@pytest.mark.parametrize("changes", TRIPLETS, ids=str)
def test_a_batch_without_triplets_costs_nothing(labels: list[int], changes: dict[str, Any]) -> None:
    x = _random(len(labels), 4)
    assert float(triplet_loss(x, torch.tensor(labels, dtype=torch.int64), _triplet(**changes))) == 0


@pytest.mark.parametrize("changes", TRIPLETS, ids=str)
@pytest.mark.parametrize("scale", [0.0, 1e-12, 1.0, 1e4])
def test_triplets_have_a_slope_wherever_the_points_are(scale: float, changes: dict[str, Any]) -> None:
    """Also where several are the same point, at which a distance has none."""
    x = (_random(6, 4).float()[[0, 0, 1, 2, 2, 3]] * scale).requires_grad_()
    loss = triplet_loss(x, torch.tensor([1, 1, 1, 0, 0, 1]), _triplet(**changes))
    loss.backward()
    assert bool(loss.isfinite()) and x.grad is not None and bool(x.grad.isfinite().all())


@pytest.mark.parametrize("changes", [TRIPLETS[1], TRIPLETS[5]], ids=str)
def test_descending_triplets_bring_a_word_together_and_leave_the_rest_where_it_is(changes: dict[str, Any]) -> None:
    x = nn.Parameter(_random(24, 3))
    labels = torch.arange(24) % 4
    optimizer = torch.optim.Adam([x], lr=0.1)
    before = _reach(x.detach(), labels)
    for _ in range(100):
        optimizer.zero_grad()
        triplet_loss(x, labels, _triplet(**changes)).backward()
        optimizer.step()
    after = _reach(x.detach(), labels)
    assert before["far"] > before["near"] and after["far"] < after["near"]
    assert after["rest"] > 0.5


def _reach(x: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """Largest angle (1 - cosine) inside a word, smallest between a word and anything else, mean inside class 0."""
    unit = functional.normalize(x, dim=1)
    between, same = 1 - unit @ unit.T, labels[:, None] == labels[None]
    word = labels > 0
    return {
        "far": float(between[word][:, word][same[word][:, word]].max()),
        "near": float(between[word][~same[word]].min()),
        "rest": float(between[~word][:, ~word].mean()),
    }


def _arcface_by_loops(x: np.ndarray, centres: np.ndarray, labels: list[int], config: LossConfig) -> float:
    """With angles themselves; past a half turn on with cos - m sin m, as the paper's code does."""
    losses = []
    for row, label in zip(x, labels, strict=True):
        scores = []
        for index, centre in enumerate(centres):
            cosine = float(row @ centre) / (np.linalg.norm(row) * np.linalg.norm(centre))
            angle = math.acos(max(-1.0, min(1.0, cosine)))
            if index == label:
                past = angle + config.arcface_margin >= math.pi
                line = cosine - config.arcface_margin * math.sin(config.arcface_margin)
                cosine = line if past else math.cos(angle + config.arcface_margin)
            scores.append(config.arcface_scale * cosine)
        losses.append(math.log(sum(math.exp(one - scores[label]) for one in scores)))
    return sum(losses) / len(losses)


@settings(max_examples=40, deadline=None)
@given(
    labels=st.lists(st.integers(0, CLASSES - 1), min_size=1, max_size=8),
    scale=st.floats(0.5, 80),
    margin=st.floats(0, 1.5),
    seed=st.integers(0, 99),
)
def test_arcface_is_that_of_plain_loops(labels: list[int], scale: float, margin: float, seed: int) -> None:
    config = _arcface(arcface_scale=scale, arcface_margin=margin)
    x, centres = _random(len(labels), 4, seed=seed), _random(CLASSES, 4, seed=seed + 100)
    found = arcface_loss(x, centres, torch.tensor(labels), config)
    assert float(found) == pytest.approx(_arcface_by_loops(x.numpy(), centres.numpy(), labels, config), rel=1e-6)


def test_arcface_without_a_margin_is_cross_entropy_of_scaled_cosines() -> None:
    x, centres, labels = _random(9, 5), _random(CLASSES, 5, seed=1), torch.arange(9) % CLASSES
    cosines = functional.cosine_similarity(x[:, None], centres[None], dim=-1)
    found = arcface_loss(x, centres, labels, _arcface(arcface_margin=0.0, arcface_scale=12.0))
    assert float(found) == pytest.approx(float(functional.cross_entropy(12.0 * cosines, labels)), rel=1e-9)


def test_arcface_rises_with_the_angle_all_the_way_round() -> None:
    """Also past the point where the angle and the margin are more than a half turn."""
    angles = torch.linspace(0.01, math.pi - 0.01, 200, dtype=torch.float64)
    x = torch.stack([angles.cos(), angles.sin(), torch.zeros_like(angles)], dim=1)
    centres = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    for margin in (0.0, 0.5, 1.5):
        config = _arcface(arcface_margin=margin)
        losses = [float(arcface_loss(one[None], centres, torch.tensor([0]), config)) for one in x]
        assert all(before < after for before, after in pairwise(losses))


@pytest.mark.parametrize("margin", [0.0, 0.5])
@pytest.mark.parametrize("case", ["on it", "opposite", "zero", "tiny", "huge"])
def test_arcface_has_a_slope_wherever_an_embedding_is(case: str, margin: float) -> None:
    centres = _random(CLASSES, 4).float().requires_grad_()
    factor = {"on it": 1.0, "opposite": -1.0, "zero": 0.0, "tiny": 1e-12, "huge": 1e4}[case]
    x = (centres.detach() * factor).requires_grad_()
    loss = arcface_loss(x, centres, torch.arange(CLASSES), _arcface(arcface_margin=margin))
    loss.backward()
    for one in (x, centres):
        assert bool(loss.isfinite()) and one.grad is not None and bool(one.grad.isfinite().all())


@pytest.mark.parametrize(
    "model",
    [TcnConfig(**TINY_TCN), TcnConfig(**TINY_TCN, members=3), BcResNetConfig(), TinyConvConfig(channels=4)],
    ids=lambda model: f"{model.arch}{getattr(model, 'members', 1)}",
)
@pytest.mark.parametrize("metric", ["triplet", "arcface"])
def test_every_backbone_learns_from_its_embeddings(model: Any, metric: str) -> None:
    backbone = _backbone(model)
    loss = _metric_loss(LossConfig(metric=metric), backbone)
    x, labels = _random(6, N_MELS, FRAMES + 8).float(), torch.tensor([0, 1, 1, 2, 2, 0])
    embeddings = window_embeddings(backbone, x, torch.full((6,), FRAMES + 3), FRAMES)
    loss(embeddings, labels).backward()
    seen = [name for name, one in backbone.named_parameters() if one.grad is not None and bool((one.grad != 0).any())]
    assert any("stem" in name or "stages.0" in name for name in seen)
    assert not any("classifier" in name for name in seen)
    assert [name for name, _ in loss.named_parameters()] == (["centres"] if metric == "arcface" else [])
    assert all(bool((one.grad != 0).any()) for one in loss.parameters())


@pytest.mark.parametrize("metric", ["triplet", "arcface"])
def test_members_of_an_ensemble_are_judged_each_by_itself(metric: str) -> None:
    backbone, config = _backbone(TcnConfig(**TINY_TCN, members=3)), LossConfig(metric=metric)
    loss = _metric_loss(config, backbone)
    x, labels = _random(6, N_MELS, FRAMES).float(), torch.tensor([0, 1, 1, 2, 2, 0])
    found = loss(window_embeddings(backbone, x, torch.full((6,), FRAMES - 1), FRAMES), labels)
    alone = []
    for index, member in enumerate(backbone.members):
        embeddings = member.embed(x)
        if metric == "arcface":
            alone.append(float(arcface_loss(embeddings, loss.centres[index], labels, config).detach()))
        else:
            alone.append(float(triplet_loss(embeddings, labels, config).detach()))
    assert len({round(one, 6) for one in alone}) == 3
    assert float(found.detach()) == pytest.approx(np.mean(alone), rel=1e-5)


@pytest.mark.parametrize("model", [TcnConfig(**TINY_TCN), TinyConvConfig(channels=4)], ids=lambda model: model.arch)
def test_embeddings_are_of_the_window_and_leave_running_statistics_alone(model: Any) -> None:
    backbone = _backbone(model)
    x, ends = _random(5, N_MELS, FRAMES + 20).float(), torch.tensor([FRAMES - 1, 40, 51, 5, 33])
    before = {name: one.clone() for name, one in backbone.state_dict().items()}
    found = window_embeddings(backbone, x, ends, FRAMES)
    assert all(torch.equal(one, before[name]) for name, one in backbone.state_dict().items())
    padded = functional.pad(x, (FRAMES, 0))  # before a row there is nothing
    windows = torch.stack([row[:, end + 1 : end + 1 + FRAMES] for row, end in zip(padded, ends.tolist(), strict=True)])
    assert torch.allclose(found, backbone.embed(windows))
    assert any(not torch.equal(one, before[name]) for name, one in backbone.state_dict().items())  # as ever


def test_centres_are_drawn_as_weights_are() -> None:
    backbone, config = _backbone(TcnConfig(**TINY_TCN)), LossConfig(metric="arcface")
    one, other = _metric_loss(config, backbone), _metric_loss(config, backbone)
    assert torch.equal(one.centres, other.centres)
    assert one.centres.shape == (1, CLASSES, 16)
    assert backbone.training
    assert not list(_metric_loss(LossConfig(metric="triplet"), backbone).state_dict())
