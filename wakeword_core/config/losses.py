"""Settings of the loss of a training."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from wakeword_core.config.base import DecidesIf, Settings
from wakeword_core.config.plugins import LossPlugin

_LARGEST_WEIGHT = 1e6
"""Of a class. A larger one is a slip of the pen, and float32 could not add the weights of the others to it."""


class LossConfig(Settings):
    """Which scores the loss is over, and how much each kind of error counts."""

    kind: Literal["cross_entropy", "focal", "plugin"] = Field(
        "cross_entropy",
        description="Loss of a step; focal: steps that are right already count less (Lin et al. 2017); plugin: that of "
        "another package.",
    )
    plugin: Annotated[LossPlugin | None, DecidesIf(lambda loss: loss.kind == "plugin")] = Field(
        None, description="For plugin: which loss of which package."
    )
    focal_gamma: float = Field(2.0, ge=0, le=10, description="For focal: how much less they count; 0: not less.")
    focal_alpha: float | None = Field(
        None, gt=0, lt=1, description="For focal: factor of wake words, the rest having 1 - alpha; null: no factors."
    )
    label_smoothing: float = Field(0.0, ge=0, lt=0.5, description="Probability mass spread over all classes.")
    pooling: Literal["stream", "window"] = Field(
        "stream",
        description="Steps of a row that count: the best or worst, separately for words and negatives; or one step.",
    )
    hit_seconds: float = Field(
        0.3, ge=0, le=2, description="Time after the end of a word in which it has to be detected."
    )
    best_steps: int = Field(8, ge=1, le=1_000, description="How many of the best scores in that time count.")
    early_seconds: float = Field(
        0.2, ge=0, le=2, description="Until this long before its end a word must not be detected."
    )
    early_weight: float = Field(0.3, ge=0, le=10, description="Weight of the scores in that time before the end.")
    worst_early_steps: int = Field(3, ge=1, le=1_000, description="How many of the worst of these scores count.")
    worst_steps: int = Field(5, ge=1, le=1_000, description="How many of the worst scores of a negative row count.")
    all_steps_weight: float = Field(
        0.5, ge=0, le=10, description="Weight of the mean over all scores of a negative row."
    )
    class_weights: Literal["none", "balanced"] | dict[str, float] = Field(
        "none",
        description="Weights of the classes, on top of the shares in mix: 'balanced' is in inverse proportion to their "
        "training windows; or a number for each label, 1 where none is given. The rest is '_negative'.",
    )
    hard_negative_weight: float = Field(
        1.0, gt=0, le=100, description="How many rows a hard negative counts for among the negatives of its batch."
    )
    metric: Literal["none", "triplet", "arcface"] = Field(
        "none", description="A second loss, on embeddings: batch-hard triplets, or angles to class centres."
    )
    metric_weight: float = Field(0.2, gt=0, le=100, description="Weight of the second loss.")
    triplet_distance: Literal["euclidean", "cosine"] = Field(
        "euclidean", description="For triplet: the distance between embeddings."
    )
    triplet_margin: float = Field(
        0.3, ge=0, le=100, description="For triplet: by how much another class must be farther than the same word."
    )
    triplet_soft_margin: bool = Field(False, description="For triplet: log(1 + exp(.)) in place of the margin.")
    arcface_scale: float = Field(30.0, gt=0, le=1_000, description="For arcface: what cosines are multiplied with.")
    arcface_margin: float = Field(
        0.3, ge=0, le=1.5, description="For arcface: angle added to the class's own, radians."
    )

    @model_validator(mode="after")
    def _names_a_plugin(self) -> Self:
        if self.kind == "plugin" and self.plugin is None:
            raise ValueError("kind plugin needs the name of a loss: set plugin.name")
        return self

    @field_validator("class_weights", mode="before")
    @classmethod
    def _known_weights(cls, value: Any) -> Any:
        if value in ("none", "balanced"):
            return value
        if isinstance(value, dict) and all(map(_is_weight, value.values())):
            return value
        raise ValueError(f"must be none, balanced, or a number above 0 and up to {_LARGEST_WEIGHT:,.0f} for each label")


def _is_weight(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= _LARGEST_WEIGHT
