"""Networks of other packages: made by their plug-in, and held to what every network here does."""

import torch
from torch import nn

from wakeword_core.config.models import PluginModelConfig
from wakeword_core.models.layers import StreamingBackbone, WindowBackbone

_WINDOWS = 2
"""So that a batch of one size shows itself."""


def plugin_backbone(settings: PluginModelConfig, n_mels: int, frames: int, classes: int) -> nn.Module:
    """Make a network of another package; WakewordError where it is none, or gives no scores of a window."""
    plugin = settings.plugin
    network = plugin.make(settings.settings, n_mels, frames, classes)
    plugin.require(
        isinstance(network, StreamingBackbone | WindowBackbone), "it is no StreamingBackbone and no WindowBackbone"
    )
    with plugin.blamed(), torch.no_grad():
        logits = network.eval()(torch.zeros(_WINDOWS, n_mels, frames))
    shape = tuple(getattr(logits, "shape", ()))
    plugin.require(
        shape == (_WINDOWS, classes),
        f"it gives {list(shape)} for {_WINDOWS} windows of {n_mels} by {frames}, and not one score of each of the "
        f"{classes} classes",
    )
    trained: nn.Module = network.train()
    return trained
