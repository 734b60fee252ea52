"""Augmentation on the device against numpy, and SpecAugment masks."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from wakeword_core.config import Config, FrontendConfig, SpecAugmentConfig, TrainAugmentConfig
from wakeword_core.features.cmvn import Cmvn
from wakeword_core.features.mel import front_end, new_front_end
from wakeword_core.models.scoring import new_model
from wakeword_core.training.data import _COLOURS, BandWarp, augment, mixup, spec_augment, time_shift
from wakeword_core.training.feed import Material
from wakeword_core.training.objective import Objective

FRONTEND = FrontendConfig()
MICRO = FrontendConfig(kind="micro")
RATE = 16_000
DB = np.log(10) / 10
OFF = {"band_warp": 0, "colour_db": 0, "gain_db": (0, 0), "noise_probability": 0, "noise_snr_db": (0, 20)}
OFF |= {"isolate_probability": 0, "isolated_frames": (5, 9), "style_probability": 0}


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(max_examples=25, deadline=None)
@given(masks=st.tuples(st.integers(0, 3), st.integers(0, 3)), longest=st.tuples(st.integers(0, 60), st.integers(0, 30)))
def test_masks_are_whole_rows_and_columns_within_bounds(masks: tuple[int, int], longest: tuple[int, int]) -> None:
    config = SpecAugmentConfig(time_masks=masks[0], time_frames=longest[0], mel_masks=masks[1], mel_bands=longest[1])
    x = torch.ones(16, 20, 50)
    zero = spec_augment(x, config, _generator()) == 0
    in_time, in_mel = zero.all(dim=1), zero.all(dim=2)
    assert torch.equal(x, torch.ones(16, 20, 50))
    if not (in_time.all() or in_mel.all()):
        whole = in_time.all(dim=1, keepdim=True) | in_mel.all(dim=1, keepdim=True)
        assert torch.equal(zero, in_time[:, None, :] | in_mel[:, :, None] | whole[:, :, None])
    hidden = zero.flatten(1).sum(1)
    most_time, most_mel = min(masks[0] * min(longest[0], 50), 50), min(masks[1] * min(longest[1], 20), 20)
    assert int(hidden.max()) <= most_time * 20 + most_mel * 50
    if 0 in (masks[0], longest[0]) and 0 in (masks[1], longest[1]):
        assert not zero.any()


def test_widths_and_places_cover_their_ranges_and_windows_differ() -> None:
    x = torch.ones(4_000, 8, 30)
    only_time = SpecAugmentConfig(time_masks=1, time_frames=10, mel_masks=0)
    zero = (spec_augment(x, only_time, _generator()) == 0)[:, 0]
    widths = zero.sum(1)
    counts = torch.bincount(widths, minlength=11)
    assert counts.numel() == 11
    assert (counts > 4_000 / 11 * 0.7).all()
    assert zero.any(dim=0).all()


def test_drawn_from_the_generator_only() -> None:
    x = torch.randn(8, 20, 50, generator=_generator(5))
    config = SpecAugmentConfig()
    state = torch.random.get_rng_state()
    assert torch.equal(spec_augment(x, config, _generator(1)), spec_augment(x, config, _generator(1)))
    assert not torch.equal(spec_augment(x, config, _generator(1)), spec_augment(x, config, _generator(2)))
    assert torch.equal(state, torch.random.get_rng_state())


def test_of_a_microcontrollers_features_what_is_masked_is_what_the_device_makes_of_quiet() -> None:
    """They are not normalised, so that a mask is no mean of theirs; sampling is that of all features."""
    pytest.importorskip("pymicro_features", reason="needs the esp extra: pip install -e '.[esp]'")
    settings = {"time_masks": 2, "time_frames": 60, "mel_masks": 2, "mel_bands": 12}
    tree = {"features": {"frontend": {"kind": "micro"}}, "training": {"spec_augment": settings}}
    config = Config.model_validate(tree)
    model = new_model(config)
    model.set_cmvn(Cmvn.of_nothing(MICRO.bands))
    rows = torch.rand(16, MICRO.bands, 301, generator=_generator(3)) * 25 + 0.5
    words = torch.full((16,), 200)
    nothing, ones = torch.zeros(16, dtype=torch.int64), torch.ones(16, dtype=torch.int64)
    objective = Objective(config, model, ones)

    def drawn(seed: int) -> torch.Tensor:
        return objective.draw(model, Material(rows, None, ones, nothing, words), _generator(seed)).x

    found = drawn(0)
    masked = found != rows
    quiet = torch.from_numpy(new_front_end(MICRO, RATE).silence(301)).expand_as(rows)
    assert torch.equal(found, torch.where(masked, quiet, rows))
    in_time, in_mel = masked.all(dim=1, keepdim=True), masked.all(dim=2, keepdim=True)
    assert torch.equal(masked, in_time | in_mel) and 0.05 < masked.float().mean() < 0.6
    assert torch.equal(found, drawn(0)) and not torch.equal(found, drawn(1))


def _mels(rows: int, frames: int = 30, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, FRONTEND.n_mels, frames, generator=_generator(seed)) * 2 - 6


def _augment(x: torch.Tensor, noise: torch.Tensor | None = None, seed: int = 0, **changes: Any) -> torch.Tensor:
    config = TrainAugmentConfig(**{**OFF, **changes})
    return augment(x, torch.arange(len(x)) % 2 == 0, noise, config, BandWarp(FRONTEND, "cpu"), _generator(seed))


def test_negative_rows_fall_silent_but_for_a_stretch() -> None:
    x = _mels(400, frames=40)
    found = _augment(x, isolate_probability=0.5)
    silent = (found == x.amin(dim=2, keepdim=True)) & (x != x.amin(dim=2, keepdim=True))
    changed = silent.flatten(1).any(1)
    assert not changed[1::2].any()  # a wake word is never cut
    assert 0.35 < changed[::2].float().mean() < 0.65
    for row in torch.nonzero(changed).flatten().tolist():
        kept = torch.nonzero((found[row] == x[row]).all(0)).flatten()
        assert 4 <= len(kept) <= 10 and int(kept[-1] - kept[0]) == len(kept) - 1
    starts = [int(torch.nonzero((found[row] == x[row]).all(0))[0]) for row in torch.nonzero(changed).flatten().tolist()]
    assert min(starts) < 5 and max(starts) > 25


def _change_db(x: torch.Tensor, **changes: Any) -> np.ndarray:
    """What is added to each band of each row, which must be the same in every frame: [rows, n_mels]."""
    added = (_augment(x, **changes) - x).double().numpy() / DB
    np.testing.assert_allclose(added, np.broadcast_to(added[:, :, :1], added.shape), atol=1e-4)
    return added[:, :, 0]


def _centres() -> np.ndarray:
    """Centre of each band in Hz, by the textbook formula."""
    low, high = (2595 * np.log10(1 + f / 700) for f in (FRONTEND.f_min, FRONTEND.f_max))
    return 700 * (10 ** (np.linspace(low, high, FRONTEND.n_mels + 2)[1:-1] / 2595) - 1)


def test_nothing_asked_is_nothing_changed() -> None:
    x = _mels(4)
    assert torch.equal(_augment(x, _mels(4, seed=1)), x)
    assert torch.equal(_augment(x, None, noise_probability=1), x)


def test_a_warp_by_one_is_none() -> None:
    x = _mels(4)
    torch.testing.assert_close(BandWarp(FRONTEND, "cpu")(x, torch.ones(4)), x, atol=1e-3, rtol=0)


def test_a_warp_reads_each_band_where_its_frequency_times_the_factor_was() -> None:
    factors = np.asarray([0.8, 0.93, 1.07, 1.25])
    x = _mels(4)
    found = BandWarp(FRONTEND, "cpu")(x, torch.from_numpy(factors).float()).numpy()
    bands, hertz = np.arange(FRONTEND.n_mels), _centres()
    mel = 2595 * np.log10(1 + hertz / 700)
    for row, factor in enumerate(factors):
        place = np.interp(2595 * np.log10(1 + hertz * factor / 700), mel, bands)
        for frame in (0, 17):
            wanted = np.interp(place, bands, x[row, :, frame].double().numpy())
            np.testing.assert_allclose(found[row, :, frame], wanted, atol=5e-3)


@pytest.mark.parametrize("factor", [0.85, 1.2])
@pytest.mark.parametrize("hertz", [600.0, 1_500.0, 3_000.0])
def test_a_tone_moves_to_its_frequency_by_the_factor(hertz: float, factor: float) -> None:
    time = np.arange(RATE // 4) / RATE
    tone, moved = (
        front_end((0.3 * np.sin(2 * np.pi * f * time)).astype(np.float32), FRONTEND, RATE)
        for f in (hertz, hertz / factor)
    )
    found = BandWarp(FRONTEND, "cpu")(torch.from_numpy(tone)[None], torch.tensor([factor]))[0].numpy()
    assert np.abs(found.argmax(0) - moved.argmax(0)).max() <= 1
    assert np.abs(tone.argmax(0) - moved.argmax(0)).min() > 1


@pytest.mark.parametrize("factor", [0.85, 1.2])
def test_the_bands_of_microcontrollers_are_where_a_warp_takes_them_to_be(factor: float) -> None:
    pytest.importorskip("pymicro_features", reason="needs the esp extra: pip install -e '.[esp]'")
    time = np.arange(RATE // 4) / RATE

    def heard(hertz: float) -> np.ndarray:
        return front_end((0.002 * np.sin(2 * np.pi * hertz * time)).astype(np.float32), MICRO, RATE)[:, :1]

    for hertz in (1_000.0, 1_700.0, 3_000.0):
        tone, moved = heard(hertz), heard(hertz / factor)
        found = BandWarp(MICRO, "cpu")(torch.from_numpy(tone)[None], torch.tensor([factor]))[0].numpy()
        assert found.min() >= 0 and found.max() <= tone.max()
        assert abs(found.argmax() - moved.argmax()) <= 1 < abs(tone.argmax() - moved.argmax())


@settings(max_examples=20, deadline=None)
@given(factor=st.floats(0.5, 1.5), level=st.floats(-14, 4))
def test_a_flat_spectrum_stays_flat_to_its_edges(factor: float, level: float) -> None:
    flat = torch.full((1, FRONTEND.n_mels, 3), level)
    torch.testing.assert_close(BandWarp(FRONTEND, "cpu")(flat, torch.tensor([factor])), flat, atol=1e-4, rtol=1e-4)


def test_factors_are_drawn_within_the_configured_stretch_for_each_row() -> None:
    x = torch.arange(FRONTEND.n_mels).float()[None, :, None].expand(400, -1, 2).contiguous()
    bands, hertz = np.arange(FRONTEND.n_mels), _centres()
    mel = 2595 * np.log10(1 + hertz / 700)
    found = _augment(x, band_warp=0.2)[:, 30, 0].double().numpy()
    factors = (700 * (10 ** (np.interp(found, bands, mel) / 2595) - 1)) / hertz[30]
    assert 0.795 < factors.min() < 0.82
    assert 1.18 < factors.max() < 1.205
    assert abs(factors.mean() - 1) < 0.03


def test_colour_is_a_smooth_curve_for_each_row_of_the_configured_strength() -> None:
    x = _mels(3_000, frames=2)
    added = _change_db(x, colour_db=3.0)
    bands = np.arange(FRONTEND.n_mels)
    curves = np.cos(np.pi * bands[:, None] * np.arange(len(_COLOURS)) / FRONTEND.n_mels)
    strength, *_ = np.linalg.lstsq(curves, added.T, rcond=None)
    np.testing.assert_allclose(curves @ strength, added.T, atol=1e-3)
    np.testing.assert_allclose(strength.std(axis=1), 3.0 * np.asarray(_COLOURS), rtol=0.06)
    assert np.abs(strength.mean(axis=1)).max() < 0.25
    independent = np.corrcoef(strength) - np.eye(len(_COLOURS))
    assert np.abs(independent).max() < 0.08
    np.testing.assert_allclose(_change_db(x, colour_db=6.0), 2 * added, atol=1e-3)


def test_gain_is_one_number_for_each_row_within_its_range() -> None:
    added = _change_db(_mels(2_000, frames=2), gain_db=(-9, 3))
    np.testing.assert_allclose(added, np.broadcast_to(added[:, :1], added.shape), atol=1e-4)
    gain = added[:, 0]
    assert -9.001 <= gain.min() < -8.9
    assert 2.9 < gain.max() <= 3.001
    assert abs(gain.mean() + 3) < 0.3
    np.testing.assert_allclose(_change_db(_mels(3), gain_db=(4, 4)), 4, atol=1e-4)


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 12.0])
def test_noise_is_added_in_power_at_the_asked_ratio(snr_db: float) -> None:
    """The level of speech is that of its loud frames, that of noise its mean."""
    x, noise = _mels(5), _mels(5, seed=1) + torch.arange(5)[:, None, None]
    found = _augment(x, noise, noise_probability=1, noise_snr_db=(snr_db, snr_db)).double().numpy()
    speech, sound = np.exp(x.double().numpy()), np.exp(noise.double().numpy())
    for row in range(5):
        loud = np.quantile(speech[row].mean(axis=0), 0.9)
        scaled = sound[row] * loud / sound[row].mean() / 10 ** (snr_db / 10)
        assert 10 * np.log10(loud / scaled.mean()) == pytest.approx(snr_db)
        np.testing.assert_allclose(found[row], np.log(speech[row] + scaled), atol=1e-4)


def test_noise_ratios_cover_their_range() -> None:
    """Silence but for one loud stretch shows the noise that was added."""
    x = torch.full((1_000, FRONTEND.n_mels, 30), -30.0)
    x[:, :, :10] = 0.0
    found = _augment(x, torch.zeros_like(x), noise_probability=1, noise_snr_db=(5, 20))
    snr_db = -found[:, 0, -1].double().numpy() / DB
    assert 4.99 < snr_db.min() < 5.2
    assert 19.8 < snr_db.max() < 20.01
    assert abs(snr_db.mean() - 12.5) < 0.6


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_noise_is_mixed_in_as_often_as_asked_and_rows_without_stay(probability: float) -> None:
    x = _mels(1_000, frames=3)
    found = _augment(x, _mels(1_000, frames=3, seed=1), noise_probability=probability)
    mixed = (found != x).flatten(1).any(1)
    assert float(mixed.float().mean()) == pytest.approx(probability, abs=0.05 if 0 < probability < 1 else 0)
    assert torch.equal(found[~mixed], x[~mixed])
    assert bool((found >= x).all())


def test_a_style_is_the_mean_and_deviation_of_bands_and_leaves_the_course_of_each() -> None:
    x = _mels(40) * torch.linspace(0.5, 2.0, 40)[:, None, None] + torch.arange(40.0)[:, None, None]
    found = _augment(x, style_probability=0.5)
    kept = torch.tensor([torch.allclose(new, old, atol=1e-4) for new, old in zip(found, x, strict=True)])
    assert 8 <= int(kept.sum()) <= 32
    unit, before = ((y - y.mean(2, keepdim=True)) / y.std(2, keepdim=True) for y in (found, x))
    torch.testing.assert_close(unit, before, atol=2e-3, rtol=0)
    # what was given lies between a row's own and another row's
    assert found.mean(2).min() >= x.mean(2).min() - 1e-3 and found.mean(2).max() <= x.mean(2).max() + 1e-3
    assert found.std(2).min() >= x.std(2).min() - 1e-3 and found.std(2).max() <= x.std(2).max() + 1e-3


def test_a_row_of_silence_gives_its_style_without_noise_out_of_nothing() -> None:
    x = torch.cat([torch.full((8, FRONTEND.n_mels, 30), -13.8), _mels(8, frames=30)])
    found = _augment(x, style_probability=1)
    assert bool(found.isfinite().all())
    assert found[:8].std(2).max() < 1e-3


def test_silent_rows_and_silent_noise_give_finite_mels() -> None:
    x = torch.cat([torch.full((1, FRONTEND.n_mels, 30), -200.0), _mels(1)])  # its power is 0 in float32
    for noise in (x, x.flip(0)):
        assert bool(_augment(x, noise, noise_probability=1, noise_snr_db=(-20, -20)).isfinite().all())


def test_augmentation_is_drawn_from_the_generator_only_and_leaves_what_it_is_given() -> None:
    everything = {"band_warp": 0.1, "colour_db": 2.0, "gain_db": (-3, 3), "noise_probability": 0.5}
    everything |= {"style_probability": 0.5}
    x, noise = _mels(6), _mels(6, seed=1)
    before = x.clone(), noise.clone()
    state = torch.random.get_rng_state()
    one, same, other = (_augment(x, noise, seed, **everything) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(x, before[0])
    assert torch.equal(noise, before[1])
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_row_is_moved_with_its_word() -> None:
    x = torch.arange(20.0).expand(200, 3, 20).contiguous()
    ends = torch.tensor([10, -1, 1, 19]).repeat(50)
    moved, after = time_shift(x, ends, 4, 9, torch.Generator().manual_seed(0))
    words = ends >= 0
    assert torch.equal(moved[words, 0].gather(1, after[words, None])[:, 0], ends[words].float())
    assert bool((after[~words] == -1).all()) and after.max() <= 19
    # no earlier than a window of 9 frames ends, where a word would be cut, or than it was
    assert {int(one) for one in (after - ends)[ends == 10]} == set(range(-2, 5))
    assert {int(one) for one in (after - ends)[ends == 1]} == set(range(0, 5))
    starts = moved[ends == -1, 0, 10] - 10
    assert {int(one) for one in starts} == set(range(-4, 5))
    assert bool((moved.diff(dim=2) >= 0).all()) and float(moved.min()) == 0 and float(moved.max()) == 19
    same, still = time_shift(x, ends, 0, 9, torch.Generator())
    assert same is x and still is ends


def test_rows_are_mixed_with_others_of_their_batch() -> None:
    x = torch.randn(9, 4, 5, generator=torch.Generator().manual_seed(1))
    shares = []
    for seed in range(300):
        mixed, partners, share = mixup(x, 0.4, torch.Generator().manual_seed(seed))
        torch.testing.assert_close(mixed, share * x + (1 - share) * x[partners])
        assert sorted(partners.tolist()) == list(range(9)) and 0.5 <= share <= 1.0
        shares.append(share)
    expected = stats.beta(0.4, 0.4).rvs(100_000, random_state=0)
    assert stats.kstest(shares, np.maximum(expected, 1 - expected)).pvalue > 0.01
    same, partners, share = mixup(x, 0.0, torch.Generator())
    assert same is x and partners.tolist() == list(range(9)) and share == 1.0
