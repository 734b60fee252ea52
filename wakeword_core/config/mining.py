"""Settings of mining: which false alarms become clips, and how the model is tuned with them."""

from typing import Literal

from pydantic import Field

from wakeword_core.config.base import Settings


class MiningSearchConfig(Settings):
    """Which events become clips."""

    min_score: float = Field(
        0.3, gt=0, lt=1, description="Uncalibrated score from which a sound without a wake word becomes an event."
    )
    lockout_seconds: float = Field(
        2.0, ge=0, le=60, description="Of events in a recording that are closer than this, only the highest counts."
    )
    per_recording: int = Field(10, ge=1, le=1_000, description="Most clips of one recording, the highest scores first.")
    max_clips: int = Field(2_000, ge=1, le=20_000, description="Most clips in all, the highest scores first.")


class MiningTuningConfig(Settings):
    """How the trained model is tuned on the clips."""

    epochs: int = Field(4, ge=1, le=1_000, description="Epochs of the tuning.")
    learning_rate_fraction: float = Field(
        0.2, gt=0, le=1, description="Peak learning rate of the tuning, as a share of training.schedule.learning_rate."
    )
    keep: Literal["always", "better"] = Field(
        "always",
        description="Whether tuned weights are kept in any case, or only where validation, which then decides about "
        "weights, gets no worse.",
    )


class MiningConfig(Settings):
    """Sounds of the training split that the trained model takes for a wake word, and its tuning on them."""

    enabled: bool = Field(
        False, description="Whether the trained model is tuned on what it wrongly fires at in the training split."
    )
    search: MiningSearchConfig = MiningSearchConfig()
    tuning: MiningTuningConfig = MiningTuningConfig()
