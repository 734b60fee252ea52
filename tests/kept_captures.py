"""Captures as a server keeps them, each of other sound."""

from datetime import UTC, datetime, timedelta

import numpy as np

from wakeword_core.config import KeepConfig
from wakeword_core.runtime.captures import Keeper

RATE = 16_000
WORD = "hey robin"
BEGAN = datetime(2026, 11, 28, 9, 0, tzinfo=UTC)
KINDS = ("event", "near_miss", "refused")


def keep_captures(folder, count=3, seconds=1.0):
    """Keep so many captures, ten minutes apart, and return their names, oldest first."""
    times = [BEGAN + timedelta(minutes=10 * number) for number in range(count)]
    names: list[str] = []
    keeper = Keeper(folder, KeepConfig(), lambda: times[len(names)])
    for number in range(count):
        pcm = (np.random.default_rng(number).normal(size=round(seconds * RATE)) * 2_000).astype(np.int16)
        facts = {"score": 0.9, "threshold": 0.6, "before_seconds": 0.75 * seconds}
        kept = keeper.keep(pcm, RATE, KINDS[number % len(KINDS)], WORD, facts, 0.0)
        names.append(kept.stem)
    return names
