"""Facts agree with counting by hand."""

from typing import Any

import pytest
import torch
from models_table import FRAMES_PER_SECOND, HOP_FRAMES, describe
from pydantic import TypeAdapter

from wakeword_core.config import (
    CdDnnConfig,
    Config,
    ConformerConfig,
    CrnnConfig,
    MixedNetConfig,
    ModelConfig,
    TcnConfig,
)
from wakeword_core.models import REGISTRY, build_model


def test_tcn_facts_by_hand() -> None:
    model = build_model(TcnConfig(channels=16, kernel=3, dilations=(1, 2), stride=2, head_steps=2), 40, 51, 2)
    facts = describe(model, 40, 51)
    stem, block, classifier = 40 * 16 * 4, 16 * 16 * 3, 16 * 2 * 2
    assert facts.parameters == stem + 32 + 2 * (block + 32) + classifier + 2
    # one window: 8 steps after the first layer, of which each block loses its reach, and one of the classifier
    assert facts.macs == 8 * stem + (6 + 2) * block + classifier
    assert facts.receptive_field_frames == 4 + 2 * (2 * 1 + 2 * 2 + 1)
    assert facts.streams
    # as a stream, each layer gives one step every two frames
    assert facts.macs_per_second == 50 * (stem + 2 * block + classifier)
    twice = build_model(
        TcnConfig(members=2, channels=16, kernel=3, dilations=(1, 2), stride=2, head_steps=2), 40, 51, 2
    )
    assert describe(twice, 40, 51).macs_per_second == 2 * facts.macs_per_second
    assert describe(model, 40, 51, frames_per_second=62.5).macs_per_second == facts.macs_per_second * 0.625


def test_mixednet_facts_by_hand() -> None:
    config = MixedNetConfig(stem_channels=8, channels=12, kernels=((3, 5), (4,)), stride=3, head_steps=2)
    facts = describe(build_model(config, 40, 51, 3), 40, 51)
    stem, first, second, classifier = 40 * 8 * 5, 4 * 3 + 4 * 5 + 8 * 12, 12 * 4 + 12 * 12, 12 * 3 * 2
    assert facts.parameters == stem + first + second + classifier + 2 * (8 + 12 + 12) + 3
    # 9 steps after the first layer, 5 and 2 after the blocks, 1 of the classifier; the kernel of 3 has zeros in front
    padded = first + 4 * 2
    assert facts.macs == 9 * stem + 5 * padded + 2 * second + classifier
    assert facts.macs_per_second == pytest.approx(100 / 3 * (stem + padded + second + classifier))
    assert facts.receptive_field_frames == 5 + 3 * (4 + 3 + 1)


def test_cd_dnn_facts_by_hand() -> None:
    config = CdDnnConfig(stacked_frames=9, frame_step=2, stride=4, hidden_units=16, hidden_layers=2)
    facts = describe(build_model(config, 40, 51, 2), 40, 51)
    assert facts.macs == 40 * 9 * 16 + 16 * 16 + 16 * 2
    assert facts.macs_per_second == 25 * facts.macs
    assert facts.receptive_field_frames == 17


@pytest.mark.parametrize(("cell", "gates"), [("gru", 3), ("lstm", 4)])
@pytest.mark.parametrize("directions", [1, 2])
def test_products_of_recurrent_layers_count(cell: Any, gates: int, directions: int) -> None:
    config = CrnnConfig(
        channels=4, kernel_bands=3, kernel_frames=5, units=6, hidden_units=10, cell=cell, bidirectional=directions == 2
    )
    facts = describe(build_model(config, 16, 33, 2), 16, 33)
    bands, steps = 8, 5
    stem = 4 * bands * steps * 3 * 5
    first = steps * directions * gates * 6 * (4 * bands + 6)
    second = steps * directions * gates * 6 * (6 * directions + 6)
    assert facts.macs == stem + first + second + 6 * directions * steps * 10 + 10 * 2
    assert facts.macs_per_second == facts.macs * 25  # a window every 4 frames
    assert describe(build_model(config, 16, 33, 2), 16, 33, hop_frames=10).macs_per_second == facts.macs * 10


def test_products_of_attention_count() -> None:
    config = ConformerConfig(channels=8, layers=1, heads=2, expansion=3, kernel=5)
    facts = describe(build_model(config, 16, 35, 2), 16, 35)
    steps, width = 9, 8
    subsampling = 8 * 18 * width * 9 + 4 * steps * width * width * 9 + steps * 4 * width * width
    feed_forward = 2 * steps * width * 3 * width
    attention = steps * 4 * width * width + 2 * steps * steps * width
    convolution = steps * (2 * width * width + 5 * width + width * width)
    assert facts.macs == subsampling + 2 * feed_forward + attention + convolution + width * 2


def test_the_rates_are_those_of_the_default_configuration() -> None:
    config = Config()
    frontend, rate = config.features.frontend, config.data.audio.sample_rate
    assert rate / frontend.hop_length == FRAMES_PER_SECOND
    assert frontend.frames(config.evaluation.detector.stride_seconds, rate) == HOP_FRAMES


@pytest.mark.parametrize("arch", REGISTRY)
def test_every_architecture_has_facts(arch: str) -> None:
    model = build_model(TypeAdapter(ModelConfig).validate_python({"arch": arch}), 64, 151, 2)
    facts = describe(model, 64, 151)
    assert facts.parameters == sum(one.numel() for one in model.parameters())
    assert facts.streams == hasattr(model, "dense")
    assert facts.receptive_field_frames <= 151 if facts.streams else facts.receptive_field_frames == 151
    assert facts.macs > 0.9 * facts.parameters  # every weight is used, but those of norms


def test_describing_changes_nothing() -> None:
    model = build_model(TcnConfig(channels=8, dilations=(1,)), 40, 51, 2).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    describe(model, 40, 51)
    assert all(module.training for module in model.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())
