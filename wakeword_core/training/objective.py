"""From rows of the training set to the loss of a step: what is done to the rows, and what is asked of their scores."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from wakeword_core.config import ROLES, Config
from wakeword_core.models.scoring import ScoringModel
from wakeword_core.training.augment import BandWarp, augment, mixup, spec_augment, time_shift
from wakeword_core.training.losses import Weights, Zones, class_weights, classification_loss, one_step, zones
from wakeword_core.training.metric_learning import MetricLoss, window_embeddings
from wakeword_core.training.steps import row_logits

if TYPE_CHECKING:
    from wakeword_core.features.store import WindowSet


@dataclass(frozen=True)
class TrainRows:
    """The training split on the device, and what goes with its shape."""

    mel: Tensor
    labels: Tensor
    word_ends: Tensor
    hard: Tensor
    """bool [rows], whether its role is hard_negative"""
    warp: BandWarp

    @classmethod
    def of(cls, windows: "WindowSet", config: Config, device: str) -> "TrainRows":
        """As the window set has them."""
        hard = windows.roles == ROLES.index("hard_negative")
        warp = BandWarp(config.features.frontend, device)
        labels, ends = windows.labels.to(device), windows.word_ends.to(device)
        return cls(windows.mel.to(device), labels, ends, hard.to(device), warp)


@dataclass(frozen=True)
class _Asked:
    """What scores are held against: class indices, zones, the step that pooling "window" looks at, and row counts."""

    labels: Tensor
    zone: Zones
    places: Tensor | None
    counts: Tensor | None


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

    def forward(
        self, model: ScoringModel, rows: TrainRows, chosen: Tensor, noise: Tensor | None, generator: torch.Generator
    ) -> Tensor:
        """Loss of the rows `chosen` [batch], augmented, with the rows `noise` [batch] (if any) mixed in -> scalar.

        Everything random comes from `generator`, on the device of the rows, but dropout, which draws from torch's own.
        """
        training, loss = self.config.training, self.config.training.loss
        x, ends = self._features(model, rows, chosen, noise, generator)
        x, partners, share = mixup(x, training.augment.mixup_alpha, generator)
        embeddings = None
        with torch.autocast("cuda", dtype=self._number_format, enabled=training.amp and x.device.type == "cuda"):
            logits, steps = row_logits(model.backbone, x, ends, model.frames, self._hit, generator)
            asked = self._asked(rows, chosen, ends, steps, generator)
            if self.metric is not None and asked.places is not None:
                seen = steps.gather(1, asked.places[:, None])[: len(chosen), 0]
                embeddings = window_embeddings(model.backbone, x, seen, model.frames)
        total = self._classified(logits, asked)
        if share < 1:
            partner = self._asked(rows, chosen[partners], ends[partners], steps, generator)
            total = share * total + (1 - share) * self._classified(logits, partner)
        if self.metric is not None and embeddings is not None:
            total = total + loss.metric_weight * self.metric(embeddings.float(), rows.labels[chosen])
        return total

    def _asked(
        self, rows: TrainRows, chosen: Tensor, ends: Tensor, steps: Tensor, generator: torch.Generator
    ) -> "_Asked":
        """What is asked of rows whose words end at `ends` [batch], of scores at `steps` [members * batch, steps]."""
        members = len(steps) // len(chosen)
        zone = zones(ends.repeat(members), steps, self._hit, self._early)
        # an ensemble's members each have a step of their own to be judged by, but share a window to embed
        looked_at = self.config.training.loss.pooling == "window" or self.metric is not None
        places = one_step(zone, generator) if looked_at else None
        return _Asked(rows.labels[chosen].repeat(members), zone, places, self._counts(rows, chosen, members))

    def _classified(self, logits: Tensor, asked: "_Asked") -> Tensor:
        weights = Weights(self.class_weights, asked.counts)
        loss = self.config.training.loss
        return classification_loss(logits.float(), asked.labels, asked.zone, asked.places, loss, weights)

    def _features(
        self, model: ScoringModel, rows: TrainRows, chosen: Tensor, noise: Tensor | None, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Augmented, normalised and masked rows [batch, n_mels, frames], and where their words end [batch]."""
        training = self.config.training
        mixed = None if noise is None else rows.mel[noise].float()
        negative = rows.labels[chosen] == 0
        shift = training.augment.shift_frames
        x, ends = time_shift(rows.mel[chosen].float(), rows.word_ends[chosen], shift, generator)
        x = augment(x, negative, mixed, training.augment, rows.warp, generator)
        return spec_augment(model.normalise(x), training.spec_augment, generator), ends

    @property
    def _number_format(self) -> torch.dtype:
        return torch.float16 if self.config.training.amp_dtype == "float16" else torch.bfloat16

    def _counts(self, rows: TrainRows, chosen: Tensor, members: int) -> Tensor | None:
        """How many rows each one counts for, [members * batch]; None: one."""
        weight = self.config.training.loss.hard_negative_weight
        return None if weight == 1 else torch.where(rows.hard[chosen], weight, 1.0).repeat(members)
