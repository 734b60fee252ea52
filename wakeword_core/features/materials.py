"""What augmentation mixes in: noise and rooms, recorded or generated, each with a key that stands for it."""

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wakeword_core.config import FeaturesConfig, Split
from wakeword_core.features.draws import HashRing, hash_keys
from wakeword_core.features.settings import AUGMENTED_SPLIT
from wakeword_core.shards.packed_split import iter_recordings, read_columns

_NOISE_ROLES = ("noise", "background")
_STRETCH_SECONDS = 30.0
"""Long recordings are taken in stretches, so that where not all fits there is some of many."""
_PIECE_SECONDS = 2.0
_LEAST_SECONDS = 0.1
"""A shorter recording that is repeated would be a tone."""
_PEAK = 16_384
_ENVELOPE_HERTZ = (50.0, 8_000.0)
_ENVELOPE_KNOTS = 9
_ENVELOPE_DB = (-30.0, 0.0)
_BEAT_HERTZ = (0.2, 8.0)
"""Generated noise has a knot about every octave, each at a random level, and a beat as of speech or machines."""

Indices = npt.NDArray[np.int64]
Pcm = npt.NDArray[np.int16]


class NoiseBank:
    """Noise end to end, int16 [samples], of which a row takes a piece; generated pieces are made when first taken."""

    def __init__(
        self,
        recorded: Iterable[tuple[str, Pcm]],
        generated_minutes: float,
        row_samples: int,
        sample_rate: int,
        seed: int,
    ) -> None:
        """`recorded`: (name, int16 [samples]) of recordings; a row needs `row_samples` from where it begins."""
        self._rate, self._seed = sample_rate, seed
        self.seconds = generated_minutes * 60
        """of noise, recorded and generated"""
        piece = round(_PIECE_SECONDS * sample_rate)
        sounds, names, starts, spans, end = [], [], [], [], 0
        for name, sound in recorded:
            if len(sound) < _LEAST_SECONDS * sample_rate:
                continue
            # repeated where it is shorter than a row and a piece
            whole = np.resize(sound, max(len(sound), row_samples + min(len(sound), piece)))
            room = len(whole) - row_samples
            pieces = max(1, round(room / piece))
            names += [f"{name}:{number}" for number in range(pieces)]
            starts.append(end + np.arange(pieces) * room // pieces)
            spans.append(np.full(pieces, room // pieces))
            self.seconds += len(sound) / sample_rate
            sounds.append(whole)
            end += len(whole)
        generated = round(generated_minutes * 60 / _PIECE_SECONDS)
        self._recorded, self._length = len(names), row_samples + piece
        names += [f"generated:{seed}:{sample_rate}:{number}" for number in range(generated)]
        starts.append(end + np.arange(generated) * self._length)
        spans.append(np.full(generated, piece))
        self.samples: Pcm = np.zeros(end + generated * self._length, np.int16)  # no memory yet, where it stays zero
        np.concatenate([self.samples[:0], *sounds], out=self.samples[:end])
        self._starts, self._spans = (np.concatenate(column).astype(np.int64) for column in (starts, spans))
        self._made = np.arange(len(names)) < self._recorded
        self.keys = hash_keys(name.encode() for name in names)
        """of the pieces: [pieces]"""
        self._ring = HashRing(self.keys)

    def __len__(self) -> int:
        return len(self.keys)

    def choose(self, which: npt.NDArray[np.float64], where: npt.NDArray[np.float64]) -> tuple[Indices, Indices]:
        """Choose for each row, by two numbers in [0, 1), a piece and the sample that it begins at: [rows]."""
        if not len(self):
            return np.zeros(len(which), np.int64), np.zeros(len(which), np.int64)
        pieces = self._ring.choose(which)
        return pieces, self._starts[pieces] + (where * self._spans[pieces]).astype(np.int64)

    def make(self, pieces: Indices) -> list[slice]:
        """Generate those of the pieces that are not there yet; returns where in the bank they are."""
        missing = np.unique(pieces[~self._made[pieces]])
        places = [slice(start, start + self._length) for start in self._starts[missing].tolist()]
        for piece, place in zip(missing.tolist(), places, strict=True):
            sound = generate_piece(piece - self._recorded, self._rate, self._seed)
            self.samples[place] = np.resize(sound, self._length)
        self._made[missing] = True
        return places


def generate_piece(number: int, sample_rate: int, seed: int) -> Pcm:
    """Generate two seconds of noise of some colour and beat: int16 [samples], whose end goes on at its beginning.

    A few recordings of noise are soon known by heart, and then unknown noise is mistaken for speech or hides it. Each
    piece is white noise under a random smooth spectral envelope, with a random slow modulation of its level.
    """
    generator = np.random.default_rng(np.random.SeedSequence([seed, 0x4E, number]))
    samples = round(_PIECE_SECONDS * sample_rate)
    octave = np.log2(np.maximum(np.fft.rfftfreq(samples, 1 / sample_rate), _ENVELOPE_HERTZ[0]))
    knots = np.log2(np.geomspace(*_ENVELOPE_HERTZ, _ENVELOPE_KNOTS))
    envelope_db = np.interp(octave, knots, generator.uniform(*_ENVELOPE_DB, _ENVELOPE_KNOTS))
    spectrum = np.fft.rfft(generator.standard_normal(samples)) * 10.0 ** (envelope_db / 20.0)
    # whole beats, so that the piece can go round
    beats = max(1, round(generator.uniform(*_BEAT_HERTZ) * _PIECE_SECONDS))
    beat = np.sin(2 * np.pi * (beats * np.arange(samples) / samples + generator.uniform()))
    sound = np.fft.irfft(spectrum, samples) * (1.0 + generator.uniform(0, 0.9) * beat)
    return np.rint(sound / np.abs(sound).max() * _PEAK).astype(np.int16)


@dataclass(frozen=True)
class Materials:
    """Noise and rooms to mix into rows."""

    noise: NoiseBank
    rooms: npt.NDArray[np.float32]
    """impulse responses: [rooms, taps]"""
    room_keys: npt.NDArray[np.uint64]
    key: str
    """hash of all of it, which enters the keys of parts"""


def materials_for(shards: Path, split: Split, features: FeaturesConfig, rate: int, seed: int) -> Materials:
    """Collect noise and rooms from the split's own recordings: nothing of another split is heard in training."""
    augment = features.augment
    if split != AUGMENTED_SPLIT or max(augment.views, augment.negative_views, augment.real_views or 1) == 1:
        return NO_MATERIALS
    row = features.heard_samples(split)
    recorded = _recorded_noise(shards, augment.noise_minutes * 60, row / rate, rate)
    noise = NoiseBank(recorded, augment.generated_noise_minutes, row, rate, seed)
    rooms = recorded_rooms(shards, round(augment.rt60_seconds[1] * rate))
    if not len(rooms):
        rooms = generate_rooms(augment.generated_rirs, augment.rt60_seconds, rate, seed)
    return _materials(noise, rooms)


def _materials(noise: NoiseBank, rooms: npt.NDArray[np.float32]) -> Materials:
    room_keys = hash_keys(room.tobytes() for room in rooms)
    key = hashlib.sha256(np.sort(noise.keys).tobytes() + b"rooms" + np.sort(room_keys).tobytes()).hexdigest()
    return Materials(noise, rooms, room_keys, key)


NO_MATERIALS = _materials(NoiseBank([], 0.0, 0, 1, 0), np.zeros((0, 1), np.float32))


def _recorded_noise(shards: Path, seconds: float, row_seconds: float, rate: int) -> list[tuple[str, Pcm]]:
    """Stretches of recorded noise, (name, int16 [samples]), as many as `seconds` hold, whatever the shards."""
    stretches: list[tuple[str, int, float]] = []
    rows = read_columns(shards, ["recording_id", "role", "seconds"])
    noise = rows[rows["role"].isin(_NOISE_ROLES)]
    for recording_id, length in zip(noise["recording_id"], noise["seconds"], strict=True):
        stretches += [
            (recording_id, number, min(length - number * _STRETCH_SECONDS, _STRETCH_SECONDS))
            for number in range(max(1, math.ceil((length - row_seconds) / _STRETCH_SECONDS)))
        ]
    # by a hash, so that one more recording takes the place of a few others at most
    stretches.sort(key=lambda stretch: hashlib.sha256(f"{stretch[0]}:{stretch[1]}".encode()).digest())
    until = np.cumsum([length for _, _, length in stretches])
    kept = defaultdict(list)
    for recording, number, _ in stretches[: int(np.searchsorted(until, seconds, "right"))]:
        kept[recording].append(number)
    step, more = round(_STRETCH_SECONDS * rate), round(row_seconds * rate)
    return [
        (f"{recording.recording_id}:{number}", recording.audio[number * step : (number + 1) * step + more].copy())
        for recording in iter_recordings(shards, roles=_NOISE_ROLES)
        for number in sorted(kept.get(recording.recording_id, []))
    ]


def recorded_rooms(shards: Path, taps: int) -> npt.NDArray[np.float32]:
    """Read impulse responses and cut them to `taps` from their direct sound, with unit energy: [rooms, taps]."""
    rooms = []
    for recording in iter_recordings(shards, roles=("rir",)):
        response = recording.audio.astype(np.float32)
        response = response[int(np.abs(response).argmax()) :][:taps]
        energy = float(np.linalg.norm(response))
        if energy > 0:
            rooms.append(np.pad(response / energy, (0, taps - len(response))))
    return np.stack(rooms).astype(np.float32) if rooms else np.zeros((0, taps), np.float32)


def generate_rooms(
    count: int, rt60_seconds: tuple[float, float], sample_rate: int, seed: int
) -> npt.NDArray[np.float32]:
    """Generate impulse responses of imagined rooms: [count, taps], unit energy, direct sound at sample 0.

    Exponentially decaying noise after a direct path and a few early reflections (Moorer 1979's model of a tail).
    """
    taps = round(rt60_seconds[1] * sample_rate)
    if count == 0:
        return np.zeros((0, taps), np.float32)
    generator = np.random.default_rng(np.random.SeedSequence([seed, 0x52]))
    rt60 = generator.uniform(*rt60_seconds, size=(count, 1))
    time = np.arange(taps)[None, :] / sample_rate
    tail = generator.standard_normal((count, taps)) * 10.0 ** (-3.0 * time / rt60)
    predelay = generator.uniform(0.002, 0.012, size=(count, 1))
    tail[time < predelay] = 0.0
    early = np.zeros_like(tail)
    where = (generator.uniform(0.001, 0.03, size=(count, 6)) * sample_rate).astype(np.int64)
    strength = generator.uniform(-0.6, 0.6, size=(count, 6))
    np.put_along_axis(early, where, strength, axis=1)
    direct_to_reverberant = 10.0 ** (generator.uniform(-3.0, 12.0, size=(count, 1)) / 20.0)
    reverberant = tail + early * np.abs(tail).max(1, keepdims=True)
    reverberant /= np.linalg.norm(reverberant, axis=1, keepdims=True) * direct_to_reverberant
    reverberant[:, 0] = 1.0
    return (reverberant / np.linalg.norm(reverberant, axis=1, keepdims=True)).astype(np.float32)
