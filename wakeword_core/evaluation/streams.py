"""Continuous audio from the recordings of one split: words with pauses, clean or in noise, and plain background."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wakeword_core.config import Config, Role
from wakeword_core.errors import DataError
from wakeword_core.shards import Recording, iter_recordings

log = logging.getLogger(__name__)

POSITIVE_ROLES: tuple[Role, ...] = ("positive",)
BACKGROUND_ROLES: tuple[Role, ...] = ("negative", "background", "noise")
"""What false alarms an hour are counted on: sound as dense in words as life is."""
CONFUSABLE_ROLES: tuple[Role, ...] = ("hard_negative",)
"""Phrases picked because they sound alike: hours of nothing else are no measure of anything, so they are told apart."""
NOISE_ROLES: tuple[Role, ...] = ("noise", "background", "negative")
"""What may lie under the words, best first."""
_FULL_SCALE = 32_768.0
_FLOOR_SECONDS = 8.0
"""The floor repeats after this long: nobody hears it, and normal numbers are slow to draw."""


@dataclass(frozen=True)
class Word:
    """A wake word in a session, from `start` to `end` in seconds of the session."""

    label: str
    id: str
    start: float
    end: float
    source: str = ""


@dataclass(frozen=True)
class SourceSpan:
    """The part of a session that one recording fills, in seconds; `offset` is where in the recording it begins."""

    source: str
    id: str
    start: float
    end: float
    offset: float = 0.0


@dataclass(frozen=True)
class Session:
    """A stretch of continuous audio: int16 [samples], the words in it and the recordings it is made of."""

    pcm: NDArray[np.int16]
    words: list[Word]
    sources: list[SourceSpan]


@dataclass(frozen=True)
class _Piece:
    """Samples [offset, offset + length) of a recording; `lead` samples before them are context, heard before."""

    recording: Recording
    offset: int
    length: int
    lead: int = 0


@dataclass(frozen=True)
class _Layout:
    """Lengths in samples; a session begins with a whole window, so that its first sound can be scored in full."""

    rate: int
    lead: int
    gap: int
    tail: int
    body: int

    @classmethod
    def of(cls, config: Config) -> "_Layout":
        rate, evaluation = config.data.sample_rate, config.evaluation
        gap = round(evaluation.gap_seconds * rate)
        lead = max(gap, config.features.frontend.window_samples)
        tail = max(gap, round(evaluation.tolerance_seconds * rate))
        body = round(evaluation.session_minutes * 60 * rate) - lead - tail
        if body < rate:
            raise DataError(
                f"evaluation.session_minutes = {evaluation.session_minutes} leaves no room beside "
                f"{(lead + tail) / rate:.1f} s of pauses; raise it"
            )
        return cls(rate, lead, gap, tail, body)


def positive_sessions(shards_folder: Path, config: Config, seed: int, snr_db: float | None) -> Iterator[Session]:
    """Every positive recording of the split once, with pauses between, in shard order.

    `snr_db` is the ratio of the powers of recording and noise over the span of the word; None adds no noise. The
    noise is one unbroken bed made of the split's noise recordings, cycled. A session lasts `session_minutes` at most,
    unless a single recording is longer. The same seed gives the same samples.
    """
    layout = _Layout.of(config)
    random = np.random.default_rng([seed, 0])
    floor = _floor(config, random)
    bed = None if snr_db is None else _NoiseBed(shards_folder, np.random.default_rng([seed, 1]))
    whole = (_Piece(one, 0, len(one.audio)) for one in iter_recordings(shards_folder, roles=POSITIVE_ROLES))
    for pieces in _filled(whole, layout):
        positions, length = _positions(pieces, layout)
        speech = np.zeros(length, dtype=np.float32)
        for piece, position in zip(pieces, positions, strict=True):
            speech[position : position + piece.length] = piece.recording.audio / np.float32(_FULL_SCALE)
        words = [_word(piece, at, layout.rate) for piece, at in zip(pieces, positions, strict=True)]
        if bed is not None and snr_db is not None:
            spans = [(at, at + piece.length) for piece, at in zip(pieces, positions, strict=True)]
            quiet = 10 ** (config.data.silence_dbfs / 10)
            speech = _mixed(speech, bed.take(length), words, spans, snr_db, layout.rate, quiet)
        yield Session(_pcm(speech, floor), words, _spans(pieces, positions, layout))


def background_sessions(
    shards_folder: Path, config: Config, roles: tuple[Role, ...] = BACKGROUND_ROLES
) -> Iterator[Session]:
    """The split's recordings of `roles`, none of which holds a wake word, each second once, with pauses between.

    A recording longer than a session goes on in the next one, which begins with the window heard last, so that no
    stretch goes unscored. Its spans tell new audio only.
    """
    layout = _Layout.of(config)
    floor = _floor(config, np.random.default_rng([config.seed, 2]))
    recordings = iter_recordings(shards_folder, roles=roles)
    cut = chain.from_iterable(_cut(one, layout) for one in recordings)
    for pieces in _filled(cut, layout):
        positions, length = _positions(pieces, layout)
        sound = np.zeros(length, dtype=np.float32)
        for piece, position in zip(pieces, positions, strict=True):
            heard = piece.recording.audio[piece.offset - piece.lead : piece.offset + piece.length]
            sound[position - piece.lead : position + piece.length] = heard / np.float32(_FULL_SCALE)
        yield Session(_pcm(sound, floor), [], _spans(pieces, positions, layout))


class _NoiseBed:
    """Noise without end: the noise recordings of a split one after the other, each entered at a random place."""

    def __init__(self, shards_folder: Path, random: np.random.Generator) -> None:
        self._folder = shards_folder
        self._random = random
        self._rest: NDArray[np.int16] = np.empty(0, dtype=np.int16)
        self._source = self._cycle()

    def take(self, samples: int) -> NDArray[np.float32]:
        """The next `samples` samples, in [-1, 1]."""
        taken, missing = [], samples
        while missing:
            if not len(self._rest):
                self._rest = next(self._source)
            taken.append(self._rest[:missing])
            missing -= len(taken[-1])
            self._rest = self._rest[len(taken[-1]) :]
        return np.concatenate(taken).astype(np.float32) / np.float32(_FULL_SCALE)

    def _cycle(self) -> Iterator[NDArray[np.int16]]:
        role = self._role()
        while True:
            for one in iter_recordings(self._folder, roles=(role,)):
                if one.audio.any():
                    yield np.roll(one.audio, -int(self._random.integers(len(one.audio))))

    def _role(self) -> Role:
        for role in NOISE_ROLES:
            if any(one.audio.any() for one in iter_recordings(self._folder, roles=(role,))):
                log.info("words are mixed with the %s recordings of %s", role, self._folder)
                return role
        raise DataError(
            f"{self._folder} has no noise to put under the wake words; add a source of role noise, "
            "or set evaluation.stream_snr_db to [null]"
        )


def _filled(pieces: Iterable[_Piece], layout: _Layout) -> Iterator[list[_Piece]]:
    """Group pieces in order, each group as many as a session holds; a continued recording opens its own."""
    group: list[_Piece] = []
    used = 0
    for piece in pieces:
        if group and (piece.lead or used + layout.gap + piece.length > layout.body):
            yield group
            group, used = [], 0
        used += piece.length + (layout.gap if group else 0)
        group.append(piece)
    if group:
        yield group


def _cut(recording: Recording, layout: _Layout) -> Iterator[_Piece]:
    for offset in range(0, len(recording.audio), layout.body):
        length = min(layout.body, len(recording.audio) - offset)
        yield _Piece(recording, offset, length, min(offset, layout.lead))


def _positions(pieces: list[_Piece], layout: _Layout) -> tuple[list[int], int]:
    """Where each piece begins, and the length of the session, in samples."""
    steps = np.cumsum([layout.lead] + [piece.length + layout.gap for piece in pieces])
    return steps[:-1].tolist(), int(steps[-1]) - layout.gap + layout.tail


def _word(piece: _Piece, position: int, rate: int) -> Word:
    """The span that voice activity found, else the whole recording."""
    one = piece.recording
    start, end = float(one.speech_start), float(one.speech_end)
    if not 0 <= start < end <= piece.length / rate:
        start, end = 0.0, piece.length / rate
    return Word(one.label, one.id, position / rate + start, position / rate + end, one.source)


def _spans(pieces: list[_Piece], positions: list[int], layout: _Layout) -> list[SourceSpan]:
    rate = layout.rate
    return [
        SourceSpan(one.recording.source, one.recording.id, at / rate, (at + one.length) / rate, one.offset / rate)
        for one, at in zip(pieces, positions, strict=True)
    ]


def _mixed(
    speech: NDArray[np.float32],
    noise: NDArray[np.float32],
    words: list[Word],
    spans: list[tuple[int, int]],
    snr_db: float,
    rate: int,
    quiet: float,
) -> NDArray[np.float32]:
    """Speech plus noise [samples], at the given ratio over each word.

    The noise's gain is constant under a recording and glides in the pauses, so that the bed has no steps. Noise
    quieter than `quiet` (a power) is not raised as if it were louder. Where a mixture would clip, both are lowered.
    """
    knots: list[int] = []
    gains: list[float] = []
    for word, (start, end) in zip(words, spans, strict=True):
        span = slice(round(word.start * rate), max(round(word.end * rate), round(word.start * rate) + 1))
        power = float(np.mean(np.square(speech[span], dtype=np.float64)))
        noise_power = max(float(np.mean(np.square(noise[span], dtype=np.float64))), quiet)
        gain = (power / noise_power / 10 ** (snr_db / 10)) ** 0.5
        peak = float(np.abs(speech[start:end] + np.float32(gain) * noise[start:end]).max())
        lowered = 1 / max(peak, 1.0)
        speech[start:end] *= np.float32(lowered)
        knots += [start, end]
        gains += [gain * lowered] * 2
    return speech + noise * np.interp(np.arange(len(noise)), knots, gains).astype(np.float32)


def _floor(config: Config, random: np.random.Generator) -> NDArray[np.float32]:
    samples = round(_FLOOR_SECONDS * config.data.sample_rate)
    level = 10 ** (config.evaluation.floor_dbfs / 20)
    return (random.standard_normal(samples, dtype=np.float32) * np.float32(level)).astype(np.float32)


def _pcm(sound: NDArray[np.float32], floor: NDArray[np.float32]) -> NDArray[np.int16]:
    """Add the floor and round to 16 bits."""
    whole = (sound + np.resize(floor, len(sound))) * np.float32(_FULL_SCALE)
    return np.clip(np.rint(whole), -_FULL_SCALE, _FULL_SCALE - 1).astype(np.int16)
