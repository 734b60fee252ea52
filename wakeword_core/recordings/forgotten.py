"""Tombstones: recordings and speakers that nothing may be made from any more, kept in the home as hashes alone."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from wakeword_core.errors import DataError, reason_of
from wakeword_core.files import as_type, digest, read_json, write_json
from wakeword_core.store.locks import exclusive

FILE = "forgotten.json"
_LOCK = ".forgotten.lock"
_LATER = "of a speaker who is forgotten"
"""Reason of a recording that came after its speaker was forgotten."""


@dataclass(frozen=True)
class Tombstone:
    """One recording or speaker that is to be forgotten."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    kind: Literal["recording", "speaker"]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Of the recording's bytes, or of the speaker group's name: the name itself is not kept."""
    date: str
    """UTC, ISO 8601."""
    reason: str


@dataclass(frozen=True)
class Forgotten:
    """All tombstones of a home, which hold for every project in it."""

    tombstones: tuple[Tombstone, ...] = ()

    @classmethod
    def load(cls, home: Path) -> "Forgotten":
        """Read those of a home; DataError when that fails, since without them everything would come back."""
        path = home / FILE
        if not path.exists() and not path.is_symlink():
            return NOTHING_FORGOTTEN
        try:
            return cls(as_type(tuple[Tombstone, ...], read_json(path)))
        except (OSError, ValueError) as error:
            raise DataError(
                f"{path}, which names the recordings to forget, cannot be read ({reason_of(error)}); restore it from "
                "a backup: without it they would be used again"
            ) from error

    @classmethod
    def add_to(
        cls, home: Path, recording_ids: Iterable[str], speakers: Iterable[str] = (), reason: str = _LATER
    ) -> "Forgotten":
        """Write new tombstones beside those that a home has by now, and return all of them."""
        try:
            home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"cannot write to {home}: {error.strerror}; nothing was forgotten") from error
        with exclusive(home / _LOCK):
            forgotten = cls.load(home).adding(recording_ids, speakers, reason)
            forgotten.save(home)
        return forgotten

    def save(self, home: Path) -> None:
        """Write them to a home, whole or not at all; DataError when that fails."""
        try:
            write_json(home / FILE, [asdict(tombstone) for tombstone in self.tombstones])
        except OSError as error:
            raise DataError(f"cannot write {home / FILE}: {error.strerror}; nothing was forgotten") from error

    def adding(self, recording_ids: Iterable[str], speakers: Iterable[str], reason: str) -> "Forgotten":
        """Return these with new ones of today; what is forgotten already keeps its date and reason."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        tombstones = [Tombstone("recording", recording_id, now, reason) for recording_id in recording_ids]
        tombstones += [Tombstone("speaker", speaker_hash(speaker), now, reason) for speaker in speakers]
        by_hash: dict[tuple[str, str], Tombstone] = {}
        for tombstone in (*self.tombstones, *tombstones):
            by_hash.setdefault((tombstone.kind, tombstone.sha256), tombstone)
        return Forgotten(tuple(by_hash.values()))

    def among(self, recording_ids: Sequence[str], speakers: Sequence[str]) -> list[bool]:
        """Tell which recordings are forgotten, given the id and speaker group of each: [recordings]."""
        distinct = set(speakers) if self._speakers else ()
        silenced = {speaker for speaker in distinct if speaker_hash(speaker) in self._speakers}
        return [
            recording_id in self.recordings or speaker in silenced
            for recording_id, speaker in zip(recording_ids, speakers, strict=True)
        ]

    def enter(self, fingerprint: str) -> str:
        """Return a fingerprint of recordings that changes whenever something is forgotten."""
        if not self.tombstones:
            return fingerprint
        return digest([fingerprint, sorted(self.recordings), sorted(self._speakers)])

    @property
    def digest(self) -> str:
        """Return a hash of what is forgotten; empty while nothing is."""
        return self.enter("") if self.tombstones else ""

    @cached_property
    def recordings(self) -> frozenset[str]:
        """The SHA-256 of every recording that is forgotten by its bytes."""
        return frozenset(tombstone.sha256 for tombstone in self.tombstones if tombstone.kind == "recording")

    @cached_property
    def _speakers(self) -> frozenset[str]:
        return frozenset(tombstone.sha256 for tombstone in self.tombstones if tombstone.kind == "speaker")


NOTHING_FORGOTTEN = Forgotten()


def speaker_hash(speaker: str) -> str:
    """Return what stands for a speaker group in a tombstone."""
    return hashlib.sha256(speaker.encode()).hexdigest()
