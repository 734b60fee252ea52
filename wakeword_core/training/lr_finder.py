"""The learning-rate range test (Smith 2017): the rate grows batch by batch, and the loss tells which rates learn."""

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from wakeword_core.config import Config
from wakeword_core.cores import torch_threads
from wakeword_core.errors import ConfigError
from wakeword_core.models.scoring import ScoringModel
from wakeword_core.progress import Progress, silent
from wakeword_core.teaching.scores import TeacherScores
from wakeword_core.training.data import Sampler, check_windows, counting_teacher
from wakeword_core.training.device import choose_device, cuda_arithmetic, cuda_devices
from wakeword_core.training.feed import on_device, within_memory
from wakeword_core.training.loop import compute_gradients, draw_batches
from wakeword_core.training.objective import Batch
from wakeword_core.training.run import Run, new_run

if TYPE_CHECKING:
    from wakeword_core.features.cmvn import Cmvn
    from wakeword_core.features.store import WindowSet

FEWEST_STEPS = 20
"""A curve of fewer batches is too coarse to read anything from."""
_MEMORY = 0.9  # of the running mean that tells divergence: about ten batches
_DIVERGED = 4.0  # the test ends when the running mean is so many times its lowest
_SMOOTHING_DECADES = 0.2
"""Standard deviation of the bell curve that losses are smoothed with, in decades of the rate."""
_BELOW_LOWEST = 5.0  # the suggestion is the rate of the lowest loss by this


@dataclass(frozen=True)
class Rates:
    """Which learning rates are tried, one a batch, each a fixed factor above that of the batch before."""

    low: float = 1e-6
    high: float = 1.0
    steps: int = 200

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high:
            raise ConfigError(f"the rates go from {self.low:g} to {self.high:g}, but must be above 0 and rise")
        if self.steps < FEWEST_STEPS:
            raise ConfigError(f"a range test of {self.steps} batches says nothing; give it {FEWEST_STEPS} or more")


@dataclass(frozen=True)
class RangeTest:
    """Losses of batches at rising rates, and what to make of them."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]  # of each batch before its step, in nats
    smoothed: tuple[float, ...]
    diverged: bool  # whether the loss ran away, which ended the test
    steepest: float  # the rate at which the smoothed loss falls fastest with the logarithm of the rate
    lowest: float  # the rate at which the smoothed loss is lowest

    @property
    def suggestion(self) -> float:
        """A fifth of the rate with the lowest loss.

        At the lowest loss itself learning is about to fail, so the peak of a schedule belongs below it; in small
        trainings at many rates the best was at a fifth in the middle, and a tenth, which is usual, was too low. The
        steepest descent says little here: the loss falls fastest while the scores of untrained models come down to how
        rare wake words are, which any rate brings about.
        """
        return self.lowest / _BELOW_LOWEST

    def setting(self, share: float) -> float:
        """Return the suggestion, in two digits, as the setting of which a training has that `share` as its peak."""
        return min(float(f"{self.suggestion / share:.2g}"), 1.0)

    @property
    def too_narrow(self) -> str:
        """What to change where the lowest loss is at an end of the rates, so that it may lie beyond; empty if not."""
        if self.lowest == self.rates[0]:
            return "the loss was lowest at the lowest rate: begin with a lower one"
        if self.lowest == self.rates[-1] and not self.diverged:
            return "the loss was still falling at the highest rate: go to a higher one, or there in more batches"
        return ""

    def loss_at(self, rate: float) -> float:
        """Read the smoothed loss at a rate, between the tried ones in proportion to its logarithm."""
        return float(np.interp(np.log(rate), np.log(self.rates), self.smoothed))


def find_rate(
    train: "WindowSet",
    cmvn: "Cmvn",
    config: Config,
    rates: Rates = Rates(),
    progress: Progress = silent,
    start_from: ScoringModel | None = None,
    teacher: TeacherScores | None = None,
) -> RangeTest:
    """Test the rates on the first batches of a training that would begin now; nothing is written or kept.

    It begins, and is taught, as `loop.train` is. DataError when a class has no windows, ConfigError when the loss
    diverges too soon to tell anything.
    """
    check_windows(train, "train", config.features, len(config.labels))
    teacher = counting_teacher(teacher, train, config.training)
    device = choose_device(config.compute.device)
    tried, losses = np.geomspace(rates.low, rates.high, rates.steps), list[float]()
    mean, weight, lowest, diverged = 0.0, 0.0, np.inf, False
    # each batch has its own rate: the configured one may be yet to be found
    config = config.changed({"training.schedule.learning_rate": min(rates.low, 1.0)})
    with (
        torch_threads(config.compute.threads),
        cuda_arithmetic(config.training.precision.tf32, config.compute.cudnn_benchmark),
        torch.random.fork_rng(devices=cuda_devices(device)),
    ):
        run = new_run(train, cmvn, config, device, "", start_from)
        (rows,) = within_memory([train], config.compute)
        sampler = Sampler(train, config.labels, config.training, config.training_seed)
        run.train_mode()
        said = None if teacher is None else teacher.to(device)
        with closing(_batches(run, on_device(rows, device), sampler, said)) as batches:
            for rate, batch in zip(tried, batches, strict=False):
                run.optimizers.rate = float(rate)
                loss = float(compute_gradients(run, batch, config.training.loss)[0])
                mean, weight = _MEMORY * mean + (1 - _MEMORY) * loss, _MEMORY * weight + (1 - _MEMORY)
                lowest = min(lowest, mean / weight)
                diverged = not np.isfinite(loss) or mean / weight > _DIVERGED * lowest
                if diverged:
                    break
                losses.append(loss)
                run.optimizers.step(run.clipper, run.scaler)
                progress("learning rates", len(losses), rates.steps)
    if len(losses) < FEWEST_STEPS:
        raise ConfigError(
            f"the loss diverged after {len(losses)} batches, at a learning rate of {tried[len(losses)]:.2g}, which is "
            f"too soon to tell anything; begin below {rates.low:g}"
        )
    return _read(tried[: len(losses)], np.asarray(losses), _DIVERGED * lowest, diverged)


def _batches(run: Run, windows: "WindowSet", sampler: Sampler, teacher: TeacherScores | None) -> Generator[Batch]:
    """Draw the batches of a training, epoch by epoch."""
    for epoch in count():
        with closing(draw_batches(run, windows, *sampler.draw(epoch, run.device), teacher)) as batches:
            yield from batches


def _read(rates: NDArray[np.float64], losses: NDArray[np.float64], limit: float, diverged: bool) -> RangeTest:
    """Smooth a curve and find its marks.

    A symmetric bell over the rates, unlike a running mean, does not move them to higher rates. Losses above the limit
    count as the limit, or the last of them would be all that is seen in its neighbourhood.
    """
    decades = np.log10(rates)
    smoothed = gaussian_filter1d(
        np.minimum(losses, limit), _SMOOTHING_DECADES / (decades[1] - decades[0]), mode="nearest"
    )
    lowest = int(smoothed.argmin())
    slopes = np.gradient(smoothed, decades)[: lowest + 1]
    return RangeTest(
        rates=tuple(rates.tolist()),
        losses=tuple(losses.tolist()),
        smoothed=tuple(smoothed.tolist()),
        diverged=diverged,
        steepest=float(rates[slopes.argmin()]),
        lowest=float(rates[lowest]),
    )
