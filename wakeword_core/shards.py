"""One split's recordings packed in Parquet in the order of a hash: a shuffle that no new recording upsets."""

import hashlib
import logging
import math
import os
import threading
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wakeword_core.artifacts import Parts
from wakeword_core.audio import Pcm, read_audio, to_pcm16
from wakeword_core.config import ShardsConfig
from wakeword_core.errors import ArtifactError, DataError, WakewordError
from wakeword_core.files import contained, digest, hash_file, replacing, require_space
from wakeword_core.progress import Progress, silent
from wakeword_core.shard_file import (
    SHARDS_VERSION,
    SPEECH_COLUMNS,
    TEXT_COLUMNS,
    Recording,
    check_sums,
    file_sums,
    raw_rows,
    read_recordings,
    write_recordings,
)

__all__ = [
    "Recording",
    "Shard",
    "ShardsSummary",
    "build_shards",
    "iter_recordings",
    "read_shard",
    "shard_count",
    "shard_paths",
    "verify_shards",
]

log = logging.getLogger(__name__)

_MEGABYTE = 1e6
_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class ShardsSummary:
    """Figures of the shards of one split."""

    shards: int
    recordings: int
    hours: float
    bytes: int
    built: int
    reused: int
    labels: dict[str, int]
    roles: dict[str, int]


@dataclass(frozen=True)
class Shard:
    """All recordings of one shard, column by column, in file order."""

    ids: list[str]
    labels: list[str]
    roles: list[str]
    speakers: list[str]
    sources: list[str]
    seconds: NDArray[np.float64]
    speech_start: NDArray[np.float64]
    speech_end: NDArray[np.float64]
    audio: list[Pcm]
    sample_rate: int


@dataclass(frozen=True)
class _Job:
    index: int
    rows: pd.DataFrame
    key: str
    target: Path


def build_shards(
    rows: pd.DataFrame,
    roots: Mapping[str, Path],
    sample_rate: int,
    config: ShardsConfig,
    workers: int,
    seed: int,
    out: Path,
    parts: Parts,
    progress: Progress = silent,
) -> ShardsSummary:
    """Write 00000.parquet and so on to `out` from the usable manifest rows of one split; `roots` is source -> folder.

    Unchanged shards are taken from `parts`; the others are written by `workers` threads (0: one a core), read back and
    compared, and only then named. DataError names the shard and the recording that failed after all retries.
    """
    if rows.empty:
        raise DataError("no usable recordings to pack in shards; look at the manifest's reasons")
    jobs = _planned(rows, sample_rate, config, seed, out)
    waiting = [job for job in jobs if not parts.link(job.key, job.target)]
    needed = sum(_decoded_bytes(job.rows, sample_rate) for job in waiting)
    require_space(out, int(needed), "packing recordings in shards")
    total = sum(len(job.rows) for job in waiting)
    done: Counter[str] = Counter()
    stop = threading.Event()
    with ThreadPoolExecutor(workers or len(os.sched_getaffinity(0))) as pool:
        running: dict[Future[None], _Job] = {}
        try:
            running = {pool.submit(_write_shard, job, roots, sample_rate, config, done, stop): job for job in waiting}
            while running:
                for future in wait(running, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED).done:
                    job = running.pop(future)
                    future.result()
                    parts.keep(job.key, job.target)
                progress("pack recordings", min(sum(done.values()), total), total)
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
    seconds = sum(_seconds(job.target) for job in jobs)
    return ShardsSummary(
        shards=len(jobs),
        recordings=len(rows),
        hours=round(seconds / 3600, 4),
        bytes=sum(job.target.stat().st_size for job in jobs),
        built=len(waiting),
        reused=len(jobs) - len(waiting),
        labels={str(name): int(count) for name, count in sorted(rows["label"].value_counts().items())},
        roles={str(name): int(count) for name, count in sorted(rows["role"].value_counts().items())},
    )


def shard_paths(folder: Path) -> list[Path]:
    """The shards of a folder in order; ArtifactError when there are none or one in between is missing."""
    found = sorted(folder.glob("[0-9]*.parquet"))
    if not found:
        raise ArtifactError(f"{folder} holds no shards; build audio_shards first")
    if [path.name for path in found] != [_shard_name(index) for index in range(len(found))]:
        raise ArtifactError(f"{folder} lacks a shard: {len(found)} files up to {found[-1].name}; build it again")
    return found


def read_shard(path: Path) -> Shard:
    """One whole shard in memory; ArtifactError when it is damaged."""
    recordings = list(read_recordings(path, None))
    return Shard(
        ids=[one.id for one in recordings],
        labels=[one.label for one in recordings],
        roles=[one.role for one in recordings],
        speakers=[one.speaker for one in recordings],
        sources=[one.source for one in recordings],
        seconds=np.array([one.seconds for one in recordings], dtype=np.float64),
        speech_start=np.array([one.speech_start for one in recordings], dtype=np.float64),
        speech_end=np.array([one.speech_end for one in recordings], dtype=np.float64),
        audio=[one.audio for one in recordings],
        sample_rate=file_sums(path)["sample_rate"],
    )


def iter_recordings(folder: Path, roles: Sequence[str] | None = None) -> Iterator[Recording]:
    """Every recording of a split's shards (of some roles), shard by shard in hash order, one row group at a time."""
    for path in shard_paths(folder):
        yield from read_recordings(path, roles)


def verify_shards(folder: Path, rows: pd.DataFrame) -> list[str]:
    """Read every shard in full and compare with the manifest rows; sentences about what is wrong, if anything."""
    try:
        paths = shard_paths(folder)
    except ArtifactError as error:
        return [str(error)]
    problems: list[str] = []
    expected = rows.set_index("id")
    seen: Counter[str] = Counter()
    for path in paths:
        try:
            problems += check_sums(path)
            for one in read_recordings(path, None):
                seen[one.id] += 1
                if one.id in expected.index:
                    problems += _differences(path, one, expected.loc[one.id])
        except ArtifactError as error:
            problems.append(str(error))
    problems += [f"recording {one} is {count} times in the shards" for one, count in seen.items() if count > 1]
    problems += [
        f"recording {one} is in the shards but not in the manifest" for one in seen if one not in expected.index
    ]
    problems += [
        f"recording {one} is in the manifest but not in the shards" for one in expected.index if one not in seen
    ]
    return problems


def shard_count(decoded_bytes: float, recordings: int, config: ShardsConfig) -> int:
    """Shards of a split: the setting, or a power of two from the size, so that a little growth does not change it."""
    if config.count is not None:
        return config.count
    wanted = decoded_bytes / (config.shard_mb * _MEGABYTE)
    return 2 ** min(max(0, math.ceil(math.log2(max(wanted, 1.0)))), int(math.log2(max(recordings, 1))))


def _planned(rows: pd.DataFrame, sample_rate: int, config: ShardsConfig, seed: int, out: Path) -> list[_Job]:
    if rows["id"].duplicated().any():
        raise DataError(f"recording {rows['id'][rows['id'].duplicated()].iloc[0]} is twice among the rows to pack")
    hashes = [hashlib.sha256(f"{seed}:{one}".encode()).hexdigest() for one in rows["id"]]
    ordered = rows.assign(order=hashes).sort_values("order")
    count = shard_count(_decoded_bytes(rows, sample_rate), len(rows), config)
    shard = ordered["order"].map(lambda text: int(text[:8], 16) % count)
    jobs = []
    for index in range(count):
        own = ordered[shard == index]
        key = digest({"version": SHARDS_VERSION, "sample_rate": sample_rate, "rows": _facts(own)})
        jobs.append(_Job(index, own, key, out / _shard_name(index)))
    return jobs


def _facts(rows: pd.DataFrame) -> list[list[Any]]:
    chosen = rows[[*TEXT_COLUMNS, *SPEECH_COLUMNS]].astype(object)
    facts: list[list[Any]] = chosen.where(rows[[*TEXT_COLUMNS, *SPEECH_COLUMNS]].notna(), None).to_numpy().tolist()
    return facts


def _decoded_bytes(rows: pd.DataFrame, sample_rate: int) -> float:
    return float(rows["seconds"].sum()) * sample_rate * 2


def _shard_name(index: int) -> str:
    return f"{index:05d}.parquet"


def _write_shard(
    job: _Job,
    roots: Mapping[str, Path],
    sample_rate: int,
    config: ShardsConfig,
    done: Counter[str],
    stop: threading.Event,
) -> None:
    """Write and verify one shard, again if it fails; every thread counts under its own shard's name in `done`."""
    name = job.target.name
    for attempt in range(config.retries + 1):
        done[name] = 0
        try:
            with replacing(job.target) as part:
                sums = write_recordings(part, _decoded_rows(job, roots, sample_rate, done, stop), sample_rate)
                _read_back(part, job, sums)
            return
        except (OSError, WakewordError) as error:
            if stop.is_set():
                return
            log.warning("shard %s failed at try %d: %s", name, attempt + 1, error)
            if attempt == config.retries:
                raise DataError(f"shard {name} failed after {attempt + 1} tries: {error}") from error


def _decoded_rows(
    job: _Job, roots: Mapping[str, Path], sample_rate: int, done: Counter[str], stop: threading.Event
) -> Iterator[tuple[Any, Pcm]]:
    for row in job.rows.itertuples(index=False):
        if stop.is_set():
            raise DataError("stopped, because another shard failed")
        yield row, _decoded(row, roots, sample_rate)
        done[job.target.name] += 1


def _decoded(row: Any, roots: Mapping[str, Path], sample_rate: int) -> Pcm:
    name = f"{row.source}/{row.path}"
    try:
        path = contained(roots[row.source], row.path)
        if hash_file(path) != row.id:
            raise DataError("its bytes changed since the scan; run again to scan it anew")
        return to_pcm16(read_audio(path, sample_rate))
    except (OSError, WakewordError) as error:
        raise DataError(f"recording {name}: {error}") from error


def _read_back(part: Path, job: _Job, sums: Sequence[int]) -> None:
    """Compare what lies on the disk with what was meant to be written."""
    found = [(batch_id, zlib.crc32(data)) for _, batch_id, data in raw_rows(part)]
    expected = list(zip(job.rows["id"], sums, strict=True))
    if found != expected:
        wrong = next((one[0] for one, other in zip(expected, found, strict=False) if one != other), "its row count")
        raise DataError(f"{job.target} reads back other than it was written ({wrong}); is the disk sound?")


def _seconds(path: Path) -> float:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    return float(pc.sum(pq.read_table(path, columns=["seconds"]).column("seconds")).as_py() or 0.0)


def _differences(path: Path, one: Recording, row: Any) -> list[str]:
    wrong = [name for name in TEXT_COLUMNS[1:] if getattr(one, name) != row[name]]
    wrong += [name for name in SPEECH_COLUMNS if not np.isclose(getattr(one, name), row[name], equal_nan=True)]
    if not math.isclose(one.seconds, row["seconds"], abs_tol=0.1):
        wrong.append("seconds")
    return [
        f"{path}: {name} of recording {one.id} differs from the manifest; build audio_shards again" for name in wrong
    ]
