"""Recordings for benchmarks: noise, each drawn by itself, so that no two sound alike."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from wakeword_core.audio import encode_wav

RATE = 16_000
A_FOLDER = 1_000
_LEVEL = 600
"""Standard deviation of the samples, as int16: -35 dBFS."""


def generate(folder: Path, numbers: Sequence[int], seconds: float, kind: str = "wav") -> Iterator[Path]:
    """Write `numbers` as 000/000000.wav and so on below `folder` and yield their paths; `kind` is wav or flac."""
    import soundfile

    samples = round(seconds * RATE)
    for number in numbers:
        path = folder / f"{number // A_FOLDER:03d}" / f"{number:06d}.{kind}"
        path.parent.mkdir(parents=True, exist_ok=True)
        pcm = (np.random.default_rng(number).standard_normal(samples, np.float32) * _LEVEL).astype(np.int16)
        if kind == "wav":
            path.write_bytes(encode_wav(pcm, RATE))
        else:
            soundfile.write(path, pcm, RATE, subtype="PCM_16")
        yield path
