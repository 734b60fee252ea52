"""What packing one shard takes: decode its recordings, or take them from an older shard, write and read back."""

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from wakeword_core.audio import AudioError, decode_wav, encode_wav, read_pcm16
from wakeword_core.errors import ArtifactError, DataError, WakewordError
from wakeword_core.files import contained, hash_file
from wakeword_core.shards.shard_file import (
    SHARDS_VERSION,
    Wav,
    file_facts,
    raw_rows,
    read_checksums,
    read_column,
    write_recordings,
)

OnRow = Callable[[int], None]
"""Called with the number of recordings done so far; what it raises ends the packing."""

_WHOLE_FILE_BYTES = 16 << 20
"""A file up to this size is read once, so that what is decoded is what was hashed."""


class PackedRow(NamedTuple):
    """One manifest row as a shard holds it, and where its recording lies; times in seconds, NaN where unknown."""

    id: str
    label: str
    role: str
    speaker: str
    source: str
    path: str
    speech_start: float
    speech_end: float


@dataclass(frozen=True)
class ShardJob:
    """Everything that is needed to write one shard; `previous` is an older one that may hold some recordings."""

    rows: Sequence[PackedRow]
    roots: Mapping[str, Path]
    sample_rate: int
    previous: Path | None = None


def pack_shard(job: ShardJob, path: Path, on_row: OnRow) -> int:
    """Write one shard to `path` and read it back; the number of recordings taken from the previous shard.

    DataError names the recording that cannot be used, or says that what lies on the disk is not what was written.
    """
    found = _Found(0)
    write_and_read_back(path, _rows(job, on_row, found), job.sample_rate)
    return found.taken


def write_and_read_back(path: Path, rows: Iterable[tuple[PackedRow, Wav, float]], sample_rate: int) -> None:
    """Write (row, WAV file, seconds) to a shard as they come; DataError if what lies on the disk then is not that."""
    ids: list[str] = []

    def noted() -> Iterator[tuple[PackedRow, Wav, float]]:
        for row, data, seconds in rows:
            ids.append(row.id)
            yield row, data, seconds

    sums = write_recordings(path, noted(), sample_rate)
    expected = list(zip(ids, sums, strict=True))
    if (read := read_checksums(path)) != expected:
        wrong = next((one[0] for one, other in zip(expected, read, strict=False) if one != other), "its row count")
        raise DataError(f"{path} reads back other than it was written ({wrong}); is the disk sound?")


@dataclass
class _Found:
    taken: int


def _rows(job: ShardJob, on_row: OnRow, found: _Found) -> Iterator[tuple[PackedRow, Wav, float]]:
    previous, reader = _Previous(job), _Reader(job)
    for done, row in enumerate(job.rows):
        on_row(done)
        taken = previous.take(row.id)
        found.taken += taken is not None
        data, seconds = taken or reader.read(row)
        yield row, data, seconds
    on_row(len(job.rows))


class _Previous:
    """Recordings of an older shard in its order, which is the order of every shard: of the same seed's hashes.

    A recording is named by its bytes, so what an older shard holds under its name is what decoding would give again.
    """

    def __init__(self, job: ShardJob) -> None:
        self._ids: set[str] = set()
        self._rows: Iterator[tuple[dict[str, Any], str, memoryview]] = iter(())
        if job.previous is None:
            return
        try:
            facts = file_facts(job.previous)
            if (facts["version"], facts["sample_rate"]) == (SHARDS_VERSION, job.sample_rate):
                self._ids = set(read_column(job.previous, "id"))
                self._rows = raw_rows(job.previous)
        except ArtifactError:
            self._ids = set()

    def take(self, one: str) -> tuple[Wav, float] | None:
        """WAV bytes and seconds of a recording, or None when it is not there or the older shard is damaged."""
        if one not in self._ids:
            return None
        try:
            for other, name, data in self._rows:
                if name == one:
                    return data, float(other["seconds"])
        except ArtifactError:
            pass
        self._ids = set()
        return None


class _Reader:
    """Recordings of a job's sources as shards hold them."""

    def __init__(self, job: ShardJob) -> None:
        self._job = job
        self._folders: dict[tuple[str, str], Path] = {}

    def read(self, row: PackedRow) -> tuple[Wav, float]:
        """WAV bytes and seconds of a recording; DataError names it when it is not what was scanned."""
        try:
            return self._read(row)
        except FileNotFoundError as error:
            raise DataError(
                f"recording {row.source}/{row.path} is gone since the scan; run again to scan anew"
            ) from error
        except (OSError, WakewordError) as error:
            raise DataError(f"recording {row.source}/{row.path}: {error}") from error

    def _read(self, row: PackedRow) -> tuple[Wav, float]:
        path, before = self._found(row)
        rate = self._job.sample_rate
        if before.st_size <= _WHOLE_FILE_BYTES:
            data = path.read_bytes()
            _require_scanned(hashlib.sha256(data).hexdigest(), row.id)
            if seconds := _seconds_as_it_is(data, rate):
                return data, seconds
        else:
            _require_scanned(hash_file(path), row.id)
        pcm = read_pcm16(path, rate)
        after = path.stat()
        if (before.st_ino, before.st_size, before.st_mtime_ns) != (after.st_ino, after.st_size, after.st_mtime_ns):
            raise DataError("it was replaced while it was read; run again when the recordings are at rest")
        return encode_wav(pcm, rate), len(pcm) / rate

    def _found(self, row: PackedRow) -> tuple[Path, os.stat_result]:
        """A recording's path inside its source; folders are resolved once, since that takes longer than to read it."""
        root = self._job.roots[row.source]
        folder, _, name = row.path.rpartition("/")
        if (row.source, folder) not in self._folders:
            self._folders[row.source, folder] = contained(root, folder or ".")
        path = self._folders[row.source, folder] / name
        found = path.lstat()
        if name not in ("", ".", "..") and stat.S_ISREG(found.st_mode):
            return path, found
        path = contained(root, row.path)
        return path, path.stat()


def _seconds_as_it_is(data: bytes, sample_rate: int) -> float:
    """Seconds of a WAV file that is byte for byte what a shard holds, else 0; decoding it would give the same."""
    try:
        pcm, rate = decode_wav(data)
    except AudioError:
        return 0.0
    return len(pcm) / rate if rate == sample_rate and encode_wav(pcm, rate) == data else 0.0


def _require_scanned(found: str, scanned: str) -> None:
    if found != scanned:
        raise DataError("its bytes changed since the scan; run again to scan it anew")
