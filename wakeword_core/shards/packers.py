"""Packing many shards at once: on threads when there is little to do, else on processes, which share no lock."""

import errno
import logging
import queue
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.sharedctypes import RawArray
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from wakeword_core.cores import available_cores, process_pool
from wakeword_core.errors import DataError, WakewordError
from wakeword_core.files import replacing
from wakeword_core.shards.packing import ShardJob, pack_shard

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
        self._counts: Any = RawArray("q", 1)
        self._idle: queue.SimpleQueue[ProcessPoolExecutor] = queue.SimpleQueue()
        self._threads = ThreadPoolExecutor(self.workers, thread_name_prefix="shard")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._counts[0] = True
        self._threads.shutdown(wait=True, cancel_futures=True)
        while not self._idle.empty():
            self._idle.get().shutdown()

    def run(self, jobs: Mapping[Path, Callable[[], ShardJob]]) -> Iterator[Update]:
        """Write the shard of each job to its path, as they finish; a job is made only when its turn comes.

        DataError names the first shard that failed after all retries, or says that the disk is full.
        """
        self._counts = RawArray("q", 1 + len(jobs))
        running: dict[Future[int | None], Path] = {
            self._threads.submit(self._write, path, jobs[path], place): path for place, path in enumerate(jobs, start=1)
        }
        while running:
            for future in wait(running, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED).done:
                path, copied = running.pop(future), future.result()
                if copied is not None:
                    yield Update(self._recordings(), path, copied)
            yield Update(self._recordings())

    def _recordings(self) -> int:
        return sum(self._counts[1:])

    def _write(self, path: Path, make_job: Callable[[], ShardJob], place: int) -> int | None:
        """Write and verify one shard, again if it fails; None when it was stopped. A shard given up stops all."""
        attempt = 1
        while not self._counts[0]:
            try:
                with replacing(path) as part:
                    return self._pack(make_job(), part, place)
            except _Stopped:
                return None
            except Exception as error:
                if is_full(error) or attempt > self._retries:
                    self._counts[0] = True
                    raise _failure(path, attempt, error) from error
                log.warning("shard %s failed at try %d: %s", path.name, attempt, _reason(error))
            attempt += 1
        return None

    def _pack(self, job: ShardJob, part: Path, place: int) -> int:
        if not self.processes:
            return pack_shard(job, part, _counter(self._counts, place))
        try:
            process = self._idle.get_nowait()
        except queue.Empty:
            # of one worker each, so that one that dies takes only its own shard with it
            process = process_pool(1, _begin, (self._counts,))
        try:
            copied = process.submit(_pack_in_worker, job, part, place).result()
        except BrokenProcessPool as error:
            process.shutdown()
            raise DataError(
                f"its worker process died after about {self._counts[place]} of {len(job.rows)} recordings (out of "
                "memory, or started from a script without a main guard); try again with lower data.workers"
            ) from error
        except BaseException:
            self._idle.put(process)
            raise
        self._idle.put(process)
        return copied


def _counter(counts: Any, place: int) -> Callable[[int], None]:
    """Notes how many recordings of a shard are done, and stops it when all are to stop."""

    def on_row(done: int) -> None:
        counts[place] = done
        if counts[0]:
            raise _Stopped

    return on_row


_counts_of_all: Any = None
"""In a worker process: whether all are to stop, then how many recordings of each shard are done."""


def _begin(counts: Any) -> None:
    global _counts_of_all
    _counts_of_all = counts


def _pack_in_worker(job: ShardJob, part: Path, place: int) -> int:
    return pack_shard(job, part, _counter(_counts_of_all, place))


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
