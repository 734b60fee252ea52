"""Integers for what a network computes: scales from training windows, and no channel that breaks them."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from wakeword_core.config import DsCnnConfig, MixedNetConfig
from wakeword_core.errors import DataError
from wakeword_core.export.tflite.network import Convolution, Network, Residual, network_of
from wakeword_core.export.tflite.quantize import (
    LARGEST_ODDS,
    IntegerConvolution,
    Scale,
    bias_steps,
    equalised,
    measured,
    quantize,
)
from wakeword_core.export.tflite.writer import tflite_bytes
from wakeword_core.models.scoring import ScoringModel

TINY = MixedNetConfig(stem_channels=8, channels=8, kernels=((2,), (3,)), head_steps=2)


@pytest.fixture
def network(random_network: Callable[..., ScoringModel]) -> Network:
    return network_of(random_network(TINY))


@pytest.fixture
def windows() -> np.ndarray:
    return np.random.default_rng(0).uniform(0.0, 26.0, (8, 60, 40))


def equal_of(network: Network, windows: np.ndarray) -> Network:
    """The network that is rounded for these windows."""
    return equalised(network, measured(network, [windows]).shares)


@pytest.mark.parametrize(
    ("low", "high", "zero"),
    [(0.0, 25.5, -128), (-25.5, 0.0, 127), (-12.8, 12.7, 0), (3.0, 25.5, -128), (0.0, 0.0, -128)],
)
def test_zero_is_one_of_256_steps(low: float, high: float, zero: int) -> None:
    scale = Scale.between(low, high)
    assert scale.zero_point == zero and scale.step == pytest.approx(0.1 if high != low else 1.0)
    assert scale.integers([0.0]) == [zero]
    assert scale.integers([-1e9, 1e9]).tolist() == [-128, 127]


def test_what_was_rounded_is_near_what_it_was(network: Network, windows: np.ndarray) -> None:
    made = quantize(network, [windows[:4], windows[4:]])
    tensors = equal_of(network, windows).tensors(windows)
    assert made.scales[0] == Scale(pytest.approx(26 / 255), -128)
    assert made.scales[-1].step == pytest.approx(2 * LARGEST_ODDS / 255)
    for tensor, scale, layer in zip(tensors[1:-1], made.scales[1:-1], made.layers, strict=False):
        restored = (scale.integers(tensor).astype(float) - scale.zero_point) * scale.step
        assert np.abs(restored - tensor).max() <= 0.51 * scale.step
        if isinstance(layer, Residual):
            continue
        steps = layer.steps.astype(float)
        weights = layer.weight * steps[:, None, None, None]
        assert np.abs(weights - layer.layer.weight).max(axis=(1, 2, 3)) == pytest.approx(0.0, abs=0.51 * steps.max())
        assert np.abs(layer.weight).max(axis=(1, 2, 3)) == pytest.approx(127)


def test_weak_channels_of_a_depthwise_layer_have_as_many_steps_as_strong_ones(
    network: Network, windows: np.ndarray
) -> None:
    weak = network.layers[1]
    assert isinstance(weak, Convolution) and weak.depthwise
    faint = weak.weight.copy()
    faint[:4] /= 64
    following = network.layers[2]
    assert isinstance(following, Convolution)
    made_up = following.weight.copy()
    made_up[..., :4] *= 64
    changed = Network(
        (network.layers[0], replace(weak, weight=faint), replace(following, weight=made_up), *network.layers[3:])
    )
    odds = network.tensors(windows)[-1]
    equal = equal_of(changed, windows)
    assert equal.tensors(windows)[-1] == pytest.approx(odds, abs=1e-9)
    sizes = np.abs(equal.tensors(windows)[2]).max(axis=(0, 1, 2))
    assert sizes == pytest.approx(sizes.max())
    # so both networks, which are one, are rounded to the same
    first, second = quantize(changed, [windows]), quantize(network, [windows])
    assert first.scales == second.scales
    assert all(
        (one.weight == other.weight).all()
        for one, other in zip(first.layers, second.layers, strict=True)
        if isinstance(one, IntegerConvolution) and isinstance(other, IntegerConvolution)
    )


def test_channels_are_made_equal_behind_a_relu_as_well(
    random_network: Callable[..., ScoringModel], windows: np.ndarray
) -> None:
    settings = DsCnnConfig(causal=True, stride=3, channels=8, blocks=1, head_steps=2)
    network = network_of(random_network(settings, normalised=False))
    equal = equal_of(network, windows)
    assert equal.tensors(windows)[-1] == pytest.approx(network.tensors(windows)[-1], abs=1e-9)
    depthwise, mean = 2, 4
    assert isinstance(network.layers[depthwise - 1], Convolution) and network.layers[depthwise - 1].relu
    for place in (depthwise, mean):
        sizes = [np.abs(one.tensors(windows)[place]).max(axis=(0, 1, 2)) for one in (network, equal)]
        assert sizes[0].min() < 0.9 * sizes[0].max() and sizes[1] == pytest.approx(sizes[1].max())


def test_a_silent_channel_keeps_its_bias_and_harms_no_other(network: Network, windows: np.ndarray) -> None:
    first = network.layers[0]
    assert isinstance(first, Convolution)
    weight, bias = first.weight.copy(), first.bias.copy()
    weight[0], bias[0] = 0.0, 7.0
    weight[1], bias[1] = 1e-12, 5.0
    weight[2], bias[2] = 0.0, 0.0
    changed = replace(network, layers=(replace(first, weight=weight, bias=bias), *network.layers[1:]))
    made, plain = quantize(changed, [windows]), quantize(network, [windows])
    layer, other = made.layers[0], plain.layers[0]
    assert isinstance(layer, IntegerConvolution) and isinstance(other, IntegerConvolution)
    restored = layer.bias * bias_steps(layer.steps, made.scales[0]).astype(float)
    assert restored[:3] == pytest.approx([7.0, 5.0, 0.0], rel=1e-6)
    assert (layer.weight[3:] == other.weight[3:]).all() and np.isfinite(layer.steps).all() and (layer.steps > 0).all()


def test_ranges_are_those_of_the_windows_and_of_the_device(network: Network, windows: np.ndarray) -> None:
    quiet, loud = quantize(network, [windows / 10]), quantize(network, [windows])
    assert quiet.scales[1].step < loud.scales[1].step
    assert quantize(network, [windows * 100]).scales == quantize(network, [np.minimum(windows * 100, 26.0)]).scales


def test_the_same_network_gives_the_same_bytes(network: Network, windows: np.ndarray) -> None:
    first, second = (tflite_bytes(quantize(network, [windows])) for _ in range(2))
    assert first == second and first[4:8] == b"TFL3"
    assert first != tflite_bytes(quantize(network, [windows / 2]))


def test_windows_that_are_too_short_or_broken_are_refused(network: Network, windows: np.ndarray) -> None:
    enough = network.receptive_field
    assert quantize(network, [windows[:, :enough]]).parameters > 0
    with pytest.raises(DataError, match=rf"as long as the {enough} frames"):
        quantize(network, [windows[:, : enough - 1]])
    with pytest.raises(DataError, match="not finite"):
        quantize(network, [np.full_like(windows, np.nan)])


def test_another_number_of_bands_is_refused(random_network: Callable[..., ScoringModel]) -> None:
    with pytest.raises(DataError, match="have 40 numbers, but the model takes 64"):
        quantize(network_of(random_network(TINY, bands=64)), [np.zeros((1, 100, 64))])
