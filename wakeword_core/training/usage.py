"""What a training uses of the machine: processor, memory, and the GPU where it trains on one."""

import logging
import time
from dataclasses import dataclass

import psutil
import torch

from wakeword_core.errors import reason_of

log = logging.getLogger(__name__)

_MEGABYTE = 1e6
_GPU_SECONDS = 1.0
"""Between two looks at how busy the GPU is, each of which is about the last second or less."""


@dataclass(frozen=True)
class Used:
    """What was used of the machine for a while, by this process."""

    cpu_cores: float  # processor seconds a second
    memory_mb: float  # at its peak
    gpu_share: float | None  # of the time in which the GPU was at work; None without one, or where it does not tell
    gpu_memory_mb: float | None  # at its peak, of torch's tensors; None without a GPU


class Usage:
    """Measures what this process uses while steps are taken."""

    def __init__(self, device: torch.device) -> None:
        """Begin to measure; a GPU's peak of memory begins anew."""
        self._gpu = device if device.type == "cuda" else None
        self._process = psutil.Process()
        self._began, self._worked = time.monotonic(), time.process_time()
        self._most_bytes, self._shares, self._looked_at = 0, list[int](), 0.0
        if self._gpu:
            torch.cuda.reset_peak_memory_stats(self._gpu)
        self.look()

    def look(self) -> None:
        """Look at what is used now, which takes microseconds: after each step, whose memory is kept for the next."""
        self._most_bytes = max(self._most_bytes, self._process.memory_info().rss)
        if self._gpu and time.monotonic() - self._looked_at >= _GPU_SECONDS:
            self._looked_at = time.monotonic()
            try:
                self._shares.append(torch.cuda.utilization(self._gpu))
            except Exception as error:  # NVIDIA's library is not there, or raises errors of its own, as on a MIG part
                self._looked_at = float("inf")
                log.debug("how busy the GPU is cannot be measured: %s", reason_of(error))

    def used(self) -> Used:
        """Return what was used since the beginning."""
        self.look()
        seconds = max(time.monotonic() - self._began, 1e-9)
        return Used(
            cpu_cores=(time.process_time() - self._worked) / seconds,
            memory_mb=self._most_bytes / _MEGABYTE,
            gpu_share=sum(self._shares) / len(self._shares) / 100 if self._shares else None,
            gpu_memory_mb=torch.cuda.max_memory_allocated(self._gpu) / _MEGABYTE if self._gpu else None,
        )
