"""Small generated recordings that the tests of the core share."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from wakeword_core.recordings.scan import ScanCache

Writer = Callable[..., Path]
RATE = 16_000


def tone(seconds: float, rate: int = RATE, frequency: float = 440.0, level: float = 0.3) -> np.ndarray:
    """A sine, float64 [samples]."""
    return level * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


@pytest.fixture
def write_tone() -> Writer:
    """Write a noisy sine; its seed makes the bytes differ from those of other seeds."""

    def write(path: Path, seconds: float = 0.5, rate: int = RATE, channels: int = 1, seed: int = 0, **options) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(seed)
        sound = tone(seconds, rate, frequency=200.0 + 7 * seed) + rng.normal(0, 0.01, round(seconds * rate))
        soundfile.write(path, np.repeat(sound[:, None], channels, axis=1), rate, **options)
        return path

    return write


@pytest.fixture
def recordings(tmp_path: Path, write_tone: Writer) -> Path:
    """A folder with ten recordings of five speakers: spk0/0.wav to spk4/9.wav."""
    for index in range(10):
        write_tone(tmp_path / "recordings" / f"spk{index // 2}" / f"{index}.wav", seed=index)
    return tmp_path / "recordings"


@pytest.fixture
def cache(tmp_path: Path) -> ScanCache:
    """An empty scan cache."""
    found = ScanCache(tmp_path / "cache")
    yield found
    found.close()
