"""The state of a training: what changes while it goes on, and its way to disk and back."""

import hashlib
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.amp.grad_scaler import GradScaler

from wakeword_core.config import Config
from wakeword_core.config.training import deciding_settings
from wakeword_core.errors import ConfigError
from wakeword_core.files import digest
from wakeword_core.models.scoring import ScoringModel, new_model
from wakeword_core.training import ema
from wakeword_core.training.checkpoint import Checkpoint, Tensors, load_checkpoint, save_checkpoint, tensors_hash
from wakeword_core.training.clipping import Clipper
from wakeword_core.training.difficulty import UNSEEN
from wakeword_core.training.distributed import ALONE, Ranks, share_norms
from wakeword_core.training.objective import Objective
from wakeword_core.training.optimizers import Optimizers, make_optimizers
from wakeword_core.training.records import HISTORY, EpochRecord, write_history
from wakeword_core.training.sampler import derived_seed

if TYPE_CHECKING:
    from wakeword_core.features.cmvn import Cmvn
    from wakeword_core.features.store import WindowSet

log = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints"


@dataclass
class Run:
    """What changes while training goes on."""

    hash: str
    """of what its result depends on"""
    device: torch.device
    model: ScoringModel
    average: ScoringModel
    objective: Objective
    optimizers: Optimizers
    clipper: Clipper
    scaler: GradScaler
    micro_batch: int
    """rows at once, fewer when memory was exhausted"""
    ranks: Ranks = ALONE
    difficulty: Tensor | None = None
    """how wrong the model was about each row when it last saw it, [rows] on the CPU, where the sampler goes by that"""
    best: Tensors = field(default_factory=dict)
    history: list[EpochRecord] = field(default_factory=list)
    step: int = 0
    started: "Started | None" = None
    """the epoch that was stopped in the middle"""


@dataclass(frozen=True)
class Trace:
    """What an epoch leaves behind, step by step."""

    losses: Tensor
    """[steps]"""
    norms: Tensor
    """of gradients, [steps]"""
    wrong: Tensor
    """how wrong the model was about each row of each batch, as `wrongness` says; [steps, 0] where nobody asks"""

    @classmethod
    def of(cls, steps: int, rows: int, device: torch.device) -> "Trace":
        """Of so many steps, in each of which so many rows are judged, to be filled in."""
        losses, norms = torch.zeros(2, steps, device=device)
        return cls(losses, norms, torch.zeros(steps, rows, device=device))

    def tensors(self, steps: int | None = None) -> Tensors:
        """Its tensors by name, of the first steps."""
        return {name: tensor[:steps] for name, tensor in vars(self).items()}


@dataclass(frozen=True)
class Started:
    """The part of an epoch that is done, and what is random about the rest."""

    trace: Tensors
    random: Tensors

    @property
    def steps(self) -> int:
        """How many are done."""
        return len(self.trace["losses"])


def run_hash(
    train: "WindowSet", val: "WindowSet", cmvn: "Cmvn", config: Config, start_from: ScoringModel | None = None
) -> str:
    """Hash of what a training's result depends on, to tell whether a checkpoint belongs to it."""
    settings = config.subset("seed", "model", "training", "features.frontend")
    decides = {"training": deciding_settings(settings["training"])}
    whole = hashlib.sha256(digest({**settings, **decides, "labels": list(config.labels)}).encode())
    if config.training.clean_share is not None:
        whole.update(train.views.cpu().contiguous().numpy().data)
    for windows in (train, val):
        for tensor in (windows.mel, windows.labels, windows.roles, windows.word_ends):
            whole.update(str(tuple(tensor.shape)).encode())
            whole.update(tensor.cpu().contiguous().numpy().data)
    for values in (cmvn.mean, cmvn.std):
        whole.update(values.tobytes())
    if start_from is not None:
        whole.update(tensors_hash(start_from.state_dict()).encode())
    return whole.hexdigest()


def new_run(
    train: "WindowSet",
    cmvn: "Cmvn",
    config: Config,
    device: str,
    identity: str,
    start_from: ScoringModel | None = None,
    ranks: Ranks = ALONE,
) -> Run:
    """A training before its first step; draws from torch's default generator."""
    settings = config.training
    torch.manual_seed(derived_seed(config.seed, 0, "weights"))
    model = new_model(config)
    _check_reach(model)
    if start_from is not None:
        if start_from.config != config.model:
            raise ConfigError("the model to train further has another architecture; train a new one from the beginning")
        model.load_state_dict(start_from.state_dict(), strict=True)
    model.set_cmvn(cmvn)
    model.to(device)
    if device == "cuda" and settings.channels_last and settings.optimizer != "muon":  # which sees weights as matrices
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    objective = Objective(config, model, train.labels).to(device)
    scaled = device == "cuda" and settings.amp and settings.amp_dtype == "float16"
    average = ema.averaged_copy(model)
    share_norms(model, ranks)
    return Run(
        hash=identity,
        device=torch.device(device),
        model=model,
        average=average,
        objective=objective,
        optimizers=make_optimizers(model.named_parameters(), settings, objective.parameters()),
        clipper=Clipper(settings, device),
        scaler=GradScaler(device, enabled=scaled),
        micro_batch=min(settings.micro_batch or settings.batch_size, settings.batch_size),
        ranks=ranks,
        difficulty=torch.full((len(train),), UNSEEN) if settings.sampler == "difficulty" else None,
    )


def _check_reach(model: ScoringModel) -> None:
    """ConfigError when a network that streams looks back farther than a window: it would never see that in use."""
    reach = getattr(model.backbone, "receptive_field_frames", 0)
    if reach > model.frames:
        raise ConfigError(
            f"the network sees {reach} frames, but features.frontend.window_frames is {model.frames}; make the window "
            "longer, or the network's kernels or dilations smaller"
        )


def save_run(run: Run, out: Path) -> None:
    """Make the state the last checkpoint in `out`, and write the history beside."""
    started = run.started
    tensors = {
        "model": run.model.state_dict(),
        "average": run.average.state_dict(),
        "best": run.best,
        "objective": run.objective.state_dict(),
        "optimizer": run.optimizers.tensors(),
        "clipper": {"norms": run.clipper.norms},
        "difficulty": {} if run.difficulty is None else {"rows": run.difficulty},
        "started": {} if started is None else started.trace,
        "random": {} if started is None else started.random,
    }
    scaler = run.scaler.state_dict()
    device = run.device.type
    checkpoint = Checkpoint(run.hash, run.step, run.micro_batch, device, scaler, tuple(run.history), tensors)
    save_checkpoint(out / CHECKPOINTS, checkpoint)
    write_history(out / HISTORY, run.history)


def resume(run: Run, out: Path) -> None:
    """Go on from the newest whole checkpoint of this training in `out`, if there is one."""
    checkpoint = load_checkpoint(out / CHECKPOINTS, run.hash)
    if checkpoint is None:
        return
    tensors = checkpoint.tensors
    run.model.load_state_dict(tensors["model"], strict=True)
    run.average.load_state_dict(tensors["average"], strict=True)
    run.objective.load_state_dict(tensors["objective"], strict=True)
    run.optimizers.restore(tensors["optimizer"])
    run.clipper.norms = tensors["clipper"]["norms"].to(run.device)
    same_device = checkpoint.device == run.device.type
    if same_device:
        run.scaler.load_state_dict(checkpoint.scaler)
    run.best, run.step, run.history = tensors["best"], checkpoint.step, list(checkpoint.history)
    run.micro_batch = min(run.micro_batch, checkpoint.micro_batch)
    if run.difficulty is not None:
        run.difficulty = tensors["difficulty"]["rows"]
    if tensors["started"] and not same_device:
        log.warning("the epoch begun on %s is begun again: its random numbers cannot go on here", checkpoint.device)
        run.step -= len(tensors["started"]["losses"])
    elif tensors["started"]:
        run.started = Started(tensors["started"], tensors["random"])
    if run.ranks.first:
        write_history(out / HISTORY, run.history)
    middle = "" if run.started is None else f" and {run.started.steps} batches"
    log.info("training goes on after epoch %d%s", len(run.history), middle)
