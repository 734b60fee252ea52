import numpy as np
import pytest

from wakeword_core.speech import background
from wakeword_core.speech.background import NOISES, SCENES, at_level, babble

RATE = 16_000


def made(maker, seed=1, count=4 * RATE):
    return maker(count, RATE, np.random.default_rng(seed))


@pytest.mark.parametrize("name", [*NOISES, *SCENES])
@pytest.mark.parametrize("count", [RATE * 4, 1_009])
def test_every_kind_has_sound_and_follows_its_generator(name, count):
    maker = (NOISES | SCENES)[name]
    x = made(maker, 1, count)
    assert x.dtype == np.float32 and x.shape == (count,) and np.isfinite(x).all()
    assert np.sqrt(np.mean(x.astype(float) ** 2)) == pytest.approx(1, rel=1e-3)
    np.testing.assert_array_equal(x, made(maker, 1, count))
    assert not np.array_equal(x, made(maker, 2, count))


@pytest.mark.parametrize(("exponent", "slope"), [(0.0, 0.0), (1.0, -3.01), (2.0, -6.02)])
def test_colours_fall_by_the_right_slope(exponent, slope):
    x = background.coloured(RATE * 8, RATE, np.random.default_rng(1), exponent)
    power = np.abs(np.fft.rfft(x)) ** 2
    frequency = np.fft.rfftfreq(len(x), 1 / RATE)
    octaves = [
        10 * np.log10(power[(frequency >= low) & (frequency < 2 * low)].mean()) for low in (125, 250, 500, 1_000, 2_000)
    ]
    assert np.diff(octaves).mean() == pytest.approx(slope, abs=0.3)


def test_hum_is_at_the_mains_and_noise_is_steady():
    x = made(background.hum)
    frequency = np.fft.rfftfreq(len(x), 1 / RATE)[np.abs(np.fft.rfft(x)).argmax()]
    assert min(frequency % 50 / 50, frequency % 60 / 60) < 0.05 or frequency % 50 > 49
    levels = {name: _unsteadiness(made(maker, 3)) for name, maker in (NOISES | SCENES).items()}
    assert max(levels[name] for name in NOISES) < 3 < levels["clatter"]


def _unsteadiness(x):
    frames = x[: len(x) // 1_600 * 1_600].reshape(-1, 1_600)
    return (20 * np.log10(np.sqrt((frames.astype(float) ** 2).mean(axis=1)) + 1e-6)).std()


def test_babble_mixes_every_voice():
    time = np.arange(RATE) / RATE
    voices = [np.sin(2 * np.pi * f * time).astype(np.float32) for f in (200, 500, 900)]
    x = babble(voices, 3 * RATE, np.random.default_rng(1))
    spectrum = np.abs(np.fft.rfft(x))
    for f in (200, 500, 900):
        assert spectrum[3 * f] > 100 * np.median(spectrum)
    assert len(x) == 3 * RATE


def test_levels_hold_and_never_clip():
    x = made(background.pink)
    assert 20 * np.log10(np.sqrt(np.mean(at_level(x, -25) ** 2))) == pytest.approx(-25, abs=0.05)
    assert np.abs(at_level(x, 0)).max() <= 0.951
    assert not at_level(np.zeros(10, np.float32), -20).any()
