"""Decoded shards for the feature builder, ahead of it: as many as memory allows, or all of them in a scratch file."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from wakeword_core.ahead import ahead
from wakeword_core.cores import available_cores
from wakeword_core.features.timings import Timings
from wakeword_core.files import require_space
from wakeword_core.shards.packed_split import Shard, read_shard

Strategy = Literal["ram", "memmap", "stream"]
READERS = 2
"""Threads that read and decode shards; each holds one more."""
_MOST_READERS = 8


def reader_threads(on_gpu: bool) -> int:
    """Threads that read and decode: more of them where a GPU computes, and the cores have nothing else to do."""
    return max(READERS, min(_MOST_READERS, available_cores() - 2)) if on_gpu else READERS


def choose_strategy(shard_bytes: Sequence[int], memory_bytes: float, readers: int = READERS) -> Strategy:
    """How to hold decoded shards of some sizes in so much memory.

    `ram` when all fit; `stream`, a few at a time, when those fit; else `memmap`, which the system can page out.
    """
    if sum(shard_bytes) <= memory_bytes:
        return "ram"
    return "stream" if max(shard_bytes) * (readers + 1) <= memory_bytes else "memmap"


@dataclass(frozen=True)
class Decoded:
    """A shard whose recordings lie end to end in `sound` [samples], with silence around; `audio` are views of it."""

    shard: Shard
    sound: npt.NDArray[np.int16]


@contextmanager
def decoded_shards(
    paths: Sequence[Path], strategy: Strategy, margin: int, scratch: Path, timings: Timings, readers: int = READERS
) -> Iterator[Iterator[Decoded]]:
    """An iterator over shards in order, read ahead on threads, with `margin` samples of silence at either end of each.

    A scratch file is gone afterwards.
    """
    waiting = readers if strategy == "stream" else len(paths)
    folder = Path(tempfile.mkdtemp(prefix="decoded-", dir=scratch)) if strategy == "memmap" else None

    def read(path: Path) -> Decoded:
        with timings.measure("read"):
            return joined(read_shard(path), margin, folder and folder / f"{path.stem}.pcm")

    if folder is not None:
        require_space(scratch, sum(path.stat().st_size for path in paths), "decoding shards to a scratch file")
    shards = ahead(read, paths, readers, waiting)
    try:
        yield shards
    finally:
        shards.close()
        if folder is not None:
            shutil.rmtree(folder)


def joined(shard: Shard, margin: int, scratch: Path | None = None) -> Decoded:
    """Put a shard's recordings end to end, in memory or in a new file that is mapped into it."""
    lengths = [len(one) for one in shard.audio]
    samples = margin + sum(lengths) + margin
    sound = np.zeros(samples, np.int16) if scratch is None else np.memmap(scratch, np.int16, "w+", shape=(samples,))
    np.concatenate([sound[:0], *shard.audio], out=sound[margin : samples - margin])
    audio = np.split(sound[margin : samples - margin], np.cumsum(lengths)[:-1]) if lengths else []
    return Decoded(replace(shard, audio=audio), sound)
