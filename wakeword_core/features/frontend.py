"""Copying sound to a device, CPU or GPU, and the front end in torch."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from wakeword_core.audio import to_pcm16
from wakeword_core.config import FrontendConfig
from wakeword_core.features.mel import (
    DECIBELS,
    PluggedFrontend,
    analysis_window,
    cepstral_basis,
    frame_count,
    mel_filterbank,
)
from wakeword_core.features.micro import MicroFrontend

_CPU_FRAMES = 600
"""Frames transformed at once on a CPU: their spectra stay inside the cache."""
_GROUPS = 4
"""Neighbouring bands are summed together over the bins that they cover: a quarter of the whole product."""


def on_device(array: npt.NDArray[Any], device: torch.device) -> torch.Tensor:
    """Put an array on the device: itself on a CPU, else a copy that waits for its turn in the current stream.

    The copy goes through pinned memory, so that neither side waits for the other; torch keeps that memory and uses it
    again once the copy is made.
    """
    tensor = torch.from_numpy(array)
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


class TorchFrontend(nn.Module):
    """Computes features of windows: [batch, samples] in [-1, 1] -> [batch, bands, frames].

    Log-mels are `log(mel power + log_floor)`; nothing is padded.
    """

    window: torch.Tensor

    def __init__(self, frontend: FrontendConfig, sample_rate: int) -> None:
        super().__init__()
        self.frontend = frontend
        self.register_buffer("window", torch.from_numpy(analysis_window(frontend)), persistent=False)
        # real and imaginary parts lie side by side, so that each filter is there for both
        filters = torch.from_numpy(mel_filterbank(frontend, sample_rate)).T.repeat_interleave(2, 0)
        self._bins: list[tuple[int, int]] = []
        for number, group in enumerate(filters.tensor_split(_GROUPS, dim=1)):
            bins = torch.nonzero(group.any(dim=1)).flatten()
            low, high = (int(bins[0]), int(bins[-1]) + 1) if len(bins) else (0, 1)
            self._bins.append((low, high))
            self.register_buffer(f"filters_{number}", group[low:high].contiguous(), persistent=False)
        if frontend.kind == "mfcc":
            self.register_buffer("basis", torch.from_numpy(cepstral_basis(frontend)), persistent=False)

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        """Transform a batch; each clip's features depend on that clip alone."""
        frames = frame_count(audio.shape[1], self.frontend)
        clips = len(audio) if audio.is_cuda else max(1, _CPU_FRAMES // max(frames, 1))
        features = audio.new_empty(len(audio), self.frontend.bands, frames)
        for start in range(0, len(audio) if frames else 0, clips):
            features[start : start + clips] = self._transform(audio[start : start + clips])
        return features

    def _transform(self, audio: torch.Tensor) -> torch.Tensor:
        frames = audio.unfold(1, self.frontend.n_fft, self.frontend.hop_length) * self.window
        squares = torch.view_as_real(torch.fft.rfft(frames)).square_().flatten(-2)
        bands = [squares[..., low:high] @ self.get_buffer(f"filters_{i}") for i, (low, high) in enumerate(self._bins)]
        return self._compressed(torch.cat(bands, dim=-1)).transpose(1, 2)

    def _compressed(self, power: torch.Tensor) -> torch.Tensor:
        floor = self.frontend.log_floor
        if self.frontend.kind == "mel_db":
            decibels = power.clamp_min_(floor).log_().mul_(DECIBELS)
            return torch.maximum(decibels, decibels.amax(dim=(1, 2), keepdim=True) - self.frontend.top_db)
        logs = power.add_(floor).log_()
        return logs @ self.get_buffer("basis") if self.frontend.kind == "mfcc" else logs


class MicroRows(nn.Module):
    """Computes the features of microcontrollers on a CPU: [batch, lead-in and samples] -> [batch, bands, frames].

    Each row is a stream of its own, of which the lead-in is heard and left out.
    """

    def __init__(self, frontend: FrontendConfig) -> None:
        super().__init__()
        self._front_end = MicroFrontend(frontend)
        self._lead_in = frontend.lead_in_samples // frontend.hop_length

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        """Transform a batch, in 16 bits as a device hears it; each row's features depend on that row alone."""
        pcm = to_pcm16(audio.cpu().numpy())
        rows = [self._front_end(row)[:, self._lead_in :] for row in pcm]
        return torch.from_numpy(np.stack(rows)).to(audio.device)


class PluggedRows(nn.Module):
    """Computes the features of another package on a CPU: [batch, samples] in [-1, 1] -> [batch, bands, frames]."""

    def __init__(self, frontend: FrontendConfig, sample_rate: int) -> None:
        super().__init__()
        self._front_end = PluggedFrontend(frontend, sample_rate)

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        """Transform a batch; each row's features depend on that row alone."""
        rows = [self._front_end(row) for row in audio.cpu().numpy()]
        return torch.from_numpy(np.stack(rows)).to(audio.device)


def row_front_end(frontend: FrontendConfig, sample_rate: int) -> nn.Module:
    """Make the front end of a kind for rows that have their lead-in, if any, in front."""
    if frontend.kind == "micro":
        return MicroRows(frontend)
    return (PluggedRows if frontend.kind == "plugin" else TorchFrontend)(frontend, sample_rate)
