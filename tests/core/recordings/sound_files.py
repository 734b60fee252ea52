"""Sources of recordings for a manifest, and sound to write into them."""

import numpy as np
import soundfile

from wakeword_core.config import SourceConfig

RATE = 16_000


def source(path, name="mine", role="negative", **settings):
    return SourceConfig(name=name, path=path, role=role, **settings)


def make(root, *names):
    """Write files that are listed as recordings, and return their folder."""
    for index, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"sound %d" % index)
    return root


def noise(seconds=0.5, rate=RATE, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * rate))


def write(path, x, rate=RATE, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, x, rate, **options)
