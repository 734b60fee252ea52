"""Backbones by name: log-mel windows in, logits out."""

from typing import Any, Protocol, cast

from torch import Tensor, nn

from wakeword_core.config import ModelConfig
from wakeword_core.errors import ConfigError
from wakeword_core.models.bc_resnet import bc_resnet
from wakeword_core.models.cd_dnn import cd_dnn
from wakeword_core.models.conformer import conformer
from wakeword_core.models.crnn import crnn
from wakeword_core.models.ds_cnn import ds_cnn
from wakeword_core.models.mixednet import mixednet
from wakeword_core.models.mobilenetv3 import mobilenetv3
from wakeword_core.models.resnet import resnet
from wakeword_core.models.tcn import tcn
from wakeword_core.models.tiny_conv import tiny_conv

__all__ = ["MIN_FRAMES", "REGISTRY", "Backbone", "build_model"]

MIN_FRAMES = 32
"""Shortest window that every backbone works on."""

REGISTRY: dict[str, Any] = {
    "bc_resnet": bc_resnet,
    "tiny_conv": tiny_conv,
    "tcn": tcn,
    "mixednet": mixednet,
    "cd_dnn": cd_dnn,
    "ds_cnn": ds_cnn,
    "crnn": crnn,
    "mobilenetv3": mobilenetv3,
    "resnet18": resnet,
    "resnet34": resnet,
    "conformer": conformer,
}
"""`ModelConfig.arch` -> function (config, n_mels, frames, classes) -> backbone."""


class Backbone(Protocol):
    """What every entry of the registry returns, on top of `nn.Module`."""

    streams: bool
    """Whether it can run step by step on endless audio (causal, no padding on the right)."""

    def embed(self, x: Tensor) -> Tensor:
        """[batch, n_mels, frames] -> [batch, d], what the classifier sees."""
        ...

    def forward(self, x: Tensor) -> Tensor:
        """[batch, n_mels, frames] -> logits [batch, classes]."""
        ...


def build_model(config: ModelConfig, n_mels: int, frames: int, classes: int) -> nn.Module:
    """A freshly initialised `Backbone` for windows [n_mels, frames]; draws from torch's default generator."""
    if frames < MIN_FRAMES:
        raise ConfigError(
            f"features.frontend.window_frames is {frames}, but models need at least {MIN_FRAMES} frames; make it longer"
        )
    return cast(nn.Module, REGISTRY[config.arch](config, n_mels, frames, classes))
