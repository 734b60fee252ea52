"""What a model costs and how far it sees."""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class ModelFacts:
    """Size and reach of a backbone."""

    parameters: int
    macs: int
    """Multiply-accumulates of convolutions and linear layers for one window."""
    receptive_field_frames: int
    """Frames that one step of the output depends on: for models that do not stream, the whole window."""
    streams: bool


def count_parameters(model: nn.Module) -> int:
    """Trainable numbers of a model."""
    return sum(parameter.numel() for parameter in model.parameters())


def describe(model: nn.Module, n_mels: int, frames: int) -> ModelFacts:
    """Facts of a backbone for windows [n_mels, frames]; its mode and weights stay as they are."""
    streams = bool(getattr(model, "streams", False))
    reach = int(getattr(model, "receptive_field_frames", frames)) if streams else frames
    return ModelFacts(count_parameters(model), _count_macs(model, n_mels, frames), reach, streams)


def _count_macs(model: nn.Module, n_mels: int, frames: int) -> int:
    macs = 0

    def count(module: nn.Module, inputs: Any, output: Tensor) -> None:
        nonlocal macs
        weight = module.weight
        assert isinstance(weight, Tensor)
        macs += output[0].numel() * weight[0].numel()

    # without numbers: only shapes are needed, and the models compute by their layers there
    shapes = copy.deepcopy(model).to("meta").eval()
    for module in shapes.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    with torch.no_grad():
        shapes(torch.zeros(1, n_mels, frames, device="meta"))
    return macs
