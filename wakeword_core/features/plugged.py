"""Front ends of other packages: what makes numbers of frames of sound, in numpy, in training and wherever a model runs.

A plug-in is given frames and gives as many rows of numbers, each of its own frame alone. So a stream gives the same
features as a whole recording, however it is cut.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from wakeword_core.config import FrontendConfig

Floats = npt.NDArray[np.float32]
_FRAMES_AT_ONCE = 2_048
_PCM_SCALE = 1.0 / 32_768.0


class PluggedFrontend:
    """Computes features by another package's front end; see `NumpyFrontend`, which it stands in for."""

    def __init__(self, frontend: FrontendConfig, sample_rate: int) -> None:
        """Make it; WakewordError where the package is broken."""
        assert frontend.plugin is not None, "the configuration demands one"
        self.frontend, self._plugin = frontend, frontend.plugin.plugin
        self._compute = self._plugin.make(frontend.plugin.settings, frontend, sample_rate)
        self.silence(1)  # which says what is wrong with its numbers before anything is built on them

    def __call__(self, audio: npt.NDArray[np.int16] | Floats) -> Floats:
        """Transform [samples], int16 or float in [-1, 1], to [bands, 1 + (samples - n_fft) // hop_length]."""
        n_fft, hop = self.frontend.n_fft, self.frontend.hop_length
        if len(audio) < n_fft:
            return np.empty((self.frontend.bands, 0), np.float32)
        scale = np.float32(_PCM_SCALE if audio.dtype == np.int16 else 1.0)
        frames = np.lib.stride_tricks.sliding_window_view(audio, n_fft)[::hop]
        features = np.empty((self.frontend.bands, len(frames)), np.float32)
        for start in range(0, len(frames), _FRAMES_AT_ONCE):
            some = frames[start : start + _FRAMES_AT_ONCE].astype(np.float32) * scale
            features[:, start : start + len(some)] = self._numbers(some).T
        return features

    def _numbers(self, frames: Floats) -> npt.NDArray[Any]:
        with self._plugin.blamed():
            numbers = np.asarray(self._compute(frames))
        wanted = (len(frames), self.frontend.bands)
        self._plugin.require(
            numbers.shape == wanted and bool(np.isfinite(numbers).all()),
            f"it gives {list(numbers.shape)} for {len(frames)} frames, and not {wanted[1]} finite numbers for each",
        )
        return numbers

    def stream(self) -> "PluggedFrontend":
        """Begin a stream, which comes in pieces, each from the first frame on that is not whole in the one before."""
        return self

    def clamp(self, windows: Floats) -> Floats:
        """Return windows as they are."""
        return windows

    def silence(self, frames: int) -> Floats:
        """Return frames of digital silence: [bands, frames]."""
        return np.repeat(self(np.zeros(self.frontend.n_fft, np.float32)), frames, axis=1)
