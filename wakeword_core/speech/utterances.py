"""One recording of speech as plain data: all that its bytes depend on, drawn from seeds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wakeword_core.config import MannerName, Role, SynthesisConfig
from wakeword_core.speech.cutting import Cut
from wakeword_core.speech.engines import Voice

_ENDINGS, _ENDING_SHARES = ("", ".", "!", "?"), (0.4, 0.3, 0.2, 0.1)


@dataclass(frozen=True)
class Utterance:
    """One recording of speech: everything its bytes depend on, and its path relative to the output folder."""

    role: Role
    path: str
    text: str
    ipa: str | None
    """How it is pronounced, where that is not left to the engine."""
    manner: MannerName | None  # of `people`, where it is not the voice's own
    engine: str
    speaker: str
    voice: str
    """Of the engine's voices."""
    rate: int
    pitch: int
    intonation: int
    lead_seconds: float
    tail_seconds: float
    level_dbfs: float
    quiet_dbfs: float
    seed: int
    cut: Cut | None = None
    """Which piece of it is kept."""
    before: str = ""
    """What the voice says in the lead, `before_gap` seconds before; where the lead is too short for it, its end."""
    before_gap: float = 0.0
    after: str = ""
    """What it says in the tail, `after_gap` seconds after; where the tail is too short for it, its beginning."""
    after_gap: float = 0.0


def draw_utterance(
    role: Role,
    path: str,
    text: str,
    engine: str,
    voices: Sequence[Voice],
    config: SynthesisConfig,
    generator: np.random.Generator,
) -> Utterance:
    """Draw how one of a speaker's `voices` says a text; `path` is without the speaker, the language and the suffix."""
    voice = voices[int(generator.integers(len(voices)))] if len(voices) > 1 else voices[0]
    speaker = f"{engine}-{voice.speaker}"
    ending = str(generator.choice(_ENDINGS, p=_ENDING_SHARES)) if text[-1].isalnum() else ""
    return Utterance(
        role=role,
        path=f"{path}_{speaker}_{voice.language}.flac",
        text=text + ending,
        ipa=None,
        manner=None,
        engine=engine,
        speaker=speaker,
        voice=voice.name,
        rate=int(generator.integers(config.rate_range[0], config.rate_range[1] + 1)),
        pitch=int(generator.integers(config.pitch_range[0], config.pitch_range[1] + 1)),
        intonation=int(generator.integers(config.intonation_range[0], config.intonation_range[1] + 1)),
        lead_seconds=within(config.margin_seconds, generator),
        tail_seconds=within(config.margin_seconds, generator),
        level_dbfs=within(config.level_dbfs, generator),
        quiet_dbfs=within(config.quiet_dbfs, generator),
        seed=int(generator.integers(2**31)),
    )


def within(limits: tuple[float, float], generator: np.random.Generator) -> float:
    """Draw a number between two, in thousandths."""
    return round(float(generator.uniform(*limits)), 3)
