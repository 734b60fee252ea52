"""The one way in which stages hand on work: `Workers.map_unordered`, on this machine or on a cluster.

A worker that dies takes no other task with it: what it was doing is done again with nothing beside it, since memory may
have run out, and given up with a sentence that names the task if it dies of that, too.
"""

import logging
import math
import queue
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, Protocol, TypeVar

from wakeword_core.cores import available_cores, map_in_threads
from wakeword_core.errors import WakewordError
from wakeword_core.workers.tasks import Outcome

log = logging.getLogger(__name__)

Task = TypeVar("Task")
Result = TypeVar("Result")
Here = Literal["processes", "threads", "in turn"]
"""How this machine does tasks by itself: those that free Python in threads, those that use all cores in turn."""

WORTH_SECONDS = 3.0
"""Work that takes a core less than this is done in this process: others would take as long to start."""
_POLL_SECONDS = 1.0
_MOST_LOST = 5
"""Machines that may vanish under one task before it is given up."""


class WorkerDiedError(Exception):
    """A worker died while it did a task, or its machine was lost."""

    def __init__(self, reason: str, machine_lost: bool = False) -> None:
        super().__init__(reason, machine_lost)
        self.reason, self.machine_lost = reason, machine_lost


class Pool(Protocol):
    """Workers that are running."""

    @property
    def most(self) -> int:
        """How many tasks are worth sending before one of them is done."""
        ...

    def submit(self, function: Callable[[Any], Any], task: Any, name: str, alone: bool) -> Future[Outcome[Any]]:
        """Have a task done, with nothing beside it on its machine if it is to be `alone`."""
        ...

    def death(self, error: BaseException) -> WorkerDiedError | None:
        """Return which death an error of a future tells of; None where it tells of none."""
        ...

    def check(self) -> None:
        """Look after the workers when none has answered for a while; WakewordError when they are lost."""
        ...

    def close(self) -> None:
        """Have no more tasks done, and wait for those that are being done."""
        ...


class Workers(ABC):
    """What does tasks."""

    elsewhere: bool
    """Whether they are done by other machines, so that a task had better be small."""

    def __init__(self, cores: int, retries: int) -> None:
        """`cores` of this machine are used (0: all); a task whose worker died is done again so many times."""
        self.cores, self._retries = cores or available_cores(), retries

    def device(self, wanted: str, here: Callable[[], str]) -> str:
        """Choose the device on which tasks compute, `cpu` or `cuda`: `here` chooses that of this machine."""
        return here()

    @abstractmethod
    def _pool(self, here: Here, device: str) -> Pool | None:
        """Begin to work; None where tasks are best done in this process."""

    def map_unordered(
        self,
        function: Callable[[Task], Result],
        tasks: Iterable[Task],
        name: Callable[[Task], str],
        *,
        here: Here = "processes",
        seconds: float = math.inf,
        device: str = "cpu",
    ) -> Generator[tuple[Task, Result]]:
        """Yield (task, function(task)) as they finish; only a few tasks are in memory, and none begins after an error.

        `function` is one of a module, or a `partial` of it, and does a task twice with the same result. All tasks
        together take a core about so many `seconds`. `name` tells what a task is, for errors; WakewordError where a
        worker dies of it again and again.
        """
        pool = None if seconds < WORTH_SECONDS else self._pool(here, device)
        if pool is not None:
            return _supervised(pool, function, tasks, name, self._retries)
        if here == "threads":
            return map_in_threads(function, tasks, self.cores)
        return ((task, function(task)) for task in tasks)


@dataclass(frozen=True)
class _Attempt(Generic[Task]):
    task: Task
    alone: bool = False
    """Whether a worker died while it was done beside others, any of which may have been what it died of."""
    deaths: int = 0
    """Workers that died while they did it alone."""
    lost: int = 0
    """Machines that were lost while they did it."""

    def after(self, died: WorkerDiedError, name: str, retries: int) -> "_Attempt[Task]":
        """Count a death, by which it is to be done again; WakewordError where it has been done often enough."""
        if not died.machine_lost and self.alone and self.deaths >= retries:
            raise WakewordError(
                f"{name}: a worker died of it, also with nothing beside it ({died.reason}); it needs more memory than "
                "there is, or a library crashes on it"
            )
        if died.machine_lost and self.lost >= _MOST_LOST:
            raise WakewordError(
                f"{name}: {self.lost + 1} machines were lost while they did it ({died.reason}); run again when the "
                "cluster is at rest: what is finished is kept"
            )
        log.warning("%s: %s; it is done again", name, died.reason)
        if died.machine_lost:
            return replace(self, lost=self.lost + 1)
        return replace(self, alone=True, deaths=self.deaths + self.alone)


def _supervised(
    pool: Pool,
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
    name: Callable[[Task], str],
    retries: int,
) -> Generator[tuple[Task, Result]]:
    waiting = (_Attempt(task) for task in tasks)
    again: deque[_Attempt[Task]] = deque()
    suspects: deque[_Attempt[Task]] = deque()
    running: dict[Future[Outcome[Any]], _Attempt[Task]] = {}
    finished: queue.SimpleQueue[Future[Outcome[Any]]] = queue.SimpleQueue()

    def submit(attempt: _Attempt[Task]) -> None:
        future = pool.submit(function, attempt.task, name(attempt.task), attempt.alone)
        running[future] = attempt
        future.add_done_callback(finished.put)  # a tenth of what asking all futures costs

    def submit_more() -> None:
        if suspects:  # which have all others done first
            if not running:
                submit(suspects.popleft())
            return
        while len(running) < pool.most and (attempt := again.popleft() if again else next(waiting, None)):
            submit(attempt)

    with closing(pool):
        while True:
            submit_more()
            if not running:
                return
            try:
                future = finished.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                pool.check()
                continue
            attempt, error = running.pop(future), future.exception()
            if error is None:
                yield attempt.task, future.result().unpack()
                continue
            died = pool.death(error)
            if died is None:
                raise error
            (again if died.machine_lost else suspects).append(attempt.after(died, name(attempt.task), retries))
