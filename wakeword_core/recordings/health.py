"""Whether a recording is fit for use: what is measured of it, once, and what that means under the settings."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wakeword_core.audio import AudioError, Samples, probe, read_blocks, resample, to_mono
from wakeword_core.config import DataConfig
from wakeword_core.recordings.spectral_fingerprint import BandPowers, fingerprint
from wakeword_core.recordings.vad import VAD_SAMPLE_RATE, SpeechDetector, energy_span

SPEECH_ROLES = ("positive", "negative", "hard_negative")
"""Roles held to max_seconds; the others may be long."""
SPAN_ROLES = ("positive", "hard_negative")
"""Roles of which the place of the word matters."""
NOT_HEARD = "no speech was detected; the span of the word is from its energy"

_FULL_SCALE = 0.999
_QUIETEST_DBFS = -200.0
_MEGABYTE = 1e6


@dataclass(frozen=True)
class Fault:
    """Why recordings are quarantined: a name to count it by, which rows have it, and the sentence for one row."""

    kind: str
    rows: pd.Series
    sentence: Callable[[Any], str]


def measure_header(path: Path) -> dict[str, Any]:
    """sample_rate, channels, frames and seconds, or `error`: a sentence without the path."""
    try:
        info = probe(path)
    except AudioError as error:
        return {"error": _without_path(error, path)}
    facts = {"sample_rate": info.sample_rate, "channels": info.channels, "frames": info.frames}
    return {**facts, "seconds": info.seconds}


@dataclass(frozen=True)
class Sound:
    """What is measured of a recording's sound."""

    levels: dict[str, Any]
    """peak (any channel, full scale is 1), rms_dbfs (of the channels' average), clipped_ratio, finite; or error."""
    speech: dict[str, Any] | None = None
    """speech_ratio, speech_start and speech_end in seconds, and heard: whether the detector found any."""
    fingerprint: bytes | None = None
    """What it sounds like, patch by patch; None when it cannot be decoded or holds no numbers."""


def measure_sound(path: Path, sample_rate: int, detector: SpeechDetector | None, threshold: float) -> Sound:
    """Levels, fingerprint and, with a detector, the span of speech of one recording, decoded once in bounded memory."""
    powers = BandPowers(sample_rate)
    peak, squares, clipped, frames, values, finite = 0.0, 0.0, 0, 0, 0, True
    kept: list[Samples] = []
    try:
        for block in read_blocks(path):
            finite = finite and bool(np.isfinite(block).all())
            if not finite:
                return Sound({"finite": False})
            mono = to_mono(block)
            size = np.abs(block)
            peak = max(peak, float(size.max()))
            clipped += int(np.count_nonzero(size >= _FULL_SCALE))
            squares += float(np.dot(mono.astype(np.float64), mono))
            frames, values = frames + len(mono), values + block.size
            powers.add(mono)
            if detector is not None:
                kept.append(mono)
    except AudioError as error:
        return Sound({"error": _without_path(error, path)})
    level = 10 * np.log10(squares / frames) if squares > 0 else _QUIETEST_DBFS
    levels = {
        "peak": round(peak, 6),
        "rms_dbfs": round(max(float(level), _QUIETEST_DBFS), 3),
        "clipped_ratio": round(clipped / max(values, 1), 6),
        "finite": True,
    }
    heard_as = fingerprint(powers.finish()).tobytes()
    if detector is None or not kept:
        return Sound(levels, None, heard_as)
    sound = resample(np.concatenate(kept), sample_rate, VAD_SAMPLE_RATE)
    span = detector.span(sound, threshold)
    where = span or energy_span(sound)
    length = frames / sample_rate
    speech = {
        "speech_ratio": round(where.ratio, 4),
        "speech_start": round(min(where.start_seconds, length), 4),
        "speech_end": round(min(where.end_seconds, length), 4),
        "heard": span is not None,
    }
    return Sound(levels, speech, heard_as)


def longest_seconds(roles: pd.Series, config: DataConfig) -> pd.Series:
    """The longest a recording of each role may be, in seconds."""
    return roles.isin(SPEECH_ROLES).map({True: config.max_seconds, False: config.max_background_seconds})


def header_faults(rows: pd.DataFrame, config: DataConfig) -> list[Fault]:
    """Faults known before decoding, the gravest first. Columns used: role, size, error and those of the header."""
    longest = longest_seconds(rows["role"], config)
    limits = {
        True: ("max_seconds", config.max_seconds),
        False: ("max_background_seconds", config.max_background_seconds),
    }

    def too_long(row: Any) -> str:
        name, limit = limits[row.role in SPEECH_ROLES]
        return f"{row.seconds:.1f} s long; at most {limit:g} s are accepted (data.{name})"

    return [
        Fault("empty file", (rows["size"] == 0) & (rows["unread"] == ""), lambda row: "an empty file of 0 bytes"),
        Fault("unreadable", rows["unread"] != "", lambda row: row.unread),
        Fault(
            "too large",
            rows["size"] > config.max_file_mb * _MEGABYTE,
            lambda row: (
                f"a file of {row.size / _MEGABYTE:.1f} MB; at most {config.max_file_mb:g} MB are accepted "
                "(data.max_file_mb)"
            ),
        ),
        Fault("broken", rows["header_error"] != "", lambda row: row.header_error),
        Fault(
            "too many channels",
            rows["channels"] > config.max_channels,
            lambda row: f"{row.channels} channels; at most {config.max_channels} are accepted (data.max_channels)",
        ),
        Fault(
            "too short",
            rows["seconds"] < config.min_seconds,
            lambda row: f"{row.seconds:.3f} s long; at least {config.min_seconds:g} s are needed (data.min_seconds)",
        ),
        Fault("too long", rows["seconds"] > longest, too_long),
    ]


def sound_faults(rows: pd.DataFrame, config: DataConfig) -> list[Fault]:
    """Faults of the decoded sound, the gravest first. Columns used: those of the levels."""
    return [
        Fault("broken", rows["levels_error"] != "", lambda row: row.levels_error),
        Fault("not numbers", ~rows["finite"], lambda row: "holds samples that are not numbers (NaN or infinite)"),
        Fault(
            "silent",
            rows["rms_dbfs"] < config.silence_dbfs,
            lambda row: f"silent: {row.rms_dbfs:.1f} dBFS, below {config.silence_dbfs:g} (data.silence_dbfs)",
        ),
        Fault(
            "clipped",
            rows["clipped_ratio"] > config.max_clipped_ratio,
            lambda row: (
                f"clipped: {row.clipped_ratio:.1%} of samples at full scale; at most "
                f"{config.max_clipped_ratio:.1%} are accepted (data.max_clipped_ratio)"
            ),
        ),
    ]


def _without_path(error: AudioError, path: Path) -> str:
    """The sentence to remember with the bytes; what the disk refuses says nothing about the bytes, and goes on up."""
    if isinstance(error.__cause__, OSError):
        raise error
    return str(error).removeprefix(f"{path} ")
