"""Settings of the registry: when a new model takes the champion's place."""

from typing import Annotated, Literal

from pydantic import Field

from wakeword_core.config.base import DECIDES_NOTHING, Settings


class RegistryConfig(Settings):
    """How a new model is compared with the champion, and what follows from it."""

    promote: Annotated[Literal["automatic", "manual"], DECIDES_NOTHING] = Field(
        "automatic",
        description="Whether a model that may be champion becomes it when it is built, or by `wakeword promote`.",
    )
    rule: Literal["not_worse", "non_inferior"] = Field(
        "not_worse",
        description="Refuse what is shown to be worse than the champion, or, stricter, what is not shown to be worse "
        "by less than the margins.",
    )
    level: float = Field(
        0.05,
        gt=0,
        lt=0.5,
        description="Level of each one-sided test: how often an equally good model is taken for a worse one.",
    )
    margin_frr: float = Field(
        0.02, gt=0, le=1, description="With non_inferior: share of words that it may miss in addition."
    )
    margin_fah: float = Field(
        0.5, gt=0, le=1_000, description="With non_inferior: false alarms an hour that it may have in addition."
    )
