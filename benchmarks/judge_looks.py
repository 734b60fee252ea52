"""What a judge costs a stream and a file: milliseconds of one core for a look, and for a second of sound.

    OMP_NUM_THREADS=1 python benchmarks/judge_looks.py

The judge has the frozen embedding and an untrained head, since what it costs does not depend on weights; the model that
asks it is a plan of when the gate is open: always, for 0.8 s every 16 s, which is 5 % of the time, or never. Streams
come in chunks of 80 ms, files whole; rounds take turns, and the median of them counts. What the judge costs while the
gate is closed is taken off a look, and the first look of an opening, which takes the sound of a whole window, counts
with the others. Memory is that of a process of its own, read from /proc (so: Linux), once the judge is open and at its
peak later. It needs the extra `judge`; the last line of standard output is one JSON object.
"""

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from wakeword_core.runtime.judge import JudgedScorer
    from wakeword_core.runtime.judge_file import Judge

RATE = 16_000
CHUNK = 1_280
ROUNDS, SECONDS, STREAMS = 7, 32.0, 64
LEVEL = 1_000.0
"""Standard deviation of the noise, in int16 steps."""
GATES = {"always": (1.0, 1.0), "5 %": (0.8, 16.0), "never": (0.0, 1.0)}
"""Seconds for which the gate is open, and from one opening to the next."""
_OPEN, _CLOSED = 0.9, 0.0


class Plan:
    """Scores of a model that hears something when it is to: `open_seconds` of every `seconds`."""

    def __init__(self, stride: int, hangover_seconds: float, open_seconds: float, seconds: float) -> None:
        self._stride, self._seconds = stride, seconds
        self._loud_seconds = open_seconds if open_seconds == seconds else open_seconds - hangover_seconds
        self._heard = 0

    def push(self, chunk: Any) -> tuple[Any, Any]:
        """Return the times and scores that a chunk completes."""
        ends = np.arange(self._heard // self._stride + 1, (self._heard + len(chunk)) // self._stride + 1) * self._stride
        self._heard += len(chunk)
        wake = np.where(ends / RATE % self._seconds < self._loud_seconds, _OPEN, _CLOSED)
        return ends / RATE, np.stack([1 - wake, wake], axis=1).astype(np.float32)

    def finish(self) -> tuple[Any, Any]:
        """Return that nothing is left."""
        return self.push(np.empty(0))


def build(folder: Path) -> Path:
    """Export a judge with untrained heads."""
    from wakeword_core.config import Config, DetectorConfig
    from wakeword_core.config.judge import JudgeHeadConfig
    from wakeword_core.judge.embedding import STEP_SAMPLES, speech_embedding
    from wakeword_core.judge.export import HOPS_HEARD, export_judge
    from wakeword_core.judge.head import JudgeHead, JudgeHeads
    from wakeword_core.models.scoring import model_card
    from wakeword_core.runtime.exported import JUDGE_FILE

    config = Config()
    asked: dict[str, Any] = {"hop_samples": STEP_SAMPLES, "hops": HOPS_HEARD, "gate": config.judge.gate}
    asked |= {"hangover_seconds": config.judge.hangover_seconds, "made_for": ""}
    detector = DetectorConfig().model_dump(mode="json")
    card = {**model_card(config), "detector": detector, "threshold": 0.5, "operating_points": {}, "judge": asked}
    settings, words = JudgeHeadConfig(), len(config.labels) - 1
    heads = JudgeHeads([JudgeHead(words, settings) for _ in range(settings.count)]).eval()
    onnx = config.export.onnx
    export_judge(speech_embedding(), heads, card, onnx.opset, onnx.parity_tolerance, folder)
    return folder / JUDGE_FILE


def scorer_of(judge: "Judge", gate: tuple[float, float]) -> "JudgedScorer":
    """What scores a stream whose gate is open as planned."""
    from wakeword_core.runtime.judge import JudgedScorer

    stride = judge.stride_frames * judge.frontend.hop_length
    return JudgedScorer(Plan(stride, judge.facts.hangover_seconds, *gate), judge)


def cost(judge: "Judge", chunk: int, seconds: float, gate: tuple[float, float]) -> tuple[float, int]:
    """Milliseconds of processor time for the judge's part in noise of so many seconds, and the looks in it."""
    pcm = np.random.default_rng(0).normal(0, LEVEL, round(seconds * RATE)).astype(np.int16)
    scorer = scorer_of(judge, gate)
    began = time.process_time()
    answers = [scorer.push(pcm[at : at + chunk]) for at in range(0, len(pcm), chunk)]
    spent = time.process_time() - began
    times, scores = (np.concatenate(parts) for parts in zip(*answers, strict=True))
    open_at = np.rint(times[scores[:, 1] > 0] * RATE).astype(int) - round(times[0] * RATE)
    return 1e3 * spent, len(np.unique(open_at // CHUNK))


def measure(path: Path, rounds: int, seconds: float) -> dict[str, Any]:
    """Take rounds in turns, after one that warms up; returns the JSON object."""
    from wakeword_core.runtime.judge_file import Judge

    memory = {"before": _megabytes("VmRSS")}
    judge = Judge(path)
    memory["open"] = _megabytes("VmRSS")
    sizes = {"stream": CHUNK, "file": round(seconds * RATE)}
    spent: dict[tuple[str, str], list[float]] = {}
    looks: dict[str, int] = {}
    for turn in range(1 + rounds):
        for (kind, chunk), (name, gate) in itertools.product(sizes.items(), GATES.items()):
            milliseconds, looks[name] = cost(judge, chunk, seconds, gate)
            if turn:
                spent.setdefault((kind, name), []).append(milliseconds)
    memory["peak"] = _megabytes("VmHWM")
    streams = [scorer_of(judge, GATES["always"]) for _ in range(STREAMS)]
    for stream in streams:
        stream.push(np.zeros(4 * CHUNK, np.int16))
    a_stream = 1_024 * (_megabytes("VmRSS") - memory["peak"]) / STREAMS
    medians = {key: statistics.median(each) for key, each in spent.items()}
    a_look = {
        f"{kind}, {name}": round((medians[kind, name] - medians[kind, "never"]) / looks[name], 3)
        for kind, name in medians
        if looks[name]
    }
    return {
        "name": "judge_looks",
        "ms_a_look": a_look,
        "ms_a_second": {f"{kind}, {name}": round(each / seconds, 3) for (kind, name), each in medians.items()},
        "looks": looks,
        "memory_mb": {name: round(size, 1) for name, size in memory.items()},
        "stream_kb": round(a_stream),
        "rounds": rounds,
    }


def _megabytes(what: str) -> float:
    """Resident memory of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{what}:")) / 1_024


def main(given: Sequence[str] | None = None) -> int:
    """Make a judge, unless one is given, and measure it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--judge", type=Path, help="a judge.onnx [default: one that is made for it]")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"rounds that count [default: {ROUNDS}]")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"sound of a round [default: {SECONDS:g}]")
    chosen = parser.parse_args(given)
    if chosen.judge:
        print(json.dumps(measure(chosen.judge, chosen.rounds, chosen.seconds)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        more = ["--rounds", str(chosen.rounds), "--seconds", str(chosen.seconds)]
        return subprocess.run([sys.executable, __file__, "--judge", build(Path(folder)), *more], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
