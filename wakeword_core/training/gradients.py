"""Gradients of a batch, computed in as many parts as memory and the number of processes ask for."""

import logging
import math
from collections.abc import Iterator

import torch
from torch import Tensor

from wakeword_core.config import LossConfig
from wakeword_core.errors import ConfigError
from wakeword_core.training.distributed import ALONE, Ranks
from wakeword_core.training.objective import Batch, TrainRows, wrongness
from wakeword_core.training.run import Run, random_state, set_random_state

log = logging.getLogger(__name__)

_FEWEST_ROWS = 2
"""The fewest rows that are computed at once: a batch norm after pooling learns nothing from one value."""


class MemoryFullError(ConfigError):
    """The memory of one of several processes does not hold its rows; it may hold `rows` of them."""

    def __init__(self, rows: int) -> None:
        super().__init__(rows)  # what pickle makes it from again in another process
        self.rows = rows

    def __str__(self) -> str:
        return f"the memory of a GPU is exhausted; set training.sampling.micro_batch={self.rows}"


def draw_batch(run: Run, windows: TrainRows, rows: Tensor, noise: Tensor | None, generator: torch.Generator) -> Batch:
    """Augment the chosen rows [batch] as `Objective.draw` does; ConfigError when the GPU's memory is too small."""
    try:
        return run.objective.draw(run.model, windows, rows, noise, generator)
    except torch.OutOfMemoryError as error:
        raise ConfigError(
            f"the GPU's memory is too small for {len(rows)} rows; lower training.sampling.batch_size"
        ) from error


def compute_gradients(run: Run, batch: Batch, loss: LossConfig) -> tuple[Tensor, Tensor]:
    """Compute the gradients of the loss of a batch, in parts half as large whenever memory is exhausted.

    Returns the loss, and how wrong the model was about each row by `wrongness`, [batch] or [0] where nobody asks.
    """
    while True:
        before = random_state(run.device)
        statistics = [buffer.clone() for buffer in run.model.buffers()]  # of batch norms, which a forward pass moves
        try:
            return _accumulate(run, batch, loss)
        except torch.OutOfMemoryError as error:
            at_once = min(run.micro_batch, math.ceil(len(batch.labels) / run.ranks.count))
            if at_once <= _FEWEST_ROWS:
                raise ConfigError(
                    f"the GPU's memory is too small for {_FEWEST_ROWS} rows of training; take a smaller model, or set "
                    "compute.device=cpu"
                ) from error
            run.micro_batch = math.ceil(at_once / 2)
            if run.ranks.count > 1:  # the others wait in the middle of this batch
                raise MemoryFullError(run.micro_batch) from error
        # outside of the except clause, whose traceback keeps what filled the memory
        run.optimizers.zero_grad()
        set_random_state(before)
        for buffer, value in zip(run.model.buffers(), statistics, strict=True):
            buffer.copy_(value)
        if run.device.type == "cuda":
            torch.cuda.empty_cache()
        log.warning("the GPU's memory is exhausted: batches are computed %d rows at once from here on", run.micro_batch)


def _accumulate(run: Run, batch: Batch, loss: LossConfig) -> tuple[Tensor, Tensor]:
    run.optimizers.zero_grad()
    total = torch.zeros(1, device=run.device)
    wrong = torch.zeros(0 if run.difficulty is None else len(batch.labels), device=run.device)
    for rows in micro_batches(len(batch.labels), run.micro_batch, run.ranks):
        part = batch.part(rows)
        output = run.objective(run.model, part)
        run.scaler.scale(output.loss).backward()
        total += output.loss.detach()
        if run.difficulty is not None:
            wrong[rows] = wrongness(output.logits, part.targets[0], loss, len(part.labels))
    parameters = [*run.model.parameters(), *run.objective.parameters()]
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    run.ranks.add_up([total, wrong, *gradients])
    return total[0], wrong


def micro_batches(rows: int, most: int, ranks: Ranks = ALONE) -> Iterator[slice]:
    """Cut a batch into parts of at most so many rows, and give those of this process: as many on every process.

    Each is every n-th row, and so has its share of every kind, which lie side by side. None is a row by itself, but of
    several processes, whose batch norms go by the parts of all: another one has a row too many instead.
    """
    fewest = max(_FEWEST_ROWS, ranks.count)
    turns = max(1, min(math.ceil(rows / (most * ranks.count)), rows // fewest))
    count = turns * ranks.count
    return (slice(first, None, count) for first in range(ranks.index, count, ranks.count))
