"""What every group of settings is, and the names of splits and roles."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
Role = Literal["positive", "negative", "hard_negative", "background", "noise", "rir"]
ROLES: tuple[Role, ...] = ("positive", "negative", "hard_negative", "background", "noise", "rir")
NEGATIVE_LABEL = "_negative"
"""Class 0 of every model: everything that is not a wake word."""


class Settings(BaseModel):
    """A group of settings: unknown names are errors, and a loaded group never changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def require_ordered(self, *names: str) -> None:
        """ValueError unless each named pair rises."""
        for name in names:
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} must be given as [from, to] with from <= to")
