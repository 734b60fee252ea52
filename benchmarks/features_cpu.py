"""Log-mel features on a CPU: this project's builder beside lhotse and beside a plain torchaudio script.

    pip install -e '.[bench]'
    python benchmarks/features_cpu.py --recordings 4000 --frames 151 --rounds 3

The same recordings (noise, 16 kHz WAV), the same cores, the same features: 64 bands, a frame every 10 ms, kept as half
floats in HDF5 (lhotse keeps single floats, or its own compressed format). The project reads its shards, which is where
its features come from; packing the recordings in them is timed apart. Each side runs in a process of its own and times
itself without imports, by the clock and by the processor time of it and its workers; sides alternate. The project's
numbers are compared with torchaudio's. The last line is one JSON object; `ratio` is how many times as fast as the
faster of the others.
"""

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

Run = Callable[[], dict[str, Any] | None]
Side = Callable[["Job"], Run]
"""Gets ready, and gives what is timed."""

RATE, BANDS = 16_000, 64
HOP, N_FFT, WIN = 160, 512, 480
LOW, HIGH, FLOOR = 60.0, 7_600.0, 1e-6
TOLERANCE = 0.02
"""Half floats of logarithms down to -14 are this near."""


@dataclass(frozen=True)
class Job:
    """What every side does: the recordings of `folder`, each of so many frames, on so many cores."""

    folder: Path
    cores: int
    frames: int

    @property
    def samples(self) -> int:
        """Of a recording."""
        return (self.frames - 1) * HOP + N_FFT

    @property
    def paths(self) -> list[Path]:
        """The recordings."""
        return sorted((self.folder / "wav").iterdir())


def main() -> int:
    """Run the benchmark, or one side of it."""
    given = _arguments()
    if given.side:
        print(json.dumps(_timed(SIDES[given.side], Job(given.folder, given.cores, given.frames))))
        return 0
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        job = Job(Path(folder), given.cores, given.frames)
        _make_recordings(job, given.recordings)
        packing = _pack(job)
        rounds = [{name: _child(name, job) for name in SIDES} for _ in range(given.rounds)]
        error = _difference(job)
    results = {name: _side_figures(name, rounds, given.recordings * job.samples / RATE / 3600) for name in SIDES}
    others = {name: one for name, one in results.items() if name != "project"}
    rival = min(others, key=lambda name: others[name]["seconds"])
    ratio, processor_ratio = (
        others[rival][kind] / results["project"][kind] for kind in ("seconds", "processor_seconds")
    )
    _print_table(results, rival, ratio, packing)
    summary = {
        "name": "features_cpu",
        "ratio": round(ratio, 2),
        "goal": 3.0,
        "processor_ratio": round(processor_ratio, 2),
        "rival": rival,
        "recordings": given.recordings,
        "frames": given.frames,
        "cores": given.cores,
        "packing_seconds": round(packing, 2),
        "greatest_difference_from_torchaudio": error,
        "sides": results,
    }
    print(json.dumps(summary))
    return 0 if error <= TOLERANCE else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=int, default=4_000, help="how many")
    parser.add_argument("--frames", type=int, default=151, help="frames of a recording: 151 are 1.5 s, 997 are 10 s")
    parser.add_argument("--rounds", type=int, default=3, help="how often each side runs")
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--folder", type=Path, help="where the temporary files go")
    parser.add_argument("--side", choices=sorted(SIDES), help=argparse.SUPPRESS)
    return parser.parse_args()


def _make_recordings(job: Job, count: int) -> None:
    import soundfile

    (job.folder / "wav").mkdir()
    generator = np.random.default_rng(0)
    for index in range(count):
        sound = generator.standard_normal(job.samples) * 10.0 ** generator.uniform(-3, -1)
        soundfile.write(job.folder / "wav" / f"{index:06d}.wav", sound, RATE, subtype="PCM_16")


def _pack(job: Job) -> float:
    """Shards of the recordings, as this project's features are computed from; seconds."""
    import pandas as pd

    from wakeword_core.config import ShardsConfig
    from wakeword_core.shards.building import build_shards
    from wakeword_core.store.parts import Parts
    from wakeword_core.workers.local import LocalWorkers

    seconds = job.samples / RATE
    rows = pd.DataFrame({"path": [path.name for path in job.paths], "recording_id": list(map(_id, job.paths))})
    # a positive is one row that ends with its word, so that each recording is one row from its first sample to its last
    facts = {"source": "wav", "label": "word", "role": "positive", "speaker": "one", "seconds": seconds}
    rows = rows.assign(**facts, speech_start=0.0, speech_end=seconds)
    shards, parts = job.folder / "shards", Parts(job.folder / "shard-parts")
    shards.mkdir()
    started = time.perf_counter()
    build_shards(rows, {"wav": job.folder / "wav"}, RATE, ShardsConfig(), LocalWorkers(job.cores), 1, shards, parts)
    return time.perf_counter() - started


def _id(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _child(side: str, job: Job) -> dict[str, Any]:
    options = {"--side": side, "--folder": job.folder, "--cores": job.cores, "--frames": job.frames}
    command = [sys.executable, __file__, *(str(one) for pair in options.items() for one in pair)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _timed(side: Side, job: Job) -> dict[str, Any]:
    """What a side does after its imports: seconds by the clock, and of processors, its workers' included."""
    run = side(job)
    started, used = time.perf_counter(), _processor_seconds()
    more = run()
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "processor_seconds": _processor_seconds() - used, **(more or {})}


def _processor_seconds() -> float:
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in usage)


def _project(job: Job) -> Run:
    from wakeword_core.config import Config
    from wakeword_core.features.build import build_features
    from wakeword_core.shards.packed_split import shard_paths
    from wakeword_core.store.parts import Parts

    frontend = {"n_fft": N_FFT, "win_length": WIN, "hop_length": HOP, "n_mels": BANDS, "f_min": LOW, "f_max": HIGH}
    features = {
        "frontend": {**frontend, "window_frames": job.frames, "log_floor": FLOOR},
        "windows": {"tail_seconds": 0.0},
    }
    config = Config.model_validate({"phrase": "word", "features": features, "compute": {"workers": job.cores}})
    # a build takes them from the record of the shards, which was written when they were
    sums = {path.name: _id(path) for path in shard_paths(job.folder / "shards")}

    def run() -> dict[str, Any]:
        with tempfile.TemporaryDirectory(dir=job.folder) as parts:
            kept = Parts(Path(parts))
            project = job.folder / "project"
            summary = build_features(job.folder / "shards", "val", config, "cpu", project, kept, sums=sums)
        return {"timings": summary.timings}

    return run


def _torchaudio(job: Job) -> Run:
    """What one would write in an afternoon: a data set, a loader with a worker a core, one file."""
    import h5py
    import soundfile
    import torch
    from torch.utils.data import DataLoader, Dataset
    from torchaudio.transforms import MelSpectrogram

    paths = job.paths
    mel = MelSpectrogram(RATE, N_FFT, WIN, HOP, f_min=LOW, f_max=HIGH, n_mels=BANDS, center=False, power=2.0)

    class Recordings(Dataset[torch.Tensor]):
        def __len__(self) -> int:
            return len(paths)

        def __getitem__(self, index: int) -> torch.Tensor:
            sound, _ = soundfile.read(paths[index], dtype="float32")
            return torch.log(mel(torch.from_numpy(sound)) + FLOOR).half()

    def run() -> None:
        loader = DataLoader(Recordings(), batch_size=32, num_workers=job.cores)
        with h5py.File(job.folder / "torchaudio.h5", "w") as file, torch.inference_mode():
            data = file.create_dataset("mel", (len(paths), BANDS, job.frames), np.float16)
            done = 0
            for batch in loader:
                data[done : done + len(batch)] = batch.numpy()
                done += len(batch)

    return run


def _lhotse(writer: str, batched: bool) -> Side:
    def side(job: Job) -> Run:
        import logging
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import get_context

        import torch
        from lhotse import CutSet, Fbank, FbankConfig, Recording, RecordingSet
        from lhotse.features import io

        logging.disable(logging.WARNING)
        recordings = RecordingSet.from_recordings(Recording.from_file(path) for path in job.paths)
        cuts = CutSet.from_manifests(recordings=recordings)
        settings = FbankConfig(
            sampling_rate=RATE, frame_length=WIN / RATE, num_filters=BANDS, low_freq=LOW, high_freq=HIGH, dither=0.0
        )
        storage = getattr(io, writer)
        if not batched:
            torch.set_num_threads(1)  # a process a core

        def run() -> None:
            with tempfile.TemporaryDirectory(dir=job.folder) as folder:
                target = Path(folder) / "features"
                if batched:
                    kept = cuts.compute_and_store_features_batch(
                        Fbank(settings), target, num_workers=max(1, job.cores - 1), storage_type=storage
                    )
                else:
                    with ProcessPoolExecutor(job.cores, mp_context=get_context("fork")) as pool:
                        kept = cuts.compute_and_store_features(
                            Fbank(settings), target, job.cores, storage_type=storage, executor=pool, progress_bar=False
                        )
                if sum(1 for _ in kept) != len(recordings):
                    raise RuntimeError("lhotse did not keep all recordings")

        return run

    return side


SIDES: dict[str, Side] = {
    "project": _project,
    "torchaudio + DataLoader + h5py": _torchaudio,
    "lhotse, HDF5": _lhotse("NumpyHdf5Writer", batched=False),
    "lhotse, lilcom": _lhotse("LilcomChunkyWriter", batched=False),
    "lhotse, batched, lilcom": _lhotse("LilcomChunkyWriter", batched=True),
}


def _difference(job: Job) -> float:
    """The greatest difference between the project's features and torchaudio's, recording by recording."""
    import h5py

    place = {_id(path): index for index, path in enumerate(job.paths)}
    with h5py.File(job.folder / "project" / "val.h5") as ours, h5py.File(job.folder / "torchaudio.h5") as theirs:
        rows = [place.pop(one.decode()) for one in ours["recording_ids"][:]]
        if place:
            raise RuntimeError(f"the project's features lack {len(place)} recordings")
        expected = theirs["mel"][:][rows].astype(np.float32)
        return float(np.abs(ours["segments_mel"][:, 0, 0] - expected).max())


def _side_figures(name: str, rounds: list[dict[str, dict[str, Any]]], hours: float) -> dict[str, Any]:
    seconds = median(one[name]["seconds"] for one in rounds)
    figures = {
        "seconds": round(seconds, 3),
        "runs": [round(one[name]["seconds"], 3) for one in rounds],
        "processor_seconds": round(median(one[name]["processor_seconds"] for one in rounds), 3),
        "hours_a_second": round(hours / seconds, 2),
    }
    return {**figures, **{key: value for key, value in rounds[-1][name].items() if key not in figures}}


def _print_table(results: dict[str, dict[str, Any]], rival: str, ratio: float, packing: float) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"Log-mel features: {ratio:.1f} times as fast as {rival}")
    for heading in ("side", "seconds", "runs", "processor seconds", "hours of audio a second"):
        table.add_column(heading, justify="left" if heading == "side" else "right")
    for name, one in results.items():
        runs = ", ".join(f"{run:.2f}" for run in one["runs"])
        used = f"{one['processor_seconds']:.2f}"
        table.add_row(name, f"{one['seconds']:.2f}", runs, used, f"{one['hours_a_second']:.2f}")
    table.add_section()
    table.add_row("packing recordings in shards, once", f"{packing:.2f}")
    Console(file=sys.stderr, width=120).print(table)


if __name__ == "__main__":
    sys.exit(main())
