"""What augmentation mixes in: noise and rooms, recorded or generated, and the key that stands for them."""

import hashlib
import math
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wakeword_core.config import Config, Split
from wakeword_core.features.noise import NoiseBank
from wakeword_core.features.settings import AUGMENTED_SPLIT
from wakeword_core.shards.packed_split import iter_recordings, shard_paths
from wakeword_core.shards.shard_file import read_column

_NOISE_ROLES = ("noise", "background")
_STRETCH_SECONDS = 30.0
"""Long recordings are taken in stretches, so that where not all fits there is some of many."""

Pcm = npt.NDArray[np.int16]


@dataclass(frozen=True)
class Materials:
    """Noise, impulse responses float32 [rooms, taps] with what stands for each, and for all of it in a part's key."""

    noise: NoiseBank
    rooms: npt.NDArray[np.float32]
    room_keys: npt.NDArray[np.uint64]
    key: str


def materials_for(shards: Path, split: Split, config: Config) -> Materials:
    """Noise and rooms from the split's own recordings, so that nothing of another split is heard in training."""
    augment = config.features.augment
    rate = config.data.sample_rate
    if split != AUGMENTED_SPLIT or max(config.features.views, config.features.negative_views) == 1:
        return NOTHING
    row = config.features.row_samples(split)
    recorded = _recorded_noise(shards, augment.noise_minutes * 60, row / rate, rate)
    noise = NoiseBank(recorded, augment.generated_noise_minutes, row, rate, config.seed)
    rooms = recorded_rooms(shards, round(augment.rt60_seconds[1] * rate))
    if not len(rooms):
        rooms = generate_rooms(augment.generated_rirs, augment.rt60_seconds, rate, config.seed)
    return _materials(noise, rooms)


def _materials(noise: NoiseBank, rooms: npt.NDArray[np.float32]) -> Materials:
    room_keys = np.frombuffer(b"".join(hashlib.sha256(room.tobytes()).digest()[:8] for room in rooms), np.uint64)
    key = hashlib.sha256(np.sort(noise.keys).tobytes() + b"rooms" + np.sort(room_keys).tobytes()).hexdigest()
    return Materials(noise, rooms, room_keys, key)


NOTHING = _materials(NoiseBank([], 0.0, 0, 1, 0), np.zeros((0, 1), np.float32))


def _recorded_noise(shards: Path, seconds: float, row_seconds: float, rate: int) -> list[tuple[str, Pcm]]:
    """(name, int16 [samples]) of stretches of recorded noise, as many as `seconds` hold, whatever the shards."""
    found: list[tuple[str, int, float]] = []
    for path in shard_paths(shards):
        columns = (read_column(path, name) for name in ("id", "role", "seconds"))
        for one, role, length in zip(*columns, strict=True):
            if role in _NOISE_ROLES:
                firsts = range(max(1, math.ceil((length - row_seconds) / _STRETCH_SECONDS)))
                found += [(one, first, min(length - first * _STRETCH_SECONDS, _STRETCH_SECONDS)) for first in firsts]
    # by a hash, so that one more recording takes the place of a few others at most
    found.sort(key=lambda one: hashlib.sha256(f"{one[0]}:{one[1]}".encode()).digest())
    until = np.cumsum([length for _, _, length in found])
    kept = defaultdict(list)
    for one, first, _ in found[: int(np.searchsorted(until, seconds, "right"))]:
        kept[one].append(first)
    step, more = round(_STRETCH_SECONDS * rate), round(row_seconds * rate)
    return [
        (f"{one.id}:{first}", one.audio[first * step : (first + 1) * step + more].copy())
        for one in iter_recordings(shards, roles=_NOISE_ROLES)
        for first in sorted(kept.get(one.id, []))
    ]


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
