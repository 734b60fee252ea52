"""Settings of a search: which settings it tries, what it judges trials by, and how it chooses and ends them."""

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any, Literal, Self

from pydantic import Field, JsonValue, field_validator, model_validator

from wakeword_core.config.base import Settings

Objective = Literal["misses", "cpu", "bytes"]
_ROUNDED = 1 + 1e-9
"""By how much a step may be larger than the range: 0.2 is, than 0.3 - 0.1."""


class DimensionConfig(Settings):
    """What a search tries for one setting: numbers of a range, or some values."""

    low: float | None = Field(None, description="The smallest number of a range.")
    high: float | None = Field(None, description="The largest number of a range.")
    step: float | None = Field(None, gt=0, description="Distance between the numbers that are tried; null: any.")
    log: bool = Field(False, description="Whether numbers are tried evenly by their logarithm, such as rates.")
    choices: tuple[JsonValue, ...] = Field((), description="Values to try, in place of a range.")

    @model_validator(mode="before")
    @classmethod
    def _a_list_is_choices(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return {"choices": value}
        if not isinstance(value, dict):
            raise ValueError("must be a list of values, or a range such as {low: 1, high: 10}")
        return value

    @model_validator(mode="after")
    def _a_range_or_choices(self) -> Self:
        if self.choices:
            if self.low is not None or self.high is not None or self.step is not None or self.log:
                raise ValueError("it has choices, so it needs no low, high, step or log")
            if (
                any(choice in self.choices[:place] for place, choice in enumerate(self.choices))
                or len(self.choices) < 2
            ):
                raise ValueError("it needs at least two choices, all of them different")
            return self
        if self.low is None or self.high is None or self.low >= self.high:
            raise ValueError("it needs a low end and a high end above it, or a list of values")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("with log, the low end must be above 0, and there is no step")
        if self.step is not None and self.step > (self.high - self.low) * _ROUNDED:
            raise ValueError("its step must not be larger than the range, of which it would try the low end alone")
        return self


class PruningConfig(Settings):
    """When a training is ended before its last epoch, because it learns less than others did by then."""

    enabled: bool = Field(True, description="Whether it is; only a search by misses alone prunes.")
    after_trials: int = Field(5, ge=1, le=10_000, description="Trials that have to finish before one is pruned.")
    after_epochs: int = Field(3, ge=1, le=10_000, description="Epochs that every trial trains at least.")


class SearchConfig(Settings):
    """What `wakeword search` tries, and by what it judges."""

    space: dict[str, DimensionConfig] = Field(
        {},
        description="Settings to search, by their dotted names: a range such as {low: 0.001, high: 0.01, log: true}, "
        "or a list of values.",
    )
    objectives: tuple[Objective, ...] = Field(
        ("misses",),
        min_length=1,
        description="What is to be small, all of it on validation: misses at the operating point, CPU time a second of "
        "audio, bytes of the exported model.",
    )
    trials: int = Field(30, ge=1, le=100_000, description="Trials of the search, of all processes together.")
    sampler: Literal["tpe", "gp", "nsga2", "random"] = Field(
        "tpe",
        description="What chooses settings from the results so far: density estimates (TPE), a Gaussian process, "
        "evolution (NSGA-II), or chance alone.",
    )
    random_trials: int = Field(
        10, ge=2, le=10_000, description="First trials, chosen by chance alone; with nsga2 the size of a generation."
    )
    seed: int = Field(1, ge=0, lt=2**31, description="Seed of these choices.")
    pruning: PruningConfig = PruningConfig()

    @property
    def prunes(self) -> bool:
        """Whether trainings may be ended early: not where a model that misses more may be the best of its size."""
        return self.pruning.enabled and self.objectives == ("misses",)

    @field_validator("space", mode="before")
    @classmethod
    def _by_dotted_names(cls, space: Any) -> Any:
        if not isinstance(space, Mapping):
            return space
        found = dict(_dotted(space))  # of a name that a file has dotted and --set nested, the one of --set comes last
        for name, other in combinations(found, 2):
            if overlap(name, other):
                raise ValueError(f"has {name} and {other}, but a setting can be searched in one way only; delete one")
        return found

    @field_validator("objectives")
    @classmethod
    def _all_different(cls, objectives: tuple[Objective, ...]) -> tuple[Objective, ...]:
        if len(set(objectives)) < len(objectives):
            raise ValueError("must name each objective once")
        return objectives


def overlap(name: str, other: str) -> bool:
    """Tell whether one of two dotted names is in the other."""
    return f"{name}.".startswith(f"{other}.") or f"{other}.".startswith(f"{name}.")


def _dotted(space: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what is searched by its dotted name, where names may also be nested as the settings themselves are."""
    for name, value in space.items():
        if isinstance(value, Mapping) and value and not value.keys() & DimensionConfig.model_fields.keys():
            yield from _dotted(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
