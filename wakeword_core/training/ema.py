"""Exponential moving average of a model's weights."""

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

from wakeword_core.config import TrainingConfig

Model = TypeVar("Model", bound=nn.Module)


def ramped_decay(decay: float, step: int) -> float:
    """Decay of the 0-based `step`: small at first, so that the random initial weights are soon forgotten."""
    return min(decay, (1 + step) / (10 + step))


def decay_of(step: int, total_steps: int, config: TrainingConfig) -> float:
    """Decay of the 0-based `step`: `ramped_decay`, rising to `ema_final_decay` over the last `ema_final_fraction`.

    The ramp holds until the rise begins, which ends at the final decay however short the training is.
    """
    begin = total_steps * (1.0 - config.ema_final_fraction)
    decay = ramped_decay(config.ema_decay, min(step, int(begin)) if config.ema_final_decay is not None else step)
    if config.ema_final_decay is not None and step > begin:
        share = (step - begin) / max(total_steps - 1 - begin, 1)
        decay += (config.ema_final_decay - decay) * min(share, 1.0)
    return decay


def averaged_copy(model: Model) -> Model:
    """A frozen copy of the model in eval mode, to be moved by `update`."""
    copied = copy.deepcopy(model).eval()
    return copied.requires_grad_(False)


@torch.no_grad()
def update(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Move `average` towards `model`: average = decay * average + (1 - decay) * model.

    The running statistics of batch norms are averaged like the weights they belong to; counters are copied.
    """
    target = model.state_dict()
    pairs = [(mine, target[name]) for name, mine in average.state_dict().items()]
    floating: list[Tensor] = [mine for mine, _ in pairs if mine.is_floating_point()]
    torch._foreach_lerp_(floating, [other for mine, other in pairs if mine.is_floating_point()], 1.0 - decay)
    for mine, other in pairs:
        if not mine.is_floating_point():
            mine.copy_(other)
