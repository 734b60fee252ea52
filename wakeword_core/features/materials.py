"""What augmentation mixes in: noise and rooms, recorded or generated, and the key that stands for them."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wakeword_core.config import Config, Split
from wakeword_core.features.settings import AUGMENTED_SPLIT
from wakeword_core.shards import iter_recordings

_NOISE_ROLES = ("noise", "background")
_NOISE_PIECE_SECONDS = 2.0
_NOISE_PEAK = 16_384
_ENVELOPE_HERTZ = (50.0, 8_000.0)
_ENVELOPE_KNOTS = 9
_ENVELOPE_DB = (-30.0, 0.0)
_BEAT_HERTZ = (0.2, 8.0)
"""Shape of generated noise: a knot about every octave, each at a random level, and a beat as of speech or machines."""


@dataclass(frozen=True)
class Materials:
    """Noise int16 [samples], impulse responses [rooms, taps], and the hash that stands for them in a part's key."""

    noise: npt.NDArray[np.int16]
    rooms: npt.NDArray[np.float32]
    key: str


NOTHING = Materials(np.zeros(1, np.int16), np.zeros((0, 1), np.float32), "none")


def materials_for(shards: Path, split: Split, config: Config) -> Materials:
    """Noise and rooms from the split's own recordings, so that nothing of another split is heard in training."""
    augment = config.features.augment
    rate = config.data.sample_rate
    if split != AUGMENTED_SPLIT or max(config.features.views, config.features.negative_views) == 1:
        return NOTHING
    recorded = _bank(shards, _NOISE_ROLES, round(augment.noise_minutes * 60 * rate))
    noise = np.concatenate([recorded, generate_noise(augment.generated_noise_minutes, rate, config.seed)])
    rooms = recorded_rooms(shards, round(augment.rt60_seconds[1] * rate))
    if not len(rooms):
        rooms = generate_rooms(augment.generated_rirs, augment.rt60_seconds, rate, config.seed)
    key = hashlib.sha256(noise.tobytes() + rooms.tobytes()).hexdigest()
    return Materials(noise, rooms, key)


def _bank(shards: Path, roles: tuple[str, ...], limit: int) -> npt.NDArray[np.int16]:
    """Recordings of `roles` end to end, in shard order, at most `limit` samples."""
    taken, samples = [], 0
    for recording in iter_recordings(shards, roles=roles):
        piece = recording.audio[: limit - samples]
        taken.append(piece)
        samples += len(piece)
        if samples >= limit:
            break
    return np.concatenate(taken) if taken else np.zeros(0, np.int16)


def recorded_rooms(shards: Path, taps: int) -> npt.NDArray[np.float32]:
    """Recorded impulse responses cut to `taps` from their direct sound, unit energy: [rooms, taps]."""
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
    """Impulse responses of imagined rooms: [count, taps], unit energy, direct sound at sample 0.

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


def generate_noise(minutes: float, sample_rate: int, seed: int) -> npt.NDArray[np.int16]:
    """Noise of ever other colour and beat to mix in, in pieces of two seconds: int16 [samples].

    A few recordings of noise are soon known by heart, and then unknown noise is mistaken for speech or hides it. Each
    piece is white noise under a random smooth spectral envelope, with a random slow modulation of its level.
    """
    generator = np.random.default_rng(np.random.SeedSequence([seed, 0x4E]))
    piece = round(_NOISE_PIECE_SECONDS * sample_rate)
    pieces = round(minutes * 60 / _NOISE_PIECE_SECONDS)
    noise = np.empty((pieces, piece), np.int16)
    octave = np.log2(np.maximum(np.fft.rfftfreq(piece, 1 / sample_rate), _ENVELOPE_HERTZ[0]))
    knots = np.log2(np.geomspace(*_ENVELOPE_HERTZ, _ENVELOPE_KNOTS))
    time = np.arange(piece) / sample_rate
    for row in noise:
        envelope_db = np.interp(octave, knots, generator.uniform(*_ENVELOPE_DB, _ENVELOPE_KNOTS))
        spectrum = np.fft.rfft(generator.standard_normal(piece)) * 10.0 ** (envelope_db / 20.0)
        beat = np.sin(2 * np.pi * (generator.uniform(*_BEAT_HERTZ) * time + generator.uniform()))
        sound = np.fft.irfft(spectrum, piece) * (1.0 + generator.uniform(0, 0.9) * beat)
        row[:] = np.rint(sound / np.abs(sound).max() * _NOISE_PEAK)
    return noise.reshape(-1)
