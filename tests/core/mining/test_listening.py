"""Every window of every recording is scored once, and neighbours on the tape are not heard."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wakeword_core.config import Config
from wakeword_core.mining import listening
from wakeword_core.mining.listening import Layout, listen
from wakeword_core.shards.shard_file import Recording

LAYOUT = Layout(window=6, step=2, hop=10, n_fft=25, edge=30, after=15)


def recording(samples: int, seed: int) -> Recording:
    pcm = np.random.default_rng(seed).integers(-1_000, 1_000, samples).astype(np.int16)
    return Recording(f"r{seed}", "_negative", "negative", "s", "source", samples / 16_000, np.nan, np.nan, pcm)


def score(stretches: np.ndarray) -> np.ndarray:
    """A number that every sample of a window, and its place, has a part in."""
    assert stretches.dtype == np.int16 and stretches.shape[1] == LAYOUT.samples
    return scored(stretches)


def scored(stretches: np.ndarray) -> np.ndarray:
    windows = np.lib.stride_tricks.sliding_window_view(stretches, LAYOUT.window_samples, axis=1)[:, :: LAYOUT.grid]
    return (windows @ np.sin(np.arange(LAYOUT.window_samples) + 1.0)).astype(np.float32)


def alone(one: Recording) -> tuple[np.ndarray, np.ndarray]:
    """Ends of windows and their scores, each window cut by itself from the recording with quiet around."""
    size = LAYOUT.window_samples
    padded = np.pad(one.audio, (size, size + LAYOUT.after))
    first = max(LAYOUT.n_fft, min(LAYOUT.edge, len(one.audio)))
    # on the grid on which the first whole window ends, as the runtime's
    ends = [end for end in range(size % LAYOUT.grid, len(one.audio) + LAYOUT.after + 1, LAYOUT.grid) if end >= first]
    windows = [padded[end : end + size] for end in ends]
    weights = np.sin(np.arange(size) + 1.0)
    return np.asarray(ends, dtype=np.int64), np.asarray([window @ weights for window in windows], np.float32)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 3_000), max_size=12), st.integers(3, 9), st.integers(1, 4))
def test_each_recording_is_heard_as_if_it_were_alone(lengths, steps, batch) -> None:
    recordings = [recording(samples, seed) for seed, samples in enumerate(lengths)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listening, "_STEPS", steps)
        patch.setattr(listening, "_BATCH", batch)
        heard = list(listen(recordings, score, LAYOUT))
    assert [one.recording.recording_id for one in heard] == [one.recording_id for one in recordings]
    for found in heard:
        ends, scores = alone(found.recording)
        assert np.array_equal(found.ends, ends)
        np.testing.assert_allclose(found.scores, scores, atol=0.1)


def test_before_each_stretch_the_front_end_hears_what_came_before() -> None:
    layout, heard = replace(LAYOUT, lead_in=70), []

    def after_the_lead_in(stretches: np.ndarray) -> np.ndarray:
        heard.extend(stretches)
        assert stretches.shape[1] == layout.samples == LAYOUT.samples + 70
        return scored(stretches[:, 70:])

    found = list(listen([recording(20_000, 1), recording(40, 2)], after_the_lead_in, layout))
    for one in found:
        ends, scores = alone(one.recording)
        assert np.array_equal(one.ends, ends)
        np.testing.assert_allclose(one.scores, scores, atol=0.1)
    assert not heard[0][:70].any() and len(heard) > 3
    for before, after in pairwise(heard):
        step = LAYOUT.samples - LAYOUT.window_samples + LAYOUT.grid
        assert np.array_equal(before[step:], after[: len(after) - step])


def test_no_more_is_held_than_a_batch_and_what_is_in_it() -> None:
    """Recordings are given back while later ones are still to come."""
    taken = 0

    def recordings():
        nonlocal taken
        for seed in range(100):
            taken += 1
            yield recording(6_000, seed)  # more than one stretch

    for done, _ in enumerate(listen(recordings(), score, LAYOUT)):
        assert taken - done <= 18


def test_the_layout_is_that_of_the_configured_windows() -> None:
    features = {"windows": {"edge_seconds": 0.5, "tail_seconds": 0.1}, "context": {"jitter_seconds": 0.2}}
    config = Config.model_validate({"features": features})
    layout = Layout.of(config.features, 16_000, 4)
    assert layout.window_samples == config.features.frontend.window_samples
    assert (layout.grid, layout.edge, layout.after) == (640, 8_000, 4_800)
