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
    are None where the gate was never open.
    """

    sentry: ChunkTime
    judge: ChunkTime | None
    both: ChunkTime | None


def computing_times(together: JudgedModel, pcm: npt.NDArray[np.int16]) -> Computing:
    """Measure on sound of a stream, int16 [samples]: model and pair take turns at every chunk, in this process."""
    alone, both = Detector(together.model), Detector(together)
    size = round(CHUNK_SECONDS * together.sample_rate)
    sentry: list[float] = []
    added: list[float] = []
    whole: list[float] = []
    for number, start in enumerate(range(0, len(pcm) - size + 1, size)):
        chunk = pcm[start : start + size]
        began = time.perf_counter()
        alone.process(chunk)
        between = time.perf_counter()
        both.process(chunk)
        ended = time.perf_counter()
        if number < _WARM_UPS:
            continue
        sentry.append(between - began)
        if (both.scores[:, 1:] > 0).any():
            whole.append(ended - between)
            added.append(max(whole[-1] - sentry[-1], 0.0))
    timed = ChunkTime.of(sentry)
    if timed is None:
        raise ValueError(f"{len(pcm)} samples are too few to measure")
    return Computing(timed, ChunkTime.of(added), ChunkTime.of(whole))
