"""Augmentation of whole batches of log-mels on the device, drawn anew for every batch.

Voices, microphones and noise that no stored view has: bands are shifted as by another vocal tract, coloured as by
another microphone, and noise is added in the power domain, which is where independent sounds add up.
"""

import math

import torch
from scipy.special import betaincinv
from torch import Tensor

from wakeword_core.config import FrontendConfig, SpecAugmentConfig, TrainAugmentConfig

_NEPERS_A_DB = math.log(10) / 10
"""Log-mels are natural logarithms of power."""
_COLOURS = (1.0, 1.0, 0.7, 0.5, 0.35)
"""Share of the configured deviation that each cosine over the bands gets, from level to ripple."""
_LOUD_SHARE = 0.9
"""A row's level is that of its frame at this quantile: its pauses do not count."""
_LEAST_POWER = 1e-9


class BandWarp:
    """Vocal tract length perturbation (Jaitly and Hinton 2013): each row's spectrum is stretched along frequency."""

    def __init__(self, frontend: FrontendConfig, device: torch.device | str) -> None:
        low, high = (_mel(torch.tensor(f, dtype=torch.float64)) for f in (frontend.f_min, frontend.f_max))
        self._low, self._step = float(low), float((high - low) / (frontend.n_mels + 1))
        centres = self._low + self._step * torch.arange(1, frontend.n_mels + 1, dtype=torch.float64)
        self._hertz = (700.0 * (10.0 ** (centres / 2595.0) - 1.0)).float().to(device)

    def __call__(self, x: Tensor, factors: Tensor) -> Tensor:
        """x [batch, n_mels, frames]; what was at f goes to f / factor, for factors [batch]; edges repeat."""
        bands = len(self._hertz)
        source = (_mel(self._hertz[None] * factors[:, None]) - self._low) / self._step - 1
        distance = (source.clamp(0, bands - 1)[:, :, None] - torch.arange(bands, device=x.device)).abs()
        return torch.bmm((1 - distance).clamp_min(0), x)


def augment(
    x: Tensor,
    negative: Tensor,
    noise: Tensor | None,
    config: TrainAugmentConfig,
    warp: BandWarp,
    generator: torch.Generator,
) -> Tensor:
    """Log-mels x [batch, n_mels, frames] in float32, changed row by row; `noise` is alike and may be mixed in.

    `negative` [batch] tells rows without a wake word. `generator` must be on the device of `x`; `x` is not changed.
    """
    if config.isolate_probability > 0:
        x = _isolated(x, negative, config, generator)
    if config.band_warp > 0:
        x = warp(x, 1 + config.band_warp * (2 * _uniform(len(x), generator) - 1))
    x = x + _colour(x, config, generator)[:, :, None]
    if noise is not None and config.noise_probability > 0:
        x = _with_noise(x, noise, config, generator)
    return x


def time_shift(
    x: Tensor, word_ends: Tensor, most: int, window: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Rows x [batch, n_mels, frames] moved by up to `most` frames either way, edges repeated; and their words' ends.

    `word_ends` [batch] is the last frame of each word, or negative; a word is not moved out of its row: it ends in it,
    and not earlier than a `window` of frames does, or than it did. Moves are whole frames. `generator` must be on the
    device of `x`, which is not changed.
    """
    if most == 0:
        return x, word_ends
    last = x.shape[2] - 1
    moves = torch.randint(-most, most + 1, (len(x),), generator=generator, device=x.device)
    earliest = word_ends.clamp(max=min(window - 1, last))
    moved = torch.where(word_ends < 0, word_ends, (word_ends + moves).clamp(max=last).maximum(earliest))
    moves = torch.where(word_ends < 0, moves, moved - word_ends)
    source = (torch.arange(last + 1, device=x.device) - moves[:, None]).clamp(0, last)
    return x.gather(2, source[:, None].expand_as(x)), moved


def mixup(x: Tensor, alpha: float, generator: torch.Generator) -> tuple[Tensor, Tensor, float]:
    """Rows of a batch x [batch, ...] mixed with each other (Zhang et al. 2018): the mixture, partners [batch], a share.

    The share, of the row itself, is the larger part of a draw from Beta(alpha, alpha), the same for all rows; what is
    mixed belongs to both labels in these shares. With alpha 0 nothing is mixed. `generator` must be on the device of x.
    """
    if alpha == 0:
        return x, torch.arange(len(x), device=x.device), 1.0
    drawn = float(betaincinv(alpha, alpha, float(torch.rand((), generator=generator, device=x.device))))
    share = max(drawn, 1.0 - drawn)
    partners = torch.randperm(len(x), generator=generator, device=x.device)
    return torch.lerp(x[partners], x, share), partners, share


def spec_augment(x: Tensor, config: SpecAugmentConfig, generator: torch.Generator) -> Tensor:
    """Mask stretches of time and groups of bands of x [batch, n_mels, frames], each window its own (Park et al. 2019).

    `x` must be normalised: masks are filled with zero, the mean of the training data. Widths are uniform from 0 to the
    configured longest, places are uniform. `generator` must be on the device of `x`; `x` itself is not changed.
    """
    batch, n_mels, frames = x.shape
    in_time = _masked(batch, frames, config.time_masks, config.time_frames, generator)
    in_mel = _masked(batch, n_mels, config.mel_masks, config.mel_bands, generator)
    return x.masked_fill(in_time[:, None, :] | in_mel[:, :, None], 0.0)


def _isolated(x: Tensor, negative: Tensor, config: TrainAugmentConfig, generator: torch.Generator) -> Tensor:
    """Some negative rows, quiet but for a stretch of them: any bit of speech, said by itself as wake words are.

    Recordings of a wake word are single words between pauses, and most other speech is not; without single words that
    are no wake word, a model takes any of them, in a voice that it does not know, for one.
    """
    batch, _, frames = x.shape
    chosen = negative & (_uniform(batch, generator) < config.isolate_probability)
    shortest, longest = config.isolated_frames
    length = shortest + (longest - shortest) * _uniform(batch, generator)
    start = _uniform(batch, generator) * (frames - length).clamp_min(0)
    place = torch.arange(frames, device=x.device)
    outside = (place < start[:, None]) | (place >= (start + length)[:, None])
    return torch.where((chosen[:, None] & outside)[:, None], x.amin(dim=2, keepdim=True), x)


def _colour(x: Tensor, config: TrainAugmentConfig, generator: torch.Generator) -> Tensor:
    """A smooth random curve over the bands and a level, in nepers of power: [batch, n_mels]."""
    batch, n_mels, _ = x.shape
    phase = torch.arange(n_mels, device=x.device) * (math.pi / n_mels)
    curves = torch.cos(torch.arange(len(_COLOURS), device=x.device)[:, None] * phase)
    strength = torch.randn(batch, len(_COLOURS), generator=generator, device=x.device)
    curve = (strength * torch.tensor(_COLOURS, device=x.device) * config.colour_db) @ curves
    low, high = config.gain_db
    gain = low + (high - low) * _uniform(batch, generator)
    return (curve + gain[:, None]) * _NEPERS_A_DB


def _with_noise(x: Tensor, noise: Tensor, config: TrainAugmentConfig, generator: torch.Generator) -> Tensor:
    """log(exp(x) + gain * exp(noise)), at a random ratio of the row's loud frames to the noise's mean power."""
    chosen = _uniform(len(x), generator) < config.noise_probability
    low, high = config.noise_snr_db
    snr_db = low + (high - low) * _uniform(len(x), generator)
    speech = torch.quantile(x.exp().mean(dim=1), _LOUD_SHARE, dim=1).clamp_min(_LEAST_POWER)
    level = noise.exp().mean(dim=(1, 2)).clamp_min(_LEAST_POWER)
    gain = speech.log() - level.log() - snr_db * _NEPERS_A_DB
    gain = gain.masked_fill(~chosen, -math.inf)  # of no noise at all
    return torch.logaddexp(x, noise + gain[:, None, None])


def _mel(hertz: Tensor) -> Tensor:
    """The HTK mel scale, as in features/mel.py."""
    return 2595.0 * torch.log10(1.0 + hertz / 700.0)


def _uniform(count: int, generator: torch.Generator) -> Tensor:
    return torch.rand(count, generator=generator, device=generator.device)


def _masked(batch: int, size: int, masks: int, longest: int, generator: torch.Generator) -> Tensor:
    """Which of `size` places are masked: bool [batch, size]."""
    draws = torch.rand(2, batch, masks, 1, generator=generator, device=generator.device)
    width = (draws[0] * (min(longest, size) + 1)).floor()
    start = (draws[1] * (size - width + 1)).floor()
    place = torch.arange(size, device=generator.device)
    return ((place >= start) & (place < start + width)).any(dim=1)
