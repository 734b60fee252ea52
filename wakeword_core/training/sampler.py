"""Which windows make up each batch: fixed shares of positives, negatives and hard negatives, or what there is.

In fixed shares, rows of a kind are drawn alike, or by how difficult each was for the model; and clean and augmented
views as they come, or these in a fixed share too.
"""

import logging
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from wakeword_core.config import NEGATIVE_LABEL, ROLES, TrainingConfig
from wakeword_core.errors import DataError
from wakeword_core.files import digest
from wakeword_core.training.difficulty import drawn_by_weight

if TYPE_CHECKING:
    from wakeword_core.features.store import WindowSet

log = logging.getLogger(__name__)

_EASY_ROLES = ("negative", "background", "noise")
_NOISE_ROLES = ("noise", "background")
_HARD = "_hard_negative"


@dataclass(frozen=True)
class Pool:
    """Windows of one kind, and how many of them each batch holds."""

    name: str
    rows: Tensor
    """int64 [n] on the CPU"""
    per_batch: int

    def views(self, clean: Tensor) -> tuple["Pool", "Pool"]:
        """Its clean rows, as `clean` [windows] tells them, and its augmented ones, as pools of their own."""
        kinds = clean[self.rows]
        return replace(self, rows=self.rows[kinds]), replace(self, rows=self.rows[~kinds])


class Sampler:
    """Batches as rows of a window set; epoch `e` of seed `s` is always the same."""

    def __init__(self, windows: "WindowSet", labels: tuple[str, ...], config: TrainingConfig, seed: int) -> None:
        self.seed = seed
        kinds = _kinds(windows, labels)
        everything = Pool("everything", torch.arange(len(windows)), config.batch_size)
        self.pools = [everything] if config.sampler == "plain" else _pools(kinds, config)
        self._floor = config.difficulty_floor
        self._clean = windows.views.cpu() == 0
        self._clean_share = config.clean_share
        self.steps = config.steps_per_epoch or self._once_through(config)

    def epoch(self, epoch: int, difficulty: Tensor | None = None) -> Tensor:
        """Rows int64 [steps, batch_size] of the 0-based epoch; no window repeats before all of its kind were used.

        With their `difficulty` [rows], from 0 to 1, windows come in proportion to it, and with 0 as often as the
        floor says; those that come more than once are spread over the epoch. All this is so among the clean views and
        among the augmented ones where these have fixed shares.
        """
        generator = torch.Generator().manual_seed(derived_seed(self.seed, epoch, "batches"))
        weights = None if difficulty is None else self._floor + (1 - self._floor) * difficulty.double()
        drawn = [self._drawn(pool, weights, generator).view(self.steps, pool.per_batch) for pool in self.pools]
        return torch.cat(drawn, dim=1)

    def _drawn(self, pool: Pool, weights: Tensor | None, generator: torch.Generator) -> Tensor:
        """Rows of a pool for the steps of an epoch, one after the other: [steps * per_batch]."""
        count = self.steps * pool.per_batch
        if self._clean_share is None:
            return _rows(pool, weights, count, generator)
        clean, augmented = pool.views(self._clean)
        of_clean = round(count * self._clean_share)
        if not len(clean.rows) or not len(augmented.rows):  # of a kind of which there is one sort of views only
            return _rows(pool, weights, count, generator)
        is_clean = torch.zeros(count, dtype=torch.bool)
        is_clean[torch.randperm(count, generator=generator)[:of_clean]] = True
        drawn = torch.empty(count, dtype=torch.int64)
        drawn[is_clean] = _rows(clean, weights, of_clean, generator)
        drawn[~is_clean] = _rows(augmented, weights, count - of_clean, generator)
        return drawn

    def _once_through(self, config: TrainingConfig) -> int:
        """Steps in which all negatives are seen, where they have a share of their own."""
        pools = [pool for pool in self.pools if pool.name == NEGATIVE_LABEL] or self.pools[-1:]
        return min(math.ceil(len(pools[0].rows) / pools[0].per_batch), config.max_steps_per_epoch)


class NoiseSampler:
    """Rows of noise to mix in, drawn with replacement; none where a window set has none.

    Where a training draws nothing but clean views, these are clean ones too.
    """

    def __init__(self, windows: "WindowSet", seed: int, clean_share: float | None = None) -> None:
        noisy = torch.isin(windows.roles.cpu(), torch.tensor([ROLES.index(role) for role in _NOISE_ROLES]))
        if clean_share == 1:
            noisy &= windows.views.cpu() == 0
        self.rows = torch.nonzero(noisy).flatten()
        self.seed = seed

    def epoch(self, epoch: int, steps: int, batch: int) -> Tensor:
        """Rows int64 [steps, batch] of the 0-based epoch; empty when there is no noise."""
        if not len(self.rows):
            return torch.empty(0, dtype=torch.int64)
        generator = torch.Generator().manual_seed(derived_seed(self.seed, epoch, "noise"))
        return self.rows[torch.randint(len(self.rows), (steps, batch), generator=generator)]


def derived_seed(seed: int, epoch: int, purpose: str) -> int:
    """A 63-bit seed for one purpose in one epoch."""
    return int(digest([seed, epoch, purpose])[:16], 16) >> 1


def _rows(pool: Pool, weights: Tensor | None, count: int, generator: torch.Generator) -> Tensor:
    """So many rows of a pool, by their weights [windows] if there are any, else without early repeats."""
    if weights is not None:
        return pool.rows[drawn_by_weight(weights[pool.rows], count, generator)]
    rounds = math.ceil(count / len(pool.rows))
    order = [torch.randperm(len(pool.rows), generator=generator) for _ in range(rounds)]
    return pool.rows[torch.cat(order)[:count]] if order else pool.rows[:0]


def _kinds(windows: "WindowSet", labels: tuple[str, ...]) -> dict[str, Tensor]:
    """Rows of each wake word's positives, of negatives and of hard negatives, of these at least one."""
    roles, classes = windows.roles.cpu(), windows.labels.cpu()
    positive = roles == ROLES.index("positive")
    easy = torch.isin(roles, torch.tensor([ROLES.index(role) for role in _EASY_ROLES]))
    hard = roles == ROLES.index("hard_negative")
    words = {label: torch.nonzero(positive & (classes == index)).flatten() for index, label in enumerate(labels[1:], 1)}
    for label, rows in words.items():
        if len(rows) == 0:
            raise DataError(f"the training split has no window of {label!r}; add recordings of it")
    if not bool((easy | hard).any()):
        raise DataError("the training split has no window of negatives; add recordings of other speech or sounds")
    return words | {NEGATIVE_LABEL: torch.nonzero(easy).flatten(), _HARD: torch.nonzero(hard).flatten()}


def _pools(kinds: dict[str, Tensor], config: TrainingConfig) -> list[Pool]:
    """Those that have windows, with their parts of a batch."""
    share_positive, share_easy, share_hard = config.mix
    easy, hard = len(kinds[NEGATIVE_LABEL]), len(kinds[_HARD])
    if not hard and share_hard > 0:
        log.info("there are no hard negatives; their share of each batch goes to negatives")
        share_easy, share_hard = share_easy + share_hard, 0.0
    if not easy and (share_easy > 0 or share_hard == 0):
        log.info("there are no negatives but hard ones; the negatives' share of each batch goes to those")
        share_easy, share_hard = 0.0, share_easy + share_hard
    words = [name for name in kinds if name not in (NEGATIVE_LABEL, _HARD)]
    shares = dict.fromkeys(words, share_positive / len(words)) | {NEGATIVE_LABEL: share_easy, _HARD: share_hard}
    wanted = {name: share for name, share in shares.items() if share > 0}
    counts = _whole_shares(list(wanted.values()), config.batch_size)
    return [Pool(name, kinds[name], count) for name, count in zip(wanted, counts, strict=True)]


def _whole_shares(shares: list[float], total: int) -> list[int]:
    """`total` cut into whole numbers of at least 1 in proportion to `shares` (largest remainders)."""
    if total < len(shares):
        raise DataError(f"training.batch_size is {total}, but a batch holds {len(shares)} kinds of windows; raise it")
    exact = [share / sum(shares) * total for share in shares]
    counts = [max(int(one), 1) for one in exact]
    while sum(counts) != total:
        step = 1 if sum(counts) < total else -1
        gaps = [(one - count) * step for one, count in zip(exact, counts, strict=True)]
        open_to_change = [i for i, count in enumerate(counts) if step > 0 or count > 1]
        counts[max(open_to_change, key=gaps.__getitem__)] += step
    return counts
