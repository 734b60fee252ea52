"""Settings of a network whose layers are listed, and the shapes that they give."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from wakeword_core.config.base import DecidesIf, Settings

_Taps = Annotated[int, Field(ge=1, le=64)]
_Steps = Annotated[int, Field(ge=1, le=16)]
_CONVOLUTIONS = ("conv", "depthwise")
_POOLS = ("max_pool", "mean_pool")
_WITH_CHANNELS = ("conv", "dense")


class LayerConfig(Settings):
    """One layer: a convolution with batch norm, a pooling, or one that looks at all that is left."""

    kind: Literal["conv", "depthwise", "max_pool", "mean_pool", "mean", "dense"] = Field(
        description="A convolution; one of each channel by itself; the largest or the mean of a few places; the mean "
        "of all places; or a fully connected layer over all places."
    )
    channels: int = Field(0, ge=0, le=4_096, description="For conv and dense: what it gives; 0 elsewhere.")
    kernel: tuple[_Taps, _Taps] | None = Field(
        None, description="Bands and steps that it sees; null: 3 and 3, of a pool 2 and 2. Not of mean and dense."
    )
    stride: tuple[_Steps, _Steps] | None = Field(
        None, description="Bands and steps from one place to the next; null: 1 and 1, of a pool its kernel."
    )
    activation: Literal["relu", "hard_swish", "none"] = Field(
        "relu", description="What follows the norm of a convolution or a dense layer."
    )

    @property
    def seen(self) -> tuple[int, int]:
        """Bands and steps that it sees, if it does not see all."""
        return self.kernel or ((2, 2) if self.kind in _POOLS else (3, 3))

    @property
    def steps(self) -> tuple[int, int]:
        """Bands and steps from one place to the next."""
        return self.stride or (self.seen if self.kind in _POOLS else (1, 1))

    @property
    def sees_all(self) -> bool:
        """Whether it sees all places that are left."""
        return self.kind in ("mean", "dense")

    @model_validator(mode="after")
    def _of_its_kind(self) -> Self:
        if (self.kind in _WITH_CHANNELS) != (self.channels > 0):
            has = "has channels of its own: set 1 or more" if not self.channels else "keeps those before it: set 0"
            raise ValueError(f"a layer of kind {self.kind} {has}")
        if self.sees_all and (self.kernel or self.stride):
            raise ValueError(f"a layer of kind {self.kind} sees all that is left, without kernel and stride")
        return self


Shape = tuple[int, int, int]
"""Channels, bands and steps."""


class CustomConfig(Settings):
    """A network of layers that you list, for whole windows or, if causal, for streams."""

    arch: Literal["custom"] = "custom"
    layers: tuple[LayerConfig, ...] = Field(
        (
            LayerConfig(kind="conv", channels=32, kernel=(5, 5), stride=(2, 2)),
            LayerConfig(kind="depthwise"),
            LayerConfig(kind="conv", channels=64, kernel=(1, 1)),
            LayerConfig(kind="max_pool"),
            LayerConfig(kind="depthwise"),
            LayerConfig(kind="conv", channels=64, kernel=(1, 1)),
            LayerConfig(kind="mean"),
        ),
        min_length=1,
        max_length=60,
        description="Layers, one after the other, of which a linear classifier sees all that the last one gives.",
    )
    causal: bool = Field(
        False, description="No layer is padded over time and each is of a few steps, so that it scores every step."
    )
    head_steps: Annotated[int, DecidesIf(lambda model: model.causal)] = Field(
        8, ge=1, le=64, description="If causal, last steps that the classifier sees."
    )
    dropout: float = Field(0.1, ge=0, lt=1, description="Dropout before the classifier.")

    @property
    def reach(self) -> tuple[int, int]:
        """If causal, the frames that one step of the last layer sees, and those from one step to the next."""
        frames = stride = 1
        for layer in self.layers:
            if not layer.sees_all:
                frames += (layer.seen[1] - 1) * stride
                stride *= layer.steps[1]
        return frames, stride

    def shapes(self, bands: int, frames: int) -> tuple[Shape, ...]:
        """Return what each layer gives for a window; ValueError names the first one for which too little is left."""
        found: list[Shape] = []
        channels = 1
        for number, layer in enumerate(self.layers):
            if layer.sees_all:
                bands, frames = 1, frames if self.causal else 1
            else:
                (seen_bands, seen_frames), (step_bands, step_frames) = layer.seen, layer.steps
                if seen_bands > bands or seen_frames > frames:
                    raise ValueError(
                        f"layer {number} of training.model ({layer.kind}) sees {seen_bands} bands by {seen_frames} "
                        f"steps, but {bands} by {frames} are left there: make its kernel smaller, or the strides and "
                        "pools before it"
                    )
                padded = layer.kind in _CONVOLUTIONS
                bands = -(-bands // step_bands) if padded else (bands - seen_bands) // step_bands + 1
                over_time = padded and not self.causal
                frames = -(-frames // step_frames) if over_time else (frames - seen_frames) // step_frames + 1
            channels = layer.channels or channels
            found.append((channels, bands, frames))
        if self.causal and frames < self.head_steps:
            raise ValueError(
                f"the layers of training.model leave {frames} steps of a window, but head_steps is {self.head_steps}: "
                "make it, kernels or strides smaller"
            )
        return tuple(found)


class VggConfig(Settings):
    """VGG (Simonyan and Zisserman 2015): convolutions of 3 x 3 and pools of 2 x 2; 64 channels are the paper's."""

    arch: Literal["vgg"] = "vgg"
    depth: int = Field(11, ge=11, le=19, description="Layers with weights: 11, 13, 16 or 19, as in the paper.")
    width: int = Field(64, ge=4, le=256, description="Channels of the first stage; they double three times.")
    hidden_units: int = Field(
        512, ge=4, le=4_096, description="Units of the two fully connected layers; 4,096 in the paper."
    )
    dropout: float = Field(0.1, ge=0, lt=1, description="Dropout before the classifier.")

    @field_validator("depth")
    @classmethod
    def _published(cls, depth: int) -> int:
        if depth not in (11, 13, 16, 19):
            raise ValueError("must be 11, 13, 16 or 19")
        return depth
