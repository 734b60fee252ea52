"""A whole batch with all that is random about it, so that it can be computed in parts, in turn or on several devices.

Only dropout is drawn later, for each part by itself, and batch norms go by the part that they see.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from wakeword_core.config import ROLES, Config
from wakeword_core.training.augment import BandWarp
from wakeword_core.training.losses import Zones

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
class Asked:
    """What scores are held against; of an ensemble in training all rows of one member after those of the other."""

    labels: Tensor
    """class indices [members * batch]"""
    zone: Zones
    places: Tensor | None
    """the step that is looked at by itself, [members * batch]; None: the loss looks at none so"""
    shares: Tensor
    """[members * batch], what the loss of each row is multiplied with"""

    def of(self, rows: Tensor) -> "Asked":
        """Of the rows at these places."""
        places = None if self.places is None else self.places[rows]
        return Asked(self.labels[rows], Zones(self.zone.hit[rows], self.zone.quiet[rows]), places, self.shares[rows])


@dataclass(frozen=True)
class Batch:
    """Rows as the network sees them, and what is asked of their scores."""

    x: Tensor
    """[batch, n_mels, frames], augmented, normalised and masked"""
    labels: Tensor
    """class indices [batch]"""
    step_ends: Tensor
    """last frame of each step that is scored, [batch, steps]"""
    asked: tuple[Asked, ...]
    """of rows that are mixed with others first what is asked of themselves, then what of those"""
    share: float = 1.0
    """what this is of the whole batch"""

    def part(self, rows: slice) -> "Batch":
        """Some of the rows. The losses of parts that make up a batch add up to the batch's."""
        labels = self.labels[rows]
        places = torch.arange(len(self.asked[0].labels), device=labels.device).view(-1, len(self.labels))
        asked = tuple(one.of(places[:, rows].flatten()) for one in self.asked)
        return Batch(self.x[rows], labels, self.step_ends[rows], asked, self.share * len(labels) / len(self.labels))
