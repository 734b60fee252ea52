"""The front end against torchaudio and against itself in torch."""

import numpy as np
import pytest
import torch
import torchaudio
from hypothesis import given, settings
from hypothesis import strategies as st

from wakeword_core.config import FrontendConfig
from wakeword_core.features.frontend import LogMel
from wakeword_core.features.mel import frame_count, log_mel, mel_filterbank

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


@pytest.mark.parametrize("front_end", ["numpy", "torch"])
def test_log_mel_is_torchaudios_within_1e_4(front_end: str, noise: np.ndarray) -> None:
    frontend = FrontendConfig()
    reference = torchaudio.transforms.MelSpectrogram(
        RATE,
        n_fft=frontend.n_fft,
        win_length=frontend.win_length,
        hop_length=frontend.hop_length,
        f_min=frontend.f_min,
        f_max=frontend.f_max,
        n_mels=frontend.n_mels,
        center=False,
    )(torch.from_numpy(noise))
    expected = torch.log(reference + frontend.log_floor).numpy()
    if front_end == "numpy":
        ours = log_mel(noise, frontend, RATE)
    else:
        ours = LogMel(frontend, RATE)(torch.from_numpy(noise)[None])[0].numpy()
    assert ours.shape == expected.shape
    np.testing.assert_allclose(ours, expected, atol=1e-4)


def test_int16_and_float_give_the_same(noise: np.ndarray) -> None:
    pcm = np.rint(noise * 32768).astype(np.int16)
    as_float = pcm.astype(np.float32) / 32768
    np.testing.assert_allclose(
        log_mel(pcm, FrontendConfig(), RATE), log_mel(as_float, FrontendConfig(), RATE), atol=1e-5
    )


def test_a_clip_does_not_depend_on_its_neighbours(noise: np.ndarray) -> None:
    transform = LogMel(FrontendConfig(), RATE)
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
    assert log_mel(np.zeros(10, np.int16), FrontendConfig(), RATE).shape == (64, 0)


def test_silence_is_the_floor() -> None:
    mel = log_mel(np.zeros(2_000, np.int16), FrontendConfig(), RATE)
    np.testing.assert_allclose(mel, np.log(1e-6), rtol=1e-5)


@settings(max_examples=15, deadline=None)
@given(frames=st.integers(1, 5_000))
def test_blocks_join_without_a_seam(frames: int) -> None:
    frontend = FrontendConfig(n_mels=16, n_fft=128, win_length=128, hop_length=64)
    pcm = np.random.default_rng(frames).integers(-3_000, 3_000, (frames - 1) * 64 + 128).astype(np.int16)
    whole = log_mel(pcm, frontend, RATE)
    last = log_mel(pcm[-128:], frontend, RATE)
    assert whole.shape[1] == frames
    np.testing.assert_allclose(whole[:, -1:], last, atol=1e-4)
