"""The front end against torchaudio and against itself in torch."""

import numpy as np
import pytest
import torch
import torchaudio
from hypothesis import given, settings
from hypothesis import strategies as st

from wakeword_core.config import Config, FrontendConfig
from wakeword_core.features.frontend import TorchFrontend
from wakeword_core.features.mel import NumpyFrontend, frame_count, front_end, mel_filterbank

RATE = 16_000


@pytest.fixture
def noise() -> np.ndarray:
    return (np.random.default_rng(0).standard_normal(RATE * 2) * 0.1).astype(np.float32)


@pytest.mark.parametrize("n_mels", [40, 64, 80])
def test_filterbank_is_torchaudios(n_mels: int) -> None:
    frontend = FrontendConfig(n_mels=n_mels)
    reference = torchaudio.functional.melscale_fbanks(
        frontend.n_fft // 2 + 1, frontend.f_min, frontend.f_max, n_mels, RATE, norm=None, mel_scale="htk"
    )
    np.testing.assert_allclose(mel_filterbank(frontend, RATE), reference.numpy().T, atol=1e-5)


def test_every_band_of_the_default_hears_something() -> None:
    assert (mel_filterbank(FrontendConfig(), RATE).sum(1) > 0).all()


def torchaudios(frontend: FrontendConfig, sound: np.ndarray) -> np.ndarray:
    spectrum = {
        "n_fft": frontend.n_fft,
        "win_length": frontend.win_length,
        "hop_length": frontend.hop_length,
        "f_min": frontend.f_min,
        "f_max": frontend.f_max,
        "n_mels": frontend.n_mels,
        "center": False,
    }
    if frontend.kind == "mfcc":
        mfcc = torchaudio.transforms.MFCC(RATE, frontend.n_mfcc, log_mels=True, melkwargs=spectrum)
        return mfcc(torch.from_numpy(sound)).numpy()
    power = torchaudio.transforms.MelSpectrogram(RATE, **spectrum)(torch.from_numpy(sound))
    if frontend.kind == "log_mel":
        return torch.log(power + frontend.log_floor).numpy()
    return torchaudio.functional.amplitude_to_DB(power, 10.0, frontend.log_floor, 0.0, frontend.top_db).numpy()


@pytest.mark.parametrize("implementation", ["numpy", "torch"])
@pytest.mark.parametrize("settings", [{}, {"kind": "mfcc", "n_mfcc": 13}, {"kind": "mel_db", "log_floor": 1e-10}])
def test_features_are_torchaudios_within_1e_4(settings: dict, implementation: str, noise: np.ndarray) -> None:
    frontend, sound = FrontendConfig(**settings), noise.copy()
    sound[:RATE] *= 1e-5  # far below the rest: top_db cuts it
    expected = torchaudios(frontend, sound)
    if implementation == "numpy":
        ours = front_end(sound, frontend, RATE)
    else:
        ours = TorchFrontend(frontend, RATE)(torch.from_numpy(sound)[None])[0].numpy()
    assert ours.shape == expected.shape == (frontend.bands, frame_count(len(sound), frontend))
    np.testing.assert_allclose(ours, expected, atol=1e-4, rtol=1e-5)


def test_decibels_are_clamped_by_the_clip_and_not_by_the_batch(noise: np.ndarray) -> None:
    frontend = FrontendConfig(kind="mel_db", top_db=30)
    loud, quiet = torch.from_numpy(noise), torch.from_numpy(noise * 1e-3)
    together = TorchFrontend(frontend, RATE)(torch.stack([loud, quiet]))
    torch.testing.assert_close(together[1], TorchFrontend(frontend, RATE)(quiet[None])[0])
    for clip in together:
        assert float(clip.max() - clip.min()) <= 30 + 1e-4
    frames = NumpyFrontend(frontend, RATE)
    windows = np.stack([frames(one.numpy()) for one in (loud, quiet)])
    assert np.ptp(windows[0]) > 30
    np.testing.assert_allclose(frames.clamp(windows), together.numpy(), atol=1e-4, rtol=1e-5)
    np.testing.assert_array_equal(frames.clamp(frames.clamp(windows)), frames.clamp(windows))


@pytest.mark.parametrize("kind", ["log_mel", "mel_db", "mfcc"])
def test_silence_is_what_zeros_give(kind: str) -> None:
    frames = NumpyFrontend(FrontendConfig(kind=kind), RATE)
    np.testing.assert_allclose(frames.silence(7), frames(np.zeros(512 + 6 * 160, np.int16)), atol=1e-4)


def test_what_does_not_fit_together_is_refused() -> None:
    off = {"noise_probability": 0, "band_warp": 0, "colour_db": 0}
    with pytest.raises(ValueError, match=r"context\.frames=0"):
        Config.model_validate({"features": {"frontend": {"kind": "mel_db"}}, "training": {"augment": off}})
    with pytest.raises(ValueError, match=r"colour_db .* cannot change the features of .* mfcc"):
        Config.model_validate({"features": {"frontend": {"kind": "mfcc"}}, "training": {"augment": {"colour_db": 2}}})
    with pytest.raises(ValueError, match="n_mfcc"):
        FrontendConfig(kind="mfcc", n_mfcc=65)
    Config.model_validate({"features": {"frontend": {"kind": "mfcc"}}, "training": {"augment": off}})


def test_int16_and_float_give_the_same(noise: np.ndarray) -> None:
    pcm = np.rint(noise * 32768).astype(np.int16)
    as_float = pcm.astype(np.float32) / 32768
    np.testing.assert_allclose(
        front_end(pcm, FrontendConfig(), RATE), front_end(as_float, FrontendConfig(), RATE), atol=1e-5
    )


def test_a_clip_does_not_depend_on_its_neighbours(noise: np.ndarray) -> None:
    transform = TorchFrontend(FrontendConfig(), RATE)
    clip = torch.from_numpy(noise)
    alone = transform(clip[None])[0]
    crowd = transform(torch.stack([clip * 50, clip, *[clip * 0.001] * 20]))[1]
    torch.testing.assert_close(crowd, alone, rtol=0, atol=1e-5)


def test_a_window_has_exactly_its_frames() -> None:
    frontend = FrontendConfig()
    assert frame_count(frontend.window_samples, frontend) == frontend.window_frames == 151
    assert frame_count(frontend.window_samples - 1, frontend) == 150
    assert frame_count(frontend.n_fft - 1, frontend) == 0


def test_audio_shorter_than_a_frame_gives_no_frames() -> None:
    assert front_end(np.zeros(10, np.int16), FrontendConfig(), RATE).shape == (64, 0)


def test_silence_is_the_floor() -> None:
    mel = front_end(np.zeros(2_000, np.int16), FrontendConfig(), RATE)
    np.testing.assert_allclose(mel, np.log(1e-6), rtol=1e-5)


@settings(max_examples=15, deadline=None)
@given(frames=st.integers(1, 5_000))
def test_blocks_join_without_a_seam(frames: int) -> None:
    frontend = FrontendConfig(n_mels=16, n_fft=128, win_length=128, hop_length=64)
    pcm = np.random.default_rng(frames).integers(-3_000, 3_000, (frames - 1) * 64 + 128).astype(np.int16)
    whole = front_end(pcm, frontend, RATE)
    last = front_end(pcm[-128:], frontend, RATE)
    assert whole.shape[1] == frames
    np.testing.assert_allclose(whole[:, -1:], last, atol=1e-4)
