"""What a model costs and how far it sees."""

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

    layers = [module for module in model.modules() if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    modes = {module: module.training for module in model.modules()}
    device = next(model.parameters()).device
    try:
        model.eval()
        with torch.no_grad():
            model(torch.zeros(1, n_mels, frames, device=device))
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes.items():
            module.training = mode
    return macs
