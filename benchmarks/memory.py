"""Peak memory of manifest, shards and features as recordings get more: it is to stay flat.

    python benchmarks/memory.py --folder /tmp --sizes 5000 50000 200000

Each stage of each size is built in a process of its own, whose resident memory, with that of all it started, is
sampled; pages of files that the system keeps are not counted, nor are pages that processes share counted twice. What
grows with the recordings is their rows in the manifest: `bytes_a_recording` is the slope from the smallest size to the
largest. The ratio is what is allowed (the peak of the smallest size, and ROW_BYTES for each further recording) over
what was needed at the largest, for the stage that does worst. The last line is JSON.

Needs `pip install psutil`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from generated import RATE, generate

from wakeword_core.config import Config

GOAL = 1.0
ROW_BYTES = 4_000
"""What a recording's row may take where all rows are in memory at once: names, hashes and figures, in pandas, twice."""
STAGES = ("raw_manifest", "audio_shards", "mel_features")
SPOKEN = 50
"""One recording in so many is a positive, whose place is looked for; that takes time, not memory."""
SAMPLE_SECONDS = 0.05

STAGE = """
import json, sys
from pathlib import Path
from wakeword_core.config import Config
from wakeword_core.graph.project import Project

config, home, stage = json.loads(sys.argv[1])
split = None if stage == "raw_manifest" else "train"
assert Project(Config.model_validate(config), Path(home)).build(stage, split)[1]
"""


def main() -> int:
    """Run the benchmark."""
    given = _arguments()
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=given.folder, prefix="bench-memory-") as name:
        for size in sorted(given.sizes):
            folder = Path(name) / f"recordings-{size}"
            _write(folder, size, given)
            for stage in given.stages or STAGES:
                one = _measured(stage, _config(folder, given), Path(name) / f"home-{size}")
                results.append({"recordings": size, "stage": stage, **one})
                print(f"{size} {stage}: {one['peak_mb']:.0f} MB, {one['seconds']:.1f} s", file=sys.stderr, flush=True)
    slopes = _slopes(results)
    _print_table(results, slopes)
    print(
        json.dumps(
            {
                "name": "memory",
                "ratio": round(min(one["ratio"] for one in slopes.values()), 3) if slopes else None,
                "goal": GOAL,
                "row_bytes": ROW_BYTES,
                "sizes": sorted(given.sizes),
                "seconds_each": given.seconds,
                "stages": slopes,
                "measured": results,
            }
        )
    )
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where a temporary folder is made [default: the system's]")
    parser.add_argument("--sizes", type=int, nargs="+", default=[5_000, 50_000, 200_000], metavar="RECORDINGS")
    parser.add_argument("--seconds", type=float, default=0.3, help="length of each [default: 0.3]")
    parser.add_argument("--shard-mb", type=float, default=16.0, help="size of a shard; the smallest size fills some")
    parser.add_argument("--stages", nargs="+", choices=STAGES, help="only these, which must be the first ones")
    return parser.parse_args()


def _write(folder: Path, size: int, given: argparse.Namespace) -> None:
    spoken = range(0, size, SPOKEN)
    for part, numbers in (("spoken", spoken), ("other", [one for one in range(size) if one % SPOKEN])):
        for _ in generate(folder / part, numbers, given.seconds):
            pass


def _config(folder: Path, given: argparse.Namespace) -> Config:
    """All recordings in the training split, one clean window each."""
    sources = [
        {"name": name, "path": str(folder / name), "role": role, "split": "train"}
        for name, role in (("spoken", "positive"), ("other", "negative"))
    ]
    features = {"augment": {"views": 1, "negative_views": 1}, "context": {"frames": 0}}
    return Config.model_validate(
        {
            "phrase": "robin",
            "data": {"sources": sources, "audio": {"sample_rate": RATE}},
            "synthesis": {"enabled": False},
            "shards": {"shard_mb": given.shard_mb},
            "features": features,
        }
    )


def _measured(stage: str, config: Config, home: Path) -> dict[str, Any]:
    """Build one stage in a new process: its seconds, and the most memory that it and its children held at once."""
    asked = json.dumps([config.model_dump(mode="json"), str(home), stage])
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, "-c", STAGE, asked], env={**os.environ, "OMP_NUM_THREADS": "1"})
    peaks = _Peaks(process.pid)
    code = process.wait()
    seconds = time.monotonic() - started
    peaks.stop()
    if code:
        raise SystemExit(f"memory: {stage} failed in {home}")
    return {"seconds": round(seconds, 1), "peak_mb": round(peaks.peak / 1e6, 1), "processes": peaks.processes}


class _Peaks:
    """Samples the memory of a process and its children until stopped."""

    def __init__(self, pid: int) -> None:
        import psutil

        self.peak = 0
        self.processes = 0
        self._gone = (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess)
        self._process = psutil.Process(pid)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def stop(self) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(SAMPLE_SECONDS):
            try:
                family = [self._process, *self._process.children(recursive=True)]
            except self._gone:
                continue
            held = [self._private(one) for one in family]
            self.peak = max(self.peak, sum(held))
            self.processes = max(self.processes, len(family))

    def _private(self, process: Any) -> int:
        """Resident memory less that of mapped files and shared pages."""
        try:
            found = process.memory_info()
        except self._gone:
            return 0
        return int(found.rss - found.shared)


def _slopes(results: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """By stage: bytes a recording from the smallest size to the largest, and allowed over needed memory."""
    slopes = {}
    for stage in {one["stage"] for one in results}:
        own = sorted((one for one in results if one["stage"] == stage), key=lambda one: one["recordings"])
        first, last = own[0], own[-1]
        more = last["recordings"] - first["recordings"]
        if more:
            allowed = first["peak_mb"] + more * ROW_BYTES / 1e6
            slopes[stage] = {
                "bytes_a_recording": round((last["peak_mb"] - first["peak_mb"]) * 1e6 / more),
                "growth": round(last["peak_mb"] / first["peak_mb"], 3),
                "ratio": round(allowed / last["peak_mb"], 3),
            }
    return slopes


def _print_table(results: list[dict[str, Any]], slopes: dict[str, dict[str, float]]) -> None:
    from rich.console import Console
    from rich.table import Table

    sizes = sorted({one["recordings"] for one in results})
    table = Table(title="Peak memory in MB by number of recordings")
    for heading in ("stage", *(f"{size:,}" for size in sizes), "bytes a recording", "growth"):
        table.add_column(heading, justify="left" if heading == "stage" else "right")
    for stage in dict.fromkeys(one["stage"] for one in results):
        own = {one["recordings"]: one for one in results if one["stage"] == stage}
        slope = slopes.get(stage)
        ends = (f"{slope['bytes_a_recording']:,}", f"{slope['growth']:.2f}") if slope else ("–", "–")
        table.add_row(stage, *(f"{own[size]['peak_mb']:,.0f}" for size in sizes), *ends)
    Console(file=sys.stderr, width=110).print(table)


if __name__ == "__main__":
    sys.exit(main())
