"""Scores windows of several requests in one run of a model."""

import queue
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from wakeword_core.runtime import WakewordModel

Floats = npt.NDArray[np.float32]
Observer = Callable[[int, int], None]


class _Job(NamedTuple):
    windows: Floats
    scores: "Future[Floats]"


_Waiting = queue.SimpleQueue[_Job | None]


class BatchingScorer:
    """A thread that runs the model on all windows that wait, from `start` to `close`.

    A run begins with the first window that comes, and takes in what follows within `wait_seconds`, until there are
    `batch_windows` or more. `observe` gets the number of requests and windows of each run. The thread also ends, and
    lets go of the model, when nobody refers to the scorer any more.
    """

    def __init__(self, model: WakewordModel, batch_windows: int, wait_seconds: float, observe: Observer) -> None:
        self._waiting: _Waiting = queue.SimpleQueue()
        runs = _Runs(model, batch_windows, wait_seconds, observe, self._waiting)
        self._thread = threading.Thread(target=runs.run, name="wakeword-batches", daemon=True)
        weakref.finalize(self, self._waiting.put, None)

    def start(self) -> None:
        """Begin to score."""
        self._thread.start()

    def close(self) -> None:
        """Score what waits, and end, if it was started."""
        self._waiting.put(None)
        if self._thread.is_alive():
            self._thread.join()

    def __call__(self, windows: Floats) -> Floats:
        """Score features float32 [n, bands, window_frames] as [n, classes]; waits for the run."""
        job = _Job(windows, Future())
        self._waiting.put(job)
        return job.scores.result()


class _Runs:
    """What the thread of a scorer does; it does not know the scorer."""

    def __init__(
        self, model: WakewordModel, batch_windows: int, wait_seconds: float, observe: Observer, waiting: "_Waiting"
    ) -> None:
        self._model, self._batch_windows, self._wait = model, batch_windows, wait_seconds
        self._observe, self._waiting = observe, waiting

    def run(self) -> None:
        """Run the model until None comes out of the queue."""
        while jobs := self._gathered():
            try:
                scores = self._model.score_stream_windows(np.concatenate([job.windows for job in jobs]))
            except Exception as error:
                for job in jobs:
                    job.scores.set_exception(error)
                continue
            self._observe(len(jobs), len(scores))
            ends = np.cumsum([len(job.windows) for job in jobs])
            for job, part in zip(jobs, np.split(scores, ends[:-1]), strict=True):
                job.scores.set_result(part)

    def _gathered(self) -> list[_Job]:
        job = self._waiting.get()
        jobs, windows, until = [], 0, time.monotonic() + self._wait
        while job is not None:
            jobs.append(job)
            windows += len(job.windows)
            if windows >= self._batch_windows:
                break
            try:
                job = self._waiting.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                break
            if job is None:
                self._waiting.put(None)  # for the next time
        return jobs
