"""How fast a model is trained: this project's loop beside the loops that people write.

    python benchmarks/training_cpu.py --folder /tmp --recordings 2000 --rounds 3
    python benchmarks/training_cpu.py --folder /tmp --recordings 20000 --sides project disk

The same network, loss, augmentation, optimizer, batches and number of steps, fed in four ways: by this project, which
holds the windows in memory; by this project from disk, since they take ten times the memory that is allowed; by a torch
Dataset and DataLoader over the same HDF5 file, a window at a time; and by one over the audio files, which reads, cuts,
mixes in noise and computes the features of a window at a time. From disk and from HDF5 the weights end as from memory,
bit for bit; the audio files' side mixes noise into the sound, where the others mix it into the features: once, and for
the same share of the windows. Each rival runs with every number of `--workers` and counts at its best. On nobody's
clock is what is done once: computed features, loaded windows, started workers, a first batch.

The task is to tell rising sweeps from falling ones in noise, which is learned soon; the seconds until the F1 of
validation is `--f1` count training and validation, from the first batch on. Sides alternate; each runs in a process of
its own. The last line is one JSON object; `ratio` is samples a second over those of the audio files' side. `disk` says
how much slower training is from disk, and what its windows take of memory: its peak, less what the side that holds them
takes besides them. A few batches have to fit a tenth of the windows: it takes some 20,000 recordings.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import fields
from itertools import islice
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from training_feeds import Fed, Feed, from_audio_files, from_hdf5

from wakeword_core.config import Config
from wakeword_core.config.loading import load_config
from wakeword_core.cores import available_cores
from wakeword_core.graph.project import Project
from wakeword_core.progress import silent

if TYPE_CHECKING:
    import torch

    from wakeword_core.features.store import WindowSet
    from wakeword_core.training.loop import Batches
    from wakeword_core.training.records import EpochRecord
    from wakeword_core.training.run import Run

SPINS = "30000"
"""How often a waiting thread looks for work before it sleeps, as the command line has it: workers need the cores."""
RATE, SECONDS = 16_000, 1.6
SWEEP_HERTZ = (400.0, 3_000.0)
SWEEP_SECONDS = 0.6
KINDS = {"positive": 0.25, "hard_negative": 0.25, "negative": 0.4, "noise": 0.1}
"""Role -> its share of the recordings."""
OWN, DISK = "project", "disk"
ALLOWED = 0.1
"""The share of the windows that fits the memory that is allowed for them, from disk."""
SLOWER = 0.15
"""The goal from disk: how much slower training may be."""
FEEDS: dict[str, Callable[[Project, Config], Feed]] = {"HDF5": from_hdf5, "audio files": from_audio_files}
"""What this project is compared with."""
OWN_FIGURES = ("processor_seconds", "peak_mb", "windows_mb", "busy")
"""What only some sides, or devices, have."""
GOALS = {"audio files": 3.0, "HDF5": 1.0}
"""Side -> how many times as fast this project is to be."""
SIDES = (OWN, DISK, *FEEDS)
STEPS = ("raw_manifest", "audio_shards", "mel_features", "cmvn_stats")


def main() -> int:
    """Run the benchmark, or one side of it."""
    parser = arguments(__doc__ or "", model="tcn", recordings=2_000)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help=argparse.SUPPRESS)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        print(json.dumps(run_side(given)))
        return 0
    results, ratios = compare(given)
    summary = {
        "name": "training_cpu",
        "ratio": ratios.get("audio files"),
        "goal": GOALS["audio files"],
        "ratios": ratios,
        "goals": GOALS,
        "disk": from_disk(results[OWN], results[DISK]) if {OWN, DISK} <= results.keys() else None,
        "model": given.model,
        "recordings": given.recordings,
        "cores": available_cores(),
        "f1": given.f1,
        "sides": results,
    }
    print(json.dumps(summary))
    return 0


def compare(given: argparse.Namespace) -> tuple[dict[str, dict[str, Any]], dict[str, float]]:
    """Run every side on `given.device`: its figures, and how many times as fast as each rival this project is."""
    with tempfile.TemporaryDirectory(dir=given.folder, prefix="bench-training-") as name:
        given.folder = Path(name)
        prepare(given)
        workers = {side: sorted(set(given.workers)) if side in FEEDS else [0] for side in given.sides}
        ways = [(side, count) for side in given.sides for count in workers[side]]
        rounds = [{way: _child(*way, given) for way in ways} for _ in range(given.rounds)]
    results = {side: at_its_best(side, rounds) for side in given.sides}
    own = results[OWN]["samples_per_second"]
    ratios = {side: round(own / results[side]["samples_per_second"], 2) for side in given.sides if side != OWN}
    _print_table(results, ratios)
    return results, ratios


def from_disk(memory: dict[str, Any], disk: dict[str, Any]) -> dict[str, Any]:
    """What it costs, and saves, that windows are read from disk."""
    return {
        "slower": round(memory["samples_per_second"] / disk["samples_per_second"] - 1, 3),
        "slower_goal": SLOWER,
        "more_processor": round(disk["processor_seconds"] / memory["processor_seconds"] - 1, 3),
        "windows_mb": memory["windows_mb"],
        "allowed_mb": round(ALLOWED * memory["windows_mb"], 1),
        "peak_mb": round(disk["peak_mb"] - (memory["peak_mb"] - memory["windows_mb"]), 1),
    }


def arguments(about: str, model: str, recordings: int) -> argparse.ArgumentParser:
    """What every benchmark of training can be told."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=int, default=recordings, help="of training; validation has half as many")
    parser.add_argument("--model", default=model, help="architecture")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--f1", type=float, default=0.95, help="of validation, to be reached")
    parser.add_argument("--rounds", type=int, default=3, help="how often each side runs")
    parser.add_argument(
        "--sides", nargs="+", choices=SIDES, default=SIDES, help="project, and what it is compared with"
    )
    cores = available_cores()
    parser.add_argument(
        "--workers", type=int, nargs="+", default=[max(cores // 2, 1), cores], help="of a DataLoader, each tried"
    )
    parser.add_argument("--folder", type=Path, help="where the temporary files go")
    return parser


def config_of(given: argparse.Namespace) -> Config:
    """Windows without context, one view of each: what every side can feed."""
    sources = [
        {"name": f"{split}_{role}", "path": str(given.folder / split / role), "role": role, "split": split}
        for split in ("train", "val", "test")
        for role in KINDS
    ]
    config = load_config(None, ["phrase=rising", f"training.model.arch={given.model}"]).model_dump(mode="json")
    config["data"] |= {"sources": sources}
    config["synthesis"]["enabled"] = False
    config["features"]["augment"] |= {"views": 1, "negative_views": 1}
    config["features"]["context"] |= {"frames": 0, "jitter_seconds": 0.0}
    config["training"]["schedule"] |= {"epochs": given.epochs}
    config["compute"] |= {"device": given.device}
    config["training"]["validation"] |= {"keep": "last"}
    return Config.model_validate(config)


def prepare(given: argparse.Namespace) -> None:
    """Write the recordings and build what all sides start from."""
    for seed, (split, share) in enumerate({"train": 1.0, "val": 0.5, "test": 0.02}.items()):
        _write(given.folder / split, round(given.recordings * share), seed)
    project = Project(config_of(given), given.folder / "home")
    for stage in STEPS:
        for split in ("train", "val") if project.stages[stage].partitioned else (None,):
            project.build(stage, split)


def _write(folder: Path, count: int, seed: int) -> None:
    """Sweeps in noise, and noise."""
    import soundfile

    generator = np.random.default_rng(seed)
    time_axis = np.arange(round(SWEEP_SECONDS * RATE)) / RATE
    low, high = SWEEP_HERTZ
    for role, share in KINDS.items():
        (folder / role).mkdir(parents=True)
        for number in range(max(4, round(count * share))):
            sound = generator.standard_normal(round(SECONDS * RATE)) * 10.0 ** generator.uniform(-2.5, -1.5)
            if role in ("positive", "hard_negative"):
                rate = (high - low) / SWEEP_SECONDS * generator.uniform(0.8, 1.2)
                sweep = np.sin(2 * np.pi * (low * time_axis + rate * time_axis**2 / 2))
                start = generator.integers(0, len(sound) - len(sweep))
                sound[start : start + len(sweep)] += 0.1 * (sweep if role == "positive" else sweep[::-1])
            soundfile.write(folder / role / f"{number:05d}.wav", sound, RATE, subtype="PCM_16")


def _child(side: str, workers: int, given: argparse.Namespace) -> dict[str, Any]:
    options = {"--side": side, "--workers": workers, "--folder": given.folder, "--recordings": given.recordings}
    options |= {"--model": given.model, "--epochs": given.epochs, "--f1": given.f1, "--device": given.device}
    command = [sys.executable, __file__, *(str(one) for pair in options.items() for one in pair)]
    # building the features has kept everything started from here from the modules beside this file
    environment = {"GOMP_SPINCOUNT": SPINS, **os.environ, "PYTHONSAFEPATH": ""}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def run_side(given: argparse.Namespace) -> dict[str, Any]:
    """Train as one side does: samples a second of the training alone, seconds to the F1, and how busy a GPU is."""
    import torch

    from wakeword_core.training.checkpoint import tensors_hash
    from wakeword_core.training.device import keep_freed_memory
    from wakeword_core.training.validation import validate

    config = config_of(given)
    project = Project(config, given.folder / "home")
    run, batches, val = _begun(project, config, given.side)
    _warm_up(run, batches, config)
    rounds = config.training.schedule.epochs + (given.device == "cuda")  # one more, in which it is looked at
    if given.side not in FEEDS:
        train_once = _own_epochs(run, batches, config)
    else:
        train_once = _fed_epochs(run, batches, config, FEEDS[given.side](project, config), given.workers[0], rounds)
    spent, processor, validating, reached = 0.0, 0.0, 0.0, None
    batch_size, max_fpr = config.training.sampling.batch_size, config.training.validation.max_fpr
    with (
        keep_freed_memory() if given.side not in FEEDS else nullcontext()
    ):  # as in the training that this is the loop of
        for _ in range(config.training.schedule.epochs):
            started, worked = time.perf_counter(), time.process_time()
            train_once()
            if given.device == "cuda":
                torch.cuda.synchronize()
            spent += time.perf_counter() - started
            processor += time.process_time() - worked
            started = time.perf_counter()
            figures = validate(run.average, val.mel, val.labels, batch_size, max_fpr)
            validating += time.perf_counter() - started
            run.history.append(_record(len(run.history) + 1))
            if reached is None and figures.f1 >= given.f1:
                reached = spent + validating
    samples = config.training.schedule.epochs * batches.sampler.steps * config.training.sampling.batch_size
    found = {"samples_per_second": samples / spent, "seconds_to_f1": reached, "val_f1": figures.f1}
    found |= {"steps": run.step, "weights": tensors_hash(run.average.state_dict())}
    if given.side not in FEEDS:  # which have more processes
        windows_mb = (batches.rows.mel.nbytes + val.mel.nbytes) / 1e6
        found |= {"processor_seconds": processor, "peak_mb": _peak_bytes() / 1e6, "windows_mb": windows_mb}
    return found | ({"busy": _busy_share(train_once)} if given.device == "cuda" else {})


def _begun(project: Project, config: Config, side: str) -> "tuple[Run, Batches, WindowSet]":
    """A training before its first step, what it goes through, and the windows of validation."""
    from wakeword_core.features.cmvn import Cmvn
    from wakeword_core.features.store import open_windows
    from wakeword_core.training.data import Sampler
    from wakeword_core.training.device import compile_backbone
    from wakeword_core.training.feed import on_device, within_memory
    from wakeword_core.training.loop import Batches
    from wakeword_core.training.run import new_run

    splits = [open_windows(project.require("mel_features", split).path) for split in ("train", "val")]
    allowed = ALLOWED * sum(one.mel.nbytes for one in splits)
    compute = {"compute.memory_gb": allowed / 1e9} if side == DISK else {"compute.rows": "memory"}
    train, val = within_memory(splits, config.changed(compute).compute)
    cmvn = Cmvn.load(project.require("cmvn_stats").file("cmvn.json"))
    settings, device = config.training, config.compute.device
    run = new_run(train, cmvn, config, device, "")
    compile_backbone(run.model.backbone, config.compute.compile, device, processes=1)
    sampler = Sampler(train, config.labels, settings, config.seed)
    batches = Batches(on_device(train, device), sampler, silent, lambda: False)
    return run, batches, on_device(val, device)


def _record(epoch: int) -> "EpochRecord":
    """An epoch is over, by which the next one is told from it; nothing goes by its figures."""
    from wakeword_core.training.records import EpochRecord

    return EpochRecord(**dict.fromkeys((one.name for one in fields(EpochRecord)), 0.0) | {"epoch": epoch})


def _warm_up(run: "Run", batches: "Batches", config: Config) -> None:
    """Forwards and back once, without a step: what is compiled and chosen once belongs to no epoch."""

    kept = {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
    from wakeword_core.training.loop import draw_batches

    run.model.train()
    with closing(draw_batches(run, batches.rows, *batches.sampler.draw(0, run.device))) as drawn:
        run.objective(run.model, next(drawn)).loss.backward()
    run.optimizers.zero_grad()
    run.model.load_state_dict(kept)  # batch norms have moved


def _own_epochs(run: "Run", batches: "Batches", config: Config) -> Callable[[], object]:
    """The next epoch of this project's own loop, each time it is called."""
    from wakeword_core.training.loop import train_epoch
    from wakeword_core.training.usage import Usage

    return lambda: train_epoch(run, batches, config.training, Usage(run.device))


def _fed_epochs(
    run: "Run", batches: "Batches", config: Config, feed: Feed, workers: int, rounds: int
) -> Callable[[], object]:
    """What `train_epoch` does, each time it is called, with the windows that a feed gives for so many rounds."""
    import torch

    chosen = [batches.sampler.epoch(epoch) for epoch in range(rounds)]
    noises = [batches.sampler.noise(epoch) for epoch in range(rounds)]
    fed = feed(torch.cat(chosen), torch.cat(noises), workers)

    def train_once() -> None:
        _, _, masks = batches.sampler.draw(len(run.history), run.device)
        run.model.train()
        for one in islice(fed, batches.sampler.steps):
            _step(run, batches, one, config, masks)

    return train_once


def _step(run: "Run", batches: "Batches", fed: Fed, config: Config, masks: "torch.Generator") -> None:
    from wakeword_core.training.feed import Material
    from wakeword_core.training.optim import ema_decay, learning_rate, update_average

    total = config.training.schedule.epochs * batches.sampler.steps
    rows, mel = fed.rows.to(run.device), fed.mel.to(run.device, non_blocking=True)
    noise = None if fed.noise is None else batches.rows.mel[fed.noise.to(run.device)]
    facts = (getattr(batches.rows, name)[rows] for name in ("labels", "roles", "word_ends"))
    run.optimizers.zero_grad()
    run.optimizers.rate = learning_rate(run.step, total, config.training.schedule)
    batch = run.objective.draw(run.model, Material(mel, noise, *facts), masks)
    run.scaler.scale(run.objective(run.model, batch).loss).backward()
    run.optimizers.step(run.clipper, run.scaler)
    update_average(run.average, run.model, ema_decay(run.step, total, config.training.ema))
    run.step += 1


def _peak_bytes() -> int:
    """The most memory that this process had."""
    kib = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(kib.split()[1]) * 1024


def _busy_share(work: Callable[[], object]) -> float:
    """Share of the time of some work in which the GPU computes, by the time of its kernels."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        started = time.perf_counter()
        work()
        seconds = time.perf_counter() - started
    return sum(one.self_device_time_total for one in profiler.key_averages()) / 1e6 / seconds


def at_its_best(side: str, rounds: list[dict[tuple[str, int], dict[str, Any]]]) -> dict[str, Any]:
    """Medians of a side over the rounds, with the number of workers that is the fastest."""
    ways = [way for way in rounds[0] if way[0] == side]
    figures = [_figures([one[way] for one in rounds]) | {"workers": way[1]} for way in ways]
    return max(figures, key=lambda one: float(one["samples_per_second"]))


def _figures(runs: list[dict[str, Any]]) -> dict[str, Any]:
    reached = [one["seconds_to_f1"] for one in runs]
    return {
        "samples_per_second": round(median(one["samples_per_second"] for one in runs), 1),
        "runs": [round(one["samples_per_second"], 1) for one in runs],
        "seconds_to_f1": round(median(reached), 2) if all(reached) else None,
        "val_f1": round(median(one["val_f1"] for one in runs), 4),
        **{name: round(median(one[name] for one in runs), 3) for name in OWN_FIGURES if name in runs[0]},
    }


def _print_table(results: dict[str, dict[str, Any]], ratios: dict[str, float]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Training")
    for heading in (
        "fed by",
        "workers",
        "samples a second",
        "runs",
        "seconds to the F1",
        "F1 at the end",
        "this project is",
    ):
        table.add_column(heading, justify="left" if heading == "fed by" else "right")
    for side, one in results.items():
        runs = ", ".join(f"{run:.0f}" for run in one["runs"])
        reached = "not reached" if one["seconds_to_f1"] is None else f"{one['seconds_to_f1']:.1f}"
        times = f"{ratios[side]:.2f} times as fast" if side in ratios else ""
        table.add_row(
            side,
            str(one["workers"] or ""),
            f"{one['samples_per_second']:.0f}",
            runs,
            reached,
            f"{one['val_f1']:.3f}",
            times,
        )
    Console(file=sys.stderr, width=120).print(table)


if __name__ == "__main__":
    sys.exit(main())
