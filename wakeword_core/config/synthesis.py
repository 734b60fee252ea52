"""Settings of synthetic speech, one more source of recordings."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from wakeword_core.config.base import LANGUAGE_TAG, LONGEST_PHRASE, AccentName, MannerName, Settings
from wakeword_core.config.recordings import speakable, spelling
from wakeword_core.errors import ConfigError
from wakeword_core.plugins import find_plugin, plugins

ConfusableKind = Literal["part", "swap", "cut", "rhyme", "start", "near"]
"""How a phrase that sounds like a wake word is made of it."""
OWN_ENGINES = ("espeak", "hibari", "kokoro", "piper")
"""Speech engines of this project; all others are of other packages, and have other names."""


class SynthesisConfig(Settings):
    """Recordings made from text, as one more source."""

    enabled: bool = Field(False, description="Whether synthetic speech joins the recordings.")
    phrases: tuple[str, ...] = Field(
        (), max_length=20, description="Further wake words that are made as the phrase is, each a label of its own."
    )
    positives: int = Field(600, ge=0, le=100_000, description="Recordings of each wake word.")
    hard_negatives: int = Field(600, ge=0, le=100_000, description="Recordings of phrases that sound like each.")
    confusables: tuple[str, ...] = Field(
        (),
        max_length=1_000,
        description="Phrases that must not wake the model, among the phrases that sound alike whatever they are.",
    )
    confusable_kinds: tuple[ConfusableKind, ...] = Field(
        get_args(ConfusableKind),
        description="Which phrases that sound alike are made: 'part' of the wake word, its words in another order "
        "('swap'), broken off ('cut'), with other first consonants ('rhyme'), with words that begin alike ('start') or "
        "sound alike ('near').",
    )
    pieces: int = Field(
        0, ge=0, le=100_000, description="Beginnings and ends of recordings of each wake word, as hard negatives."
    )
    piece_range: tuple[float, float] = Field((0.3, 0.8), description="Share of the wake word in a piece, from and to.")
    carrier_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of the recordings of wake words, and of phrases that sound alike, with other speech around: "
        "before them, or a request after them.",
    )
    negatives: int = Field(900, ge=0, le=100_000, description="Recordings of other sentences.")
    words: int = Field(
        0,
        ge=0,
        le=100_000,
        description="Recordings of one or two words or names by themselves, as negatives of training, which real data "
        "lack.",
    )
    background_minutes: float = Field(6.0, ge=0, le=600, description="Synthetic background sound.")
    held_out_background_minutes: float = Field(
        0.0,
        ge=0,
        le=6_000,
        description="More of it for validation and as much for test, in which a model is to stay silent.",
    )
    rate_range: tuple[int, int] = Field((120, 220), description="Words a minute of espeak-ng voices, from and to.")
    pitch_range: tuple[int, int] = Field((25, 75), description="espeak-ng pitch, 0 to 99, from and to.")
    engines: dict[str, Annotated[float, Field(ge=0, le=1_000)]] = Field(
        {"espeak": 0.75, "hibari": 0.25},
        description="Speech engines with the share of recordings that each makes: espeak, hibari, kokoro, piper, and "
        "those of other packages. Shares are divided by their sum.",
    )
    languages: tuple[str, ...] = Field(
        (),
        description="Languages that voices may come from, such as en or en-gb; none: all. Voices made for other "
        "languages speak English with an accent.",
    )
    piper_voices: tuple[Path, ...] = Field(
        (),
        description="Voices for the engine piper: .onnx files, each with its .onnx.json beside it; written as the path "
        "of a source is.",
    )
    pronunciations: dict[str, Annotated[tuple[str, ...], Field(min_length=1)]] = Field(
        {},
        description="How words and phrases are said, in the phonetic alphabet (IPA), such as {hey robin: heɪ ˈɹɒbɪn}; "
        "a list of several ways takes turns.",
    )
    phrase_language: str | None = Field(
        None,
        pattern=LANGUAGE_TAG,
        description="Language by whose rules phrases and confusables are read where no pronunciation is given, as "
        "espeak-ng names it: de, fr, ja, cmn. Default: English, in the accent of each voice.",
    )
    accent_share: float = Field(
        0.0, ge=0, le=1, description="Share of recordings that are said in the accent of another language."
    )
    accents: tuple[AccentName, ...] = Field((), description="Accents that are drawn from; none: all.")
    people_share: float = Field(
        0.0, ge=0, le=1, description="Share of recordings by people, and in manners, that the engines lack."
    )
    people: tuple[MannerName, ...] = Field((), description="Kinds of people that are drawn from; none: all.")
    recognise: Literal["none", "whisper"] = Field(
        "none",
        description="What hears whether phrases were said: 'whisper' drops what Whisper hears otherwise (extra ears).",
    )
    intonation_range: tuple[int, int] = Field((30, 80), description="espeak-ng pitch range, 0 to 99, from and to.")
    margin_seconds: tuple[float, float] = Field((0.2, 0.6), description="Quiet before and after speech, from and to.")
    level_dbfs: tuple[float, float] = Field((-32.0, -18.0), description="RMS level of speech, from and to.")
    quiet_dbfs: tuple[float, float] = Field((-75.0, -58.0), description="RMS level of the noise floor, from and to.")

    @field_validator("pronunciations", mode="before")
    @classmethod
    def _several_ways(cls, pronunciations: Any) -> Any:
        if not isinstance(pronunciations, dict):
            return pronunciations
        return {text: (ways,) if isinstance(ways, str) else ways for text, ways in pronunciations.items()}

    @field_validator("engines")
    @classmethod
    def _somebody_speaks(cls, engines: dict[str, float]) -> dict[str, float]:
        if not sum(engines.values()) > 0:
            raise ValueError("must give at least one engine a share above 0, such as {espeak: 1}")
        for name in engines.keys() - set(OWN_ENGINES):
            try:
                find_plugin("speech engine", name, OWN_ENGINES)
            except ConfigError as error:
                raise ValueError(f"{name!r} {error}") from None
        return engines

    def decides_besides(self) -> dict[str, Any]:
        """Return the packages, with their versions, of the engines that are not this project's."""
        others = sorted(set(self.engines) - set(OWN_ENGINES))
        installed = plugins("speech engine") if others else {}
        packages = {name: installed[name][0].package for name in others if name in installed}
        return {"packages": packages} if packages else {}

    @field_validator("languages")
    @classmethod
    def _tags(cls, languages: tuple[str, ...]) -> tuple[str, ...]:
        if not all(re.fullmatch(LANGUAGE_TAG, language) for language in languages):
            raise ValueError("must be tags of languages in small letters, such as en or en-gb")
        return languages

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        bounds: dict[str, tuple[float, float]] = {
            "rate_range": (80, 450),
            "pitch_range": (0, 99),
            "intonation_range": (0, 99),
            "piece_range": (0.05, 0.95),
            "margin_seconds": (0, 10),
            "level_dbfs": (-60, -6),
            "quiet_dbfs": (-90, -30),
        }
        for name, (least, most) in bounds.items():
            low, high = getattr(self, name)
            if not least <= low <= high <= most:
                raise ValueError(f"{name} must be given as [from, to] with {least:g} <= from <= to <= {most:g}")
        return self

    @field_validator("phrases", "confusables")
    @classmethod
    def _speakable(cls, phrases: tuple[str, ...]) -> tuple[str, ...]:
        spoken = []
        for phrase in phrases:
            try:
                spoken.append(speakable(phrase))
            except ValueError as error:
                raise ValueError(f"{phrase!r} {error}") from None
            if len(phrase) > LONGEST_PHRASE:
                raise ValueError(f"{phrase!r} has more than {LONGEST_PHRASE} characters")
        if len(set(map(spelling, spoken))) != len(spoken):
            raise ValueError("must not name a phrase twice")
        return tuple(spoken)

    @model_validator(mode="after")
    def _confusables_are_said(self) -> Self:
        if len(self.confusables) > self.hard_negatives:
            raise ValueError(
                f"hard_negatives must be at least {len(self.confusables)}, one for each of the confusables"
            )
        return self
