"""Seeds of what is random, made of what it is for."""

import numpy as np

from wakeword_core.files import digest


def seed_of(*parts: object) -> int:
    """Return a seed that is a function of `parts`, which JSON can write."""
    return int(digest(list(parts))[:12], 16)


def generator_of(*parts: object) -> np.random.Generator:
    """Return a generator of random numbers seeded by `parts`."""
    return np.random.default_rng(seed_of(*parts))
