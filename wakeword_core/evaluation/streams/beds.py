"""What lies under the words of a stream: noise or speech of its own split, or music that is computed."""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wakeword_core.audio import from_pcm16, to_pcm16
from wakeword_core.config import Role
from wakeword_core.config.evaluation import Under
from wakeword_core.errors import DataError
from wakeword_core.shards.packed_split import iter_recordings

log = logging.getLogger(__name__)

NOISE_ROLES: tuple[Role, ...] = ("noise", "background", "negative")
"""What may lie under the words as noise, best first."""
SPOKEN_ROLES: tuple[Role, ...] = ("negative", "hard_negative")
"""Recordings of people who say something else; of noise and background nobody knows what is in them."""
_PIECES, _PIECE_SECONDS, _PIECE_PEAK = 8, 15.0, 0.5
"""Of computed music: how many pieces come again and again, how long each is, and its loudest sample."""

Floats = NDArray[np.float32]


class NoiseBed:
    """Sound without end, made of pieces of int16 [samples] that follow each other."""

    def __init__(self, pieces: Iterator[NDArray[np.int16]]) -> None:
        self._pieces = pieces
        self._rest: NDArray[np.int16] = np.empty(0, dtype=np.int16)

    @classmethod
    def of(cls, under: Under, shards_folder: Path, rate: int, random: np.random.Generator) -> "NoiseBed":
        """Return noise or speech of the recordings of a split, or music at a sample rate."""
        return cls(_music(rate, random) if under == "music" else _cycled(shards_folder, under, random))

    def take(self, samples: int) -> Floats:
        """Return the next `samples` samples, in [-1, 1]."""
        taken, missing = [], samples
        while missing:
            if not len(self._rest):
                self._rest = next(self._pieces)
            taken.append(self._rest[:missing])
            missing -= len(taken[-1])
            self._rest = self._rest[len(taken[-1]) :]
        return from_pcm16(np.concatenate(taken))


def _cycled(shards_folder: Path, under: Under, random: np.random.Generator) -> Iterator[NDArray[np.int16]]:
    """Yield a split's recordings of noise or speech one after the other, for ever, each entered at a random place."""
    role = _role_under(under, shards_folder)
    while True:
        for recording in iter_recordings(shards_folder, roles=(role,)):
            if recording.audio.any():
                yield np.roll(recording.audio, -int(random.integers(len(recording.audio))))


def _music(rate: int, random: np.random.Generator) -> Iterator[NDArray[np.int16]]:
    """Yield pieces of music for ever: a few are made, and then come again."""
    from wakeword_core.speech.background import arpeggio, chords

    made: list[NDArray[np.int16]] = []
    for maker in (chords, arpeggio) * (_PIECES // 2):
        sound = maker(round(_PIECE_SECONDS * rate), rate, random)
        made.append(to_pcm16((sound * (_PIECE_PEAK / np.abs(sound).max())).astype(np.float32)))
        yield made[-1]
    while True:
        yield from made


def _role_under(under: Under, shards_folder: Path) -> Role:
    """Return the role of what a split has to put under words; DataError where it has nothing."""
    roles = NOISE_ROLES if under == "noise" else SPOKEN_ROLES
    for role in roles:
        if any(recording.audio.any() for recording in iter_recordings(shards_folder, roles=(role,))):
            log.debug("words are mixed with the %s recordings of %s", role, shards_folder)
            return role
    if under == "speech":
        raise DataError(
            f"{shards_folder} has no other speech to put under the wake words; add a source of role negative, or take "
            "the conditions with speech away (evaluation.conditions.test.speech_db)"
        )
    raise DataError(
        f"{shards_folder} has no noise to put under the wake words; add a source of role noise, or set "
        "evaluation.conditions.{test.snr_db,test.far_snr_db,tuning.snr_db} to [null]"
    )
