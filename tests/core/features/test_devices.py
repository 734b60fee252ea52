"""Each device does what it says, moves nothing, and is the same for a row however it is batched."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from wakeword_core.config import AugmentConfig
from wakeword_core.features.devices import Devices, DeviceSounds, bend, cut_off, draw_devices, filter_rows, mu_law

RATE = 16_000
SAMPLES = 24_512
ALWAYS = AugmentConfig(device_probability=1)


def drawn(rows: int, augment: AugmentConfig = ALWAYS) -> Devices:
    return draw_devices(np.arange(rows, dtype=np.uint64), np.zeros(rows, bool), augment)


def plain(rows: int = 1, **changes: object) -> Devices:
    """Devices with no colour and the widest band, but for the changes."""
    nothing = drawn(rows, AugmentConfig(device_probability=1, device_colour_db=0, device_low_cut_hz=(50, 50)))
    off = {"telephone": np.zeros(rows, bool), "high_cut_hz": np.full(rows, np.inf, np.float32)}
    values = {**off, "low_cut_hz": np.full(rows, 50, np.float32), "overload_db": np.zeros(rows, np.float32), **changes}
    return replace(nothing, **{name: np.asarray(value) for name, value in values.items()})


def heard(sound: np.ndarray, devices: Devices, rate: int = RATE) -> np.ndarray:
    audio = torch.from_numpy(np.atleast_2d(sound).astype(np.float32).copy())
    DeviceSounds(rate).apply(audio, devices)
    return audio.numpy()


def noise(rows: int = 1, samples: int = SAMPLES) -> np.ndarray:
    return np.random.default_rng(rows).standard_normal((rows, samples)) * 0.05


def tone(hertz: float, peak: float = 0.5) -> np.ndarray:
    return peak * np.sin(2 * np.pi * hertz * np.arange(SAMPLES) / RATE)


def decibels(sound: np.ndarray, low: float, high: float) -> float:
    """Power between two frequencies, away from the edges of the row."""
    middle = sound.ravel()[1_000:-1_000] * np.hanning(sound.size - 2_000)
    inside = slice(*(round(edge * len(middle) / RATE) for edge in (low, high)))
    return float(10 * np.log10((np.abs(np.fft.rfft(middle)[inside]) ** 2).sum() + 1e-20))


def g711(pcm: int) -> int:
    """What a 16-bit sample is after mu-law, by the integers of the recommendation."""
    magnitude = min(abs(pcm), 32_635) + 132
    exponent = magnitude.bit_length() - 8
    mantissa = (magnitude >> (exponent + 3)) & 15
    decoded = (((mantissa << 3) + 132) << exponent) - 132
    return -decoded if pcm < 0 else decoded


def test_mu_law_is_that_of_the_recommendation_for_every_sample() -> None:
    pcm = np.arange(-32_768, 32_768)
    found = mu_law(torch.from_numpy(pcm / 32_768).float())
    assert (found * 32_768).tolist() == [g711(one) for one in pcm.tolist()]
    assert len(found.unique()) == 255 and float(mu_law(torch.zeros(1))) == 0
    assert mu_law(torch.tensor([-3.0, 3.0])).tolist() == [-32_124 / 32_768, 32_124 / 32_768]


def test_a_filter_is_the_convolution_with_symmetric_taps() -> None:
    responses, sound = DeviceSounds(RATE).responses(drawn(3)), noise(3, 7_000).astype(np.float32)
    found = filter_rows(torch.from_numpy(sound), responses).numpy()
    for response, row, filtered in zip(responses.astype(float), sound, found, strict=True):
        reach = len(response) - 1
        taps = np.roll(np.fft.irfft(response), reach)
        taps = np.append(taps, taps[0])
        taps[[0, -1]] /= 2
        np.testing.assert_allclose(filtered, np.convolve(row, taps)[reach:-reach], atol=1e-6)


@pytest.mark.parametrize("place", [0, 511, 3_071, 3_072, 12_000, SAMPLES - 1])
def test_an_impulse_stays_where_it_is_and_nothing_is_heard_far_from_it(place: int) -> None:
    sound = np.zeros(SAMPLES)
    sound[place] = 0.5
    for row in heard(sound.reshape(1, -1).repeat(40, 0), replace(drawn(40), overload_db=np.zeros(40))):
        # an edge of a telephone's samples may lie between two of the row's
        assert abs(int(np.abs(row).argmax()) - place) <= 1
        far = np.abs(np.arange(SAMPLES) - place) > 1_100
        assert np.abs(row[far]).max() < 1e-4 * 0.5


def test_a_word_stays_where_it_is_through_every_device() -> None:
    word = np.zeros(SAMPLES)
    word[12_000:16_000] = noise(samples=4_000)[0] * np.hanning(4_000)
    for row in heard(word.reshape(1, -1).repeat(60, 0), drawn(60)):
        agreement = np.fft.irfft(np.fft.rfft(row, 65_536) * np.fft.rfft(word, 65_536).conj())
        assert int(agreement.argmax()) in (0, 1, 65_535)
        assert np.abs(np.append(row[:11_000], row[17_000:])).max() < 1e-3 * np.abs(row).max()


@pytest.mark.parametrize("edge", [4_000.0, 5_500.0, 7_000.0])
def test_a_narrow_band_leaves_out_what_is_above_it(edge: float) -> None:
    sound = noise()
    narrow = heard(sound, plain(high_cut_hz=[np.float32(edge)]))
    assert decibels(narrow, 1_000, edge * 0.9) == pytest.approx(decibels(sound, 1_000, edge * 0.9), abs=0.3)
    assert decibels(narrow, edge * 1.12, 8_000) < decibels(sound, edge * 1.12, 8_000) - 30


@pytest.mark.parametrize("edge", [80.0, 300.0])
def test_a_microphone_hears_little_of_what_is_low(edge: float) -> None:
    sound = noise()
    thin = heard(sound, plain(low_cut_hz=[np.float32(edge)]))
    assert decibels(thin, edge * 2, 7_900) == pytest.approx(decibels(sound, edge * 2, 7_900), abs=0.3)
    assert decibels(thin, 20, edge / 2) < decibels(sound, 20, edge / 2) - 20


def test_colours_differ_are_smooth_and_stay_within_the_most() -> None:
    augment = AugmentConfig(device_probability=1, device_colour_db=8)
    devices = replace(drawn(400, augment), low_cut_hz=np.full(400, 1e-3), high_cut_hz=np.full(400, np.inf))
    curves = 20 * np.log10(DeviceSounds(RATE).responses(devices)[:, 1:])
    assert np.abs(curves).max() <= 8.001 and np.abs(curves).max() > 6
    assert curves.std(0).min() > 1.5
    octaves = np.log2(np.arange(1, curves.shape[1] + 1))
    assert np.abs(np.diff(curves, axis=1) / np.diff(octaves)).max() < 20  # dB an octave


def test_a_telephone_has_its_band_and_its_coarse_steps() -> None:
    devices = plain(telephone=[True], high_cut_hz=[np.float32(3_400)], low_cut_hz=[np.float32(300)])
    sound = noise()
    assert decibels(heard(sound, devices), 4_300, 8_000) < decibels(sound, 4_300, 8_000) - 30
    found = heard(tone(1_000), devices)
    assert decibels(found, 990, 1_010) == pytest.approx(decibels(tone(1_000), 990, 1_010), abs=0.3)
    ratio = decibels(found, 990, 1_010) - np.logaddexp(decibels(found, 100, 980), decibels(found, 1_020, 3_900))
    assert 33 < ratio < 45  # 38 dB is what mu-law leaves of a loud sound


@pytest.mark.parametrize("limit", [cut_off, bend])
def test_overload_is_louder_but_no_higher(limit) -> None:
    sound = torch.from_numpy(np.stack([tone(440), tone(440, 0.01)])).float()
    found = limit(sound, torch.tensor([4.0, 4.0]))
    peaks = sound.abs().amax(1)
    assert bool((found.abs().amax(1) <= peaks * 1.000_001).all())
    assert bool((found.square().mean(1) > 1.3 * sound.square().mean(1)).all())
    assert decibels(found[0].numpy(), 1_300, 1_340) > decibels(sound[0].numpy(), 1_300, 1_340) + 20
    assert torch.equal(torch.sign(found), torch.sign(sound))
    still = limit(torch.zeros(2, 9), torch.tensor([4.0, 1.0]))
    assert torch.equal(still, torch.zeros(2, 9))


def test_what_clipping_adds_above_a_codecs_band_is_left_out_with_the_rest() -> None:
    devices = plain(overload_db=[np.float32(15)], high_cut_hz=[np.float32(4_000)], hard=[True])
    wide, found = (heard(tone(900), one) for one in (replace(devices, high_cut_hz=np.asarray([np.inf])), devices))
    assert decibels(found, 2_600, 2_800) == pytest.approx(decibels(wide, 2_600, 2_800), abs=0.1)
    assert decibels(found, 4_400, 4_600) < decibels(wide, 4_400, 4_600) - 30


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 44_100, 48_000])
def test_any_rate_and_any_sound_give_finite_sound(rate: int) -> None:
    silent, full = np.zeros((40, 5_000)), np.sign(noise(40, 5_000)) * 1.5
    assert np.abs(heard(silent, drawn(40), rate)).max() == 0
    found = heard(full, drawn(40), rate)
    assert np.isfinite(found).all() and 0.1 < np.abs(found).max() < 6
    assert np.isfinite(heard(np.full((40, 5_000), 1.0), drawn(40), rate)).all()


def test_a_row_is_the_same_alone_and_in_any_batch() -> None:
    devices, sound = drawn(30), noise(30)
    together = heard(sound, devices)
    for row in range(30):
        some = np.asarray([row])
        np.testing.assert_array_equal(heard(sound[some], devices[some])[0], together[row])
    backwards = np.arange(30)[::-1]
    np.testing.assert_array_equal(heard(sound[backwards], devices[backwards]), together[backwards])


def test_shares_and_ranges_are_kept() -> None:
    devices = drawn(20_000, AugmentConfig(device_probability=0.5))
    assert devices.used.mean() == pytest.approx(0.5, abs=0.02)
    used = devices[devices.used]
    assert used.telephone.mean() == pytest.approx(0.2, abs=0.02)
    assert np.isfinite(used.high_cut_hz).mean() == pytest.approx(0.6, abs=0.02)
    assert (used.overload_db > 0).mean() == pytest.approx(0.3, abs=0.02)
    assert set(used.high_cut_hz[used.telephone]) == {3_400} and set(used.low_cut_hz[used.telephone]) == {300}
    others = used[~used.telephone & np.isfinite(used.high_cut_hz)]
    for found, (low, high) in (
        (others.high_cut_hz, ALWAYS.device_high_cut_hz),
        (others.low_cut_hz, ALWAYS.device_low_cut_hz),
        (others.overload_db[others.overload_db > 0], ALWAYS.device_overload_db),
    ):
        assert low <= found.min() < low * 1.1 and high * 0.95 < found.max() <= high


def test_clean_rows_and_probability_0_have_no_device() -> None:
    keys = np.arange(50, dtype=np.uint64)
    for devices in (draw_devices(keys, np.ones(50, bool), ALWAYS), drawn(50, AugmentConfig(device_probability=0))):
        assert not devices.used.any() and not devices.telephone.any() and not devices.overload_db.any()
        sound = noise(50, 500).astype(np.float32) * 99
        np.testing.assert_array_equal(heard(sound, devices), sound)


def test_a_device_depends_on_the_key_alone() -> None:
    every, some = drawn(100), np.asarray([3, 77, 5])
    again = draw_devices(some.astype(np.uint64), np.zeros(3, bool), ALWAYS)
    for field in fields(Devices):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(every[some], field.name))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_agrees_with_a_cpu_but_for_a_step_of_a_telephone_here_and_there() -> None:
    devices, sound = drawn(60), torch.from_numpy(noise(60)).float()
    on_gpu = sound.cuda()
    DeviceSounds(RATE).apply(on_gpu, devices)
    error = np.abs(on_gpu.cpu().numpy() - heard(sound.numpy(), devices))
    assert error[~devices.telephone].max() < 1e-5
    assert np.quantile(error[devices.telephone], 0.999) < 1e-5 and error.max() < 0.02
