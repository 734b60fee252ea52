"""The places of a batch: which windows are of one kind, and how many places each kind has."""

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from wakeword_core.config import NEGATIVE_LABEL, ROLES
from wakeword_core.config.training import SamplingConfig
from wakeword_core.errors import DataError

if TYPE_CHECKING:
    from wakeword_core.features.store import WindowSet

log = logging.getLogger(__name__)

_EASY_ROLES = ("negative", "background", "noise")
_HARD = "_hard_negative"


@dataclass(frozen=True)
class Pool:
    """Windows of one kind, and how many of them each batch holds."""

    name: str
    rows: Tensor  # int64 [n] on the CPU
    per_batch: int


def windows_by_kind(windows: "WindowSet", labels: tuple[str, ...]) -> dict[str, Tensor]:
    """Find the rows of each wake word's positives, of negatives and of hard negatives, of these at least one."""
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


def pools_of(kinds: dict[str, Tensor], synthetic: Tensor, sampling: SamplingConfig) -> list[Pool]:
    """Return those that have windows, with their places in a batch; `synthetic` tells which windows are, [windows]."""
    share_positive, share_easy, share_hard = sampling.mix
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
    counts = whole_shares(list(wanted.values()), sampling.batch_size)
    pools = [Pool(name, kinds[name], count) for name, count in zip(wanted, counts, strict=True)]
    share = sampling.real_share
    if share is None:
        return pools
    return [part for pool in pools for part in (_by_origin(pool, synthetic, share) if pool.name in words else [pool])]


def _by_origin(pool: Pool, synthetic: Tensor, real_share: float) -> list[Pool]:
    """A wake word's pool as one of real and one of synthetic windows, where it has both and both have a share."""
    made = synthetic[pool.rows]
    real, other = (replace(pool, rows=pool.rows[chosen]) for chosen in (~made, made))
    if not len(real.rows) or not len(other.rows):
        return [pool]
    if real_share in (0, 1):
        return [real if real_share else other]
    if pool.per_batch < 2:
        raise DataError(
            f"a batch has room for one window of {pool.name!r}, and training.sampling.real_share asks for real and "
            "synthetic ones; raise training.sampling.batch_size, or set real_share to null"
        )
    places = min(max(round(pool.per_batch * real_share), 1), pool.per_batch - 1)
    log.info("of %r, %d of %d windows of a batch are real", pool.name, places, pool.per_batch)
    other = replace(other, name=f"{pool.name}, synthetic", per_batch=pool.per_batch - places)
    return [replace(real, per_batch=places), other]


def whole_shares(shares: list[float], total: int) -> list[int]:
    """Cut `total` into whole numbers of at least 1 in proportion to `shares` (largest remainders)."""
    if total < len(shares):
        raise DataError(
            f"training.sampling.batch_size is {total}, but a batch holds {len(shares)} kinds of windows; raise it"
        )
    exact = [share / sum(shares) * total for share in shares]
    counts = [max(int(wanted), 1) for wanted in exact]
    while sum(counts) != total:
        step = 1 if sum(counts) < total else -1
        gaps = [(wanted - count) * step for wanted, count in zip(exact, counts, strict=True)]
        open_to_change = [i for i, count in enumerate(counts) if step > 0 or count > 1]
        counts[max(open_to_change, key=gaps.__getitem__)] += step
    return counts
