"""One split's recordings packed in Parquet: which rows of the shards count, in which order, reading and verifying them.

A shard may hold rows that no longer count: what came since it was written lies in other shards of the folder. The index
beside the shards names the rows that count, in the order of a hash: a shuffle that no new recording upsets. A folder
without an index has shards of which every row counts, as they lie.
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from wakeword_core.errors import ArtifactError
from wakeword_core.files import hash_file, reading, replacing
from wakeword_core.recordings.row import places_by_id, plain_rows, row_columns
from wakeword_core.shards.shard_file import (
    DIGEST,
    RawRow,
    Recording,
    RowReader,
    as_recording,
    raw_rows,
    read_recordings,
    read_sample_rate,
    read_table,
    row_digest,
)

INDEX = "index.parquet"
INDEX_COLUMNS = ("recording_id", DIGEST, "file", "row")
"""Of the index: a recording, the digest of its row, the name of its shard, and the number of its row in that."""
DESCRIBED = tuple(name for name in row_columns() if name not in ("recording_id", "seconds"))
"""What a shard says of a recording as the manifest does; the seconds are those of the decoded sound."""
_WHERE = ("file", "row")
_ALL = slice(None)
_ADVICE = "build audio_shards again"


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


def write_index(folder: Path, index: pd.DataFrame) -> None:
    """Write which rows of a folder's shards count, in their order: the `INDEX_COLUMNS`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = (pa.string(), pa.string(), pa.string(), pa.int64())
    schema = pa.schema(list(zip(INDEX_COLUMNS, kinds, strict=True)))
    table = pa.Table.from_pandas(index[list(INDEX_COLUMNS)], schema, preserve_index=False)
    with replacing(folder / INDEX) as part:
        pq.write_table(table.replace_schema_metadata(None), part, use_dictionary=["file"], write_page_checksum=True)


def read_index(folder: Path, names: Sequence[str] = INDEX_COLUMNS) -> pd.DataFrame:
    """Read which rows of a folder's shards count, in their order: the `INDEX_COLUMNS`, or some of them."""
    import pyarrow.parquet as pq

    paths = shard_paths(folder)
    if not (folder / INDEX).exists():
        tables = {path.name: read_table(path, INDEX_COLUMNS[:2]).to_pandas() for path in paths}
        frames = [table.assign(file=name, row=np.arange(len(table))) for name, table in tables.items()]
        return pd.concat(frames, ignore_index=True)[list(names)]
    with reading(folder / INDEX, _ADVICE, "is damaged"):
        table = pq.read_table(folder / INDEX, columns=list(names), page_checksum_verification=True)
        kinds = [str(kind) for kind in table.schema.types]
        if kinds != ["int64" if name == "row" else "string" for name in names] or table.column("row").null_count:
            raise ValueError(f"its columns are {', '.join(kinds)}")
        index = table.to_pandas()
        if lost := set(index["file"].unique()) - {path.name for path in paths}:
            raise ValueError(f"it names {min(lost)}, which is not there")
    return index


def index_content(index: pd.DataFrame) -> str:
    """Hash which recordings there are and what is said of each, in their order; where they lie does not count."""
    total = hashlib.sha256()
    for recording_id, digest in plain_rows(index[["recording_id", DIGEST]]):
        total.update(f"{recording_id} {digest}\n".encode())
    return total.hexdigest()


def read_columns(folder: Path, names: Sequence[str]) -> pd.DataFrame:
    """Read some columns of the rows that count, in their order, without their audio."""
    return _columns_of(shard_paths(folder), read_index(folder, _WHERE), names)


def iter_recordings(folder: Path, roles: Collection[str] | None = None, places: slice = _ALL) -> Iterator[Recording]:
    """Yield each recording of a split in order, one row group of each shard in memory at a time.

    With `roles`, it is only those of some, and of these only the ones at some `places` in the order.
    """
    index = read_index(folder, _WHERE)
    if roles is not None:
        index = index[_columns_of(shard_paths(folder), index, ["role"])["role"].isin(list(roles)).to_numpy()]
    for path, row in _rows(folder, index[places]):
        yield as_recording(path, *row, copies=True)  # who keeps one does not keep its row group


def iter_batches(folder: Path, seconds: float) -> Iterator[list[Recording]]:
    """Yield the recordings of a split in order, as many at once as last that long: the same however shards lie."""
    batch, waiting = list[Recording](), 0.0
    for recording in iter_recordings(folder):
        batch.append(recording)
        waiting += recording.seconds
        if waiting >= seconds:
            yield batch
            batch, waiting = [], 0.0
    if batch:
        yield batch


def read_shard(path: Path) -> list[Recording]:
    """Read all recordings of one shard into memory, in file order, whether they count or not; samples are views."""
    return list(read_recordings(path))


def seconds_by_role(folder: Path) -> dict[str, float]:
    """Sum the seconds of each role's recordings in a split, from columns alone."""
    columns = read_columns(folder, ["role", "seconds"])
    return {str(role): float(seconds) for role, seconds in columns.groupby("role")["seconds"].sum().items()}


def verify_shards(
    folder: Path,
    rows: pd.DataFrame,
    sums: Mapping[str, str] | None = None,
    verified: Collection[str] = (),
) -> list[str]:
    """Read every shard in full, once, compare what counts with the manifest rows and say what is wrong, if anything.

    `sums` are the SHA-256 (hex) of the files as they were written, by name, where their bytes are to be compared too.
    Of files whose sum is among the `verified` ones only the columns are read.
    """
    try:
        paths, index = shard_paths(folder), read_index(folder)
    except ArtifactError as error:
        return [str(error)]
    places = places_by_id(rows) if "path" in rows else {}
    problems: list[str] = []
    for path in paths:
        if sums is None or sums.get(path.name) not in verified:
            problems += _verify_file(path, sums, places)
    if problems:
        return problems
    try:
        held = _columns_of(paths, index, ["recording_id", DIGEST, "seconds", *DESCRIBED])
    except ArtifactError as error:
        return [str(error)]
    for name in ("recording_id", DIGEST):
        if not (held[name].to_numpy() == index[name].to_numpy()).all():
            problems.append(f"{folder / INDEX} names other rows than its shards hold; {_ADVICE}")
    return problems + _differences(folder, held, rows, places)


def _rows(folder: Path, index: pd.DataFrame) -> Iterator[tuple[Path, RawRow]]:
    """The shard and the raw row of each row of an index; a shard is let go of after its last row."""
    if index.empty:
        return
    files, names = pd.factorize(index["file"])
    rows = index["row"].to_numpy(np.int64)
    # rows that follow one another in their shard: all of a shard, where nothing came in between
    begins = np.flatnonzero(np.append(True, (np.diff(files) != 0) | (np.diff(rows) != 1)))
    ends = np.append(begins[1:], len(rows))
    last = dict(zip(files[begins].tolist(), range(len(begins)), strict=True))
    readers: dict[int, RowReader] = {}
    for number, (file, first, count) in enumerate(
        zip(files[begins].tolist(), rows[begins].tolist(), (ends - begins).tolist(), strict=True)
    ):
        path = folder / names[file]
        if file not in readers:
            readers[file] = RowReader(path)
        for row in readers[file].rows(first, first + count):
            yield path, row
        if last[file] == number:
            del readers[file]


def _columns_of(paths: Sequence[Path], index: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Some columns of the rows that an index names; ArtifactError where it names rows that are not there."""
    import pyarrow as pa

    tables = [read_table(path, names) for path in paths]
    lengths = np.array([len(table) for table in tables])
    files, names_of_files = pd.factorize(index["file"])
    numbers = {path.name: number for number, path in enumerate(paths)}
    shard = np.array([numbers[name] for name in names_of_files], np.int64)[files]
    row = index["row"].to_numpy()
    if not ((row >= 0) & (row < lengths[shard])).all():
        raise ArtifactError(f"{paths[0].parent / INDEX} names rows that its shards do not have; {_ADVICE}")
    wanted: npt.NDArray[np.int64] = (np.cumsum(lengths) - lengths)[shard] + row
    return pa.concat_tables(tables).take(wanted).to_pandas()


def _verify_file(path: Path, sums: Mapping[str, str] | None, places: Mapping[str, str]) -> list[str]:
    """Read a shard in full and say which rows are not as they were written."""
    problems: list[str] = []
    try:
        if sums is not None and hash_file(path) != sums.get(path.name):
            problems.append(f"{path} holds other bytes than were written; {_ADVICE}")
        sample_rate, digests = read_sample_rate(path), read_table(path, [DIGEST]).column(DIGEST).to_pylist()
        for (facts, data), digest in zip(raw_rows(path), digests, strict=True):
            recording = as_recording(path, facts, data)
            named = _named(recording.recording_id, places)
            if len(recording.audio) != round(recording.seconds * sample_rate):
                problems.append(f"{path}: {named} has another length than was written")
            elif row_digest(facts, data) != digest:
                problems.append(f"{path}: {named} is not as it was written")
    except ArtifactError as error:
        problems.append(str(error))
    return problems


def _named(recording_id: str, places: Mapping[str, str]) -> str:
    return f"recording {places.get(recording_id, recording_id)}"


def _differences(folder: Path, held: pd.DataFrame, rows: pd.DataFrame, places: Mapping[str, str]) -> list[str]:
    """What differs between the rows that count and those of the manifest."""
    counts = held["recording_id"].value_counts()
    problems = [f"{_named(one, places)} is {count} times in the shards" for one, count in counts.items() if count > 1]
    both = rows[["recording_id", "seconds", *DESCRIBED]].merge(
        held, how="outer", on="recording_id", suffixes=("", "_held"), indicator="where"
    )
    for where, sentence in (
        ("right_only", "is in the shards but not in the manifest"),
        ("left_only", "is in the manifest but not in the shards"),
    ):
        problems += [f"{_named(one, places)} {sentence}" for one in both.loc[both["where"] == where, "recording_id"]]
    both = both[both["where"] == "both"]
    for name in (*DESCRIBED, "seconds"):
        wanted, found = both[name], both[f"{name}_held"]
        if pd.api.types.is_numeric_dtype(found.dtype):
            tolerance = 0.1 if name == "seconds" else 1e-8
            same = np.isclose(wanted.astype(float), found, rtol=1e-5, atol=tolerance, equal_nan=True)
        else:
            same = (wanted == found).to_numpy()
        problems += [
            f"{folder}: {name} of {_named(one, places)} differs from the manifest; {_ADVICE}"
            for one in both.loc[~same, "recording_id"]
        ]
    return problems
