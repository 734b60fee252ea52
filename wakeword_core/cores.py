"""How many cores and how much memory there are to use, how many cores torch uses, and threads and processes on them."""

import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

from wakeword_core.python import fresh_processes

Task = TypeVar("Task")
Result = TypeVar("Result")

_PARENT_CHECK_SECONDS = 0.5
_CONTAINER_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Where a container finds how many bytes it may take, which may be "max"."""
_WAITING_A_THREAD = 8


def available_cores() -> int:
    """Return how many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine_memory(limits: Sequence[Path] = _CONTAINER_LIMITS) -> int:
    """Return how many bytes of memory this machine has, or its container may take by the files of its `limits`."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in limits:
        with suppress(OSError, ValueError):
            memory = min(memory, int(limit.read_text()))
    return memory


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Run with `count` torch threads (0: one a core), here and on threads begun meanwhile; then as before."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count or available_cores())
    try:
        yield
    finally:
        torch.set_num_threads(before)


def map_in_threads(
    function: Callable[[Task], Result], tasks: Iterable[Task], threads: int
) -> Generator[tuple[Task, Result]]:
    """Yield (task, function(task)) as they finish, on so many threads of this process; only a few wait in memory."""
    waiting = iter(tasks)
    running: dict[Future[Result], Task] = {}
    finished: SimpleQueue[Future[Result]] = SimpleQueue()
    with ThreadPoolExecutor(threads) as pool:
        try:
            while True:
                for task in islice(waiting, threads * _WAITING_A_THREAD - len(running)):
                    future = pool.submit(function, task)
                    running[future] = task
                    future.add_done_callback(finished.put)
                if not running:
                    return
                future = finished.get()
                yield running.pop(future), future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def process_pool(processes: int) -> ProcessPoolExecutor:
    """Return a pool of fresh processes.

    They leave Ctrl-C, which reaches the whole group, to this process, and end when it is gone, however it died.
    """
    return ProcessPoolExecutor(
        processes, mp_context=fresh_processes(), initializer=_begin_worker, initargs=(os.getpid(),)
    )


def _begin_worker(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_PARENT_CHECK_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
