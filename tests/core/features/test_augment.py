"""Each augmentation does what it says, measured on the sound it makes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wakeword_core.config import AugmentConfig
from wakeword_core.features.augment import Augmenter, Draws, draw
from wakeword_core.features.draws import uniforms
from wakeword_core.features.materials import generate_noise, generate_rooms

RATE = 16_000
WINDOW = 24_512
OFF = AugmentConfig(gain_db=(0, 0), noise_probability=0, rir_probability=0, speed_probability=0)


def tone(hertz: float, samples: int = WINDOW + 4_000) -> torch.Tensor:
    return 0.1 * torch.sin(2 * torch.pi * hertz * torch.arange(samples, dtype=torch.float64) / RATE).float()[None]


def peak_hertz(audio: torch.Tensor) -> float:
    spectrum = torch.fft.rfft(audio * torch.hann_window(audio.shape[-1])).abs()
    return float(spectrum.argmax()) * RATE / audio.shape[-1]


def nothing(rows: int = 1, **changes: np.ndarray) -> Draws:
    values = {
        "speed": np.full(rows, 100),
        "room": np.full(rows, -1),
        "noise_position": np.full(rows, -1.0),
        "snr_db": np.zeros(rows, np.float32),
        "gain_db": np.zeros(rows, np.float32),
    }
    return Draws(**{**values, **changes})


def augmenter(noise: np.ndarray | None = None, rooms: np.ndarray | None = None) -> Augmenter:
    return Augmenter(
        np.zeros(1, np.int16) if noise is None else noise,
        np.zeros((0, 1), np.float32) if rooms is None else rooms,
        torch.device("cpu"),
    )


@pytest.mark.parametrize("speed", [85, 90, 110, 115])
def test_speed_moves_440_hz_by_its_factor(speed: int) -> None:
    sound = augmenter()(tone(440), nothing(speed=np.asarray([speed])), WINDOW)
    assert peak_hertz(sound[0]) == pytest.approx(4.4 * speed, abs=1.0)


def test_each_row_of_a_batch_gets_its_own_speed() -> None:
    sound = augmenter()(tone(440).repeat(3, 1), nothing(3, speed=np.asarray([110, 100, 93])), WINDOW)
    assert [peak_hertz(one) for one in sound] == pytest.approx([484, 440, 409.2], abs=1.0)


@pytest.mark.parametrize("snr", [0.0, 10.0, 20.0])
def test_noise_is_mixed_at_the_ratio_drawn(snr: float) -> None:
    noise = np.random.default_rng(0).integers(-8_000, 8_000, 100_000).astype(np.int16)
    draws = nothing(noise_position=np.asarray([0.3]), snr_db=np.asarray([snr], np.float32))
    clean = tone(440)[:, -WINDOW:]
    added = augmenter(noise)(tone(440), draws, WINDOW) - clean
    measured = 10 * torch.log10(clean.square().mean() / added.square().mean())
    assert float(measured) == pytest.approx(snr, abs=0.1)


def test_the_ratio_is_against_sound_and_not_padding() -> None:
    noise = np.random.default_rng(0).integers(-8_000, 8_000, 100_000).astype(np.int16)
    short = tone(440)
    short[:, : WINDOW - 4_000] = 0
    draws = nothing(noise_position=np.asarray([0.3]), snr_db=np.asarray([10.0], np.float32))
    added = augmenter(noise)(short.clone(), draws, WINDOW) - short[:, -WINDOW:]
    measured = 10 * torch.log10(torch.tensor(0.1**2 / 2) / added.square().mean())
    assert float(measured) == pytest.approx(10.0, abs=0.3)


def test_a_room_smears_and_keeps_the_level() -> None:
    rooms = generate_rooms(1, (0.5, 0.5), RATE, seed=1)
    audio = torch.zeros(1, WINDOW)
    audio[0, 2_000:3_000] = torch.randn(1_000, generator=torch.Generator().manual_seed(0)) * 0.1
    wet = augmenter(rooms=rooms)(audio.clone(), nothing(room=np.asarray([0])), WINDOW)
    assert float(wet.square().mean()) == pytest.approx(float(audio.square().mean()), rel=0.01)
    assert float(wet[0, 4_000:6_000].abs().max()) > 1e-4
    assert float(wet[0, :1_999].abs().max()) < 1e-6


def test_generated_rooms_decay_as_asked() -> None:
    rooms = generate_rooms(20, (0.4, 0.4), RATE, seed=3)
    early, late = rooms[:, 800:1_600], rooms[:, 800 + 3_200 : 1_600 + 3_200]
    fall = 10 * np.log10((early**2).sum(1) / (late**2).sum(1)).mean()
    assert fall == pytest.approx(60 * 0.2 / 0.4, abs=3)


def test_gain_and_clipping() -> None:
    louder = augmenter()(tone(440), nothing(gain_db=np.asarray([6.0], np.float32)), WINDOW)
    assert float(louder.abs().max()) == pytest.approx(0.1 * 10 ** (6 / 20), rel=1e-3)
    clipped = augmenter()(tone(440) * 9, nothing(gain_db=np.asarray([20.0], np.float32)), WINDOW)
    assert float(clipped.abs().max()) == 1.0


def test_clean_rows_are_left_alone() -> None:
    keys = np.arange(50, dtype=np.uint64)
    draws = draw(keys, np.ones(50, bool), AugmentConfig(), rooms=5, noise_samples=9)
    assert (draws.speed == 100).all() and (draws.room == -1).all() and (draws.noise_position < 0).all()
    assert (draws.gain_db == 0).all()


def test_probabilities_are_kept() -> None:
    keys = np.arange(20_000, dtype=np.uint64)
    config = AugmentConfig(noise_probability=0.7, rir_probability=0.25, speed_probability=0.5)
    draws = draw(keys, np.zeros(20_000, bool), config, rooms=8, noise_samples=9)
    assert (draws.noise_position >= 0).mean() == pytest.approx(0.7, abs=0.02)
    assert (draws.room >= 0).mean() == pytest.approx(0.25, abs=0.02)
    changed = (draws.speed != 100).mean()  # of 21 speeds one is none
    assert changed == pytest.approx(0.5 * 20 / 21, abs=0.02) and set(np.unique(draws.speed)) == set(range(90, 111))
    assert set(np.unique(draws.room)) == {-1, *range(8)}
    assert draws.snr_db.min() >= config.snr_db[0] and draws.snr_db.max() <= config.snr_db[1]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=50))
def test_draws_depend_on_the_key_alone(keys: list[int]) -> None:
    array = np.asarray(keys, np.uint64)
    alone = np.concatenate([uniforms(array[i : i + 1], 3, stream=1) for i in range(len(array))])
    np.testing.assert_array_equal(uniforms(array, 3, stream=1), alone)
    assert (alone >= 0).all() and (alone < 1).all()


def test_draws_are_uniform_and_streams_differ() -> None:
    keys = np.arange(50_000, dtype=np.uint64)
    one, other = uniforms(keys, 2, stream=1), uniforms(keys, 2, stream=2)
    assert one.mean() == pytest.approx(0.5, abs=0.01) and one.std() == pytest.approx(12**-0.5, abs=0.01)
    for a, b in ((one[:, 0], one[:, 1]), (one[:, 0], other[:, 0])):
        assert abs(np.corrcoef(a, b)[0, 1]) < 0.02


def test_generated_noise_is_of_many_colours() -> None:
    noise = generate_noise(1.0, RATE, seed=1)
    assert noise.dtype == np.int16 and len(noise) == 60 * RATE and noise.std() > 500
    power = np.abs(np.fft.rfft(noise.reshape(30, -1).astype(float), axis=1)) ** 2
    tilt = 10 * np.log10(power[:, 200:2_000].mean(1) / power[:, 6_000:14_000].mean(1))
    assert np.ptp(tilt) > 20
    np.testing.assert_array_equal(noise, generate_noise(1.0, RATE, seed=1))
    assert (generate_noise(1.0, RATE, seed=2) != noise).any()


def test_without_noise_none_is_mixed() -> None:
    keys = np.arange(50, dtype=np.uint64)
    draws = draw(keys, np.zeros(50, bool), AugmentConfig(noise_probability=1), rooms=0, noise_samples=0)
    assert (draws.noise_position < 0).all() and len(generate_noise(0, RATE, seed=1)) == 0
