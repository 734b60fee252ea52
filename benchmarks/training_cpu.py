"""How fast a model is trained: this project's loop beside the loops that people write.

    python benchmarks/training_cpu.py --folder /tmp --recordings 2000 --rounds 3

The same network, loss, augmentation of batches, optimizer, batches and number of steps, fed in three ways: by this
project, which holds the windows in memory; by a torch Dataset and DataLoader over the same HDF5 file, a window at a
time; and by one over the audio files, which reads, cuts, mixes in noise and computes the features of a window at a
time. The task is to tell rising sweeps from falling ones in noise, which is learned soon; the seconds until the F1 of
validation is `--f1` count training and validation, from the first batch on. Sides alternate; each runs in a process of
its own. The last line is one JSON object; `ratio` is samples a second over those of the audio files' side.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from wakeword_core.config import Config
from wakeword_core.loading import load_config

RATE, SECONDS = 16_000, 1.6
SWEEP_HERTZ = (400.0, 3_000.0)
SWEEP_SECONDS = 0.6
KINDS = {"positive": 0.25, "hard_negative": 0.25, "negative": 0.4, "noise": 0.1}
"""Role -> its share of the recordings."""
GOALS = {"audio files": 3.0, "HDF5": 1.0}
"""Side -> how many times as fast this project is to be."""
STEPS = ("raw_manifest", "audio_shards", "mel_features", "cmvn_stats")


def main() -> int:
    """Run the benchmark, or one side of it."""
    parser = arguments(__doc__ or "", model="tcn", recordings=2_000)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help=argparse.SUPPRESS)
    parser.add_argument("--side", choices=sorted(SIDES), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        print(json.dumps(_side(given)))
        return 0
    results, ratios = compare(given)
    summary = {
        "name": "training_cpu",
        "ratio": ratios["audio files"],
        "goal": GOALS["audio files"],
        "ratios": ratios,
        "goals": GOALS,
        "model": given.model,
        "recordings": given.recordings,
        "cores": len(os.sched_getaffinity(0)),
        "f1": given.f1,
        "sides": results,
    }
    print(json.dumps(summary))
    return 0


def compare(given: argparse.Namespace) -> tuple[dict[str, dict[str, Any]], dict[str, float]]:
    """Run every side on `given.device`: its figures, and how many times as fast as each rival this project is."""
    with tempfile.TemporaryDirectory(dir=given.folder, prefix="bench-training-") as name:
        given.folder = Path(name)
        _prepare(given)
        rounds = [{side: _child(side, given) for side in SIDES} for _ in range(given.rounds)]
    results = {side: _figures([one[side] for one in rounds]) for side in SIDES}
    ratios = {
        side: round(results["project"]["samples_per_second"] / results[side]["samples_per_second"], 2) for side in GOALS
    }
    _print_table(results, ratios)
    return results, ratios


def arguments(about: str, model: str, recordings: int) -> argparse.ArgumentParser:
    """What every benchmark of training can be told."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=int, default=recordings, help="of training; validation has half as many")
    parser.add_argument("--model", default=model, help="architecture")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--f1", type=float, default=0.95, help="of validation, to be reached")
    parser.add_argument("--rounds", type=int, default=3, help="how often each side runs")
    parser.add_argument("--folder", type=Path, help="where the temporary files go")
    return parser


def _config(given: argparse.Namespace) -> Config:
    """Windows without context, one view of each: what every side can feed."""
    sources = [
        {"name": f"{split}_{role}", "path": str(given.folder / split / role), "role": role, "split": split}
        for split in ("train", "val", "test")
        for role in KINDS
    ]
    config = load_config(None, ["phrase=rising", f"model.arch={given.model}"]).model_dump(mode="json")
    config["data"] |= {"sources": sources}
    config["synthesis"]["enabled"] = False
    config["features"] |= {"views": 1, "negative_views": 1, "context_frames": 0, "jitter_seconds": 0.0}
    config["training"] |= {"epochs": given.epochs, "device": given.device, "keep": "last"}
    return Config.model_validate(config)


def _prepare(given: argparse.Namespace) -> None:
    from wakeword_core.project import Project

    for seed, (split, share) in enumerate({"train": 1.0, "val": 0.5, "test": 0.02}.items()):
        _write(given.folder / split, round(given.recordings * share), seed)
    project = Project(_config(given), given.folder / "home")
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


def _child(side: str, given: argparse.Namespace) -> dict[str, Any]:
    options = {"--side": side, "--folder": given.folder, "--recordings": given.recordings}
    options |= {"--model": given.model, "--epochs": given.epochs, "--f1": given.f1, "--device": given.device}
    command = [sys.executable, __file__, *(str(one) for pair in options.items() for one in pair)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _side(given: argparse.Namespace) -> dict[str, Any]:
    """Train with one side's feed: samples a second of the training alone, seconds to the F1, and how busy a GPU is."""
    import torch

    from wakeword_core.features.cmvn import Cmvn
    from wakeword_core.features.store import load_windows
    from wakeword_core.project import Project
    from wakeword_core.training.batch import TrainRows
    from wakeword_core.training.compiling import compile_backbone
    from wakeword_core.training.distributed import ALONE
    from wakeword_core.training.epoch import Batches, train_epoch
    from wakeword_core.training.run import new_run
    from wakeword_core.training.sampler import NoiseSampler, Sampler
    from wakeword_core.training.validation import validate

    config = _config(given)
    project = Project(config, given.folder / "home")
    train, val = (load_windows(project.require("mel_features", split).path) for split in ("train", "val"))
    cmvn = Cmvn.load(project.require("cmvn_stats").file("cmvn.json"))
    sampler, noise = Sampler(train, config.labels, config.training, 0), NoiseSampler(train, 0)
    run = new_run(train, cmvn, config, given.device, "")
    rows = TrainRows.of(train, config, given.device)
    mel, labels = val.mel.to(given.device), val.labels.to(given.device)
    feed = SIDES[given.side](project, config)
    if feed is None:
        compile_backbone(run.model.backbone, config.training, ALONE, given.device)

    def train_once(epoch: int) -> None:
        if feed is None:
            train_epoch(run, Batches(rows, sampler, noise, lambda *_: None, lambda: False), config)
        else:
            chosen = sampler.epoch(epoch)
            _fed_epoch(run, feed(chosen, noise.epoch(epoch, *chosen.shape)), rows, config, sampler.steps)
        if given.device == "cuda":
            torch.cuda.synchronize()

    if given.device == "cuda":  # what is compiled and chosen once belongs to no epoch
        train_once(0)
    spent, validating, reached = 0.0, 0.0, None
    for epoch in range(config.training.epochs):
        started = time.perf_counter()
        train_once(epoch)
        spent += time.perf_counter() - started
        started = time.perf_counter()
        with torch.inference_mode():
            figures = validate(run.average, mel, labels, config.training.batch_size, 0.1)
        validating += time.perf_counter() - started
        if reached is None and figures.f1 >= given.f1:
            reached = spent + validating
    samples = config.training.epochs * sampler.steps * config.training.batch_size
    found = {"samples_per_second": samples / spent, "seconds_to_f1": reached, "val_f1": figures.f1}
    return found | ({"busy": _busy_share(lambda: train_once(0))} if given.device == "cuda" else {})


def _busy_share(work: Callable[[], None]) -> float:
    """Share of the time of some work in which the GPU computes, by the time of its kernels."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        started = time.perf_counter()
        work()
        seconds = time.perf_counter() - started
    return sum(one.self_device_time_total for one in profiler.key_averages()) / 1e6 / seconds


def _fed_epoch(run: Any, batches: Iterator[Any], rows: Any, config: Config, steps: int) -> None:
    """What `train_epoch` does, with windows [batch, n_mels, frames] and noise that come from elsewhere."""
    import torch

    from wakeword_core.training import ema
    from wakeword_core.training.schedule import learning_rate

    total = config.training.epochs * steps
    generator = torch.Generator(run.device).manual_seed(run.step)
    run.model.train()
    for rows_of_batch, mel, noise in batches:
        chosen, count = rows_of_batch.to(run.device), len(rows_of_batch)
        own = {name: getattr(rows, name)[chosen] for name in ("labels", "word_ends", "hard")}
        fed = replace(rows, mel=torch.cat([mel, noise]).to(run.device), **own)
        run.optimizers.zero_grad()
        run.optimizers.rate = learning_rate(run.step, total, config.training)
        places = torch.arange(count, device=run.device)
        mixed = places + count if len(noise) else None
        batch = run.objective.draw(run.model, fed, places, mixed, generator)
        run.objective(run.model, batch).loss.backward()
        run.optimizers.step(run.clipper, run.scaler)
        ema.update(run.average, run.model, ema.decay_of(run.step, total, config.training))
        run.step += 1


def _in_memory(project: Any, config: Config) -> None:
    """This project's own loop needs no feed."""


def _hdf5(project: Any, config: Config) -> Callable[..., Iterator[Any]]:
    """A window at a time from the same file."""
    import h5py
    import torch

    from wakeword_core.features.store import MEL, FeatureFile

    path = FeatureFile(project.require("mel_features", "train").path).path

    class Windows(torch.utils.data.Dataset[torch.Tensor]):
        file: Any = None

        def __getitem__(self, row: int) -> torch.Tensor:
            if self.file is None:  # each worker opens it for itself
                self.file = h5py.File(path)
            return torch.from_numpy(self.file[MEL][row, 0, 0])

    return _loaded(Windows())


def _audio_files(project: Any, config: Config) -> Callable[..., Iterator[Any]]:
    """A window at a time from the recordings: read, cut, mixed with noise, transformed."""
    import pandas as pd
    import soundfile
    import torch
    from torchaudio.transforms import MelSpectrogram

    from wakeword_core.features.store import FeatureFile
    from wakeword_core.manifest import read_manifest

    manifest = read_manifest(project.require("raw_manifest").path, "train")
    roots = {source.name: source.root for source in project.sources()}
    places = pd.Series([str(roots[one.source] / one.path) for one in manifest.itertuples()], manifest["id"])
    file = FeatureFile(project.require("mel_features", "train").path)
    paths = places[file.column("file_ids").astype(str)].tolist()
    starts = file.column("starts").tolist()
    frontend = config.features.frontend
    noises = places[manifest.loc[manifest["role"] == "noise", "id"]].tolist()
    mel = MelSpectrogram(
        RATE,
        frontend.n_fft,
        frontend.win_length,
        frontend.hop_length,
        f_min=frontend.f_min,
        f_max=frontend.f_max,
        n_mels=frontend.n_mels,
        center=False,
    )
    samples = frontend.window_samples

    class Windows(torch.utils.data.Dataset[torch.Tensor]):
        def __getitem__(self, row: int) -> torch.Tensor:
            window, start = torch.zeros(samples), starts[row]
            sound, _ = soundfile.read(paths[row], dtype="float32", start=max(start, 0), frames=samples + min(start, 0))
            window[max(-start, 0) :][: len(sound)] = torch.from_numpy(sound)
            noise, _ = soundfile.read(noises[row % len(noises)], dtype="float32", frames=samples)
            power = window.square().mean() / 10.0 ** np.random.uniform(0.0, 2.5)
            window += torch.from_numpy(np.resize(noise, samples)) * (power / np.square(noise).mean()).sqrt()
            return torch.log(mel(window) + frontend.log_floor).half()

    return _loaded(Windows())


def _loaded(windows: Any) -> Callable[..., Iterator[Any]]:
    """Batches of a data set, as a DataLoader with a worker a core gives them: (rows, windows, windows of noise)."""
    import torch

    def feed(epoch: Any, noises: Any) -> Iterator[Any]:
        both = torch.cat([epoch, noises], dim=1) if noises.numel() else epoch
        loader = torch.utils.data.DataLoader(
            windows, batch_sampler=both.tolist(), num_workers=len(os.sched_getaffinity(0)), persistent_workers=False
        )
        for chosen, mel in zip(epoch, loader, strict=True):
            yield chosen, mel[: len(chosen)], mel[len(chosen) :]

    return feed


SIDES: dict[str, Callable[[Any, Config], Any]] = {
    "project": _in_memory,
    "HDF5": _hdf5,
    "audio files": _audio_files,
}


def _figures(runs: list[dict[str, Any]]) -> dict[str, Any]:
    reached = [one["seconds_to_f1"] for one in runs]
    return {
        "samples_per_second": round(median(one["samples_per_second"] for one in runs), 1),
        "runs": [round(one["samples_per_second"], 1) for one in runs],
        "seconds_to_f1": round(median(reached), 2) if all(reached) else None,
        "val_f1": round(median(one["val_f1"] for one in runs), 4),
        **({"busy": round(median(one["busy"] for one in runs), 3)} if "busy" in runs[0] else {}),
    }


def _print_table(results: dict[str, dict[str, Any]], ratios: dict[str, float]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Training")
    for heading in ("fed by", "samples a second", "runs", "seconds to the F1", "F1 at the end", "this project is"):
        table.add_column(heading, justify="left" if heading == "fed by" else "right")
    for side, one in results.items():
        runs = ", ".join(f"{run:.0f}" for run in one["runs"])
        reached = "not reached" if one["seconds_to_f1"] is None else f"{one['seconds_to_f1']:.1f}"
        times = f"{ratios[side]:.2f} times as fast" if side in ratios else ""
        table.add_row(side, f"{one['samples_per_second']:.0f}", runs, reached, f"{one['val_f1']:.3f}", times)
    Console(file=sys.stderr, width=120).print(table)


if __name__ == "__main__":
    sys.exit(main())
