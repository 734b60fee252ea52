"""What training minimises: a loss of scores at every step of a stretch of audio, and losses of embeddings beside it.

A window is a stretch of one step. With pooling "stream", a wake word has to be found between its end and `hit_seconds`
later, so its loss is that of its `best_steps` there (max pooling over time: Sun et al. 2016), which forgives an end
that was marked a little early or late. Of the single best step it would make a peak so narrow that a detector's
smoothing misses it. Everything else must be quiet at every step, so its loss is that of the worst steps, and a little
of all of them. With pooling "window" every row is one step, and the loss is that of plain classification.

Losses of embeddings, of what the classifier sees (`embed`), bring rows of the same word near to each other and
everything else far away. They work on a few classes and one of them, class 0, is everything that is no wake word; each
says what it makes of that.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from wakeword_core.config import LossConfig
from wakeword_core.errors import DataError
from wakeword_core.features.store import NO_WORD
from wakeword_core.plugins import Plugin

StepScores = Callable[[Tensor], Tensor]
"""Logits [batch, classes, steps] -> minus the loss of each step if it is to be each class."""
_SHORTEST = 1e-3
"""Embeddings shorter than this are not brought to length 1: their direction is chance, and its slope has no bound."""
_LEAST_SQUARED_SINE = 1e-6  # the sine counts as no smaller: the square root has no finite slope at 0


@dataclass(frozen=True)
class Zones:
    """Which steps of a batch ask what of the scores: bool [batch, steps] each; steps in neither are free."""

    hit: Tensor  # one of these must be the word
    quiet: Tensor  # none of these may be any word


def zones(word_ends: Tensor, step_ends: Tensor, hit_frames: int, early_frames: int) -> Zones:
    """Find the zones of rows whose word ends at [batch] (NO_WORD: none) for steps that end at [batch, steps].

    A word whose hit zone has no step gets the nearest step as its zone.
    """
    end, at = word_ends[:, None], step_ends
    none = end == NO_WORD
    hit = _within(end, at, hit_frames) & ~none
    nearest = functional.one_hot((at - end).abs().argmin(dim=1), at.shape[1]).bool()
    hit = torch.where(hit.any(dim=1, keepdim=True) | none, hit, nearest)
    return Zones(hit, none | ((at < end - early_frames) & ~hit))


def has_hit_step(word_ends: Tensor, step_ends: Tensor, hit_frames: int) -> Tensor:
    """Tell whether any step [batch, steps] of a row lies where its word, which ends at [batch], is to be heard."""
    return _within(word_ends[:, None], step_ends, hit_frames).any(dim=1)


def _within(end: Tensor, at: Tensor, hit_frames: int) -> Tensor:
    return (at >= end) & (at <= end + hit_frames)


def draw_step(zone: Zones, generator: torch.Generator) -> Tensor:
    """Draw one step of each row, evenly from its hit zone, or from all steps of a row without a word: int64 [batch].

    Models that see whole windows get theirs alike (`objective.step_ends`). The step nearest to the word's end would
    teach one place only, which is not marked that exactly; the last step of a negative row would leave most unseen.
    """
    allowed = torch.where(zone.hit.any(dim=1, keepdim=True), zone.hit, zone.quiet)
    draws = torch.rand(allowed.shape, generator=generator, device=allowed.device)
    return draws.masked_fill(~allowed, -1.0).argmax(dim=1)


def class_weights(settings: LossConfig, labels: tuple[str, ...], windows: Tensor) -> Tensor | None:
    """Weigh each class, float32 [classes], by the class indices of all training windows [rows]; None: all alike.

    "balanced" is rows / (classes * rows of the class), as scikit-learn's compute_class_weight has it.
    Raises DataError when a class has no window to be balanced by.
    """
    if settings.class_weights == "none":
        return None
    if isinstance(settings.class_weights, dict):
        return torch.tensor([settings.class_weights.get(label, 1.0) for label in labels])
    counts = torch.bincount(windows.cpu(), minlength=len(labels))
    if not bool((counts > 0).all()):
        absent = labels[int(counts.argmin())]
        raise DataError(
            f"the training split has no window of {absent!r}, so that training.loss.class_weights cannot be balanced; "
            "add recordings of it or give the weights as numbers"
        )
    return (len(windows) / (len(labels) * counts.double())).float()


def row_shares(
    labels: Tensor, pooling: Literal["stream", "window"], classes: Tensor | None = None, rows: Tensor | None = None
) -> Tensor:
    """Compute what the loss of each row is multiplied with so that their sum is the batch's loss: float64 [batch].

    They follow from the class indices [batch] of the whole batch alone, so that its parts can be computed apart, one
    after the other or on several devices, and add up to the same loss and gradients.

    `classes` [classes] are factors of the loss of a step that is to be this class, and `rows` [batch] how many times
    each row counts as if it stood in the batch; all are above 0, and without them all count alike.

    With pooling "stream" words and other rows are averaged apart, so that each kind counts as much as the other however
    many rows it has. Weights of rows act inside a kind: its mean is over rows that stand there so many times. Weights
    of classes act across kinds: the sum of the kinds is divided by the mean weight of their rows, a kind being one row.
    So weights that are all equal change nothing, whatever they are, and only their ratios count.
    With "window" it is as in torch.nn.CrossEntropyLoss(weight): the sum is divided by that of the weights of the rows'
    own classes.
    """
    counts = torch.ones_like(labels, dtype=torch.float64) if rows is None else rows.double()
    own = counts if classes is None else counts * classes.double()[labels]
    if pooling == "window":
        return counts / own.sum()
    word = labels > 0
    of_kind = torch.where(word, counts[word].sum(), counts[~word].sum())
    kinds = word.any().double() + (~word).any().double()
    return counts / of_kind * (kinds / (own / of_kind).sum())


def row_losses(
    logits: Tensor,
    labels: Tensor,
    zone: Zones,
    chosen: Tensor | None,
    settings: LossConfig,
    classes: Tensor | None = None,
    step_scores: StepScores | None = None,
) -> Tensor:
    """Compute the loss of each row [batch], in nats, of logits [batch, classes, steps] and class indices [batch].

    `chosen` [batch] is the step of each row that pooling "window" looks at, as `draw_step` gives it. Each class's part
    of a step's loss, the smoothed ones included, is multiplied with its weight in `classes`, if there are any.
    `step_scores` are another package's, where the kind of loss is that.
    """
    if settings.pooling == "window":
        assert chosen is not None, "pooling 'window' needs a step of each row"
        logits = logits.gather(2, chosen[:, None, None].expand(-1, logits.shape[1], 1))
    scores = _step_scores(logits, settings) if step_scores is None else step_scores(logits)
    scores = scores if classes is None else scores * classes[:, None]
    if settings.pooling == "stream":
        return _stream_losses(scores, labels, zone, settings)
    scores = scores[:, :, 0]
    eps = settings.label_smoothing
    return -((1 - eps) * scores.gather(1, labels[:, None])[:, 0] + eps * scores.mean(dim=1))


def _stream_losses(scores: Tensor, labels: Tensor, zone: Zones, settings: LossConfig) -> Tensor:
    spread = scores.mean(dim=1)  # [batch, steps]: what smoothing adds, at every step
    eps = settings.label_smoothing
    word = labels > 0
    mine = scores[word].gather(1, labels[word][:, None, None].expand(-1, 1, scores.shape[2]))[:, 0]
    found = (1 - eps) * mine + eps * spread[word]
    early = (-scores[word][:, 0]).masked_fill(~zone.quiet[word], 0.0)
    missed = -best(found, zone.hit[word], settings.best_steps)
    missed = missed + settings.early_weight * worst(early, settings.worst_early_steps)
    wrong = -((1 - eps) * scores[~word][:, 0] + eps * spread[~word])
    alarms = worst(wrong, settings.worst_steps) + settings.all_steps_weight * wrong.mean(dim=1)
    return spread.new_zeros(len(labels)).index_put((word,), missed).index_put((~word,), alarms)


def step_scores_of(settings: LossConfig) -> StepScores | None:
    """Make what scores steps for a loss of another package; None for our own. WakewordError where that is broken."""
    if settings.kind != "plugin" or settings.plugin is None:
        return None
    plugin = settings.plugin.plugin
    scores_of: StepScores = plugin.make(settings.plugin.settings)
    return PluggedScores(plugin, scores_of)


class PluggedScores(nn.Module):
    """Scores of steps by another package; what it learns itself is trained beside the model."""

    def __init__(self, plugin: Plugin, scores_of: StepScores) -> None:
        super().__init__()
        self._plugin, self.scores_of = plugin, scores_of

    def forward(self, logits: Tensor) -> Tensor:
        """Score logits [batch, classes, steps] as `_step_scores` does; WakewordError where it cannot."""
        with self._plugin.blamed():
            scores = self.scores_of(logits)
        self._plugin.require(
            isinstance(scores, Tensor) and scores.shape == logits.shape,
            f"it gives {list(getattr(scores, 'shape', ()))} for logits {list(logits.shape)}, and not as many scores",
        )
        return scores


def _step_scores(logits: Tensor, settings: LossConfig) -> Tensor:
    """Minus the loss of each step if it is to be this class, [batch, classes, steps]: its log-probability, or focal.

    `label_smoothing` moves that much probability to the other classes (Szegedy et al. 2016). Focal loss takes each
    class's part of the smoothed sum down by that class's own (1 - p) ** gamma, as Keras's CategoricalFocalCrossentropy
    does: by that of the right class, smoothing would lose its effect the surer a model is. Its alpha is no weight to be
    averaged with: as in Lin et al. 2017 nothing is divided by it.
    """
    scores = torch.log_softmax(logits, dim=1)
    if settings.kind == "focal":
        # the power has no finite slope at 0, which is where a sure step is
        wrong = (-torch.expm1(scores)).clamp_min(torch.finfo(scores.dtype).eps)
        scores = wrong**settings.focal_gamma * scores
        if settings.focal_alpha is not None:
            factors = scores.new_full((scores.shape[1], 1), settings.focal_alpha)
            factors[0] = 1 - settings.focal_alpha
            scores = scores * factors
    return scores


def distances_to(targets: Tensor, logits: Tensor, temperature: float) -> Tensor:
    """Compute how far the logits of each row are from probabilities, both [batch, classes, steps]: [batch], in nats.

    The divergence (Kullback and Leibler) of the softened probabilities, averaged over the steps that have any, and
    times the square of the temperature, so that its slopes are as large at any (Hinton et al. 2015). Targets are of
    `teaching.scores.targets_of`: all 0 at steps about which no teacher says anything.
    """
    known = targets.sum(dim=1) > 0
    found = torch.log_softmax(logits / temperature, dim=1)
    apart = (torch.xlogy(targets, targets) - targets * found).sum(dim=1)
    return temperature**2 * apart.sum(dim=1) / known.sum(dim=1).clamp_min(1)


def best(values: Tensor, allowed: Tensor, count: int) -> Tensor:
    """Average the `count` largest allowed values of each row [batch, steps], or as many as there are: [batch]."""
    ranked = values.masked_fill(~allowed, -torch.inf).topk(min(count, values.shape[1]), dim=1).values
    taken = ranked.isfinite()
    return ranked.masked_fill(~taken, 0.0).sum(dim=1) / taken.sum(dim=1)


def worst(values: Tensor, count: int) -> Tensor:
    """Average the `count` largest values of each row [batch, steps], or as many as there are: [batch]."""
    return values.topk(min(count, values.shape[1]), dim=1).values.mean(dim=1)


class MetricLoss(nn.Module):
    """The configured loss of the embeddings of windows, with whatever it learns itself.

    Its parameters (ArcFace's centres) belong in the optimizer, undecayed, since only their directions count, and its
    state dict in the checkpoint; neither is any part of the model, which does without.

    An ensemble's members are judged each by its own embedding, and their losses are averaged, as in the classification
    loss: a common one would let a member rely on the others, who err alike then.
    """

    def __init__(self, settings: LossConfig, backbone: nn.Module, classes: int) -> None:
        """Make it for embeddings of a backbone; centres are drawn from torch's default generator, as weights are."""
        super().__init__()
        self.settings = settings
        members = getattr(backbone, "members", [backbone])
        self.members, size = len(members), members[0].classifier.weight[0].numel()
        self.centres = nn.Parameter(torch.randn(self.members, classes, size)) if settings.metric == "arcface" else None

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Compute the loss of embeddings [batch, members * d] in float32 and class indices [batch]."""
        members = embeddings.unflatten(1, (self.members, -1)).unbind(1)
        return torch.stack([self._of_member(index, member, labels) for index, member in enumerate(members)]).mean()

    def _of_member(self, index: int, embeddings: Tensor, labels: Tensor) -> Tensor:
        if self.centres is not None:
            return arcface_loss(embeddings, self.centres[index], labels, self.settings)
        return triplet_loss(embeddings, labels, self.settings)


def triplet_loss(embeddings: Tensor, labels: Tensor, settings: LossConfig) -> Tensor:
    """Compute the batch-hard triplet loss (Hermans et al. 2017) of embeddings [batch, d] of classes [batch].

    Every row of a word is an anchor; its distance p to the farthest other row of that word must be smaller, by the
    margin, than its distance n to the nearest row of anything else: mean of max(0, margin + p - n) over the anchors, or
    of log(1 + exp(p - n)) with a soft margin. A batch in which no word stands twice beside something else has loss 0.

    Rows of class 0 are never anchors and nobody's positives, only negatives: what is no wake word is not one thing,
    and to pull all other speech and noise into one place would spend the network on what nobody asks for.
    """
    with torch.no_grad():
        between = _all_distances(embeddings, settings)
        same = labels[:, None] == labels[None]
        itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        farthest = between.masked_fill(~same | itself, -torch.inf).max(dim=1)
        nearest = between.masked_fill(same, torch.inf).min(dim=1)
        anchors = (labels > 0) & farthest.values.isfinite() & nearest.values.isfinite()
    if not bool(anchors.any()):
        return 0 * embeddings.sum()  # a part of every gradient: other processes wait for their norms' in this one
    anchor = embeddings[anchors]
    gap = _distances(anchor, embeddings[farthest.indices[anchors]], settings)
    gap = gap - _distances(anchor, embeddings[nearest.indices[anchors]], settings)
    if settings.triplet_soft_margin:
        return functional.softplus(gap).mean()
    return (gap + settings.triplet_margin).clamp_min(0).mean()


def arcface_loss(embeddings: Tensor, centres: Tensor, labels: Tensor, settings: LossConfig) -> Tensor:
    """Compute the angular margin loss (Deng et al. 2019) of embeddings [batch, d] and centres [classes, d], in nats.

    Cross-entropy of the scaled cosines between embeddings and centres, the angle to the own class's centre taken
    larger by the margin. Past a half turn it goes on with a straight line, as the paper's code does, so that the loss
    keeps rising with the angle.

    Class 0 has a centre and the margin like every class: unlike a triplet, that does not pull its rows together; they
    only have to be nearer, by the margin, to their centre's side than to any word's.
    """
    cosines = _unit(embeddings) @ _unit(centres).T
    own = cosines.gather(1, labels[:, None])
    margin = settings.arcface_margin
    sines = (1 - own.square()).clamp_min(_LEAST_SQUARED_SINE).sqrt()
    turned = own * math.cos(margin) - sines * math.sin(margin)
    turned = torch.where(own > math.cos(math.pi - margin), turned, own - margin * math.sin(margin))
    return functional.cross_entropy(settings.arcface_scale * cosines.scatter(1, labels[:, None], turned), labels)


def _distances(x: Tensor, y: Tensor, settings: LossConfig) -> Tensor:
    if settings.triplet_distance == "euclidean":
        return torch.linalg.vector_norm(x - y, dim=-1)
    return 1 - (_unit(x) * _unit(y)).sum(dim=-1)


def _all_distances(x: Tensor, settings: LossConfig) -> Tensor:
    """Distances of all rows [batch, d] to all rows, [batch, batch], without their differences in memory."""
    if settings.triplet_distance == "euclidean":
        return torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    return 1 - _unit(x) @ _unit(x).T


def _unit(x: Tensor) -> Tensor:
    return functional.normalize(x, dim=-1, eps=_SHORTEST)
