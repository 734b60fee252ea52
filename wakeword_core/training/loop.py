"""The training loop, from windows to the weights that are saved; read it from top to bottom.

`train` checks its windows and chooses one process or several, `train_here` goes through the epochs, `_run_epoch` trains
and validates one, `train_epoch` goes through its steps, and `compute_gradients` makes the gradients of one, in as many
parts as memory and the number of processes ask for.
"""

import logging
import math
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from wakeword_core.config import Config, LossConfig, TrainingConfig
from wakeword_core.cores import torch_threads
from wakeword_core.errors import ConfigError
from wakeword_core.export.tflite.fake_quantize import trained_rounding
from wakeword_core.interrupts import finishing
from wakeword_core.models.scoring import ScoringModel
from wakeword_core.progress import Progress, silent
from wakeword_core.teaching.scores import TeacherScores
from wakeword_core.training.data import Sampler, check_windows, counting_teacher, derived_seed
from wakeword_core.training.device import (
    choose_device,
    compile_backbone,
    cuda_arithmetic,
    cuda_devices,
    keep_freed_memory,
)
from wakeword_core.training.distributed import ALONE, MemoryFullError, Ranks, is_one_of_several, join_ranks
from wakeword_core.training.feed import feed, on_device, within_memory
from wakeword_core.training.objective import KINDS, Batch, sums_by_kind, wrongness
from wakeword_core.training.optim import ema_decay, largest_jump, learning_rate, update_average
from wakeword_core.training.processes import train_in_processes
from wakeword_core.training.quantizing import is_rounded, set_rounding
from wakeword_core.training.records import EpochRecord, TrainingSummary, epoch_line, kept_record, out_of_patience
from wakeword_core.training.run import (
    EpochTrace,
    Job,
    PartialEpoch,
    Run,
    finish_run,
    new_run,
    random_state,
    resume_run,
    run_hash,
    save_epoch_model,
    save_run,
    set_random_state,
)
from wakeword_core.training.usage import Usage
from wakeword_core.training.validation import allowed_alarms, check_validation, validate_run

if TYPE_CHECKING:
    from wakeword_core.features.cmvn import Cmvn
    from wakeword_core.features.store import WindowSet

log = logging.getLogger(__name__)

_FEWEST_ROWS = 2
"""The fewest rows that are computed at once: a batch norm after pooling learns nothing from one value."""
_JUMP = 20.0
"""Gradients so many times as large as usual are told of."""


class StoppedError(Exception):
    """A signal asked to stop; `run.partial_epoch` holds what is done of the epoch."""


@dataclass(frozen=True)
class Batches:
    """What the steps of every epoch are made of, and how they report and are stopped."""

    rows: "WindowSet"
    sampler: Sampler
    progress: Progress
    stop_requested: Callable[[], bool]
    teacher: TeacherScores | None = None


def train(
    train: "WindowSet",
    val: "WindowSet",
    cmvn: "Cmvn",
    config: Config,
    out: Path,
    progress: Progress = silent,
    on_epoch: Callable[[EpochRecord], None] = lambda record: None,
    start_from: ScoringModel | None = None,
    teacher: TeacherScores | None = None,
) -> TrainingSummary:
    """Train a model and write `model.safetensors`, `model.json` and `history.jsonl` to `out`.

    It begins anew, or with the weights of `start_from`, and learns what a `teacher` says of the training rows, too,
    where that has a share of the loss. The averaged weights (EMA) are the ones that are validated, stopped on, saved
    and returned. A killed training that is called again with the same data, settings and `out` goes on after its last
    finished epoch, one that got a signal to stop after its last batch, and ends with the same weights, bit for bit on a
    CPU. `on_epoch` is called once the epoch is safe on disk. Raises DataError when a class has no windows, ConfigError
    when training diverges.

    With `compute.processes` it starts that many processes to do it. A process that torchrun started is one of several
    already: each calls this with the same arguments, and the first alone writes to `out`, which all can read.
    """
    check_windows(train, "train", config.features, len(config.labels))
    check_windows(val, "val", config.features, len(config.labels))
    check_validation(val.labels)
    job = Job(train, val, cmvn, config, start_from, teacher=counting_teacher(teacher, train, config.training))
    if config.compute.processes > 1 and not is_one_of_several():
        return train_in_processes(train_here, job, out, progress, on_epoch)
    return train_here(job, out, progress, on_epoch)


def train_here(job: Job, out: Path, progress: Progress, on_epoch: Callable[[EpochRecord], None]) -> TrainingSummary:
    """Train on windows that were checked, in this process, which may be one of several."""
    config, settings = job.config, job.config.training
    sampler = Sampler(job.train, config.labels, settings, config.training_seed)
    device = choose_device(config.compute.device)
    with (
        join_ranks(device) as ranks,
        torch_threads(config.compute.threads or ranks.cores),
        keep_freed_memory(),
        cuda_arithmetic(settings.precision.tf32, config.compute.cudnn_benchmark),
        finishing("batch") as stop_requested,
        torch.random.fork_rng(devices=cuda_devices(device)),
    ):
        train_set, val_set = within_memory([job.train, job.val], config.compute, ranks.here)
        identity = run_hash(train_set, val_set, job.cmvn, config, job.start_from, job.teacher)
        run = new_run(train_set, job.cmvn, config, device, identity, job.start_from, ranks)
        run.micro_batch = min(run.micro_batch, job.micro_batch or run.micro_batch)
        resume_run(run, out)
        compile_backbone(run.model.backbone, config.compute.compile, device, ranks.count, config.compute.compile_mode)
        teacher = None if job.teacher is None else job.teacher.to(device)
        batches = Batches(on_device(train_set, device), sampler, progress, stop_requested, teacher)
        validation = on_device(val_set, device)

        while len(run.history) < settings.schedule.epochs and not (
            settings.validation.keep == "best" and out_of_patience(run.history, settings.validation.patience)
        ):
            try:
                record = _run_epoch(run, batches, validation, config)
            except StoppedError:
                if ranks.first:
                    save_run(run, out)
                raise KeyboardInterrupt from None
            run.history.append(record)
            if kept_record(run.history, settings.validation.keep) is record:
                run.best = {name: tensor.clone() for name, tensor in run.average.state_dict().items()}
            if ranks.first:
                save_epoch_model(run, config, out)  # before the epoch counts as done: a killed run saves it again
                save_run(run, out)
                log.info("%s", epoch_line(record, settings.schedule.epochs))
                on_epoch(record)
        return finish_run(run, sampler.steps * settings.sampling.batch_size, config, out)


def _run_epoch(run: Run, batches: Batches, validation: "WindowSet", config: Config) -> EpochRecord:
    """Train one epoch, or the rest of it, and validate the averaged weights; ConfigError when the loss diverged."""
    settings, epoch, first_step = config.training, len(run.history) + 1, run.step
    started, usage = time.monotonic(), Usage(run.device)
    trace = train_epoch(run, batches, settings, usage)
    norms = trace.norms[trace.norms.isfinite()] if run.scaler.is_enabled() else trace.norms  # without skipped steps
    loss, norm = float(trace.losses.mean()), float(norms.mean()) if len(norms) else 0.0
    trained = time.monotonic()
    alarms = allowed_alarms(
        validation.labels, config.features.rows.negative_hop_seconds, settings.validation.false_alarms_per_hour
    )
    figures = validate_run(run, validation, settings.validation.max_fpr, alarms)
    if not all(torch.isfinite(torch.tensor([loss, norm, figures.loss]))):
        raise ConfigError(
            f"training diverged in epoch {epoch} (its loss is not finite) with training.schedule.learning_rate "
            f"{settings.schedule.peak}; lower it"
        )
    seconds = time.monotonic() - started
    usual = (seconds + sum(before.seconds for before in run.history)) / epoch
    jump = largest_jump(norms)
    if jump is not None and jump > _JUMP and all((before.gradient_jump or 0) <= _JUMP for before in run.history):
        log.warning(
            "the gradients of a step of epoch %d were %.0f times as large as usual; if the loss does not come down "
            "again, lower training.schedule.learning_rate, or set training.optimizer.adaptive_clip",
            epoch,
            jump,
        )
    return EpochRecord(
        epoch=epoch,
        train_loss=loss,
        val_loss=figures.loss,
        val_auc=figures.auc,
        val_pauc=figures.pauc,
        val_f1=figures.f1,
        val_frr=figures.frr,
        val_score=figures.value(settings.validation.metric),
        learning_rate=run.optimizers.rate,
        gradient_norm=norm,
        samples_per_second=(run.step - first_step) * settings.sampling.batch_size / (trained - started),
        seconds=seconds,
        seconds_left=usual * (settings.schedule.epochs - epoch),
        val_fpr=figures.fpr,
        val_fnr=figures.fnr,
        val_frr_but_two=figures.frr_but_two,
        **_losses_by_kind(trace),
        clipped_steps=int(trace.clipped.sum()),
        gradient_jump=jump,
        **asdict(usage.used()),
    )


def _losses_by_kind(trace: EpochTrace) -> dict[str, float | None]:
    """Return the mean loss of the rows of each of KINDS, as `loss_<kind>`; None where there was no such row."""
    sums, counts = trace.kind_losses.sum(dim=0).tolist(), trace.kind_rows.sum(dim=0).tolist()
    return {
        f"loss_{kind}": total / count if count else None for kind, total, count in zip(KINDS, sums, counts, strict=True)
    }


def train_epoch(run: Run, batches: Batches, training: TrainingConfig, usage: Usage) -> EpochTrace:
    """Take the steps of the epoch after those of the history, or what is left of them.

    Raises StoppedError between two steps, and ConfigError when the memory does not hold two rows.
    """
    if is_rounded(len(run.history), training):
        if run.partial_epoch is None:
            set_rounding(run.model, run.average, batches.rows, training.quantization.rows)
        run.objective.rounding = trained_rounding(run.model)
    rows, noises, masks = batches.sampler.draw(len(run.history), run.device, run.difficulty)
    total = len(rows) * training.schedule.epochs
    steps, judged = len(rows), 0 if run.difficulty is None else rows.shape[1]
    shapes = (steps,), (steps,), (steps, judged), (steps,), (steps, len(KINDS)), (steps, len(KINDS))
    trace = EpochTrace(*(torch.zeros(shape, device=run.device) for shape in shapes))
    steps_done = 0
    if run.partial_epoch is not None:  # the training was stopped in the middle of this epoch: go on from there
        steps_done = len(run.partial_epoch.trace["losses"])
        for name, done in run.partial_epoch.trace.items():
            getattr(trace, name)[:steps_done] = done
        set_random_state(run.partial_epoch.random, masks)
        run.partial_epoch = None
    scores = [record.score for record in run.history]
    run.train_mode()

    left = rows[steps_done:], noises[steps_done:], masks
    with closing(draw_batches(run, batches.rows, *left, batches.teacher)) as drawn:
        for position in range(steps_done, len(rows)):
            if run.ranks.any(batches.stop_requested()):
                so_far = {name: tensor[:position] for name, tensor in trace._asdict().items()}
                run.partial_epoch = PartialEpoch(so_far, random_state(run.device, masks))
                raise StoppedError
            if not run.ranks.first:  # dropout of the first process goes on as that of a single process does
                torch.manual_seed(derived_seed(batches.sampler.seed, run.step, f"dropout of process {run.ranks.index}"))
            run.optimizers.rate = learning_rate(run.step, total, training.schedule, scores)
            batch = next(drawn)
            trace.losses[position], trace.wrong[position], of_rows = compute_gradients(run, batch, training.loss)
            trace.kind_losses[position], trace.kind_rows[position] = sums_by_kind(of_rows, batch.kinds)
            trace.norms[position] = run.optimizers.step(run.clipper, run.scaler)
            trace.clipped[position] = run.clipper.clipped
            if not run.scaler.is_enabled() or trace.norms[position].isfinite():  # else the scaler has skipped the step
                update_average(run.average, run.model, ema_decay(run.step, total, training.ema))
            run.step += 1
            usage.look()
            batches.progress("training", run.step, total)

    if run.difficulty is not None:
        wrong, places = trace.wrong.flatten().cpu(), rows.flatten().cpu()
        scored = ~wrong.isnan()
        # of a row that came more than once numpy keeps the last value
        run.difficulty.numpy()[places[scored].numpy()] = wrong[scored].numpy()
    return trace


def draw_batches(
    run: Run,
    windows: "WindowSet",
    rows: Tensor,
    noises: Tensor,
    generator: torch.Generator,
    teacher: TeacherScores | None = None,
) -> Generator[Batch]:
    """Yield the batches of `rows` [steps, batch] and of noise alike, each augmented when it is asked for.

    What a `teacher` says of the windows goes with them.
    Raises ConfigError when the GPU's memory is too small for a batch.
    """
    try:
        for material in feed(windows, rows, noises, run.device, teacher):
            yield run.objective.draw(run.model, material, generator)
    except torch.OutOfMemoryError as error:
        raise ConfigError(
            f"the GPU's memory is too small for {rows.shape[1]} rows; lower training.sampling.batch_size"
        ) from error


def compute_gradients(run: Run, batch: Batch, loss: LossConfig) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the gradients of the loss of a batch, in parts half as large whenever memory is exhausted.

    Returns the loss, how wrong the model was about each row by `wrongness`, [batch] or [0] where nobody asks, and the
    loss of each row [batch].
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


def _accumulate(run: Run, batch: Batch, loss: LossConfig) -> tuple[Tensor, Tensor, Tensor]:
    run.optimizers.zero_grad()
    total = torch.zeros(1, device=run.device)
    wrong = torch.zeros(0 if run.difficulty is None else len(batch.labels), device=run.device)
    of_rows = torch.zeros(len(batch.labels), device=run.device)
    for rows in micro_batches(len(batch.labels), run.micro_batch, run.ranks):
        part = batch.part(rows)
        output = run.objective(run.model, part)
        run.scaler.scale(output.loss).backward()
        total += output.loss.detach()
        of_rows[rows] = output.rows
        if run.difficulty is not None:
            wrong[rows] = wrongness(output.logits, part.targets[0], loss, len(part.labels))
    parameters = [*run.model.parameters(), *run.objective.parameters()]
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    run.ranks.add_up([total, wrong, of_rows, *gradients])
    return total[0], wrong, of_rows


def micro_batches(rows: int, most: int, ranks: Ranks = ALONE) -> Iterator[slice]:
    """Cut a batch into parts of at most so many rows, and give those of this process: as many on every process.

    Each is every n-th row, and so has its share of every kind, which lie side by side. None is a row by itself, but of
    several processes, whose batch norms go by the parts of all: another one has a row too many instead.
    """
    fewest = max(_FEWEST_ROWS, ranks.count)
    turns = max(1, min(math.ceil(rows / (most * ranks.count)), rows // fewest))
    count = turns * ranks.count
    return (slice(first, None, count) for first in range(ranks.index, count, ranks.count))
