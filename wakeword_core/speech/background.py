"""Synthetic background sound: noises, hum, weather, engines, music, clatter, and babble of given voices.

Every function takes the number of samples, their rate in Hz and a generator, and returns float32 [samples] at no
particular level; `make` brings a recording to its level.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]
Generator = np.random.Generator
Maker = Callable[[int, int, Generator], Samples]

_LOWEST_HZ = 20.0
_MAINS_HZ = (50.0, 60.0)
_A4_HZ = 440.0
_SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 2, 4, 7, 9))
_CHORDS = ((0, 4, 7), (0, 3, 7), (0, 4, 7, 11), (0, 3, 7, 10), (0, 5, 7))
_PEAK = 0.95


def coloured(count: int, rate: int, generator: Generator, exponent: float) -> Samples:
    """Make noise whose power falls with frequency to the power `exponent`: 0 white, 1 pink, 2 brown."""
    return _shaped(count, rate, generator, lambda frequency: np.maximum(frequency, _LOWEST_HZ) ** (-exponent / 2))


white: Maker = partial(coloured, exponent=0.0)
pink: Maker = partial(coloured, exponent=1.0)
brown: Maker = partial(coloured, exponent=2.0)


def hum(count: int, rate: int, generator: Generator) -> Samples:
    """Make mains hum: harmonics of 50 or 60 Hz over a little pink noise."""
    time = np.arange(count) / rate
    base = float(generator.choice(_MAINS_HZ)) * generator.uniform(0.998, 1.002)
    sound = np.zeros(count)
    for harmonic in range(1, 13):
        strength = generator.uniform(0.2, 1.0) / harmonic
        sound += strength * np.sin(2 * np.pi * base * harmonic * time + generator.uniform(0, 2 * np.pi))
    return _unit(_unit(sound) + generator.uniform(0.05, 0.3) * pink(count, rate, generator))


def rain(count: int, rate: int, generator: Generator) -> Samples:
    """Make rain: a high hiss, swelling slowly, and drops."""
    hiss = coloured(count, rate, generator, generator.uniform(-0.6, 0.4)) * _swell(count, rate, generator, 0.3)
    drops = np.zeros(count)
    places = generator.integers(0, count, int(count / rate * generator.uniform(15, 80)))
    np.add.at(drops, places, generator.exponential(1.0, len(places)))
    length = max(2, int(0.012 * rate))
    ring = np.exp(-np.arange(length) / (0.002 * rate)) * np.sin(
        2 * np.pi * generator.uniform(900, 2_800) * np.arange(length) / rate
    )
    return _unit(hiss + generator.uniform(0.3, 1.0) * _unit(_convolve(drops, ring)))


def engine(count: int, rate: int, generator: Generator) -> Samples:
    """Make the sound of an engine: a drifting low fundamental with many harmonics, its noise pulsing with it."""
    drift = _swell(count, rate, generator, 0.15)
    phase = 2 * np.pi * np.cumsum(generator.uniform(22, 75) * drift) / rate
    harmonics = np.arange(1, 25)
    strengths = generator.uniform(0.2, 1.0, len(harmonics)) / harmonics ** generator.uniform(0.6, 1.2)
    sound = np.zeros(count)
    for harmonic, strength in zip(harmonics, strengths, strict=True):
        sound += strength * np.sin(harmonic * phase)
    pulse = 0.6 + 0.4 * np.sin(phase)
    return _unit(_unit(sound) + generator.uniform(0.3, 0.9) * pulse * pink(count, rate, generator))


def fan(count: int, rate: int, generator: Generator) -> Samples:
    """Make the sound of a fan: noise in a band, chopped by the blades, with a faint whine."""
    low, high = generator.uniform(80, 200), generator.uniform(900, 3_000)
    time = np.arange(count) / rate
    chop = 1 + generator.uniform(0.05, 0.3) * np.sin(2 * np.pi * generator.uniform(12, 40) * time)
    whine = generator.uniform(0.01, 0.08) * np.sin(2 * np.pi * generator.uniform(200, 900) * time)
    band = _shaped(count, rate, generator, lambda f: 1 / (1 + (low / np.maximum(f, 1)) ** 4) / (1 + (f / high) ** 3))
    return _unit(band * chop + whine)


def chords(count: int, rate: int, generator: Generator) -> Samples:
    """Make music of held chords, one after another, with soft attacks."""
    sound = np.zeros(count)
    root, beat, position = int(generator.integers(-21, -2)), generator.uniform(0.5, 1.6), 0
    while position < count:
        length = min(int(rate * beat * generator.choice((1, 2, 2, 4))), count - position)
        shift = int(generator.choice((0, 2, 4, 5, 7, 9)))
        for step in _CHORDS[int(generator.integers(len(_CHORDS)))]:
            note = _tone(length, rate, root + shift + step, generator, attack=0.05, decay=2.5)
            sound[position : position + length] += note
        position += max(length, 1)
    return _unit(sound + 0.01 * pink(count, rate, generator))


def arpeggio(count: int, rate: int, generator: Generator) -> Samples:
    """Make music of plucked single notes over a simple drum."""
    sound = np.zeros(count)
    scale = _SCALES[int(generator.integers(len(_SCALES)))]
    root, step = int(generator.integers(-16, 4)), int(rate * generator.uniform(0.11, 0.3))
    for number, position in enumerate(range(0, count, step)):
        length = min(step * 3, count - position)
        degree = int(generator.integers(0, 2 * len(scale)))
        pitch = root + scale[degree % len(scale)] + 12 * (degree // len(scale))
        if generator.random() < 0.85:
            sound[position : position + length] += _tone(length, rate, pitch, generator, attack=0.004, decay=0.25)
        if number % 4 == 0:
            fade = np.exp(-np.arange(length) / (0.05 * rate))
            sound[position : position + length] += 0.6 * fade * np.sin(2 * np.pi * 60 * np.arange(length) / rate)
    return _unit(sound + 0.01 * pink(count, rate, generator))


def clatter(count: int, rate: int, generator: Generator) -> Samples:
    """Make clicks, knocks and dishes: ringing impulses at random times over a quiet room."""
    sound = 0.02 * pink(count, rate, generator).astype(np.float64)
    for start in generator.integers(0, count, max(1, int(count / rate * generator.uniform(1.0, 4.0)))):
        length = min(int(rate * generator.uniform(0.03, 0.5)), count - int(start))
        time = np.arange(length) / rate
        ring = np.zeros(length)
        base = np.exp(generator.uniform(np.log(250), np.log(4_000)))
        for ratio in (1.0, *generator.uniform(1.3, 5.0, 4)):
            if base * ratio < 0.45 * rate:
                decay = generator.uniform(0.01, 0.12)
                ring += generator.uniform(0.2, 1.0) * np.exp(-time / decay) * np.sin(2 * np.pi * base * ratio * time)
        ring += np.exp(-time / 0.003) * generator.standard_normal(length)
        sound[start : start + length] += generator.uniform(0.1, 1.0) * ring
    return _unit(sound)


NOISES: dict[str, Maker] = {
    "white": white, "pink": pink, "brown": brown, "hum": hum, "rain": rain, "engine": engine, "fan": fan,
}  # fmt: skip
"""Stationary sounds, of role noise."""

SCENES: dict[str, Maker] = {"chords": chords, "clatter": clatter, "arpeggio": arpeggio}
"""Sounds with events, of role background; `babble` is the fourth kind."""


def babble(voices: Sequence[Samples], count: int, generator: Generator) -> Samples:
    """Mix voices (float32 [samples]) that talk at once, each repeated from a random place on, at its own level."""
    sound = np.zeros(count)
    for voice in voices:
        repeated = np.tile(voice, 1 + -(-count // max(len(voice), 1)))
        start = int(generator.integers(0, max(len(voice), 1)))
        sound += 10 ** (generator.uniform(-9, 0) / 20) * _unit(repeated[start : start + count])
    return _unit(sound)


def at_level(x: Samples, level_dbfs: float) -> Samples:
    """Scale to an RMS level in dB of full scale, or as near as the peaks allow."""
    rms = float(np.sqrt(np.mean(np.square(x, dtype=np.float64))))
    peak = float(np.abs(x).max())
    if rms == 0.0:
        return x
    return (x * min(10 ** (level_dbfs / 20) / rms, _PEAK / peak)).astype(np.float32)


def _tone(
    count: int, rate: int, semitones: int, generator: Generator, *, attack: float, decay: float
) -> NDArray[np.float64]:
    time = np.arange(count) / rate
    pitch = _A4_HZ * 2 ** (semitones / 12)
    envelope = np.minimum(1, time / attack) * np.exp(-time / decay)
    sound = np.zeros(count)
    for harmonic in range(1, 7):
        if pitch * harmonic < 0.45 * rate:
            strength = generator.uniform(0.5, 1.0) / harmonic**1.5
            sound += strength * np.sin(2 * np.pi * pitch * harmonic * time + generator.uniform(0, 2 * np.pi))
    return envelope * sound


def _shaped(count: int, rate: int, generator: Generator, gain: Callable[[NDArray[np.float32]], NDArray]) -> Samples:
    """White noise whose spectrum is multiplied by a gain, a function of frequency in Hz."""
    from scipy import fft

    # A length that is a product of small primes: others take several times as long.
    length = fft.next_fast_len(count, real=True)
    noise = generator.standard_normal(length, dtype=np.float32)
    frequency = np.arange(length // 2 + 1, dtype=np.float32) * np.float32(rate / length)
    return _unit(fft.irfft(fft.rfft(noise) * gain(frequency), length)[:count])


def _swell(count: int, rate: int, generator: Generator, depth: float) -> NDArray[np.float64]:
    """A slow wander about 1, within about `depth`, with a new aim every second."""
    aims = np.cumsum(generator.standard_normal(count // rate + 3))
    aims = depth * (aims - aims.mean()) / (np.abs(aims - aims.mean()).max() + 1e-9)
    return 1 + np.interp(np.arange(count) / rate, np.arange(len(aims)), aims)


def _convolve(x: NDArray[np.float64], kernel: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.signal import oaconvolve

    return np.asarray(oaconvolve(x, kernel)[: len(x)])


def _unit(x: NDArray[np.floating]) -> Samples:
    rms = float(np.sqrt(np.mean(np.square(x, dtype=np.float64)))) if len(x) else 0.0
    return (x / rms if rms > 0 else x).astype(np.float32)
