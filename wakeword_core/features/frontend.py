"""The log-mel front end in torch, batched, for CPU and GPU."""

import torch
from torch import nn

from wakeword_core.config import FrontendConfig
from wakeword_core.features.mel import analysis_window, mel_filterbank

_CPU_CLIPS = 8
"""Clips transformed at once on a CPU: their spectra stay inside the cache (2 to 3 times faster than 256)."""


class LogMel(nn.Module):
    """`log(mel power + log_floor)` of a batch: [batch, samples] in [-1, 1] -> [batch, n_mels, frames], no padding."""

    window: torch.Tensor
    filters: torch.Tensor

    def __init__(self, frontend: FrontendConfig, sample_rate: int) -> None:
        super().__init__()
        self.frontend = frontend
        self.register_buffer("window", torch.from_numpy(analysis_window(frontend)), persistent=False)
        self.register_buffer("filters", torch.from_numpy(mel_filterbank(frontend, sample_rate)), persistent=False)

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        """Transform a batch; each clip's features depend on that clip alone."""
        if audio.is_cuda or len(audio) <= _CPU_CLIPS:
            return self._transform(audio)
        return torch.cat([self._transform(clips) for clips in audio.split(_CPU_CLIPS)])

    def _transform(self, audio: torch.Tensor) -> torch.Tensor:
        spectrum = torch.stft(
            audio,
            n_fft=self.frontend.n_fft,
            hop_length=self.frontend.hop_length,
            window=self.window,
            center=False,
            return_complex=True,
        )
        power = spectrum.real.square() + spectrum.imag.square()
        return torch.log(self.filters @ power + self.frontend.log_floor)
