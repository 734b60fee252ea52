"""One epoch of training: batches in micro-batches, gradients clipped, weights moved and averaged."""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wakeword_core.config import Config, LossConfig
from wakeword_core.errors import ConfigError
from wakeword_core.progress import Progress
from wakeword_core.training import ema
from wakeword_core.training.batch import Batch, TrainRows
from wakeword_core.training.checkpoint import Tensors
from wakeword_core.training.difficulty import wrongness
from wakeword_core.training.distributed import ALONE, Ranks
from wakeword_core.training.run import Run, Started, Trace
from wakeword_core.training.sampler import NoiseSampler, Sampler, derived_seed
from wakeword_core.training.schedule import learning_rate

log = logging.getLogger(__name__)

_LEAST_ROWS = 2
"""That are computed at once: a batch norm after pooling learns nothing from one value."""


class StoppedError(Exception):
    """A signal asked to stop: `run.started` holds what is done of the epoch."""


class MemoryFullError(ConfigError):
    """The memory of one of several processes does not hold its rows; it may hold `rows` of them."""

    def __init__(self, rows: int) -> None:
        super().__init__(f"the memory of a GPU is exhausted; set training.micro_batch={rows}")
        self.rows = rows


@dataclass(frozen=True)
class Batches:
    """What an epoch goes through, and whom it tells."""

    rows: TrainRows
    sampler: Sampler
    noise: NoiseSampler
    progress: Progress
    asked_to_stop: Callable[[], bool]


def train_epoch(run: Run, batches: Batches, config: Config) -> Trace:
    """Go through the epoch after those of the history, or the rest of it.

    Raises StoppedError between two batches, and ConfigError when the memory does not hold two rows.
    """
    settings, epoch = config.training, len(run.history)
    rows, noises, masks = draw_epoch(batches.sampler, batches.noise, epoch, config.seed, run.device, run.difficulty)
    total = len(rows) * settings.epochs
    trace = Trace.of(len(rows), 0 if run.difficulty is None else rows.shape[1], run.device)
    first = 0
    if run.started is not None:
        first = run.started.steps
        for name, done in run.started.trace.items():
            getattr(trace, name)[:first] = done
        _set_random(run.started.random, masks)
        run.started = None
    scores = [record.score for record in run.history]
    run.model.train()
    for position in range(first, len(rows)):
        if run.ranks.any(batches.asked_to_stop()):
            run.started = Started(trace.tensors(position), _random(run.device, masks))
            raise StoppedError
        if not run.ranks.first:  # dropout of the first goes on as that of a single process does
            torch.manual_seed(derived_seed(config.seed, run.step, f"dropout of process {run.ranks.index}"))
        run.optimizers.rate = learning_rate(run.step, total, settings, scores)
        batch = _drawn(run, batches.rows, rows[position], noises[position], masks)
        trace.losses[position], trace.wrong[position] = gradients(run, batch, settings.loss)
        trace.norms[position] = run.optimizers.step(run.clipper, run.scaler)
        if not run.scaler.is_enabled() or trace.norms[position].isfinite():  # else the scaler has skipped the step
            ema.update(run.average, run.model, ema.decay_of(run.step, total, settings))
        run.step += 1
        batches.progress("training", run.step, total)
    if run.difficulty is not None:
        wrong, places = trace.wrong.flatten().cpu(), rows.flatten().cpu()
        judged = ~wrong.isnan()
        # of a row that came more than once numpy keeps the last value
        run.difficulty.numpy()[places[judged].numpy()] = wrong[judged].numpy()
    return trace


def draw_epoch(
    sampler: Sampler,
    noise: NoiseSampler,
    epoch: int,
    seed: int,
    device: torch.device,
    difficulty: Tensor | None = None,
) -> tuple[Tensor, Sequence[Tensor | None], torch.Generator]:
    """What is random about the 0-based epoch, dropout included, which draws from torch's default generator.

    Returns each batch's rows [steps, batch], its rows of noise ([batch] or None, steps of them), and where the rest is
    drawn from. Rows may be drawn by their `difficulty` [rows].
    """
    rows = sampler.epoch(epoch, difficulty).to(device)
    noises = noise.epoch(epoch, *rows.shape).to(device)
    torch.manual_seed(derived_seed(seed, epoch, "dropout"))
    masks = torch.Generator(device).manual_seed(derived_seed(seed, epoch, "masks"))
    return rows, noises.unbind() if noises.numel() else [None] * len(rows), masks


def _drawn(run: Run, windows: TrainRows, rows: Tensor, noise: Tensor | None, generator: torch.Generator) -> Batch:
    try:
        return run.objective.draw(run.model, windows, rows, noise, generator)
    except torch.OutOfMemoryError as error:
        raise ConfigError(f"the GPU's memory is too small for {len(rows)} rows; lower training.batch_size") from error


def gradients(run: Run, batch: Batch, loss: LossConfig) -> tuple[Tensor, Tensor]:
    """Gradients of the loss of a batch, in as many micro-batches as memory asks for.

    Returns the loss, and how wrong the model was about each row by `wrongness`, [batch] or [0] where nobody asks.
    """
    while True:
        before = _random(run.device)
        statistics = [one.clone() for one in run.model.buffers()]  # of batch norms, which a forward pass moves
        try:
            return _accumulated(run, batch, loss)
        except torch.OutOfMemoryError as error:
            at_once = min(run.micro_batch, math.ceil(len(batch.labels) / run.ranks.count))
            if at_once <= _LEAST_ROWS:
                raise ConfigError(
                    f"the GPU's memory is too small for {_LEAST_ROWS} rows of training; take a smaller model, or set "
                    "training.device=cpu"
                ) from error
            run.micro_batch = math.ceil(at_once / 2)
            if run.ranks.count > 1:  # the others wait in the middle of this batch
                raise MemoryFullError(run.micro_batch) from error
        # outside of the except clause, whose traceback keeps what filled the memory
        run.optimizers.zero_grad()
        _set_random(before)
        for one, value in zip(run.model.buffers(), statistics, strict=True):
            one.copy_(value)
        if run.device.type == "cuda":
            torch.cuda.empty_cache()
        log.warning("the GPU's memory is exhausted: batches are computed %d rows at once from here on", run.micro_batch)


def _accumulated(run: Run, batch: Batch, loss: LossConfig) -> tuple[Tensor, Tensor]:
    run.optimizers.zero_grad()
    total = torch.zeros(1, device=run.device)
    wrong = torch.zeros(0 if run.difficulty is None else len(batch.labels), device=run.device)
    for rows in _micro_batches(len(batch.labels), run.micro_batch, run.ranks):
        part = batch.part(rows)
        judged = run.objective(run.model, part)
        run.scaler.scale(judged.loss).backward()
        total += judged.loss.detach()
        if run.difficulty is not None:
            wrong[rows] = wrongness(judged.logits, part.asked[0], loss, len(part.labels))
    parameters = [*run.model.parameters(), *run.objective.parameters()]
    run.ranks.add_up([total, wrong, *(one.grad for one in parameters if one.grad is not None)])
    return total[0], wrong


def _micro_batches(rows: int, most: int, ranks: Ranks = ALONE) -> Iterator[slice]:
    """This process's parts of a batch, at most so many rows each, as many on every process.

    Each is every n-th row, and so has its share of every kind, which lie side by side. None is a row by itself, but of
    several processes, whose batch norms go by the parts of all: another one has a row too many instead.
    """
    least = max(_LEAST_ROWS, ranks.count)
    turns = max(1, min(math.ceil(rows / (most * ranks.count)), rows // least))
    count = turns * ranks.count
    return (slice(first, None, count) for first in range(ranks.index, count, ranks.count))


def _random(device: torch.device, masks: torch.Generator | None = None) -> Tensors:
    """The state of all that is random on a device: dropout's on the CPU and the GPU, and the masks'."""
    state = {"cpu": torch.get_rng_state()}
    state |= {} if masks is None else {"masks": masks.get_state()}
    return state | ({"cuda": torch.cuda.get_rng_state()} if device.type == "cuda" else {})


def _set_random(state: Tensors, masks: torch.Generator | None = None) -> None:
    torch.set_rng_state(state["cpu"])
    if masks is not None:
        masks.set_state(state["masks"])
    if "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"])
