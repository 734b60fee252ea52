"""One split's recordings packed in Parquet in the order of a hash: a shuffle that no new recording upsets."""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wakeword_core.config import ShardsConfig
from wakeword_core.errors import ArtifactError, DataError
from wakeword_core.files import digest, hash_file, require_space
from wakeword_core.progress import Progress, silent
from wakeword_core.recordings.row import row_columns
from wakeword_core.shards.packing import Packers, ShardJob, ShardRow
from wakeword_core.shards.shard_file import Recording, read_column, read_recordings, read_sample_rate
from wakeword_core.store.parts import LatestParts, Parts

_MEGABYTE = 1e6
_DESCRIBED = [name for name in row_columns() if name not in ("recording_id", "seconds")]
"""What a shard says of a recording as the manifest does; the seconds are those of the decoded sound."""
_BYTES_A_ROW = 512
"""Upper bound of what a row takes besides its samples."""


@dataclass(frozen=True)
class ShardsSummary:
    """Figures of the shards of one split."""

    shards: int
    recordings: int
    hours: float
    bytes: int
    built: int
    reused: int
    copied: int
    """Recordings of built shards that an older shard held already."""
    labels: dict[str, int]
    roles: dict[str, int]


@dataclass(frozen=True)
class _PlannedShard:
    """A shard to be written: its manifest rows in order, and the key of what they give."""

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
    retries: int = 1,
    link_roots: Mapping[str, Sequence[Path]] | None = None,
) -> ShardsSummary:
    """Write 00000.parquet and so on to `out` from the usable manifest rows of one split; `roots` is source -> folder.

    `link_roots` is source -> other folders that its links may lead to.

    Unchanged shards are taken from `parts`, and of changed ones the recordings that an older build of theirs holds. The
    others are decoded by `workers` (0: one a core), read back and compared, and only then named. DataError names the
    shard and the recording that failed after all retries.
    """
    if rows.empty:
        raise DataError("no usable recordings to pack in shards; look at the manifest's reasons")
    shards = _planned(rows, sample_rate, config, seed, out)
    latest = LatestParts(parts, [seed, sample_rate, sorted(set(rows.get("split", ())))])
    waiting = {shard.target: shard for shard in shards if not parts.link(shard.key, shard.target)}
    rows_bytes = _BYTES_A_ROW * sum(len(shard.rows) for shard in waiting.values())
    needed = rows_bytes + sum(_decoded_bytes(shard.rows, sample_rate) for shard in waiting.values())
    require_space(out, int(needed), "packing recordings in shards")

    def job(shard: _PlannedShard) -> ShardJob:
        chosen = shard.rows[list(row_columns(ShardRow))].itertuples(index=False, name=None)
        previous = latest.find(shard.index, len(shards))
        return ShardJob([ShardRow(*row) for row in chosen], roots, sample_rate, previous, link_roots or {})

    sizes = {target: len(shard.rows) for target, shard in waiting.items()}
    total, copied = sum(sizes.values()), 0
    work = sum(len(shard.rows) + float(shard.rows["seconds"].sum()) for shard in waiting.values())
    with Packers(workers, retries, work) as packers:
        for update in packers.run({target: partial(job, shard) for target, shard in waiting.items()}):
            if update.finished:
                _keep(parts, waiting[update.finished])
                copied += update.copied
            progress("pack recordings", min(update.recordings, total), total)
    latest.remember([shard.key for shard in shards])
    return ShardsSummary(
        shards=len(shards),
        recordings=len(rows),
        hours=round(sum(_seconds(shard.target) for shard in shards) / 3600, 4),
        bytes=sum(shard.target.stat().st_size for shard in shards),
        built=len(waiting),
        reused=len(shards) - len(waiting),
        copied=copied,
        labels={str(name): int(count) for name, count in sorted(rows["label"].value_counts().items())},
        roles={str(name): int(count) for name, count in sorted(rows["role"].value_counts().items())},
    )


def shard_paths(folder: Path) -> list[Path]:
    """List the shards of a folder in order; ArtifactError when there are none or one in between is missing."""
    paths = sorted(folder.glob("[0-9]*.parquet"))
    if not paths:
        raise ArtifactError(f"{folder} holds no shards; build audio_shards first")
    if [path.name for path in paths] != [shard_name(index) for index in range(len(paths))]:
        raise ArtifactError(f"{folder} lacks a shard: {len(paths)} files up to {paths[-1].name}; build it again")
    return paths


def shard_name(index: int) -> str:
    """Return what the shard of that number is called in its folder."""
    return f"{index:05d}.parquet"


def read_shard(path: Path) -> list[Recording]:
    """Read all recordings of one shard into memory, in file order; ArtifactError when it is damaged."""
    return list(read_recordings(path))


def iter_recordings(folder: Path, roles: Sequence[str] | None = None) -> Iterator[Recording]:
    """Yield each recording of a split's shards (of some roles) in their order, one row group in memory at a time."""
    for path in shard_paths(folder):
        yield from read_recordings(path, roles)


def seconds_by_role(folder: Path) -> dict[str, float]:
    """Sum the seconds of each role's recordings in a split's shards, from their columns alone."""
    seconds: defaultdict[str, float] = defaultdict(float)
    for path in shard_paths(folder):
        for role, length in zip(read_column(path, "role"), read_column(path, "seconds"), strict=True):
            seconds[role] += length
    return dict(seconds)


def verify_shards(folder: Path, rows: pd.DataFrame, sums: Mapping[str, str] | None = None) -> list[str]:
    """Read every shard in full, once, compare it with the manifest rows and say what is wrong, if anything.

    `sums` are the SHA-256 (hex) of the files as they were written, by name, where their bytes are to be compared too.
    """
    try:
        paths = shard_paths(folder)
    except ArtifactError as error:
        return [str(error)]
    problems: list[str] = []
    expected = rows.set_index("recording_id")
    seen: Counter[str] = Counter()
    places = dict(zip(rows["recording_id"], rows["source"] + "/" + rows["path"], strict=True)) if "path" in rows else {}

    def named(sha256: str) -> str:
        return f"recording {places.get(sha256, sha256)}"

    for path in paths:
        try:
            if sums is not None and hash_file(path) != sums.get(path.name):
                problems.append(f"{path} holds other bytes than were written; build audio_shards again")
            sample_rate = read_sample_rate(path)
            for recording in read_recordings(path, None):
                seen[recording.recording_id] += 1
                if len(recording.audio) != round(recording.seconds * sample_rate):
                    problems.append(f"{path}: {named(recording.recording_id)} has another length than was written")
                if recording.recording_id in expected.index:
                    problems += _differences(
                        path, named(recording.recording_id), recording, expected.loc[recording.recording_id]
                    )
        except ArtifactError as error:
            problems.append(str(error))
    problems += [f"{named(sha256)} is {count} times in the shards" for sha256, count in seen.items() if count > 1]
    problems += [
        f"{named(sha256)} is in the shards but not in the manifest" for sha256 in seen if sha256 not in expected.index
    ]
    problems += [
        f"{named(sha256)} is in the manifest but not in the shards" for sha256 in expected.index if sha256 not in seen
    ]
    return problems


def shard_count(decoded_bytes: float, recordings: int, config: ShardsConfig) -> int:
    """Return how many shards a split has: the setting, or a power of two, so that a little growth changes nothing."""
    if config.count is not None:
        return config.count
    wanted = decoded_bytes / (config.shard_mb * _MEGABYTE)
    return 2 ** min(max(0, math.ceil(math.log2(max(wanted, 1.0)))), int(math.log2(max(recordings, 1))))


def _planned(rows: pd.DataFrame, sample_rate: int, config: ShardsConfig, seed: int, out: Path) -> list[_PlannedShard]:
    if rows["recording_id"].duplicated().any():
        same = rows[rows["recording_id"].duplicated(keep=False)]
        places = ", ".join((same["source"] + "/" + same["path"])[same["recording_id"] == same["recording_id"].iloc[0]])
        raise DataError(f"the same recording is twice among the rows to pack: {places}")
    count = shard_count(_decoded_bytes(rows, sample_rate), len(rows), config)
    hashes = [hashlib.sha256(f"{seed}:{recording_id}".encode()).hexdigest() for recording_id in rows["recording_id"]]
    order = np.argsort(np.array(hashes))
    shard = np.array([int(text[:8], 16) % count for text in hashes])[order]
    kept = rows[list(row_columns(ShardRow))]  # all rows are in memory: nothing else of them
    deciding = ["recording_id", *_DESCRIBED]
    planned = []
    for index in range(count):
        own = kept.iloc[order[shard == index]]
        facts = own[deciding].astype(object).where(own[deciding].notna(), None).to_numpy().tolist()
        key = digest({"sample_rate": sample_rate, "rows": facts})
        planned.append(_PlannedShard(index, own, key, out / shard_name(index)))
    return planned


def _keep(parts: Parts, shard: _PlannedShard) -> None:
    try:
        parts.keep(shard.key, shard.target)
    except OSError as error:
        raise DataError(
            f"shard {shard.target.name} cannot be kept in {parts.root} ({error.strerror}); free some space or choose "
            "another --home"
        ) from error


def _decoded_bytes(rows: pd.DataFrame, sample_rate: int) -> float:
    return float(rows["seconds"].sum()) * sample_rate * 2


def _seconds(path: Path) -> float:
    return math.fsum(read_column(path, "seconds"))


def _is_same(value: str | float, other: Any) -> bool:
    return value == other if isinstance(value, str) else bool(np.isclose(value, other, equal_nan=True))


def _differences(path: Path, named: str, recording: Recording, row: Any) -> list[str]:
    wrong = [name for name in _DESCRIBED if not _is_same(getattr(recording, name), row[name])]
    if not math.isclose(recording.seconds, row["seconds"], abs_tol=0.1):
        wrong.append("seconds")
    return [f"{path}: {name} of {named} differs from the manifest; build audio_shards again" for name in wrong]
