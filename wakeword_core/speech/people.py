"""Kinds of people and manners of speaking that no engine has, made of its speech with the WORLD vocoder.

WORLD takes speech apart in pitch, spectral envelope and breath, and puts it together again (M. Morise, F. Yokomori and
K. Ozawa, WORLD: a vocoder-based high-quality speech synthesis system, IEICE Transactions E99-D, 2016). So pitch and
formants, which engines move together or not at all, move by themselves, and time where a speaker would stretch it.
"""

import importlib
import importlib.util
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wakeword_core.config import MannerName
from wakeword_core.errors import MissingDependencyError
from wakeword_core.python import install_command
from wakeword_core.speech.engines import package_versions

Samples = NDArray[np.float32]
Frames = NDArray[np.float64]
Range = tuple[float, float]


@dataclass(frozen=True)
class Manner:
    """From where to where each side of a way of speaking is drawn; as it stands, nothing changes."""

    pitch_hz: Range | None = None
    """Median pitch whatever the voice's own; without it, `pitch` multiplies that."""
    pitch: Range = (1.0, 1.0)
    tract: Range | None = None
    """Formants against those of a man (1; a woman about 1.17), whatever the voice's own; else `formants` multiplies."""
    formants: Range = (1.0, 1.0)
    liveliness: Range = (1.0, 1.0)
    """How far pitch moves around its median, as a factor of its logarithm."""
    tempo: Range = (1.0, 1.0)
    unevenness: float = 0.0
    """How much more vowels are stretched, or pressed, than consonants: 1 for vowels alone."""
    tilt_db: Range = (0.0, 0.0)
    """Decibels an octave above 500 Hz."""
    breath: Range = (0.0, 0.0)
    """How much of the voice is breath instead of tone: 1 for a whisper."""


# Formants of children of 4 to 12 and adults: S. Lee, A. Potamianos, S. Narayanan, Acoustics of children's speech, JASA
# 105, 1999; W. T. Fitch and J. Giedd, Morphology and development of the human vocal tract, JASA 106, 1999.
# Loud speech: J.-C. Junqua, The Lombard reflex and its role on human listeners and automatic speech recognizers, JASA
# 93, 1993; H. Traunmüller and A. Eriksson, Acoustic effects of variation in vocal effort, JASA 107, 2000.
# Whispers: S. T. Jovičić, Formant feature differences between whispered and voiced sustained vowels, Acustica 84, 1998.
MANNERS: dict[MannerName, Manner] = {
    "small_child": Manner(
        pitch_hz=(260, 420), tract=(1.35, 1.65), liveliness=(0.9, 1.5), tempo=(0.8, 1.0), unevenness=0.3
    ),
    "child": Manner(pitch_hz=(210, 320), tract=(1.18, 1.4), liveliness=(0.9, 1.4), tempo=(0.85, 1.1)),
    "deep": Manner(pitch_hz=(65, 100), tract=(0.85, 1.0)),
    "whispered": Manner(formants=(1.0, 1.1), tilt_db=(2.0, 5.0), breath=(1.0, 1.0), tempo=(0.8, 1.0)),
    "shouted": Manner(
        pitch=(1.4, 2.0), formants=(1.02, 1.08), liveliness=(1.0, 1.4), tempo=(0.8, 1.0), unevenness=0.5, tilt_db=(3, 6)
    ),
    "speaking_up": Manner(pitch=(1.1, 1.35), tempo=(0.85, 1.0), unevenness=0.3, tilt_db=(2.0, 4.0)),
    "drawn_out": Manner(tempo=(0.6, 0.8), unevenness=0.7, liveliness=(0.8, 1.3)),
    "clipped": Manner(tempo=(1.2, 1.5), unevenness=0.7),
    "tired": Manner(
        pitch=(0.8, 0.95), liveliness=(0.2, 0.6), tempo=(0.75, 0.95), tilt_db=(-4.0, -1.0), breath=(0.05, 0.4)
    ),
    "emphatic": Manner(pitch=(1.0, 1.2), liveliness=(1.5, 2.3), tempo=(0.8, 1.0), unevenness=0.6),
}
"""What manners there are, by name."""

SECONDS = 0.04
"""About how long a core takes for a short line."""

_VOCODING = 1
"""Raise it when the same speech, manner and seed give another sound."""
_FRAME_MS = 5.0
_SHORTEST_SECONDS = 0.03
_MAN_HZ, _HIGHEST_OWN_TRACT = 110.0, 1.35
_TRACT_BY_PITCH = 0.27
"""Exponent that leads from the pitch of people to their formants: a woman of 200 Hz has 1.17 times a man's."""
_PITCH_HZ = (50.0, 650.0)
_WARP = (0.7, 1.7)
_TILT_FROM_HZ = 500.0
_LARGEST_TILT_DB = 24.0
_SWAY_FRAMES = 25
"""Over so many frames tempo rises and falls by itself."""
_SWAY = 0.12
_LEAST_POWER = 1e-16


def speak_as(x: Samples, rate: int, manner: MannerName, seed: int) -> Samples:
    """Return speech [samples] at `rate` Hz as somebody of another kind would say it: the same bytes for the same seed.

    What is too short for one glottal pulse of a low voice, and silence, come back as they are.
    MissingDependencyError without the vocoder.
    """
    if len(x) < _SHORTEST_SECONDS * rate or not np.any(x):
        return x
    world = _world()
    drawn = _Drawn(MANNERS[manner], np.random.default_rng(seed))
    signal = np.ascontiguousarray(x, dtype=np.float64)
    rough, times = world.dio(signal, rate, f0_floor=_PITCH_HZ[0], f0_ceil=_PITCH_HZ[1], frame_period=_FRAME_MS)
    pitch = world.stonemask(signal, rough, times, rate)
    envelope = world.cheaptrick(signal, pitch, times, rate)
    breath = _breath(world, signal, pitch, times, rate, drawn)
    voiced = pitch > 0
    own_hz = float(np.median(pitch[voiced])) if voiced.any() else _MAN_HZ
    envelope = _tilted(_warped(envelope, drawn.formant_factor(own_hz)), rate, drawn.tilt_db)
    frames = drawn.frame_positions(voiced, envelope)
    pitch = _at(drawn.pitch(pitch, own_hz), frames)
    envelope, breath = envelope[np.rint(frames).astype(int)], breath[np.rint(frames).astype(int)]
    if drawn.breath >= 1:
        pitch = np.zeros_like(pitch)
    said = world.synthesize(pitch, np.ascontiguousarray(envelope), np.ascontiguousarray(breath), rate, _FRAME_MS)
    return np.asarray(said, dtype=np.float32)


def _breath(world: Any, signal: Frames, pitch: Frames, times: Frames, rate: int, drawn: "_Drawn") -> Frames:
    """How much of each frame and bin is breath, with what the manner adds; it changes slowly, and costs the most."""
    if drawn.breath >= 1:
        return np.ones((len(pitch), world.get_cheaptrick_fft_size(rate) // 2 + 1))
    own = world.d4c(signal, np.ascontiguousarray(pitch[::2]), np.ascontiguousarray(times[::2]), rate)
    own = np.repeat(own, 2, axis=0)[: len(pitch)]
    return own + drawn.breath * (1 - own)


class _Drawn:
    """One speaker's numbers of a manner."""

    def __init__(self, manner: Manner, generator: np.random.Generator) -> None:
        self._manner = manner
        # always in this order, so that a number does not depend on which others a manner has
        self._pitch_hz, self._pitch = _within(manner.pitch_hz, generator), _within(manner.pitch, generator)
        self._tract, self._formants = _within(manner.tract, generator), _within(manner.formants, generator)
        self._liveliness = _within(manner.liveliness, generator) or 1.0
        self._tempo = _within(manner.tempo, generator) or 1.0
        self.tilt_db = _within(manner.tilt_db, generator) or 0.0
        self.breath = _within(manner.breath, generator) or 0.0
        self._generator = generator

    def formant_factor(self, own_hz: float) -> float:
        """By how much to multiply the formants of a voice of this pitch."""
        if self._tract is None:
            return self._formants or 1.0
        own = float(np.clip((own_hz / _MAN_HZ) ** _TRACT_BY_PITCH, 1.0, _HIGHEST_OWN_TRACT))
        return float(np.clip(self._tract / own, *_WARP))

    def pitch(self, pitch: Frames, own_hz: float) -> Frames:
        """Pitch around its new median, 0 where there is none."""
        median = self._pitch_hz or own_hz * (self._pitch or 1.0)
        moved = median * (np.maximum(pitch, 1.0) / own_hz) ** self._liveliness
        return np.where(pitch > 0, np.clip(moved, *_PITCH_HZ), 0.0)

    def frame_positions(self, voiced: NDArray[np.bool_], envelope: Frames) -> Frames:
        """Which frame is heard at each moment, as fractions of frames."""
        count = len(voiced)
        power = envelope.mean(axis=1)
        vowels = (voiced & (power > 0.1 * power.max())).astype(float)
        share = 1 - self._manner.unevenness * (1 - vowels)
        # with what consonants keep of their length, the whole still has the tempo
        stretch = max(0.1, 1 + (1 / self._tempo - 1) * count / max(share.sum(), 1.0))
        lengths = 1 + (stretch - 1) * share
        knots = np.arange(-(-count // _SWAY_FRAMES) + 1)
        sway = self._generator.uniform(-_SWAY, _SWAY, len(knots)) if self._tempo != 1 else np.zeros(len(knots))
        lengths = np.maximum(lengths * (1 + np.interp(np.arange(count) / _SWAY_FRAMES, knots, sway)), 0.1)
        ends = np.cumsum(lengths)
        moments = np.arange(max(2, round(float(ends[-1]))))
        return np.interp(moments, ends - lengths / 2, np.arange(count))


def _within(limits: Range | None, generator: np.random.Generator) -> float | None:
    drawn = generator.random()
    return None if limits is None else limits[0] + drawn * (limits[1] - limits[0])


def _at(pitch: Frames, frames: Frames) -> Frames:
    """Pitch at fractions of frames, 0 where the nearest has none: between voiced frames it glides."""
    nearest = np.rint(frames).astype(int)
    low, high = np.floor(frames).astype(int), np.ceil(frames).astype(int)
    glides = (pitch[low] > 0) & (pitch[high] > 0)
    between = pitch[low] + (pitch[high] - pitch[low]) * (frames - low)
    return np.where(glides, between, pitch[nearest])


def _warped(envelope: Frames, factor: float) -> Frames:
    """Spectral envelopes [frames, bins] whose formants are `factor` times as high."""
    if factor == 1:
        return envelope
    bins = envelope.shape[1]
    sought = np.minimum(np.arange(bins) / factor, bins - 1.0)
    low = np.minimum(sought.astype(int), bins - 2)
    weight = sought - low
    logs = np.log(np.maximum(envelope, _LEAST_POWER))
    return np.exp(logs[:, low] * (1 - weight) + logs[:, low + 1] * weight)


def _tilted(envelope: Frames, rate: int, db_an_octave: float) -> Frames:
    """Spectral envelopes [frames, bins] with more, or less, above 500 Hz."""
    hertz = np.linspace(0, rate / 2, envelope.shape[1])
    octaves = np.log2(np.maximum(hertz, _TILT_FROM_HZ) / _TILT_FROM_HZ)
    gain_db = np.clip(db_an_octave * octaves, -_LARGEST_TILT_DB, _LARGEST_TILT_DB)
    return envelope * 10 ** (gain_db / 10)


def version() -> str:
    """Return all that the sound depends on besides the speech, the manner and the seed."""
    return f"people {_VOCODING} {package_versions('pyworld')}"


def require() -> None:
    """Raise MissingDependencyError, which says what to install, where the vocoder is not installed."""
    if importlib.util.find_spec("pyworld") is None:
        raise _missing()


def _world() -> Any:
    try:
        return importlib.import_module("pyworld")
    except ImportError:
        raise _missing() from None


def _missing() -> MissingDependencyError:
    return MissingDependencyError(
        f"kinds of people need pyworld: {install_command('speech')}, or set synthesis.people_share to 0"
    )
