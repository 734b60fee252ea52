"""Writing one shard, from its recordings or from older shards that hold them; it is read back."""

import errno
import logging
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from wakeword_core.audio import AudioError, decode_wav, encode_wav, read_pcm16
from wakeword_core.errors import ArtifactError, ChangedRecordingError, DataError, WakewordError
from wakeword_core.files import checksum, contained, replacing
from wakeword_core.recordings.row import RecordingRow, row_columns
from wakeword_core.recordings.sources import as_hashed
from wakeword_core.shards.shard_file import RowReader, Wav, write_recordings
from wakeword_core.store.parts import FileEntry

log = logging.getLogger(__name__)

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class ShardRow(RecordingRow):
    """A recording as the manifest lists it, and where it lies."""

    path: str


@dataclass(frozen=True)
class ShardJob:
    """Everything that is needed to write one shard."""

    path: Path
    rows: Sequence[ShardRow]
    roots: Mapping[str, Path]
    sample_rate: int
    older: Mapping[str, tuple[Path, int]] = field(default_factory=dict)
    """Recordings that older shards of this rate hold: the shard, and the number of the row."""
    link_roots: Mapping[str, Sequence[Path]] = field(default_factory=dict)


@dataclass(frozen=True)
class Packed:
    """A shard that was written: its size and hash, and how many of its recordings came from older shards."""

    entry: FileEntry
    copied: int


def pack_shard(job: ShardJob, path: Path) -> Packed:
    """Write the shard of a job to `path` and read it back.

    DataError names the recording that cannot be used, or says that what lies on the disk is not what was written.
    """
    older = _OlderShards(job.older)
    entry = write_and_read_back(path, _rows(job, older), job.sample_rate)
    return Packed(entry, older.taken)


def write_and_read_back(path: Path, rows: Iterable[tuple[RecordingRow, Wav]], sample_rate: int) -> FileEntry:
    """Write (row, WAV file) to a shard as they come, and return its size and hash.

    DataError if what lies on the disk then is not what was written.
    """
    sums = write_recordings(path, rows, sample_rate)
    if checksum(path) != sums.crc32:
        raise DataError(f"{path} reads back other than it was written; is the disk sound?")
    return FileEntry(sums.size, sums.sha256)


def _rows(job: ShardJob, older: "_OlderShards") -> Iterator[tuple[RecordingRow, Wav]]:
    reader = _Reader(job)
    for row in job.rows:
        data, seconds = older.take(row.recording_id) or reader.read(row)
        yield replace(row, seconds=seconds), data


class _OlderShards:
    """Recordings that lie in older shards, in the order of every shard.

    A recording is named by its bytes, so what an older shard holds under its name is what decoding would give again.
    """

    def __init__(self, places: Mapping[str, tuple[Path, int]]) -> None:
        self.taken = 0
        self._places = places
        self._readers: dict[Path, RowReader | None] = {}

    def take(self, recording_id: str) -> tuple[Wav, float] | None:
        """Return WAV bytes and seconds of a recording; None when it is not there or its shard is damaged."""
        if recording_id not in self._places:
            return None
        path, number = self._places[recording_id]
        try:
            if path not in self._readers:
                self._readers[path] = RowReader(path)
            reader = self._readers[path]
            found = next(reader.rows(number, number + 1)) if reader else None
        except ArtifactError:
            self._readers[path] = found = None
        if found is None:
            return None
        facts, data = dict(zip(row_columns(), found[0], strict=True)), found[1]
        if facts["recording_id"] != recording_id:
            return None
        self.taken += 1
        return data, facts["seconds"]


class _Reader:
    def __init__(self, job: ShardJob) -> None:
        self._job = job
        self._folders: dict[tuple[str, str], Path] = {}

    def read(self, row: ShardRow) -> tuple[Wav, float]:
        """Return WAV bytes and seconds of a recording; DataError names it when it is not what was scanned."""
        try:
            return self._read(row)
        except FileNotFoundError as error:
            raise DataError(
                f"recording {row.source}/{row.path} is gone since the scan; run again to scan anew"
            ) from error
        except ChangedRecordingError as error:
            listed = self._job.roots[row.source].resolve() / row.path
            raise ChangedRecordingError(f"recording {row.source}/{row.path}", str(listed)) from error
        except (OSError, WakewordError) as error:
            raise DataError(f"recording {row.source}/{row.path}: {error}") from error

    def _read(self, row: ShardRow) -> tuple[Wav, float]:
        path, rate = self._locate(row), self._job.sample_rate
        with as_hashed(path, row.recording_id) as source:
            if isinstance(source, bytes) and (seconds := _seconds_as_it_is(source, rate)):
                return source, seconds
            pcm = read_pcm16(source, rate)
        return encode_wav(pcm, rate), len(pcm) / rate

    def _locate(self, row: ShardRow) -> Path:
        """A recording's path inside its source; folders are resolved once, since that takes longer than to read it."""
        root, others = self._job.roots[row.source], self._job.link_roots.get(row.source, ())
        folder, _, name = row.path.rpartition("/")
        if (row.source, folder) not in self._folders:
            self._folders[row.source, folder] = contained(root, folder or ".", others)
        path = self._folders[row.source, folder] / name
        if name not in ("", ".", "..") and stat.S_ISREG(path.lstat().st_mode):
            return path
        return contained(root, row.path, others)


def _seconds_as_it_is(data: bytes, sample_rate: int) -> float:
    """Seconds of a WAV file that is byte for byte what a shard holds, else 0; decoding it would give the same."""
    try:
        pcm, rate = decode_wav(data)
    except AudioError:
        return 0.0
    return len(pcm) / rate if rate == sample_rate and encode_wav(pcm, rate) == data else 0.0


def pack(retries: int, job: ShardJob) -> Packed:
    """Write and verify the shard of a job, again if that fails.

    DataError names a shard that failed after so many `retries`, or says that the disk is full.
    """
    attempt = 1
    while True:
        try:
            with replacing(job.path) as part:
                return pack_shard(job, part)
        except Exception as error:
            if is_full(error) or attempt > retries:
                raise _failure(job.path, attempt, error) from error
            log.warning("shard %s failed at try %d: %s", job.path.name, attempt, _reason(error))
        attempt += 1


def _failure(path: Path, tries: int, error: Exception) -> DataError:
    if is_full(error):
        return DataError(
            f"the disk of {path.parent} is full, shard {path.name} cannot be written ({_reason(error)}); free some "
            "space or choose another --home; finished shards are kept"
        )
    if isinstance(error, ChangedRecordingError):
        return ChangedRecordingError(f"shard {path.name} failed after {tries} tries: {error.args[0]}", error.path)
    return DataError(f"shard {path.name} failed after {tries} tries: {_reason(error)}")


def is_full(error: BaseException | None) -> bool:
    """Tell whether a full disk, a quota or a limit on file sizes is behind an error."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        error = error.__cause__
    return False


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, (OSError, WakewordError)) else f"{type(error).__name__}: {error}"
