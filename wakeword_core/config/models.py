"""The architectures."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from wakeword_core.config.base import Settings


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


ModelConfig = Annotated[BcResNetConfig | TinyConvConfig | TcnConfig, Field(discriminator="arch")]
