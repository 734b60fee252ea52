"""A trained network as a microcontroller computes it: the same scores, with everything folded into few layers."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from wakeword_core.config import DsCnnConfig, MixedNetConfig, TcnConfig
from wakeword_core.errors import WakewordError
from wakeword_core.export.tflite.network import Convolution, Residual, network_of
from wakeword_core.export.tflite.parity import network_scores
from wakeword_core.models.scoring import ScoringModel

SHAPES = {
    "default": MixedNetConfig(),
    "every frame": MixedNetConfig(stride=1, kernels=((3,), (5, 9))),
    "of one step": MixedNetConfig(stride=2, kernels=((1,), (4,)), head_steps=1),
    "uneven groups": MixedNetConfig(stem_channels=10, channels=10, kernels=((2, 3, 7), (1, 4)), head_steps=7),
    "over bands": DsCnnConfig(causal=True, stride=3),
    "over every band": DsCnnConfig(causal=True, stride=1, channels=4, blocks=1, head_steps=1),
    "over every other band": DsCnnConfig(causal=True, stride=2, channels=6, blocks=3, head_steps=4),
}


def settled(shape: str, make: Callable[..., ScoringModel]) -> ScoringModel:
    return make(SHAPES[shape], normalised=isinstance(SHAPES[shape], MixedNetConfig))


@pytest.mark.parametrize("shape", list(SHAPES))
def test_it_gives_the_networks_scores(shape: str, random_network: Callable[..., ScoringModel]) -> None:
    model = settled(shape, random_network)
    network = network_of(model)
    assert network.stride == model.backbone.stride and network.bands == 40
    assert network.receptive_field == model.backbone.receptive_field_frames
    frames = np.random.default_rng(1).uniform(0.0, 26.0, (600, 40)).astype(np.float32)
    expected = network_scores(model, frames)
    scores = network.scores(frames)
    assert len(scores) == 600 // network.stride and expected.std() > 1e-3
    assert np.abs(scores[-len(expected) :] - expected).max() < 1e-5


@pytest.mark.parametrize("shape", ["uneven groups", "over bands"])
def test_a_score_depends_on_its_receptive_field_alone(shape: str, random_network: Callable[..., ScoringModel]) -> None:
    network = network_of(settled(shape, random_network))
    frames = np.random.default_rng(2).uniform(0.0, 26.0, (1, 300, 40))
    odds = network.tensors(frames)[-1]
    needed = network.receptive_field
    assert odds.shape == (1, (300 - needed) // 3 + 1, 1, 1)
    for step in (0, 5, odds.shape[1] - 1):
        window = frames[:, 3 * step : 3 * step + needed]
        assert network.tensors(window)[-1] == pytest.approx(odds[:, step : step + 1], abs=1e-9)
    nearer = frames.copy()
    nearer[:, : 3 * 5] += 1.0  # frames that the sixth score has left behind
    later = network.tensors(nearer)[-1]
    assert later[:, 5:] == pytest.approx(odds[:, 5:], abs=1e-9) and np.abs(later[:, :5] - odds[:, :5]).min() > 1e-9


def test_only_blocks_of_as_many_channels_have_a_residual(random_network: Callable[..., ScoringModel]) -> None:
    layers = network_of(random_network(MixedNetConfig())).layers
    residuals = [(place, layer.source) for place, layer in enumerate(layers) if isinstance(layer, Residual)]
    assert residuals == [(5, 3), (8, 6), (11, 9)]
    before = [layers[place - 1] for place, _ in residuals]
    assert not any(layer.relu for layer in before if isinstance(layer, Convolution))


def test_vector_scaling_is_part_of_the_weights(random_network: Callable[..., ScoringModel]) -> None:
    model = random_network(SHAPES["every frame"])
    plain = network_of(model).layers[-1]
    model.set_calibrator("vector", {"scale": [0.5, 2.0], "shift": [0.3, -0.4]})
    frames = np.random.default_rng(3).uniform(0.0, 26.0, (100, 40)).astype(np.float32)
    expected = network_scores(model, frames)
    assert network_of(model).scores(frames)[-len(expected) :] == pytest.approx(expected, abs=1e-6)
    assert isinstance(plain, Convolution) and plain.weight.shape == (1, 1, 1, 64)


def test_a_curve_has_no_place_in_the_weights(random_network: Callable[..., ScoringModel]) -> None:
    model = random_network(SHAPES["of one step"])
    model.set_calibrator("isotonic", {})
    with pytest.raises(WakewordError, match=r"evaluation\.calibration\.method to temperature or vector"):
        network_of(model)


def test_several_words_or_another_architecture_are_refused(random_network: Callable[..., ScoringModel]) -> None:
    with pytest.raises(WakewordError, match="3 classes, but a microcontroller's has one wake word"):
        network_of(random_network(SHAPES["of one step"], classes=3))
    torch.manual_seed(0)
    with pytest.raises(WakewordError, match=r"training\.model\.arch tcn .* set it to mixednet or ds_cnn"):
        network_of(ScoringModel(TcnConfig(), 40, 151, 2))
    with pytest.raises(WakewordError, match=r"ds_cnn needs its window whole; set training\.model\.causal to true"):
        network_of(ScoringModel(DsCnnConfig(), 40, 151, 2))


def test_bands_that_share_weights_are_not_normalised_each_by_itself(
    random_network: Callable[..., ScoringModel],
) -> None:
    with pytest.raises(WakewordError, match="shares its first weights among bands"):
        network_of(random_network(SHAPES["over bands"]))
    model = random_network(SHAPES["over bands"], normalised=False)
    model.std *= 4.0
    frames = np.random.default_rng(1).uniform(0.0, 26.0, (200, 40)).astype(np.float32)
    expected = network_scores(model, frames[:198])
    assert network_of(model).scores(frames)[-len(expected) :] == pytest.approx(expected, abs=1e-5)
