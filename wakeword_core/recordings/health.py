"""Which recordings are fit for use: what is measured of them, against the limits of the settings."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from wakeword_core.audio import LOUDEST, not_sound
from wakeword_core.config.recordings import AudioConfig, HealthConfig

SPEECH_ROLES = ("positive", "negative", "hard_negative")
"""Roles held to max_seconds; the others may be long."""
SPAN_ROLES = ("positive", "hard_negative")
"""Roles of which the place of the word matters."""
LEFT_OUT = "left out after listening"
"""Kind of the fault of recordings that people leave out."""
NOT_HEARD = "no speech was detected; the span of the word is from its energy"

MEGABYTE = 1e6


@dataclass(frozen=True)
class Fault:
    """Why recordings are quarantined: a name to count it by, which rows have it, and the sentence for one row."""

    kind: str
    rows: pd.Series
    sentence: Callable[[Any], str]


def left_out(rows: pd.DataFrame) -> Fault:
    """Return the fault of what people left out. Used: left_out and corrected."""
    return Fault(LEFT_OUT, rows["left_out"], lambda row: row.corrected)


def header_faults(rows: pd.DataFrame, health: HealthConfig) -> list[Fault]:
    """Return the faults known before decoding, the gravest first.

    Used: role, size, unread, stated_end and the header's columns.
    """
    longest = rows["role"].isin(SPEECH_ROLES).map({True: health.max_seconds, False: health.max_background_seconds})
    most_bytes = health.max_file_mb * MEGABYTE

    def too_long(row: Any) -> str:
        name = "max_seconds" if row.role in SPEECH_ROLES else "max_background_seconds"
        return f"{row.seconds:.1f} s long; at most {getattr(health, name):g} s are accepted (data.health.{name})"

    def too_large(row: Any) -> str:
        size, most = row.size / MEGABYTE, health.max_file_mb
        return f"a file of {size:.1f} MB; at most {most:g} MB are accepted (data.health.max_file_mb)"

    def too_many_channels(row: Any) -> str:
        return f"{row.channels} channels; at most {health.max_channels} are accepted (data.health.max_channels)"

    def too_short(row: Any) -> str:
        least = health.min_seconds
        return f"{row.seconds:.3f} s long; at least {least:g} s are needed (data.health.min_seconds)"

    def word_outside(row: Any) -> str:
        return f"{row.seconds:.3f} s long, but its table says that the word ends at {row.stated_end:g} s (speech_end)"

    return [
        Fault("empty file", (rows["size"] == 0) & (rows["unread"] == ""), lambda row: "an empty file of 0 bytes"),
        Fault("unreadable", rows["unread"] != "", lambda row: row.unread),
        Fault("too large", rows["size"] > most_bytes, too_large),
        Fault("broken", rows["header_error"] != "", lambda row: row.header_error),
        Fault("too many channels", rows["channels"] > health.max_channels, too_many_channels),
        Fault("too short", rows["seconds"] < health.min_seconds, too_short),
        Fault("too long", rows["seconds"] > longest, too_long),
        Fault("word outside", rows["stated_end"] > rows["seconds"], word_outside),
    ]


def sound_faults(rows: pd.DataFrame, audio: AudioConfig, health: HealthConfig) -> list[Fault]:
    """Return the faults of the decoded sound, the gravest first. Used: the columns of the levels."""

    def silent(row: Any) -> str:
        return f"silent: {row.rms_dbfs:.1f} dBFS, below {audio.silence_dbfs:g} (data.audio.silence_dbfs)"

    def clipped(row: Any) -> str:
        return (
            f"clipped: {row.clipped_ratio:.1%} of samples at full scale; at most {health.max_clipped_ratio:.1%} are "
            "accepted (data.health.max_clipped_ratio)"
        )

    return [
        Fault("broken", rows["levels_error"] != "", lambda row: row.levels_error),
        Fault("not numbers", ~rows["finite"], lambda row: f"holds {not_sound(float('nan'))}"),
        Fault("beyond full scale", rows["peak"] > LOUDEST, lambda row: f"holds {not_sound(row.peak)}"),
        Fault("silent", rows["rms_dbfs"] < audio.silence_dbfs, silent),
        Fault("clipped", rows["clipped_ratio"] > health.max_clipped_ratio, clipped),
    ]
