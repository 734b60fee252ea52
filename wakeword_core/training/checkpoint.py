"""Checkpoints: all that a training goes on from, in one safetensors file, so that no part can disagree with another.

`last` and `previous` are kept; each holds the best weights so far too.
"""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from wakeword_core.errors import ArtifactError, reason_of
from wakeword_core.files import canonical_json, link_or_copy, parse_json, replacing
from wakeword_core.training.records import EpochRecord

log = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints"
"""The folder of a training that goes on."""
LAST = "last.safetensors"
PREVIOUS = "previous.safetensors"

Tensors = dict[str, Tensor]


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
