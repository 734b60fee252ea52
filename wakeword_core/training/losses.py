"""What training minimises: one loss for scores at every step of a stretch of audio, of which a window is one step.

A wake word has to be found between its end and `hit_seconds` later, so its loss is that of its `best_steps` there
(max pooling over time: Sun et al. 2016), which forgives an end that was marked a little early or late. Of the single
best step it would make a peak so narrow that a detector's smoothing misses it.
Everything else must be quiet at every step, so its loss is that of the worst steps, and a little of all of them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from wakeword_core.config import LossConfig
from wakeword_core.features.store import NO_WORD


@dataclass(frozen=True)
class Zones:
    """Which steps of a batch ask what of the scores: bool [batch, steps] each; steps in neither are free."""

    hit: Tensor
    """one of these must be the word"""
    quiet: Tensor
    """none of these may be any word"""


def zones(word_ends: Tensor, step_ends: Tensor, hit_frames: int, early_frames: int) -> Zones:
    """Zones of rows whose word ends at frame `word_ends` [batch] (NO_WORD: none), for steps that end at [batch, steps].

    A word whose hit zone has no step gets the nearest step as its zone.
    """
    end, at = word_ends[:, None], step_ends
    none = end == NO_WORD
    hit = (at >= end) & (at <= end + hit_frames) & ~none
    nearest = functional.one_hot((at - end).abs().argmin(dim=1), at.shape[1]).bool()
    hit = torch.where(hit.any(dim=1, keepdim=True) | none, hit, nearest)
    return Zones(hit, none | ((at < end - early_frames) & ~hit))


def stream_loss(logits: Tensor, labels: Tensor, zone: Zones, config: LossConfig) -> Tensor:
    """Mean loss of each kind of row: logits [batch, classes, steps], class indices [batch] -> scalar, in nats.

    `label_smoothing` moves that much probability to the other classes (Szegedy et al. 2016).
    """
    log_p = torch.log_softmax(logits, dim=1)
    spread = log_p.mean(dim=1)  # [batch, steps]: what smoothing adds, at every step
    eps = config.label_smoothing
    word = labels > 0
    loss = logits.new_zeros(())
    if bool(word.any()):
        mine = log_p[word].gather(1, labels[word][:, None, None].expand(-1, 1, log_p.shape[2]))[:, 0]
        found = (1 - eps) * mine + eps * spread[word]
        loss = loss - _best(found, zone.hit[word], config.best_steps).mean()
        early = (-log_p[word][:, 0]).masked_fill(~zone.quiet[word], 0.0)
        loss = loss + config.early_weight * _worst(early, config.worst_early_steps).mean()
    if bool((~word).any()):
        wrong = -((1 - eps) * log_p[~word][:, 0] + eps * spread[~word])
        worst = wrong.topk(min(config.worst_steps, wrong.shape[1]), dim=1).values
        loss = loss + worst.mean() + config.all_steps_weight * wrong.mean()
    return loss


def _best(values: Tensor, allowed: Tensor, count: int) -> Tensor:
    """Mean of the `count` largest allowed values of each row, of as many as there are: [rows]."""
    ranked = values.masked_fill(~allowed, -torch.inf).topk(min(count, values.shape[1]), dim=1).values
    taken = ranked.isfinite()
    return ranked.masked_fill(~taken, 0.0).sum(dim=1) / taken.sum(dim=1)


def _worst(values: Tensor, count: int) -> Tensor:
    return values.topk(min(count, values.shape[1]), dim=1).values
