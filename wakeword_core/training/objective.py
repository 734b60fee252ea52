"""From rows of the training set to the loss of a step: what is done to the rows, and what is asked of their scores."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from wakeword_core.config import Config
from wakeword_core.features.store import NO_WORD
from wakeword_core.models.scoring import ScoringModel
from wakeword_core.training.augment import augment, mixup, spec_augment, time_shift
from wakeword_core.training.batch import Asked, Batch, TrainRows
from wakeword_core.training.losses import Weights, class_weights, heard_in, one_step, row_losses, row_shares, zones
from wakeword_core.training.metric_learning import MetricLoss, window_embeddings
from wakeword_core.training.steps import members, row_logits, step_ends


class Judged(NamedTuple):
    """The loss of a batch, a scalar, and the scores that it is of."""

    loss: Tensor
    logits: Tensor
    """[members * batch, classes, steps]"""


def _one_of(ends: Tensor, others: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """For each row the end of its own word, with that share of the chances, or of the other's; a word before none."""
    own = torch.rand(ends.shape, generator=generator, device=ends.device) < share
    chosen = torch.where(own, ends, others)
    return torch.where(chosen == NO_WORD, torch.where(own, others, ends), chosen)


class Objective(nn.Module):
    """What training minimises: the classification loss and, where asked for, a metric loss of the embeddings.

    Its parameters are trained beside the model's and its state dict is kept in checkpoints; the model has neither.
    """

    class_weights: Tensor | None

    def __init__(self, config: Config, model: ScoringModel, train_labels: Tensor) -> None:
        """For training windows of classes `train_labels` [rows]; draws from torch's default generator if at all."""
        super().__init__()
        self.config = config
        loss, frontend, rate = config.training.loss, config.features.frontend, config.data.sample_rate
        self._hit, self._early = (frontend.frames(one, rate) for one in (loss.hit_seconds, loss.early_seconds))
        weights = class_weights(loss, config.labels, train_labels)
        self.register_buffer("class_weights", weights, persistent=False)
        shape = (model.n_mels, model.frames, model.classes)
        self.metric = MetricLoss(loss, model.backbone, *shape) if loss.metric != "none" else None

    @torch.no_grad()
    def draw(
        self, model: ScoringModel, rows: TrainRows, chosen: Tensor, noise: Tensor | None, generator: torch.Generator
    ) -> Batch:
        """The batch of the rows `chosen` [batch], augmented, with the rows `noise` [batch] (if any) mixed in.

        Everything random comes from `generator`, on the device of the rows.
        """
        x, ends = self._features(model, rows, chosen, noise, generator)
        x, partners, share = mixup(x, self.config.training.augment.mixup_alpha, generator)
        placed = ends if share == 1 else _one_of(ends, ends[partners], share, generator)
        steps = step_ends(model.backbone, placed, x.shape[2], model.frames, self._hit, generator)
        count = members(model.backbone)
        asked = [self._asked(rows, chosen, ends, steps, count, share, generator)]
        if share < 1:
            asked.append(self._asked(rows, chosen[partners], ends[partners], steps, count, 1 - share, generator))
        return Batch(x, rows.labels[chosen], steps, tuple(asked))

    def forward(self, model: ScoringModel, batch: Batch) -> Judged:
        """Loss of a batch, or of its part of the batch that it is a part of; dropout draws from torch's generators.

        Parts add up to the whole but for batch norms and triplets, which see the rows of their part only.
        """
        training, x = self.config.training, batch.x
        asked, embeddings = batch.asked[0], None
        with torch.autocast("cuda", dtype=self._number_format, enabled=training.amp and x.device.type == "cuda"):
            logits = row_logits(model.backbone, x, batch.step_ends, model.frames)
            if self.metric is not None and asked.places is not None:
                # an ensemble's members each have a step of their own to be judged by, but share a window to embed
                seen = batch.step_ends.gather(1, asked.places[: len(x), None])[:, 0]
                embeddings = window_embeddings(model.backbone, x, seen, model.frames)
        logits = logits.float()
        total = torch.stack([self._classified(logits, one) for one in batch.asked]).sum()
        if self.metric is not None and embeddings is not None:
            metric = self.metric(embeddings.float(), batch.labels)
            total = total + training.loss.metric_weight * batch.share * metric
        return Judged(total, logits)

    def _asked(
        self,
        rows: TrainRows,
        chosen: Tensor,
        ends: Tensor,
        steps: Tensor,
        count: int,
        share: float,
        generator: torch.Generator,
    ) -> Asked:
        """What is asked, with this share of the loss, of rows whose words end at [batch], of scores at [batch, steps].

        Of an ensemble, whose scores come once each of `count` members, each makes up its part of the loss.
        """
        loss, labels = self.config.training.loss, rows.labels[chosen]
        zone = zones(ends.repeat(count), steps.repeat(count, 1), self._hit, self._early)
        looked_at = loss.pooling == "window" or self.metric is not None
        places = one_step(zone, generator) if looked_at else None
        weights = Weights(self.class_weights, self._counts(rows, chosen))
        shares = row_shares(labels, loss.pooling, weights) * (share / count)
        if share < 1 and steps.shape[1] == 1:  # a window placed for one of two mixed words may not hold the other
            shares = shares * ((ends == NO_WORD) | heard_in(ends, steps, self._hit))
        return Asked(labels.repeat(count), zone, places, shares.float().repeat(count))

    def _classified(self, logits: Tensor, asked: Asked) -> Tensor:
        loss = self.config.training.loss
        losses = row_losses(logits, asked.labels, asked.zone, asked.places, loss, self.class_weights)
        return (losses * asked.shares).sum()

    def _features(
        self, model: ScoringModel, rows: TrainRows, chosen: Tensor, noise: Tensor | None, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Augmented, normalised and masked rows [batch, n_mels, frames], and where their words end [batch]."""
        training = self.config.training
        mixed = None if noise is None else rows.mel[noise].float()
        negative = rows.labels[chosen] == 0
        shift = training.augment.shift_frames
        x, ends = time_shift(rows.mel[chosen].float(), rows.word_ends[chosen], shift, model.frames, generator)
        x = augment(x, negative, mixed, training.augment, rows.warp, generator)
        return spec_augment(model.normalise(x), training.spec_augment, generator), ends

    @property
    def _number_format(self) -> torch.dtype:
        return torch.float16 if self.config.training.amp_dtype == "float16" else torch.bfloat16

    def _counts(self, rows: TrainRows, chosen: Tensor) -> Tensor | None:
        """How many rows each one counts for, [batch]; None: one."""
        weight = self.config.training.loss.hard_negative_weight
        return None if weight == 1 else torch.where(rows.hard[chosen], weight, 1.0)
