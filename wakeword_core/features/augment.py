"""Batched augmentation of waveforms: speed, tempo, pitch, room, noise, gain and device, drawn from the row's own key.

Order follows the air: the talker (speed, tempo, pitch) is in a room (impulse response) with noise, before the device
(gain first).

Speeds are fractions of `STEPS`, so that the phases of interpolation repeat after `STEPS` samples of output: those are
one row of frames times one small matrix of filters. On a CPU that is 40 times faster than weights a sample.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from scipy.fft import next_fast_len
from torch.nn import functional

from wakeword_core.config import AugmentConfig
from wakeword_core.config.plugins import AugmentationPlugin
from wakeword_core.features.devices import Devices, DeviceSounds, draw_devices
from wakeword_core.features.draws import HashRing, between, hash_keys, mix_bits, uniforms
from wakeword_core.features.frontend import on_device
from wakeword_core.features.materials import Materials
from wakeword_core.features.mel import PCM_SCALE
from wakeword_core.features.stretch import stretch_from_end, stretch_margin

STEPS = 100
"""Speeds are whole hundredths."""
TAPS = 16
"""Taps of the windowed-sinc filters: the image of 3 kHz at 16 kHz stays 50 dB down."""
_HALF = TAPS // 2
_TINY = 1e-9
_MIN_POWER = 1e-8
"""Power below which a window counts as silent (-80 dBFS): noise is then set against this."""
_LEAST_POWER = 1e-12
_KEPT_BYTES = 64 << 20
"""Spectra of rooms are kept when they all fit in so much."""
_FLOOR_DBFS = (-100.0, -60.0)
"""From what 16 bits do not show, as a computed recording has it, to a cheap microphone."""
_FLOOR_RMS, _FLOOR_PLACES, _FLOOR_SEED = 4_096, 100_000, 0x46


@dataclass(frozen=True)
class Draws:
    """The augmentation of each row: arrays [rows]."""

    speed: npt.NDArray[np.int64]
    """at which the recording goes by, in hundredths"""
    pitch: npt.NDArray[np.int64]
    """how high it then is, in hundredths: as `speed`, but where tempo or pitch are changed by themselves"""
    room: npt.NDArray[np.int64]
    """index of the impulse response, -1 for none"""
    room_share: npt.NDArray[np.float32]
    """of the room in what is heard"""
    level_dbfs: npt.NDArray[np.float32]
    """RMS level before noise and gain, NaN for that of the recording"""
    noise_piece: npt.NDArray[np.int64]
    """piece of the noise bank, -1 for none"""
    noise_start: npt.NDArray[np.int64]
    """sample of the noise bank that it begins at"""
    snr_db: npt.NDArray[np.float32]
    gain_db: npt.NDArray[np.float32]
    devices: Devices
    key: npt.NDArray[np.uint64]
    """hash of the row's own key and of what is mixed in"""

    def take(self, rows: npt.NDArray[np.int64]) -> "Draws":
        """Return the draws of some rows."""
        return Draws(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


def draw(
    keys: npt.NDArray[np.uint64], clean: npt.NDArray[np.bool_], config: AugmentConfig, materials: Materials
) -> Draws:
    """Draw the parameters of each row; `clean` rows get speed 1, no room, no noise, 0 dB and no device."""
    u, more, apart = uniforms(keys, 9, stream=1), uniforms(keys, 2, stream=6), uniforms(keys, 4, stream=7)
    has_speed = (u[:, 0] < config.speed_probability) & ~clean
    has_tempo = (apart[:, 0] < config.tempo_probability) & ~clean
    has_pitch = (apart[:, 2] < config.pitch_probability) & ~clean
    speed = np.where(has_speed, between(u[:, 1], config.speed), np.float32(1))
    tempo = np.where(has_tempo, between(apart[:, 1], config.tempo), np.float32(1))
    pitch = np.where(has_pitch, semitones(between(apart[:, 3], config.pitch_semitones)), np.float32(1))
    has_room = (u[:, 2] < config.rir_probability) & ~clean & (len(materials.rooms) > 0)
    has_noise = (u[:, 4] < config.noise_probability) & ~clean & (len(materials.noise) > 0)
    piece, start = materials.noise.choose(u[:, 5], u[:, 8])
    piece = np.where(has_noise, piece, -1)
    room = np.full(len(keys), -1)
    room[has_room] = HashRing(materials.room_keys).choose(u[has_room, 3])
    return Draws(
        speed=whole_steps(speed * tempo),
        pitch=whole_steps(speed * pitch),
        room=room,
        room_share=between(more[:, 0], config.room_share),
        level_dbfs=np.where(clean, np.nan, between(more[:, 1], config.level_dbfs or (np.nan, np.nan))),
        noise_piece=piece,
        noise_start=np.where(has_noise, start, 0),
        snr_db=between(u[:, 6], config.snr_db),
        gain_db=np.where(clean, 0.0, between(u[:, 7], config.gain_db)).astype(np.float32),
        devices=draw_devices(keys, clean, config),
        key=_drawn_keys(keys, (piece, materials.noise.keys), (room, materials.room_keys)),
    )


def _drawn_keys(
    keys: npt.NDArray[np.uint64], *drawn: tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64]]
) -> npt.NDArray[np.uint64]:
    """Combine the keys of rows with those of what each row chose: pairs of choices [rows], -1 for none, and keys."""
    for chosen, chosen_keys in drawn:
        rows = np.flatnonzero(chosen >= 0)
        keys = mix_bits(keys)
        keys[rows] ^= chosen_keys[chosen[rows]]
    return keys


class Augmenter:
    """Applies draws to batches of waveforms on one device."""

    def __init__(
        self,
        noise: npt.NDArray[np.int16],
        rooms: npt.NDArray[np.float32],
        rate: int,
        device: torch.device,
        plugins: Sequence[AugmentationPlugin] = (),
    ) -> None:
        """`noise` is long enough from where each row begins; `rooms` [rooms, taps], direct sound first."""
        self.device, self._rate = device, rate
        self._plugged = [PluggedAugmentation(place, settings, rate) for place, settings in enumerate(plugins)]
        self._device_sounds = DeviceSounds(rate)
        self.noise = torch.from_numpy(noise).to(device)
        self.rooms = torch.from_numpy(rooms).to(device)
        self._spectra: dict[int, torch.Tensor] = {}

    def __call__(self, audio: torch.Tensor, draws: Draws, window: int) -> torch.Tensor:
        """Augment [rows, samples] of 16-bit sound in [-1, 1] to [rows, window]; the end of each row stays the end.

        There are at least `window` samples, and as many as `samples_heard` counts.
        """
        audio = self._change_speed(self._change_tempo(audio, draws, window), draws.pitch, window)
        self._apply_rooms(audio, draws)
        self._bring_to_level(audio, draws.level_dbfs)
        self._mix_noise(audio, draws)
        gain = _decibel_ratios(draws.gain_db, 20.0, self.device)
        audio.mul_(gain[:, None])
        self._device_sounds.apply(audio, draws.devices)
        for plugged in self._plugged:
            plugged.apply(audio, draws.key)
        return audio.clamp_(-1.0, 1.0)

    def put_noise(self, noise: npt.NDArray[np.int16], places: Sequence[slice]) -> None:
        """Copy some places of the noise [samples] that this was made with to the device again."""
        for place in places:
            self.noise[place] = on_device(noise[place], self.device)

    def _change_tempo(self, audio: torch.Tensor, draws: Draws, window: int) -> torch.Tensor:
        """Stretch what its speed would bring to another pitch, so that both are right after that."""
        rows = np.flatnonzero(draws.speed != draws.pitch)
        if not len(rows):
            return audio
        chosen = on_device(rows, self.device)
        samples = source_samples(window, draws.pitch[rows].max() / STEPS)
        stretched = stretch_from_end(audio[chosen], draws.speed[rows] / draws.pitch[rows], samples, self._rate)
        audio = functional.pad(audio, (max(0, samples - audio.shape[1]), 0))
        audio[chosen, -samples:] = stretched
        return audio

    def _change_speed(self, audio: torch.Tensor, speed: npt.NDArray[np.int64], window: int) -> torch.Tensor:
        result = torch.empty(len(audio), window, device=self.device)
        for steps in np.unique(speed).tolist():
            chosen = on_device(np.flatnonzero(speed == steps), self.device)
            rows = audio[chosen]
            result[chosen] = rows[:, -window:] if steps == STEPS else resample_from_end(rows, steps, window)
        return result

    def _apply_rooms(self, audio: torch.Tensor, draws: Draws) -> None:
        rows = np.flatnonzero(draws.room >= 0)
        if not len(rows):
            return
        chosen = on_device(rows, self.device)
        samples = audio.shape[1]
        size = next_fast_len(samples + self.rooms.shape[1] - 1, real=True)
        dry = audio[chosen]
        spectra = self._room_spectra(on_device(draws.room[rows], self.device), size)
        # on a CPU the last bits of several transforms at once depend on how many they are
        several = len(rows) if audio.is_cuda else 1
        pairs = zip(dry.split(several), spectra.split(several), strict=True)
        wet = torch.cat(
            [torch.fft.irfft(torch.fft.rfft(clip, size).mul_(spectrum), size)[:, :samples] for clip, spectrum in pairs]
        )
        heard = _as_loud(wet, dry)
        share = draws.room_share[rows]
        if (share < 1).any():
            heard = _as_loud(dry.lerp(heard, on_device(share, self.device)[:, None]), dry)
        audio[chosen] = heard

    def _bring_to_level(self, audio: torch.Tensor, level_dbfs: npt.NDArray[np.float32]) -> None:
        rows = np.flatnonzero(~np.isnan(level_dbfs))
        if not len(rows):
            return
        chosen = on_device(rows, self.device)
        power = _active_power(audio[chosen])
        wanted = _decibel_ratios(level_dbfs[rows], 20.0, self.device)
        factors = torch.where(power > _MIN_POWER, wanted * power.clamp_min(_MIN_POWER).rsqrt(), 1.0)
        audio[chosen] = audio[chosen] * factors[:, None]

    def _room_spectra(self, chosen: torch.Tensor, size: int) -> torch.Tensor:
        if len(self.rooms) * size * self.rooms.element_size() > _KEPT_BYTES:
            return torch.cat([torch.fft.rfft(room, size) for room in self.rooms[chosen].split(1)])
        if size not in self._spectra:
            self._spectra[size] = torch.cat([torch.fft.rfft(room, size) for room in self.rooms.split(1)])
        return self._spectra[size][chosen]

    def _mix_noise(self, audio: torch.Tensor, draws: Draws) -> None:
        rows = np.flatnonzero(draws.noise_piece >= 0)
        if not len(rows):
            return
        chosen = on_device(rows, self.device)
        noise = cut(self.noise, on_device(draws.noise_start[rows], self.device), audio.shape[1])
        speech = audio[chosen]
        speech_power = _active_power(speech).clamp_min(_MIN_POWER)
        ratio = _decibel_ratios(draws.snr_db[rows], 10.0, self.device)
        scale = (speech_power / (ratio * _power(noise).clamp_min(_LEAST_POWER))).sqrt()
        audio[chosen] = speech.addcmul_(noise, scale[:, None])


class PluggedAugmentation:
    """What another package does to some rows of a batch."""

    def __init__(self, place: int, settings: AugmentationPlugin, rate: int) -> None:
        """Make it; `place` tells it from the others of a configuration. WakewordError where its package is broken."""
        self._plugin, self._probability = settings.plugin, settings.probability
        self._change = self._plugin.make(settings.settings, rate)
        self._own = hash_keys([f"{place}:{settings.name}".encode()])

    def apply(self, audio: torch.Tensor, keys: npt.NDArray[np.uint64]) -> None:
        """Change those of the rows [rows, samples] in place whose keys [rows] draw it."""
        keys = mix_bits(keys ^ self._own)
        rows = np.flatnonzero(uniforms(keys, 1, stream=5)[:, 0] < self._probability)
        if not len(rows):
            return
        chosen = on_device(rows, audio.device)
        with self._plugin.blamed():
            changed = self._change(audio[chosen], keys[rows])
        wanted, shape = [len(rows), audio.shape[1]], list(getattr(changed, "shape", ()))
        self._plugin.require(
            shape == wanted and bool(torch.isfinite(changed).all()),
            f"it gives {shape} for {wanted} samples, and not as many finite ones",
        )
        audio[chosen] = changed


class Floor:
    """The noise that a microphone has by itself, under the whole of each row at a level of its own."""

    def __init__(self, samples: int, device: torch.device) -> None:
        """Make noise for rows of so many samples."""
        noise = np.random.default_rng(_FLOOR_SEED).normal(0.0, _FLOOR_RMS, samples + _FLOOR_PLACES)
        self._noise = torch.from_numpy(np.rint(noise).astype(np.int16)).to(device)

    def __call__(self, audio: torch.Tensor, keys: npt.NDArray[np.uint64]) -> torch.Tensor:
        """Add it to rows [rows, samples] in [-1, 1] of the given keys [rows]; changes and returns them."""
        u = uniforms(keys, 2, stream=3)
        low, high = _FLOOR_DBFS
        levels = (low + u[:, 0] * (high - low)).astype(np.float32)
        gains = _decibel_ratios(levels, 20.0, audio.device) / (_FLOOR_RMS * PCM_SCALE)
        places = on_device((u[:, 1] * _FLOOR_PLACES).astype(np.int64), audio.device)
        return audio.addcmul_(cut(self._noise, places, audio.shape[1]), gains[:, None])


def cut(sound: torch.Tensor, start: torch.Tensor, samples: int) -> torch.Tensor:
    """Cut pieces of int16 sound [n] from sample `start` [rows] on, each within it: float [rows, samples] in [-1, 1]."""
    pieces = sound.as_strided((len(sound) - samples + 1, samples), (1, 1))
    return pieces.index_select(0, start).float().mul_(PCM_SCALE)


def _decibel_ratios(decibels: npt.NDArray[np.float32], a_decade: float, device: torch.device) -> torch.Tensor:
    """Ratios of amplitude (20 dB a decade) or power (10): [rows]."""
    return on_device(np.power(10.0, decibels / a_decade, dtype=np.float32), device)


def _power(audio: torch.Tensor) -> torch.Tensor:
    return torch.linalg.vector_norm(audio, dim=1).square() / audio.shape[1]


def _as_loud(wet: torch.Tensor, dry: torch.Tensor) -> torch.Tensor:
    """Bring rows to the levels of others: a room colours and smears, it does not make the talker louder."""
    power = _power(dry) / _power(wet).clamp_min(_LEAST_POWER)
    return wet * power.sqrt()[:, None]


def _active_power(audio: torch.Tensor) -> torch.Tensor:
    """Mean power over the samples that are not padding (exactly zero): [rows]."""
    sounding = audio.bool().view(torch.uint8).sum(1, dtype=torch.int32)  # count_nonzero takes four times as long
    return torch.linalg.vector_norm(audio, dim=1).square() / sounding.clamp_min(1)


def source_samples(samples: int, fastest: float) -> int:
    """Count the samples that `samples` of output need at a speed of `fastest` at most."""
    return int(np.ceil(samples * max(1.0, fastest))) + TAPS


def samples_heard(samples: int, speed: npt.NDArray[np.int64], pitch: npt.NDArray[np.int64], rate: int) -> int:
    """Count the samples that rows of `samples` are made of at some speeds and pitches [rows], in hundredths."""
    heard = source_samples(samples, speed.max() / STEPS)
    if (speed == pitch).all():
        return heard
    return heard + stretch_margin(rate) + int(np.ceil(TAPS * (speed / pitch).max()))


def most_heard(samples: int, augment: AugmentConfig, rate: int) -> int:
    """Count the samples that a row of `samples` is made of at most."""
    tempo = augment.tempo[1] if augment.tempo_probability else 1.0
    pitch = semitones(augment.pitch_semitones[0]) if augment.pitch_probability else 1.0
    speed, lower = whole_steps(augment.speed[1] * np.asarray([[max(1.0, tempo)], [min(1.0, pitch)]]))
    return samples_heard(samples, speed, lower, rate)


def semitones(number: npt.NDArray[np.float32] | float) -> npt.NDArray[np.float32]:
    """Return the factors by which so many semitones change a frequency."""
    return np.power(2.0, np.asarray(number) / 12.0, dtype=np.float32)


def whole_steps(speed: npt.NDArray[np.floating] | float) -> npt.NDArray[np.int64]:
    """Round speeds to hundredths."""
    return np.rint(np.asarray(speed) * STEPS).astype(np.int64)


def resample_from_end(audio: torch.Tensor, steps: int, samples: int) -> torch.Tensor:
    """Play [rows, n] at `steps` hundredths of its speed, the end in place: [rows, samples]; silent before the first.

    Windowed-sinc (Hann) interpolation, low-pass filtered where a higher speed would fold frequencies back; duration and
    pitch change together, as with a tape.
    """
    filters, first, extra = _filters(steps, audio.shape[1], samples)
    weights = on_device(filters, audio.device)
    padded = functional.pad(audio, (max(0, -first), _HALF))
    blocks = (samples + extra) // STEPS
    frames = padded.as_strided(
        (len(padded), blocks, len(weights)), (padded.shape[1], steps, 1), padded.storage_offset() + max(0, first)
    )
    # a product for each row by itself: of one for all of them, the last bits depend on how many rows there are
    return torch.bmm(frames, weights.expand(len(padded), -1, -1)).view(len(audio), -1)[:, extra:]


@lru_cache(maxsize=256)
def _filters(steps: int, length: int, samples: int) -> tuple[npt.NDArray[np.float32], int, int]:
    """Filters [taps, STEPS] of one block of output, where its first frame begins, and samples too many at the left."""
    extra = -samples % STEPS
    earliest = length - 1 - (samples + extra - 1) * steps / STEPS
    begin = int(np.floor(earliest + _TINY))
    position = earliest - begin + np.arange(STEPS) * steps / STEPS
    taps = int(np.floor(position[-1] + _TINY)) + TAPS
    distance = np.arange(taps)[:, None] - (_HALF - 1) - position
    cutoff = min(1.0, STEPS / steps)
    hann = np.where(np.abs(distance) < _HALF, 0.5 + 0.5 * np.cos(np.pi * distance / _HALF), 0.0)
    return (cutoff * np.sinc(cutoff * distance) * hann).astype(np.float32), begin - _HALF + 1, extra
