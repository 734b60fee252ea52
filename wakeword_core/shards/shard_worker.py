"""A process that packs shards for another one: a job a line comes in, and what became of it goes out, as JSON."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from wakeword_core.errors import DataError, WakewordError
from wakeword_core.shards.packing import OnRow, ShardJob, pack_shard

_TELL_SECONDS = 0.1
_PATIENCE_SECONDS = 5.0


class WorkerProcess:
    """The other end of `serve`, in a process of its own, for one thread at a time."""

    def __init__(self) -> None:
        root = str(Path(__file__).parents[2])
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            text=True,
            encoding="utf-8",
        )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def pack(self, job: ShardJob, path: Path, on_row: OnRow) -> int:
        """As `pack_shard`, over there. DataError when the process dies."""
        assert self._process.stdin and self._process.stdout
        with contextlib.suppress(BrokenPipeError):  # it has died: that shows below
            self._process.stdin.write(json.dumps({**job.as_json(), "path": str(path)}) + "\n")
            self._process.stdin.flush()
        done = 0
        for line in self._process.stdout:
            answer = json.loads(line)
            if "copied" in answer:
                return int(answer["copied"])
            if "errno" in answer:
                raise OSError(answer["errno"], answer["error"])
            if "error" in answer:
                raise DataError(answer["error"])
            done = int(answer["done"])
            on_row(done)
        raise DataError(
            f"its worker process {_ending(self._process.wait())} after about {done} of {len(job.rows)} recordings; if "
            "memory ran out, lower data.workers"
        )

    def close(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.wait(_PATIENCE_SECONDS)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


def serve(jobs: TextIO, answers: TextIO) -> None:
    """Pack one job after the other until there are no more."""
    for line in jobs:
        asked = json.loads(line)
        try:
            answer: dict[str, Any] = {"copied": _packed(asked, answers)}
        except OSError as error:
            answer = {"error": error.strerror or str(error), "errno": error.errno}
        except WakewordError as error:
            answer = {"error": str(error)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        _tell(answers, answer)


def _packed(asked: dict[str, Any], answers: TextIO) -> int:
    told = time.monotonic()

    def on_row(done: int) -> None:
        nonlocal told
        if time.monotonic() - told >= _TELL_SECONDS or done == len(asked["rows"]):
            told = time.monotonic()
            _tell(answers, {"done": done})

    return pack_shard(ShardJob.from_json(asked), Path(asked["path"]), on_row)


def _tell(answers: TextIO, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def _ending(code: int) -> str:
    if code < 0:
        return f"was killed ({signal.Signals(-code).name})"
    return f"ended by itself (exit status {code})"


def main() -> None:
    """Serve the process that started this one, until it closes the pipe or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the starter ends this one
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print must not get between the answers
    with contextlib.suppress(BrokenPipeError):
        serve(sys.stdin, answers)


if __name__ == "__main__":
    main()
