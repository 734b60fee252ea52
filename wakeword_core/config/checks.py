"""Limits of the checks."""

from datetime import timedelta
from typing import Self

from pydantic import Field, model_validator

from wakeword_core.config.base import Settings


class ChecksConfig(Settings):
    """From where on checks warn or fail."""

    drift_warning_psi: float = Field(
        0.1, gt=0, le=10, description="Population stability index of the data against the champion's that warns."
    )
    drift_error_psi: float = Field(
        0.25, gt=0, le=10, description="Population stability index of the data against the champion's that is an error."
    )
    max_frr: float = Field(
        0.5, gt=0, le=1, description="Share of the test's words that a model may miss and still become champion."
    )
    min_val_auc: float = Field(0.7, ge=0.5, lt=1, description="The model check fails below this ROC-AUC on validation.")
    near_duplicate_similarity: float = Field(
        0.97,
        ge=0.8,
        le=1,
        description="Cosine of spectral fingerprints from which recordings of two splits count as copies.",
    )
    longest_rt60_seconds: float = Field(
        1.5, gt=0, le=20, description="Reverberation time of a recording of a room above which one is warned."
    )
    short_cut_auc: float = Field(
        0.85,
        ge=0.5,
        le=1,
        description="ROC-AUC with which wake words may be told from other recordings by how they were recorded.",
    )
    unheard_warning: float = Field(
        0.1,
        ge=0,
        le=1,
        description="Share of the recordings of a wake word without any speech above which one is warned.",
    )
    unheard_error: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Share of the recordings of a wake word without any speech above which nothing is built from them.",
    )
    overlong_warning: float = Field(
        0.2,
        ge=0,
        le=1,
        description="Share of a wake word's recordings whose speech is longer than the model's window "
        "above which one is warned.",
    )
    overlong_error: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Share of a wake word's recordings whose speech is longer than the model's window "
        "above which nothing is built from them.",
    )
    words_alone_share: float = Field(
        1.0,
        ge=0,
        le=100,
        description="Recordings of other words said by themselves in training, as a share of those of wake words, "
        "below which one is warned.",
    )
    few_recordings: int = Field(
        100,
        ge=0,
        le=1_000_000,
        description="Real recordings of a wake word to learn from below which one is warned, where there are no "
        "synthetic ones of it.",
    )
    judge_share_warning: float = Field(
        0.25,
        ge=0,
        le=1,
        description="Share of the test's background that a judge hears above which one is warned, since the gate then "
        "keeps little from it.",
    )
    # Dagster wants a minute at least until it warns, which is earlier
    stale_after_hours: float | None = Field(
        None, ge=0.05, le=100_000, description="Age at which assets stop being fresh in Dagster; default: never."
    )

    @property
    def stale_after(self) -> timedelta | None:
        """The age at which assets stop being fresh; None: never."""
        return None if self.stale_after_hours is None else timedelta(hours=self.stale_after_hours)

    @model_validator(mode="after")
    def _warns_first(self) -> Self:
        for what, unit in (("drift", "_psi"), ("unheard", ""), ("overlong", "")):
            warning, error = f"{what}_warning{unit}", f"{what}_error{unit}"
            if getattr(self, warning) > getattr(self, error):
                raise ValueError(f"{warning} must not exceed {error}")
        return self
