"""Which recordings there are, made or found, and how they are packed."""

import re
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from wakeword_core.config.base import Role, Settings, Split


class SourceConfig(Settings):
    """One folder of recordings that share a role, a licence and a rule for telling speakers apart."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$", description="Short name; appears in reports.")]
    path: Path = Field(description="Folder; ${VARIABLES} are expanded, relative to the configuration file.")
    role: Role = Field(description="What its recordings are to the wake word.")
    label: str | None = Field(None, description="Class of positives; default: the phrase.")
    licence: str = Field("", description="Licence of the recordings, as an SPDX name where there is one.")
    include: tuple[str, ...] = Field(("**/*",), min_length=1, description="Glob patterns of the files to take.")
    exclude: tuple[str, ...] = Field((), description="Glob patterns of files to leave out.")
    speaker: str = Field(
        "unknown",
        description="How to tell speakers apart: 'unknown' (each recording its own group), 'single' (one speaker), "
        "'parent' (folder name), 'block:N' (files whose numbers fall in the same N are one group), "
        "or 'regex:...' with a group named speaker, matched on the relative path.",
    )
    speaker_space: str | None = Field(
        None, description="Sources that share this name share their speakers; default: each source has its own."
    )
    split: Split | None = Field(None, description="Hold the whole source in this split; default: by speaker hash.")

    @field_validator("speaker")
    @classmethod
    def _known_speaker_rule(cls, rule: str) -> str:
        if rule in ("unknown", "single", "parent") or re.fullmatch(r"block:[1-9]\d*", rule):
            return rule
        if rule.startswith("regex:"):
            try:
                pattern = re.compile(rule.removeprefix("regex:"))
            except re.error as error:
                raise ValueError(f"not a regular expression: {error}") from None
            if "speaker" in pattern.groupindex:
                return rule
        raise ValueError("must be unknown, single, parent, block:N or regex:... with (?P<speaker>...)")


class DataConfig(Settings):
    """Which recordings are used, which are fit for use, and how they are split."""

    sources: tuple[SourceConfig, ...] = Field((), description="Folders of recordings.")
    sample_rate: int = Field(16_000, ge=8_000, le=48_000, description="Rate everything is brought to, in Hz.")
    min_seconds: float = Field(0.2, gt=0, description="Shorter recordings are quarantined.")
    max_seconds: float = Field(60.0, gt=0, description="Longer speech recordings are quarantined.")
    max_background_seconds: float = Field(3_600.0, gt=0, description="Longer background or noise is quarantined.")
    max_channels: int = Field(2, ge=1, le=64, description="More channels are quarantined; up to it they are averaged.")
    max_file_mb: float = Field(512.0, gt=0, description="Larger files are quarantined unread.")
    silence_dbfs: float = Field(-70.0, le=0, description="A recording whose RMS is below this is silent.")
    max_clipped_ratio: float = Field(0.05, ge=0, le=1, description="More samples than this at full scale is clipped.")
    val_fraction: float = Field(0.15, gt=0, lt=1, description="Share of speaker groups for validation.")
    test_fraction: float = Field(0.2, gt=0, lt=1, description="Share of speaker groups for the test.")
    vad_threshold: float = Field(0.5, gt=0, lt=1, description="Speech probability above which a frame is speech.")
    workers: int = Field(0, ge=0, le=256, description="Threads that decode; 0 means one a core.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.val_fraction + self.test_fraction >= 0.9:
            raise ValueError("val_fraction + test_fraction must stay below 0.9, or nothing is left to train on")
        if self.min_seconds >= self.max_seconds:
            raise ValueError("min_seconds must be below max_seconds")
        names = [source.name for source in self.sources]
        if len(set(names)) != len(names):
            raise ValueError("two sources have the same name")
        return self


class SynthesisConfig(Settings):
    """Recordings made from text, as one more source."""

    enabled: bool = Field(False, description="Whether synthetic speech joins the recordings.")
    positives: int = Field(600, ge=0, le=100_000, description="Recordings of the phrase.")
    hard_negatives: int = Field(600, ge=0, le=100_000, description="Recordings of phrases that sound alike.")
    negatives: int = Field(900, ge=0, le=100_000, description="Recordings of other sentences.")
    background_minutes: float = Field(6.0, ge=0, le=600, description="Synthetic background sound.")
    rate_range: tuple[int, int] = Field((120, 220), description="Words a minute of espeak-ng voices, from and to.")
    pitch_range: tuple[int, int] = Field((25, 75), description="espeak-ng pitch, 0 to 99, from and to.")
    neural_share: float = Field(0.25, ge=0, le=1, description="Share of recordings from the neural voice.")
    intonation_range: tuple[int, int] = Field((30, 80), description="espeak-ng pitch range, 0 to 99, from and to.")
    margin_seconds: tuple[float, float] = Field((0.2, 0.6), description="Quiet before and after speech, from and to.")
    level_dbfs: tuple[float, float] = Field((-32.0, -18.0), description="RMS level of speech, from and to.")
    quiet_dbfs: tuple[float, float] = Field((-75.0, -58.0), description="RMS level of the noise floor, from and to.")

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        bounds: dict[str, tuple[float, float]] = {
            "rate_range": (80, 450),
            "pitch_range": (0, 99),
            "intonation_range": (0, 99),
            "margin_seconds": (0, 10),
            "level_dbfs": (-60, -6),
            "quiet_dbfs": (-90, -30),
        }
        for name, (least, most) in bounds.items():
            low, high = getattr(self, name)
            if not least <= low <= high <= most:
                raise ValueError(f"{name} must be given as [from, to] with {least:g} <= from <= to <= {most:g}")
        return self


class ShardsConfig(Settings):
    """How recordings are packed in Parquet."""

    shard_mb: float = Field(64.0, gt=0, le=2_048, description="Aimed-at size of a shard of decoded audio.")
    count: int | None = Field(None, ge=1, le=4_096, description="Shards a split; default: from the size.")
    retries: int = Field(1, ge=0, le=10, description="How often a failed shard is tried again.")
