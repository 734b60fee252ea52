"""How long a stream's scores take to compute, chunk by chunk as they arrive: the model alone, and with its judge."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wakeword_core.runtime.judge import JudgedModel
from wakeword_core.runtime.live import Detector

CHUNK_SECONDS = 0.08
_WARM_UPS = 5
"""Chunks at the beginning that do not count."""


@dataclass(frozen=True)
class ChunkTime:
    """Milliseconds of the clock from a chunk's arrival to what is detected in it: percentiles over chunks."""

    p50: float
    p95: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "ChunkTime | None":
        """Take the percentiles of so many seconds each; None of none."""
        if not seconds:
            return None
        p50, p95 = np.percentile(seconds, [50, 95])
        return cls(1e3 * float(p50), 1e3 * float(p95))


@dataclass(frozen=True)
class Computing:
    """The time of a chunk of 80 ms of the model alone, of all chunks; and, of those at which the gate is open, more.

    `judge` is what the judge adds to such a chunk, the first of an opening among them, and `both` is all of it. These
    are None where the gate was never open. `second` is what a second judge adds where its own gate is open, and
    `with_second` all of that.
    """

    sentry: ChunkTime
    judge: ChunkTime | None
    both: ChunkTime | None
    second: ChunkTime | None = None
    with_second: ChunkTime | None = None


def computing_times(together: JudgedModel, pcm: npt.NDArray[np.int16]) -> Computing:
    """Measure on sound of a stream, int16 [samples]: model and pair take turns at every chunk, in this process."""
    pair = JudgedModel(together.model, together.judge, second=False)
    detectors = [Detector(together.model), Detector(pair), *([Detector(together)] if together.second else [])]
    size = round(CHUNK_SECONDS * together.sample_rate)
    times: list[list[float]] = [[] for _ in detectors]
    added: list[list[float]] = [[] for _ in detectors]
    for number, start in enumerate(range(0, len(pcm) - size + 1, size)):
        chunk, before = pcm[start : start + size], 0.0
        for detector, whole, more in zip(detectors, times, added, strict=True):
            began = time.perf_counter()
            detector.process(chunk)
            took = time.perf_counter() - began
            if number >= _WARM_UPS and (detector is detectors[0] or (detector.scores[:, 1:] > 0).any()):
                whole.append(took)
                more.append(max(took - before, 0.0))
            before = took
    sentry, *rest = ((ChunkTime.of(more), ChunkTime.of(whole)) for whole, more in zip(times, added, strict=True))
    if sentry[0] is None:
        raise ValueError(f"{len(pcm)} samples are too few to measure")
    return Computing(sentry[0], *(figure for added_and_whole in rest for figure in added_and_whole))
