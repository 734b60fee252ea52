"""How the preparation of data is divided among workers, and what of it is not, from a laptop to a cluster.

    python benchmarks/workers.py --folder /tmp --recordings 4000

Generated recordings are measured, packed, turned into features and listened to, and lines are spoken, by one worker
process and by two, in the tasks that a cluster would get. Seconds are those of processors: of the process that hands
out tasks, which remain however many workers there are, and of the workers, which are divided among them. So they say
what a busy machine would say, too. What the second worker adds is its start, which is divided among nobody. From these
follow the seconds on any number of cores, printed for 32, and for 100 times the recordings. The last line is JSON.
"""

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import torch
from generated import RATE, generate

from wakeword_core.config import Config, DataConfig, ShardsConfig, SourceConfig, SynthesisConfig
from wakeword_core.features.build import build_features
from wakeword_core.mining.miner import mine
from wakeword_core.models.scoring import new_model
from wakeword_core.recordings.manifest import build_manifest, read_manifest
from wakeword_core.recordings.scan import ScanCache
from wakeword_core.shards.building import build_shards
from wakeword_core.speech.synthesis import synthesize
from wakeword_core.store.parts import Parts
from wakeword_core.workers.base import Here, Pool, Workers
from wakeword_core.workers.local import LocalWorkers, Processes

SECONDS = 3.0
MANY, TIMES = 32, 100
CONFIG = Config.model_validate({"phrase": "robin", "mining": {"enabled": True}})
LINES = 600


class Divided(LocalWorkers):
    """Processes of this machine that get the tasks that a cluster would get."""

    elsewhere = True

    def _pool(self, here: Here, device: str) -> Pool:
        return Processes(self.cores)


class Kinds:
    """What is to be done in one folder, one kind of work after the other."""

    def __init__(self, recordings: Path, folder: Path, workers: Workers) -> None:
        self._recordings, self._folder, self._workers = recordings, folder, workers

    def _out(self, name: str) -> Path:
        out = self._folder / name
        out.mkdir(parents=True)
        return out

    def measure(self) -> None:
        """Measure the recordings."""
        source = SourceConfig(name="mine", path=self._recordings, role="negative", split="train")
        with closing(ScanCache(self._folder / "cache")) as cache:
            out = self._out("manifest")
            build_manifest([source], DataConfig(), "robin", 1, cache, out, workers=self._workers)

    def pack(self) -> None:
        """Pack them in shards."""
        rows = read_manifest(self._folder / "manifest", split="train")
        roots, parts = {"mine": self._recordings}, Parts(self._folder / "shard-parts")
        build_shards(rows, roots, RATE, ShardsConfig(count=16), self._workers, 1, self._out("shards"), parts)

    def compute(self) -> None:
        """Compute features."""
        parts = Parts(self._folder / "feature-parts")
        shards, out = self._folder / "shards", self._out("features")
        build_features(shards, "train", CONFIG, "cpu", out, parts, workers=self._workers)

    def listen(self) -> None:
        """Listen to them with a network."""
        torch.manual_seed(0)
        model, shards = new_model(CONFIG).eval(), self._folder / "shards"
        mine(model, shards, CONFIG, "cpu", self._out("mined"), workers=self._workers)

    def speak(self) -> None:
        """Speak lines of a voice that takes a few hundredths of a second for one."""
        config = SynthesisConfig(
            engines={"hibari": 1}, positives=LINES, hard_negatives=0, negatives=0, words=0, pieces=0,
            background_minutes=0, recognise="none",
        )  # fmt: skip
        out = self._out("speech")
        synthesize("hey robin", config, RATE, 1, out, self._folder / "cache", workers=self._workers)

    def all(self) -> dict[str, Callable[[], None]]:
        """Return the kinds by name, in the order in which they need each other."""
        return {name: getattr(self, name) for name in ("measure", "pack", "compute", "listen", "speak")}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("/tmp"), help="where to work")
    parser.add_argument("--recordings", type=int, default=4_000)
    given = parser.parse_args()
    found: dict[str, dict[str, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory(dir=given.folder, prefix="bench-workers-") as name:
        recordings = Path(name) / "recordings"
        for _ in generate(recordings, range(given.recordings), SECONDS, "flac"):
            pass
        for count in (1, 2):
            kinds = Kinds(recordings, Path(name) / str(count), Divided(count))
            for kind, work in kinds.all().items():
                found.setdefault(kind, {})[str(count)] = _seconds(work)
    _print_table(found)
    print(json.dumps({"name": "workers", "recordings": given.recordings, "seconds": found}))


def _seconds(work: Callable[[], None]) -> dict[str, float]:
    """Seconds by the clock, of this process, and of the workers that it started and waited for."""
    started, own, before = time.monotonic(), time.process_time(), _children()
    work()
    measured = time.monotonic() - started, time.process_time() - own, _children() - before
    return dict(zip(("clock", "own", "workers"), (round(one, 2) for one in measured), strict=True))


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _print_table(found: dict[str, dict[str, dict[str, float]]]) -> None:
    print("| work | not divided | start of a worker | divided | 1 core | 2 | 32 | 32, 100 times as much | of 1 core |")
    print("|---|---|---|---|---|---|---|---|---|")
    for kind, by_count in found.items():
        own, one, two = by_count["2"]["own"], by_count["1"]["workers"], by_count["2"]["workers"]
        start = max(0.0, two - one)  # of the second worker, which had half of the same to do
        work = one - start

        def on(cores: int, times: int = 1, own: float = own, start: float = start, work: float = work) -> float:
            return times * own + start + times * work / cores

        figures = [own, start, work, on(1), on(2), on(MANY), on(MANY, TIMES)]
        cells = [f"{figure:.1f} s" for figure in figures]
        print(f"| {kind} | {' | '.join(cells)} | {on(1, TIMES) / on(MANY, TIMES):.0f} times faster |")


if __name__ == "__main__":
    main()
