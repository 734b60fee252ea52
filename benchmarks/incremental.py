"""What it costs to add recordings to a project that is built: one of them, and one in a hundred.

    python benchmarks/incremental.py --folder /tmp --recordings 50000

Builds manifest, shards and features of generated recordings (one in five is spoken: its place is looked for), adds 1 %
and builds again, adds one recording and builds again, and builds once more with nothing changed. All in one process,
warmed up on a small project before, with the default settings (`--set` changes them). The ratio is the full build's
seconds over those of adding 1 %. The last line is JSON.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from generated import generate

from wakeword_core.config import Config
from wakeword_core.config.loading import load_config
from wakeword_core.graph.project import Project

GOAL = 20.0
"""Adding 1 % is to cost at most 5 % of a full build."""
STAGES = ("raw_manifest", "audio_shards", "mel_features")
SPOKEN = 5
"""One recording in so many is a positive."""
WARM_UP = 50


def main() -> int:
    """Run the benchmark."""
    given = _arguments()
    with tempfile.TemporaryDirectory(dir=given.folder, prefix="bench-incremental-") as name:
        work = Path(name)
        _add(work / "warm", range(WARM_UP), given)
        _build(Project(_config(work / "warm", given), work / "warm-home"))
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
            steps[step] = {"added": len(numbers), **_build(Project(config, work / "home"))}
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
                "shards_rewritten_for_one": steps["one"]["rebuilt"]["audio_shards"],
                "parts_rewritten_for_one": steps["one"]["rebuilt"]["mel_features"],
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


def _build(project: Project) -> dict[str, Any]:
    """Bring every stage up to date: seconds in all and by stage, and how many shards and parts were written."""
    seconds: dict[str, float] = dict.fromkeys(STAGES, 0.0)
    rebuilt: dict[str, int] = dict.fromkeys(STAGES, 0)
    for stage in STAGES:
        splits: Sequence[Any] = project.stages[stage].splits
        for split in splits:
            started = time.monotonic()
            artifact, built = project.build(stage, split)
            seconds[stage] += time.monotonic() - started
            figures = artifact.figures
            rebuilt[stage] += int(figures.get("parts_built", figures.get("built", 1))) if built else 0
    return {
        "seconds": round(sum(seconds.values()), 2),
        "by_stage": {stage: round(one, 2) for stage, one in seconds.items()},
        "rebuilt": rebuilt,
    }


def _print_table(steps: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Seconds to bring everything up to date")
    for heading in ("added", *STAGES, "together", "of a full build", "shards", "parts"):
        table.add_column(heading, justify="right")
    full = steps["full"]["seconds"]
    for one in steps.values():
        times = (f"{one['by_stage'][stage]:.2f}" for stage in STAGES)
        written = (str(one["rebuilt"][stage]) for stage in STAGES[1:])
        table.add_row(f"{one['added']:,}", *times, f"{one['seconds']:.2f}", f"{one['seconds'] / full:.1%}", *written)
    Console(file=sys.stderr, width=110).print(table)


if __name__ == "__main__":
    sys.exit(main())
