"""Where the rows of a training lie, and how they come to its batches.

They lie in the memory of the device; in this machine's, where the device's is too small; or on disk, where they are
larger than the memory that is allowed for them. A batch is the same wherever its rows come from.
"""

import logging
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from wakeword_core.config.compute import ComputeConfig
from wakeword_core.cores import machine_memory
from wakeword_core.features.gathering import RowsOnDisk, gathered
from wakeword_core.teaching.scores import TeacherScores

if TYPE_CHECKING:
    from wakeword_core.features.store import WindowSet

log = logging.getLogger(__name__)

_SHARE = 0.5
"""What rows may take of this machine's memory where nothing is set."""
_GB = 1e9


@dataclass(frozen=True)
class Material:
    """What a batch is made of, on the device that trains."""

    mel: Tensor
    """features of its rows, [batch, n_mels, frames]"""
    noise: Tensor | None
    """rows of noise to mix in, alike"""
    labels: Tensor  # class indices [batch]
    roles: Tensor  # indices into ROLES [batch]
    word_ends: Tensor  # last frame of each word, or NO_WORD, [batch]
    teacher: TeacherScores | None = None
    """what teachers say of its rows as they are stored; None: there are none"""


def within_memory(splits: Sequence["WindowSet"], compute: ComputeConfig, processes: int = 1) -> list["WindowSet"]:
    """Read the features of splits into memory, unless they are to stay on disk or take more than is allowed.

    As many `processes` of this machine share the memory, and each has all rows.
    """
    needed = sum(one.mel.nbytes for one in splits if isinstance(one.mel, RowsOnDisk)) * processes
    allowed = allowed_memory(compute)
    too_large = compute.rows == "auto" and needed > allowed
    if too_large:
        log.info(
            "the rows of training would take %.1f GB of memory, and %.1f GB are allowed (compute.memory_gb): each "
            "batch is read from disk",
            needed / _GB,
            allowed / _GB,
        )
    on_disk = too_large or compute.rows == "disk"
    return list(splits) if on_disk else [one.in_memory() for one in splits]


def allowed_memory(compute: ComputeConfig) -> float:
    """Return how many bytes of this machine's memory a training may take."""
    return compute.memory_gb * _GB or _SHARE * machine_memory()


def on_device(windows: "WindowSet", device: torch.device | str) -> "WindowSet":
    """Return windows with their tensors on a device; features stay where they are if they are on disk or too large."""
    moved = replace(windows, **{name: column.to(device) for name, column in windows.columns().items()})
    if isinstance(windows.mel, RowsOnDisk):
        return moved
    try:
        return replace(moved, mel=windows.mel.to(device))
    except torch.OutOfMemoryError:
        log.warning(
            "the GPU's memory does not hold the %.1f GB of rows: they stay in this machine's memory, and each batch is "
            "copied from there",
            windows.mel.nbytes / _GB,
        )
        return moved


def feed(
    windows: "WindowSet", rows: Tensor, noises: Tensor, device: torch.device, teacher: TeacherScores | None = None
) -> Generator[Material]:
    """Yield the material of each batch: of `rows` [steps, batch], and of `noises` alike, or [steps, 0] for none.

    Windows are as `on_device` gives them; rows, and what a `teacher` says of the windows, are on the device.
    """
    wanted = torch.cat([rows, noises], dim=1).to(windows.mel.device)
    with closing(gathered(windows.mel, wanted, device)) as batches:
        for chosen, mel in zip(rows, batches, strict=True):
            own, noise = mel[: len(chosen)], mel[len(chosen) :]
            labels, roles, ends = (column[chosen] for column in (windows.labels, windows.roles, windows.word_ends))
            said = None if teacher is None else teacher.chosen(chosen)
            yield Material(own, noise if len(noise) else None, labels, roles, ends, said)
