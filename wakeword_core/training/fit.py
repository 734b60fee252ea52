"""Training: from windows to the weights that are saved."""

import logging
import time
from collections.abc import Callable
from dataclasses import astuple, fields
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from wakeword_core.config import Config, Split, TrainingConfig
from wakeword_core.cores import torch_threads
from wakeword_core.errors import ConfigError, DataError
from wakeword_core.interrupts import finishing
from wakeword_core.models.facts import count_parameters
from wakeword_core.models.scoring import ScoringModel, model_card, save_model
from wakeword_core.progress import Progress, silent
from wakeword_core.training.batch import TrainRows
from wakeword_core.training.compiling import compile_backbone
from wakeword_core.training.device import choose_device
from wakeword_core.training.distributed import ranks_here, under_torchrun
from wakeword_core.training.epoch import Batches, StoppedError, train_epoch
from wakeword_core.training.job import Job
from wakeword_core.training.launch import train_in_processes
from wakeword_core.training.memory import freed_memory_kept
from wakeword_core.training.records import EpochRecord, TrainingSummary, kept_of, out_of_patience
from wakeword_core.training.run import Run, Trace, new_run, resume, run_hash, save_run
from wakeword_core.training.sampler import NoiseSampler, Sampler, derived_seed
from wakeword_core.training.validation import ValidationFigures, allowed_alarms, check_validation, validate

if TYPE_CHECKING:
    from wakeword_core.features.cmvn import Cmvn
    from wakeword_core.features.store import WindowSet

log = logging.getLogger(__name__)

EPOCHS = "epochs"
"""The folder beside the model with those of earlier epochs."""


def _ignore(record: EpochRecord) -> None:
    """The epoch callback of a caller that does not want to know."""


def train(
    train: "WindowSet",
    val: "WindowSet",
    cmvn: "Cmvn",
    config: Config,
    out: Path,
    progress: Progress = silent,
    on_epoch: Callable[[EpochRecord], None] = _ignore,
    start_from: ScoringModel | None = None,
) -> TrainingSummary:
    """Train a model and write `model.safetensors`, `model.json` and `history.jsonl` to `out`.

    It begins anew, or with the weights of `start_from`. The averaged weights (EMA) are the ones that are validated,
    stopped on, saved and returned. A killed training that is called again with the same data, settings and `out` goes
    on after its last finished epoch, one that got a signal to stop after its last batch, and ends with the same
    weights, bit for bit on a CPU. `on_epoch` is called once the epoch is safe on disk. Raises DataError when a class
    has no windows, ConfigError when training diverges.

    With `training.processes` it starts others to do it. One that torchrun started is one of several already: each
    calls this with the same arguments, and the first alone writes to `out`, which all can read.
    """
    job = Job(train, val, cmvn, config, start_from)
    check_windows(train, "train", config)
    check_windows(val, "val", config)
    check_validation(val.labels)
    if config.training.processes > 1 and not under_torchrun():
        return train_in_processes(job, out, progress, on_epoch)
    return train_here(job, out, progress, on_epoch)


def train_here(job: Job, out: Path, progress: Progress, on_epoch: Callable[[EpochRecord], None]) -> TrainingSummary:
    """As `train`, for windows that fit, in this process, which may be one of several."""
    config, settings = job.config, job.config.training
    sampler = Sampler(job.train, config.labels, settings, config.seed)
    device = choose_device(settings.device)
    with (
        ranks_here(device) as ranks,
        torch_threads(settings.threads or ranks.cores),
        freed_memory_kept(),
        finishing("batch") as asked,
    ):
        cuda = [torch.cuda.current_device()] if device == "cuda" else []
        with torch.random.fork_rng(devices=cuda):
            identity = run_hash(job.train, job.val, job.cmvn, config, job.start_from)
            run = new_run(job.train, job.cmvn, config, device, identity, job.start_from, ranks)
            run.micro_batch = min(run.micro_batch, job.micro_batch or run.micro_batch)
            _resume(run, out)
            compile_backbone(run.model.backbone, settings, ranks, device)
            rows = TrainRows.of(job.train, config, device)
            noise = NoiseSampler(job.train, config.seed, settings.clean_share)
            batches = Batches(rows, sampler, noise, progress, asked)
            seen = job.val.mel.to(device), job.val.labels.to(device)
            while not _finished(run, settings):
                try:
                    _one_epoch(run, batches, seen, config)
                except StoppedError:
                    if ranks.first:
                        save_run(run, out)
                    raise KeyboardInterrupt from None
                if ranks.first:
                    _keep_epoch(run, config, out)  # before it counts as done: a killed run keeps it again
                    save_run(run, out)
                    on_epoch(run.history[-1])
            return _finish(run, sampler, config, out)


def check_windows(windows: "WindowSet", split: "Split", config: Config) -> None:
    """DataError when windows do not fit the configuration's shape or classes."""
    shape = (config.features.frontend.bands, config.features.row_frames(split))
    name = "training" if split == "train" else "validation"
    if tuple(windows.mel.shape[1:]) != shape:
        raise DataError(
            f"{name} windows are {tuple(windows.mel.shape[1:])}, but the configuration says {shape} "
            "mel bands and frames; build the features again"
        )
    if len(windows.labels) and not 0 <= int(windows.labels.min()) <= int(windows.labels.max()) < len(config.labels):
        raise DataError(f"{name} windows have labels outside 0 to {len(config.labels) - 1}; build the features again")


def _finished(run: Run, config: TrainingConfig) -> bool:
    impatient = config.keep == "best" and out_of_patience(run.history, config.patience)
    return len(run.history) >= config.epochs or impatient


def _resume(run: Run, out: Path) -> None:
    """Each process goes on from the same checkpoint; the first looks for it alone, since it removes damaged ones."""
    if run.ranks.first:
        resume(run, out)
    run.ranks.wait()
    if not run.ranks.first:
        resume(run, out)
    run.ranks.check_alike("data, settings or checkpoints", derived_seed(run.step, 0, run.hash))


def _one_epoch(run: Run, batches: Batches, val: tuple[Tensor, Tensor], config: Config) -> None:
    """Train and validate (on mel and labels) one epoch and append its record; the best weights so far are kept."""
    settings = config.training
    epoch = len(run.history)
    started, before = time.monotonic(), run.step
    trace = train_epoch(run, batches, config)
    loss, norm = float(trace.losses.mean()), _mean_norm(run, trace)
    trained = time.monotonic()
    figures = _validated(run, val, config)
    if not all(torch.isfinite(torch.tensor([loss, norm, figures.loss]))):
        raise ConfigError(
            f"training diverged in epoch {epoch + 1} (its loss is not finite) with training.learning_rate "
            f"{settings.learning_rate}; lower it"
        )
    record = EpochRecord(
        epoch=epoch + 1,
        train_loss=loss,
        val_loss=figures.loss,
        val_auc=figures.auc,
        val_pauc=figures.pauc,
        val_f1=figures.f1,
        val_frr=figures.frr,
        val_score=figures.value(settings.val_metric),
        learning_rate=run.optimizers.rate,
        gradient_norm=norm,
        samples_per_second=(run.step - before) * settings.batch_size / (trained - started),
        seconds=time.monotonic() - started,
    )
    run.history.append(record)
    if kept_of(run.history, settings.keep) is record:
        run.best = {name: tensor.clone() for name, tensor in run.average.state_dict().items()}


def _mean_norm(run: Run, trace: Trace) -> float:
    """Of the gradients; with float16's scaler without the steps that it skipped to find its scale, 0 if it did all."""
    counted = trace.norms[trace.norms.isfinite()] if run.scaler.is_enabled() else trace.norms
    return float(counted.mean()) if len(counted) else 0.0


def _validated(run: Run, val: tuple[Tensor, Tensor], config: Config) -> ValidationFigures:
    """Figures of the average, which one process measures for all, so that all decide alike."""
    settings, measured = config.training, [0.0] * len(fields(ValidationFigures))
    if run.ranks.first:
        alarms = allowed_alarms(val[1], config)
        measured = list(astuple(validate(run.average, *val, run.micro_batch, settings.val_max_fpr, alarms)))
    return ValidationFigures(*run.ranks.of_first(measured))


def _keep_epoch(run: Run, config: Config, out: Path) -> None:
    """Every `keep_every` epochs the model as it is then, to be looked at or gone back to."""
    epoch, every = len(run.history), config.training.keep_every
    if every and epoch % every == 0:
        folder = out / EPOCHS / f"{epoch:05d}"
        folder.mkdir(parents=True, exist_ok=True)
        save_model(folder, run.average, model_card(config))


def _finish(run: Run, sampler: Sampler, config: Config, out: Path) -> TrainingSummary:
    best = kept_of(run.history, config.training.keep)
    assert best is not None
    run.average.load_state_dict(run.best, strict=True)
    if run.ranks.first:
        save_model(out, run.average, model_card(config))
    stopped = len(run.history) < config.training.epochs
    if stopped:
        log.info("stopped after epoch %d: nothing better since epoch %d", len(run.history), best.epoch)
    samples = sampler.steps * config.training.batch_size
    training_seconds = sum(samples / record.samples_per_second for record in run.history)
    return TrainingSummary(
        epochs=len(run.history),
        best_epoch=best.epoch,
        best_score=best.val_score,
        val_loss=best.val_loss,
        val_auc=best.val_auc,
        val_pauc=best.val_pauc,
        val_f1=best.val_f1,
        val_frr=best.val_frr,
        parameters=count_parameters(run.average),
        seconds=sum(record.seconds for record in run.history),
        samples_per_second=len(run.history) * samples / training_seconds,
        stopped_early=stopped,
    )
