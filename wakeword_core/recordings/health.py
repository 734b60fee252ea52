"""Whether a recording is fit for use: what that which is measured of it means under the settings."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from wakeword_core.config import DataConfig

SPEECH_ROLES = ("positive", "negative", "hard_negative")
"""Roles held to max_seconds; the others may be long."""
SPAN_ROLES = ("positive", "hard_negative")
"""Roles of which the place of the word matters."""
NOT_HEARD = "no speech was detected; the span of the word is from its energy"

_MEGABYTE = 1e6


@dataclass(frozen=True)
class Fault:
    """Why recordings are quarantined: a name to count it by, which rows have it, and the sentence for one row."""

    kind: str
    rows: pd.Series
    sentence: Callable[[Any], str]


def longest_seconds(roles: pd.Series, config: DataConfig) -> pd.Series:
    """Return how long a recording of each role may be, in seconds."""
    return roles.isin(SPEECH_ROLES).map({True: config.health.max_seconds, False: config.health.max_background_seconds})


def header_faults(rows: pd.DataFrame, config: DataConfig) -> list[Fault]:
    """Return the faults known before decoding, the gravest first. Used: role, size, unread and the header's columns."""
    longest = longest_seconds(rows["role"], config)
    limits = {
        True: ("max_seconds", config.health.max_seconds),
        False: ("max_background_seconds", config.health.max_background_seconds),
    }

    def too_long(row: Any) -> str:
        name, limit = limits[row.role in SPEECH_ROLES]
        return f"{row.seconds:.1f} s long; at most {limit:g} s are accepted (data.health.{name})"

    return [
        Fault("empty file", (rows["size"] == 0) & (rows["unread"] == ""), lambda row: "an empty file of 0 bytes"),
        Fault("unreadable", rows["unread"] != "", lambda row: row.unread),
        Fault(
            "too large",
            rows["size"] > config.health.max_file_mb * _MEGABYTE,
            lambda row: (
                f"a file of {row.size / _MEGABYTE:.1f} MB; at most {config.health.max_file_mb:g} MB are accepted "
                "(data.health.max_file_mb)"
            ),
        ),
        Fault("broken", rows["header_error"] != "", lambda row: row.header_error),
        Fault(
            "too many channels",
            rows["channels"] > config.health.max_channels,
            lambda row: (
                f"{row.channels} channels; at most {config.health.max_channels} are accepted (data.health.max_channels)"
            ),
        ),
        Fault(
            "too short",
            rows["seconds"] < config.health.min_seconds,
            lambda row: (
                f"{row.seconds:.3f} s long; at least {config.health.min_seconds:g} s are needed "
                "(data.health.min_seconds)"
            ),
        ),
        Fault("too long", rows["seconds"] > longest, too_long),
    ]


def sound_faults(rows: pd.DataFrame, config: DataConfig) -> list[Fault]:
    """Return the faults of the decoded sound, the gravest first. Used: the columns of the levels."""
    return [
        Fault("broken", rows["levels_error"] != "", lambda row: row.levels_error),
        Fault("not numbers", ~rows["finite"], lambda row: "holds samples that are not numbers (NaN or infinite)"),
        Fault(
            "silent",
            rows["rms_dbfs"] < config.audio.silence_dbfs,
            lambda row: (
                f"silent: {row.rms_dbfs:.1f} dBFS, below {config.audio.silence_dbfs:g} (data.audio.silence_dbfs)"
            ),
        ),
        Fault(
            "clipped",
            rows["clipped_ratio"] > config.health.max_clipped_ratio,
            lambda row: (
                f"clipped: {row.clipped_ratio:.1%} of samples at full scale; at most "
                f"{config.health.max_clipped_ratio:.1%} are accepted (data.health.max_clipped_ratio)"
            ),
        ),
    ]
