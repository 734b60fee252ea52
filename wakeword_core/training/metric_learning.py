"""Losses of embeddings: rows of the same word near to each other, everything else far away.

They stand beside the classification loss and look at what the classifier sees (`embed`). Both work on a few classes
and one of them, class 0, is everything that is no wake word; each says what it makes of that.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from wakeword_core.config import LossConfig
from wakeword_core.models import Backbone
from wakeword_core.training.steps import windows_ending

_SHORTEST = 1e-3
"""Embeddings shorter than this are not brought to length 1: their direction is chance, and its slope has no bound."""
_LEAST_SQUARED_SINE = 1e-6
"""Below it the sine is held: the square root has no finite slope at 0."""


class MetricLoss(nn.Module):
    """The configured loss of the embeddings of windows, with whatever it learns itself.

    Its parameters (ArcFace's centres) belong in the optimizer, undecayed, since only their directions count, and its
    state dict in the checkpoint; neither is any part of the model, which does without.

    An ensemble's members are judged each by its own embedding, and their losses are averaged, as in the classification
    loss: a common one would let a member rely on the others, who err alike then.
    """

    def __init__(self, config: LossConfig, backbone: nn.Module, n_mels: int, frames: int, classes: int) -> None:
        """For windows [n_mels, frames]; centres are drawn from torch's default generator, as weights are."""
        super().__init__()
        self.config = config
        self.members = len(getattr(backbone, "members", [None]))
        size = _embedding_size(backbone, n_mels, frames) // self.members
        self.centres = nn.Parameter(torch.randn(self.members, classes, size)) if config.metric == "arcface" else None

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Loss of embeddings [batch, members * d] in float32 and class indices [batch] -> scalar."""
        members = embeddings.unflatten(1, (self.members, -1)).unbind(1)
        return torch.stack([self._of_member(index, one, labels) for index, one in enumerate(members)]).mean()

    def _of_member(self, index: int, embeddings: Tensor, labels: Tensor) -> Tensor:
        if self.centres is not None:
            return arcface_loss(embeddings, self.centres[index], labels, self.config)
        return triplet_loss(embeddings, labels, self.config)


def window_embeddings(backbone: nn.Module, x: Tensor, ends: Tensor, frames: int) -> Tensor:
    """What the classifier sees of the windows of `frames` frames that end at `ends` [batch] of x [batch, n_mels, any].

    A second pass through the backbone. Its batch norms go by the batch as in the first, but their running statistics,
    which the model is used with, stay those of the first: of rows as they are, and not of windows around words.
    """
    with _running_statistics_kept(backbone):
        return cast(Backbone, backbone).embed(windows_ending(x, ends, frames))


def triplet_loss(embeddings: Tensor, labels: Tensor, config: LossConfig) -> Tensor:
    """Batch-hard triplet loss (Hermans et al. 2017): embeddings [batch, d], class indices [batch] -> scalar.

    Every row of a word is an anchor; its distance p to the farthest other row of that word must be smaller, by the
    margin, than its distance n to the nearest row of anything else: mean of max(0, margin + p - n) over the anchors, or
    of log(1 + exp(p - n)) with a soft margin. A batch in which no word stands twice beside something else has loss 0.

    Rows of class 0 are never anchors and nobody's positives, only negatives: what is no wake word is not one thing,
    and to pull all other speech and noise into one place would spend the network on what nobody asks for.
    """
    with torch.no_grad():
        between = _all_distances(embeddings, config)
        same = labels[:, None] == labels[None]
        itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        farthest = between.masked_fill(~same | itself, -torch.inf).max(dim=1)
        nearest = between.masked_fill(same, torch.inf).min(dim=1)
        anchors = (labels > 0) & farthest.values.isfinite() & nearest.values.isfinite()
    if not bool(anchors.any()):
        return 0 * embeddings.sum()  # a part of every gradient: other processes wait for their norms' in this one
    anchor = embeddings[anchors]
    gap = _distances(anchor, embeddings[farthest.indices[anchors]], config)
    gap = gap - _distances(anchor, embeddings[nearest.indices[anchors]], config)
    if config.triplet_soft_margin:
        return functional.softplus(gap).mean()
    return (gap + config.triplet_margin).clamp_min(0).mean()


def arcface_loss(embeddings: Tensor, centres: Tensor, labels: Tensor, config: LossConfig) -> Tensor:
    """Additive angular margin loss (Deng et al. 2019): embeddings [batch, d], centres [classes, d] -> scalar, in nats.

    Cross-entropy of the scaled cosines between embeddings and centres, the angle to the own class's centre taken
    larger by the margin. Past a half turn it goes on with a straight line, as the paper's code does, so that the loss
    keeps rising with the angle.

    Class 0 has a centre and the margin like every class: unlike a triplet, that does not pull its rows together; they
    only have to be nearer, by the margin, to their centre's side than to any word's.
    """
    cosines = _unit(embeddings) @ _unit(centres).T
    own = cosines.gather(1, labels[:, None])
    margin = config.arcface_margin
    sines = (1 - own.square()).clamp_min(_LEAST_SQUARED_SINE).sqrt()
    turned = own * math.cos(margin) - sines * math.sin(margin)
    turned = torch.where(own > math.cos(math.pi - margin), turned, own - margin * math.sin(margin))
    return functional.cross_entropy(config.arcface_scale * cosines.scatter(1, labels[:, None], turned), labels)


def _distances(one: Tensor, other: Tensor, config: LossConfig) -> Tensor:
    """Distances over the last axis: Euclidean, or 1 - cosine."""
    if config.triplet_distance == "euclidean":
        return torch.linalg.vector_norm(one - other, dim=-1)
    return 1 - (_unit(one) * _unit(other)).sum(dim=-1)


def _all_distances(x: Tensor, config: LossConfig) -> Tensor:
    """Distances of all rows [batch, d] to all rows, [batch, batch], without their differences in memory."""
    if config.triplet_distance == "euclidean":
        return torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    return 1 - _unit(x) @ _unit(x).T


def _unit(x: Tensor) -> Tensor:
    return functional.normalize(x, dim=-1, eps=_SHORTEST)


@torch.no_grad()
def _embedding_size(backbone: nn.Module, n_mels: int, frames: int) -> int:
    training = backbone.training
    weight = next(backbone.parameters())
    size = cast(Backbone, backbone.eval()).embed(weight.new_zeros(1, n_mels, frames)).shape[1]
    backbone.train(training)
    return int(size)


@contextmanager
def _running_statistics_kept(model: nn.Module) -> Iterator[None]:
    """Batch norms in training do not remember the batches that they see."""
    norms = [one for one in model.modules() if isinstance(one, nn.modules.batchnorm._BatchNorm)]
    tracking = [one.track_running_stats for one in norms]
    for one in norms:
        one.track_running_stats = False
    try:
        yield
    finally:
        for one, before in zip(norms, tracking, strict=True):
            one.track_running_stats = before
