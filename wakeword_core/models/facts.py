"""What a model costs and how far it sees."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from wakeword_core.models.backbones import StreamingBackbone
from wakeword_core.models.tcn import TcnEnsemble

FRAMES_PER_SECOND = 100.0
"""Of the default front end."""
HOP_FRAMES = 4
"""Frames between two windows with the default detector."""


@dataclass(frozen=True)
class ModelFacts:
    """Size, cost and reach of a backbone."""

    parameters: int
    macs: int
    """Multiply-accumulates for one window: of convolutions, linear and recurrent layers, and attention's products."""
    macs_per_second: float
    """The same for a second of audio without end. A model that streams computes every step once; of the others every
    window is computed anew, one each hop."""
    receptive_field_frames: int
    """Frames that one step of the output depends on: for models that do not stream, the whole window."""
    streams: bool


def count_parameters(model: nn.Module) -> int:
    """Trainable numbers of a model."""
    return sum(parameter.numel() for parameter in model.parameters())


def describe(
    model: nn.Module,
    n_mels: int,
    frames: int,
    *,
    frames_per_second: float = FRAMES_PER_SECOND,
    hop_frames: int = HOP_FRAMES,
) -> ModelFacts:
    """Facts of a backbone for windows [n_mels, frames]; its mode and weights stay as they are.

    `hop_frames` is the step between windows of a model that does not stream.
    """
    # without numbers: only shapes are needed, and the models compute by their layers there
    shapes = copy.deepcopy(model).to("meta").eval()
    macs = _count_macs(shapes, n_mels, frames)
    parameters = count_parameters(model)
    if not model.streams:
        return ModelFacts(parameters, macs, macs * frames_per_second / hop_frames, frames, False)
    streaming = cast(StreamingBackbone | TcnEnsemble, shapes)
    reach, stride = streaming.receptive_field_frames, streaming.stride
    one, two = (_count_macs(streaming.dense, n_mels, reach + more) for more in (0, stride))
    return ModelFacts(parameters, macs, (two - one) * frames_per_second / stride, reach, True)


def _count_macs(network: Callable[[Tensor], Tensor], n_mels: int, frames: int) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, n_mels, frames, device="meta"))
    return int(counter.get_total_flops()) // 2
