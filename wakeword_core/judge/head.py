"""The trained part of the judge: a small network over steps of embeddings, and how it is trained."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from wakeword_core.config.judge import JudgeHeadConfig
from wakeword_core.errors import DataError
from wakeword_core.export.openwakeword import NUMBERS
from wakeword_core.judge.rows import EmbeddedRows
from wakeword_core.progress import Progress, silent
from wakeword_core.seeds import seed_of

_KERNEL = 5
LOST_STEPS = 2 * (_KERNEL - 1)
STEPS_SEEN = LOST_STEPS + 1
"""Embeddings that a decision rests on."""
_POSITIVES, _NEGATIVES = 48, 144
"""Rows of a step of training."""
_HEARD = (-1.0, 5.0)
"""Steps around the end of the word within which the head has to tell it, once."""
_SILENT = (-5.5, 9.0)
"""Steps around the end of the word beyond which the head has to be silent."""
_SILENT_WEIGHT, _EVERY_STEP_WEIGHT = 0.3, 0.5
_HARDER = 5
"""How often the negatives that the head is most wrong about are looked for; they are then drawn more often."""
_EVENLY = 0.15
"""Share of negatives that are drawn alike, however wrong the head is about them."""
_BLOCK_ROWS = 2_000
_NOWHERE = -1e9
_LEAST_DEVIATION = 1e-3
"""Of a number of the embedding, which may be the same in all of a few rows."""


class JudgeHead(nn.Module):
    """Numbers of steps [batch, steps, numbers] -> log-odds of each word [batch, steps - 8, words], the first at step 8.

    Windows of nine steps [batch, places, 9, numbers], each encoded by itself, give [batch, places, words].
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, words: int, settings: JudgeHeadConfig, numbers: int = NUMBERS) -> None:
        super().__init__()
        channels = settings.channels
        self.register_buffer("mean", torch.zeros(numbers))
        self.register_buffer("deviation", torch.ones(numbers))
        self.layers = nn.Sequential(
            *_layer(numbers, channels, 1),
            *_layer(channels, channels, _KERNEL),
            nn.Dropout(settings.dropout),
            *_layer(channels, channels, _KERNEL),
            nn.Dropout(settings.dropout),
            nn.Conv1d(channels, words, 1),
        )
        self._hidden = nn.Dropout1d(settings.dropout / 2)
        self._noise = settings.noise

    def forward(self, embeddings: Tensor) -> Tensor:
        """Map embeddings of any float type to log-odds; in training, noise is added and whole numbers are left out."""
        if embeddings.ndim == 4:
            return self(embeddings.flatten(0, 1)).unflatten(0, embeddings.shape[:2])[:, :, 0]
        x = (embeddings.float() - self.mean) / self.deviation
        if self.training:
            x = x + torch.randn_like(x) * (self._noise * torch.rand(len(x), 1, 1))
        log_odds: Tensor = self.layers(self._hidden(x.transpose(1, 2)))
        return log_odds.transpose(1, 2)


class JudgeHeads(nn.Module):
    """Heads that were trained apart, as one: the mean of their log-odds, which depends less on chance than any of them.

    Shapes are those of `JudgeHead`.
    """

    heads: Sequence[JudgeHead]

    def __init__(self, heads: Sequence[JudgeHead]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(heads)  # type: ignore[assignment]

    def forward(self, embeddings: Tensor) -> Tensor:
        """Map embeddings to the mean of the heads' log-odds."""
        return torch.stack([head(embeddings) for head in self.heads]).mean(0)


def load_heads(path: Path, words: int, settings: JudgeHeadConfig) -> JudgeHeads:
    """Return the heads for so many words whose weights a safetensors file holds, in eval mode."""
    from safetensors.torch import load_file

    heads = JudgeHeads([JudgeHead(words, settings) for _ in range(settings.count)])
    heads.load_state_dict(load_file(path))
    return heads.eval()


def _layer(inputs: int, outputs: int, kernel: int) -> tuple[nn.Module, ...]:
    return nn.Conv1d(inputs, outputs, kernel), nn.BatchNorm1d(outputs), nn.ReLU()


@dataclass(frozen=True)
class Places:
    """Where the head has to tell each positive, and where it must not: [positives, places]."""

    heard: Tensor
    silent: Tensor

    @classmethod
    def of(cls, rows: EmbeddedRows) -> "Places":
        """Find them by where the words of rows end."""
        answers = torch.arange(LOST_STEPS, rows.embeddings.shape[1]) if rows.places is None else rows.places
        after = answers[None] - rows.word_steps[:, None]
        return cls((after >= _HEARD[0]) & (after <= _HEARD[1]), (after < _SILENT[0]) | (after > _SILENT[1]))

    def rows_to_learn(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rows that hold the end of a word, and those without one; DataError where there are none."""
        positives = torch.nonzero((labels > 0) & self.heard.any(1)).flatten()
        negatives = torch.nonzero(labels == 0).flatten()
        if not len(positives) or not len(negatives):
            raise DataError("no training row holds the end of a wake word: make features.context.frames larger")
        return positives, negatives


def train_heads(
    rows: EmbeddedRows, words: int, settings: JudgeHeadConfig, seed: int, progress: Progress = silent
) -> tuple[JudgeHeads, dict[str, Any]]:
    """Train `settings.count` heads for so many words; returns them in eval mode, and figures in their mean.

    The same rows and seed give the same weights. DataError where no row holds the end of a word.
    """
    heads, found = [], []
    for number in range(settings.count):
        head, figures = train_head(rows, words, settings, seed_of(seed, number), _part_of(progress, number, settings))
        heads.append(head)
        found.append(figures)
    return JudgeHeads(heads).eval(), {name: fmean(figures[name] for figures in found) for name in found[0]}


def _part_of(progress: Progress, number: int, settings: JudgeHeadConfig) -> Progress:
    def told(what: str, done: int, _: int) -> None:
        progress(what, number * settings.steps + done, settings.count * settings.steps)

    return told


def train_head(
    rows: EmbeddedRows, words: int, settings: JudgeHeadConfig, seed: int, progress: Progress = silent
) -> tuple[JudgeHead, dict[str, Any]]:
    """Train one head; as `train_heads`, which makes seeds of which no two trainings share one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _trained(rows, words, settings, progress)


def _trained(
    rows: EmbeddedRows, words: int, settings: JudgeHeadConfig, progress: Progress
) -> tuple[JudgeHead, dict[str, Any]]:
    places = Places.of(rows)
    positives, negatives = places.rows_to_learn(rows.labels)
    head = JudgeHead(words, settings, rows.embeddings.shape[-1])
    others = rows.embeddings[negatives].float()
    all_but_numbers = tuple(range(others.ndim - 1))
    head.mean.copy_(others.mean(all_but_numbers))
    head.deviation.copy_(others.std(all_but_numbers).clamp_min(_LEAST_DEVIATION))
    optimizer = torch.optim.AdamW(head.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, total_steps=settings.steps)
    chances = torch.ones(len(negatives))
    turns = in_turn(positives, _POSITIVES)
    look = max(1, settings.steps // (_HARDER + 1))
    missed = wrong = 0.0
    for step in range(settings.steps):
        chosen = next(turns)
        hard = negatives[torch.multinomial(chances, _NEGATIVES, replacement=True)]
        head.train()
        odds = head(torch.cat([rows.embeddings[chosen], rows.embeddings[hard]]))
        heard, quiet = places.heard[chosen], places.silent[chosen]
        on_words = loss_of_words(odds[: len(chosen)], rows.labels[chosen] - 1, heard, quiet)
        on_others = loss_of_others(odds[len(chosen) :])
        optimizer.zero_grad()
        (on_words + on_others).backward()
        optimizer.step()
        schedule.step()
        missed, wrong = float(on_words.detach()), float(on_others.detach())
        if step % look == look - 1:
            chances = chances_of(head, rows.embeddings[negatives])
            progress("train the judge", step + 1, settings.steps)
    head.eval()
    peaks = loudest(head, rows.embeddings[negatives])
    figures = {
        "rows_of_words": len(positives),
        "rows_of_others": len(negatives),
        "loss_of_words": missed,
        "loss_of_others": wrong,
        "others_taken_for_words": float((peaks > 0).float().mean()),
    }
    return head, figures


def chances_of(head: JudgeHead | JudgeHeads, embeddings: Tensor) -> Tensor:
    """Return how often each row without a word is to be drawn [rows]: the more, the more it is taken for one."""
    mistaken = torch.sigmoid(loudest(head.eval(), embeddings))
    return _EVENLY / len(mistaken) + (1 - _EVENLY) * mistaken / mistaken.sum()


@torch.inference_mode()
def loudest(head: JudgeHead | JudgeHeads, embeddings: Tensor) -> Tensor:
    """Return the highest log-odds of any word in each row: [rows]."""
    return torch.cat([head(block).amax((1, 2)) for block in embeddings.split(_BLOCK_ROWS)])


def in_turn(rows: Tensor, count: int) -> Iterator[Tensor]:
    """Yield `count` rows at a time without end: each of them once before any comes again."""
    waiting = rows[:0]
    while True:
        while len(waiting) < count:
            waiting = torch.cat([waiting, rows[torch.randperm(len(rows))]])
        yield waiting[:count]
        waiting = waiting[count:]


def loss_of_words(odds: Tensor, words: Tensor, heard: Tensor, silent: Tensor) -> Tensor:
    """The loss of rows [rows, places, words] of which each holds one of the words: told once, and where it ends."""
    own = functional.one_hot(words, odds.shape[2]).bool()[:, None]
    of_word = odds.masked_fill(~own, _NOWHERE).amax(2)
    told = of_word.masked_fill(~heard, _NOWHERE).logsumexp(1)
    too_soon_or_late = of_word.masked_fill(~silent, _NOWHERE).amax(1)
    of_others = odds.masked_fill(own, _NOWHERE).amax((1, 2))
    losses = functional.softplus(-told) + _SILENT_WEIGHT * functional.softplus(too_soon_or_late)
    return (losses + functional.softplus(of_others)).mean()


def loss_of_others(odds: Tensor) -> Tensor:
    """The loss of rows [rows, places, words] without a word, most of all where each is loudest."""
    return functional.softplus(odds.amax(1)).mean() + _EVERY_STEP_WEIGHT * functional.softplus(odds).mean()
