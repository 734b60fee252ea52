"""Continuous audio from the recordings of one split: words with pauses, in any condition, and plain background."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wakeword_core.audio import from_pcm16, to_pcm16
from wakeword_core.config import Config, Role
from wakeword_core.config.evaluation import TestConditionsConfig
from wakeword_core.errors import DataError
from wakeword_core.evaluation.streams.beds import SPOKEN_ROLES, NoiseBed
from wakeword_core.evaluation.streams.conditions import Condition
from wakeword_core.evaluation.streams.ways import levelled, passed
from wakeword_core.shards.packed_split import iter_recordings
from wakeword_core.shards.shard_file import Recording

Floats = NDArray[np.float32]
Measure = Callable[[NDArray[np.int16]], float]
"""int16 [samples] of a recording -> seconds from the first to the last speech in it, NaN without any."""
_FLOOR_SECONDS = 8.0
"""The floor repeats after this long: nobody hears it, and normal numbers are slow to draw."""
_OTHER_ROOMS = 2**31
"""Added to the seed, which is below it: no room of the test is one of training's."""


class Rooms:
    """Impulse responses for far words: the split's own recordings of rooms, else generated ones."""

    def __init__(
        self, shards_folder: Path, test: TestConditionsConfig, rate: int, seed: int, random: np.random.Generator
    ) -> None:
        from wakeword_core.features.materials import generate_rooms, recorded_rooms

        limits = test.far_rt60_seconds
        self._responses = recorded_rooms(shards_folder, round(limits[1] * rate))
        if not len(self._responses):
            self._responses = generate_rooms(test.far_rooms, limits, rate, seed + _OTHER_ROOMS)
        self._random = random

    def across(self, sound: Floats, span: slice) -> Floats:
        """Return a recording [samples] as it arrives across the next room, with its reverberation [more samples].

        The direct sound stays where it was, since a room delays nothing that matters, and the power over `span`, the
        word, stays what it was, so that a noise at some ratio to the word is as loud as under a near one.
        """
        from scipy.signal import fftconvolve

        response = self._responses[int(self._random.integers(len(self._responses)))]
        wet = fftconvolve(sound.astype(np.float64), response.astype(np.float64))
        arriving = power(wet[span])
        return (wet * (power(sound[span]) / arriving) ** 0.5 if arriving else wet).astype(np.float32)


def power(sound: NDArray[np.floating]) -> float:
    """Return the mean square of [samples]; 0 of none."""
    return float(np.mean(np.square(sound, dtype=np.float64))) if len(sound) else 0.0


def mix(
    speech: Floats,
    noise: Floats | None,
    words: Sequence[slice],
    recordings: Sequence[slice],
    snr_db: float | None,
    quiet: float,
    stretch: int,
) -> Floats:
    """Add noise [samples] to speech at the given ratio; each word lies within its recording.

    The ratio is that of the word's power to the noise's over `stretch` samples around the word. Of the noise under the
    word alone it would raise the silence between two barks until the next one drowns everything.
    The noise's gain is constant under a recording and glides in the pauses, so that the bed has no steps. Noise
    quieter than `quiet` (a power) is not raised as if it were louder. Where the result would clip, both are lowered.
    """
    knots: list[int] = []
    noise_gains: list[float] = []
    speech_gains: list[float] = []
    for word, recording in zip(words, recordings, strict=True):
        gain, mixed = 0.0, speech[recording]
        if noise is not None and snr_db is not None:
            level = max(power(noise[_around(word, stretch)]), quiet)
            gain = (power(speech[word]) / level / 10 ** (snr_db / 10)) ** 0.5
            mixed = mixed + np.float32(gain) * noise[recording]
        lowered = 1 / max(float(np.abs(mixed).max(initial=0.0)), 1.0)
        knots += [recording.start, recording.stop]
        noise_gains += [gain * lowered] * 2
        speech_gains += [lowered] * 2
    if min(speech_gains, default=1.0) < 1:
        speech = speech * np.interp(np.arange(len(speech)), knots, speech_gains).astype(np.float32)
    if noise is None:
        return speech
    return speech + noise * np.interp(np.arange(len(noise)), knots, noise_gains).astype(np.float32)


def _around(word: slice, samples: int) -> slice:
    """Return `samples` samples about the middle of the word, and the whole word at least."""
    middle = (word.start + word.stop) // 2
    return slice(max(min(middle - samples // 2, word.start), 0), max(middle + samples // 2, word.stop))


POSITIVE_ROLES: tuple[Role, ...] = ("positive",)
BACKGROUND_ROLES: tuple[Role, ...] = ("negative", "background", "noise")
"""What false alarms an hour are counted on: sound as dense in words as life is."""
CONFUSABLE_ROLES: tuple[Role, ...] = ("hard_negative",)
"""Phrases picked because they sound alike, which are counted apart: nobody lives with hours of nothing else."""


@dataclass(frozen=True)
class Word:
    """A wake word in a session, from `start` to `end`, its recording from `begin`, in seconds of the session."""

    label: str
    recording_id: str
    start: float
    end: float
    source: str = ""
    speaker: str = ""
    begin: float = 0.0


@dataclass(frozen=True)
class SourceSpan:
    """The part of a session that one recording fills, in seconds; `offset` is where in the recording it begins.

    `spoken` is the time from the first to the last speech of the whole recording, NaN where nobody was heard.
    """

    source: str
    recording_id: str
    start: float
    end: float
    offset: float = 0.0
    role: str = ""
    spoken: float = np.nan


def seconds_of(spans: Iterable[SourceSpan]) -> float:
    """Return how long the recordings of a session last together."""
    return sum(span.end - span.start for span in spans)


@dataclass(frozen=True)
class Session:
    """A stretch of continuous audio: int16 [samples], the words in it and the recordings it is made of."""

    pcm: NDArray[np.int16]
    words: list[Word]
    sources: list[SourceSpan]

    @property
    def seconds(self) -> float:
        """Duration of its recordings, pauses left out."""
        return seconds_of(self.sources)


@dataclass(frozen=True)
class _Piece:
    """Samples [offset, offset + length) of a recording, from sample `start` of a session on.

    The `lead` samples before them are context that was scored before.
    """

    recording: Recording
    offset: int
    length: int
    lead: int = 0
    start: int = 0


@dataclass(frozen=True)
class _Layout:
    """Lengths in samples; a session begins with a whole window, so that its first sound can be scored in full.

    Where the front end depends on what was before, it begins with as much of that as matters.
    """

    rate: int
    lead: int
    gap: int
    tail: int
    body: int

    @classmethod
    def of(cls, config: Config) -> "_Layout":
        rate, evaluation = config.data.audio.sample_rate, config.evaluation
        gap = round(evaluation.streams.gap_seconds * rate)
        lead = max(gap, config.features.frontend.window_samples, config.features.frontend.lead_in_samples)
        tail = max(gap, round(evaluation.streams.tolerance_seconds * rate))
        body = round(evaluation.streams.session_minutes * 60 * rate) - lead - tail
        if body < rate:
            raise DataError(
                f"evaluation.streams.session_minutes = {evaluation.streams.session_minutes} leaves no room beside "
                f"{(lead + tail) / rate:.1f} s of pauses; raise it"
            )
        return cls(rate, lead, gap, tail, body)


def positive_sessions(shards_folder: Path, config: Config, seed: int, condition: Condition) -> Iterator[Session]:
    """Yield sessions of every positive recording of the split once in a condition, with pauses, in shard order.

    The ratio of a condition is that of the powers of recording and noise over the span of the word. What lies
    under the words is one unbroken bed; a far recording is reverberated, the bed is not. All of it arrives on the way
    of the condition. A session lasts `session_minutes` at most, unless a single recording is longer. The same seed
    gives the same samples, and the same room and stretch of noise to a word in every condition.
    """
    layout = _Layout.of(config)
    floor = _floor(layout.rate, config.evaluation.streams.floor_dbfs, [seed, 0])
    bed = None
    if condition.snr_db is not None:
        bed = NoiseBed.of(condition.under, shards_folder, layout.rate, np.random.default_rng([seed, 1]))
    rooms = None
    test = config.evaluation.conditions.test
    if condition.far:
        rooms = Rooms(shards_folder, test, layout.rate, config.seed, np.random.default_rng([seed, 3]))
    quiet = 10 ** (config.data.audio.silence_dbfs / 10)
    whole = (
        _Piece(recording, 0, len(recording.audio)) for recording in iter_recordings(shards_folder, roles=POSITIVE_ROLES)
    )
    for pieces, length in _placed(whole, layout):
        words = [_word(piece, layout.rate) for piece in pieces]
        ends = [(round(word.start * layout.rate), round(word.end * layout.rate)) for word in words]
        spans = [slice(start, max(end, start + 1)) for start, end in ends]
        speech = _speech(pieces, spans, length, rooms)
        recordings = [slice(piece.start, piece.start + piece.length) for piece in pieces]
        if bed is not None or rooms is not None:
            noise = bed.take(length) if bed is not None else None
            stretch = round(config.evaluation.streams.noise_seconds * layout.rate)
            speech = mix(speech, noise, spans, recordings, condition.snr_db, quiet, stretch)
        sound = levelled(speech, condition.way, test, spans, recordings) + np.resize(floor, length)
        arrived = passed(sound, condition.way, test, layout.rate, seed)
        yield Session(to_pcm16(arrived), words, _spans(pieces, layout.rate))


def background_sessions(
    shards_folder: Path, config: Config, roles: tuple[Role, ...] = BACKGROUND_ROLES, measure: Measure | None = None
) -> Iterator[Session]:
    """Yield sessions of the split's recordings of `roles` (none with a wake word), each second once, with pauses.

    A recording longer than a session goes on in the next one, which begins with the window scored last, so that no
    stretch goes unscored. The spans of a session are of new audio only. `measure` tells how long somebody speaks in a
    recording of speech of which the manifest does not.
    """
    layout = _Layout.of(config)
    floor = _floor(layout.rate, config.evaluation.streams.floor_dbfs, [config.seed, 2])
    recordings = iter_recordings(shards_folder, roles=roles)
    cut = chain.from_iterable(_cut(recording, layout) for recording in recordings)
    for pieces, length in _placed(cut, layout):
        sound = np.zeros(length, dtype=np.float32)
        for piece in pieces:
            samples = piece.recording.audio[piece.offset - piece.lead : piece.offset + piece.length]
            sound[piece.start - piece.lead : piece.start + piece.length] = from_pcm16(samples)
        yield Session(to_pcm16(sound + np.resize(floor, length)), [], _spans(pieces, layout.rate, measure))


def _floor(rate: int, level_dbfs: float, seed: list[int]) -> Floats:
    noise = np.random.default_rng(seed).standard_normal(round(_FLOOR_SECONDS * rate), dtype=np.float32)
    return (noise * np.float32(10 ** (level_dbfs / 20))).astype(np.float32)


def _placed(pieces: Iterable[_Piece], layout: _Layout) -> Iterator[tuple[list[_Piece], int]]:
    """Yield the pieces of each session, as many as it holds, and its length; a continued recording opens its own."""
    group: list[_Piece] = []
    end = layout.lead
    for piece in pieces:
        if group and (piece.lead or end + layout.gap + piece.length > layout.lead + layout.body):
            yield group, end + layout.tail
            group, end = [], layout.lead
        start = end + layout.gap if group else end
        group.append(replace(piece, start=start))
        end = start + piece.length
    if group:
        yield group, end + layout.tail


def _cut(recording: Recording, layout: _Layout) -> Iterator[_Piece]:
    for offset in range(0, len(recording.audio), layout.body):
        length = min(layout.body, len(recording.audio) - offset)
        yield _Piece(recording, offset, length, min(offset, layout.lead))


def _word(piece: _Piece, rate: int) -> Word:
    """Return the span that voice activity found, else the whole recording."""
    recording = piece.recording
    start, end = float(recording.speech_start), float(recording.speech_end)
    if not 0 <= start < end <= piece.length / rate:
        start, end = 0.0, piece.length / rate
    begin = piece.start / rate
    return Word(
        recording.label, recording.recording_id, begin + start, begin + end, recording.source, recording.speaker, begin
    )


def _speech(pieces: list[_Piece], words: list[slice], length: int, rooms: Rooms | None) -> Floats:
    """Put the recordings at their places; from across rooms, if any, their reverberation runs into the pauses."""
    speech = np.zeros(length, dtype=np.float32)
    for piece, word in zip(pieces, words, strict=True):
        sound = from_pcm16(piece.recording.audio)
        if rooms is not None:
            sound = rooms.across(sound, slice(word.start - piece.start, word.stop - piece.start))
        speech[piece.start : piece.start + len(sound)] += sound[: length - piece.start]
    return speech


def _spans(pieces: list[_Piece], rate: int, measure: Measure | None = None) -> list[SourceSpan]:
    return [
        SourceSpan(
            source=piece.recording.source,
            recording_id=piece.recording.recording_id,
            start=piece.start / rate,
            end=(piece.start + piece.length) / rate,
            offset=piece.offset / rate,
            role=piece.recording.role,
            spoken=_spoken(piece.recording, measure),
        )
        for piece in pieces
    ]


def _spoken(recording: Recording, measure: Measure | None) -> float:
    known = float(recording.speech_end) - float(recording.speech_start)
    if measure and np.isnan(known) and recording.role in SPOKEN_ROLES:
        return measure(recording.audio)
    return known
