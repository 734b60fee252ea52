"""What it costs to add recordings to a project that is built: one of them, and one in a hundred.

    python benchmarks/incremental.py --folder /tmp --recordings 50000

Lists, builds and checks manifest, shards and features of generated recordings (one in five is spoken: its place is
looked for), adds 1 % and builds again, adds one recording and builds again, and builds once more with nothing changed.
All in one process, warmed up on a small project before, with the default settings (`--set` changes them). Seconds are
those of the processor, of this process and of its workers, unless `--wall` is given: others may use the machine. The
ratio is the full build's seconds over those of adding 1 %. The last line is JSON.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from generated import generate

from wakeword_core.config import Config
from wakeword_core.config.loading import load_config
from wakeword_core.graph.project import Project

GOAL = 20.0
"""Adding 1 % is to cost at most 5 % of a full build."""
STAGES = ("raw_manifest", "audio_shards", "mel_features")
STEPS = ("scan", *STAGES, "checks")
SPOKEN = 5
"""One recording in so many is a positive."""
WARM_UP = 50


def main() -> int:
    """Run the benchmark."""
    given = _arguments()
    clock = time.monotonic if given.wall else _processor_seconds
    with tempfile.TemporaryDirectory(dir=given.folder, prefix="bench-incremental-") as name:
        work = Path(name)
        _add(work / "warm", range(WARM_UP), given)
        _build(Project(_config(work / "warm", given), work / "warm-home"), clock)
        recordings, config = work / "recordings", _config(work / "recordings", given)
        first, more = given.recordings, max(1, round(given.recordings * given.share))
        steps = {}
        for step, numbers in {
            "full": range(first),
            "share": range(first, first + more),
            "one": range(first + more, first + more + 1),
            "nothing": range(0),
        }.items():
            _add(recordings, numbers, given)
            steps[step] = {"added": len(numbers), **_build(Project(config, work / "home"), clock)}
            print(f"{step}: {len(numbers)} recordings in {steps[step]['seconds']:.1f} s", file=sys.stderr, flush=True)
    _print_table(steps)
    full, share = steps["full"]["seconds"], steps["share"]["seconds"]
    print(
        json.dumps(
            {
                "name": "incremental",
                "ratio": round(full / share, 2),
                "goal": GOAL,
                "share_of_full_build": round(share / full, 4),
                "recordings": first,
                "seconds_each": given.seconds,
                "clock": "wall" if given.wall else "processor",
                "shards_rewritten_for_one": steps["one"]["rebuilt"]["audio_shards"],
                "parts_rewritten_for_one": steps["one"]["rebuilt"]["mel_features"],
                "one_of_full_build": round(steps["one"]["seconds"] / full, 4),
                "nothing_changed_seconds": steps["nothing"]["seconds"],
                "steps": steps,
            }
        )
    )
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where a temporary folder is made [default: the system's]")
    parser.add_argument("--recordings", type=int, default=50_000)
    parser.add_argument("--seconds", type=float, default=1.0, help="length of each [default: 1]")
    parser.add_argument("--share", type=float, default=0.01, help="how many are added, of these [default: 0.01]")
    parser.add_argument("--wall", action="store_true", help="take the time on the wall")
    parser.add_argument("--format", choices=("flac", "wav"), default="flac")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings over the defaults")
    return parser.parse_args()


def _config(folder: Path, given: argparse.Namespace) -> Config:
    base = load_config(None, given.set).model_dump(mode="json")
    base["phrase"] = "robin"
    base["data"]["sources"] = [
        {"name": "spoken", "path": str(folder / "spoken"), "role": "positive"},
        {"name": "other", "path": str(folder / "other"), "role": "negative"},
    ]
    base["synthesis"]["enabled"] = False
    return Config.model_validate(base)


def _add(folder: Path, numbers: range, given: argparse.Namespace) -> None:
    """Write recordings; every one in `SPOKEN` goes to the positives."""
    for part, chosen in (
        ("spoken", [number for number in numbers if number % SPOKEN == 0]),
        ("other", [number for number in numbers if number % SPOKEN]),
    ):
        for _ in generate(folder / part, chosen, given.seconds, given.format):
            pass


def _processor_seconds() -> float:
    usages = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _build(project: Project, clock: Callable[[], float]) -> dict[str, Any]:
    """Bring every stage up to date: seconds in all and by step, and how many shards and parts were written."""
    seconds: dict[str, float] = dict.fromkeys(STEPS, 0.0)
    rebuilt: dict[str, int] = dict.fromkeys(STAGES, 0)

    @contextmanager
    def spent_on(step: str) -> Iterator[None]:
        started = clock()
        yield
        seconds[step] += clock() - started

    with spent_on("scan"):
        project.listing()
    for stage in STAGES:
        splits: Sequence[Any] = project.stages[stage].splits
        for split in splits:
            with spent_on(stage):
                artifact, built = project.build(stage, split)
            with spent_on("checks"):
                project.verdicts(stage, split)
            figures = artifact.figures
            rebuilt[stage] += int(figures.get("parts_built", figures.get("built", 1))) if built else 0
    return {
        "seconds": round(sum(seconds.values()), 2),
        "by_step": {step: round(one, 2) for step, one in seconds.items()},
        "rebuilt": rebuilt,
    }


def _print_table(steps: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Seconds to bring everything up to date")
    for heading in ("added", *STEPS, "together", "of a full build", "shards", "parts"):
        table.add_column(heading, justify="right")
    full = steps["full"]["seconds"]
    for one in steps.values():
        times = (f"{one['by_step'][step]:.2f}" for step in STEPS)
        written = (str(one["rebuilt"][stage]) for stage in STAGES[1:])
        table.add_row(f"{one['added']:,}", *times, f"{one['seconds']:.2f}", f"{one['seconds'] / full:.1%}", *written)
    Console(file=sys.stderr, width=110).print(table)


if __name__ == "__main__":
    sys.exit(main())
