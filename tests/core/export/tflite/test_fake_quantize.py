"""What torch trains in floats that are whole steps is what the integers give, in the file and in its runtimes."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from wakeword_core.config import DsCnnConfig, MixedNetConfig
from wakeword_core.export.tflite.fake_quantize import (
    keep_rounding,
    rounded_odds,
    trained_integers,
    trained_rounding,
)
from wakeword_core.export.tflite.network import folded, network_of
from wakeword_core.export.tflite.parity import compare, network_scores
from wakeword_core.export.tflite.quantize import (
    LOG_ODDS,
    Rounding,
    Scale,
    depthwise_layers,
    measured,
    quantize,
    rounded,
)
from wakeword_core.export.tflite.reading import parse_tflite
from wakeword_core.export.tflite.runtimes import esphome_integers, esphome_levels, run
from wakeword_core.export.tflite.writer import tflite_bytes
from wakeword_core.models.rounding import TrainedRounding
from wakeword_core.models.scoring import ScoringModel, load_model, save_model

SHAPES = {
    "mixednet": MixedNetConfig(),
    "uneven groups": MixedNetConfig(stem_channels=10, channels=10, kernels=((2, 3, 7), (1, 4)), head_steps=7),
    "ds_cnn": DsCnnConfig(causal=True, stride=3),
}
SHIFT = 0.7


def as_trained(model: ScoringModel, loud: float = 26.0) -> Rounding:
    """Give a model a rounding as if it had been trained with it."""
    network = network_of(model)
    windows = np.random.default_rng(0).uniform(0.0, loud, (4, 300, 40))
    channels = sum(len(layer.bias) for layer in depthwise_layers(network).values())
    model.rounding = TrainedRounding(len(network.layers) + 1, channels)
    assert trained_rounding(model) is None and trained_integers(model) is None  # room for it is none yet
    rounding = measured(network, [windows])
    keep_rounding(model, rounding)
    return rounding


def device_features(frames: int) -> np.ndarray:
    """Numbers that the device's front end gives."""
    return (np.random.default_rng(1).integers(0, 666, (frames, 40)) / 25.6).astype(np.float32)


@pytest.mark.parametrize("shape", list(SHAPES))
def test_the_file_gives_what_was_trained_to_one_step_of_its_log_odds(
    shape: str, random_network: Callable[..., ScoringModel], tmp_path: Path
) -> None:
    model = random_network(SHAPES[shape], normalised=shape != "ds_cnn")
    rounding = as_trained(model)
    network, path = trained_integers(model, SHIFT), tmp_path / "word.tflite"
    assert network is not None
    path.write_bytes(tflite_bytes(network))
    heard = device_features(402)
    expected = network_scores(model, heard, SHIFT, rounding)
    steps = np.rint(np.log(expected / (1 - expected)) / LOG_ODDS.step)
    for runtime, allowed in (("litert", 0.02), ("tflite_micro", 0.4)):
        scores = run(runtime, path, heard)[-len(expected) :]
        # of the log-odds that a score of 256 steps can stand for, the nearest
        nearest = [
            min(abs(step - other) for other in range(-128, 128) if abs(score_of(other) - score) <= 1 / 256)
            for step, score in zip(steps, scores, strict=True)
        ]
        assert max(nearest) <= 1 and np.mean(nearest) <= allowed, runtime
    plain = network_scores(model, heard, SHIFT)
    assert np.abs(plain - expected).max() > 0.5 / 256  # rounding does something that can be seen


def score_of(step: int) -> float:
    return float(1 / (1 + np.exp(-step * LOG_ODDS.step)))


def test_the_file_has_the_steps_that_were_trained_and_not_those_of_other_windows(
    random_network: Callable[..., ScoringModel], tmp_path: Path
) -> None:
    model = random_network(SHAPES["mixednet"])
    rounding = as_trained(model, loud=10.0)
    save_model(tmp_path, model, {"labels": ["_negative", "robin"], "frontend": {}, "sample_rate": 16_000})
    loaded, _ = load_model(tmp_path)
    assert loaded.rounding is not None and loaded.rounding.known
    network = trained_integers(loaded)
    assert network is not None and network.scales == rounding.scales
    loud = np.random.default_rng(0).uniform(0.0, 26.0, (4, 300, 40))
    afterwards = quantize(network_of(loaded), [loud])
    assert afterwards.scales != network.scales
    (main, *_) = parse_tflite(tflite_bytes(network))
    written = {tensor.name: (tensor.steps, tensor.zero_points) for tensor in main.tensors}
    for place, scale in enumerate(rounding.scales[1:-1]):
        name = f"sum_{place}" if f"sum_{place}" in written else f"layer_{place}"
        assert written[name] == ((scale.step,), (scale.zero_point,))


def test_a_rounding_belongs_to_the_weights_and_not_to_the_float_network(
    random_network: Callable[..., ScoringModel],
) -> None:
    model = random_network(SHAPES["uneven groups"], normalised=False)
    x = torch.rand(2, 40, 151) * 26
    before, names = model(x), set(model.state_dict())
    as_trained(model)
    assert torch.equal(model(x), before)
    assert set(model.weights) == names < set(model.state_dict())


def test_the_check_compares_a_file_with_the_network_that_it_was_made_from(
    random_network: Callable[..., ScoringModel], tmp_path: Path
) -> None:
    model = random_network(SHAPES["uneven groups"])
    rounding = as_trained(model, loud=5.0)  # which sets ranges that cut off most of what is louder
    network, path = trained_integers(model), tmp_path / "word.tflite"
    assert network is not None
    path.write_bytes(tflite_bytes(network))
    heard = device_features(300)
    found = {name: max(one.mean_difference for one in compare(model, path, heard, 0.5, rounding=given))
             for name, given in (("float", None), ("trained", rounding))}  # fmt: skip
    assert found["trained"] < 2 / 256 and found["float"] > 4 * found["trained"]


def test_levels_are_those_of_the_device_for_arrays_and_tensors() -> None:
    features = device_features(50)
    levels = esphome_levels(torch.from_numpy(features))
    assert (levels.numpy() - 128 == esphome_integers(features)).all() and levels.min() == 0 and levels.max() == 255


def test_values_beyond_a_range_get_no_gradient(random_network: Callable[..., ScoringModel]) -> None:
    model = random_network(MixedNetConfig(stem_channels=8, channels=8, kernels=((2,),), head_steps=1))
    frames = torch.from_numpy(device_features(40).T[None].copy())
    wide = as_trained(model)
    narrow = replace(wide, scales=(wide.scales[0], Scale(1e-6, -128), *wide.scales[2:]))
    norms = []
    for rounding in (narrow, wide):
        model.zero_grad()
        rounded_odds(folded(model), rounding, frames).sum().backward()
        norms.append(float(model.backbone.stem.weight.grad.norm()))
    assert norms[0] < 0.01 * norms[1]


def test_the_same_rounding_gives_the_same_integers(random_network: Callable[..., ScoringModel]) -> None:
    model = random_network(SHAPES["mixednet"])
    rounding = as_trained(model)
    made = trained_integers(model)
    assert made is not None and tflite_bytes(made) == tflite_bytes(rounded(network_of(model), rounding))
