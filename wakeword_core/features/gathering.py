"""Features of rows, wherever they lie, and how batches of them come to a device.

They are a tensor, or stay in the files of a split, from which a thread reads the rows of the next batches while the
device computes. Both give the same numbers for the same rows.
"""

import math
import os
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

import numpy as np
import numpy.typing as npt

from wakeword_core.errors import ArtifactError, DataError
from wakeword_core.prefetch import prefetch

if TYPE_CHECKING:
    import torch

AHEAD = 2
"""Batches that are read, or ready, besides the one that is being computed."""
ROWS_AT_ONCE = 256
"""Of a whole split that is gone through."""
_EXPONENTS = {2: (np.uint16, np.uint16(0x7C00)), 4: (np.uint32, np.uint32(0x7F800000))}
"""By bytes of a number: the type that its bits are read as, and which of them are the exponent."""

Rows = npt.NDArray[np.int64]
Mel = Union["torch.Tensor", "RowsOnDisk"]
"""Features [rows, n_mels, frames] in float16 or float32; `mel[rows]` gives some of them, for row numbers int64 [n]."""


def are_finite(block: npt.NDArray[Any]) -> bool:
    """Tell whether a block of float16 or float32 holds neither NaN nor infinity."""
    bits, exponent = _EXPONENTS[block.dtype.itemsize]
    # an exponent of ones is what infinities and NaN have, and nothing else; isfinite takes three times as long
    return bool((np.ascontiguousarray(block).view(bits) & exponent).max(initial=0) != exponent)


@dataclass(frozen=True)
class PartRows:
    """The features in a part: [rows, 1, 1, n_mels, frames], one row after the other from a byte on."""

    path: Path
    begin: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def read(self, rows: Rows, target: npt.NDArray[Any], places: Rows) -> None:
        """Read `rows` [n] to these places of `target` [rows, n_mels, frames], whose memory is one piece."""
        if not len(rows):
            return
        # rows that follow one another in the part and in the target are one stretch
        first = np.flatnonzero((np.diff(rows, prepend=-2) != 1) | (np.diff(places, prepend=-2) != 1))
        size = target[0].nbytes
        begins = (self.begin + rows[first] * size).tolist()
        lengths = (np.diff(first, append=len(rows)) * size).tolist()
        memory = target.data.cast("B")
        stretches = [
            (begin, memory[place : place + length])
            for begin, place, length in zip(begins, (places[first] * size).tolist(), lengths, strict=True)
        ]
        # not through HDF5, which does one thing at a time for all threads
        with self.path.open("rb", buffering=0) as file:
            descriptor = file.fileno()
            if hasattr(os, "posix_fadvise"):  # all are fetched at once, in a third of the time if none is in memory
                for begin, place in stretches:
                    os.posix_fadvise(descriptor, begin, len(place), os.POSIX_FADV_WILLNEED)
            for begin, place in stretches:
                if os.preadv(descriptor, [place], begin) != len(place):
                    raise ArtifactError(f"{self.path} ends too early; delete it, and it is built again")


@dataclass(frozen=True)
class RowsOnDisk:
    """Features that stay in their parts; indexed with row numbers it reads these rows, as a tensor gives them."""

    parts: tuple[PartRows, ...]
    """one or more, of rows alike"""
    order: Rows
    """which rows of the parts, end to end, these are: [rows]"""

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, rows: "torch.Tensor") -> "torch.Tensor":
        """Read rows int64 [n], in any order and as often as they come: [n, n_mels, frames]."""
        import torch

        return torch.from_numpy(self.read(rows.numpy()))

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows, bands and frames."""
        return len(self.order), *self.parts[0].shape[3:]

    @property
    def dtype(self) -> "torch.dtype":
        """Their number format."""
        import torch

        found: torch.dtype = getattr(torch, self.parts[0].dtype.name)
        return found

    @property
    def nbytes(self) -> int:
        """Bytes that all rows would take in memory."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def device(self) -> "torch.device":
        """The device that rows are read to, and numbers of rows have to be on."""
        import torch

        return torch.device("cpu")

    def read(self, rows: Rows) -> npt.NDArray[Any]:
        """Read rows [n]: [n, n_mels, frames]; ArtifactError where a part is damaged or a number is not finite."""
        wanted = self.order[rows]
        places = np.argsort(wanted, kind="stable")  # in the order in which they lie
        block = np.empty((len(wanted), *self.shape[1:]), self.parts[0].dtype)
        edges = np.searchsorted(wanted[places], self._begins)
        shares = [places[first:last] for first, last in pairwise(edges)]
        for part, begin, share in zip(self.parts, self._begins[:-1], shares, strict=True):
            part.read(wanted[share] - begin, block, share)
        if not are_finite(block):
            bad = next(part for part, share in zip(self.parts, shares, strict=True) if not are_finite(block[share]))
            raise ArtifactError(f"{bad.path} holds values that are not finite; delete it, and it is built again")
        return block

    def chosen(self, rows: npt.NDArray[Any]) -> "RowsOnDisk":
        """Return some of them, by their numbers or as a mask."""
        return replace(self, order=self.order[rows])

    def joined(self, other: "RowsOnDisk") -> "RowsOnDisk":
        """Join these rows and others of the same shape and number format."""
        order = np.concatenate([self.order, other.order + self._begins[-1]])
        return replace(self, parts=(*self.parts, *other.parts), order=order)

    def blocks(self, rows: int) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """Yield (first row, features [<= rows, n_mels, frames]) over all of them."""
        for first in range(0, len(self), rows):
            yield first, self.read(np.arange(first, min(first + rows, len(self))))

    def load(self) -> "torch.Tensor":
        """Read all of them: [rows, n_mels, frames]."""
        import torch

        whole = np.empty(self.shape, self.parts[0].dtype)
        for first, block in self.blocks(ROWS_AT_ONCE):
            whole[first : first + len(block)] = block
        return torch.from_numpy(whole)

    @cached_property
    def _begins(self) -> Rows:
        """Where each part begins among all rows of the parts, and where the last ends: [parts + 1]."""
        return np.cumsum([0, *(part.shape[0] for part in self.parts)])


def in_memory(mel: Mel) -> "torch.Tensor":
    """Read what is on disk."""
    return mel.load() if isinstance(mel, RowsOnDisk) else mel


def joined(mine: Mel, theirs: Mel) -> Mel:
    """Join rows, in memory unless both are on disk; DataError when shape or number format differ."""
    import torch

    if mine.shape[1:] != theirs.shape[1:] or mine.dtype != theirs.dtype:
        raise DataError(
            f"windows {list(mine.shape[1:])} of {mine.dtype} cannot be joined with {list(theirs.shape[1:])} of "
            f"{theirs.dtype}; build the features again"
        )
    if isinstance(mine, RowsOnDisk) and isinstance(theirs, RowsOnDisk):
        return mine.joined(theirs)
    return torch.cat([in_memory(mine), in_memory(theirs)])


def in_order(mel: Mel, at_once: int, device: "torch.device | str" = "cpu") -> Generator["torch.Tensor"]:
    """Yield all rows on a device, so many at once."""
    import torch

    return gathered(mel, torch.arange(len(mel), device=mel.device).split(at_once), device)


def gathered(mel: Mel, wanted: Iterable["torch.Tensor"], device: "torch.device | str") -> Generator["torch.Tensor"]:
    """Yield the rows of each batch of row numbers, int64 [n] on the device of `mel`, on a device: [n, n_mels, frames].

    Rows that are not in the memory of the device are gathered ahead by a thread: at most AHEAD batches besides the one
    that was yielded last. What is wrong with them is raised in its turn.
    """
    import torch

    device = torch.device(device)
    if not isinstance(mel, RowsOnDisk) and mel.device.type == device.type:
        yield from (mel.index_select(0, rows) for rows in wanted)
        return
    pinned = device.type == "cuda"  # what is copied to a GPU while it computes

    def gather(rows: torch.Tensor) -> torch.Tensor:
        return mel[rows].pin_memory() if pinned else mel[rows]

    with closing(prefetch(gather, wanted, 1, AHEAD)) as ahead:
        # on this thread, which knows its GPU
        yield from (batch.to(device, non_blocking=True) for batch in ahead)
