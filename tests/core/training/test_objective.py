"""From rows to a loss: every setting reaches it, whatever the backbone, and every loss is learnt from."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sweeps_to_train import CMVN, CONTEXT, LONG, LOSS, NO_AUGMENT, TINY_TCN, VAL, config_for, material, windows_for
from torch.nn import functional

from wakeword_core.config import ROLES, Config, TcnConfig, TinyConvConfig
from wakeword_core.features.store import WindowSet
from wakeword_core.models.layers import windows_ending
from wakeword_core.models.scoring import ScoringModel, new_model
from wakeword_core.training.loop import train
from wakeword_core.training.losses import row_losses
from wakeword_core.training.objective import Objective

CHOSEN = torch.tensor([0, 1, 2, 3, 4, 5, 8, 9])
"""Rows of LONG: words at 0, 4 and 8, hard negatives at 1, 5 and 9."""


def _config(model: Any = None, **loss: Any) -> Config:
    nothing = {"time_masks": 0, "mel_masks": 0}
    return config_for(model, CONTEXT, loss={**LOSS, **loss}, augment=NO_AUGMENT, spec_augment=nothing)


def _parts(config: Config) -> tuple[ScoringModel, Objective, WindowSet]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = new_model(config).train()
        model.set_cmvn(CMVN)
        return model, Objective(config, model, LONG.labels), LONG


def _judged(model: ScoringModel, objective: Objective, rows: WindowSet, generator: torch.Generator) -> torch.Tensor:
    return objective(model, objective.draw(model, material(rows, CHOSEN), generator)).loss


def _loss(config: Config, seed: int = 0, rows: WindowSet | None = None) -> float:
    model, objective, found = _parts(config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        generator = torch.Generator().manual_seed(seed)
        return float(_judged(model, objective, rows or found, generator).detach())


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", ["none", "balanced"])
def test_window_pooling_of_whole_windows_is_torchs_cross_entropy(weights: str, smoothing: float) -> None:
    config = _config(
        TinyConvConfig(channels=4, dropout=0), pooling="window", class_weights=weights, label_smoothing=smoothing
    )
    model, objective, rows = _parts(config)
    seen: list[torch.Tensor] = []
    model.backbone.register_forward_hook(lambda _, inputs, output: seen.append(output.detach()))
    loss = _judged(model, objective, rows, torch.Generator().manual_seed(0))
    classes = None if weights == "none" else torch.tensor([80 / (2 * 60), 80 / (2 * 20)])
    wanted = functional.cross_entropy(seen[0], LONG.labels[CHOSEN], weight=classes, label_smoothing=smoothing)
    assert float(loss.detach()) == pytest.approx(float(wanted), rel=1e-5)


@pytest.mark.parametrize("members", [1, 2])
@pytest.mark.parametrize("pooling", ["stream", "window"])
def test_hard_negatives_count_as_if_they_stood_there_more_often(pooling: str, members: int) -> None:
    config = _config(TcnConfig(**TINY_TCN, members=members, dropout=0), pooling=pooling, hard_negative_weight=3.0)
    model, objective, rows = _parts(config)
    shares = objective.draw(model, material(rows, CHOSEN), torch.Generator()).targets[0].shares.view(members, -1)
    assert torch.equal(shares, shares[:1].expand_as(shares))
    assert float(shares.sum()) == pytest.approx(1 if pooling == "window" else 2)  # words and other rows count alike
    words, negatives = shares[0][[0, 4, 6]], shares[0][[1, 2, 3, 5, 7]]
    assert (negatives / negatives.min()).tolist() == pytest.approx([3, 1, 1, 3, 3])
    assert words.tolist() == pytest.approx([float(negatives.min()) if pooling == "window" else 1 / 3 / members] * 3)
    heavy, plain = _loss(config), _loss(_config(config.training.model, pooling=pooling))
    assert heavy != plain
    none = replace(LONG, roles=torch.where(LONG.roles == ROLES.index("hard_negative"), 1, LONG.roles))
    assert _loss(config, rows=none) == pytest.approx(plain, rel=1e-6)


@pytest.mark.parametrize("loss", [{"pooling": "window"}, {"metric": "triplet"}, {"metric": "arcface"}], ids=str)
def test_the_step_of_each_row_comes_from_the_generator(loss: dict[str, Any]) -> None:
    config = _config(TcnConfig(**TINY_TCN, dropout=0), **loss)
    assert _loss(config, 1) == _loss(config, 1)
    assert _loss(config, 1) != _loss(config, 2)


def test_the_default_draws_nothing() -> None:
    config = _config(TcnConfig(**TINY_TCN, dropout=0))
    model, objective, rows = _parts(config)
    generator = torch.Generator().manual_seed(0)
    reference = torch.Generator().manual_seed(0)
    torch.randn(len(CHOSEN), 5, generator=reference)  # what augmentation draws at least, on or off
    torch.rand(len(CHOSEN), generator=reference)
    before = torch.random.get_rng_state()
    _judged(model, objective, rows, generator)
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(generator.get_state(), reference.get_state())
    assert not list(objective.parameters()) and not objective.state_dict()


@pytest.mark.parametrize("metric", ["triplet", "arcface"])
def test_the_metric_loss_is_added_with_its_weight(metric: str) -> None:
    model = TcnConfig(**TINY_TCN, dropout=0)
    none, one, two = (
        _loss(_config(model, **loss)) for loss in ({}, *({"metric": metric, "metric_weight": w} for w in (0.5, 1.0)))
    )
    assert one > none
    assert two - none == pytest.approx(2 * (one - none), rel=1e-4)


@pytest.mark.parametrize("members", [1, 2])
def test_the_window_that_is_embedded_ends_where_a_word_may_be_heard(members: int) -> None:
    config = _config(TcnConfig(**TINY_TCN, members=members), metric="triplet")
    model, objective, rows = _parts(config)
    embedded: list[torch.Tensor] = []
    embed = model.backbone.embed
    model.backbone.embed = lambda x: embedded.append(x) or embed(x)
    found: list[torch.Tensor] = []
    for seed in range(20):
        batch = objective.draw(model, material(rows, CHOSEN), torch.Generator().manual_seed(seed))
        objective(model, batch)
        found.append(batch.step_ends.gather(1, batch.targets[0].places[: len(CHOSEN), None])[:, 0])
        assert torch.equal(embedded[-1], windows_ending(batch.x, found[-1], model.frames))
    ends = torch.stack(found)
    words = LONG.word_ends[CHOSEN]
    hit = config.features.frontend.frames(config.training.loss.hit_seconds, config.data.audio.sample_rate)
    late = (ends - words)[:, words >= 0]
    assert int(late.min()) >= 0 and int(late.max()) <= hit and late.unique().numel() > 1
    assert ends[:, words < 0].unique().numel() > 8


LEARNT: dict[str, tuple[Any, dict[str, Any]]] = {
    "focal, weighted": (
        TcnConfig(**TINY_TCN),
        {"kind": "focal", "focal_gamma": 1.0, "focal_alpha": 0.4, "class_weights": "balanced"},
    ),
    "one step, dense": (TcnConfig(**TINY_TCN), {"pooling": "window"}),
    "one step, windows": (TinyConvConfig(channels=8), {"pooling": "window", "kind": "focal"}),
    "triplets of angles": (
        TinyConvConfig(channels=8),
        {"metric": "triplet", "triplet_distance": "cosine", "triplet_soft_margin": True},
    ),
    "arcface of an ensemble": (TcnConfig(**TINY_TCN, members=2), {"metric": "arcface"}),
}


@pytest.mark.parametrize("name", LEARNT)
def test_every_loss_is_learnt_from(name: str, tmp_path: Path) -> None:
    model, loss = LEARNT[name]
    masks = {"time_frames": 4, "mel_bands": 2}
    chosen = {
        "schedule": {"epochs": 30, "learning_rate": 1e-2},
        "ema": {"decay": 0.9},
        "validation": {"keep": "last"},
        "spec_augment": masks,
    }
    config = config_for(model, CONTEXT, **chosen, loss={**LOSS, **loss})
    summary = train(windows_for(1, rows=160, context=CONTEXT), VAL, CMVN, config, tmp_path)
    assert summary.val_auc > 0.9


def test_what_is_mixed_is_judged_by_both_labels() -> None:
    """A share of each row's loss is its own and the rest its partner's, at the same scores."""
    config = _config(TcnConfig(**TINY_TCN, dropout=0), pooling="window")
    mixed = {"augment": config.training.augment.model_copy(update={"mixup_alpha": 0.4})}
    config = config.model_copy(update={"training": config.training.model_copy(update=mixed)})
    model, objective, rows = _parts(config)
    batch = objective.draw(model, material(rows, CHOSEN), torch.Generator().manual_seed(1))
    own, other = batch.targets
    share, labels = float(own.shares.sum()), LONG.labels[CHOSEN]
    assert own.labels.tolist() == labels.tolist() != other.labels.tolist()
    assert sorted(other.labels.tolist()) == sorted(labels.tolist())
    assert 0.5 < share < 1 and float(other.shares.sum()) == pytest.approx(1 - share)
    output = objective(model, batch)
    mine, theirs = (
        row_losses(output.logits, targets.labels, targets.zone, targets.places, config.training.loss).mean()
        for targets in batch.targets
    )
    assert output.loss.item() == pytest.approx((share * mine + (1 - share) * theirs).item(), rel=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("metric", ["triplet", "arcface"])
@pytest.mark.parametrize("pooling", ["stream", "window"])
def test_everything_at_once_on_cuda_with_amp(pooling: str, metric: str, tmp_path: Path) -> None:
    loss = {"kind": "focal", "focal_alpha": 0.4, "class_weights": "balanced", "hard_negative_weight": 2.0}
    for members in (1, 2):
        model = TcnConfig(**TINY_TCN, members=members)
        config = config_for(
            model, CONTEXT, compute={"device": "cuda"}, loss={**LOSS, **loss, "pooling": pooling, "metric": metric}
        )
        summary = train(LONG, VAL, CMVN, config, tmp_path / str(members))
        assert np.isfinite(summary.val_loss)


def test_a_mixed_row_is_asked_only_for_words_that_its_window_holds() -> None:
    """A network of whole windows sees one of two mixed words; what it cannot hear is not asked of it."""
    config = _config(TinyConvConfig(channels=4), pooling="window")
    config = config.changed({"training.augment.mixup_alpha": 5.0})
    model, objective, rows = _parts(config)
    chosen = torch.arange(len(LONG)).repeat(4)
    batch = objective.draw(model, material(rows, chosen), torch.Generator().manual_seed(3))
    at, hit = batch.step_ends[:, 0], objective._hit
    assert len(batch.targets) == 2
    own = LONG.word_ends[chosen]
    counts = batch.targets[0].shares > 0
    held = (own < 0) | ((at >= own) & (at <= own + hit))
    assert torch.equal(counts, held) and bool(held.any()) and not bool(held.all())
    assert bool((batch.targets[1].shares > 0)[~held].float().mean() > 0.9)  # it was placed for the other word


def test_a_network_that_hears_every_step_is_asked_for_both_of_two_mixed_words() -> None:
    """Also where no step lies just at a word's end: the nearest is asked."""
    config = _config(TcnConfig(**TINY_TCN), hit_seconds=0.0)
    config = config.changed({"training.augment.mixup_alpha": 5.0})
    model, objective, rows = _parts(config)
    batch = objective.draw(model, material(rows, torch.arange(len(LONG))), torch.Generator().manual_seed(3))
    assert len(batch.targets) == 2 and all(bool((one.shares > 0).all()) for one in batch.targets)


@pytest.mark.parametrize(
    "together",
    [
        {"training": {"loss": {"metric": "arcface"}, "augment": {"mixup_alpha": 0.4}}},
        {"training": {"loss": {"metric": "triplet"}, "sampling": {"micro_batch": 32}}},
        {"training": {"loss": {"metric": "triplet"}}, "compute": {"processes": 2}},
        {"training": {"sampling": {"micro_batch": 1}}},
    ],
)
def test_what_cannot_go_together_is_said(together: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"mixup_alpha to 0|micro_batch to 0|processes to 1|set 2 or more"):
        Config.model_validate(together)
