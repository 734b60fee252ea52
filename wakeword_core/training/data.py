"""What batches are made of: which windows are drawn for them, and how these are augmented.

Batches have fixed shares of positives, negatives and hard negatives, or what there is. In fixed shares, rows of a kind
are drawn alike, or by how difficult each was for the model; clean and augmented views come as they are, or these in a
fixed share too, and so do real and synthetic positives.

Augmentation is of whole batches of features on the device, drawn anew for every batch. It gives voices, microphones and
noise that no stored view has: bands are shifted as by another vocal tract, coloured as by another microphone, and noise
is added in the power domain, which is where independent sounds add up. Features that are no logarithms of power get
what does not need these; see `TrainAugmentConfig.unfit_for`.
"""

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from scipy.special import betaincinv
from torch import Tensor

from wakeword_core.config import (
    NEGATIVE_LABEL,
    ROLES,
    FeaturesConfig,
    FrontendConfig,
    SpecAugmentConfig,
    Split,
    TrainAugmentConfig,
    TrainingConfig,
)
from wakeword_core.errors import DataError
from wakeword_core.files import digest
from wakeword_core.training.pools import Pool, pools_of, windows_by_kind

if TYPE_CHECKING:
    from wakeword_core.features.store import WindowSet
    from wakeword_core.teaching.scores import TeacherScores

UNSEEN = 1.0
"""How wrong a model is taken to be about a row that it has not seen: entirely."""
_NOISE_ROLES = ("noise", "background")
_NEPERS_A_DB = math.log(10) / 10  # log-mels are natural logarithms of power
_COLOURS = (1.0, 1.0, 0.7, 0.5, 0.35)
"""Share of the configured deviation that each cosine over the bands gets, from level to ripple."""
_LOUD_SHARE = 0.9  # a row's level is that of its frame at this quantile: its pauses do not count
_LEAST_POWER = 1e-9
_LEAST_DEVIATION = 0.05
"""Of a band over time, in nepers of power: a band that does not move is not made to."""


def check_windows(windows: "WindowSet", split: Split, features: FeaturesConfig, classes: int) -> None:
    """Raise DataError when windows do not fit the configured shape or number of classes."""
    shape = (features.frontend.bands, features.row_frames(split))
    name = "training" if split == "train" else "validation"
    if tuple(windows.mel.shape[1:]) != shape:
        raise DataError(
            f"{name} windows are {tuple(windows.mel.shape[1:])}, but the configuration says {shape} "
            "mel bands and frames; build the features again"
        )
    if len(windows.labels) and not 0 <= int(windows.labels.min()) <= int(windows.labels.max()) < classes:
        raise DataError(f"{name} windows have labels outside 0 to {classes - 1}; build the features again")


def counting_teacher(
    teacher: "TeacherScores | None", windows: "WindowSet", training: TrainingConfig
) -> "TeacherScores | None":
    """Return a teacher of the training rows if it has a share of the loss; DataError if it speaks of other rows.

    Without a share, what is computed is then exactly what is computed without a teacher.
    """
    if teacher is not None and (len(teacher), teacher.last) != (len(windows), windows.mel.shape[2] - 1):
        raise DataError(
            f"the teacher's scores are of {len(teacher)} rows of {teacher.last + 1} frames, but there are "
            f"{len(windows)} training rows of {windows.mel.shape[2]}; build the scores again"
        )
    return teacher if training.teacher.share > 0 else None


class Sampler:
    """Batches as rows of a window set, and rows of noise to mix in; epoch `e` of seed `s` is always the same."""

    def __init__(self, windows: "WindowSet", labels: tuple[str, ...], training: TrainingConfig, seed: int) -> None:
        self.seed = seed
        kinds = windows_by_kind(windows, labels)
        everything = Pool("everything", torch.arange(len(windows)), training.sampling.batch_size)
        plain = training.sampling.kind == "plain"
        self.pools = [everything] if plain else pools_of(kinds, windows.synthetic.cpu(), training.sampling)
        self._floor = training.sampling.difficulty_floor
        self._clean = windows.views.cpu() == 0
        self._clean_share, self._batch = training.sampling.clean_share, training.sampling.batch_size
        noisy = torch.isin(windows.roles.cpu(), torch.tensor([ROLES.index(role) for role in _NOISE_ROLES]))
        if self._clean_share == 1:  # who trains on clean views alone gets noise of these alone, too
            noisy &= self._clean
        self._noise = torch.nonzero(noisy).flatten()
        # all negatives are seen in an epoch, where they have a share of their own
        slowest = next((pool for pool in self.pools if pool.name == NEGATIVE_LABEL), self.pools[-1])
        once_through = math.ceil(len(slowest.rows) / slowest.per_batch)
        self.steps = training.sampling.steps_per_epoch or min(once_through, training.sampling.max_steps_per_epoch)

    def epoch(self, epoch: int, difficulty: Tensor | None = None) -> Tensor:
        """Draw rows int64 [steps, batch_size] of the 0-based epoch; no window repeats before all of its kind were used.

        With their `difficulty` [rows], from 0 to 1, windows come in proportion to it, and with 0 as often as the
        floor says; those that come more than once are spread over the epoch. All this is so among the clean views and
        among the augmented ones where these have fixed shares.
        """
        generator = torch.Generator().manual_seed(derived_seed(self.seed, epoch, "batches"))
        weights = None if difficulty is None else self._floor + (1 - self._floor) * difficulty.double()
        drawn = [self._drawn(pool, weights, generator).view(self.steps, pool.per_batch) for pool in self.pools]
        return torch.cat(drawn, dim=1)

    def _drawn(self, pool: Pool, weights: Tensor | None, generator: torch.Generator) -> Tensor:
        """Rows of a pool for the steps of an epoch, one after the other: [steps * per_batch]."""
        count = self.steps * pool.per_batch
        if self._clean_share is None:
            return _rows(pool, weights, count, generator)
        of_pool = self._clean[pool.rows]
        clean, augmented = (replace(pool, rows=pool.rows[chosen]) for chosen in (of_pool, ~of_pool))
        of_clean = round(count * self._clean_share)
        if not len(clean.rows) or not len(augmented.rows):  # of a kind of which there is one sort of views only
            return _rows(pool, weights, count, generator)
        is_clean = torch.zeros(count, dtype=torch.bool)
        is_clean[torch.randperm(count, generator=generator)[:of_clean]] = True
        drawn = torch.empty(count, dtype=torch.int64)
        drawn[is_clean] = _rows(clean, weights, of_clean, generator)
        drawn[~is_clean] = _rows(augmented, weights, count - of_clean, generator)
        return drawn

    def noise(self, epoch: int) -> Tensor:
        """Draw rows of noise to mix in, int64 [steps, batch_size] of the 0-based epoch; [steps, 0] if there is none."""
        if not len(self._noise):
            return torch.empty(self.steps, 0, dtype=torch.int64)
        generator = torch.Generator().manual_seed(derived_seed(self.seed, epoch, "noise"))
        return self._noise[torch.randint(len(self._noise), (self.steps, self._batch), generator=generator)]

    def draw(
        self, epoch: int, device: torch.device, difficulty: Tensor | None = None
    ) -> tuple[Tensor, Tensor, torch.Generator]:
        """Draw all that is random about the 0-based epoch, dropout included, which draws from torch's own generator.

        Returns each batch's rows [steps, batch], its rows of noise [steps, batch or 0], and where the rest is drawn
        from. Rows may be drawn by their `difficulty` [rows].
        """
        rows, noises = self.epoch(epoch, difficulty).to(device), self.noise(epoch).to(device)
        torch.manual_seed(derived_seed(self.seed, epoch, "dropout"))
        masks = torch.Generator(device).manual_seed(derived_seed(self.seed, epoch, "masks"))
        return rows, noises, masks


def derived_seed(seed: int, epoch: int, purpose: str) -> int:
    """Make a 63-bit seed for one purpose in one epoch."""
    return int(digest([seed, epoch, purpose])[:16], 16) >> 1


def _rows(pool: Pool, weights: Tensor | None, count: int, generator: torch.Generator) -> Tensor:
    """So many rows of a pool, by their weights [windows] if there are any, else without early repeats."""
    if weights is not None:
        return pool.rows[systematic_sample(weights[pool.rows], count, generator)]
    rounds = math.ceil(count / len(pool.rows))
    order = [torch.randperm(len(pool.rows), generator=generator) for _ in range(rounds)]
    return pool.rows[torch.cat(order)[:count]] if order else pool.rows[:0]


def systematic_sample(weights: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draw places int64 [count], each as often as its share of `weights` [n] (float64, above 0) says, in random order.

    Systematic sampling (Madow 1949): how often a place comes is its expected number, rounded up or down, so nothing is
    missing or repeated by chance. Repeats are spread over the whole.
    """
    order = torch.randperm(len(weights), generator=generator)
    ends = weights[order].cumsum(0) * (count / weights.sum())
    offset = torch.rand((), generator=generator, dtype=torch.float64)
    # how many of the marks offset, offset + 1, ... lie before the end of each place's stretch
    marks = torch.ceil(ends - offset).clamp(0, count).long()
    marks[-1] = count
    copies = torch.diff(marks, prepend=marks.new_zeros(1))
    places = order.repeat_interleave(copies)
    number = torch.arange(count) - (marks - copies).repeat_interleave(copies)
    when = (number + torch.rand(count, generator=generator)) / copies.repeat_interleave(copies)
    return places[when.argsort(stable=True)]


class BandWarp:
    """Vocal tract length perturbation (Jaitly and Hinton 2013): each row's spectrum is stretched along frequency."""

    def __init__(self, frontend: FrontendConfig, device: torch.device | str) -> None:
        low, high = (_mel(torch.tensor(f, dtype=torch.float64)) for f in (frontend.f_min, frontend.f_max))
        self._low, self._step = float(low), float((high - low) / (frontend.n_mels + 1))
        centres = self._low + self._step * torch.arange(1, frontend.n_mels + 1, dtype=torch.float64)
        self._hertz = (700.0 * (10.0 ** (centres / 2595.0) - 1.0)).float().to(device)

    def __call__(self, x: Tensor, factors: Tensor) -> Tensor:
        """Stretch x [batch, n_mels, frames]: what was at f goes to f / factor, for factors [batch]; edges repeat."""
        batch, bands, _ = x.shape
        source = (_mel(self._hertz[None] * factors[:, None]) - self._low) / self._step - 1
        source = source.clamp(0, bands - 1)
        below = source.long().clamp_max(bands - 2)
        places = (below + bands * torch.arange(batch, device=x.device)[:, None]).flatten()
        rows = x.flatten(0, 1)
        share = (source - below).flatten()[:, None]
        return torch.lerp(rows.index_select(0, places), rows.index_select(0, places + 1), share).view_as(x)


def augment(
    x: Tensor,
    negative: Tensor,
    noise: Tensor | None,
    settings: TrainAugmentConfig,
    warp: BandWarp,
    generator: torch.Generator,
) -> Tensor:
    """Change features x [batch, n_mels, frames] in float32 row by row; `noise` is alike and may be mixed in.

    `negative` [batch] tells rows without a wake word. `generator` must be on the device of `x`; `x` is not changed.
    """
    if settings.isolate_probability > 0:
        x = _isolated(x, negative, settings, generator)
    if settings.band_warp > 0:
        x = warp(x, 1 + settings.band_warp * (2 * _uniform(len(x), generator) - 1))
    x = x + _colour(x, settings, generator)[:, :, None]
    if settings.style_probability > 0:
        x = _restyled(x, settings, generator)
    if noise is not None and settings.noise_probability > 0:
        x = _with_noise(x, noise, settings, generator)
    return x


def time_shift(
    x: Tensor, word_ends: Tensor, most: int, window: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Move rows x [batch, n_mels, frames] by up to `most` frames either way, edges repeated, and their words' ends.

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
    """Mix rows of a batch x [batch, ...] with each other (Zhang et al. 2018): the mixture, partners [batch], a share.

    The share, of the row itself, is the larger part of a draw from Beta(alpha, alpha), the same for all rows; what is
    mixed belongs to both labels in these shares. With alpha 0 nothing is mixed. `generator` must be on the device of x.
    """
    if alpha == 0:
        return x, torch.arange(len(x), device=x.device), 1.0
    drawn = float(betaincinv(alpha, alpha, float(torch.rand((), generator=generator, device=x.device))))
    share = max(drawn, 1.0 - drawn)
    partners = torch.randperm(len(x), generator=generator, device=x.device)
    return torch.lerp(x[partners], x, share), partners, share


def spec_augment(x: Tensor, settings: SpecAugmentConfig, generator: torch.Generator) -> Tensor:
    """Mask stretches of time and groups of bands of x [batch, n_mels, frames], each window its own (Park et al. 2019).

    What is masked is 0: the mean of the training data where `x` is normalised, and what quiet gives where it is not, as
    with the front end of microcontrollers. Widths are uniform from 0 to the configured longest, places are uniform.
    `generator` must be on the device of `x`; `x` itself is not changed.
    """
    batch, n_mels, frames = x.shape
    in_time = _masked(batch, frames, settings.time_masks, settings.time_frames, generator)
    in_mel = _masked(batch, n_mels, settings.mel_masks, settings.mel_bands, generator)
    return torch.where(in_time[:, None, :] | in_mel[:, :, None], 0.0, x)


def _isolated(x: Tensor, negative: Tensor, settings: TrainAugmentConfig, generator: torch.Generator) -> Tensor:
    """Make some negative rows quiet but for a stretch: any bit of speech, said by itself as wake words are.

    Recordings of a wake word are single words between pauses, and most other speech is not; without single words that
    are no wake word, a model takes any of them, in a voice that it does not know, for one.
    """
    batch, _, frames = x.shape
    chosen = negative & (_uniform(batch, generator) < settings.isolate_probability)
    shortest, longest = settings.isolated_frames
    length = shortest + (longest - shortest) * _uniform(batch, generator)
    start = _uniform(batch, generator) * (frames - length).clamp_min(0)
    place = torch.arange(frames, device=x.device)
    outside = (place < start[:, None]) | (place >= (start + length)[:, None])
    return torch.where((chosen[:, None] & outside)[:, None], x.amin(dim=2, keepdim=True), x)


def _colour(x: Tensor, settings: TrainAugmentConfig, generator: torch.Generator) -> Tensor:
    """A smooth random curve over the bands and a level, in nepers of power: [batch, n_mels]."""
    batch, n_mels, _ = x.shape
    phase = torch.arange(n_mels, device=x.device) * (math.pi / n_mels)
    curves = torch.cos(torch.arange(len(_COLOURS), device=x.device)[:, None] * phase)
    strength = torch.randn(batch, len(_COLOURS), generator=generator, device=x.device)
    curve = (strength * torch.tensor(_COLOURS, device=x.device) * settings.colour_db) @ curves
    low, high = settings.gain_db
    gain = low + (high - low) * _uniform(batch, generator)
    return (curve + gain[:, None]) * _NEPERS_A_DB


def _restyled(x: Tensor, settings: TrainAugmentConfig, generator: torch.Generator) -> Tensor:
    """Give rows the style of others, in part: the mean and the deviation of each band over time (Freq-MixStyle).

    They tell the microphone, the room, the noise floor and how far speech stands above it, and neither the words nor
    their order (Zhou et al. 2021; by frequency: Kim et al. 2021). Wake words and other speech are seldom recorded
    alike, and a model must not tell them apart by that.
    """
    partners = torch.randperm(len(x), generator=generator, device=x.device)
    chosen = _uniform(len(x), generator) < settings.style_probability
    share = _uniform(len(x), generator).masked_fill(~chosen, 0.0)[:, None, None]
    deviation, mean = torch.std_mean(x, dim=2, keepdim=True, correction=0)
    deviation = deviation.clamp_min(_LEAST_DEVIATION)
    new_mean, new_deviation = (torch.lerp(own, own[partners], share) for own in (mean, deviation))
    return (x - mean) * (new_deviation / deviation) + new_mean


def _with_noise(x: Tensor, noise: Tensor, settings: TrainAugmentConfig, generator: torch.Generator) -> Tensor:
    """log(exp(x) + gain * exp(noise)), at a random ratio of the row's loud frames to the noise's mean power."""
    chosen = _uniform(len(x), generator) < settings.noise_probability
    low, high = settings.noise_snr_db
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
