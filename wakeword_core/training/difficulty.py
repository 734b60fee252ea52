"""Rows that the model got wrong are drawn more often (importance sampling: Katharopoulos and Fleuret 2018)."""

import math

import torch
from torch import Tensor

from wakeword_core.config import LossConfig
from wakeword_core.training.batch import Asked
from wakeword_core.training.losses import best, worst

UNSEEN = 1.0
"""How wrong a model is taken to be about a row that it has not seen: entirely."""


@torch.no_grad()
def wrongness(logits: Tensor, asked: Asked, config: LossConfig, rows: int) -> Tensor:
    """How wrong scores [members * rows, classes, steps] are about each row, from 0 to 1: [rows].

    The probability that what is asked for is denied, at the steps that the loss looks at; NaN where nothing is asked.
    """
    wrong = 1 - torch.softmax(logits, dim=1)
    right_class = asked.labels[:, None, None].expand(-1, 1, wrong.shape[2])
    wrong = wrong.gather(1, right_class)[:, 0]
    if asked.places is not None and config.pooling == "window":
        found = wrong.gather(1, asked.places[:, None])[:, 0]
    else:
        missed = -best(-wrong, asked.zone.hit, config.best_steps)
        found = torch.where(asked.labels > 0, missed, worst(wrong, config.worst_steps))
    asked_for = (asked.shares.view(-1, rows) > 0).any(dim=0)
    return found.view(-1, rows).mean(dim=0).masked_fill(~asked_for, math.nan)


def drawn_by_weight(weights: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Places int64 [count], each as often as its share of `weights` [n] (float64, above 0) says, in random order.

    Systematic sampling (Madow 1949): how often a place comes is its expected number, rounded up or down, so nothing is
    missing or repeated by chance. Repeats are spread over the whole.
    """
    order = torch.randperm(len(weights), generator=generator)
    ends = weights[order].cumsum(0) * (count / weights.sum())
    offset = torch.rand((), generator=generator, dtype=torch.float64)
    # how many of the marks offset, offset + 1, ... lie before the end of each place's stretch
    marks = torch.ceil(ends - offset).clamp(0, count).long()
    marks[-1] = count
    copies = torch.diff(marks, prepend=marks.new_zeros(1))
    places = order.repeat_interleave(copies)
    number = torch.arange(count) - (marks - copies).repeat_interleave(copies)
    when = (number + torch.rand(count, generator=generator)) / copies.repeat_interleave(copies)
    return places[when.argsort(stable=True)]
