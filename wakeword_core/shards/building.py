"""Packing one split's recordings: what older shards hold stays where it is, and only what is new is written.

The first build writes shards that each hold a range of the order. A later one shares these (hard links) and writes what
is new or changed to small ones beside them, which are merged as they grow, so that there are few. Once too large a
share of the rows does not count any more or lies in small shards, all is written as a first build would.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from wakeword_core.config import ShardsConfig
from wakeword_core.errors import ArtifactError, DataError
from wakeword_core.files import digest, require_space
from wakeword_core.progress import Progress, silent
from wakeword_core.recordings.forgotten import NOTHING_FORGOTTEN, Forgotten
from wakeword_core.recordings.row import plain_rows, row_columns
from wakeword_core.shards.packed_split import DESCRIBED, index_content, shard_name, write_index
from wakeword_core.shards.packing import ShardJob, ShardRow, pack
from wakeword_core.shards.shard_file import DIGEST, read_sample_rate, read_table
from wakeword_core.store.parts import FileEntry, LatestParts, MadeBefore, Parts
from wakeword_core.workers.base import Workers

_MEGABYTE = 1e6
_SECONDS = 0.0005
"""About how long a core takes for a recording, and for each second of it."""
_BYTES_A_ROW = 512
"""Upper bound of what a row takes besides its samples."""
_RANGE_DIGITS = 8
"""Hexadecimal digits of a recording's hash that tell in which range of the order it is."""


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
    dead: int
    """Rows of the shards that do not count any more."""
    scattered: int
    """Rows that count and lie in small shards beside those that a first build would write."""
    labels: dict[str, int]
    roles: dict[str, int]
    content: str
    """Hash of the rows that count, in their order."""


@dataclass(frozen=True)
class _PlannedShard:
    """A shard to be written: its manifest rows in order, and the key of what they give."""

    rows: pd.DataFrame
    key: str
    target: Path


@dataclass(frozen=True)
class _Plan:
    """Which shards a split has."""

    ordered: pd.DataFrame
    """The manifest rows in the order of the index."""
    shared: dict[int, Path]
    """Older shards that stay, and what they are called now."""
    held: pd.DataFrame
    """The rows of these that count."""
    written: list[_PlannedShard]
    scattered: int
    sound: dict[str, tuple[Path, int]]
    """Older shard and row of each recording that is to be written and need not be decoded."""


@dataclass(frozen=True)
class _Older:
    """The shards of the last build that are still whole."""

    keys: list[str]
    paths: list[Path]
    rows: pd.DataFrame
    """Every row of theirs: its columns but the audio, `shard` (index of its shard) and `row` (its number there)."""

    @classmethod
    def read(cls, parts: Parts, keys: Sequence[str], sample_rate: int) -> "_Older":
        """Read the columns of those of the parts `keys` that are shards of that rate."""
        kept, frames = list[str](), [pd.DataFrame(columns=[*row_columns(), DIGEST, "shard", "row"])]
        for key in keys:
            path = parts.path(key)
            if parts.entry(path) is None:
                continue
            try:
                if read_sample_rate(path) != sample_rate:
                    continue
                frame = read_table(path, [*row_columns(), DIGEST]).to_pandas()
            except ArtifactError:
                continue
            frames.append(frame.assign(shard=len(kept), row=np.arange(len(frame))))
            kept.append(key)
        rows = pd.concat(frames[1:], ignore_index=True) if kept else frames[0]
        return cls(kept, [parts.path(key) for key in kept], rows)

    def sizes(self) -> npt.NDArray[np.int64]:
        """Count the rows of each shard: [shards]."""
        return np.bincount(self.rows["shard"].to_numpy(np.int64), minlength=len(self.keys))

    def find(self, wanted: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Find wanted recordings: rows that are as they should be, and any row of a recording; one each at most."""
        both = self.rows.merge(wanted[["recording_id", *DESCRIBED]], on="recording_id", suffixes=("", "_wanted"))
        same = np.ones(len(both), bool)
        for name in DESCRIBED:
            one, other = both[name], both[f"{name}_wanted"]
            same &= ((one == other) | (one.isna() & other.isna())).to_numpy()
        return both[same].drop_duplicates("recording_id"), both.drop_duplicates("recording_id")

    def held_by(self, forgotten: Forgotten) -> set[int]:
        """Return the shards that hold anything forgotten, whether it counts or not."""
        if not forgotten.tombstones:
            return set()
        found = forgotten.among(self.rows["recording_id"].tolist(), self.rows["speaker"].tolist())
        return set(self.rows.loc[found, "shard"])


def build_shards(
    rows: pd.DataFrame,
    roots: Mapping[str, Path],
    sample_rate: int,
    config: ShardsConfig,
    workers: Workers,
    seed: int,
    out: Path,
    parts: Parts,
    progress: Progress = silent,
    retries: int = 1,
    link_roots: Mapping[str, Sequence[Path]] | None = None,
    forgotten: Forgotten = NOTHING_FORGOTTEN,
    made_before: MadeBefore = dict,
) -> ShardsSummary:
    """Write 00000.parquet and so on, and their index, to `out` from the usable manifest rows of one split.

    `roots` is source -> folder, and `link_roots` source -> other folders that its links may lead to.

    Shards in `parts`, or where there are none those that were `made_before`, are shared as far as their rows count, and
    the sound of rows that changed is taken from them. The other recordings are decoded by the `workers`, read back and
    compared, and only then named. No shard is shared that holds anything `forgotten`. DataError names the shard and the
    recording that failed after all retries.
    """
    if rows.empty:
        raise DataError("no usable recordings to pack in shards; look at the manifest's reasons")
    latest = LatestParts(parts, [seed, sample_rate, sorted(rows["split"].unique()) if "split" in rows else []])
    layout = digest([config.count, config.shard_mb])
    latest.take(made_before, layout)
    older = _Older.read(parts, latest.keys, sample_rate)
    plan = _plan(rows, seed, sample_rate, config, older, latest.layout == layout, forgotten, out)
    for shard, target in plan.shared.items():
        if not parts.link(older.keys[shard], target):
            raise DataError(f"{older.paths[shard]} changed while it was to be used; run again")
    waiting = {shard.target: shard for shard in plan.written if not parts.link(shard.key, shard.target)}
    rows_bytes = _BYTES_A_ROW * sum(len(shard.rows) for shard in waiting.values())
    needed = rows_bytes + sum(_decoded_bytes(shard.rows, sample_rate) for shard in waiting.values())
    require_space(out, int(needed), "packing recordings in shards")

    def job(shard: _PlannedShard) -> ShardJob:
        own = [ShardRow(*row) for row in plain_rows(shard.rows)]
        sound = {row.recording_id: plan.sound[row.recording_id] for row in own if row.recording_id in plan.sound}
        return ShardJob(shard.target, own, roots, sample_rate, sound, link_roots or {})

    total, done, copied = sum(len(shard.rows) for shard in waiting.values()), 0, 0
    work = sum(len(shard.rows) + float(shard.rows["seconds"].sum()) for shard in waiting.values())
    tasks = workers.map_unordered(
        partial(pack, retries),
        map(job, waiting.values()),
        lambda one: f"shard {one.path.name}",
        seconds=_SECONDS * work,
    )
    with closing(tasks):
        for one, packed in tasks:
            _keep(parts, waiting[one.path], packed.entry)
            copied, done = copied + packed.copied, done + len(one.rows)
            progress("pack recordings", done, total)
    index = _index(plan)
    write_index(out, index)
    latest.remember([*(older.keys[shard] for shard in plan.shared), *(shard.key for shard in plan.written)], layout)
    targets = [*plan.shared.values(), *(shard.target for shard in plan.written)]
    return ShardsSummary(
        shards=len(targets),
        recordings=len(rows),
        hours=round(math.fsum(index["seconds"]) / 3600, 4),
        bytes=sum(target.stat().st_size for target in targets),
        built=len(waiting),
        reused=len(targets) - len(waiting),
        copied=copied,
        dead=int(older.sizes()[list(plan.shared)].sum()) - len(plan.held),
        scattered=plan.scattered,
        labels={str(name): int(count) for name, count in sorted(rows["label"].value_counts().items())},
        roles={str(name): int(count) for name, count in sorted(rows["role"].value_counts().items())},
        content=index_content(index),
    )


def shard_count(decoded_bytes: float, recordings: int, config: ShardsConfig) -> int:
    """Return how many shards a first build of a split writes: the setting, or a power of two."""
    if config.count is not None:
        return config.count
    wanted = decoded_bytes / (config.shard_mb * _MEGABYTE)
    return 2 ** min(max(0, math.ceil(math.log2(max(wanted, 1.0)))), int(math.log2(max(recordings, 1))))


def _in_order(rows: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, npt.NDArray[np.int64]]:
    """What shards need of the manifest rows, in the order of a hash; and where in its range each hash is: [rows]."""
    if rows["recording_id"].duplicated().any():
        same = rows[rows["recording_id"].duplicated(keep=False)]
        names = ", ".join((same["source"] + "/" + same["path"])[same["recording_id"] == same["recording_id"].iloc[0]])
        raise DataError(f"the same recording is twice among the rows to pack: {names}")
    recording_ids = rows["recording_id"].tolist()
    hashes = [hashlib.sha256(f"{seed}:{recording_id}".encode()).hexdigest() for recording_id in recording_ids]
    order = np.argsort(np.array(hashes))
    places = np.array([int(text[:_RANGE_DIGITS], 16) for text in hashes])[order]
    # all rows are in memory: nothing else of them
    return rows[list(row_columns(ShardRow))].iloc[order].reset_index(drop=True), places


def _plan(
    rows: pd.DataFrame,
    seed: int,
    sample_rate: int,
    config: ShardsConfig,
    older: _Older,
    same_layout: bool,
    forgotten: Forgotten,
    out: Path,
) -> _Plan:
    """Divide the rows among older shards that stay, if they are of the `same_layout`, and such as are to be written."""
    ordered, places = _in_order(rows, seed)
    held, anywhere = older.find(ordered)
    count = shard_count(_decoded_bytes(ordered, sample_rate), len(ordered), config)
    large, small = list[int](), list[int]()
    if same_layout:
        large, small = _worth_keeping(held, older, forgotten, len(ordered), count, config.compact_above)
    kept = sorted([*large, *small])
    held = held[held["shard"].isin(kept)]
    new = _are_not_in(ordered, held)
    if kept:  # what is new is in one shard, unless it is large
        growth = ShardsConfig(shard_mb=config.shard_mb)
        count = shard_count(_decoded_bytes(ordered[new], sample_rate), int(new.sum()), growth) if new.any() else 0
    names = [out / shard_name(number) for number in range(len(kept) + count)]
    written = _planned(ordered[new], places[new], sample_rate, names[len(kept) :])
    anywhere = anywhere[~_are_not_in(anywhere, ordered[new])]
    lying = plain_rows(anywhere[["recording_id", "shard", "row"]])
    sound = {recording_id: (older.paths[shard], int(row)) for recording_id, shard, row in lying}
    scattered = int(held["shard"].isin(small).sum() + new.sum()) if kept else 0
    return _Plan(ordered, dict(zip(kept, names, strict=False)), held, written, scattered, sound)


def _are_not_in(rows: pd.DataFrame, others: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Tell which recordings are not among others: [rows]; pandas' `isin` takes many times as long for text."""
    known = set(others["recording_id"].tolist())
    return np.array([recording_id not in known for recording_id in rows["recording_id"].tolist()], bool)


def _worth_keeping(
    held: pd.DataFrame, older: _Older, forgotten: Forgotten, wanted: int, count: int, most: float
) -> tuple[list[int], list[int]]:
    """Choose large and small older shards to share for `wanted` rows; none if too much would be dead or scattered.

    The `count` largest are what a first build would write; what the others hold is scattered, as is all that is new.
    The small ones are merged with what is new unless they hold more than that, so that each is at least twice as large
    as the next: there are few, and over time a row is written again a few times only.
    """
    live = np.bincount(held["shard"].to_numpy(np.int64), minlength=len(older.keys))
    live[list(older.held_by(forgotten))] = 0
    by_size = [shard for shard in np.argsort(-live, kind="stable").tolist() if live[shard]]
    large, small = by_size[:count], by_size[count:]
    new = wanted - int(live.sum())
    while new and small and live[small[-1]] <= new:
        new += int(live[small.pop()])
    dead = int((older.sizes() - live)[[*large, *small]].sum())
    scattered = int(live[small].sum()) + new
    return (large, small) if dead + scattered <= most * wanted else ([], [])


def _planned(
    rows: pd.DataFrame, places: npt.NDArray[np.int64], sample_rate: int, targets: Sequence[Path]
) -> list[_PlannedShard]:
    """Cut rows in equal ranges of the order, one a target."""
    shard = places * len(targets) >> 4 * _RANGE_DIGITS
    deciding = ["recording_id", *DESCRIBED]
    planned = []
    for number, target in enumerate(targets):
        own = rows[shard == number]
        facts = own[deciding].astype(object).where(own[deciding].notna(), None).to_numpy().tolist()
        planned.append(_PlannedShard(own, digest({"sample_rate": sample_rate, "rows": facts}), target))
    return planned


def _index(plan: _Plan) -> pd.DataFrame:
    """Where each row lies: the columns of the index, and the seconds of the decoded sound."""
    names = ["recording_id", DIGEST, "seconds"]
    shared = {shard: path.name for shard, path in plan.shared.items()}
    frames = [plan.held[[*names, "row"]].assign(file=plan.held["shard"].map(shared))] if shared else []
    for shard in plan.written:
        frame = read_table(shard.target, names).to_pandas()
        frames.append(frame.assign(file=shard.target.name, row=np.arange(len(frame))))
    found = pd.concat([frame for frame in frames if len(frame)], ignore_index=True)
    return plan.ordered[["recording_id"]].merge(found, on="recording_id", how="left", validate="one_to_one")


def _keep(parts: Parts, shard: _PlannedShard, entry: FileEntry) -> None:
    try:
        parts.keep(shard.key, shard.target, entry)
    except OSError as error:
        raise DataError(
            f"shard {shard.target.name} cannot be kept in {parts.root} ({error.strerror}); free some space or choose "
            "another --home"
        ) from error


def _decoded_bytes(rows: pd.DataFrame, sample_rate: int) -> float:
    return float(rows["seconds"].sum()) * sample_rate * 2
