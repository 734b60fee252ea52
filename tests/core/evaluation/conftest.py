"""Small shards of made-up sounds, written by the real functions."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from wakeword_core.audio import write_audio
from wakeword_core.config import Config, ShardsConfig
from wakeword_core.evaluation.streams.build import SourceSpan, Word
from wakeword_core.evaluation.streams.conditions import Condition
from wakeword_core.evaluation.streams.scores import SessionScores, StreamScores
from wakeword_core.shards.building import build_shards
from wakeword_core.shards.packed_split import iter_recordings
from wakeword_core.shards.shard_file import Recording
from wakeword_core.store.parts import Parts
from wakeword_core.workers.local import LocalWorkers

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
                "recording_id": hashlib.sha256(path.read_bytes()).hexdigest(),
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
    build_shards(
        frame,
        {"source": root / "source"},
        RATE,
        ShardsConfig(count=2),
        LocalWorkers(1),
        0,
        folder,
        Parts(root / "parts"),
    )
    return Shards(folder, {one.recording_id: one for one in iter_recordings(folder)})


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
    room = sound(random, 0.3, 0.05) * np.exp(-np.arange(4_800) / 800)
    room[:100] *= 0.01
    room[100] = 0.9
    rest += [{"audio": room, "role": "rir"}]
    return pack(tmp_path_factory.mktemp("streams"), words + rest)


@pytest.fixture
def config() -> Config:
    return Config.model_validate({"evaluation": {"streams": {"session_minutes": 0.25}}})


@pytest.fixture
def pack_shards():
    return pack


@pytest.fixture
def make_sound():
    return sound


class MadeStreams:
    """Scores of made-up streams of a minute: low everywhere but at chosen moments."""

    STEP = 0.08
    CLEAN = Condition(None)

    def track(self, bumps, seconds=60.0, low=0.01):
        """Times, and scores that are `low` but for one score at each (time, score) of `bumps`."""
        times = np.arange(round(seconds / self.STEP)) * self.STEP
        scores = np.full(len(times), low)
        for at, score in bumps:
            scores[round(at / self.STEP)] = score
        return times, scores

    def background(self, bumps, seconds=60.0):
        """Background of two recordings, the first from its second 100 on."""
        times, scores = self.track(bumps, seconds)
        spans = (SourceSpan("street", "a", 0.0, seconds / 2, 100.0), SourceSpan("radio", "b", seconds / 2, seconds))
        return SessionScores(None, times, scores, np.ones(len(times), dtype=int), (), spans)

    def positives(self, bumps, starts, condition=CLEAN, labels=None, classes=None):
        """A word of 0.8 s at each of `starts`, in a recording that begins half a second before it."""
        times, scores = self.track(bumps)
        words = tuple(
            Word(labels[i] if labels else "hey robin", f"w{i}", s, s + 0.8, f"people{i % 2}", f"speaker{i}", s - 0.5)
            for i, s in enumerate(starts)
        )
        codes = np.ones(len(times), dtype=int) if classes is None else classes
        return SessionScores(condition, times, scores, codes, words, (SourceSpan("people", "p", 0.0, 60.0),))

    def streams(self, *sessions, labels=("_negative", "hey robin")):
        """All of them together."""
        return StreamScores(tuple(sessions), labels)


@pytest.fixture(scope="session")
def made() -> MadeStreams:
    return MadeStreams()
