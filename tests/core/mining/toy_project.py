"""A project that is built in seconds: the word is a rising sweep, and the background holds sweeps that are not said."""

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wakeword_core.audio import encode_wav, write_audio
from wakeword_core.config import SPLITS, Config, ShardsConfig
from wakeword_core.graph.project import Project
from wakeword_core.shards.building import build_shards
from wakeword_core.store.parts import Parts
from wakeword_core.workers.local import LocalWorkers

RATE = 16_000
EARLY = (
    ("raw_manifest", None),
    *(("audio_shards", split) for split in SPLITS),
    ("mel_features", "train"),
    ("mel_features", "val"),
    ("cmvn_stats", None),
    ("trained_model", None),
)
COUNTS = {"train": 12, "val": 6, "test": 6}
SECONDS = {"positive": 0.5, "negative": 0.6, "background": 4.0}
SETTINGS: dict[str, Any] = {
    "phrase": "robin",
    "shards": {"count": 2},
    "features": {
        "frontend": {"n_mels": 16, "window_frames": 32},
        "augment": {"views": 3, "negative_views": 2, "generated_noise_minutes": 0.2, "generated_rirs": 2},
        "context": {"frames": 24, "jitter_seconds": 0.05},
        "windows": {"tail_seconds": 0.05},
    },
    "training": {
        "model": {"arch": "tcn", "channels": 8, "dilations": [1, 2], "head_steps": 2, "kernel": 3},
        "schedule": {"epochs": 3, "learning_rate": 0.02},
        "sampling": {"steps_per_epoch": 8, "batch_size": 16},
        "ema": {"decay": 0.9},
    },
    "compute": {"threads": 1, "device": "cpu", "workers": 1},
}
MINING = {
    "enabled": True,
    "search": {"min_score": 0.3, "lockout_seconds": 0.5},
    "tuning": {"epochs": 4, "learning_rate_fraction": 0.1},
}


def sweep(generator: np.random.Generator, low: float, high: float, seconds: float = 0.3) -> np.ndarray:
    """A tone that goes from one frequency to another, at a random level and phase: float [samples]."""
    time = np.arange(round(seconds * RATE)) / RATE
    phase = 2 * np.pi * (low * time + (high - low) * time**2 / (2 * seconds))
    return generator.uniform(0.1, 0.3) * np.sin(phase + generator.uniform(0, 6))


def hiss(generator: np.random.Generator, seconds: float) -> np.ndarray:
    return generator.normal(0, 0.005, round(seconds * RATE))


@dataclass(frozen=True)
class Toy:
    """A home that is built up to the trained model, and the configuration it is built with."""

    folder: Path
    config: Config

    def project(self, home: Path | None = None, **mining: Any) -> Project:
        """The project with some settings of mining; in a home of its own if asked."""
        tree = {**self.config.model_dump(mode="json"), "mining": mining}
        return Project(Config.model_validate(tree), home or self.folder / "home")

    def copy(self, home: Path) -> Path:
        """The home once more, sharing no file with it."""
        return Path(shutil.copytree(self.folder / "home", home))

    def shards(self, split: str = "train") -> Path:
        return self.project().require("audio_shards", split).path


def pack(folder: Path, sounds: dict[str, tuple[str, np.ndarray]]) -> Path:
    """Shards of recordings that are all of the training split: name -> (role, int16 [samples])."""
    rows = []
    for name, (role, pcm) in sounds.items():
        path = folder / "sounds" / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_wav(pcm, RATE))
        row = {
            "recording_id": hashlib.sha256(path.read_bytes()).hexdigest(),
            "path": path.name,
            "source": f"{role}-source",
        }
        row |= {"label": "robin" if role == "positive" else f"label-{name}", "role": role, "speaker": f"who/{name}"}
        rows.append(row | {"seconds": len(pcm) / RATE, "speech_start": np.nan, "speech_end": np.nan})
    (folder / "shards").mkdir()
    roots = {row["source"]: folder / "sounds" for row in rows}
    build_shards(
        pd.DataFrame(rows),
        roots,
        RATE,
        ShardsConfig(count=2),
        LocalWorkers(1),
        0,
        folder / "shards",
        Parts(folder / "parts"),
    )
    return folder / "shards"


def record_toy(folder: Path) -> Toy:
    """The toy's recordings, of which nothing is built yet."""
    generator = np.random.default_rng(7)
    for split, count in COUNTS.items():
        for role, seconds in SECONDS.items():
            root = folder / "recordings" / split / role
            for index in range(count if role != "background" else 3):
                sound = hiss(generator, seconds)
                if role == "positive":
                    sound[-4_800:] += sweep(generator, 500, 3_000)
                if role == "background":  # nearly the word, and too rare for a short training to learn it
                    for second in (1, 3):
                        sound[second * RATE :][:4_800] += sweep(generator, 700, 2_600)
                write_audio(root / f"{index:02}.wav", sound.astype(np.float32), RATE)
    return toy_in(folder)


def toy_in(folder: Path) -> Toy:
    """The toy that a folder holds."""
    sources = [
        {"name": f"{split}-{role}", "path": str(folder / "recordings" / split / role), "role": role, "split": split}
        for split in COUNTS
        for role in SECONDS
    ]
    return Toy(folder, Config.model_validate({**SETTINGS, "data": {"sources": sources}}))


def make_toy(folder: Path) -> Toy:
    toy = record_toy(folder)
    project = toy.project()
    for stage, split in EARLY:
        project.build(stage, split)
    return toy


def copy_of_toy(shared_folder: Callable[..., Path], folder: Path) -> Toy:
    """The toy in a folder of one's own, copied from the one that is built once for all tests."""
    shutil.copytree(shared_folder("toy", make_toy), folder, dirs_exist_ok=True)
    return toy_in(folder)
