"""The state of a training: how it begins, goes to disk and back, and ends.

A checkpoint is one safetensors file, so that weights and bookkeeping cannot disagree. `last` and `previous` are kept;
each holds the best weights so far too. Everything random in an epoch is a function of (seed, epoch), so random states
are kept of an epoch only that was stopped in the middle.
"""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from wakeword_core.config import Config
from wakeword_core.errors import ArtifactError, ConfigError, reason_of
from wakeword_core.features.gathering import ROWS_AT_ONCE, in_order
from wakeword_core.files import canonical_json, digest, link_or_copy, parse_json, replacing
from wakeword_core.models.scoring import ScoringModel, count_parameters, model_card, new_model, save_model
from wakeword_core.teaching.scores import TeacherScores
from wakeword_core.training.data import UNSEEN, derived_seed
from wakeword_core.training.distributed import ALONE, Ranks, share_norms
from wakeword_core.training.objective import Objective
from wakeword_core.training.optim import Clipper, Optimizers, averaged_copy, make_optimizers
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

CHECKPOINTS = "checkpoints"
"""The folder of a training that goes on."""
LAST = "last.safetensors"
PREVIOUS = "previous.safetensors"
EPOCHS = "epochs"
"""The folder beside the model with those of earlier epochs."""

Tensors = dict[str, Tensor]


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
        for layer in self.frozen:
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
    torch.manual_seed(derived_seed(config.seed, 0, "weights"))
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
        model.load_state_dict(start_from.state_dict(), strict=True)
    frozen = () if start_from is None else freeze(model.backbone, settings.freeze)
    if settings.normalisation != "off":
        model.set_cmvn(cmvn)
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


@dataclass(frozen=True)
class Checkpoint:
    """Everything training goes on from after an epoch."""

    run: str  # hash of what the training depends on; another run's checkpoint is not used
    step: int
    micro_batch: int  # rows that were computed at once
    device: str  # cpu or cuda: random states and the scaler's are of that alone
    scaler: dict[str, Any]
    history: tuple[EpochRecord, ...]
    tensors: dict[str, Tensors]  # GROUPS -> name -> tensor; a group without any is empty


GROUPS = ("model", "average", "best", "objective", "optimizer", "clipper", "difficulty", "partial_epoch", "random")
"""What the tensors are of: weights, their average, the best so far, what is trained beside the model, optimizers
(`<optimizer>.<parameter>.<name>`), the usual norm of gradients, how difficult rows are; and of an epoch that was
stopped in the middle, what it left behind and random states."""
_FACTS = ("run", "step", "micro_batch", "device", "scaler")


class _Facts(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False)

    run: str
    step: int = Field(ge=0)
    micro_batch: int = Field(ge=1)
    device: str
    scaler: dict[str, Any]
    history: tuple[EpochRecord, ...]
    sha256: str


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Make `checkpoint` the last one and keep the last as the previous; a kill at any time leaves a whole one."""
    tensors = {
        f"{group}/{name}": tensor.detach().cpu().contiguous()
        for group in GROUPS
        for name, tensor in checkpoint.tensors[group].items()
    }
    facts = {
        **{name: getattr(checkpoint, name) for name in _FACTS},
        "history": [asdict(record) for record in checkpoint.history],
        "sha256": tensors_hash(tensors),
    }
    last = folder / LAST
    with replacing(last) as part:
        # one string: the order of several metadata entries is not fixed
        save_file(tensors, part, metadata={"checkpoint": canonical_json(facts)})
        if last.exists():
            link_or_copy(last, folder / PREVIOUS)


def load_checkpoint(folder: Path, run: str) -> Checkpoint | None:
    """Read the newest whole checkpoint of this run, or None; a damaged one is passed over with a warning."""
    for name in (LAST, PREVIOUS):
        path = folder / name
        if not path.is_file():
            continue
        try:
            checkpoint = _read_checkpoint(path)
        except ArtifactError as error:
            log.warning("%s; going back to an earlier state", error)
            path.unlink()  # or the next save would make it the previous one
            continue
        if checkpoint.run != run:
            log.warning("%s is from a training with other data or settings and is not used", path)
            continue
        return checkpoint
    return None


def _read_checkpoint(path: Path) -> Checkpoint:
    try:
        with safe_open(path, framework="pt") as file:
            facts = _Facts.model_validate(parse_json(file.metadata()["checkpoint"]))
            tensors: Tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if facts.sha256 != tensors_hash(tensors):
            raise ArtifactError(f"the checkpoint {path} is damaged (its hash differs)")
        groups: dict[str, Tensors] = {name: {} for name in GROUPS}
        for name, tensor in tensors.items():
            group, rest = name.split("/", 1)
            groups[group][rest] = tensor
        fields: dict[str, Any] = {name: getattr(facts, name) for name in _FACTS}
        return Checkpoint(history=facts.history, tensors=groups, **fields)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"the checkpoint {path} is damaged ({reason_of(error)})") from error


def tensors_hash(tensors: Mapping[str, Tensor]) -> str:
    """Hash names, types, shapes and bytes of tensors, whatever their order: SHA-256 in hex."""
    whole = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        whole.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        whole.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return whole.hexdigest()
