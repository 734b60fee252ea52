"""One process of a training that torchrun started: `torchrun ... -m wakeword_core.training JOB OUT`.

It tells the process that listens, as one JSON object a line, how far it is and how it ended.
"""

import json
import logging
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from wakeword_core.errors import WakewordError
from wakeword_core.progress import silent
from wakeword_core.training.epoch import MemoryFullError
from wakeword_core.training.fit import train_here
from wakeword_core.training.job import load_job
from wakeword_core.training.records import EpochRecord

_TELL_SECONDS = 0.1


class _Teller(logging.Handler):
    """Writes lines, each at once, so that those of several processes do not mix."""

    def __init__(self, answers: TextIO) -> None:
        super().__init__(logging.INFO)
        self._answers, self._told = answers, 0.0

    def tell(self, what: str, value: Any) -> None:
        self._answers.write(json.dumps({what: value}) + "\n")
        self._answers.flush()

    def emit(self, record: logging.LogRecord) -> None:
        self.tell("log", [record.levelno, record.getMessage()])

    def progress(self, what: str, done: int, total: int) -> None:
        if time.monotonic() - self._told >= _TELL_SECONDS or done == total:
            self._told = time.monotonic()
            self.tell("progress", [what, done, total])

    def on_epoch(self, record: EpochRecord) -> None:
        self.tell("epoch", asdict(record))


def main(job: Path, out: Path, answers: TextIO) -> int:
    """Do this process's part of the training; the exit status."""
    teller, first = _Teller(answers), os.environ["RANK"] == "0"
    if first:
        logging.getLogger("wakeword_core").addHandler(teller)
        logging.getLogger("wakeword_core").setLevel(logging.INFO)
    try:
        summary = train_here(load_job(job), out, teller.progress if first else silent, teller.on_epoch)
    except MemoryFullError as error:
        teller.tell("fewer_rows", error.rows)
        return 1
    except WakewordError as error:
        teller.tell("error", [type(error).__name__, str(error)])
        return 1
    if first:
        teller.tell("summary", asdict(summary))
    return 0


if __name__ == "__main__":
    own = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print must not get between the lines
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), own))
