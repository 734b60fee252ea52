"""Tasks done by processes of this machine: a pool of the standard library's, begun anew when a process of it dies."""

from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from wakeword_core.cores import process_pool
from wakeword_core.workers.base import Here, Pool, WorkerDiedError, Workers
from wakeword_core.workers.tasks import Outcome, perform

_WAITING_A_PROCESS = 1


class LocalWorkers(Workers):
    """Does tasks on this machine."""

    elsewhere = False

    def __init__(self, cores: int = 0, retries: int = 1) -> None:
        super().__init__(cores, retries)

    def _pool(self, here: Here, device: str) -> Pool | None:
        return Processes(self.cores) if here == "processes" and self.cores > 1 else None


class Processes:
    """A pool of processes, in the place of which another begins when one of them dies."""

    def __init__(self, count: int) -> None:
        self.most = count * (1 + _WAITING_A_PROCESS)
        self._count = count
        self._pool: ProcessPoolExecutor | None = None

    def submit(self, function: Callable[[Any], Any], task: Any, name: str, alone: bool) -> Future[Outcome[Any]]:
        """Have a task done by an idle process, which is started if need be; none is busy when it is to be `alone`."""
        if self._pool is None:
            self._pool = process_pool(self._count)
        try:
            return self._pool.submit(perform, function, task, name)
        except BrokenProcessPool as error:  # a process died since the last answer
            failed: Future[Outcome[Any]] = Future()
            failed.set_exception(error)
            return failed

    def death(self, error: BaseException) -> WorkerDiedError | None:
        """Take leave of a pool of which a process died; all its tasks failed with it."""
        if not isinstance(error, BrokenProcessPool):
            return None
        self.close()
        return WorkerDiedError(
            "its process died, as when memory runs out, or was started by a script without a main guard"
        )

    def check(self) -> None:
        """Do nothing: whatever ends a process wakes who waits for it."""

    def close(self) -> None:
        """Wait for the tasks that are being done, and end all processes."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None


THIS_MACHINE = LocalWorkers()
"""All cores of this machine."""
