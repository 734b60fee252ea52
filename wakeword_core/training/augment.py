"""SpecAugment (Park et al. 2019) for whole batches on the device."""

import torch
from torch import Tensor

from wakeword_core.config import SpecAugmentConfig


def spec_augment(x: Tensor, config: SpecAugmentConfig, generator: torch.Generator) -> Tensor:
    """Mask stretches of time and groups of bands of x [batch, n_mels, frames], each window its own.

    `x` must be normalised: masks are filled with zero, the mean of the training data. Widths are uniform from 0 to the
    configured longest, places are uniform. `generator` must be on the device of `x`; `x` itself is not changed.
    """
    batch, n_mels, frames = x.shape
    in_time = _masked(batch, frames, config.time_masks, config.time_frames, generator)
    in_mel = _masked(batch, n_mels, config.mel_masks, config.mel_bands, generator)
    return x.masked_fill(in_time[:, None, :] | in_mel[:, :, None], 0.0)


def _masked(batch: int, size: int, masks: int, longest: int, generator: torch.Generator) -> Tensor:
    """Which of `size` places are masked: bool [batch, size]."""
    draws = torch.rand(2, batch, masks, 1, generator=generator, device=generator.device)
    width = (draws[0] * (min(longest, size) + 1)).floor()
    start = (draws[1] * (size - width + 1)).floor()
    place = torch.arange(size, device=generator.device)
    return ((place >= start) & (place < start + width)).any(dim=1)
