"""Packing many shards at once: on threads when there is little to do, else on processes, which share no lock."""

import errno
import logging
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from wakeword_core.cores import available_cores
from wakeword_core.errors import DataError, WakewordError
from wakeword_core.files import replacing
from wakeword_core.shards.packing import OnRow, ShardJob, pack_shard
from wakeword_core.shards.shard_worker import WorkerProcess

log = logging.getLogger(__name__)

PROCESSES_FROM = 6_000.0
"""Work (recordings, and seconds of audio) from which worker processes save more than the second they take to start."""
_POLL_SECONDS = 0.2
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Update:
    """How far a run is: recordings done by all, and a shard that has just been finished, if one has."""

    recordings: int
    finished: Path | None = None
    copied: int = 0
    """Recordings of the finished shard that were taken from an older one."""


class _Stopped(Exception):  # noqa: N818 - a request, not a fault
    """Another shard failed, or the caller has had enough."""


class Packers:
    """A pool that writes shards; on leaving it every worker has ended and nothing half written is left."""

    def __init__(self, workers: int, retries: int, work: float) -> None:
        self.workers = workers or available_cores()
        self.processes = self.workers > 1 and work >= PROCESSES_FROM
        self._retries = retries
        self._stop = threading.Event()
        self._done: dict[Path, int] = {}
        self._idle: queue.SimpleQueue[WorkerProcess] = queue.SimpleQueue()
        self._pool = ThreadPoolExecutor(self.workers, thread_name_prefix="shard")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)
        while not self._idle.empty():
            self._idle.get().close()

    def run(self, jobs: Mapping[Path, Callable[[], ShardJob]]) -> Iterator[Update]:
        """Write the shard of each job to its path, as they finish; a job is made only when its turn comes.

        DataError names the first shard that failed after all retries, or says that the disk is full.
        """
        running: dict[Future[int | None], Path] = {
            self._pool.submit(self._write, path, jobs[path]): path for path in jobs
        }
        while running:
            for future in wait(running, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED).done:
                path, copied = running.pop(future), future.result()
                if copied is not None:
                    yield Update(self._recordings(), path, copied)
            yield Update(self._recordings())

    def _recordings(self) -> int:
        return sum(list(self._done.values()))

    def _write(self, path: Path, make_job: Callable[[], ShardJob]) -> int | None:
        """Write and verify one shard, again if it fails; None when it was stopped. A shard given up stops all."""

        def on_row(done: int) -> None:
            self._done[path] = done
            if self._stop.is_set():
                raise _Stopped

        attempt = 1
        while not self._stop.is_set():
            try:
                with replacing(path) as part:
                    return self._pack(make_job(), part, on_row)
            except _Stopped:
                return None
            except Exception as error:
                if is_full(error) or attempt > self._retries:
                    self._stop.set()
                    raise _failure(path, attempt, error) from error
                log.warning("shard %s failed at try %d: %s", path.name, attempt, _reason(error))
            attempt += 1
        return None

    def _pack(self, job: ShardJob, part: Path, on_row: OnRow) -> int:
        if not self.processes:
            return pack_shard(job, part, on_row)
        try:
            worker = self._idle.get_nowait()
        except queue.Empty:
            worker = WorkerProcess()
        try:
            copied = worker.pack(job, part, on_row)
        except BaseException:
            worker.close()
            raise
        self._idle.put(worker)
        return copied


def _failure(path: Path, tries: int, error: Exception) -> DataError:
    if is_full(error):
        return DataError(
            f"the disk of {path.parent} is full, shard {path.name} cannot be written ({_reason(error)}); free some "
            "space or choose another --home; finished shards are kept"
        )
    return DataError(f"shard {path.name} failed after {tries} tries: {_reason(error)}")


def is_full(error: BaseException | None) -> bool:
    """Whether a disk, a quota or a limit on file sizes is behind an error."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        error = error.__cause__
    return False


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, (OSError, WakewordError)) else f"{type(error).__name__}: {error}"
