"""What listening costs: this project's models on a stream, beside microWakeWord and openWakeWord.

    python benchmarks/streaming.py                  every engine, chunks of 80 ms and of 30 ms
    python benchmarks/streaming.py --model FOLDER   a model of yours besides

Each engine runs in a process of its own, on one core; sides take turns, round by round, on the same noise, and the
median of rounds counts: processor time and wall time for a second of audio. Start-up is the time to import, to load
and to score the first chunk; memory is the peak of the process, read from /proc (so: Linux). This project's models are
untrained networks of the presets' architectures (`mixednet` is the one for microcontrollers): what they cost does not
depend on their weights. So nothing but the packages is needed: `pip install -e '.[bench]'`.

The ratio is the worst of four, two for each chunk: microWakeWord's processor time over that of `mixednet`, and a tenth
of openWakeWord's over that of `balanced`; from 1 on all goals are met. The last line of standard output is one JSON
object.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

RATE = 16_000
CHUNKS_MS = (80, 30)
GOAL = 1.0
ROUNDS = 5
SECONDS = 10.0
LEVEL = 1_000.0
"""Standard deviation of the noise, in int16 steps."""
OWN = ("mixednet", "balanced", "accurate", "tiny")
"""This project's models: the microcontrollers' network and the presets."""
PEERS = ("microWakeWord", "openWakeWord")
WORD = "alexa"
OPENWAKEWORD_SHARE = 0.1


def main(given: Sequence[str] | None = None) -> int:
    """Run the benchmark, or one side of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, help="a further exported model, or its folder")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"rounds that count [default: {ROUNDS}]")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"audio of a round [default: {SECONDS:g}]")
    parser.add_argument("--side", nargs=2, metavar=("ENGINE", "MODEL"), help=argparse.SUPPRESS)
    chosen = parser.parse_args(given)
    if chosen.side:
        serve(*chosen.side)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        models = {name: build(name, Path(folder) / name) for name in OWN}
        if chosen.model:
            models[str(chosen.model)] = chosen.model
        report = compare(models, chosen.rounds, chosen.seconds)
    console = Console(stderr=True, width=None if sys.stderr.isatty() else 110)
    console.print(table(report))
    print(json.dumps(report))
    return 0


def build(name: str, folder: Path) -> Path:
    """Export an untrained model of a preset's architecture, or of an architecture by its name."""
    import torch

    from wakeword_core.config import Config
    from wakeword_core.config.loading import load_config
    from wakeword_core.export.onnx_export import export_onnx
    from wakeword_core.export.streaming import export_streaming
    from wakeword_core.models.scoring import model_card, new_model

    torch.manual_seed(0)
    config = (
        Config.model_validate({"training": {"model": {"arch": name}}})
        if name == "mixednet"
        else load_config(None, preset=name)
    )
    detector = config.evaluation.detector.model_dump(mode="json")
    folder.mkdir()
    card = {**model_card(config), "detector": detector, "threshold": 0.5, "operating_points": {}}
    export_onnx(new_model(config).eval(), card, config.export.onnx, folder)
    export_streaming(folder / "model.onnx", config.export.onnx.parity_tolerance, folder)
    return folder


class Side:
    """An engine in a process of its own."""

    def __init__(self, name: str, model: str) -> None:
        single = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--side", name, model],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # the other engines are modules beside this one, which a safe path leaves out
            env={**os.environ, **single, "PYTHONSAFEPATH": ""},
        )
        self.start = self._answer()

    def round(self, chunk_ms: int, seconds: float) -> dict[str, float]:
        """Milliseconds of processor and of wall time for a second of audio, and the peak of memory so far."""
        assert self.process.stdin is not None
        print(json.dumps([chunk_ms, seconds]), file=self.process.stdin, flush=True)
        return self._answer()

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"streaming: {' '.join(self.process.args[2:])} ended with {self.process.wait()}")  # type: ignore[arg-type,index]
        answer: dict[str, Any] = json.loads(line)
        return answer


def serve(name: str, model: str) -> None:
    """Answer each line [milliseconds of a chunk, seconds] on standard input with the cost of a round."""
    began, wall = time.process_time(), time.perf_counter()
    engine = load(name, model)
    engine.push(np.zeros(RATE * CHUNKS_MS[0] // 1_000, np.int16))
    start = {"start_ms": 1_000 * (time.perf_counter() - wall), "start_cpu_ms": 1_000 * (time.process_time() - began)}
    files = sum(path.stat().st_size for path in engine.files)
    print(json.dumps({**start, "file_bytes": files, "native": engine.native}), flush=True)
    for line in sys.stdin:
        chunk_ms, seconds = json.loads(line)
        pcm = np.random.default_rng(0).normal(0, LEVEL, round(seconds * RATE)).astype(np.int16)
        size = RATE * chunk_ms // 1_000
        chunks = [pcm[at : at + size] for at in range(0, len(pcm) - size + 1, size)]
        engine.reset()
        began, wall = time.process_time(), time.perf_counter()
        for chunk in chunks:
            engine.push(chunk)
        spent, passed = time.process_time() - began, time.perf_counter() - wall
        heard = len(chunks) * size / RATE / 1_000
        print(json.dumps({"cpu": spent / heard, "wall": passed / heard, "peak_mb": _peak_mb()}), flush=True)


def load(name: str, model: str) -> Any:
    """The engine by its name; for those of this project `model` is the folder."""
    from wakeword_core.config import DetectorConfig
    from wakeword_core.listeners.listener import OwnModel
    from wakeword_core.listeners.peers import MicroWakeWord, OpenWakeWord
    from wakeword_core.runtime import WakewordModel

    if name in PEERS:
        engine: Any = {"microWakeWord": MicroWakeWord, "openWakeWord": OpenWakeWord}[name](WORD, DetectorConfig())
        engine.native = None
        return engine
    loaded = WakewordModel(Path(model))
    engine = OwnModel(loaded, [loaded.path])
    engine.native = None
    if loaded.streaming is not None:
        engine.files, engine.native = [loaded.streaming.path], loaded.streaming.native
    return engine


def _peak_mb() -> float:
    """Peak resident memory; `getrusage` would tell that of the process it was started from, too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1_024


def compare(models: dict[str, Path], rounds: int, seconds: float) -> dict[str, Any]:
    """Rounds in turns, after one that warms up; returns the JSON object."""
    sides = {name: Side(name, str(models.get(name, ""))) for name in (*models, *PEERS)}
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    try:
        for turn in range(1 + rounds):
            for chunk_ms in CHUNKS_MS:
                for name, side in sides.items():
                    result = side.round(chunk_ms, seconds)
                    if turn:
                        found[name].append({**result, "chunk_ms": chunk_ms})
    finally:
        for side in sides.values():
            side.close()
    engines = {name: {**side.start, **_medians(found[name])} for name, side in sides.items()}
    ratios = [_ratios(engines, chunk_ms) for chunk_ms in CHUNKS_MS]
    return {
        "name": "streaming",
        "ratio": round(min(min(one.values()) for one in ratios), 3),
        "goal": GOAL,
        "ratios": {f"{chunk_ms} ms": one for chunk_ms, one in zip(CHUNKS_MS, ratios, strict=True)},
        "rounds": rounds,
        "seconds": seconds,
        "engines": engines,
    }


def _medians(results: list[dict[str, Any]]) -> dict[str, Any]:
    costs = {
        f"{what}_ms_per_s_{chunk_ms}": round(
            statistics.median(one[what] for one in results if one["chunk_ms"] == chunk_ms), 3
        )
        for what in ("cpu", "wall")
        for chunk_ms in CHUNKS_MS
    }
    return {**costs, "peak_mb": round(max(one["peak_mb"] for one in results), 1)}


def _ratios(engines: dict[str, dict[str, Any]], chunk_ms: int) -> dict[str, float]:
    cost = {name: one[f"cpu_ms_per_s_{chunk_ms}"] for name, one in engines.items()}
    return {
        "mixednet": round(cost["microWakeWord"] / cost["mixednet"], 3),
        "balanced": round(OPENWAKEWORD_SHARE * cost["openWakeWord"] / cost["balanced"], 3),
    }


def table(report: dict[str, Any]) -> Table:
    """The report for people."""
    shown = Table(title="a second of audio on one core, median of rounds", title_justify="left")
    columns = [f"CPU, {one} ms chunks" for one in CHUNKS_MS] + [f"wall, {CHUNKS_MS[0]} ms", "start", "peak RSS", "file"]
    for column in ("", *columns):
        shown.add_column(column, justify="right" if column else "left")
    for name, one in report["engines"].items():
        shown.add_row(
            name + (" (ring buffer)" if one["native"] is False else ""),
            *(f"{one[f'cpu_ms_per_s_{chunk}']:.2f} ms" for chunk in CHUNKS_MS),
            f"{one[f'wall_ms_per_s_{CHUNKS_MS[0]}']:.2f} ms",
            f"{one['start_ms']:.0f} ms",
            f"{one['peak_mb']:.0f} MB",
            f"{one['file_bytes'] / 1e3:,.0f} kB",
        )
    return shown


if __name__ == "__main__":
    sys.exit(main())
