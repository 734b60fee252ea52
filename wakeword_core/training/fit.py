"""The training loop: from windows to the weights that are saved."""

import hashlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from wakeword_core.config import Config, Split, TrainingConfig
from wakeword_core.cores import torch_threads
from wakeword_core.errors import ConfigError, DataError
from wakeword_core.files import digest
from wakeword_core.models.facts import count_parameters
from wakeword_core.models.scoring import ScoringModel, model_card, new_model, save_model
from wakeword_core.progress import Progress, silent
from wakeword_core.training import ema
from wakeword_core.training.checkpoint import (
    Checkpoint,
    Tensors,
    load_checkpoint,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
    tensors_hash,
)
from wakeword_core.training.device import choose_device
from wakeword_core.training.objective import Objective, TrainRows
from wakeword_core.training.records import (
    HISTORY,
    EpochRecord,
    TrainingSummary,
    kept_of,
    out_of_patience,
    write_history,
)
from wakeword_core.training.sampler import BalancedSampler, NoiseSampler, derived_seed
from wakeword_core.training.schedule import learning_rate
from wakeword_core.training.validation import check_validation, validate

if TYPE_CHECKING:
    from wakeword_core.features.cmvn import Cmvn
    from wakeword_core.features.store import WindowSet

log = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints"


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

    It begins anew, or with the weights of `start_from`. The averaged weights (EMA) are the ones that are validated, stopped on, saved and returned. A killed training that
    is called again with the same data, settings and `out` goes on after its last finished epoch and ends with the same
    weights, bit for bit on a CPU. `on_epoch` is called once the epoch is safe on disk. Raises DataError when a class
    has no windows, ConfigError when training diverges.
    """
    check_windows(train, "train", config)
    check_windows(val, "val", config)
    check_validation(val.labels)
    sampler = BalancedSampler(train, config.labels, config.training, config.seed)
    device = choose_device(config.training.device)
    cuda = [torch.cuda.current_device()] if device == "cuda" else []
    with torch_threads(config.training.threads), torch.random.fork_rng(devices=cuda):
        run = new_run(train, cmvn, config, device, run_hash(train, val, cmvn, config, start_from), start_from)
        _resume(run, out)
        run.sampler, run.noise, run.progress = sampler, NoiseSampler(train, config.seed), progress
        data = _Data(TrainRows.of(train, config, device), val.mel.to(device), val.labels.to(device))
        while not _finished(run, config.training):
            _one_epoch(run, data, config)
            _keep(run, out)
            on_epoch(run.history[-1])
        return _finish(run, config, out)


def run_hash(
    train: "WindowSet", val: "WindowSet", cmvn: "Cmvn", config: Config, start_from: ScoringModel | None = None
) -> str:
    """Hash of what a training's result depends on, to tell whether a checkpoint belongs to it."""
    settings = config.subset("seed", "model", "training", "features.frontend")
    for name in ("device", "threads", "min_val_auc"):
        settings["training"].pop(name)
    whole = hashlib.sha256(digest({**settings, "labels": list(config.labels)}).encode())
    for windows in (train, val):
        for tensor in (windows.mel, windows.labels, windows.roles, windows.word_ends):
            whole.update(str(tuple(tensor.shape)).encode())
            whole.update(tensor.cpu().contiguous().numpy().data)
    for values in (cmvn.mean, cmvn.std):
        whole.update(values.tobytes())
    if start_from is not None:
        whole.update(tensors_hash(start_from.state_dict()).encode())
    return whole.hexdigest()


@dataclass(frozen=True)
class _Data:
    """Windows on the device."""

    train: TrainRows
    val_mel: Tensor
    val_labels: Tensor


@dataclass
class _Run:
    """What changes while training goes on."""

    hash: str
    model: ScoringModel
    average: ScoringModel
    objective: Objective
    optimizer: torch.optim.Optimizer
    best: Tensors = field(default_factory=dict)
    history: list[EpochRecord] = field(default_factory=list)
    step: int = 0
    sampler: BalancedSampler = field(init=False)
    noise: NoiseSampler = field(init=False)
    progress: Progress = silent


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


def new_run(
    train: "WindowSet", cmvn: "Cmvn", config: Config, device: str, identity: str, start_from: ScoringModel | None
) -> _Run:
    """A training before its first step: weights drawn from the seed, or those of `start_from`."""
    torch.manual_seed(derived_seed(config.seed, 0, "weights"))
    model = new_model(config)
    if start_from is not None:
        if start_from.config != config.model:
            raise ConfigError("the model to train further has another architecture; train a new one from the beginning")
        model.load_state_dict(start_from.state_dict(), strict=True)
    model.set_cmvn(cmvn)
    model.to(device)
    objective = Objective(config, model, train.labels).to(device)
    optimizer = _optimizer(model, config.training)
    if beside := list(objective.parameters()):
        optimizer.add_param_group({"params": beside, "weight_decay": 0.0})
    return _Run(identity, model, ema.averaged_copy(model), objective, optimizer)


def _optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter 2019); norms and biases are not decayed."""
    parameters = list(model.parameters())
    groups = [
        {"params": [one for one in parameters if one.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [one for one in parameters if one.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)


def _resume(run: _Run, out: Path) -> None:
    checkpoint = load_checkpoint(out / CHECKPOINTS, run.hash)
    if checkpoint is None:
        return
    run.model.load_state_dict(checkpoint.model, strict=True)
    run.average.load_state_dict(checkpoint.average, strict=True)
    run.objective.load_state_dict(checkpoint.objective, strict=True)
    restore_optimizer(run.optimizer, checkpoint.optimizer)
    run.best, run.step, run.history = checkpoint.best, checkpoint.step, list(checkpoint.history)
    write_history(out / HISTORY, run.history)
    log.info("training goes on after epoch %d", len(run.history))


def _finished(run: _Run, config: TrainingConfig) -> bool:
    impatient = config.keep == "best" and out_of_patience(run.history, config.patience)
    return len(run.history) >= config.epochs or impatient


def _one_epoch(run: _Run, data: _Data, config: Config) -> None:
    """Train and validate one epoch and append its record; the best weights so far are kept."""
    settings = config.training
    epoch = len(run.history)
    started = time.monotonic()
    rows = run.sampler.epoch(epoch).to(data.train.mel.device)
    losses, norms = _train_batches(run, data, rows, config, epoch)
    loss, norm = float(losses.mean()), float(norms.mean())
    trained = time.monotonic()
    figures = validate(run.average, data.val_mel, data.val_labels, settings.batch_size, settings.val_max_fpr)
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
        learning_rate=run.optimizer.param_groups[0]["lr"],
        gradient_norm=norm,
        samples_per_second=rows.numel() / (trained - started),
        seconds=time.monotonic() - started,
    )
    run.history.append(record)
    if kept_of(run.history, settings.keep) is record:
        run.best = {name: tensor.clone() for name, tensor in run.average.state_dict().items()}


def _train_batches(run: _Run, data: _Data, rows: Tensor, config: Config, epoch: int) -> tuple[Tensor, Tensor]:
    """One step for each row of `rows` [steps, batch]; losses and gradient norms, [steps] each, on the device."""
    settings = config.training
    device = data.train.mel.device.type
    total = len(rows) * settings.epochs
    torch.manual_seed(derived_seed(config.seed, epoch, "dropout"))
    generator = torch.Generator(device).manual_seed(derived_seed(config.seed, epoch, "masks"))
    noises = run.noise.epoch(epoch, *rows.shape).to(rows.device)
    losses, norms = torch.zeros(2, len(rows), device=device)
    run.model.train()
    trained = [*run.model.parameters(), *run.objective.parameters()]
    for position, chosen in enumerate(rows):
        for group in run.optimizer.param_groups:
            group["lr"] = learning_rate(run.step, total, settings)
        noise = noises[position] if noises.numel() else None
        loss = run.objective(run.model, data.train, chosen, noise, generator)
        run.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norms[position] = nn.utils.clip_grad_norm_(trained, settings.clip_norm)
        losses[position] = loss.detach()
        run.optimizer.step()
        ema.update(run.average, run.model, ema.ramped_decay(settings.ema_decay, run.step))
        run.step += 1
        run.progress("training", run.step, total)
    return losses, norms


def _keep(run: _Run, out: Path) -> None:
    checkpoint = Checkpoint(
        run=run.hash,
        step=run.step,
        model=run.model.state_dict(),
        average=run.average.state_dict(),
        objective=run.objective.state_dict(),
        best=run.best,
        optimizer=optimizer_tensors(run.optimizer),
        history=tuple(run.history),
    )
    save_checkpoint(out / CHECKPOINTS, checkpoint)
    write_history(out / HISTORY, run.history)


def _finish(run: _Run, config: Config, out: Path) -> TrainingSummary:
    best = kept_of(run.history, config.training.keep)
    assert best is not None
    run.average.load_state_dict(run.best, strict=True)
    save_model(out, run.average, model_card(config))
    stopped = len(run.history) < config.training.epochs
    if stopped:
        log.info("stopped after epoch %d: nothing better since epoch %d", len(run.history), best.epoch)
    samples = run.sampler.steps * config.training.batch_size
    training_seconds = sum(samples / record.samples_per_second for record in run.history)
    return TrainingSummary(
        epochs=len(run.history),
        best_epoch=best.epoch,
        best_score=best.val_pauc,
        val_loss=best.val_loss,
        val_auc=best.val_auc,
        val_pauc=best.val_pauc,
        parameters=count_parameters(run.average),
        seconds=sum(record.seconds for record in run.history),
        samples_per_second=len(run.history) * samples / training_seconds,
        stopped_early=stopped,
    )
