"""Models whose scores say something: statistics from data, and log-odds spread around zero."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from wakeword_core.config import (
    BcResNetConfig,
    Config,
    ConformerConfig,
    CrnnConfig,
    ExportConfig,
    TcnConfig,
    TinyConvConfig,
)
from wakeword_core.export.onnx_export import export_onnx
from wakeword_core.features.cmvn import Cmvn
from wakeword_core.models.scoring import ScoringModel, model_card, new_model

ARCHITECTURES = {
    "tcn": TcnConfig(),
    "tiny_conv": TinyConvConfig(),
    "bc_resnet": BcResNetConfig(),
    "crnn": CrnnConfig(cell="lstm", units=16, stride_frames=16),  # tracing takes as long as the LSTM has steps
    "conformer": ConformerConfig(layers=1),
}
"""Of each kind of layers one; that every architecture is exported right is tested with the models."""


def toy_windows(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise with a rising (class 1) or falling (class 0) sweep: [n, 64, 151] and labels [n]."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, count)
    windows = generator.normal(-6.0, 2.0, (count, 64, 151)).astype(np.float32)
    steps = np.arange(40)
    for window, label in zip(windows, labels, strict=True):
        start, strength = generator.integers(60, 100), generator.uniform(2.0, 5.0)
        bands = 12 + (steps if label else 39 - steps)
        for offset in range(-3, 4):
            window[bands + offset, start + steps] += strength
    return windows, labels


def settled(model: ScoringModel) -> ScoringModel:
    """Normalisation statistics from data, and log-odds of mean 0 and deviation 2: no score is saturated or constant."""
    windows = torch.from_numpy(toy_windows(48, 5)[0])
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = None
            torch.nn.init.uniform_(module.weight, 0.7, 1.3)
            torch.nn.init.normal_(module.bias, 0.0, 0.2)
    with torch.no_grad():
        model.train()(windows)
        logits = model.eval().logits(windows)
        margin = logits[:, 1] - logits[:, 0]
        classifier = model.backbone.classifier
        gain = 2.0 / margin.std()
        classifier.weight *= gain
        classifier.bias *= gain
        classifier.bias[1] -= margin.mean() * gain
        model.set_calibrator("temperature", {"temperature": 1.25})
    return model


def fresh(arch: str) -> tuple[ScoringModel, dict]:
    config = Config(training={"model": ARCHITECTURES[arch]})
    torch.manual_seed(0)
    model = new_model(config)
    model.set_cmvn(Cmvn(np.full(64, -6.0, np.float32), np.linspace(1.5, 2.5, 64, dtype=np.float32)))
    detector = config.evaluation.detector.model_dump(mode="json")
    return model, {
        **model_card(config),
        "detector": detector,
        "threshold": 0.5,
        "operating_points": {},
        "keys": {"cmvn_stats": "abc"},
    }


@pytest.fixture(scope="session")
def exports(tmp_path_factory: pytest.TempPathFactory):
    """The function that exports an architecture, once: (architecture, model, card, summary, folder)."""

    @cache
    def export(arch: str):
        model, card = fresh(arch)
        settled(model)
        folder: Path = tmp_path_factory.mktemp(arch)
        return arch, model, card, export_onnx(model, card, ExportConfig().onnx, folder), folder

    return export


@pytest.fixture(params=list(ARCHITECTURES))
def exported(request: pytest.FixtureRequest, exports):
    """Each architecture, exported."""
    return exports(request.param)


@pytest.fixture
def exported_tiny(exports):
    """The smallest one, where tracing every architecture again would take seconds and show no more."""
    return exports("tiny_conv")


@pytest.fixture(scope="session")
def sweeps():
    """The function that makes the toy task's windows and labels."""
    return toy_windows


@pytest.fixture(scope="session")
def trained_tcn(shared_folder) -> Path:
    """The folder of the default model, trained until it tells the toy classes apart, and exported."""
    return shared_folder("trained_tcn", train_and_export)


def train_and_export(folder: Path) -> None:
    model, card = fresh("tcn")
    windows, labels = (torch.from_numpy(one) for one in toy_windows(192, 0))
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    model.train()
    for step in range(48):
        rows = torch.arange(32) + 32 * (step % 6)
        loss = torch.nn.functional.cross_entropy(model.logits(windows[rows]), labels[rows], label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    export_onnx(model.eval(), card, ExportConfig().onnx, folder)
