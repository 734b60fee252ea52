"""The ways on which a stream reaches a model, when it is not heard as it is: what they do to its sound.

Each leaves the words where they are: filters have zero phase, and the delay of a codec is taken out.
"""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wakeword_core.audio import resample
from wakeword_core.config.evaluation import TestConditionsConfig, Way

_GSM_RATE = 8_000
_OPUS_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)
_OPUS_LEAST, _OPUS_RANGE = 6_000, 250_000
"""Bits a second of libsndfile's highest compression level, 1, and by how much they are more at its lowest, 0."""
_MICROPHONE = 4
"""Of the seed, so that the microphone is drawn apart from noise and rooms."""
_LOWEST_HERTZ = 1.0
"""Below all that is heard: a microphone leaves out the silence at 0 Hz alone."""
_LEAST_LEVEL = 1e-9

Floats = NDArray[np.float32]


def levelled(
    sound: Floats, way: Way | None, test: TestConditionsConfig, words: Sequence[slice], recordings: Sequence[slice]
) -> Floats:
    """Return a stream [samples] in which each word is as faint as `quiet`, or as overdriven as `clipped`, has it.

    Each word lies within its recording, under which the gain is constant; it glides in the pauses.
    """
    if way not in ("quiet", "clipped") or not words:
        return sound
    knots: list[int] = []
    gains: list[float] = []
    for word, recording in zip(words, recordings, strict=True):
        if way == "quiet":
            gain = 10 ** (test.quiet_dbfs / 20) / max(float(np.sqrt(np.mean(sound[word] ** 2.0))), _LEAST_LEVEL)
        else:
            gain = 10 ** (test.clipped_db / 20) / max(float(np.abs(sound[word]).max()), _LEAST_LEVEL)
        knots += [recording.start, recording.stop]
        gains += [gain] * 2
    changed = sound * np.interp(np.arange(len(sound)), knots, gains).astype(np.float32)
    return np.clip(changed, -1.0, 1.0)


def passed(sound: Floats, way: Way | None, test: TestConditionsConfig, rate: int, seed: int) -> Floats:
    """Return a stream [samples] as it arrives on a way that a device or a codec makes of it."""
    if way == "telephone":
        return _through_device(sound, rate, telephone=True)
    if way == "microphone":
        random = np.random.default_rng([seed, _MICROPHONE])
        return _through_device(sound, rate, colour_db=test.microphone_db, random=random)
    if way == "gsm":
        return _through_codec(sound, rate, _GSM_RATE, "WAV", "GSM610")
    if way == "opus":
        codec_rate = next((one for one in _OPUS_RATES if one >= rate), _OPUS_RATES[-1])
        level = 1 - (1_000 * test.opus_kbps - _OPUS_LEAST) / _OPUS_RANGE
        return _through_codec(sound, rate, codec_rate, "OGG", "OPUS", compression_level=min(max(level, 0.0), 1.0))
    return sound


def _through_device(
    sound: Floats,
    rate: int,
    *,
    telephone: bool = False,
    colour_db: float = 0.0,
    random: np.random.Generator | None = None,
) -> Floats:
    import torch

    from wakeword_core.features.devices import OCTAVES, TELEPHONE_HERTZ, Devices, DeviceSounds, colours

    drawn = np.full((1, 1 + OCTAVES), 0.5) if random is None else random.random((1, 1 + OCTAVES))
    low, high = TELEPHONE_HERTZ if telephone else (_LOWEST_HERTZ, np.inf)
    devices = Devices(
        used=np.array([True]),
        colour_db=colours(drawn, colour_db),
        low_cut_hz=np.array([low], np.float32),
        high_cut_hz=np.array([high], np.float32),
        overload_db=np.zeros(1, np.float32),
        hard=np.array([False]),
        telephone=np.array([telephone]),
    )
    rows = torch.from_numpy(sound[None].copy())
    DeviceSounds(rate).apply(rows, devices)
    return rows[0].numpy()


def _through_codec(
    sound: Floats, rate: int, codec_rate: int, container: str, subtype: str, compression_level: float | None = None
) -> Floats:
    """Encode and decode a stream; the result has its length, and its words where they were."""
    import soundfile

    sent = resample(sound, rate, codec_rate)
    file = io.BytesIO()
    soundfile.write(file, sent, codec_rate, subtype=subtype, format=container, compression_level=compression_level)
    file.seek(0)
    received, _ = soundfile.read(file, dtype="float32")
    back = resample(received, codec_rate, rate)[: len(sound)]
    return np.pad(back, (0, len(sound) - len(back)))
