"""The front end in numpy: the one definition of window, filterbank and cepstra, usable where there is no torch."""

import math

import numpy as np
import numpy.typing as npt

from wakeword_core.config import FrontendConfig
from wakeword_core.features.micro import MicroFrontend

_BLOCK_FRAMES = 2048
PCM_SCALE = 1.0 / 32_768.0
DECIBELS = 10.0 / math.log(10.0)
"""In a power of e."""

Floats = npt.NDArray[np.float32]


def mel_filterbank(frontend: FrontendConfig, sample_rate: int) -> Floats:
    """Return triangular filters on the HTK mel scale, unnormalised: [n_mels, n_fft // 2 + 1]; the field's default.

    Equal to `torchaudio.functional.melscale_fbanks(norm=None, mel_scale="htk")`, transposed.
    """
    hertz = np.linspace(0.0, sample_rate / 2, frontend.n_fft // 2 + 1)
    low, high = (2595.0 * np.log10(1.0 + f / 700.0) for f in (frontend.f_min, frontend.f_max))
    edges = 700.0 * (10.0 ** (np.linspace(low, high, frontend.n_mels + 2) / 2595.0) - 1.0)
    width = np.diff(edges)
    slopes = edges[:, None] - hertz[None, :]
    rising = -slopes[:-2] / width[:-1, None]
    falling = slopes[2:] / width[1:, None]
    return np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)


def analysis_window(frontend: FrontendConfig) -> Floats:
    """Return a periodic Hann window of `win_length`, centred in `n_fft` samples."""
    n = np.arange(frontend.win_length)
    hann = 0.5 - 0.5 * np.cos(2.0 * np.pi * n / frontend.win_length)
    window = np.zeros(frontend.n_fft)
    left = (frontend.n_fft - frontend.win_length) // 2
    window[left : left + frontend.win_length] = hann
    return window.astype(np.float32)


def frame_count(samples: int, frontend: FrontendConfig) -> int:
    """Count the frames that fit whole into `samples` (no padding)."""
    return max(0, 1 + (samples - frontend.n_fft) // frontend.hop_length)


def cepstral_basis(frontend: FrontendConfig) -> Floats:
    """Return the discrete cosine transform (type 2, orthonormal) from log-mels to cepstra: [n_mels, n_mfcc]."""
    from scipy.fft import dct

    basis: Floats = dct(np.eye(frontend.n_mels), norm="ortho")[:, : frontend.n_mfcc].astype(np.float32)
    return basis


class NumpyFrontend:
    """Computes features of mono audio frame by frame; tables are made once."""

    def __init__(self, frontend: FrontendConfig, sample_rate: int) -> None:
        self.frontend = frontend
        self._window = analysis_window(frontend)
        self._filters = np.ascontiguousarray(mel_filterbank(frontend, sample_rate).T)
        self._basis = cepstral_basis(frontend) if frontend.kind == "mfcc" else None

    def __call__(self, audio: npt.NDArray[np.int16] | Floats) -> Floats:
        """Transform [samples], int16 or float in [-1, 1], to [bands, 1 + (samples - n_fft) // hop_length].

        Of mel_db the frames are not clamped yet: see `clamp`.
        """
        frames = frame_count(len(audio), self.frontend)
        features = np.empty((self.frontend.bands, frames), np.float32)
        if frames == 0:
            return features
        scale = PCM_SCALE if audio.dtype == np.int16 else 1.0
        hop, n_fft = self.frontend.hop_length, self.frontend.n_fft
        overlapping = np.lib.stride_tricks.sliding_window_view(audio, n_fft)[::hop]
        for start in range(0, frames, _BLOCK_FRAMES):
            block = overlapping[start : min(frames, start + _BLOCK_FRAMES)].astype(np.float32)
            features[:, start : start + len(block)] = self._numbers(block, np.float32(scale)).T
        return features

    def _numbers(self, frames: Floats, scale: np.float32) -> npt.NDArray[np.floating]:
        """Transform frames [frames, n_fft], which are changed and `scale` brings to [-1, 1], to numbers of each."""
        frames *= self._window * scale
        spectrum = np.fft.rfft(frames, axis=1)
        return self._compressed((spectrum.real**2 + spectrum.imag**2) @ self._filters)

    def _compressed(self, power: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        floor = self.frontend.log_floor
        if self.frontend.kind == "mel_db":
            return DECIBELS * np.log(np.maximum(power, floor))
        logs = np.log(power + floor)
        return logs if self._basis is None else logs @ self._basis

    def stream(self) -> "NumpyFrontend":
        """Begin a stream, which comes in pieces, each from the first frame on that is not whole in the one before."""
        return self

    def clamp(self, windows: Floats) -> Floats:
        """Return windows [..., bands, frames] as models get them: mel_db is cut `top_db` below the loudest value."""
        if self.frontend.kind != "mel_db":
            return windows
        clamped: Floats = np.maximum(windows, windows.max(axis=(-2, -1), keepdims=True) - self.frontend.top_db)
        return clamped

    def silence(self, frames: int) -> Floats:
        """Return frames of digital silence: [bands, frames]."""
        return np.repeat(self(np.zeros(self.frontend.n_fft, np.float32)), frames, axis=1)


class PluggedFrontend(NumpyFrontend):
    """Computes the numbers of another package: each frame's of that frame alone, so that streams give the same."""

    def __init__(self, frontend: FrontendConfig, sample_rate: int) -> None:
        """Make it; WakewordError where the package is broken."""
        super().__init__(frontend, sample_rate)
        assert frontend.plugin is not None, "the configuration demands one"
        self._plugin = frontend.plugin.plugin
        self._compute = self._plugin.make(frontend.plugin.settings, frontend, sample_rate)
        self.silence(1)  # which says what is wrong with its numbers before anything is built on them

    def _numbers(self, frames: Floats, scale: np.float32) -> npt.NDArray[np.floating]:
        with self._plugin.blamed():
            numbers = np.asarray(self._compute(frames * scale))
        wanted = (len(frames), self.frontend.bands)
        self._plugin.require(
            numbers.shape == wanted and bool(np.isfinite(numbers).all()),
            f"it gives {list(numbers.shape)} for {len(frames)} frames, and not {wanted[1]} finite numbers for each",
        )
        return numbers


FrontEnd = NumpyFrontend | MicroFrontend


def new_front_end(frontend: FrontendConfig, sample_rate: int) -> FrontEnd:
    """Make the front end of a kind."""
    if frontend.kind == "micro":
        return MicroFrontend(frontend)
    return (PluggedFrontend if frontend.kind == "plugin" else NumpyFrontend)(frontend, sample_rate)


def front_end(audio: npt.NDArray[np.int16] | Floats, frontend: FrontendConfig, sample_rate: int) -> Floats:
    """Compute features of one recording, which is one window: [samples] -> [bands, frames]; see `NumpyFrontend`."""
    features = new_front_end(frontend, sample_rate)
    frames = features(audio)
    return features.clamp(frames) if frames.size else frames
