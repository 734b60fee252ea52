"""What a model costs to run: processor time, measured through the whole detector as a device would run it."""

import statistics
import time
from pathlib import Path

import numpy as np

from wakeword_core.runtime import Detector, WakewordModel

_CHUNK_SECONDS = 0.08
_LOUDNESS = 1_000.0
"""Standard deviation of the noise in int16 steps, about -30 dBFS."""
_ROUNDS = 5
_WARM_UPS, _WINDOWS = 3, 25
"""Runs of single windows that do not count, and that do."""


def cpu_ms_per_second(model_path: Path, seconds: float = 4.0) -> float:
    """Milliseconds of processor time (one thread) a second of audio takes: features, model and decision together.

    Noise of `seconds` goes through the detector in 80 ms chunks; the median of five rounds after one to warm up.
    """
    detector = Detector(WakewordModel(model_path, threads=1))
    rate = detector.model.sample_rate
    noise = np.random.default_rng(0).normal(0.0, _LOUDNESS, round(seconds * rate))
    pcm = np.clip(noise, -32_768, 32_767).astype(np.int16)
    size = round(_CHUNK_SECONDS * rate)
    chunks = [pcm[start : start + size] for start in range(0, len(pcm), size)]
    rounds = []
    for _ in range(1 + _ROUNDS):
        detector.reset()
        started = time.process_time()
        for chunk in chunks:
            detector.process(chunk)
        rounds.append(time.process_time() - started)
    return 1_000.0 * statistics.median(rounds[1:]) / seconds


def cpu_ms_per_window(model_path: Path) -> float:
    """Milliseconds of processor time (one thread) that the network takes for one window of noise: a median."""
    model = WakewordModel(model_path, threads=1)
    shape = (1, model.frontend.bands, model.frontend.window_frames)
    window = np.random.default_rng(0).normal(0.0, 1.0, shape).astype(np.float32)
    spent = []
    for _ in range(_WARM_UPS + _WINDOWS):
        started = time.process_time()
        model.score_windows(window)
        spent.append(time.process_time() - started)
    return 1_000.0 * statistics.median(spent[_WARM_UPS:])
