"""Continuous audio from the recordings of one split: words with pauses, in any condition, and plain background."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wakeword_core.audio import from_pcm16
from wakeword_core.config import Config, Role
from wakeword_core.errors import DataError
from wakeword_core.evaluation.conditions import Condition
from wakeword_core.evaluation.mixing import NoiseBed, Rooms, floor, mix, pcm
from wakeword_core.shards.packed_split import Recording, iter_recordings

POSITIVE_ROLES: tuple[Role, ...] = ("positive",)
BACKGROUND_ROLES: tuple[Role, ...] = ("negative", "background", "noise")
"""What false alarms an hour are counted on: sound as dense in words as life is."""
CONFUSABLE_ROLES: tuple[Role, ...] = ("hard_negative",)
"""Phrases picked because they sound alike: hours of nothing else are no measure of anything, so they are told apart."""


@dataclass(frozen=True)
class Word:
    """A wake word in a session, from `start` to `end`, its recording from `begin`, in seconds of the session."""

    label: str
    id: str
    start: float
    end: float
    source: str = ""
    speaker: str = ""
    begin: float = 0.0


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


def positive_sessions(shards_folder: Path, config: Config, seed: int, condition: Condition) -> Iterator[Session]:
    """Every positive recording of the split once in a condition, with pauses between, in shard order.

    The ratio of a condition is that of the powers of recording and noise over the span of the word. The noise is one
    unbroken bed made of the split's noise recordings, cycled; a far recording is reverberated, the noise is not. A
    session lasts `session_minutes` at most, unless a single recording is longer. The same seed gives the same samples,
    and the same room and stretch of noise to a word in every condition.
    """
    layout = _Layout.of(config)
    under = floor(config, np.random.default_rng([seed, 0]))
    bed = None if condition.snr_db is None else NoiseBed(shards_folder, np.random.default_rng([seed, 1]))
    rooms = Rooms(shards_folder, config, np.random.default_rng([seed, 3])) if condition.far else None
    quiet = 10 ** (config.data.silence_dbfs / 10)
    whole = (_Piece(one, 0, len(one.audio)) for one in iter_recordings(shards_folder, roles=POSITIVE_ROLES))
    for pieces in _filled(whole, layout):
        positions, length = _positions(pieces, layout)
        words = [_word(piece, at, layout.rate) for piece, at in zip(pieces, positions, strict=True)]
        spans = [_samples(word.start, word.end, layout.rate) for word in words]
        speech = _speech(pieces, positions, spans, length, rooms)
        if bed is not None or rooms is not None:
            recordings = [slice(at, at + piece.length) for piece, at in zip(pieces, positions, strict=True)]
            noise = bed.take(length) if bed is not None else None
            stretch = round(config.evaluation.noise_seconds * layout.rate)
            speech = mix(speech, noise, spans, recordings, condition.snr_db, quiet, stretch)
        yield Session(pcm(speech, under), words, _spans(pieces, positions, layout))


def background_sessions(
    shards_folder: Path, config: Config, roles: tuple[Role, ...] = BACKGROUND_ROLES
) -> Iterator[Session]:
    """The split's recordings of `roles`, none of which holds a wake word, each second once, with pauses between.

    A recording longer than a session goes on in the next one, which begins with the window heard last, so that no
    stretch goes unscored. Its spans tell new audio only.
    """
    layout = _Layout.of(config)
    under = floor(config, np.random.default_rng([config.seed, 2]))
    recordings = iter_recordings(shards_folder, roles=roles)
    cut = chain.from_iterable(_cut(one, layout) for one in recordings)
    for pieces in _filled(cut, layout):
        positions, length = _positions(pieces, layout)
        sound = np.zeros(length, dtype=np.float32)
        for piece, position in zip(pieces, positions, strict=True):
            heard = piece.recording.audio[piece.offset - piece.lead : piece.offset + piece.length]
            sound[position - piece.lead : position + piece.length] = from_pcm16(heard)
        yield Session(pcm(sound, under), [], _spans(pieces, positions, layout))


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
    begin = position / rate
    return Word(one.label, one.id, begin + start, begin + end, one.source, one.speaker, begin)


def _samples(start: float, end: float, rate: int) -> slice:
    """From one time to another in samples, at least one."""
    return slice(round(start * rate), max(round(end * rate), round(start * rate) + 1))


def _speech(
    pieces: list[_Piece], positions: list[int], words: list[slice], length: int, rooms: Rooms | None
) -> NDArray[np.float32]:
    """The recordings at their places; from across rooms, if any, their reverberation runs into the pauses."""
    speech = np.zeros(length, dtype=np.float32)
    for piece, position, word in zip(pieces, positions, words, strict=True):
        sound = from_pcm16(piece.recording.audio)
        if rooms is not None:
            sound = rooms.across(sound, slice(word.start - position, word.stop - position))
        speech[position : position + len(sound)] += sound[: length - position]
    return speech


def _spans(pieces: list[_Piece], positions: list[int], layout: _Layout) -> list[SourceSpan]:
    rate = layout.rate
    return [
        SourceSpan(one.recording.source, one.recording.id, at / rate, (at + one.length) / rate, one.offset / rate)
        for one, at in zip(pieces, positions, strict=True)
    ]
