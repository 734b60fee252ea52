"""Settings of what training changes in features for every batch anew."""

from typing import Self

from pydantic import Field, model_validator

from wakeword_core.config.base import Decibels, Settings


class SpecAugmentConfig(Settings):
    """SpecAugment (Park et al. 2019) masks of any features, drawn anew for every batch on the device."""

    time_masks: int = Field(1, ge=0, le=8, description="Masked stretches of time.")
    time_frames: int = Field(20, ge=0, le=500, description="Longest masked stretch in frames.")
    mel_masks: int = Field(1, ge=0, le=8, description="Masked groups of bands.")
    mel_bands: int = Field(8, ge=0, le=128, description="Widest masked group of bands.")


UNCHANGED = {"band_warp": 0.0, "colour_db": 0.0, "noise_probability": 0.0}
"""Of `TrainAugmentConfig`, where nothing else is set: what leaves features as they are."""
_OF_POWER = ("noise_probability", "colour_db", "style_probability", "gain_db")
_OF_BANDS = ("band_warp", "isolate_probability")
_MEANT_FOR = {"log_mel": (*_OF_POWER, *_OF_BANDS), "micro": _OF_BANDS}
"""Kind of front end -> settings of `TrainAugmentConfig` that its features can be changed by: what needs logarithms of
power, and what needs mel bands of whatever."""


class TrainAugmentConfig(Settings):
    """Changes of features drawn anew for every batch on the device; all at zero leave them as they are."""

    band_warp: float = Field(0.12, ge=0, le=0.5, description="Largest relative stretch of frequency (VTLP).")
    colour_db: float = Field(2.0, ge=0, le=20, description="Deviation of each smooth curve over the bands, in dB.")
    gain_db: tuple[Decibels, Decibels] = Field((0.0, 0.0), description="Gain, from and to; views have their own.")
    isolate_probability: float = Field(
        0.0, ge=0, le=1, description="How often everything but one stretch of a negative row is silenced."
    )
    isolated_frames: tuple[int, int] = Field((25, 110), description="Frames of that stretch, from and to.")
    shift_frames: int = Field(0, ge=0, le=500, description="Most frames that a row is moved by, in either direction.")
    mixup_alpha: float = Field(
        0.0, ge=0, le=10, description="Rows of a batch are mixed in shares drawn from Beta(alpha, alpha); 0: never."
    )
    style_probability: float = Field(
        0.0, ge=0, le=1, description="How often a row gets, in part, the mean and deviation of another row's bands."
    )
    noise_probability: float = Field(0.6, ge=0, le=1, description="How often a row of noise is mixed in.")
    noise_snr_db: tuple[Decibels, Decibels] = Field((0.0, 25.0), description="Signal to noise ratio, from and to.")

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        self.require_ordered("gain_db", "noise_snr_db", "isolated_frames")
        return self

    def unfit_for(self, kind: str) -> tuple[str, ...]:
        """Return the settings that are switched on, but that features of a kind of front end cannot be changed by."""
        unfit = (name for name in (*_OF_POWER, *_OF_BANDS) if name not in _MEANT_FOR.get(kind, ()))
        return tuple(name for name in unfit if getattr(self, name) not in (0.0, (0.0, 0.0)))
