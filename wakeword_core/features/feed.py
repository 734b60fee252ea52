"""Decoded shards for the feature builder, ahead of it: as many as memory allows, or all of them in a scratch file."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from wakeword_core.ahead import ahead
from wakeword_core.features.timings import Timings
from wakeword_core.files import require_space
from wakeword_core.shards import Shard, read_shard

Strategy = Literal["ram", "memmap", "stream"]
READERS = 2
"""Threads that read and decode shards; each holds one more."""
_STREAMED = READERS + 1
"""Shards that exist decoded with `stream`: one a reader, and the one that is computed."""


def choose_strategy(shard_bytes: Sequence[int], memory_bytes: float) -> Strategy:
    """How to hold decoded shards of some sizes in so much memory.

    `ram` when all fit; `stream`, a few at a time, when those fit; else `memmap`, which the system can page out.
    """
    if sum(shard_bytes) <= memory_bytes:
        return "ram"
    return "stream" if max(shard_bytes) * _STREAMED <= memory_bytes else "memmap"


@contextmanager
def decoded_shards(
    paths: Sequence[Path], strategy: Strategy, scratch: Path, timings: Timings
) -> Iterator[Iterator[tuple[Path, Shard]]]:
    """An iterator over (path, shard) in order, read ahead on threads; a scratch file is gone afterwards."""
    waiting = _STREAMED - 1 if strategy == "stream" else len(paths)
    folder = Path(tempfile.mkdtemp(prefix="decoded-", dir=scratch)) if strategy == "memmap" else None

    def read(path: Path) -> tuple[Path, Shard]:
        with timings.measure("read"):
            shard = read_shard(path)
            return path, shard if folder is None else _on_disk(shard, folder / f"{path.stem}.pcm")

    if folder is not None:
        require_space(scratch, sum(path.stat().st_size for path in paths), "decoding shards to a scratch file")
    shards = ahead(read, paths, READERS, waiting)
    try:
        yield shards
    finally:
        shards.close()
        if folder is not None:
            shutil.rmtree(folder)


def _on_disk(shard: Shard, path: Path) -> Shard:
    """The same shard with its sound in a file, mapped into memory."""
    if not sum(len(one) for one in shard.audio):
        return shard
    with path.open("wb") as file:
        for one in shard.audio:
            one.tofile(file)
    whole = np.memmap(path, np.int16, "r")
    edges = np.cumsum([len(one) for one in shard.audio])[:-1]
    return replace(shard, audio=np.split(whole, edges))
