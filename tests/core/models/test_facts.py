"""Facts agree with counting by hand."""

import torch

from wakeword_core.config import BcResNetConfig, TcnConfig, TinyConvConfig
from wakeword_core.models import build_model
from wakeword_core.models.facts import describe


def test_tcn_facts_by_hand() -> None:
    model = build_model(TcnConfig(channels=16, kernel=3, dilations=(1, 2), stride=2, head_steps=2), 40, 51, 2)
    facts = describe(model, 40, 51)
    stem, block, classifier = 40 * 16 * 4, 16 * 16 * 3, 16 * 2 * 2
    assert facts.parameters == stem + 32 + 2 * (block + 32) + classifier + 2
    # one window: 8 steps after the first layer, of which each block loses its reach, and one of the classifier
    assert facts.macs == 8 * stem + (6 + 2) * block + classifier
    assert facts.receptive_field_frames == 4 + 2 * (2 * 1 + 2 * 2 + 1)
    assert facts.streams


def test_models_that_do_not_stream_see_the_whole_window() -> None:
    for config in (BcResNetConfig(), TinyConvConfig()):
        facts = describe(build_model(config, 64, 151, 2), 64, 151)
        assert not facts.streams
        assert facts.receptive_field_frames == 151
        assert facts.macs > facts.parameters


def test_describing_changes_nothing() -> None:
    model = build_model(TcnConfig(channels=8, dilations=(1,)), 40, 51, 2).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    describe(model, 40, 51)
    assert all(module.training for module in model.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())
