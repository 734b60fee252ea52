"""From rows of the training set to the loss of a step: what is done to the rows, and what is asked of their scores.

A whole batch is drawn with all that is random about it, so that it can be computed in parts, in turn or on several
devices. Only dropout is drawn later, for each part by itself, and batch norms go by the part that they see.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from wakeword_core.config import ROLES, Config, LossConfig
from wakeword_core.export.tflite.quantize import Rounding
from wakeword_core.features.store import NO_WORD
from wakeword_core.models.layers import StreamingBackbone, WindowBackbone, windows_ending
from wakeword_core.models.scoring import ScoringModel
from wakeword_core.teaching.scores import TeacherScores, targets_of
from wakeword_core.training.data import BandWarp, augment, mixup, spec_augment, time_shift
from wakeword_core.training.feed import Material
from wakeword_core.training.losses import (
    MetricLoss,
    Zones,
    best,
    class_weights,
    distances_to,
    draw_step,
    has_hit_step,
    row_losses,
    row_shares,
    step_scores_of,
    worst,
    zones,
)
from wakeword_core.training.quantizing import rounded_logits

_HARD = ROLES.index("hard_negative")


@dataclass(frozen=True)
class Targets:
    """What the scores of a batch should be; of an ensemble in training all rows of one member, then of the next."""

    labels: Tensor  # class indices [members * batch]
    zone: Zones
    places: Tensor | None
    """the step that is looked at by itself, [members * batch]; None: the loss looks at none so"""
    shares: Tensor  # [members * batch], what the loss of each row is multiplied with
    taught: Tensor | None = None
    """what teachers say, [members * batch, classes, steps], 0 where they say nothing; None: there are none"""

    def select(self, rows: Tensor) -> "Targets":
        """Give those of the rows at these places."""
        zone = Zones(self.zone.hit[rows], self.zone.quiet[rows])
        places, taught = (None if one is None else one[rows] for one in (self.places, self.taught))
        return Targets(self.labels[rows], zone, places, self.shares[rows], taught)


KINDS = ("word", "negative", "hard_negative")
"""Kinds of rows, whose losses are told apart."""


@dataclass(frozen=True)
class Batch:
    """Rows as the network sees them, and what is asked of their scores."""

    x: Tensor  # [batch, n_mels, frames], augmented, normalised and masked
    labels: Tensor  # class indices [batch]
    kinds: Tensor  # indices into KINDS [batch]
    step_ends: Tensor  # last frame of each step that is scored, [batch, steps]
    targets: tuple[Targets, ...]  # of the rows; where they are mixed with others, then of those
    share: float = 1.0  # what this is of the whole batch

    def part(self, rows: slice) -> "Batch":
        """Cut out some of the rows. The losses of parts that make up a batch add up to the batch's."""
        labels = self.labels[rows]
        places = torch.arange(len(self.targets[0].labels), device=labels.device).view(-1, len(self.labels))
        targets = tuple(whole.select(places[:, rows].flatten()) for whole in self.targets)
        share = self.share * len(labels) / len(self.labels)
        return Batch(self.x[rows], labels, self.kinds[rows], self.step_ends[rows], targets, share)


class LossOutput(NamedTuple):
    """The loss of a batch, a scalar, the scores that it is of, and the loss of each row by its own label."""

    loss: Tensor
    logits: Tensor  # [members * batch, classes, steps]
    rows: Tensor  # [batch], without gradients or weights; NaN for a row that has no share in the loss


def _choose_ends(ends: Tensor, others: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Take for each row the end of its own word with that chance, else the other's; a word before none."""
    own = torch.rand(ends.shape, generator=generator, device=ends.device) < share
    chosen = torch.where(own, ends, others)
    return torch.where(chosen == NO_WORD, torch.where(own, others, ends), chosen)


class Objective(nn.Module):
    """What training minimises: the classification loss and, where asked for, a metric loss of the embeddings.

    Its parameters are trained beside the model's and its state dict is kept in checkpoints; the model has neither.
    """

    class_weights: Tensor | None
    rounding: Rounding | None = None
    """what the network is rounded by in its last epochs"""

    def __init__(self, config: Config, model: ScoringModel, train_labels: Tensor) -> None:
        """Make it for training windows of classes `train_labels` [rows]; may draw from torch's default generator."""
        super().__init__()
        self.config = config
        loss, frontend, rate = config.training.loss, config.features.frontend, config.data.audio.sample_rate
        self._hit, self._early = (frontend.frames(seconds, rate) for seconds in (loss.hit_seconds, loss.early_seconds))
        self._warp = BandWarp(frontend, model.mean.device)
        weights = class_weights(loss, config.labels, train_labels)
        self.register_buffer("class_weights", weights, persistent=False)
        self._step_scores = step_scores_of(loss)
        self.metric = MetricLoss(loss, model.backbone, model.classes) if loss.metric != "none" else None

    @torch.no_grad()
    def draw(self, model: ScoringModel, material: Material, generator: torch.Generator) -> Batch:
        """Draw the batch that is made of some material: augmented, and with its noise (if any) mixed in.

        Everything random comes from `generator`, on the device of the material.
        """
        x, ends = self._features(model, material, generator)
        x, partners, share = mixup(x, self.config.training.augment.mixup_alpha, generator)
        placed = ends if share == 1 else _choose_ends(ends, ends[partners], share, generator)
        steps = step_ends(model.backbone, placed, x.shape[2], model.frames, self._hit, generator)
        count = members(model.backbone)
        labels, roles, taught = material.labels, material.roles, self._taught(material.teacher, steps)
        targets = [self._targets(labels, roles, ends, taught, steps, count, share, generator)]
        if share < 1:
            theirs = None if material.teacher is None else material.teacher.chosen(partners)
            others = labels[partners], roles[partners], ends[partners], self._taught(theirs, steps)
            targets.append(self._targets(*others, steps, count, 1 - share, generator))
        return Batch(x, labels, row_kinds(labels, roles), steps, tuple(targets))

    def forward(self, model: ScoringModel, batch: Batch) -> LossOutput:
        """Compute the loss of a batch, or the share that its part has in it; dropout draws from torch's generators.

        Parts add up to the whole but for batch norms and triplets, which see the rows of their part only.
        """
        training, x = self.config.training, batch.x
        targets, embeddings = batch.targets[0], None
        number_format: torch.dtype = getattr(torch, training.precision.amp_dtype)
        with torch.autocast("cuda", dtype=number_format, enabled=training.precision.amp and x.device.type == "cuda"):
            if self.rounding is None:
                logits = row_logits(model.backbone, x, batch.step_ends, model.frames)
            else:
                logits = rounded_logits(model, x, self.rounding)
            if self.metric is not None and targets.places is not None:
                # an ensemble's members each have a step of their own to be judged by, but share a window to embed
                ends = batch.step_ends.gather(1, targets.places[: len(x), None])[:, 0]
                embeddings = window_embeddings(model.backbone, x, ends, model.frames)
        logits = logits.float()
        losses = [self._row_losses(logits, aim) for aim in batch.targets]
        total = torch.stack([(loss * aim.shares).sum() for loss, aim in zip(losses, batch.targets, strict=True)]).sum()
        if self.metric is not None and embeddings is not None:
            metric = self.metric(embeddings.float(), batch.labels)
            total = total + training.loss.metric_weight * batch.share * metric
        own = losses[0].detach().masked_fill(targets.shares == 0, math.nan)
        return LossOutput(total, logits, own.view(-1, len(x)).mean(dim=0))

    def _row_losses(self, logits: Tensor, aim: Targets) -> Tensor:
        """The loss of each row, of which teachers have their share where they say anything: [members * batch]."""
        loss, classes = self.config.training.loss, self.class_weights
        losses = row_losses(logits, aim.labels, aim.zone, aim.places, loss, classes, self._step_scores)
        if aim.taught is None:
            return losses
        teacher = self.config.training.teacher
        share = teacher.share * (aim.taught > 0).flatten(1).any(dim=1)
        return torch.lerp(losses, distances_to(aim.taught, logits, teacher.temperature), share)

    def _taught(self, teacher: TeacherScores | None, steps: Tensor) -> Tensor | None:
        """What teachers say of rows at the steps that end at [batch, steps]: [batch, classes, steps]."""
        if teacher is None:
            return None
        settings, said = self.config.training.teacher, teacher.at(steps)
        return targets_of(said, settings.weights or [1.0] * said.shape[1], settings.temperature)

    def _targets(
        self,
        labels: Tensor,
        roles: Tensor,
        ends: Tensor,
        taught: Tensor | None,
        steps: Tensor,
        count: int,
        share: float,
        generator: torch.Generator,
    ) -> Targets:
        """Say what scores at [batch, steps] should be, with this share of the loss, of rows whose words end at [batch].

        Of an ensemble, whose scores come once each of `count` members, each makes up its part of the loss.
        """
        loss = self.config.training.loss
        zone = zones(ends.repeat(count), steps.repeat(count, 1), self._hit, self._early)
        looked_at = loss.pooling == "window" or self.metric is not None
        places = draw_step(zone, generator) if looked_at else None
        hard = roles == _HARD
        counts = None if loss.hard_negative_weight == 1 else torch.where(hard, loss.hard_negative_weight, 1.0)
        shares = row_shares(labels, loss.pooling, self.class_weights, counts) * (share / count)
        if share < 1 and steps.shape[1] == 1:  # a window placed for one of two mixed words may not hold the other
            shares = shares * ((ends == NO_WORD) | has_hit_step(ends, steps, self._hit))
        taught = None if taught is None else taught.repeat(count, 1, 1)
        return Targets(labels.repeat(count), zone, places, shares.float().repeat(count), taught)

    def _features(self, model: ScoringModel, material: Material, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Augment, normalise and mask rows: [batch, n_mels, frames], and where their words end [batch]."""
        training = self.config.training
        noise = None if material.noise is None else material.noise.float()
        shift = training.augment.shift_frames
        x, ends = time_shift(material.mel.float(), material.word_ends, shift, model.frames, generator)
        x = augment(x, material.labels == 0, noise, training.augment, self._warp, generator)
        return spec_augment(model.normalise(x), training.spec_augment, generator), ends


def row_kinds(labels: Tensor, roles: Tensor) -> Tensor:
    """Tell of rows of these classes and roles [rows] which of KINDS each is: [rows]."""
    others = torch.where(roles == _HARD, KINDS.index("hard_negative"), KINDS.index("negative"))
    return torch.where(labels > 0, KINDS.index("word"), others)


def sums_by_kind(losses: Tensor, kinds: Tensor) -> tuple[Tensor, Tensor]:
    """Add up the losses of rows [rows] by kind, and count them, each [kinds]; what is NaN does not count."""
    counted = ~losses.isnan()
    of_kind = functional.one_hot(kinds, len(KINDS)).to(losses.dtype)
    return losses.masked_fill(~counted, 0.0) @ of_kind, counted.to(losses.dtype) @ of_kind


@torch.no_grad()
def wrongness(logits: Tensor, targets: Targets, loss: LossConfig, rows: int) -> Tensor:
    """Measure how wrong scores [members * rows, classes, steps] are about each row, from 0 to 1: [rows].

    It is the probability that the right class is denied, at the steps that the loss looks at; NaN for a row that has no
    share in the loss.
    """
    wrong = 1 - torch.softmax(logits, dim=1)
    right_class = targets.labels[:, None, None].expand(-1, 1, wrong.shape[2])
    wrong = wrong.gather(1, right_class)[:, 0]
    if targets.places is not None and loss.pooling == "window":
        pooled = wrong.gather(1, targets.places[:, None])[:, 0]
    else:
        missed = -best(-wrong, targets.zone.hit, loss.best_steps)
        pooled = torch.where(targets.labels > 0, missed, worst(wrong, loss.worst_steps))
    counts = (targets.shares.view(-1, rows) > 0).any(dim=0)
    return pooled.view(-1, rows).mean(dim=0).masked_fill(~counts, math.nan)


def members(backbone: nn.Module) -> int:
    """Count how often `row_logits` gives each row: once a member by ensembles in training, otherwise once."""
    return len(getattr(backbone, "members", [None])) if backbone.training else 1


def step_ends(
    backbone: nn.Module, word_ends: Tensor, row_frames: int, frames: int, hit_frames: int, generator: torch.Generator
) -> Tensor:
    """Choose the last frame of each step that rows of `row_frames` are scored at, int64 [batch, steps].

    A backbone that does not stream gives one step: of the window of `frames` frames that ends up to `hit_frames` after
    the word, or anywhere in a row without a word (`word_ends` [batch] is NO_WORD).
    """
    if backbone.streams:
        steps = cast(StreamingBackbone, backbone).output_frames(row_frames)
        return steps.to(word_ends.device).expand(len(word_ends), -1)
    last = row_frames - 1
    share = torch.rand(len(word_ends), generator=generator, device=word_ends.device)
    low = torch.where(word_ends == NO_WORD, frames - 1, word_ends.clamp(frames - 1, last))
    high = torch.where(word_ends == NO_WORD, last, (word_ends + hit_frames).clamp(frames - 1, last))
    return (low + (share * (high - low + 1)).long().minimum(high - low))[:, None]


def row_logits(backbone: nn.Module, x: Tensor, ends: Tensor, frames: int) -> Tensor:
    """Score rows [batch, n_mels, any] at steps that end at [batch, steps]: logits [members * batch, classes, steps].

    An ensemble in training gives the batch once a member.
    """
    if backbone.streams:
        return cast(StreamingBackbone, backbone).dense(x)
    return cast(Tensor, backbone(windows_ending(x, ends[:, 0], frames)))[:, :, None]


def window_embeddings(backbone: nn.Module, x: Tensor, ends: Tensor, frames: int) -> Tensor:
    """Embed the windows of `frames` frames of x [batch, n_mels, any] that end at `ends` [batch].

    A second pass through the backbone. Its batch norms go by the batch as in the first, but their running statistics,
    which the model is used with, stay those of the first: of rows as they are, and not of windows around words.
    """
    with _keep_running_statistics(backbone):
        return cast(StreamingBackbone | WindowBackbone, backbone).embed(windows_ending(x, ends, frames))


def batch_norms(model: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """Return the layers that normalise by statistics of their batch."""
    return [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]


@contextmanager
def _keep_running_statistics(model: nn.Module) -> Iterator[None]:
    norms = batch_norms(model)
    tracking = [norm.track_running_stats for norm in norms]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm, before in zip(norms, tracking, strict=True):
            norm.track_running_stats = before
