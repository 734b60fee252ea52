"""A toy task that is learnt in seconds, and what its trainings leave."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from wakeword_core.config import ROLES, Config, FeaturesConfig, FrontendConfig, TcnConfig, TrainingConfig
from wakeword_core.features.cmvn import Cmvn
from wakeword_core.features.store import WindowSet
from wakeword_core.teaching.scores import TeacherScores
from wakeword_core.training.feed import Material, feed
from wakeword_core.training.records import EpochRecord
from wakeword_core.training.usage import Used

N_MELS, FRAMES = 16, 32
CONTEXT = 24
"""Frames that rows hold besides a window, where a test is about that."""
LOSS = {
    "kind": "cross_entropy",
    "focal_gamma": 2.0,
    "focal_alpha": None,
    "label_smoothing": 0.02,
    "pooling": "stream",
    "hit_seconds": 0.1,
    "best_steps": 2,
    "early_seconds": 0.03,
    "early_weight": 0.5,
    "worst_early_steps": 2,
    "worst_steps": 2,
    "all_steps_weight": 0.5,
    "class_weights": "none",
    "hard_negative_weight": 1.0,
    "metric": "none",
    "metric_weight": 0.2,
    "triplet_distance": "euclidean",
    "triplet_margin": 0.3,
    "triplet_soft_margin": False,
    "arcface_scale": 30.0,
    "arcface_margin": 0.3,
}
AUGMENT = {
    "band_warp": 0.05,
    "colour_db": 1.0,
    "gain_db": (-1.0, 1.0),
    "isolate_probability": 0.5,
    "isolated_frames": (10, 16),
    "shift_frames": 0,
    "mixup_alpha": 0.0,
    "style_probability": 0.0,
    "noise_probability": 0.5,
    "noise_snr_db": (10.0, 20.0),
}
NO_AUGMENT = {"band_warp": 0, "colour_db": 0, "gain_db": (0, 0), "isolate_probability": 0, "noise_probability": 0}
QUICK: dict[str, Any] = {
    "schedule": {"epochs": 4, "learning_rate": 0.02},
    "sampling": {"steps_per_epoch": 25},
    "ema": {"decay": 0.5},
    "augment": NO_AUGMENT,
    "spec_augment": {"time_masks": 0, "mel_masks": 0},
    "validation": {"keep": "last"},
}
"""Settings with which most of the task is learnt in seconds."""
TINY_TCN = {"channels": 8, "dilations": (1, 2), "head_steps": 2, "kernel": 3}
CMVN = Cmvn(np.full(N_MELS, -6, np.float32), np.full(N_MELS, 2, np.float32))


class KilledError(Exception):
    """Stands for whatever ends a training."""


def merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Settings over others, group by group."""
    return {**below, **{name: {**below.get(name, {}), **group} for name, group in above.items()}}


def config_for(model: Any = None, context: int = 0, compute: Any = None, **training: Any) -> Config:
    chosen = {
        "schedule": {"epochs": 6},
        "sampling": {"steps_per_epoch": 4, "batch_size": 16},
        "validation": {"keep": "best"},
    }
    training = {"loss": LOSS, "augment": AUGMENT, **training}
    frontend = FrontendConfig(n_mels=N_MELS, window_frames=FRAMES)
    return Config(
        training=TrainingConfig(model=model or TcnConfig(**TINY_TCN), **merged(chosen, training)),
        features=FeaturesConfig(
            frontend=frontend,
            windows={"tail_seconds": 0.1},
            context={"frames": context, "jitter_seconds": 0.1},
        ),
        compute={"threads": 1, "device": "cpu", **(compute or {})},
    )


def sgd_config(model: Any = None, **training: Any) -> Config:
    """SGD, since what Adam makes of a gradient that is zero but for rounding is as large as any other step."""
    chosen = {
        "schedule": {"epochs": 2, "learning_rate": 1e-2},
        "sampling": {"steps_per_epoch": 2},
        "optimizer": {"kind": "sgd", "momentum": 0.5},
    }
    return config_for(model or TcnConfig(**TINY_TCN, dropout=0), CONTEXT, **merged(chosen, training))


def windows_for(seed: int, strength: float = 6.0, rows: int = 80, context: int = 0) -> WindowSet:
    """A rising sweep is the word, a falling one a hard negative, the rest is noise.

    Rows with context hold the sweep in a place of their own, but always with a whole window before its end.
    """
    generator = torch.Generator().manual_seed(seed)
    mel = torch.randn(rows, N_MELS, FRAMES + context, generator=generator) * 2 - 6
    kind = torch.arange(rows) % 4
    start = 12 + torch.randint(context // 2, context + 1, (rows,), generator=generator) if context else None
    sweep = torch.eye(N_MELS) * strength
    for row in range(rows):
        first = 12 if start is None else int(start[row])
        if kind[row] < 2:
            mel[row, :, first : first + 16] += sweep if kind[row] == 0 else sweep.flip(0)
    names = ("positive", "hard_negative", "negative", "background")
    roles = torch.tensor([ROLES.index(name) for name in names])[kind]
    ends = torch.where(kind == 0, 27 if start is None else start + 15, -1)
    clean, real = torch.zeros(rows, dtype=torch.int64), torch.zeros(rows, dtype=torch.bool)
    return WindowSet(mel.half(), (kind == 0).long(), roles, clean, ends, real)


TAUGHT: dict[str, Any] = {"models": ("abcdef",), "temperature": 1.0}
"""Settings of a teacher whose scores a test makes itself."""


def oracle(rows: WindowSet, heard: float = 0.97, quiet: float = 0.02) -> TeacherScores:
    """A teacher that hears each word from its end on for 10 frames, and nothing else, at every third frame."""
    last = rows.mel.shape[2] - 1
    after = torch.arange(last % 3, last + 1, 3) - rows.word_ends[:, None]
    word = torch.where((rows.word_ends[:, None] >= 0) & (after >= 0) & (after <= 10), heard, quiet)
    return TeacherScores(torch.stack([1 - word, word], dim=1).log()[:, None].half(), 3, last)


def material(windows: WindowSet, chosen: torch.Tensor, noise: torch.Tensor | None = None) -> Material:
    """What a batch of these rows is made of."""
    noises = chosen[:0] if noise is None else noise
    return next(feed(windows, chosen[None], noises[None], torch.device("cpu")))


TRAIN, VAL = windows_for(1), windows_for(2)
LONG = windows_for(1, context=CONTEXT)
TIMED: dict[str, Any] = {"seconds": 0, "samples_per_second": 0, **asdict(Used(0, 0, None, None))}
"""What of a training is the machine's."""
VIEWED = replace(LONG, views=torch.arange(len(LONG)) // 4 % 2)
"""Of each kind of window half are clean and half augmented."""


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "model.safetensors")


def same_weights(one: Path, other: Path) -> bool:
    mine, theirs = weights(one), weights(other)
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def history(out: Path) -> list[EpochRecord]:
    return [EpochRecord(**json.loads(line)) for line in (out / "history.jsonl").read_text().splitlines()]


def untimed(records: list[EpochRecord]) -> list[EpochRecord]:
    return [replace(record, **TIMED, seconds_left=0) for record in records]


def assert_near(one: Path, other: Path) -> None:
    for mine, theirs in zip(history(one), history(other), strict=True):
        for name in ("train_loss", "val_loss", "gradient_norm", "val_score", "learning_rate"):
            assert getattr(mine, name) == pytest.approx(getattr(theirs, name), rel=1e-4, abs=1e-5), name
    found, wanted = weights(one), weights(other)
    assert found.keys() == wanted.keys()
    for name in found:
        torch.testing.assert_close(found[name], wanted[name], rtol=1e-5, atol=1e-5, msg=lambda text, n=name: n + text)
