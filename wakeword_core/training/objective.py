"""From rows of the training windows to the loss that is minimised, micro-batch by micro-batch."""

from dataclasses import dataclass

import torch
from torch import Tensor

from wakeword_core.config import Config
from wakeword_core.models.scoring import ScoringModel
from wakeword_core.training.augment import BandWarp, augment, spec_augment, time_shift
from wakeword_core.training.losses import stream_loss, zones
from wakeword_core.training.steps import row_logits


@dataclass(frozen=True)
class TrainingRows:
    """The training windows on the device: mel [rows, n_mels, frames], class and end of the word [rows] each."""

    mel: Tensor
    labels: Tensor
    word_ends: Tensor


class Objective:
    """The loss of some rows, augmented and scored; all that is random about it comes from `generator` and dropout."""

    def __init__(self, rows: TrainingRows, config: Config) -> None:
        self.rows = rows
        self._settings, self._frontend = config.training, config.features.frontend
        self._device = rows.mel.device
        self._warp = BandWarp(config.features.frontend, self._device)
        loss, rate = config.training.loss, config.data.sample_rate
        self._hit, self._early = (self._frontend.frames(one, rate) for one in (loss.hit_seconds, loss.early_seconds))

    def __call__(
        self, model: ScoringModel, chosen: Tensor, noises: Tensor | None, generator: torch.Generator
    ) -> Tensor:
        """Loss of rows `chosen` [batch] with rows of noise [batch] to mix in: a scalar."""
        settings, rows = self._settings, self.rows
        noise = None if noises is None else rows.mel[noises].float()
        labels = rows.labels[chosen]
        shift = settings.augment.shift_frames
        x, ends = time_shift(rows.mel[chosen].float(), rows.word_ends[chosen], shift, generator)
        x = augment(x, labels == 0, noise, settings.augment, self._warp, generator)
        x = spec_augment(model.normalise(x), settings.spec_augment, generator)
        with torch.autocast("cuda", dtype=self._autocast, enabled=settings.amp and self._device.type == "cuda"):
            logits, steps = row_logits(model.backbone, x, ends, self._frontend.window_frames, self._hit, generator)
        members = len(logits) // len(labels)
        zone = zones(ends.repeat(members), steps, self._hit, self._early)
        return stream_loss(logits.float(), labels.repeat(members), zone, settings.loss)

    @property
    def _autocast(self) -> torch.dtype:
        return torch.float16 if self._settings.amp_dtype == "float16" else torch.bfloat16
