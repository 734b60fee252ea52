"""Small shards made by the real writer."""

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from wakeword_core.config import Config, ShardsConfig
from wakeword_core.shards.building import build_shards
from wakeword_core.store.parts import Parts
from wakeword_core.workers.local import LocalWorkers

RATE = 16_000
SECONDS = {"positive": 1.0, "hard_negative": 0.8, "negative": 4.0, "noise": 3.0}


@pytest.fixture(scope="session")
def config() -> Config:
    """Few views and windows."""
    return Config.model_validate({"features": {"augment": {"views": 3, "negative_views": 2}}})


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    return Parts(tmp_path / "parts")


@pytest.fixture(scope="session")
def make_shards_in() -> Callable[..., Path]:
    """Write `each` recordings of four roles as one split's shards; the same name gives the same folder again.

    The first recordings of each role, `voices` of them, are of another source.
    """

    def make(
        root: Path,
        name: str = "shards",
        each: int = 3,
        count: int = 2,
        seconds_of: dict[str, float] = SECONDS,
        voices: int = 0,
    ) -> Path:
        rows = []
        sounds = root / f"sounds-{sum(seconds_of.values()):g}"
        sounds.mkdir(exist_ok=True)
        for role, seconds in seconds_of.items():
            for index in range(each):
                path = sounds / f"{role}-{index}.wav"
                generator = np.random.default_rng([index, len(role)])
                sound = generator.standard_normal(round(seconds * RATE)) * 0.05
                soundfile.write(path, sound, RATE)
                aligned = role in ("positive", "hard_negative")
                rows.append(
                    {
                        "recording_id": hashlib.sha256(path.read_bytes()).hexdigest(),
                        "path": path.name,
                        "source": "voices" if index < voices else "sounds",
                        "label": "hey robin" if role == "positive" else "_negative",
                        "role": role,
                        "speaker": f"sounds/{index}",
                        "seconds": seconds,
                        "speech_start": 0.2 if aligned else np.nan,
                        "speech_end": 0.7 if aligned else np.nan,
                    }
                )
        out = root / name
        out.mkdir(exist_ok=True)
        roots, parts = dict.fromkeys(("sounds", "voices"), sounds), Parts(root / "p")
        build_shards(pd.DataFrame(rows), roots, RATE, ShardsConfig(count=count), LocalWorkers(1), 1, out, parts)
        return out

    return make


@pytest.fixture
def make_shards(make_shards_in: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """The same in the test's own folder."""
    return partial(make_shards_in, tmp_path)
