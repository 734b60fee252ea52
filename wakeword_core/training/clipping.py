"""Gradients that are too large are scaled down: to a given norm, or to a multiple of what is usual."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from wakeword_core.config import TrainingConfig

USUAL_STEPS = 100
"""The usual norm is the median of so many steps before."""


class Clipper:
    """Clips gradients, and remembers the norms of the last steps where the limit follows from them."""

    def __init__(self, config: TrainingConfig, device: torch.device | str) -> None:
        self._fixed, self._factor = config.clip_norm, config.adaptive_clip
        self.norms = torch.zeros(0, device=device)
        """of the last steps, at most USUAL_STEPS: what is to be restored"""

    def __call__(self, parameters: Iterable[nn.Parameter]) -> Tensor:
        """Scale gradients down to the limit; their norm before that, a scalar on the device.

        The limit is `clip_norm`, and with `adaptive_clip` that many times the median norm, where that is lower.
        """
        gradients = [one.grad for one in parameters if one.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        limit = torch.as_tensor(self._fixed, device=norm.device)
        if self._factor > 0:
            if len(self.norms):
                limit = torch.minimum(limit, self._factor * self.norms.median())
            # of a broken step nothing is learned about what is usual
            seen = torch.where(norm.isfinite(), norm, limit)
            self.norms = torch.cat([self.norms[1 - USUAL_STEPS :], seen[None]])
        scale = (limit / (norm + torch.finfo(norm.dtype).tiny)).clamp(max=1.0)
        torch._foreach_mul_(gradients, scale)
        return norm
