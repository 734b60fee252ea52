"""How long it takes to see that a tree of recordings has not changed.

    python benchmarks/rescan.py
    python benchmarks/rescan.py --recordings 5000 --runs 3

Short recordings are written to a temporary folder and scanned once. Then, in turns: the scan with its cache, the floor
that no scan can go below (every file is listed and its size and time are read, nothing else), and what has to be done
without a cache (every file is read and hashed, from the page cache). Each side is a process of its own that has its
modules loaded and starts with no memory of the tree; medians of whole runs. `ratio` is the goal over the scan. A second
table is the whole manifest: made for the first time, and again with nothing changed. The last line is one JSON object.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from wakeword_core.audio import encode_wav
from wakeword_core.config import DataConfig, SourceConfig

GOAL_SECONDS = 1.5
GOAL_RECORDINGS = 50_000
RATE = 16_000
FOLDER_FILES = 500
"""Recordings a folder, each folder a speaker."""


def main() -> int:
    """Run the benchmark."""
    given = _arguments()
    with tempfile.TemporaryDirectory(dir=given.folder, prefix="rescan-") as name:
        tree, cache = Path(name) / "recordings", Path(name) / "cache"
        _write_tree(tree, given.recordings, given.seconds)
        manifest_first = _timed(_manifest, tree, cache) if given.manifest else None
        first = _timed(_rescan, tree, cache)
        sides = {"rescan": _rescan, "list and stat only": _stat_only, "hash all": _hash_all}
        times: dict[str, list[tuple[float, float]]] = {side: [] for side in sides}
        for _ in range(given.runs):
            for side, work in sides.items():
                times[side].append(_timed(work, tree, cache))
        manifest_again = _timed(_manifest, tree, cache) if given.manifest else None
    wall = {side: median(one[0] for one in found) for side, found in times.items()}
    cpu = {side: median(one[1] for one in found) for side, found in times.items()}
    goal = GOAL_SECONDS * given.recordings / GOAL_RECORDINGS
    _print_table(wall, cpu, given.recordings, goal, manifest_first, manifest_again)
    result: dict[str, Any] = {
        "name": "rescan",
        "ratio": round(goal / wall["rescan"], 3),
        "goal": 1.0,
        "goal_seconds": goal,
        "recordings": given.recordings,
        "runs": given.runs,
        "rescan_seconds": wall["rescan"],
        "rescan_cpu_seconds": cpu["rescan"],
        "rescan_slowest_seconds": max(one[0] for one in times["rescan"]),
        "times_of_list_and_stat": round(wall["rescan"] / wall["list and stat only"], 2),
        "times_faster_than_hashing": round(wall["hash all"] / wall["rescan"], 2),
        "seconds": wall,
        "load_before": os.getloadavg()[0],
    }
    if given.manifest:
        result |= {"manifest_first_seconds": manifest_first[0], "manifest_unchanged_seconds": manifest_again[0]}
    else:
        result |= {"first_scan_seconds": first[0]}
    print(json.dumps(result))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=int, default=GOAL_RECORDINGS)
    parser.add_argument("--seconds", type=float, default=0.25, help="length of a recording")
    parser.add_argument("--runs", type=int, default=7, help="times each side is run, in turns")
    parser.add_argument("--folder", type=Path, help="where the recordings are written for the time; default: temporary")
    parser.add_argument("--manifest", action="store_true", help="also time the whole manifest stage")
    return parser.parse_args()


def _write_tree(tree: Path, count: int, seconds: float) -> None:
    rng = np.random.default_rng(1)
    noise = rng.integers(-3_000, 3_000, round(seconds * RATE) + FOLDER_FILES, dtype=np.int16)
    samples = len(noise) - FOLDER_FILES
    for index in range(count):
        folder, offset = divmod(index, FOLDER_FILES)
        if offset == 0:
            (tree / f"speaker{folder:04}").mkdir(parents=True)
        sound = noise[offset : offset + samples].copy()
        sound[:4] = np.frombuffer(np.int64(index).tobytes(), dtype=np.int16)  # no two alike
        (tree / f"speaker{folder:04}" / f"recording{index:07}.wav").write_bytes(encode_wav(sound, RATE))


def _timed(work: Callable[[Path, Path], None], tree: Path, cache: Path) -> tuple[float, float]:
    """Wall and CPU seconds of `work` in a fresh process."""
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_measured, args=(work, tree, cache, send))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"{work.__name__} failed with exit status {process.exitcode}")
    wall, cpu = receive.recv()
    return wall, cpu


def _measured(work: Callable[[Path, Path], None], tree: Path, cache: Path, send: Any) -> None:
    import pandas as pd
    import pyarrow.parquet

    from wakeword_core.recordings import manifest

    # the first arrow strings of a process load a library, which says nothing about the scan
    assert manifest and pyarrow.parquet and len(pd.concat([pd.DataFrame({"a": ["b"]})]).isin({"a": ["b"]}))
    wall, cpu = time.perf_counter(), time.process_time()
    work(tree, cache)
    send.send((time.perf_counter() - wall, time.process_time() - cpu))


def _source(tree: Path) -> SourceConfig:
    return SourceConfig(name="spoken", path=tree, role="negative", speaker="parent")


def _rescan(tree: Path, cache: Path) -> None:
    from wakeword_core.recordings.scan import ScanCache, scan

    opened = ScanCache(cache)
    scan([_source(tree)], opened)
    opened.close()


def _manifest(tree: Path, cache: Path) -> None:
    from wakeword_core.recordings.manifest import build_manifest
    from wakeword_core.recordings.scan import ScanCache

    opened = ScanCache(cache)
    with tempfile.TemporaryDirectory(dir=cache) as out:
        build_manifest([_source(tree)], DataConfig(), "robin", 1, opened, Path(out))
    opened.close()


def _stat_only(tree: Path, cache: Path) -> None:
    pending, total = [str(tree)], 0
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                else:
                    total += entry.stat(follow_symlinks=False).st_mtime_ns > 0
    assert total


def _hash_all(tree: Path, cache: Path) -> None:
    for folder, _, files in os.walk(tree):
        for name in files:
            with open(os.path.join(folder, name), "rb") as file:
                hashlib.file_digest(file, "sha256").hexdigest()


def _print_table(
    wall: dict[str, float],
    cpu: dict[str, float],
    count: int,
    goal: float,
    first: tuple[float, float] | None,
    again: tuple[float, float] | None,
) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{count:,} unchanged recordings (goal: {goal:g} s)")
    for heading in ("side", "seconds", "CPU seconds", "µs a recording"):
        table.add_column(heading, justify="left" if heading == "side" else "right")
    for side in wall:
        table.add_row(side, f"{wall[side]:.2f}", f"{cpu[side]:.2f}", f"{wall[side] / count * 1e6:.1f}")
    for side, seconds in (("whole manifest, first", first), ("whole manifest, unchanged", again)):
        if seconds:
            table.add_row(side, f"{seconds[0]:.2f}", f"{seconds[1]:.2f}", f"{seconds[0] / count * 1e6:.1f}")
    Console(file=sys.stderr, width=100).print(table)


if __name__ == "__main__":
    sys.exit(main())
