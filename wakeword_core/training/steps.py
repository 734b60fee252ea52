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


def row_logits(
    backbone: nn.Module, x: Tensor, word_ends: Tensor, frames: int, hit_frames: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Logits [batch, classes, steps] of rows [batch, n_mels, frames], and the last frame of each step [batch, steps].

    A backbone without `dense` gives one step: of the window of `frames` frames that ends up to `hit_frames` after the
    word, or anywhere in a row without a word (`word_ends` [batch] is NO_WORD). An ensemble in training gives the batch
    once a member.
    """
    if hasattr(backbone, "dense"):
        dense = cast(DenseBackbone, backbone)
        steps = dense.output_frames(x.shape[2]).to(x.device)
        logits = dense.dense(x)
        return logits, steps.expand(len(logits), -1)
    last = x.shape[2] - 1
    share = torch.rand(len(x), generator=generator, device=x.device)
    low = torch.where(word_ends == NO_WORD, frames - 1, word_ends.clamp(frames - 1, last))
    high = torch.where(word_ends == NO_WORD, last, (word_ends + hit_frames).clamp(frames - 1, last))
    ends = low + (share * (high - low + 1)).long().minimum(high - low)
    return cast(Tensor, backbone(windows_ending(x, ends, frames)))[:, :, None], ends[:, None]


def windows_ending(x: Tensor, ends: Tensor, frames: int) -> Tensor:
    """The `frames` frames of each row of x [batch, n_mels, any] that end with frame `ends` [batch].

    What would lie before a row is 0, which is the mean of the training data where x is normalised.
    """
    places = (ends[:, None] - torch.arange(frames - 1, -1, -1, device=x.device))[:, None]
    return x.gather(2, places.clamp_min(0).expand(-1, x.shape[1], -1)).masked_fill(places < 0, 0.0)
