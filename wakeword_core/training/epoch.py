"""One epoch of training: batches in micro-batches, gradients clipped, weights moved and averaged."""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wakeword_core.config import Config
from wakeword_core.errors import ConfigError
from wakeword_core.progress import Progress
from wakeword_core.training import ema
from wakeword_core.training.checkpoint import Tensors
from wakeword_core.training.objective import TrainRows
from wakeword_core.training.run import Run, Started
from wakeword_core.training.sampler import NoiseSampler, Sampler, derived_seed
from wakeword_core.training.schedule import learning_rate

log = logging.getLogger(__name__)


class StoppedError(Exception):
    """A signal asked to stop: `run.started` holds what is done of the epoch."""


@dataclass(frozen=True)
class Batches:
    """What an epoch goes through, and whom it tells."""

    rows: TrainRows
    sampler: Sampler
    noise: NoiseSampler
    progress: Progress
    asked_to_stop: Callable[[], bool]


def train_epoch(run: Run, batches: Batches, config: Config) -> tuple[Tensor, Tensor]:
    """Go through the epoch after those of the history, or the rest of it: losses and gradient norms, [steps] each.

    Raises StoppedError between two batches, and ConfigError when the memory does not hold a single row.
    """
    settings = config.training
    rows, noises, masks = draw_epoch(batches.sampler, batches.noise, len(run.history), config.seed, run.device)
    total = len(rows) * settings.epochs
    losses, norms = torch.zeros(2, len(rows), device=run.device)
    first = 0
    if run.started is not None:
        first = len(run.started.losses)
        losses[:first], norms[:first] = run.started.losses, run.started.norms
        _set_random(run.started.random, masks)
        run.started = None
    scores = [record.score for record in run.history]
    run.model.train()
    for position in range(first, len(rows)):
        if batches.asked_to_stop():
            run.started = Started(losses[:position], norms[:position], _random(masks))
            raise StoppedError
        run.optimizers.rate = learning_rate(run.step, total, settings, scores)
        losses[position] = _gradients(run, batches.rows, rows[position], noises[position], masks)
        norms[position] = run.optimizers.step(run.clipper, run.scaler)
        ema.update(run.average, run.model, ema.decay_of(run.step, total, settings))
        run.step += 1
        batches.progress("training", run.step, total)
    return losses, norms


def draw_epoch(
    sampler: Sampler, noise: NoiseSampler, epoch: int, seed: int, device: torch.device
) -> tuple[Tensor, Sequence[Tensor | None], torch.Generator]:
    """What is random about the 0-based epoch, dropout included, which draws from torch's default generator.

    Returns each batch's rows [steps, batch], its rows of noise ([batch] or None, steps of them), and where the rest is
    drawn from.
    """
    rows = sampler.epoch(epoch).to(device)
    noises = noise.epoch(epoch, *rows.shape).to(device)
    torch.manual_seed(derived_seed(seed, epoch, "dropout"))
    masks = torch.Generator(device).manual_seed(derived_seed(seed, epoch, "masks"))
    return rows, noises.unbind() if noises.numel() else [None] * len(rows), masks


def _gradients(run: Run, windows: TrainRows, rows: Tensor, noises: Tensor | None, generator: torch.Generator) -> Tensor:
    """Gradients of the loss of `rows` [batch] of the windows, in as many micro-batches as memory asks for; the loss."""
    while True:
        before = _random(generator)
        statistics = [one.clone() for one in run.model.buffers()]  # of batch norms, which a forward pass moves
        try:
            return _accumulated(run, windows, rows, noises, generator)
        except torch.OutOfMemoryError as error:
            if run.micro_batch == 1:
                raise ConfigError(
                    "the GPU's memory is too small for a single row of training; take a smaller model, or set "
                    "training.device=cpu"
                ) from error
            run.micro_batch = math.ceil(min(run.micro_batch, len(rows)) / 2)
        # outside of the except clause, whose traceback keeps what filled the memory
        run.optimizers.zero_grad()
        _set_random(before, generator)
        for one, value in zip(run.model.buffers(), statistics, strict=True):
            one.copy_(value)
        if run.device.type == "cuda":
            torch.cuda.empty_cache()
        log.warning("the GPU's memory is exhausted: batches are computed %d rows at once from here on", run.micro_batch)


def _accumulated(
    run: Run, windows: TrainRows, rows: Tensor, noises: Tensor | None, generator: torch.Generator
) -> Tensor:
    run.optimizers.zero_grad()
    total = torch.zeros((), device=run.device)
    for part in _micro_batches(len(rows), run.micro_batch):
        noise = None if noises is None else noises[part]
        loss = run.objective(run.model, windows, rows[part], noise, generator)
        loss = loss * (len(rows[part]) / len(rows))
        run.scaler.scale(loss).backward()
        total += loss.detach()
    return total


def _micro_batches(rows: int, most: int) -> Iterator[slice]:
    """Parts of a batch, at most so many rows each, and each with its share of every kind, which lie side by side."""
    count = math.ceil(rows / most)
    return (slice(first, None, count) for first in range(count))


def _random(masks: torch.Generator) -> Tensors:
    """The state of all that is random: dropout's on the CPU and the GPU, and the masks'."""
    state = {"cpu": torch.get_rng_state(), "masks": masks.get_state()}
    return state | ({"cuda": torch.cuda.get_rng_state()} if masks.device.type == "cuda" else {})


def _set_random(state: Tensors, masks: torch.Generator) -> None:
    torch.set_rng_state(state["cpu"])
    masks.set_state(state["masks"])
    if "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"])
