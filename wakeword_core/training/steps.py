"""Scores of training rows: at every step of them, or, for models that see whole windows only, of one window of each."""

from typing import Protocol, cast

import torch
from torch import Tensor, nn

from wakeword_core.features.store import NO_WORD


class DenseBackbone(Protocol):
    """A backbone that scores every window of a stretch at once."""

    def dense(self, x: Tensor) -> Tensor:
        """[batch, n_mels, frames] -> logits [batch, classes, steps], in training of each member of an ensemble."""
        ...

    def output_frames(self, frames: int) -> Tensor:
        """Last frame of each step: int64 [steps]."""
        ...


def members(backbone: nn.Module) -> int:
    """How often `row_logits` gives each row: once a member by ensembles in training, otherwise once."""
    return len(getattr(backbone, "members", [None])) if backbone.training else 1


def step_ends(
    backbone: nn.Module, word_ends: Tensor, row_frames: int, frames: int, hit_frames: int, generator: torch.Generator
) -> Tensor:
    """The last frame of each step that rows of `row_frames` are scored at, int64 [batch, steps].

    A backbone without `dense` gives one step: of the window of `frames` frames that ends up to `hit_frames` after the
    word, or anywhere in a row without a word (`word_ends` [batch] is NO_WORD).
    """
    if hasattr(backbone, "dense"):
        steps = cast(DenseBackbone, backbone).output_frames(row_frames)
        return steps.to(word_ends.device).expand(len(word_ends), -1)
    last = row_frames - 1
    share = torch.rand(len(word_ends), generator=generator, device=word_ends.device)
    low = torch.where(word_ends == NO_WORD, frames - 1, word_ends.clamp(frames - 1, last))
    high = torch.where(word_ends == NO_WORD, last, (word_ends + hit_frames).clamp(frames - 1, last))
    return (low + (share * (high - low + 1)).long().minimum(high - low))[:, None]


def row_logits(backbone: nn.Module, x: Tensor, ends: Tensor, frames: int) -> Tensor:
    """Logits [members * batch, classes, steps] of rows [batch, n_mels, any] at the steps that end at [batch, steps].

    An ensemble in training gives the batch once a member.
    """
    if hasattr(backbone, "dense"):
        return cast(DenseBackbone, backbone).dense(x)
    return cast(Tensor, backbone(windows_ending(x, ends[:, 0], frames)))[:, :, None]


def windows_ending(x: Tensor, ends: Tensor, frames: int) -> Tensor:
    """The `frames` frames of each row of x [batch, n_mels, any] that end with frame `ends` [batch].

    What would lie before a row is 0, which is the mean of the training data where x is normalised.
    """
    places = (ends[:, None] - torch.arange(frames - 1, -1, -1, device=x.device))[:, None]
    return x.gather(2, places.clamp_min(0).expand(-1, x.shape[1], -1)).masked_fill(places < 0, 0.0)
