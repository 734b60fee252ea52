"""A training in several processes of this machine, started by torchrun and watched from here."""

import json
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import torch

from wakeword_core import errors
from wakeword_core.config import TrainingConfig
from wakeword_core.cores import available_cores
from wakeword_core.errors import ConfigError, WakewordError
from wakeword_core.interrupts import finishing
from wakeword_core.progress import Progress
from wakeword_core.training.device import choose_device
from wakeword_core.training.job import Job
from wakeword_core.training.records import EpochRecord, TrainingSummary
from wakeword_core.training.run import CHECKPOINTS

log = logging.getLogger(__name__)

_JOB, _LOG = "processes", "processes.log"
_TORCHRUN = ("-m", "torch.distributed.run", "--standalone")
_MODULE = "wakeword_core.training"
_STOP_SECONDS = 60.0
"""torchrun kills processes that do not end on a signal after 30 s."""
_EXIT_CODE = re.compile(r"exitcode\s*: (-?\d+)")


def train_in_processes(
    job: Job, out: Path, progress: Progress, on_epoch: Callable[[EpochRecord], None]
) -> TrainingSummary:
    """As `fit.train`, in `training.processes` processes, of which the first writes to `out` and is listened to.

    When the memory of one does not hold its rows, all are started again with half of them at once, and go on after
    the last finished epoch. Raises WakewordError when one of them dies.
    """
    _check_gpus(job.config.training)
    folder = out / CHECKPOINTS / _JOB
    try:
        with finishing("batch") as asked:
            while True:
                job.save(folder)
                try:
                    return _listen(folder, job.config.training.processes, out, progress, on_epoch, asked)
                except _FewerRowsError as full:
                    log.warning("the GPUs' memory is exhausted: %d rows at once from here on", full.rows)
                    job = replace(job, micro_batch=full.rows)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _FewerRowsError(Exception):
    def __init__(self, rows: int) -> None:
        self.rows = rows


def _check_gpus(settings: TrainingConfig) -> None:
    if choose_device(settings.device) == "cuda" and settings.processes > torch.cuda.device_count():
        raise ConfigError(
            f"training.processes is {settings.processes}, but there are {torch.cuda.device_count()} GPUs and each "
            "process needs one; lower it"
        )


def _listen(
    folder: Path,
    processes: int,
    out: Path,
    progress: Progress,
    on_epoch: Callable[[EpochRecord], None],
    asked_to_stop: Callable[[], bool],
) -> TrainingSummary:
    """Pass on what the processes tell until one of them has the summary."""
    output = out / CHECKPOINTS / _LOG
    with _started(folder, processes, out, output) as (process, lines):
        for line in lines:
            if asked_to_stop():
                raise KeyboardInterrupt
            told: dict[str, Any] = json.loads(line)
            match told:
                case {"progress": [what, done, total]}:
                    progress(what, done, total)
                case {"epoch": record}:
                    on_epoch(EpochRecord(**record))
                case {"log": [level, message]}:
                    log.log(level, "%s", message)
                case {"fewer_rows": rows}:
                    raise _FewerRowsError(rows)
                case {"error": [kind, message]}:
                    raise getattr(errors, kind, WakewordError)(message)
                case {"summary": summary}:
                    return TrainingSummary(**summary)
        process.wait(_STOP_SECONDS)
    if asked_to_stop():
        raise KeyboardInterrupt
    codes = _EXIT_CODE.findall(output.read_text(encoding="utf-8", errors="replace"))
    ending = f"with exit status {codes[-1]}" if codes else "by itself"
    raise WakewordError(
        f"a process of the training ended {ending}; {output} has what it said, and the next run goes on after the last "
        "epoch; if memory ran out, lower training.processes"
    )


@contextmanager
def _started(
    folder: Path, processes: int, out: Path, output: Path
) -> Iterator[tuple["subprocess.Popen[str]", IO[str]]]:
    """torchrun, and the lines that its processes write; whatever happens, it and they have ended afterwards."""
    command = [sys.executable, *_TORCHRUN, "--nproc-per-node", str(processes), "-m", _MODULE, str(folder), str(out)]
    paths = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    threads = os.environ.get("OMP_NUM_THREADS", str(max(1, available_cores() // processes)))
    with output.open("w", encoding="utf-8") as said:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=said,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": threads},
            start_new_session=True,  # Ctrl-C reaches this process alone, which passes it on once
            text=True,
            encoding="utf-8",
        )
    assert process.stdout is not None
    try:
        yield process, process.stdout
    finally:
        process.terminate()  # each process finishes its batch
        for _ in process.stdout:  # a full pipe would keep them from ending
            pass
        process.stdout.close()
        process.wait(_STOP_SECONDS)
