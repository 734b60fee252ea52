"""The last epochs of a training for 8-bit integers: the network learns what their rounding makes of it.

Quantization-aware training (Jacob et al. 2018). Weights are rounded in every step by their own size, as export rounds
them. The rounding of what is between layers is set at the beginning of each such epoch, by the ranges on training rows;
that of the last epoch is the one of the exported file. Batch norms are part of the weights there, so their statistics
stay as they are.
"""

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from wakeword_core.config import Config, TrainingConfig
from wakeword_core.errors import ConfigError
from wakeword_core.export.tflite.fake_quantize import keep_rounding, rounded_odds
from wakeword_core.export.tflite.limits import FRONT_END
from wakeword_core.export.tflite.network import LINEAR_CALIBRATIONS, folded, network_of
from wakeword_core.export.tflite.quantize import Rounding, depthwise_layers, measured
from wakeword_core.models.layers import StreamingBackbone
from wakeword_core.models.rounding import TrainedRounding
from wakeword_core.models.scoring import ScoringModel

if TYPE_CHECKING:
    from wakeword_core.features.store import WindowSet

_BATCH = 32


def make_room(model: ScoringModel, config: Config, *, random: bool) -> None:
    """Give a model room for its rounding, if its last epochs are to be rounded.

    WakewordError, which says what to change, for a model that cannot be in such integers, and for one of `random`
    weights that would be rounded from the first epoch on: the statistics of its norms would never be learnt.
    """
    training = config.training
    if not training.quantization.epochs:
        return
    if random and is_rounded(0, training):
        raise ConfigError(
            f"training.quantization.epochs is {training.quantization.epochs}, but a training of "
            f"{training.schedule.epochs} epochs that begins with random weights has to learn before it is rounded; "
            "lower it, or raise training.schedule.epochs"
        )
    if (kind := config.features.frontend.kind) != FRONT_END:
        raise ConfigError(
            f"training.quantization rounds features as a microcontroller does, but features.frontend.kind is {kind}; "
            f"set it to {FRONT_END}, or training.quantization.epochs to 0"
        )
    if (method := config.evaluation.calibration.method) not in LINEAR_CALIBRATIONS:
        raise ConfigError(
            f"evaluation.calibration.method is {method}, which integers do not compute; set it to "
            f"{' or '.join(LINEAR_CALIBRATIONS)}, or training.quantization.epochs to 0"
        )
    network = network_of(model)
    channels = sum(len(layer.bias) for layer in depthwise_layers(network).values())
    model.rounding = TrainedRounding(len(network.layers) + 1, channels)


def is_rounded(epoch: int, training: TrainingConfig) -> bool:
    """Return whether the 0-based `epoch` is one of the last that are rounded."""
    return epoch >= training.schedule.epochs - training.quantization.epochs


def set_rounding(model: ScoringModel, average: ScoringModel, rows: "WindowSet", count: int) -> None:
    """Set the rounding of a model and of its average by the ranges of the average on `count` evenly spaced rows."""
    chosen = torch.linspace(0, len(rows) - 1, min(count, len(rows)), dtype=torch.float64).long()
    batches = (rows.mel[some.to(rows.mel.device)].transpose(1, 2).cpu().numpy() for some in chosen.split(_BATCH))
    rounding = measured(network_of(average), batches)
    for one in (model, average):
        keep_rounding(one, rounding)


def rounded_logits(model: ScoringModel, x: Tensor, rounding: Rounding) -> Tensor:
    """Score normalised rows [batch, n_mels, frames] as the integers do: logits [batch, 2, steps], of which one is 0."""
    backbone = cast(StreamingBackbone, model.backbone)
    with torch.autocast(x.device.type, enabled=False):
        frames = backbone.aligned(x.float()) * model.std[:, None] + model.mean[:, None]
        odds = rounded_odds(folded(model), rounding, frames, backbone.dropout)
    return torch.stack([torch.zeros_like(odds), odds], dim=1)
