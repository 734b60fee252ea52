"""How long `wakeword status` and `wakeword lineage --recordings` take on a large home.

    python benchmarks/lineage.py
    python benchmarks/lineage.py --recordings 5000 --runs 3

A home is generated in a temporary folder: recordings that were hashed once, a real manifest, and at least 50 artifacts
of several models with their real keys. Then, in turns, the whole commands are timed as processes, from nothing loaded
to the last line, and beside them `wakeword --version`, which is what starting costs. `status` runs with nothing
changed, and with settings changed, so that it has causes to find. Medians of wall and processor seconds; `ratio` is the
smallest of goal over wall time. The last line is one JSON object.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from generated_home import CONFIG, generate_home

from wakeword_core.store.artifacts import ArtifactStore

GOAL_RECORDINGS = 100_000
GOAL_ARTIFACTS = 50
GOALS = {"status": 2.0, "status, stale": 2.0, "lineage --recordings": 3.0}
"""Seconds."""
_MODELS = 6


def main() -> int:
    """Run the benchmark."""
    given = _arguments()
    with tempfile.TemporaryDirectory(dir=given.folder, prefix="lineage-") as name:
        folder = Path(name)
        started = time.monotonic()
        generate_home(folder, given.recordings, _MODELS)
        artifacts = ArtifactStore(folder / "home" / "store").cards()
        print(f"{len(artifacts)} artifacts generated in {time.monotonic() - started:.0f} s", file=sys.stderr)
        key = next(one.key for one in reversed(artifacts) if one.stage == "model_bundle")
        status = ["status", "--json", "--config", str(folder / CONFIG)]
        sides = {
            "start": ["--version"],
            "status": status,
            "status, stale": [*status, "--set", "training.schedule.epochs=99", "--set", "data.health.min_seconds=0.3"],
            "lineage": ["lineage", key],
            "lineage --recordings": ["lineage", key, "--recordings"],
        }
        times: dict[str, list[tuple[float, float]]] = {side: [] for side in sides}
        for _ in range(given.runs):
            for side, arguments in sides.items():
                times[side].append(_timed(arguments, folder))
    seconds = {side: median(wall for wall, _ in found) for side, found in times.items()}
    cpu = {side: median(cpu for _, cpu in found) for side, found in times.items()}
    _print_table(seconds, cpu, given.recordings, len(artifacts))
    print(
        json.dumps(
            {
                "name": "lineage",
                "ratio": round(min(goal / seconds[side] for side, goal in GOALS.items()), 3),
                "goal": 1.0,
                "goal_seconds": GOALS,
                "recordings": given.recordings,
                "artifacts": len(artifacts),
                "runs": given.runs,
                "seconds": {side: round(value, 3) for side, value in seconds.items()},
                "cpu_seconds": {side: round(value, 3) for side, value in cpu.items()},
                "load": os.getloadavg()[0],
            }
        )
    )
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=int, default=GOAL_RECORDINGS)
    parser.add_argument("--runs", type=int, default=5, help="times each command is run, in turns")
    parser.add_argument("--folder", type=Path, help="where the home is generated for the time; default: temporary")
    return parser.parse_args()


def _timed(arguments: list[str], folder: Path) -> tuple[float, float]:
    """Wall and processor seconds of a whole command, whose output goes through a pipe."""
    environment = {**os.environ, "WAKEWORD_HOME": str(folder / "home")}
    started, before = time.perf_counter(), _cpu_of_children()
    done = subprocess.run(
        [sys.executable, "-m", "wakeword_pipeline.cli", *arguments], env=environment, capture_output=True, check=False
    )
    seconds, cpu = time.perf_counter() - started, _cpu_of_children() - before
    if done.returncode:
        raise SystemExit(f"wakeword {' '.join(arguments)} failed: {done.stderr.decode()}")
    return seconds, cpu


def _cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _print_table(seconds: dict[str, float], cpu: dict[str, float], recordings: int, artifacts: int) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{recordings:,} recordings, {artifacts} artifacts")
    for heading in ("command", "seconds", "CPU seconds", "goal"):
        table.add_column(heading, justify="left" if heading == "command" else "right")
    for side, value in seconds.items():
        table.add_row(side, f"{value:.2f}", f"{cpu[side]:.2f}", f"{GOALS[side]:g}" if side in GOALS else "")
    Console(file=sys.stderr, width=100).print(table)


if __name__ == "__main__":
    sys.exit(main())
