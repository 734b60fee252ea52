"""The losses of whole batches, as sums over their rows."""

from typing import NamedTuple

import torch

from wakeword_core.config import LossConfig
from wakeword_core.training.losses import Zones, row_losses, row_shares


class Weights(NamedTuple):
    """Of the classes, and of the rows of a batch."""

    classes: torch.Tensor | None = None
    rows: torch.Tensor | None = None


EQUAL = Weights()


def classification_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    zone: Zones | None,
    chosen: torch.Tensor | None,
    config: LossConfig,
    weights: Weights = EQUAL,
) -> torch.Tensor:
    losses = row_losses(logits, labels, zone, chosen, config, weights.classes)
    return (losses * row_shares(labels, config.pooling, *weights).to(losses.dtype)).sum()


def stream_loss(
    logits: torch.Tensor, labels: torch.Tensor, zone: Zones, config: LossConfig, weights: Weights = EQUAL
) -> torch.Tensor:
    return classification_loss(logits, labels, zone, None, config.model_copy(update={"pooling": "stream"}), weights)


def window_loss(
    logits: torch.Tensor, labels: torch.Tensor, config: LossConfig, weights: Weights = EQUAL
) -> torch.Tensor:
    """Of logits [batch, classes]."""
    config, place = config.model_copy(update={"pooling": "window"}), torch.zeros_like(labels)
    return classification_loss(logits[:, :, None], labels, None, place, config, weights)
