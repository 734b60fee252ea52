"""What the devices of people do to sound: a microphone's colour, a narrower band, overload, and a telephone's codec.

All of it is drawn from the row's own key. Filters have zero phase, so that a word stays where it is. They work on
blocks that stay inside a CPU's cache, which takes a fifth of the time of one transform of a whole row.
"""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from wakeword_core.config import AugmentConfig
from wakeword_core.features.draws import between, uniforms
from wakeword_core.features.frontend import on_device

_OCTAVES_HERTZ = 62.5 * 2.0 ** np.arange(8)
"""A microphone's response is drawn at each of these, and is smooth in between."""
OCTAVES = len(_OCTAVES_HERTZ)
_TELEPHONE_SHARE = 0.2
_NARROW_SHARE = 0.6
"""Of devices with a narrower band: telephones and others whose codec leaves out what is high."""
_OVERLOADED_SHARE = 0.3
_HARD_SHARE = 0.5
"""Of overloaded devices: those that cut a sample off; the others bend it."""
TELEPHONE_HERTZ = (300.0, 3_400.0)
_TELEPHONE_RATE = 8_000
_LOW_ORDER, _HIGH_ORDER = 2, 16
"""Slopes of the edges of a band: gentle as a microphone's, and steep as a codec's."""
_REACH_SECONDS = 0.03
"""How far to either side a filter hears: the lowest edge of a band has died away by then."""
_BLOCK_REACHES = 8
_PCM_STEPS = 32_768.0
_MU_LAW_BIAS, _MU_LAW_LARGEST = 132.0, 32_635.0
_KEPT_BITS, _HALF_STEP = -0x8_0000, 0x4_0000
"""Of a 32-bit float: sign, exponent and four bits of mantissa, and the bit below those."""
_LEAST_PEAK = 1e-9

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Devices:
    """The device that each row is heard through: arrays [rows], and one [rows, octaves]."""

    used: npt.NDArray[np.bool_]
    """whether there is one at all"""
    colour_db: Floats
    low_cut_hz: Floats
    high_cut_hz: Floats
    """infinite where nothing is left out"""
    overload_db: Floats
    """how far the loudest sample is driven above what the device can take, 0 for not at all"""
    hard: npt.NDArray[np.bool_]
    telephone: npt.NDArray[np.bool_]

    def __getitem__(self, rows: npt.NDArray[Any]) -> "Devices":
        return Devices(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


def draw_devices(keys: npt.NDArray[np.uint64], clean: npt.NDArray[np.bool_], augment: AugmentConfig) -> Devices:
    """Draw the device of each row by its key [rows]; `clean` rows [rows] have none."""
    u = uniforms(keys, 8 + OCTAVES, stream=3)
    used = (u[:, 0] < augment.device_probability) & ~clean
    telephone = used & (u[:, 1] < _TELEPHONE_SHARE)
    narrow = used & (u[:, 1] < _NARROW_SHARE)
    overloaded = used & (u[:, 2] < _OVERLOADED_SHARE)
    low, high = between(u[:, 4], augment.device_low_cut_hz), between(u[:, 5], augment.device_high_cut_hz)
    return Devices(
        used=used,
        colour_db=colours(u[:, 7:], augment.device_colour_db),
        low_cut_hz=np.where(telephone, np.float32(TELEPHONE_HERTZ[0]), low),
        high_cut_hz=np.where(telephone, np.float32(TELEPHONE_HERTZ[1]), np.where(narrow, high, np.float32(np.inf))),
        overload_db=np.where(overloaded, between(u[:, 6], augment.device_overload_db), np.float32(0)),
        hard=u[:, 3] < _HARD_SHARE,
        telephone=telephone,
    )


def colours(u: npt.NDArray[np.floating], range_db: float) -> Floats:
    """Return the colours of microphones, [rows, octaves] in dB, for numbers from 0 to 1 [rows, 1 + octaves].

    Half of the range is a tilt from the lowest to the highest octave, half is peaks and dips.
    """
    tilt = (2 * u[:, :1] - 1) * np.linspace(-1, 1, OCTAVES)
    return (range_db * 0.5 * (tilt + 2 * u[:, 1:] - 1)).astype(np.float32)


class DeviceSounds:
    """Lets rows sound as through their devices."""

    def __init__(self, rate: int) -> None:
        self._factor = max(1, rate // _TELEPHONE_RATE)
        reach = 1 << int(np.ceil(np.log2(_REACH_SECONDS * rate)))
        self._hertz: Doubles = np.arange(reach + 1, dtype=np.float64) * (rate / (2 * reach))
        octave = np.log2(self._hertz.clip(_OCTAVES_HERTZ[0], _OCTAVES_HERTZ[-1]) / _OCTAVES_HERTZ[0])
        self._below = octave.astype(np.int64).clip(max=len(_OCTAVES_HERTZ) - 2)
        self._above_share = 0.5 - 0.5 * np.cos(np.pi * (octave - self._below))
        self._earpiece = _low_pass(self._hertz, np.asarray([rate / self._factor / 2], np.float32)).astype(np.float32)
        """what a telephone at the other end plays: nothing above half of its rate"""

    def apply(self, audio: torch.Tensor, devices: Devices) -> None:
        """Let rows [rows, samples] sound as through their devices, in place; some may go beyond [-1, 1]."""
        rows = np.flatnonzero(devices.used)
        if not len(rows):
            return
        chosen, devices = on_device(rows, audio.device), devices[rows]
        # what is too loud is clipped first, so that a codec leaves out what clipping adds above its band
        sound = audio[chosen].clamp_(-1.0, 1.0)
        for kind, limit in ((devices.hard, cut_off), (~devices.hard, bend)):
            overloaded = np.flatnonzero((devices.overload_db > 0) & kind)
            if len(overloaded):
                some = on_device(overloaded, audio.device)
                gains = np.power(10.0, devices.overload_db[overloaded] / 20.0, dtype=np.float32)
                sound[some] = limit(sound[some], on_device(gains, audio.device))
        sound = filter_rows(sound, self.responses(devices))
        telephones = np.flatnonzero(devices.telephone)
        if len(telephones):
            some = on_device(telephones, audio.device)
            sound[some] = self._by_telephone(sound[some])
        audio[chosen] = sound

    def responses(self, devices: Devices) -> Floats:
        """Return the amplitudes that devices let through, from 0 Hz to half of the rate: [rows, frequencies]."""
        below, above = devices.colour_db[:, self._below], devices.colour_db[:, self._below + 1]
        colour = 10.0 ** ((below + (above - below) * self._above_share) / 20.0)
        band = _high_pass(self._hertz, devices.low_cut_hz) * _low_pass(self._hertz, devices.high_cut_hz)
        return (colour * band).astype(np.float32)

    def _by_telephone(self, sound: torch.Tensor) -> torch.Tensor:
        """Send [rows, samples] at a telephone's rate, above half of which they have nothing, and in its 8 bits."""
        coded = mu_law(sound[:, :: self._factor])
        if self._factor == 1:
            return coded
        sparse = torch.zeros_like(sound)
        sparse[:, :: self._factor] = coded * self._factor
        return filter_rows(sparse, self._earpiece.repeat(len(sound), 0))


def _low_pass(hertz: Doubles, edges: Floats) -> Doubles:
    """Amplitudes of a Butterworth filter that is run forwards and backwards, a half at its edge: [edges, hertz]."""
    passed: Doubles = 1.0 / (1.0 + (hertz / edges[:, None]) ** (2 * _HIGH_ORDER))
    return passed


def _high_pass(hertz: Doubles, edges: Floats) -> Doubles:
    ratio: Doubles = (hertz / edges[:, None]) ** (2 * _LOW_ORDER)
    return ratio / (1.0 + ratio)


def filter_rows(audio: torch.Tensor, responses: Floats) -> torch.Tensor:
    """Filter each of [rows, samples] by its own response, amplitudes [rows, frequencies] from 0 Hz on, in zero phase.

    This is the exact convolution with symmetric filters of twice as many taps as there are frequencies, by blocks
    (overlap and save), and with silence around the rows.
    """
    reach = responses.shape[1] - 1
    samples, size = audio.shape[1], _BLOCK_REACHES * reach
    hop = size - 2 * reach
    blocks = -(-samples // hop)
    # on a CPU the last bits of several transforms at once depend on how many they are
    several = len(audio) if audio.is_cuda else 1
    filtered = torch.empty_like(audio)
    parts = (one.split(several) for one in (audio, on_device(responses, audio.device), filtered))
    for sound, response, target in zip(*parts, strict=True):
        taps = functional.pad(torch.fft.irfft(response).roll(reach, 1), (0, size - 2 * reach)).roll(-reach, 1)
        padded = functional.pad(sound, (reach, blocks * hop - samples + reach))
        frames = padded.as_strided((len(padded), blocks, size), (padded.shape[1], hop, 1))
        spectra = torch.fft.rfft(frames).mul_(torch.fft.rfft(taps).real[:, None])
        heard = torch.fft.irfft(spectra)[..., reach : reach + hop]
        target.copy_(heard.flatten(1)[:, :samples])
    return filtered


def cut_off(sound: torch.Tensor, gains: torch.Tensor) -> torch.Tensor:
    """Raise [rows, samples] by gains [rows], and cut off what is then above the loudest sample of the row before."""
    peak = sound.abs().amax(1, keepdim=True)
    return (sound * gains[:, None]).clamp_(-peak, peak)


def bend(sound: torch.Tensor, gains: torch.Tensor) -> torch.Tensor:
    """Raise [rows, samples] by gains [rows], and bend it so that it stays below the loudest sample of the row before.

    Roots and quotients are rounded alike everywhere, which a hyperbolic tangent is not.
    """
    peak = sound.abs().amax(1, keepdim=True).clamp_min_(_LEAST_PEAK)
    driven = sound * gains[:, None]
    return driven / (driven / peak).square_().add_(1.0).sqrt_()


def mu_law(sound: torch.Tensor) -> torch.Tensor:
    """Return what is left of samples after the 8 bits of a telephone (ITU-T G.711, mu-law): one of 255 levels.

    The code keeps sign, exponent and four bits of the mantissa of a 16-bit sample plus 132, and the decoder takes the
    middle of what these stand for. A float has the same three parts.
    """
    level = sound.abs().mul_(_PCM_STEPS).clamp_(max=_MU_LAW_LARGEST).add_(_MU_LAW_BIAS)
    level.view(torch.int32).bitwise_and_(_KEPT_BITS).bitwise_or_(_HALF_STEP)
    return level.sub_(_MU_LAW_BIAS).div_(_PCM_STEPS).copysign_(sound)
