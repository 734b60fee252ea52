"""The learning rate as a pure function of the step and of past scores, so that nothing needs to be restored."""

import math
from collections.abc import Callable, Sequence

from wakeword_core.config import TrainingConfig

Scores = Sequence[tuple[float, ...]]
ONE_CYCLE_START = 25.0
ONE_CYCLE_END = 1e4
"""The peak over the first rate of a cycle, and the first rate over the last (Smith and Topin 2018)."""


def learning_rate(step: int, total_steps: int, config: TrainingConfig, scores: Scores = ()) -> float:
    """Rate of the 0-based `step`: a warm-up to the peak, then what `config.schedule` says.

    The warm-up is linear, of a one-cycle schedule a cosine, over `warmup_fraction` of the steps. `scores` are those of
    the epochs so far, of which `plateau` makes its drops.
    """
    if config.schedule == "one_cycle":
        return config.learning_rate * _one_cycle(step, total_steps, config.warmup_fraction)
    warmup = round(config.warmup_fraction * total_steps)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    progress = min((step - warmup) / max(total_steps - 1 - warmup, 1), 1.0)
    if config.schedule == "plateau":
        return config.learning_rate * config.drop_factor ** plateau_drops(scores, config.plateau_patience)
    return config.learning_rate * _AFTER_WARMUP[config.schedule](progress, config)


def plateau_drops(scores: Scores, patience: int) -> int:
    """How often `patience` epochs in a row had no better score than the best before them, since the last drop."""
    drops = waited = 0
    best: tuple[float, ...] | None = None
    for score in scores:
        if best is None or score > best:
            best, waited = score, 0
            continue
        waited += 1
        if waited >= patience:
            drops, waited = drops + 1, 0
    return drops


def _cosine(progress: float, config: TrainingConfig) -> float:
    return _between(1.0, config.final_lr_fraction, progress)


def _step(progress: float, config: TrainingConfig) -> float:
    return config.drop_factor ** sum(progress >= place for place in config.drop_at)


def _constant(progress: float, config: TrainingConfig) -> float:
    return 1.0


_AFTER_WARMUP: dict[str, Callable[[float, TrainingConfig], float]] = {
    "cosine": _cosine,
    "step": _step,
    "constant": _constant,
}


def _one_cycle(step: int, total_steps: int, rise: float) -> float:
    """As torch's OneCycleLR: the peak is at step `rise * total_steps - 1`, the end at the last."""
    peak, last = rise * total_steps - 1, total_steps - 1
    if step < peak:
        return _between(1 / ONE_CYCLE_START, 1.0, step / peak)
    return _between(1.0, 1 / (ONE_CYCLE_START * ONE_CYCLE_END), min((step - peak) / max(last - peak, 1), 1.0))


def _between(first: float, last: float, progress: float) -> float:
    """Half a cosine from one value to another."""
    return last + (first - last) * 0.5 * (1.0 + math.cos(math.pi * progress))
