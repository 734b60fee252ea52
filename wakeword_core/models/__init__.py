"""Backbones by name: log-mel windows in, logits out."""

from typing import Any, cast

from torch import nn

from wakeword_core.config import ModelConfig
from wakeword_core.config.models import PluginModelConfig
from wakeword_core.errors import ConfigError
from wakeword_core.models.bc_resnet import BcResNet
from wakeword_core.models.cd_dnn import CdDnn
from wakeword_core.models.conformer import Conformer
from wakeword_core.models.crnn import Crnn
from wakeword_core.models.custom import custom, vgg
from wakeword_core.models.ds_cnn import ds_cnn
from wakeword_core.models.mixednet import MixedNet
from wakeword_core.models.mobilenetv3 import MobileNetV3
from wakeword_core.models.plugin import plugin_backbone
from wakeword_core.models.resnet import ResNet
from wakeword_core.models.tcn import tcn
from wakeword_core.models.tiny_conv import TinyConv

__all__ = ["MIN_FRAMES", "REGISTRY", "build_model"]

MIN_FRAMES = 32
"""Shortest window that every backbone works on."""

REGISTRY: dict[str, Any] = {
    "bc_resnet": BcResNet,
    "tiny_conv": TinyConv,
    "tcn": tcn,
    "mixednet": MixedNet,
    "cd_dnn": CdDnn,
    "ds_cnn": ds_cnn,
    "crnn": Crnn,
    "mobilenetv3": MobileNetV3,
    "resnet18": ResNet,
    "resnet34": ResNet,
    "conformer": Conformer,
    "vgg": vgg,
    "custom": custom,
}
"""`ModelConfig.arch` -> what makes a backbone of (settings, n_mels, frames, classes); others are of other packages."""


def build_model(settings: ModelConfig, n_mels: int, frames: int, classes: int) -> nn.Module:
    """Make a freshly initialised backbone for windows [n_mels, frames]; draws from torch's default generator."""
    if frames < MIN_FRAMES:
        raise ConfigError(
            f"features.frontend.window_frames is {frames}, but models need at least {MIN_FRAMES} frames; make it longer"
        )
    if isinstance(settings, PluginModelConfig):
        return plugin_backbone(settings, n_mels, frames, classes)
    return cast(nn.Module, REGISTRY[settings.arch](settings, n_mels, frames, classes))
