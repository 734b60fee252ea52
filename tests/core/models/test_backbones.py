"""Every backbone of the registry: shapes, equal paths, learning, export; and what is special about each."""

import copy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from wakeword_core.config import BcResNetConfig, TcnConfig, TinyConvConfig
from wakeword_core.errors import ConfigError
from wakeword_core.models import MIN_FRAMES, REGISTRY, build_model
from wakeword_core.models.bc_resnet import SubSpectralNorm, sub_bands
from wakeword_core.models.facts import count_parameters

SMALL: dict[str, Any] = {
    "bc_resnet": BcResNetConfig(dropout=0.0),
    "tiny_conv": TinyConvConfig(channels=8, dropout=0.0),
    "tcn": TcnConfig(channels=24, kernel=3, dilations=(1, 1, 2, 2), stride=3, head_steps=3, dropout=0.0),
    "tcn_ensemble": TcnConfig(
        members=2, channels=24, kernel=3, dilations=(1, 1, 2, 2), stride=3, head_steps=3, dropout=0.0
    ),
}
ARCHS = sorted(SMALL)
BY_PRODUCTS = ["bc_resnet", "tiny_conv"]
"""Those that compute some convolutions as matrix products on a CPU."""


def _model(config: Any, n_mels: int = 40, frames: int = 50, classes: int = 2) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_model(config, n_mels, frames, classes)


def test_the_small_models_cover_the_registry() -> None:
    assert set(REGISTRY) == {config.arch for config in SMALL.values()}


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize(("n_mels", "frames", "classes"), [(40, 98, 12), (64, 151, 2), (80, MIN_FRAMES, 3), (8, 33, 2)])
def test_shapes_in_both_modes(arch: str, n_mels: int, frames: int, classes: int) -> None:
    model = _model(SMALL[arch], n_mels, frames, classes)
    x = torch.randn(3, n_mels, frames, generator=torch.Generator().manual_seed(1))
    for mode in (True, False):
        model.train(mode)
        logits = model(x)
        assert logits.shape == (3, classes)
        assert logits.isfinite().all()
        assert model.embed(x).ndim == 2  # type: ignore[operator]
        assert torch.equal(model.embed(x).isfinite().all(), torch.tensor(True))  # type: ignore[operator]


def test_too_short_windows_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"window_frames is 31.*at least 32"):
        build_model(TcnConfig(), 64, 31, 2)


@pytest.mark.parametrize("arch", BY_PRODUCTS)
@pytest.mark.parametrize("training", [True, False])
def test_products_have_the_maths_of_the_convolutions(
    arch: str, training: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outputs, gradients and running statistics: the path on the CPU against the path of other devices."""
    fast = _model(SMALL[arch]).double().train(training)
    plain = copy.deepcopy(fast)
    x = torch.randn(6, 40, 50, generator=torch.Generator().manual_seed(1)).double()
    target = torch.tensor([0, 1, 0, 1, 1, 0])
    functional.cross_entropy(fast(x), target).backward()
    monkeypatch.setattr(sys.modules[type(plain).__module__], "products_pay", lambda x: False)
    functional.cross_entropy(plain(x), target).backward()
    for (name, one), (_, other) in zip(fast.named_parameters(), plain.named_parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-9, rtol=1e-6, msg=name)
    for (name, mine), (_, theirs) in zip(fast.named_buffers(), plain.named_buffers(), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-9, rtol=1e-6, msg=name)


@pytest.mark.parametrize("arch", ARCHS)
def test_learns_the_direction_of_a_sweep(arch: str) -> None:
    """Rising against falling: the same bands are lit, in another order, so a bag of frames cannot tell them apart."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(96, 40, 50, generator=generator) * 0.3
    labels = torch.arange(96) % 2
    rising = torch.eye(40)
    x[:, :, 8:48] += torch.where(labels[:, None, None] == 1, rising, rising.flip(0)) * 4
    model = _model(SMALL[arch]).train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = 0.5  # two dozen steps are too few for the usual 0.1 through a dozen layers
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(12):
        for chosen in torch.randperm(64, generator=generator).split(32):
            optimizer.zero_grad()
            functional.cross_entropy(model(x[chosen]), labels[chosen]).backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        assert (model(x[64:]).argmax(1) == labels[64:]).float().mean() > 0.9


@pytest.mark.parametrize("arch", ARCHS)
def test_dropout_acts_in_training_only(arch: str) -> None:
    model = _model(SMALL[arch].model_copy(update={"dropout": 0.5}))
    x = torch.randn(4, 40, 50, generator=torch.Generator().manual_seed(1))
    still = _model(SMALL[arch])
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        assert torch.equal(model.eval()(x), model(x))
        model.train()
        still.train()
        assert not torch.equal(model(x), model(x))
        torch.testing.assert_close(still(x), still(x))


@pytest.mark.parametrize("arch", ARCHS)
def test_onnx_export_has_the_scores_of_torch(arch: str, tmp_path: Path) -> None:
    import onnx
    import onnxruntime

    model = _model(SMALL[arch])
    x = torch.randn(5, 40, 50, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        model.train()(x)  # so that the running statistics are not the trivial ones
        wanted = model.eval()(x).numpy()
    path = tmp_path / "model.onnx"
    batch = torch.export.Dim("batch", min=1, max=4096)
    torch.onnx.export(
        model,
        (x[:2],),
        path,
        input_names=["x"],
        dynamo=True,
        dynamic_shapes=({0: batch},),
        external_data=False,
        verbose=False,
    )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    operators = [node.op_type for node in onnx.load(path).graph.node]
    layers = sum(isinstance(module, nn.Conv1d | nn.Conv2d) for module in model.modules())
    assert operators.count("Conv") == layers
    assert "MatMul" not in operators
    for rows in (1, 5):
        (found,) = session.run(None, {"x": x[:rows].numpy()})
        assert np.abs(found - wanted[:rows]).max() < 1e-4


def test_bc_resnet_has_the_papers_size() -> None:
    """Kim et al. 2021, table 1: 9.2k to 321k parameters for 40 mels and 12 classes."""
    sizes = {tau: count_parameters(_model(BcResNetConfig(tau=tau), 40, 101, 12)) for tau in (1, 1.5, 2, 3, 6, 8)}
    assert abs(sizes[1] - 9_200) < 200
    assert abs(sizes[2] - 27_300) < 500
    assert abs(sizes[3] - 54_200) < 1_000
    assert abs(sizes[6] - 188_000) < 3_000
    assert abs(sizes[8] - 321_000) < 3_000
    assert sizes[1] < sizes[1.5] < sizes[2]


@pytest.mark.parametrize(("frequencies", "bands"), [(20, 5), (10, 5), (5, 5), (32, 4), (16, 4), (8, 4), (7, 1), (1, 1)])
def test_sub_bands_divide_the_frequencies(frequencies: int, bands: int) -> None:
    assert sub_bands(frequencies) == bands


def test_sub_spectral_norm_normalises_each_band_by_itself() -> None:
    x = torch.randn(8, 2, 10, 30, generator=torch.Generator().manual_seed(0))
    x = x * torch.arange(1, 11)[:, None] + torch.arange(10)[:, None] * 7
    y = SubSpectralNorm(2, 5).train()(x)
    for channel in range(2):
        for band in range(5):
            part = y[:, channel, 2 * band : 2 * band + 2]
            assert abs(part.mean().item()) < 1e-4
            assert abs(part.var(correction=0).item() - 1) < 1e-3
