"""Settings of recordings: sources, health, splits and shards."""

import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from wakeword_core.config.base import DECIDES_NOTHING, LONGEST_PHRASE, DecidesIf, Role, Settings, Split
from wakeword_core.config.globs import glob_regex
from wakeword_core.config.remote import (
    DATA_SUFFIXES,
    HUB,
    TABLE_SUFFIXES,
    TAR_SUFFIXES,
    cache_folder,
    copy_folder,
    local_copy,
)
from wakeword_core.files import digest
from wakeword_core.text import printable

_FOLDER_RULE = re.compile(r"parent|folder:-?[1-9]\d?")
_LONGEST_PATH, _LONGEST_NAME = 4_000, 255
"""In bytes, as most systems have it."""
_DIGITS = 12


class ColumnsConfig(Settings):
    """Which columns of a data set hold the recordings, and what is said of them.

    Parts of a column are named with dots: `meta.speaker`. Of a tar, columns are the endings of the files that share a
    name, and the fields of those that end in json: `txt`, `json.speaker`.
    """

    audio: str | None = Field(
        None,
        min_length=1,
        description="Recordings: bytes, or {bytes, path}. Default: audio; in a tar, every file that is sound.",
    )
    label: str | None = Field(None, min_length=1, description="Label of each recording.")
    speaker: str | None = Field(None, min_length=1, description="Who speaks.")
    licence: str | None = Field(None, min_length=1, description="Licence of each recording.")
    split: str | None = Field(
        None,
        min_length=1,
        description="Split of each recording; '@path' reads it off the names of the data set's files.",
    )

    @property
    def stated(self) -> dict[str, str]:
        """Return what is said of the recordings and where: label, speaker, licence and split, as far as named."""
        named = {name: getattr(self, name) for name in ("label", "speaker", "licence", "split")}
        return {name: column for name, column in named.items() if column}


class SourceConfig(Settings):
    """One collection of recordings that share a role, a licence and a rule for telling speakers apart."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$", description="Short name; appears in reports.")]
    # where a folder lies and how its files are picked shows in the fingerprint of the recordings
    path: Annotated[Path, DECIDES_NOTHING] = Field(
        description="Folder, table (.csv, .tsv, .parquet) with a column path, relative to the table's folder, and "
        "optionally label, speaker, licence, role and split, or data set (.tar, .arrow, or what has columns). It may "
        "hold ~ and ${VARIABLES}; it is relative to the configuration. A URL (s3://, gs://, az://, file://, hf://, or "
        "a list of files on https://) is copied here."
    )
    url: Annotated[str, DECIDES_NOTHING] = Field(
        "", description="Store that the folder of the path is a copy of; it follows from a path that is a URL, alone."
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
    # what they say of each recording shows in the fingerprint of the recordings
    columns: Annotated[ColumnsConfig | None, DECIDES_NOTHING] = Field(
        None, description="Columns of a data set, whose files hold many recordings each; default: it is none."
    )
    licence: str = Field("", description="Licence of the recordings, as an SPDX name where there is one.")
    include: Annotated[tuple[str, ...], DECIDES_NOTHING] = Field(
        ("**/*",), min_length=1, description="Glob patterns of the files to take; of a data set, of its own files."
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
    captured: Annotated[bool, DecidesIf(lambda source: source.captured)] = Field(
        False,
        description="Whether it is what serve --keep or listen --keep has kept and people have labelled: those of its "
        "recordings that are in the test are listed one by one, and the champion is compared on them.",
    )

    @model_validator(mode="before")
    @classmethod
    def _is_copied_here(cls, values: Any) -> Any:
        path = values.get("path") if isinstance(values, dict) else None
        if not isinstance(path, str | Path):
            return values
        if str(path).lower().endswith((".arrow", *TAR_SUFFIXES)) or str(path).startswith(HUB):
            values = {**values, "columns": values.get("columns") or {}}
        if not isinstance(path, str) or "://" not in path:
            return values
        url, copy = local_copy(path)
        return {**values, "url": url, "path": copy}

    @model_validator(mode="after")
    def _is_a_copy_of_its_url(self) -> Self:
        if not self.url:
            return self
        place = copy_folder(self.url).parts[-3:]  # below any folder of caches: the configuration may have been saved
        if place not in (self.path.parts[-3:], self.path.parent.parts[-3:]):
            raise ValueError(
                "a URL must be given as the path, and not beside the path of a folder, from which all that the URL "
                "does not have would be removed"
            )
        return self

    @field_validator("path", "link_roots")
    @classmethod
    def _possible_paths(cls, given: Path | tuple[Path, ...]) -> Path | tuple[Path, ...]:
        for path in (given,) if isinstance(given, Path) else given:
            possible_path(path)
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
            if not word.strip() or not word.isprintable() or word.startswith("_") or len(word) > LONGEST_PHRASE:
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
    def is_hub(self) -> bool:
        """Whether it is a data set of Hugging Face's hub."""
        return self.url.startswith(HUB)

    @property
    def is_table(self) -> bool:
        """Whether its recordings are listed in a table instead of found in a folder."""
        return self.columns is not None or self.path.suffix.lower() in TABLE_SUFFIXES

    @property
    def folder(self) -> Path:
        """The folder that its path is, or lies in."""
        is_file = self.path.name.lower().endswith((*TABLE_SUFFIXES, *DATA_SUFFIXES)) and not self.is_hub
        return self.path.parent if is_file else self.path

    @property
    def unpacked(self) -> Path:
        """The folder of what is unpacked of a data set: a table, and the recordings that it lists."""
        return cache_folder() / "unpacked" / digest([self.name, self.url, str(self.path)])[:_DIGITS]

    @property
    def table(self) -> Path:
        """The table that lists its recordings, if it has one."""
        return self.path if self.columns is None else self.unpacked / "recordings.parquet"

    @property
    def root(self) -> Path:
        """The folder its recordings' paths start at, and must stay in."""
        return self.folder if self.columns is None else self.unpacked / "recordings"


def possible_path(path: Path) -> Path:
    """Return a path that a file may have; ValueError for any other."""
    try:
        parts = [len(os.fsencode(part)) for part in path.parts]
    except UnicodeEncodeError:
        raise ValueError("must be a path of valid text") from None
    if "\0" in str(path) or sum(parts) + len(parts) > _LONGEST_PATH or max(parts, default=0) > _LONGEST_NAME:
        raise ValueError(
            f"must be a path without null characters, of at most {_LONGEST_PATH:,} bytes, {_LONGEST_NAME} a name"
        )
    return path


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
    # what it says of each recording shows in the fingerprint of the recordings
    corrections: Annotated[Path | None, DECIDES_NOTHING] = Field(
        None,
        description="Table (.csv) of what people said of recordings after listening, which counts before what sources "
        "say; `wakeword review --doubtful` writes it. It may hold ~ and ${VARIABLES}; it is relative to the "
        "configuration.",
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

    @field_validator("corrections")
    @classmethod
    def _is_csv(cls, path: Path | None) -> Path | None:
        if path is not None and path.suffix.lower() != ".csv":
            raise ValueError("must be the path of a .csv")
        return path if path is None else possible_path(path)

    @property
    def captured(self) -> frozenset[str]:
        """The names of the sources that hold labelled captures."""
        return frozenset(source.name for source in self.sources if source.captured)


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
