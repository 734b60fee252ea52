"""The state of a training: how it begins, goes to disk and back, and ends.

Everything random in an epoch is a function of (seed, epoch), so random states are kept of an epoch only that was
stopped in the middle.
"""

import hashlib
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from wakeword_core.config import Config
from wakeword_core.errors import ConfigError
from wakeword_core.features.gathering import ROWS_AT_ONCE, in_order
from wakeword_core.files import digest
from wakeword_core.models.scoring import ScoringModel, count_parameters, model_card, new_model, save_model
from wakeword_core.teaching.scores import TeacherScores
from wakeword_core.training.checkpoint import (
    CHECKPOINTS,
    Checkpoint,
    Tensors,
    load_checkpoint,
    save_checkpoint,
    tensors_hash,
)
from wakeword_core.training.data import UNSEEN, derived_seed
from wakeword_core.training.distributed import ALONE, Ranks, share_norms
from wakeword_core.training.objective import Objective, batch_norms
from wakeword_core.training.optim import Clipper, Optimizers, averaged_copy, make_optimizers
from wakeword_core.training.quantizing import make_room
from wakeword_core.training.records import (
    HISTORY,
    EpochRecord,
    TrainingSummary,
    kept_record,
    summarise,
    write_history,
)
from wakeword_core.training.starting import freeze

if TYPE_CHECKING:
    from wakeword_core.features.cmvn import Cmvn
    from wakeword_core.features.store import WindowSet

log = logging.getLogger(__name__)

EPOCHS = "epochs"
"""The folder beside the model with those of earlier epochs."""


@dataclass(frozen=True)
class Job:
    """Windows of both splits, how they are normalised, settings, and the weights to begin with, if any."""

    train: "WindowSet"
    val: "WindowSet"
    cmvn: "Cmvn"
    config: Config
    start_from: ScoringModel | None = None
    micro_batch: int = 0  # rows at once at most, where memory has been exhausted before; 0: as the settings say
    teacher: TeacherScores | None = None  # of the training rows, in their order


@dataclass
class Run:
    """What changes while training goes on."""

    hash: str  # of what its result depends on
    device: torch.device
    model: ScoringModel
    average: ScoringModel
    objective: Objective
    optimizers: Optimizers
    clipper: Clipper
    scaler: GradScaler
    micro_batch: int  # rows at once, fewer when memory was exhausted
    ranks: Ranks = ALONE
    difficulty: Tensor | None = None  # how wrong the model was about each row it saw, [rows] on the CPU, if it counts
    frozen: tuple[nn.Module, ...] = ()  # layers that stay as they are
    best: Tensors = field(default_factory=dict)
    history: list[EpochRecord] = field(default_factory=list)
    step: int = 0
    partial_epoch: "PartialEpoch | None" = None  # the epoch that was stopped in the middle

    def train_mode(self) -> None:
        """Let norms follow the batches, and dropout act, but in layers that stay as they are."""
        self.model.train()
        norms = [] if self.objective.rounding is None else batch_norms(self.model)
        for layer in (*self.frozen, *norms):
            layer.eval()


class EpochTrace(NamedTuple):
    """What an epoch leaves behind, step by step."""

    losses: Tensor  # [steps]
    norms: Tensor  # of gradients, [steps]
    wrong: Tensor  # by `wrongness`, of each row of each batch, [steps, rows]; [steps, 0] where nothing depends on it
    clipped: Tensor  # 1 where they were scaled down, [steps]
    kind_losses: Tensor  # of the rows of each of KINDS their sum, [steps, kinds]
    kind_rows: Tensor  # and how many they are, [steps, kinds]


class PartialEpoch(NamedTuple):
    """The part of an epoch that is done, and the random states that the rest begins with."""

    trace: Tensors
    random: Tensors


def random_state(device: torch.device, masks: torch.Generator | None = None) -> Tensors:
    """Read the state of all that is random on a device: dropout's on the CPU and the GPU, and the masks'."""
    state = {"cpu": torch.get_rng_state()}
    state |= {} if masks is None else {"masks": masks.get_state()}
    return state | ({"cuda": torch.cuda.get_rng_state()} if device.type == "cuda" else {})


def set_random_state(state: Tensors, masks: torch.Generator | None = None) -> None:
    """Put back what `random_state` read."""
    torch.set_rng_state(state["cpu"])
    if masks is not None:
        masks.set_state(state["masks"])
    if "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"])


def run_hash(
    train: "WindowSet",
    val: "WindowSet",
    cmvn: "Cmvn",
    config: Config,
    start_from: ScoringModel | None = None,
    teacher: TeacherScores | None = None,
) -> str:
    """Hash what a training's result depends on, to tell whether a checkpoint belongs to it."""
    whole = hashlib.sha256(digest(config.subset("seed", "training", "features.frontend", "labels")).encode())
    if config.training.sampling.clean_share is not None:
        whole.update(train.views.cpu().contiguous().numpy().data)
    if config.training.sampling.real_share is not None:
        whole.update(train.synthetic.cpu().contiguous().numpy().data)
    for windows in (train, val):
        whole.update(str(tuple(windows.mel.shape)).encode())
        for block in in_order(windows.mel, ROWS_AT_ONCE):
            whole.update(block.numpy().data)
        for tensor in (windows.labels, windows.roles, windows.word_ends):
            whole.update(str(tuple(tensor.shape)).encode())
            whole.update(tensor.cpu().contiguous().numpy().data)
    for values in (cmvn.mean, cmvn.std):
        whole.update(values.tobytes())
    if start_from is not None:
        whole.update(tensors_hash(start_from.state_dict()).encode())
    if teacher is not None:
        whole.update(f"{teacher.step_frames} {teacher.last}".encode())
        whole.update(tensors_hash({"teacher": teacher.log_probabilities}).encode())
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
    """Begin a training; weights and what else is random are drawn from torch's default generator."""
    settings, sampling = config.training, config.training.sampling
    torch.manual_seed(derived_seed(config.training_seed, 0, "weights"))
    model = new_model(config)
    reach = getattr(model.backbone, "receptive_field_frames", 0)
    if reach > model.frames:  # a network that streams would never see in use what lies before a window
        raise ConfigError(
            f"the network sees {reach} frames, but features.frontend.window_frames is {model.frames}; make the window "
            "longer, or the network's kernels or dilations smaller"
        )
    if start_from is not None:
        if start_from.settings != config.training.model:
            raise ConfigError("the model to train further has another architecture; train a new one from the beginning")
        model.load_state_dict(start_from.weights, strict=True)
    frozen = () if start_from is None else freeze(model.backbone, settings.freeze)
    if settings.normalisation != "off":
        model.set_cmvn(cmvn)
    make_room(model, config, random=start_from is None)
    model.to(device)
    muon = settings.optimizer.kind == "muon"  # which sees weights as matrices
    if device == "cuda" and settings.precision.channels_last and not muon:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    objective = Objective(config, model, train.labels).to(device)
    scaled = device == "cuda" and settings.precision.amp and settings.precision.amp_dtype == "float16"
    moving = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    average = averaged_copy(model)
    share_norms(model, ranks)
    return Run(
        hash=identity,
        device=torch.device(device),
        model=model,
        average=average,
        objective=objective,
        optimizers=make_optimizers(moving, settings, objective.parameters()),
        clipper=Clipper(settings.optimizer, device),
        scaler=GradScaler(device, enabled=scaled),
        micro_batch=min(sampling.micro_batch or sampling.batch_size, sampling.batch_size),
        ranks=ranks,
        difficulty=torch.full((len(train),), UNSEEN) if sampling.kind == "difficulty" else None,
        frozen=frozen,
    )


def save_run(run: Run, out: Path) -> None:
    """Make the state the last checkpoint in `out`, and write the history beside."""
    partial = run.partial_epoch
    tensors = {
        "model": run.model.state_dict(),
        "average": run.average.state_dict(),
        "best": run.best,
        "objective": run.objective.state_dict(),
        "optimizer": run.optimizers.tensors(),
        "clipper": {"norms": run.clipper.norms},
        "difficulty": {} if run.difficulty is None else {"rows": run.difficulty},
        "partial_epoch": {} if partial is None else partial.trace,
        "random": {} if partial is None else partial.random,
    }
    scaler = run.scaler.state_dict()
    device = run.device.type
    checkpoint = Checkpoint(run.hash, run.step, run.micro_batch, device, scaler, tuple(run.history), tensors)
    save_checkpoint(out / CHECKPOINTS, checkpoint)
    write_history(out / HISTORY, run.history)


def resume_run(run: Run, out: Path) -> None:
    """Go on from the newest whole checkpoint of this training in `out`, if there is one, in all processes alike.

    The first process looks for it alone, since it removes damaged ones. Raises ConfigError when the processes differ.
    """
    if run.ranks.first:
        _resume(run, out)
    run.ranks.wait()
    if not run.ranks.first:
        _resume(run, out)
    run.ranks.check_alike("data, settings or checkpoints", derived_seed(run.step, 0, run.hash))


def _resume(run: Run, out: Path) -> None:
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
    if tensors["partial_epoch"] and not same_device:
        log.warning("the epoch begun on %s is begun again: its random numbers cannot go on here", checkpoint.device)
        run.step -= len(tensors["partial_epoch"]["losses"])
    elif tensors["partial_epoch"]:
        run.partial_epoch = PartialEpoch(tensors["partial_epoch"], tensors["random"])
    if run.ranks.first:
        write_history(out / HISTORY, run.history)
    middle = "" if run.partial_epoch is None else f" and {len(run.partial_epoch.trace['losses'])} batches"
    log.info("training goes on after epoch %d%s", len(run.history), middle)


def save_epoch_model(run: Run, config: Config, out: Path) -> None:
    """Every `keep_every` epochs save the model as it is then, to be looked at or gone back to."""
    epoch, every = len(run.history), config.training.validation.keep_every
    if every and epoch % every == 0:
        folder = out / EPOCHS / f"{epoch:05d}"
        folder.mkdir(parents=True, exist_ok=True)
        save_model(folder, run.average, model_card(config))


def finish_run(run: Run, samples: int, config: Config, out: Path) -> TrainingSummary:
    """Save the weights of the epoch that is kept to `out`, and sum up a training of so many samples an epoch."""
    kept = kept_record(run.history, config.training.validation.keep)
    assert kept is not None
    run.average.load_state_dict(run.best, strict=True)
    if run.ranks.first:
        save_model(out, run.average, model_card(config))
    stopped = len(run.history) < config.training.schedule.epochs
    if stopped:
        log.info("stopped after epoch %d: nothing better since epoch %d", len(run.history), kept.epoch)
    return summarise(run.history, kept, samples, count_parameters(run.average), stopped)
