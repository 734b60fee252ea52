"""What is special about BC-ResNet."""

import pytest
import torch

from wakeword_core.config import BcResNetConfig
from wakeword_core.models import build_model
from wakeword_core.models.bc_resnet import SubSpectralNorm, sub_bands
from wakeword_core.models.scoring import count_parameters


def test_bc_resnet_has_the_papers_size() -> None:
    """Kim et al. 2021, table 1: 9.2k to 321k parameters for 40 mels and 12 classes."""
    sizes = {tau: count_parameters(build_model(BcResNetConfig(tau=tau), 40, 101, 12)) for tau in (1, 1.5, 2, 3, 6, 8)}
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
