"""Where the time of a feature build went: busy seconds of each kind of work, full queues, and the peak memory."""

import resource
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class StageTime:
    """One kind of work: busy seconds of all its threads together, of how many, and as a share of the wall clock."""

    stage: str
    seconds: float
    threads: int
    busy: float


class Timings:
    """A stopwatch for work on several threads; each second is counted once, under one name."""

    def __init__(self, threads: dict[str, int]) -> None:
        """`threads`: kind of work -> threads that do it."""
        self._threads = threads
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._ready: list[int] = []
        self._lock = threading.Lock()
        self._started = time.perf_counter()

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Count what happens inside as work of `stage`."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add(stage, time.perf_counter() - started)

    def add(self, stage: str, seconds: float) -> None:
        """Count seconds that were measured elsewhere, such as by a GPU's own clock."""
        with self._lock:
            self._seconds[stage] += seconds

    def ready(self, blocks: int) -> None:
        """Note how many computed blocks wait for the writer as it takes the next."""
        self._ready.append(blocks)

    def figures(self) -> dict[str, Any]:
        """Stages, the one that the others wait for, blocks that waited on average, seconds and peak memory."""
        wall = time.perf_counter() - self._started
        stages = [
            StageTime(name, round(self._seconds[name], 3), count, round(self._seconds[name] / count / wall, 3))
            for name, count in self._threads.items()
        ]
        slowest = max(stages, key=lambda one: one.busy)
        return {
            "stages": [vars(one) for one in stages],
            "bottleneck": slowest.stage,
            "blocks_ready": round(sum(self._ready) / len(self._ready), 2) if self._ready else 0.0,
            "wall_seconds": round(wall, 3),
            "peak_rss_mb": round(_peak_rss() / 1e6, 1),
            "peak_vram_mb": round(_peak_vram() / 1e6, 1),
        }


def _peak_rss() -> int:
    """Bytes that this process has held at most since it began."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _peak_vram() -> int:
    import torch

    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
