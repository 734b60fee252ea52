"""Settings of each architecture."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from wakeword_core.config.base import DecidesIf, Settings
from wakeword_core.config.layers import CustomConfig, VggConfig
from wakeword_core.config.plugins import PluginConfig


class BcResNetConfig(Settings):
    """BC-ResNet (Kim et al. 2021): 2-D convolutions with broadcast temporal residuals."""

    arch: Literal["bc_resnet"] = "bc_resnet"
    tau: float = Field(1, description="Width multiplier: 1, 1.5, 2, 3, 6 or 8, as in the paper.")
    dropout: float = Field(0.1, ge=0, lt=1, description="Dropout in the broadcast branch.")

    @field_validator("tau")
    @classmethod
    def _published(cls, tau: float) -> float:
        if tau not in (1, 1.5, 2, 3, 6, 8):
            raise ValueError("must be 1, 1.5, 2, 3, 6 or 8")
        return tau


class TinyConvConfig(Settings):
    """A small 2-D convolutional network."""

    arch: Literal["tiny_conv"] = "tiny_conv"
    channels: int = Field(24, ge=4, le=256, description="Channels of the first layer; they double twice.")
    separable: bool = Field(False, description="Depthwise separable convolutions after the first layer.")
    dropout: float = Field(0.1, ge=0, lt=1, description="Dropout before the classifier.")


class TcnConfig(Settings):
    """A temporal convolutional network over mel channels, residual, dilated and without padding."""

    arch: Literal["tcn"] = "tcn"
    channels: int = Field(64, ge=8, le=512, description="Channels of every block.")
    kernel: int = Field(5, ge=2, le=31, description="Taps of each temporal convolution.")
    dilations: tuple[Annotated[int, Field(ge=1, le=64)], ...] = Field(
        (1, 1, 2, 2, 4), min_length=1, max_length=24, description="Steps between taps, one number a block."
    )
    stride: int = Field(3, ge=1, le=8, description="Frames a step after the first layer.")
    members: int = Field(1, ge=1, le=16, description="Networks of this size whose scores are averaged.")
    head_steps: int = Field(9, ge=1, le=64, description="Last steps that the classifier sees.")
    dropout: float = Field(0.1, ge=0, lt=1, description="Dropout before the classifier.")


class _ResNetConfig(Settings):
    width: int = Field(64, ge=4, le=256, description="Channels of the first stage; they double three times.")
    dropout: float = Field(0.1, ge=0, lt=1, description="Dropout before the classifier.")


class ResNet18Config(_ResNetConfig):
    """ResNet of 18 layers (He et al. 2016); 64 channels are the paper's."""

    arch: Literal["resnet18"] = "resnet18"


class ResNet34Config(_ResNetConfig):
    """ResNet of 34 layers (He et al. 2016); 64 channels are the paper's."""

    arch: Literal["resnet34"] = "resnet34"


class MobileNetV3Config(Settings):
    """MobileNetV3-Small (Howard et al. 2019): inverted residuals with squeeze-and-excite."""

    arch: Literal["mobilenetv3"] = "mobilenetv3"
    width: float = Field(1.0, ge=0.1, le=2, description="Multiplier of all channels, rounded to multiples of 8.")
    gru_units: int = Field(
        0, ge=0, le=1_024, description="Units of a GRU over time before the classifier; 0: pooling, as in the paper."
    )
    dropout: float = Field(0.2, ge=0, lt=1, description="Dropout before the classifier.")


_IF_CAUSAL = DecidesIf(lambda model: model.causal)


class DsCnnConfig(Settings):
    """DS-CNN (Zhang et al. 2017): depthwise separable convolutions; the defaults are the paper's small one."""

    arch: Literal["ds_cnn"] = "ds_cnn"
    channels: int = Field(64, ge=4, le=512, description="Channels of every layer: 64, 172 or 276 in the paper.")
    blocks: int = Field(4, ge=1, le=16, description="Depthwise separable layers: 4, 4 or 5 in the paper.")
    stride: int = Field(4, ge=1, le=8, description="Bands and frames a step after the first layer; in the paper 2.")
    causal: Annotated[bool, _IF_CAUSAL] = Field(
        False, description="Nothing is padded over time, so that it runs step by step, as on a microcontroller."
    )
    head_steps: Annotated[int, _IF_CAUSAL] = Field(
        24, ge=1, le=64, description="If causal, last steps that the classifier sees."
    )
    dropout: float = Field(0.1, ge=0, lt=1, description="Dropout before the classifier.")


class CrnnConfig(Settings):
    """CRNN (Arik et al. 2017): a strided convolution, recurrent layers and a hidden layer; the paper's sizes."""

    arch: Literal["crnn"] = "crnn"
    channels: int = Field(32, ge=4, le=256, description="Channels of the convolution.")
    kernel_bands: int = Field(5, ge=1, le=31, description="Bands that the convolution sees.")
    kernel_frames: int = Field(20, ge=1, le=64, description="Frames that the convolution sees.")
    stride_bands: int = Field(2, ge=1, le=8, description="Bands between two places of the convolution.")
    stride_frames: int = Field(8, ge=1, le=32, description="Frames between two steps.")
    cell: Literal["gru", "lstm"] = Field("gru", description="Kind of recurrent layers.")
    units: int = Field(32, ge=4, le=512, description="Units of each recurrent layer, in each direction.")
    layers: int = Field(2, ge=1, le=6, description="Recurrent layers.")
    bidirectional: bool = Field(True, description="Whether recurrent layers run over time both ways.")
    hidden_units: int = Field(64, ge=4, le=1_024, description="Units of the layer before the classifier.")
    dropout: float = Field(0.1, ge=0, lt=1, description="Dropout before the classifier.")


class CdDnnConfig(Settings):
    """A fully connected network over stacked frames (Chen et al. 2014), the classical keyword spotter."""

    arch: Literal["cd_dnn"] = "cd_dnn"
    stacked_frames: int = Field(41, ge=1, le=200, description="Frames stacked to one input.")
    frame_step: int = Field(3, ge=1, le=8, description="Frames from a stacked one to the next: 3 takes every third.")
    stride: int = Field(3, ge=1, le=8, description="Frames between two steps.")
    hidden_units: int = Field(128, ge=8, le=2_048, description="Units of each hidden layer.")
    hidden_layers: int = Field(3, ge=1, le=10, description="Hidden layers.")
    dropout: float = Field(0.1, ge=0, lt=1, description="Dropout before the classifier.")


class ConformerConfig(Settings):
    """Conformer (Gulati et al. 2020): self-attention and convolution, over every fourth frame."""

    arch: Literal["conformer"] = "conformer"
    channels: int = Field(64, ge=8, le=512, description="Numbers a step; a multiple of heads.")
    layers: int = Field(4, ge=1, le=20, description="Blocks.")
    heads: int = Field(4, ge=1, le=16, description="Heads of self-attention.")
    expansion: int = Field(4, ge=1, le=8, description="Width of the feed-forward layers, in channels.")
    kernel: int = Field(15, ge=3, le=63, description="Steps that the convolution of a block sees; odd.")
    dropout: float = Field(0.1, ge=0, lt=1, description="Dropout in the blocks and before the classifier.")

    @field_validator("kernel")
    @classmethod
    def _centred(cls, kernel: int) -> int:
        if kernel % 2 == 0:
            raise ValueError("must be odd")
        return kernel

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.channels % self.heads:
            raise ValueError(f"channels must be a multiple of heads ({self.heads})")
        return self


_Kernels = Annotated[tuple[Annotated[int, Field(ge=1, le=64)], ...], Field(min_length=1, max_length=8)]


class MixedNetConfig(Settings):
    """A streaming network of mixed depthwise kernels (after Tan and Le 2019, and microWakeWord's mixednet)."""

    arch: Literal["mixednet"] = "mixednet"
    stem_channels: int = Field(32, ge=8, le=512, description="Channels of the first layer.")
    channels: int = Field(64, ge=8, le=512, description="Channels of every block.")
    kernels: tuple[_Kernels, ...] = Field(
        ((5,), (7, 11), (9, 15), (21,)),
        min_length=1,
        max_length=24,
        description="Steps that the depthwise convolutions of each block see; several share its channels.",
    )
    stride: int = Field(3, ge=1, le=8, description="Frames a step after the first layer.")
    head_steps: int = Field(1, ge=1, le=64, description="Last steps that the classifier sees.")
    dropout: float = Field(0.1, ge=0, lt=1, description="Dropout before the classifier.")


class PluginModelConfig(PluginConfig):
    """A network of another package."""

    plugin_kind = "model"

    arch: Literal["plugin"] = "plugin"


ModelConfig = Annotated[
    BcResNetConfig
    | TinyConvConfig
    | TcnConfig
    | MixedNetConfig
    | CdDnnConfig
    | DsCnnConfig
    | CrnnConfig
    | MobileNetV3Config
    | ResNet18Config
    | ResNet34Config
    | ConformerConfig
    | VggConfig
    | CustomConfig
    | PluginModelConfig,
    Field(discriminator="arch"),
]


def scores_every_step(model: ModelConfig) -> bool:
    """Tell whether a network of this project scores each step of a stream instead of whole windows."""
    return model.arch in ("tcn", "mixednet", "cd_dnn") or (
        isinstance(model, DsCnnConfig | CustomConfig) and model.causal
    )


def architecture(model: ModelConfig) -> str:
    """Return what an architecture is called, which of another package is its name there."""
    return model.name if isinstance(model, PluginModelConfig) else model.arch
