"""What is said of sound that cannot be heard, and that nothing is said of any other."""

import numpy as np
import pytest

from wakeword_core.audio import resample
from wakeword_core.runtime.levels import HINTS, Levels, Watch

RATE = 16_000


def speech(seconds: float = 4.0, seed: int = 0) -> np.ndarray:
    """Noise with the long-term spectrum and the pauses of speech, float32 up to about a half."""
    generator = np.random.default_rng(seed)
    count = round(seconds * RATE)
    spectrum = np.fft.rfft(generator.normal(0, 1, count))
    frequencies = np.fft.rfftfreq(count, 1 / RATE)
    sound = np.fft.irfft(spectrum / (1 + (frequencies / 500) ** 2), count)
    sound *= np.repeat(generator.choice([0.02, 1.0], count // 2_000 + 1), 2_000)[:count]
    return (0.5 * sound / np.abs(sound).max()).astype(np.float32)


def pcm16(sound: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(sound * 32_768), -32_768, 32_767).astype(np.int16)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda sound: sound, None),
        (lambda sound: 0.1 * sound, None),
        (lambda sound: np.clip(2.1 * sound, -1, 1), None),  # now and then a peak
        (lambda sound: 0 * sound, "silent"),
        (lambda sound: 0 * sound + 0.25, "silent"),
        (lambda sound: 0.003 * sound, "quiet"),
        (lambda sound: np.clip(30 * sound, -1, 1), "clipped"),
        (lambda sound: resample(resample(sound, RATE, 8_000), 8_000, RATE), "narrow"),
        (lambda sound: resample(sound, RATE, 48_000), "narrow"),
        (lambda sound: sound[: RATE // 2] * 0, None),  # too little to say anything
    ],
)
def test_a_hint_says_what_is_wrong_however_the_sound_is_cut(change, fault) -> None:
    pcm = pcm16(change(speech()))
    for size in (len(pcm), 1_280, 777):
        levels = Levels(RATE)
        assert sum(map(len, levels.passing(pcm[at : at + size] for at in range(0, len(pcm), size)))) == len(pcm)
        assert levels.fault == fault and levels.hint == (HINTS[fault] if fault else None)


def test_a_stream_is_told_each_hint_once_and_of_every_ten_seconds() -> None:
    watch = Watch(RATE)
    second, silence = pcm16(speech(1.0)), np.zeros(RATE, np.int16)
    hints = [watch.push(second if 10 <= at < 20 else silence) for at in range(40)]
    assert [at for at, hint in enumerate(hints) if hint] == [9] and watch.finish() is None
    assert Watch(8_000).finish() is None
