"""The front end in torch, batched, for CPU and GPU."""

import torch
from torch import nn

from wakeword_core.config import FrontendConfig
from wakeword_core.features.mel import analysis_window, mel_filterbank

_CPU_FRAMES = 1_200
"""Frames transformed at once on a CPU: their spectra stay inside the cache."""


class LogMel(nn.Module):
    """`log(mel power + log_floor)` of a batch: [batch, samples] in [-1, 1] -> [batch, n_mels, frames], no padding."""

    window: torch.Tensor
    filters: torch.Tensor

    def __init__(self, frontend: FrontendConfig, sample_rate: int) -> None:
        super().__init__()
        self.frontend = frontend
        self.register_buffer("window", torch.from_numpy(analysis_window(frontend)), persistent=False)
        filters = torch.from_numpy(mel_filterbank(frontend, sample_rate)).T.contiguous()
        self.register_buffer("filters", filters, persistent=False)

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        """Transform a batch; each clip's features depend on that clip alone."""
        frames = 1 + (audio.shape[1] - self.frontend.n_fft) // self.frontend.hop_length
        clips = len(audio) if audio.is_cuda else max(1, _CPU_FRAMES // frames)
        mel = audio.new_empty(len(audio), self.frontend.n_mels, frames)
        for start in range(0, len(audio), clips):
            mel[start : start + clips] = self._transform(audio[start : start + clips])
        return mel

    def _transform(self, audio: torch.Tensor) -> torch.Tensor:
        frames = audio.unfold(1, self.frontend.n_fft, self.frontend.hop_length) * self.window
        squares = torch.view_as_real(torch.fft.rfft(frames)).square_()
        power = squares[..., 0] + squares[..., 1]
        return (power @ self.filters).add_(self.frontend.log_floor).log_().transpose(1, 2)
