"""Batched augmentation of waveforms: speed, room, noise and gain, each drawn from the row's own key.

Order follows the air: the talker (speed) is in a room (impulse response) with noise, before a microphone (gain).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.fft import next_fast_len

from wakeword_core.config import AugmentConfig
from wakeword_core.features.draws import uniforms

_TAPS = 16
"""Taps of the windowed-sinc interpolation that changes speed: the image of 3 kHz stays 70 dB down."""
_MIN_POWER = 1e-8
"""Power below which a window counts as silent (-80 dBFS): noise is then set against this."""

_NOISE_PIECE_SECONDS = 2.0
_NOISE_PEAK = 16_384
_ENVELOPE_HERTZ = (50.0, 8_000.0)
_ENVELOPE_KNOTS = 9
_ENVELOPE_DB = (-30.0, 0.0)
_BEAT_HERTZ = (0.2, 8.0)
"""Shape of generated noise: a knot about every octave, each at a random level, and a beat as of speech or machines."""


@dataclass(frozen=True)
class Draws:
    """What happens to each row: arrays [rows]."""

    speed: npt.NDArray[np.float32]
    room: npt.NDArray[np.int64]
    """index of the impulse response, -1 for none"""
    noise_position: npt.NDArray[np.float64]
    """where in the noise bank, as a share of it; -1 for none"""
    snr_db: npt.NDArray[np.float32]
    gain_db: npt.NDArray[np.float32]


def draw(
    keys: npt.NDArray[np.uint64], clean: npt.NDArray[np.bool_], config: AugmentConfig, rooms: int, noise_samples: int
) -> Draws:
    """Draw the parameters of each row; `clean` rows get speed 1, no room, no noise and 0 dB."""
    u = uniforms(keys, 8, stream=1)

    def between(column: int, limits: tuple[float, float]) -> npt.NDArray[np.float32]:
        return (limits[0] + u[:, column] * (limits[1] - limits[0])).astype(np.float32)

    speed = np.where((u[:, 0] < config.speed_probability) & ~clean, between(1, config.speed), 1.0)
    has_room = (u[:, 2] < config.rir_probability) & ~clean & (rooms > 0)
    has_noise = (u[:, 4] < config.noise_probability) & ~clean & (noise_samples > 0)
    return Draws(
        speed=speed.astype(np.float32),
        room=np.where(has_room, (u[:, 3] * max(rooms, 1)).astype(np.int64), -1),
        noise_position=np.where(has_noise, u[:, 5], -1.0),
        snr_db=between(6, config.snr_db),
        gain_db=np.where(clean, 0.0, between(7, config.gain_db)).astype(np.float32),
    )


def source_samples(window: int, config: AugmentConfig) -> int:
    """Samples of a recording that a window of `window` samples can need, speed change included."""
    return int(np.ceil(window * max(1.0, config.speed[1]))) + _TAPS


class Augmenter:
    """Applies draws to batches of waveforms on one device."""

    def __init__(self, noise: npt.NDArray[np.int16], rooms: npt.NDArray[np.float32], device: torch.device) -> None:
        """`noise` is one long recording [samples]; `rooms` are impulse responses [rooms, taps], direct sound first."""
        self.device = device
        self.noise = torch.from_numpy(noise).to(device)
        self.rooms = torch.from_numpy(rooms).to(device)

    def __call__(self, audio: torch.Tensor, draws: Draws, window: int) -> torch.Tensor:
        """[rows, samples >= window] in [-1, 1] -> [rows, window]; the end of each row stays the end."""
        audio = self._change_speed(audio, draws.speed, window)
        self._apply_rooms(audio, draws.room)
        self._mix_noise(audio, draws.noise_position, draws.snr_db)
        gain = torch.from_numpy(10.0 ** (draws.gain_db / 20.0)).to(audio)
        return audio.mul_(gain[:, None]).clamp_(-1.0, 1.0)

    def _change_speed(self, audio: torch.Tensor, speed: npt.NDArray[np.float32], window: int) -> torch.Tensor:
        end = audio.shape[1]
        result = audio[:, end - window :].clone()
        rows = np.flatnonzero(speed != 1.0)
        if len(rows):
            chosen = torch.from_numpy(rows).to(self.device)
            factor = torch.from_numpy(speed[rows]).to(self.device)
            result[chosen] = resample_from_end(audio[chosen], factor, window)
        return result

    def _apply_rooms(self, audio: torch.Tensor, room: npt.NDArray[np.int64]) -> None:
        rows = np.flatnonzero(room >= 0)
        if not len(rows):
            return
        chosen = torch.from_numpy(rows).to(self.device)
        responses = self.rooms[torch.from_numpy(room[rows]).to(self.device)]
        samples = audio.shape[1]
        size = next_fast_len(samples + responses.shape[1] - 1, real=True)
        dry = audio[chosen]
        wet = torch.fft.irfft(torch.fft.rfft(dry, size) * torch.fft.rfft(responses, size), size)[:, :samples]
        # a room colours and smears, it does not make the talker louder
        power = dry.square().mean(1, keepdim=True) / wet.square().mean(1, keepdim=True).clamp_min(1e-12)
        audio[chosen] = wet * power.sqrt()

    def _mix_noise(
        self, audio: torch.Tensor, position: npt.NDArray[np.float64], snr_db: npt.NDArray[np.float32]
    ) -> None:
        rows = np.flatnonzero(position >= 0)
        if not len(rows):
            return
        chosen = torch.from_numpy(rows).to(self.device)
        window = audio.shape[1]
        start = (position[rows] * max(1, len(self.noise) - window)).astype(np.int64)
        index = torch.from_numpy(start).to(self.device)[:, None] + torch.arange(window, device=self.device)
        noise = self.noise[index % len(self.noise)].float() / 32768.0
        speech = audio[chosen]
        power = _active_power(speech).clamp_min(_MIN_POWER)
        ratio = torch.from_numpy(10.0 ** (snr_db[rows] / 10.0)).to(audio)
        scale = (power / (ratio * noise.square().mean(1).clamp_min(1e-12))).sqrt()
        audio[chosen] = speech + noise * scale[:, None]


def _active_power(audio: torch.Tensor) -> torch.Tensor:
    """Mean power over the samples that are not padding (exactly zero): [rows]."""
    return audio.square().sum(1) / (audio != 0).sum(1).clamp_min(1)


def resample_from_end(audio: torch.Tensor, speed: torch.Tensor, window: int) -> torch.Tensor:
    """Play [rows, samples] `speed` [rows] times as fast, keeping the end in place: [rows, window].

    Windowed-sinc (Hann) interpolation; duration and pitch change together, as with a tape. A speed above 1 is not
    low-pass filtered first: at 1.1 only what lies above 7.3 of 8 kHz folds back.
    """
    rows, samples = audio.shape
    back = torch.arange(window - 1, -1, -1, device=audio.device, dtype=torch.float64)
    position = (samples - 1) - back[None, :] * speed.double()[:, None]
    whole = position.floor()
    fraction = (position - whole).float()
    result = torch.zeros(rows, window, device=audio.device)
    padded = torch.nn.functional.pad(audio, (_TAPS, _TAPS))
    base = whole.long() + _TAPS
    half = _TAPS // 2
    for tap in range(-half + 1, half + 1):
        distance = tap - fraction
        weight = torch.sinc(distance) * (0.5 + 0.5 * torch.cos(torch.pi * distance / half))
        index = (base + tap).clamp_(0, padded.shape[1] - 1)
        result.addcmul_(padded.gather(1, index), weight)
    return result


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
