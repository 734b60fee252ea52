"""Settings of what follows a training from outside. None of them changes a result, so none is in a key."""

from typing import Literal

from pydantic import Field

from wakeword_core.config.base import Settings


class TrackingConfig(Settings):
    """What follows the epochs of a training besides Dagster and MLflow."""

    trackers: tuple[Literal["tensorboard", "wandb"], ...] = Field(
        (), description="Programs that are told of each epoch besides: TensorBoard, Weights & Biases."
    )
    wandb_mode: Literal["offline", "online"] = Field(
        "offline",
        description="Whether Weights & Biases keeps runs in the home, or sends them to the server that WANDB_BASE_URL "
        "names, or else to its own, with the key in WANDB_API_KEY.",
    )
