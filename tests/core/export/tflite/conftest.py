"""Small networks that learnt to tell tones that rise from tones that fall, through the front end of the device."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from pymicro_features import MicroFrontend

from wakeword_core.config import Config, DsCnnConfig, MixedNetConfig
from wakeword_core.export.tflite.network import network_of
from wakeword_core.export.tflite.quantize import quantize
from wakeword_core.export.tflite.writer import tflite_bytes
from wakeword_core.models.scoring import ScoringModel, load_model, model_card, save_model

RATE, HOP, CHUNK_BYTES = 16_000, 160, 320
FILE = "rising_tone.tflite"
SMALL = MixedNetConfig(stem_channels=16, channels=16, kernels=((3,), (3, 7), (1,)), head_steps=3, dropout=0.0)
SMALL_DS_CNN = DsCnnConfig(causal=True, stride=3, channels=16, blocks=2, head_steps=3, dropout=0.0)


def tones(seconds: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Tones that rise (a word) or fall in noise: features [frames, 40], and of each frame whether a word just ended."""
    generator = np.random.default_rng(seed)
    samples = seconds * RATE
    sound = generator.normal(0.0, 1.0, samples) * np.repeat(10 ** generator.uniform(1.0, 2.5, samples // RATE), RATE)
    words = np.zeros(samples // HOP, bool)
    start = RATE // 2
    while start + RATE // 2 < samples:
        rises = generator.random() < 0.5
        for pitch in (600.0, 1_500.0)[:: 1 if rises else -1]:
            time = np.arange(RATE // 10) / RATE
            shape = np.hanning(len(time)) ** 0.3
            sound[start : start + len(time)] += generator.uniform(1e3, 5e3) * shape * np.sin(2 * np.pi * pitch * time)
            start += len(time)
        words[start // HOP : start // HOP + 10] = rises
        start += int(generator.uniform(0.2, 0.6) * RATE)
    pcm = np.clip(sound, -32_768, 32_767).astype(np.int16).tobytes()
    front_end = MicroFrontend()
    frames = [front_end.process_samples(pcm[at : at + CHUNK_BYTES]).features for at in range(0, len(pcm), CHUNK_BYTES)]
    features = np.asarray([frame for frame in frames if frame], np.float32)
    return features, words[2 : 2 + len(features)]


def device_config(**training_model: Any) -> Config:
    """A project for a microcontroller: with its front end, and `training_model` on top of `mixednet`."""
    return Config(
        export={"tflite": {"enabled": True}},
        features={"frontend": {"kind": "micro"}},
        training={"model": {"arch": "mixednet", **training_model}},
    )


def settled(
    settings: MixedNetConfig | DsCnnConfig, seed: int = 0, *, bands: int = 40, classes: int = 2, normalised: bool = True
) -> ScoringModel:
    """A network with random weights, statistics as if of training, and a temperature."""
    torch.manual_seed(seed)
    model = ScoringModel(settings, bands, 151, classes)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            module.momentum = None
            torch.nn.init.uniform_(module.weight, 0.7, 1.3)
            torch.nn.init.normal_(module.bias, 0.0, 0.2)
    if normalised:
        model.mean += torch.linspace(2.0, 5.0, bands)
        model.std *= 3.0
    with torch.no_grad():
        model.train().backbone.dense(model.normalise(26.0 * torch.rand(8, bands, 400)))
    model.set_calibrator("temperature", {"temperature": 1.3})
    return model.eval()


class Trained(NamedTuple):
    model: ScoringModel
    file: Path
    """The same for a microcontroller."""


def taught(settings: MixedNetConfig | DsCnnConfig, folder: Path, *, normalised: bool) -> None:
    """Train a network for seconds, and write it into a folder for torch and for a microcontroller."""
    features, words = tones(40, 0)
    torch.manual_seed(0)
    model = ScoringModel(settings, 40, 151, 2)
    if normalised:
        model.mean.copy_(torch.from_numpy(features.mean(axis=0)))
        model.std.copy_(torch.from_numpy(features.std(axis=0) + 0.1))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    generator = np.random.default_rng(0)
    model.train()
    for step in range(120):
        starts = generator.integers(0, len(features) - 300, 8)
        windows = torch.from_numpy(np.stack([features[start : start + 300].T for start in starts]))
        said = torch.from_numpy(np.stack([words[start : start + 300] for start in starts])).long()
        optimizer.param_groups[0]["lr"] = 1e-2 * (1 - step / 120)
        logits = model.backbone.dense(model.normalise(windows))
        loss = torch.nn.functional.cross_entropy(
            logits, said[:, model.backbone.output_frames(300)], label_smoothing=0.02
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.set_calibrator("temperature", {"temperature": 0.9})
    save_model(folder, model.eval(), model_card(device_config()))
    (folder / FILE).write_bytes(tflite_bytes(quantize(network_of(model), [features[None]])))


@pytest.fixture(scope="session")
def trained(shared_folder) -> Trained:
    """The small mixednet."""
    folder = shared_folder("mixednet", partial(taught, SMALL, normalised=True))
    return Trained(load_model(folder)[0], folder / FILE)


@pytest.fixture(scope="session")
def trained_file(trained: Trained) -> Path:
    """The same for a microcontroller."""
    return trained.file


@pytest.fixture(scope="session")
def trained_ds_cnn(shared_folder) -> Trained:
    """The small ds_cnn, whose features are as the device makes them."""
    folder = shared_folder("ds_cnn", partial(taught, SMALL_DS_CNN, normalised=False))
    return Trained(load_model(folder)[0], folder / FILE)


@pytest.fixture(scope="session")
def trained_ds_cnn_file(trained_ds_cnn: Trained) -> Path:
    """The same for a microcontroller."""
    return trained_ds_cnn.file


@pytest.fixture(scope="session")
def for_device() -> Callable[..., Config]:
    """The function that makes a configuration for a microcontroller."""
    return device_config


@pytest.fixture(scope="session")
def random_network() -> Callable[..., ScoringModel]:
    """The function that makes a network with random weights."""
    return settled


@pytest.fixture(scope="session")
def stream() -> np.ndarray:
    """Features of a minute that nothing was trained on: [frames, 40]."""
    return tones(60, 1)[0]
