"""Speed changes against the tones they should give, and against a resampler of another kind."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wakeword_core.features.augment import resample_from_end, source_samples, whole_steps

RATE = 16_000
WINDOW = 24_512


def tone(hertz: float, position: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(0.1 * np.sin(2 * np.pi * hertz * position / RATE)).float()[None]


@settings(max_examples=30, deadline=None)
@given(st.integers(50, 200), st.integers(1, 3_000), st.integers(0, 400), st.floats(100, 1_900))
def test_a_tone_is_played_at_its_speed_and_ends_where_it_ended(
    steps: int, window: int, more: int, hertz: float
) -> None:
    given_samples = source_samples(window, steps / 100) + more
    played = resample_from_end(tone(hertz, np.arange(given_samples)), steps, window)
    position = given_samples - 1 - np.arange(window - 1, -1, -1) * steps / 100
    error = (played - tone(hertz, position))[0, : max(1, window - 20)]
    inside = torch.from_numpy(position[: len(error)] < given_samples - 20)  # the last taps hear the silence after it
    assert played.shape == (1, window) and float((error * inside).abs().max()) < 0.1 * 0.02


def test_speed_1_changes_nothing() -> None:
    sound = torch.from_numpy(np.random.default_rng(0).standard_normal((3, 30_000))).float()
    torch.testing.assert_close(resample_from_end(sound, 100, WINDOW), sound[:, -WINDOW:], atol=1e-6, rtol=0)


def test_the_end_stays_in_place() -> None:
    audio = torch.zeros(1, 30_000)
    audio[0, -400:-300] = torch.hann_window(100)
    centre = int(resample_from_end(audio, 110, WINDOW)[0].argmax())
    assert WINDOW - 1 - centre == pytest.approx(349 / 1.1, abs=2)


def test_before_the_recording_it_is_silent() -> None:
    played = resample_from_end(tone(500, np.arange(1_000)), 50, 4_000)
    assert float(played[0, : 4_000 - 2_020].abs().max()) == 0 and float(played[0, -1_500:].abs().max()) > 0.09


def test_a_higher_speed_does_not_fold_what_it_lifts_over_the_top() -> None:
    """7.5 kHz at speed 1.2 would be 9 kHz, which a rate of 16 kHz shows as 7 kHz."""
    played = resample_from_end(tone(7_500, np.arange(40_000)), 120, WINDOW)[0, :-50]
    assert float(played.square().mean().sqrt()) < 0.1 / np.sqrt(2) * 0.5


@pytest.mark.parametrize("steps", [90, 93, 107, 110])
def test_it_agrees_with_a_polyphase_resampler(steps: int) -> None:
    from scipy.signal import firwin, lfilter, resample_poly

    low = firwin(101, 3_000, fs=RATE)
    sound = lfilter(low, [1.0], np.random.default_rng(steps).standard_normal(30_000)).astype(np.float32)
    expected = resample_poly(sound[::-1], 100, steps)[::-1]  # reversed: both begin at the end
    played = resample_from_end(torch.from_numpy(sound.copy())[None], steps, WINDOW)[0].numpy()
    middle = slice(-20_000, -200)
    error = np.sqrt(np.mean((played[middle] - expected[middle]) ** 2) / np.mean(expected[middle] ** 2))
    assert error < 0.01


def test_speeds_are_whole_hundredths() -> None:
    assert whole_steps(np.asarray([0.9, 0.994, 1.0951])).tolist() == [90, 99, 110]
