"""What lies under and around the words of a stream: a room, noise at a ratio, and the floor that is never silent."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wakeword_core.audio import from_pcm16, to_pcm16
from wakeword_core.config import Config, Role
from wakeword_core.errors import DataError
from wakeword_core.shards.packed_split import iter_recordings

log = logging.getLogger(__name__)

Floats = NDArray[np.float32]

NOISE_ROLES: tuple[Role, ...] = ("noise", "background", "negative")
"""What may lie under the words, best first."""
_FLOOR_SECONDS = 8.0
"""The floor repeats after this long: nobody hears it, and normal numbers are slow to draw."""
_OTHER_ROOMS = 2**31
"""Added to the seed, which is below it: no room of the test is one of training's."""


class NoiseBed:
    """Noise without end: the noise recordings of a split one after the other, each entered at a random place."""

    def __init__(self, shards_folder: Path, random: np.random.Generator) -> None:
        self._folder = shards_folder
        self._random = random
        self._rest: NDArray[np.int16] = np.empty(0, dtype=np.int16)
        self._source = self._cycle()

    def take(self, samples: int) -> Floats:
        """The next `samples` samples, in [-1, 1]."""
        taken, missing = [], samples
        while missing:
            if not len(self._rest):
                self._rest = next(self._source)
            taken.append(self._rest[:missing])
            missing -= len(taken[-1])
            self._rest = self._rest[len(taken[-1]) :]
        return from_pcm16(np.concatenate(taken))

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
            f"{self._folder} has no noise to put under the wake words; add a source of role noise, or set "
            "evaluation.stream_snr_db, target_snr_db and far_snr_db to [null]"
        )


class Rooms:
    """Impulse responses for far words: the split's own recordings of rooms, else generated ones."""

    def __init__(self, shards_folder: Path, config: Config, random: np.random.Generator) -> None:
        from wakeword_core.features.materials import generate_rooms, recorded_rooms

        evaluation, rate = config.evaluation, config.data.sample_rate
        limits = evaluation.far_rt60_seconds
        self._responses = recorded_rooms(shards_folder, round(limits[1] * rate))
        if not len(self._responses):
            self._responses = generate_rooms(evaluation.far_rooms, limits, rate, config.seed + _OTHER_ROOMS)
        self._random = random

    def across(self, sound: Floats, span: slice) -> Floats:
        """A recording [samples] as it arrives from across the next room, with its reverberation [more samples].

        The direct sound stays where it was, since a room delays nothing that matters, and the power over `span`, the
        word, stays what it was, so that a noise at some ratio to the word is as loud as under a near one.
        """
        from scipy.signal import fftconvolve

        response = self._responses[int(self._random.integers(len(self._responses)))]
        wet = fftconvolve(sound.astype(np.float64), response.astype(np.float64))
        heard = power(wet[span])
        return (wet * (power(sound[span]) / heard) ** 0.5 if heard else wet).astype(np.float32)


def power(sound: NDArray[np.floating]) -> float:
    """Mean square of [samples]; 0 of none."""
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
    """Speech plus noise [samples], at the given ratio; each word lies within its recording.

    The ratio is that of the word's power to the noise's over `stretch` samples around the word. Of the noise under the
    word alone it would raise the silence between two barks until the next one drowns everything.
    The noise's gain is constant under a recording and glides in the pauses, so that the bed has no steps. Noise
    quieter than `quiet` (a power) is not raised as if it were louder. Where the result would clip, both are lowered.
    """
    knots: list[int] = []
    noise_gains: list[float] = []
    speech_gains: list[float] = []
    for word, recording in zip(words, recordings, strict=True):
        gain, heard = 0.0, speech[recording]
        if noise is not None and snr_db is not None:
            level = max(power(noise[_around(word, stretch)]), quiet)
            gain = (power(speech[word]) / level / 10 ** (snr_db / 10)) ** 0.5
            heard = heard + np.float32(gain) * noise[recording]
        lowered = 1 / max(float(np.abs(heard).max(initial=0.0)), 1.0)
        knots += [recording.start, recording.stop]
        noise_gains += [gain * lowered] * 2
        speech_gains += [lowered] * 2
    if min(speech_gains, default=1.0) < 1:
        speech = speech * np.interp(np.arange(len(speech)), knots, speech_gains).astype(np.float32)
    if noise is None:
        return speech
    return speech + noise * np.interp(np.arange(len(noise)), knots, noise_gains).astype(np.float32)


def _around(word: slice, samples: int) -> slice:
    """`samples` samples about the middle of the word, and the whole word at least."""
    middle = (word.start + word.stop) // 2
    return slice(max(min(middle - samples // 2, word.start), 0), max(middle + samples // 2, word.stop))


def floor(config: Config, random: np.random.Generator) -> Floats:
    """A stretch of the faint noise that a stream always has."""
    samples = round(_FLOOR_SECONDS * config.data.sample_rate)
    level = 10 ** (config.evaluation.floor_dbfs / 20)
    return (random.standard_normal(samples, dtype=np.float32) * np.float32(level)).astype(np.float32)


def pcm(sound: Floats, under: Floats) -> NDArray[np.int16]:
    """Add the floor `under` to a sound [samples] and round to 16 bits."""
    return to_pcm16(sound + np.resize(under, len(sound)))
