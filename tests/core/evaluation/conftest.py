"""Small shards of made-up sounds, written by the real functions."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from wakeword_core.artifacts import Parts
from wakeword_core.audio import write_audio
from wakeword_core.config import Config, ShardsConfig
from wakeword_core.shards import Recording, build_shards, iter_recordings

RATE = 16_000


@dataclass(frozen=True)
class Shards:
    folder: Path
    recordings: dict[str, Recording]

    def of(self, *roles):
        return [one for one in self.recordings.values() if one.role in roles]


def pack(root: Path, sounds: list[dict]) -> Shards:
    """Shards of `sounds`: each a dict of audio (float [samples]), role, label and perhaps speech (start, end)."""
    rows = []
    for index, sound in enumerate(sounds):
        path = root / "source" / f"{index:03d}.wav"
        write_audio(path, np.asarray(sound["audio"], dtype=np.float32), RATE)
        start, end = sound.get("speech", (np.nan, np.nan))
        rows.append(
            {
                "id": hashlib.sha256(path.read_bytes()).hexdigest(),
                "path": path.name,
                "source": "source",
                "label": sound.get("label", "_negative"),
                "role": sound["role"],
                "speaker": f"source/{index}",
                "seconds": len(sound["audio"]) / RATE,
                "speech_start": start,
                "speech_end": end,
            }
        )
    folder = root / "shards"
    folder.mkdir()
    frame = pd.DataFrame(rows)
    build_shards(frame, {"source": root / "source"}, RATE, ShardsConfig(count=2), 1, 0, folder, Parts(root / "parts"))
    return Shards(folder, {one.id: one for one in iter_recordings(folder)})


def sound(random, seconds, level=0.1):
    return np.clip(random.standard_normal(round(seconds * RATE)) * level, -1, 1)


@pytest.fixture(scope="session")
def shards(tmp_path_factory) -> Shards:
    random = np.random.default_rng(5)
    words = []
    for _ in range(11):
        audio = sound(random, 1.0, 0.002)
        audio[3_200:11_200] = sound(random, 0.5, random.uniform(0.03, 0.1))
        words.append({"audio": audio, "role": "positive", "label": "hey robin", "speech": (0.2, 0.7)})
    rest = [{"audio": sound(random, random.uniform(1, 3)), "role": "negative"} for _ in range(8)]
    rest += [{"audio": sound(random, 1.5), "role": "hard_negative"} for _ in range(3)]
    rest += [{"audio": sound(random, 40.0), "role": "background"}]
    rest += [{"audio": sound(random, 4.0, level), "role": "noise"} for level in (0.02, 0.15)]
    rest += [{"audio": sound(random, 0.3), "role": "rir"}]
    return pack(tmp_path_factory.mktemp("streams"), words + rest)


@pytest.fixture
def config() -> Config:
    return Config.model_validate({"evaluation": {"session_minutes": 0.25}})


@pytest.fixture
def pack_shards():
    return pack


@pytest.fixture
def make_sound():
    return sound
