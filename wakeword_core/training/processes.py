"""A training in several processes of this machine, which are started here and report back."""

import logging
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from wakeword_core.config import Config
from wakeword_core.errors import ConfigError, WakewordError
from wakeword_core.features.gathering import Mel, PartRows, RowsOnDisk
from wakeword_core.files import read_json, replacing, write_json
from wakeword_core.interrupts import finishing
from wakeword_core.models.scoring import load_model, model_card, save_model
from wakeword_core.progress import Progress, silent
from wakeword_core.python import forked_processes
from wakeword_core.teaching.scores import TeacherScores
from wakeword_core.training.checkpoint import CHECKPOINTS
from wakeword_core.training.device import choose_device
from wakeword_core.training.distributed import MemoryFullError, take_place
from wakeword_core.training.records import EpochRecord, TrainingSummary
from wakeword_core.training.run import Job

log = logging.getLogger(__name__)

_FOLDER, _LOG = "processes", "processes.log"
_STORE = "store"
_TENSORS, _FACTS, _START = "windows.safetensors", "job.json", "start_from"
_TEACHER = "teacher.safetensors"
_POLL_SECONDS = 0.2
_PROGRESS_SECONDS = 0.1
_ERROR_SECONDS = 10.0  # how long the others may take to report an error once a process has died
_STOP_SECONDS = 60.0  # how long a process may take to finish its batch before it is killed

Workers = dict[Connection, BaseProcess]
"""Processes by the connection that they report on; the first process is the first."""
OnEpoch = Callable[[EpochRecord], None]
Train = Callable[[Job, Path, Progress, OnEpoch], TrainingSummary]
"""One process's part of the training, a function of a module: `loop.train_here`."""


def train_in_processes(train: Train, job: Job, out: Path, progress: Progress, on_epoch: OnEpoch) -> TrainingSummary:
    """Call `train` in `compute.processes` new processes, of which the first writes to `out` and reports progress.

    When the memory of one does not hold its rows, all are started again with half of them at once, and go on after
    the last finished epoch. Raises what `train` raises in any of them, and WakewordError when one of them dies.
    """
    compute = job.config.compute
    if choose_device(compute.device) == "cuda" and compute.processes > torch.cuda.device_count():
        raise ConfigError(
            f"compute.processes is {compute.processes}, but there are {torch.cuda.device_count()} GPUs and each "
            "process needs one; lower it"
        )
    folder, output = out / CHECKPOINTS / _FOLDER, out / CHECKPOINTS / _LOG
    handlers: dict[str, Callable[..., None]] = {"progress": progress, "epoch": on_epoch, "log": log.log}
    with _private(folder), finishing("batch") as stop_requested:
        while True:
            save_job(job, folder)
            try:
                with _started(train, compute.processes, folder, out, output) as workers:
                    return _listen(workers, handlers, stop_requested, output)
            except MemoryFullError as full:
                log.warning("the GPUs' memory is exhausted: %d rows at once from here on", full.rows)
                job = replace(job, micro_batch=full.rows)


def save_job(job: Job, folder: Path) -> None:
    """Write what a training starts from to a folder, as tensors and JSON; `load_job` reads it.

    Of features on disk it is written where they are.
    """
    tensors = {f"cmvn.{name}": torch.as_tensor(values) for name, values in asdict(job.cmvn).items()}
    on_disk: dict[str, list[Any]] = {}
    for split, windows in (("train", job.train), ("val", job.val)):
        tensors |= {f"{split}.{name}": column.cpu().contiguous() for name, column in windows.columns().items()}
        if isinstance(windows.mel, RowsOnDisk):
            tensors[f"{split}.order"] = torch.from_numpy(windows.mel.order)
            on_disk[split] = [[str(part.path), part.begin, part.shape, part.dtype.str] for part in windows.mel.parts]
        else:
            tensors[f"{split}.mel"] = windows.mel.cpu().contiguous()
    with replacing(folder / _TENSORS) as part:
        save_file(tensors, part)
    if job.teacher is not None:
        job.teacher.save(folder / _TEACHER)
    if job.start_from is not None:
        save_model(folder / _START, job.start_from, model_card(job.config))
    facts = {"config": job.config.model_dump(mode="json"), "micro_batch": job.micro_batch, "on_disk": on_disk}
    given = {"further": job.start_from is not None, "taught": job.teacher is not None}
    write_json(folder / _FACTS, facts | given)


def load_job(folder: Path) -> Job:
    """Read what `save_job` wrote."""
    from wakeword_core.features.cmvn import Cmvn
    from wakeword_core.features.store import WindowSet

    facts, tensors = read_json(folder / _FACTS), load_file(folder / _TENSORS)

    def windows(split: str) -> WindowSet:
        columns = {one.name: tensors[f"{split}.{one.name}"] for one in fields(WindowSet) if one.name != "mel"}
        return WindowSet(mel(split), **columns)

    def mel(split: str) -> Mel:
        if split not in facts["on_disk"]:
            return tensors[f"{split}.mel"]
        parts = [
            PartRows(Path(path), begin, tuple(shape), np.dtype(dtype))
            for path, begin, shape, dtype in facts["on_disk"][split]
        ]
        return RowsOnDisk(tuple(parts), tensors[f"{split}.order"].numpy())

    cmvn = Cmvn(tensors["cmvn.mean"].numpy(), tensors["cmvn.std"].numpy())
    start_from = load_model(folder / _START)[0] if facts["further"] else None
    teacher = TeacherScores.load(folder / _TEACHER) if facts["taught"] else None
    config = Config.model_validate(facts["config"])
    return Job(windows("train"), windows("val"), cmvn, config, start_from, facts["micro_batch"], teacher)


@contextmanager
def _private(folder: Path) -> Iterator[None]:
    """Make a folder that no other user can look into: the processes meet there, and trust what they find there."""
    shutil.rmtree(folder, ignore_errors=True)  # of a training that was killed
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700)
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _started(train: Train, count: int, folder: Path, out: Path, output: Path) -> Iterator[Workers]:
    # one process imports torch and is forked for each, which takes a fraction of as many imports, of time and memory
    context, workers = forked_processes([__name__, train.__module__]), Workers()
    (folder / _STORE).unlink(missing_ok=True)
    output.unlink(missing_ok=True)
    # the processes inherit that SIGINT is blocked: Ctrl-C reaches this one alone, which passes it on once
    resource_tracker.ensure_running()  # as starting the first process does, which would unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        for index in range(count):
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=_work, args=(train, index, count, folder, out, output, sender))
            process.start()
            sender.close()
            workers[receiver] = process
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        yield workers
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for worker in workers.values():
            worker.terminate()  # each finishes its batch
        try:
            for worker in workers.values():
                worker.join(_STOP_SECONDS)
        finally:  # also when somebody presses Ctrl-C again
            for worker in workers.values():
                worker.kill()
            for worker in workers.values():
                worker.join()


def _listen(
    workers: Workers, handlers: dict[str, Callable[..., None]], stop_requested: Callable[[], bool], output: Path
) -> TrainingSummary:
    """Pass on what the processes report until the first has the summary, or raise what went wrong in one of them."""
    waiting, first = dict(workers), next(iter(workers))
    statuses: list[int] = []
    deadline = float("inf")
    while waiting and time.monotonic() < deadline:
        if stop_requested():
            raise KeyboardInterrupt
        for connection in wait(list(waiting), _POLL_SECONDS):
            assert isinstance(connection, Connection)
            try:
                what, values = connection.recv()
            except EOFError:
                died = waiting.pop(connection)
                died.join()
                statuses.append(died.exitcode or 0)
                deadline = min(deadline, time.monotonic() + _ERROR_SECONDS)
                continue
            match what:
                case "error":
                    raise values[0]
                case "summary" if connection is first:
                    summary: TrainingSummary = values[0]
                    return summary
                case "summary":
                    waiting.pop(connection)
                case _:
                    handlers[what](*values)
    if stop_requested():
        raise KeyboardInterrupt
    raise WakewordError(  # with the status of a signal, where one died of it and others of its death
        f"a process of the training ended with exit status {min(statuses)}; {output} has what it printed, and the next "
        "run goes on after the last epoch; if memory ran out, lower compute.processes"
    )


class _Reporter(logging.Handler):
    def __init__(self, connection: Connection) -> None:
        super().__init__(logging.INFO)
        self._connection, self._progress_at = connection, 0.0

    def send(self, what: str, *values: Any) -> None:
        self._connection.send((what, values))

    def emit(self, record: logging.LogRecord) -> None:
        self.send("log", record.levelno, "%s", record.getMessage())

    def progress(self, what: str, done: int, total: int) -> None:
        if time.monotonic() - self._progress_at >= _PROGRESS_SECONDS or done == total:
            self._progress_at = time.monotonic()
            self.send("progress", what, done, total)

    def on_epoch(self, record: EpochRecord) -> None:
        self.send("epoch", record)


def _work(train: Train, index: int, count: int, folder: Path, out: Path, output: Path, sender: Connection) -> None:
    """Do one process's part of the training; what it and its libraries print goes to the file `output`."""
    with output.open("a", encoding="utf-8") as printed:
        os.dup2(printed.fileno(), 1)
        os.dup2(printed.fileno(), 2)
    take_place(index, count, folder / _STORE)
    reporter = _Reporter(sender)
    if index == 0:
        logging.getLogger("wakeword_core").addHandler(reporter)
        logging.getLogger("wakeword_core").setLevel(logging.INFO)
    try:
        summary = train(load_job(folder), out, reporter.progress if index == 0 else silent, reporter.on_epoch)
    except WakewordError as error:
        reporter.send("error", error)
    else:
        reporter.send("summary", summary)
