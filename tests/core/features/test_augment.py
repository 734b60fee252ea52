"""Each augmentation does what it says, measured on the sound it makes."""

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wakeword_core.config import AugmentConfig
from wakeword_core.features.augment import Augmenter, Draws, draw
from wakeword_core.features.devices import draw_devices
from wakeword_core.features.draws import uniforms
from wakeword_core.features.materials import NO_MATERIALS, Materials, NoiseBank, generate_piece, generate_rooms

RATE = 16_000
NOISY = {"noise_piece": np.asarray([0]), "noise_start": np.asarray([30_000])}
WINDOW = 24_512
OFF = AugmentConfig(gain_db=(0, 0), noise_probability=0, rir_probability=0, speed_probability=0)
BEFORE_DEVICES = "1f64e091774a755cfd6de1c6e266c6a8c3a28313c63950ffcb7737646c5bf7db"
"""Hash of what was drawn for 500 keys when there were no devices."""


def tone(hertz: float, samples: int = WINDOW + 4_000) -> torch.Tensor:
    return 0.1 * torch.sin(2 * torch.pi * hertz * torch.arange(samples, dtype=torch.float64) / RATE).float()[None]


def peak_hertz(audio: torch.Tensor) -> float:
    spectrum = torch.fft.rfft(audio * torch.hann_window(audio.shape[-1])).abs()
    return float(spectrum.argmax()) * RATE / audio.shape[-1]


def bank(recordings: int = 0, minutes: float = 0.0) -> NoiseBank:
    sounds = [np.random.default_rng(one).integers(-99, 99, 2_500 * one + 500) for one in range(recordings)]
    return NoiseBank([(f"r{i}", one.astype(np.int16)) for i, one in enumerate(sounds)], minutes, 3_000, 1_000, 1)


def materials(noise: NoiseBank, rooms: int = 0) -> Materials:
    return Materials(noise, np.ones((rooms, 9), np.float32), np.arange(rooms, dtype=np.uint64), "")


def nothing(rows: int = 1, **changes: np.ndarray) -> Draws:
    values = {
        "speed": np.full(rows, 100),
        "pitch": changes.get("speed", np.full(rows, 100)),
        "room": np.full(rows, -1),
        "room_share": np.ones(rows, np.float32),
        "level_dbfs": np.full(rows, np.nan, np.float32),
        "noise_piece": np.full(rows, -1),
        "noise_start": np.full(rows, 0),
        "snr_db": np.zeros(rows, np.float32),
        "gain_db": np.zeros(rows, np.float32),
        "devices": draw_devices(np.zeros(rows, np.uint64), np.ones(rows, bool), OFF),
        "key": np.zeros(rows, np.uint64),
    }
    return Draws(**{**values, **changes})


def augmenter(noise: np.ndarray | None = None, rooms: np.ndarray | None = None) -> Augmenter:
    return Augmenter(
        np.zeros(1, np.int16) if noise is None else noise,
        np.zeros((0, 1), np.float32) if rooms is None else rooms,
        RATE,
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
    draws = nothing(**NOISY, snr_db=np.asarray([snr], np.float32))
    clean = tone(440)[:, -WINDOW:]
    added = augmenter(noise)(tone(440), draws, WINDOW) - clean
    measured = 10 * torch.log10(clean.square().mean() / added.square().mean())
    assert float(measured) == pytest.approx(snr, abs=0.1)


def test_the_ratio_is_against_sound_and_not_padding() -> None:
    noise = np.random.default_rng(0).integers(-8_000, 8_000, 100_000).astype(np.int16)
    short = tone(440)
    short[:, : WINDOW - 4_000] = 0
    draws = nothing(**NOISY, snr_db=np.asarray([10.0], np.float32))
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


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_share_of_the_room_is_heard_beside_the_sound_itself(share: float) -> None:
    room = np.zeros((1, 2_001), np.float32)
    room[0, 2_000] = 1.0  # nothing but an echo
    audio = torch.zeros(2, WINDOW)
    audio[:, 3_000] = 0.1
    mixed = augmenter(rooms=room)(
        audio.clone(), nothing(2, room=np.asarray([0, -1]), room_share=np.full(2, share, np.float32)), WINDOW
    )
    loudness = 0.1 / np.hypot(share, 1 - share)
    wanted = pytest.approx([(1 - share) * loudness, share * loudness], abs=1e-5)
    assert mixed[0, [3_000, 5_000]].tolist() == wanted
    assert torch.equal(mixed[1], audio[1])


@pytest.mark.parametrize("level", [-40.0, -20.0])
def test_views_are_brought_to_a_level_and_silence_is_not(level: float) -> None:
    quiet, short, silent = 0.01 * tone(440), tone(440), torch.zeros(1, WINDOW + 4_000)
    short[:, : WINDOW - 4_000] = 0  # padding is no part of the level
    rows = torch.cat([quiet, short, silent, 1e-5 * tone(440), tone(440)])
    levels = np.asarray([level] * 4 + [np.nan], np.float32)
    sound = augmenter()(rows.clone(), nothing(5, level_dbfs=levels), WINDOW)
    loud = [float(10 * torch.log10(one[one != 0].square().mean())) for one in (sound[0], sound[1])]
    assert loud == pytest.approx([level, level], abs=0.05)
    torch.testing.assert_close(sound[2:], rows[2:, -WINDOW:])


def test_levels_and_shares_of_rooms_are_drawn_apart_from_all_else() -> None:
    keys, clean = np.arange(500).astype(np.uint64), np.arange(500) % 5 == 0
    before = draw(keys, clean, AugmentConfig(), materials(bank(2), 3))
    drawn = draw(keys, clean, AugmentConfig(level_dbfs=(-30, -20), room_share=(0.2, 0.6)), materials(bank(2), 3))
    for name in ("speed", "room", "noise_piece", "noise_start", "snr_db", "gain_db", "key"):
        np.testing.assert_array_equal(getattr(drawn, name), getattr(before, name))
    assert np.isnan(before.level_dbfs).all() and (before.room_share == 1).all()
    assert (np.isnan(drawn.level_dbfs) == clean).all()
    for values, low, high in ((drawn.level_dbfs[~clean], -30, -20), (drawn.room_share, 0.2, 0.6)):
        assert low <= values.min() < low + 0.1 * (high - low) and high - 0.1 * (high - low) < values.max() <= high


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
    draws = draw(keys, np.ones(50, bool), AugmentConfig(), materials(bank(3), 5))
    assert (draws.speed == 100).all() and (draws.room == -1).all() and (draws.noise_piece < 0).all()
    assert (draws.gain_db == 0).all()


def test_devices_shift_no_other_draw() -> None:
    keys = np.arange(500, dtype=np.uint64)
    for probability in (0, 0.5, 1):
        config = AugmentConfig(device_probability=probability)
        draws = draw(keys, keys % 5 == 0, config, materials(bank(3, minutes=0.5), 5))
        found = hashlib.sha256()
        for name in ("speed", "room", "noise_piece", "noise_start", "snr_db", "gain_db", "key"):
            found.update(getattr(draws, name).tobytes())
        assert found.hexdigest() == BEFORE_DEVICES
        assert draws.devices.used.mean() == pytest.approx(probability * 0.8, abs=0.05)


def test_a_device_comes_last_and_leaves_sound_within_full_scale() -> None:
    keys, clean = np.arange(60, dtype=np.uint64), np.zeros(60, bool)
    config = OFF.changed({"device_probability": 1, "device_colour_db": 24, "gain_db": (6, 6)})
    draws = draw(keys, clean, config, NO_MATERIALS)
    loud = torch.from_numpy(np.random.default_rng(0).choice([-1.0, 1.0], (60, WINDOW))).float()
    found = augmenter()(loud.clone(), draws, WINDOW)
    assert bool(found.isfinite().all()) and float(found.abs().max()) == 1.0
    assert float((found - loud).abs().amax(1).min()) > 0.1
    one_by_one = [augmenter()(loud[row : row + 1].clone(), draws.take(np.asarray([row])), WINDOW) for row in range(60)]
    assert torch.equal(torch.cat(one_by_one), found)


def test_probabilities_are_kept() -> None:
    keys = np.arange(20_000, dtype=np.uint64)
    config = AugmentConfig(noise_probability=0.7, rir_probability=0.25, speed_probability=0.5)
    draws = draw(keys, np.zeros(20_000, bool), config, materials(bank(3), 8))
    assert (draws.noise_piece >= 0).mean() == pytest.approx(0.7, abs=0.02)
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


def test_generated_noise_is_of_many_colours_and_goes_round() -> None:
    noise = np.stack([generate_piece(number, RATE, seed=1) for number in range(30)])
    assert noise.dtype == np.int16 and noise.shape == (30, 2 * RATE) and noise.std() > 500
    power = np.abs(np.fft.rfft(noise.astype(float), axis=1)) ** 2
    tilt = 10 * np.log10(power[:, 200:2_000].mean(1) / power[:, 6_000:14_000].mean(1))
    assert np.ptp(tilt) > 20
    np.testing.assert_array_equal(noise[7], generate_piece(7, RATE, seed=1))
    assert (generate_piece(7, RATE, seed=2) != noise[7]).any()
    steps = np.abs(np.diff(noise.astype(float), axis=1))
    assert (np.abs(noise[:, 0] - noise[:, -1].astype(float)) <= steps.max(1)).all()


def test_without_noise_none_is_mixed() -> None:
    keys = np.arange(50, dtype=np.uint64)
    draws = draw(keys, np.zeros(50, bool), AugmentConfig(noise_probability=1), NO_MATERIALS)
    assert (draws.noise_piece < 0).all() and (draws.room < 0).all() and len(bank()) == 0


def test_rows_hear_every_piece_of_noise_and_stay_inside_it() -> None:
    noise, u = bank(4, minutes=0.2), uniforms(np.arange(40_000, dtype=np.uint64), 2, stream=1)
    pieces, starts = noise.choose(u[:, 0], u[:, 1])
    noise.make(pieces)
    # recordings of 0.5 and 3 s give a piece each, of 5.5 and 8 s one and two; 12 s are generated, two at a time
    assert len(noise) == 1 + 1 + 1 + 2 + 6 and noise.seconds == pytest.approx(0.5 + 3 + 5.5 + 8 + 12)
    heard = np.bincount(pieces, minlength=len(noise)) / len(pieces)
    assert heard.min() > 0.5 / len(noise) and heard.max() < 2 / len(noise)
    assert starts.min() >= 0 and (starts + 3_000).max() <= len(noise.samples)
    loudest = np.abs(np.lib.stride_tricks.sliding_window_view(noise.samples, 3_000)[::50]).max(1)
    assert (loudest > 0).all()


def test_a_short_recording_of_noise_goes_round() -> None:
    sound = np.arange(1, 501, dtype=np.int16)
    noise = NoiseBank([("short", sound), ("empty", sound[:0])], 0.0, 3_000, 1_000, 1)
    _, starts = noise.choose(np.full(9, 0.5), np.linspace(0, 0.999, 9))
    assert len(noise) == 1 and len(set(starts.tolist())) == 9
    for start in starts:
        np.testing.assert_array_equal(noise.samples[start : start + 3_000], np.resize(np.roll(sound, -start), 3_000))


def test_a_piece_is_generated_when_it_is_taken_and_the_same_in_any_order() -> None:
    at_once, one_by_one = bank(2, minutes=0.5), bank(2, minutes=0.5)
    every = np.arange(len(at_once))
    filled = at_once.make(every)
    assert len(filled) == 15 and not at_once.make(every)
    assert sum(len(one_by_one.make(every[[piece]])) for piece in every[::-1]) == 15
    np.testing.assert_array_equal(at_once.samples, one_by_one.samples)


def test_one_more_recording_of_noise_moves_the_rows_that_choose_it_and_no_other() -> None:
    u = uniforms(np.arange(20_000, dtype=np.uint64), 2, stream=1)
    fewer, more = bank(8, minutes=1.0), bank(9, minutes=1.0)
    before, after = (one.keys[one.choose(u[:, 0], u[:, 1])[0]] for one in (fewer, more))
    moved = before != after
    assert set(after[moved]) == set(more.keys) - set(fewer.keys)
    assert moved.mean() == pytest.approx(1 - len(fewer) / len(more), rel=0.3)
