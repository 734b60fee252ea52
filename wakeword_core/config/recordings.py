"""Settings of recordings: sources, health, splits, synthetic speech and shards."""

import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from wakeword_core.config.base import (
    DECIDES_NOTHING,
    LANGUAGE_TAG,
    AccentName,
    DecidesIf,
    MannerName,
    Role,
    Settings,
    Split,
)
from wakeword_core.config.globs import glob_regex
from wakeword_core.config.remote import TABLE_SUFFIXES, local_copy
from wakeword_core.text import printable

ConfusableKind = Literal["part", "swap", "cut", "rhyme", "start", "near"]
"""How a phrase that sounds like a wake word is made of it."""
_FOLDER_RULE = re.compile(r"parent|folder:-?[1-9]\d?")
_LONGEST_WORD = 60
_LONGEST_PATH, _LONGEST_NAME = 4_000, 255
"""In bytes, as most systems have it."""


class SourceConfig(Settings):
    """One collection of recordings that share a role, a licence and a rule for telling speakers apart."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$", description="Short name; appears in reports.")]
    # where a folder lies and how its files are picked shows in the fingerprint of the recordings
    path: Annotated[Path, DECIDES_NOTHING] = Field(
        description="Folder, or a table (.csv, .tsv, .parquet) with a column path, relative to the table's folder, and "
        "optionally label, speaker, licence, role and split. It may begin with ~ and hold ${VARIABLES}; it is relative "
        "to the configuration. A URL (s3://, gs://, az://, file://, or a list of files on https://) is copied here."
    )
    url: Annotated[str, DECIDES_NOTHING] = Field(
        "", description="Store that the folder of the path is a copy of; follows from a path that is a URL."
    )
    role: Role = Field(description="What its recordings are used as; with labels, those whose label is no wake word.")
    label: str | None = Field(None, description="Class of positives; default: the phrase.")
    labels: Annotated[str | None, DecidesIf(lambda source: source.labels is not None)] = Field(
        None,
        description="How to tell a recording's label: 'parent' (folder name), 'folder:N' (Nth folder below the source, "
        "or above the file when negative), or 'regex:...' with a group named label, matched on the relative path. "
        "A label that is a wake word makes a positive. Default: from the role, or a table's column label.",
    )
    words: Annotated[tuple[str, ...], DecidesIf(lambda source: bool(source.words))] = Field(
        (), description="Wake words among the labels; default: label, or the phrase."
    )
    licence: str = Field("", description="Licence of the recordings, as an SPDX name where there is one.")
    include: Annotated[tuple[str, ...], DECIDES_NOTHING] = Field(
        ("**/*",), min_length=1, description="Glob patterns of the files to take."
    )
    exclude: Annotated[tuple[str, ...], DECIDES_NOTHING] = Field((), description="Glob patterns of files to leave out.")
    link_roots: Annotated[tuple[Path, ...], DECIDES_NOTHING] = Field(
        (),
        description="Folders outside of the source that its links may lead to, such as the store of dvc or git-annex; "
        "written as path is.",
    )
    speaker: str = Field(
        "unknown",
        description="How to tell speakers apart: 'unknown' (each recording its own group), 'single' (one speaker), "
        "'parent' (folder name), 'folder:N' (Nth folder below the source, or above the file when negative), "
        "'block:N' (files whose numbers fall in the same N are one group), or 'regex:...' with a group named speaker, "
        "matched on the relative path.",
    )
    speaker_space: str | None = Field(
        None, description="Sources that share this name share their speakers; default: each source has its own."
    )
    split: Split | None = Field(None, description="Hold the whole source in this split; default: by speaker hash.")
    synthetic: Annotated[bool, DecidesIf(lambda source: source.synthetic)] = Field(
        False,
        description="Whether its recordings are made from text or computed, so that they say nothing of how people are "
        "heard; what synthesis makes always is.",
    )

    @model_validator(mode="before")
    @classmethod
    def _is_copied_here(cls, values: Any) -> Any:
        path = values.get("path") if isinstance(values, dict) else None
        if not isinstance(path, str) or "://" not in path:
            return values
        url, copy = local_copy(path)
        return {**values, "url": url, "path": copy}

    @field_validator("path", "link_roots")
    @classmethod
    def _possible_paths(cls, given: Path | tuple[Path, ...]) -> Path | tuple[Path, ...]:
        for path in (given,) if isinstance(given, Path) else given:
            try:
                parts = [len(os.fsencode(part)) for part in path.parts]
            except UnicodeEncodeError:
                raise ValueError("must be a path of valid text") from None
            if "\0" in str(path) or sum(parts) + len(parts) > _LONGEST_PATH or max(parts, default=0) > _LONGEST_NAME:
                raise ValueError(
                    f"must be a path without null characters, of at most {_LONGEST_PATH:,} bytes, {_LONGEST_NAME} a "
                    "name"
                )
        return given

    @field_validator("include", "exclude")
    @classmethod
    def _globs(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            glob_regex(pattern)
        return patterns

    @field_validator("speaker")
    @classmethod
    def _known_speaker_rule(cls, rule: str) -> str:
        if rule in ("unknown", "single") or re.fullmatch(r"block:[1-9]\d{0,8}", rule) or _is_path_rule(rule, "speaker"):
            return rule
        raise ValueError("must be unknown, single, parent, folder:N, block:N or regex:... with (?P<speaker>...)")

    @field_validator("labels")
    @classmethod
    def _known_label_rule(cls, rule: str | None) -> str | None:
        if rule is None or _is_path_rule(rule, "label"):
            return rule
        raise ValueError("must be parent, folder:N or regex:... with (?P<label>...)")

    @field_validator("licence", "label", "speaker_space")
    @classmethod
    def _one_line(cls, text: str | None) -> str | None:
        if text is not None and printable(text.strip()) != text.strip():
            raise ValueError("must be one line of text without control characters or marks of direction")
        return text if text is None else text.strip()

    @field_validator("words")
    @classmethod
    def _speakable_words(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        for word in words:
            if not word.strip() or not word.isprintable() or word.startswith("_") or len(word) > _LONGEST_WORD:
                raise ValueError(f"{word!r} is no wake word; use letters, and no underscore at its beginning")
        if len(set(words)) != len(words):
            raise ValueError("must not name a word twice")
        return words

    @model_validator(mode="after")
    def _words_are_told_apart(self) -> Self:
        if self.words and self.labels is None and not self.is_table:
            raise ValueError(f"words of source {self.name!r} need labels, the rule that tells them apart")
        return self

    @property
    def is_table(self) -> bool:
        """Whether its recordings are listed in a table instead of found in a folder."""
        return self.path.suffix.lower() in TABLE_SUFFIXES

    @property
    def root(self) -> Path:
        """The folder its recordings' paths start at, and must stay in."""
        return self.path.parent if self.is_table else self.path


def speakable(phrase: str) -> str:
    """Return a phrase with single spaces, in one form of Unicode; ValueError where nobody could say it."""
    phrase = unicodedata.normalize("NFC", " ".join(phrase.split()))
    if not re.search(r"\w", phrase) or not phrase.isprintable() or phrase.startswith("_"):
        raise ValueError("must contain letters, no control characters, and not start with an underscore")
    return phrase


def spelling(text: str) -> str:
    """Return what a phrase has in all its spellings: no case, accents in one form, no punctuation, no spaces."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return "".join(character for character in folded if unicodedata.category(character)[0] not in "PZC")


def wake_words(sources: Iterable[SourceConfig], phrase: str) -> frozenset[str]:
    """Return the wake words that the sources may have positives of; empty when none has any.

    Another spelling of the phrase is the phrase, and one of an earlier source's word is that word.
    """
    words: set[str] = set()
    known = {spelling(phrase): phrase}
    for source in sources:
        own = list(source.words)
        if source.role == "positive" and (source.label or not own):
            own.append(source.label or phrase)
        words |= {known.get(spelling(word), word) for word in own}
        for word in own:
            known.setdefault(spelling(word), word)
    return frozenset(words)


def _is_path_rule(rule: str, group: str) -> bool:
    """Tell whether `rule` names a folder, or is a regular expression with `group`."""
    if _FOLDER_RULE.fullmatch(rule):
        return True
    if not rule.startswith("regex:"):
        return False
    try:
        return group in re.compile(rule.removeprefix("regex:")).groupindex
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"not a regular expression: {error}") from None


class AudioConfig(Settings):
    """The sample rate of all audio, and when a recording counts as silent."""

    sample_rate: int = Field(
        16_000, ge=4_000, le=48_000, description="Sample rate in Hz that all audio is converted to."
    )
    silence_dbfs: float = Field(-70.0, le=0, description="A recording whose RMS is below this is silent.")


class HealthConfig(Settings):
    """Which recordings are fit for use, and where speech is in them."""

    min_seconds: float = Field(0.2, gt=0, description="Shorter recordings are quarantined.")
    max_seconds: float = Field(60.0, gt=0, description="Longer speech recordings are quarantined.")
    max_background_seconds: float = Field(3_600.0, gt=0, description="Longer background or noise is quarantined.")
    max_channels: int = Field(2, ge=1, le=64, description="More channels are quarantined; up to it they are averaged.")
    max_file_mb: float = Field(512.0, gt=0, description="Larger files are quarantined unread.")
    max_clipped_ratio: float = Field(0.05, ge=0, le=1, description="More samples than this at full scale is clipped.")
    vad_threshold: float = Field(0.5, gt=0, lt=1, description="Speech probability above which a frame is speech.")

    @model_validator(mode="after")
    def _lengths_differ(self) -> Self:
        if self.min_seconds >= self.max_seconds:
            raise ValueError("min_seconds must be below max_seconds")
        return self


class SplitsConfig(Settings):
    """How speaker groups are shared out to the splits."""

    val_fraction: float = Field(0.15, gt=0, lt=1, description="Share of speaker groups for validation.")
    test_fraction: float = Field(0.2, gt=0, lt=1, description="Share of speaker groups for the test.")
    rotation: float = Field(
        0.0, ge=0, lt=1, description="Share of speaker groups by which the splits are rotated, as for cross-validation."
    )

    @model_validator(mode="after")
    def _something_to_train_on(self) -> Self:
        if self.val_fraction + self.test_fraction >= 0.9:
            raise ValueError("val_fraction + test_fraction must stay below 0.9, or nothing is left to train on")
        return self


class DataConfig(Settings):
    """Which recordings are used, which are fit for use, and how they are split."""

    sources: tuple[SourceConfig, ...] = Field((), description="Folders and tables of recordings.")
    missing_source: Annotated[Literal["report", "fail"], DECIDES_NOTHING] = Field(
        "report",
        description="What a source that is missing or broken does: 'report' names it and goes on with the others, "
        "'fail' ends the run.",
    )
    audio: AudioConfig = AudioConfig()
    health: HealthConfig = HealthConfig()
    splits: SplitsConfig = SplitsConfig()

    @model_validator(mode="after")
    def _sources_differ(self) -> Self:
        names = [source.name for source in self.sources]
        if len(set(names)) != len(names):
            raise ValueError("two sources have the same name")
        return self


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
        pattern=r"^[a-z]{2,3}(-[a-z0-9]+)*$",
        description="Language by whose rules the phrase is read where no pronunciation is given, as espeak-ng names "
        "it: de, fr, ja, cmn. Default: English, in the accent of each voice.",
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
        return engines

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
            if len(phrase) > _LONGEST_WORD:
                raise ValueError(f"{phrase!r} has more than {_LONGEST_WORD} characters")
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


class ShardsConfig(Settings):
    """How recordings are packed in Parquet."""

    shard_mb: float = Field(64.0, gt=0, le=2_048, description="Aimed-at size of a shard of decoded audio.")
    count: int | None = Field(None, ge=1, le=4_096, description="Shards a split; default: from the size.")
    compact_above: float = Field(
        0.2,
        ge=0,
        le=1,
        description="Share of rows that may be dead or lie in small shards before all shards are written anew.",
    )
