"""Features on a GPU, from shards to HDF5, each stage beside the limit of the machine.

    python benchmarks/features_gpu.py --folder /tmp --job sonar
    python benchmarks/features_gpu.py --folder /tmp --job words

`sonar` is the job that another system does in 46 s on an RTX 5090: 51,000 recordings of 10 s at 4,096 Hz, 64 bands,
half floats. `words` are 100,000 recordings of 1.5 s at 16 kHz in 8 views. Shards of noise are written first and not
timed. Limits measured in the same run: a copy from pinned memory to the device, a copy on the device, a plain write of
as many bytes. `--device cpu --recordings 500` tries the script out. The last line is one JSON object; `ratio` is 46 s
over the seconds of `sonar`, and for `words` millions of rows a second; none where --recordings is given.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wakeword_core.audio import encode_wav
from wakeword_core.config import Config
from wakeword_core.features.build import FeaturesSummary, build_features
from wakeword_core.recordings.row import RecordingRow
from wakeword_core.shards.shard_file import write_recordings
from wakeword_core.store.parts import Parts

RIVAL_SECONDS = 46.0
SHARD_BYTES = 64_000_000
CHUNK_BYTES = 256 << 20
REPEATS = 5


@dataclass(frozen=True)
class Job:
    """What is computed: recordings of so many frames, in so many views."""

    recordings: int
    rate: int
    frames: int
    views: int
    frontend: dict[str, Any]

    @property
    def samples(self) -> int:
        """Of a recording."""
        return (self.frames - 1) * self.frontend["hop_length"] + self.frontend["n_fft"]

    def config(self) -> Config:
        """One row a recording and view, from its first sample to its last."""
        features = {
            "frontend": {**self.frontend, "window_frames": self.frames},
            "windows": {"tail_seconds": 0.0},
            "context": {"frames": 0, "jitter_seconds": 0.0},
            "augment": {"views": self.views, "negative_views": self.views},
        }
        return Config.model_validate(
            {"phrase": "word", "data": {"audio": {"sample_rate": self.rate}}, "features": features}
        )


JOBS = {
    "sonar": Job(51_000, 4_096, 317, 1, {"n_fft": 512, "win_length": 512, "hop_length": 128, "f_max": 2_048.0}),
    "words": Job(100_000, 16_000, 151, 8, {"n_fft": 512, "win_length": 480, "hop_length": 160}),
}


def main() -> int:
    """Run the benchmark."""
    given = _arguments()
    job = JOBS[given.job]
    if given.recordings:
        job = Job(given.recordings, job.rate, job.frames, job.views, job.frontend)
    with tempfile.TemporaryDirectory(dir=given.folder, prefix="bench-gpu-") as name:
        work = Path(name)
        _write_shards(job, work / "shards")
        split = "train" if job.views > 1 else "val"
        started = time.perf_counter()
        summary = build_features(
            work / "shards", split, job.config(), given.device, work / "features", Parts(work / "parts")
        )
        seconds = time.perf_counter() - started
        limits = _limits(given.device, work, job, summary)
    stages = {one["stage"]: one for one in summary.timings["stages"]}
    _print_table(given.job, seconds, summary, stages, limits)
    ratio = None
    if not given.recordings:
        ratio = round(RIVAL_SECONDS / seconds if given.job == "sonar" else summary.rows / seconds / 1e6, 3)
    print(
        json.dumps(
            {
                "name": f"features_gpu {given.job}",
                "ratio": ratio,
                "goal": 6.0 if given.job == "sonar" else None,
                "device": _device_name(given.device),
                "recordings": job.recordings,
                "rows": summary.rows,
                "seconds": round(seconds, 3),
                "limits": {name: round(value, 3) for name, value in limits.items()},
                **summary.timings,
            }
        )
    )
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--job", choices=sorted(JOBS), default="sonar")
    parser.add_argument("--folder", type=Path, help="where the temporary files go")
    parser.add_argument("--recordings", type=int, help="instead of the job's own number")
    parser.add_argument("--device", default="cuda")
    given = parser.parse_args()
    if given.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            parser.error("there is no CUDA GPU here; --device cpu --recordings 500 tries the script out")
    return given


def _write_shards(job: Job, folder: Path) -> None:
    folder.mkdir()
    noise = np.random.default_rng(0).normal(0, 600, job.samples + job.recordings).astype(np.int16)
    a_shard = max(1, SHARD_BYTES // (2 * job.samples))

    def rows(first: int) -> Iterator[tuple[RecordingRow, bytes]]:
        for number in range(first, min(first + a_shard, job.recordings)):
            seconds = job.samples / job.rate
            row = RecordingRow(f"{number:064x}", "word", "positive", "one", "noise", seconds, 0.0, seconds)
            yield row, encode_wav(noise[number : number + job.samples], job.rate)

    for index, first in enumerate(range(0, job.recordings, a_shard)):
        write_recordings(folder / f"{index:05d}.parquet", rows(first), job.rate)


def _limits(device: str, work: Path, job: Job, summary: FeaturesSummary) -> dict[str, float]:
    """Seconds that the machine needs at least for each kind of traffic."""
    bands = job.config().features.frontend.bands
    sound, features = job.recordings * job.samples * 2, summary.rows * bands * job.frames * 2
    limits = {"write": features / _write_rate(work, min(features, 8 * CHUNK_BYTES))}
    if device == "cuda":
        to_device, to_host, on_device = _copy_rates()
        limits |= {
            "copy to device": sound / to_device,
            "compute": (summary.rows * job.samples * 2 + features) / on_device,
        }
        limits["copy to host"] = features / to_host
    return limits


def _write_rate(work: Path, size: int) -> float:
    """Bytes a second of a plain write to a new file."""
    data = np.zeros(CHUNK_BYTES, np.uint8)
    started = time.perf_counter()
    with (work / "plain").open("wb", buffering=0) as file:
        for first in range(0, size, CHUNK_BYTES):
            file.write(data[: min(CHUNK_BYTES, size - first)])
        os.fsync(file.fileno())
    seconds = time.perf_counter() - started
    os.unlink(work / "plain")
    return size / seconds


def _copy_rates() -> tuple[float, float, float]:
    """Bytes a second from pinned memory to the device, back, and read and written by a copy on the device."""
    import torch

    pinned = torch.empty(CHUNK_BYTES, dtype=torch.uint8, pin_memory=True)
    there, beside = (torch.empty(CHUNK_BYTES, dtype=torch.uint8, device="cuda") for _ in range(2))

    def seconds(source: torch.Tensor, target: torch.Tensor) -> float:
        best = float("inf")
        for _ in range(REPEATS):
            torch.cuda.synchronize()
            started = time.perf_counter()
            target.copy_(source, non_blocking=True)
            torch.cuda.synchronize()
            best = min(best, time.perf_counter() - started)
        return best

    there_and_back = CHUNK_BYTES / seconds(pinned, there), CHUNK_BYTES / seconds(there, pinned)
    return *there_and_back, 2 * CHUNK_BYTES / seconds(there, beside)


def _device_name(device: str) -> str:
    import torch

    return torch.cuda.get_device_name() if device == "cuda" else f"CPU, {len(os.sched_getaffinity(0))} cores"


def _print_table(
    job: str, seconds: float, summary: FeaturesSummary, stages: dict[str, dict[str, Any]], limits: dict[str, float]
) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{job}: {summary.rows:,} rows in {seconds:.1f} s; {summary.timings['bottleneck']} is slowest")
    for heading in ("stage", "threads", "busy seconds", "limit in seconds"):
        table.add_column(heading, justify="left" if heading == "stage" else "right")
    for name, one in stages.items():
        limit = f"{limits[name]:.2f}" if name in limits else ""
        table.add_row(name, str(one["threads"]), f"{one['seconds']:.2f}", limit)
    for name in sorted(limits.keys() - stages.keys()):
        table.add_row(name, "", "", f"{limits[name]:.2f}")
    Console(file=sys.stderr, width=110).print(table)


if __name__ == "__main__":
    sys.exit(main())
