"""The learning rate as a pure function of the optimiser step, so that nothing needs to be restored."""

import math

from wakeword_core.config import TrainingConfig


def learning_rate(step: int, total_steps: int, config: TrainingConfig) -> float:
    """Rate of the 0-based `step`: linear warm-up to the peak, then a cosine down to `final_lr_fraction` of it."""
    warmup = round(config.warmup_fraction * total_steps)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(total_steps - 1 - warmup, 1)
    cosine = 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))
    return config.learning_rate * (config.final_lr_fraction + (1.0 - config.final_lr_fraction) * cosine)
