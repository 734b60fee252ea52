"""The feature store: one HDF5 part a shard, and a virtual file over the parts of a split.

A part may hold rows that no longer count, and rows of later shards belong between those of earlier ones: the virtual
file has the parts' rows end to end, and names those that count, in the order of their recordings.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import numpy.typing as npt
import pandas as pd

from wakeword_core.errors import ArtifactError
from wakeword_core.features.gathering import Mel, PartRows, Rows, RowsOnDisk, are_finite, in_memory, joined
from wakeword_core.files import as_type, lasting_state, parse_json, reading, replacing
from wakeword_core.store.parts import PathPart

if TYPE_CHECKING:
    import torch

MEL = "segments_mel"
COLUMNS: dict[str, np.dtype[Any]] = {
    "labels": np.dtype(np.int16),
    "roles": np.dtype(np.uint8),
    "views": np.dtype(np.uint8),
    "starts": np.dtype(np.int64),
    "valid_start": np.dtype(np.int16),
    "valid_frames": np.dtype(np.int16),
    "word_ends": np.dtype(np.int16),
    "synthetic": np.dtype(np.uint8),
    "recording_ids": np.dtype("S64"),
    "keys": np.dtype(np.uint64),
    "digests": np.dtype("S64"),
}
"""Per-row datasets: class index, index into ROLES, view, first sample in the recording, valid frames, last frame of
the word (or NO_WORD), whether its source is synthetic, recording, a hash of recording, window, view, seed and what is
mixed in, and the SHA-256 of the row's features."""
ROWS = "rows"
"""Of a virtual file: which of its rows count, in their order."""
_OWN = {**COLUMNS, ROWS: np.dtype(np.int64)}
NO_WORD = -1
"""`word_ends` of a row that holds no wake word."""
PARTS_FOLDER = "parts"

_ADVICE = "build the features again"
_MEL_DIMENSIONS = 5

Columns = dict[str, npt.NDArray[Any]]


def own_dataset(file: h5py.File, name: str, path: Path) -> h5py.Dataset:
    """Return a dataset whose bytes lie in its file at `path`, or of a view in the parts beside it.

    A file may come from anybody: links, data outside and more data than there are bytes raise ValueError.
    """
    if not isinstance(file.get(name, getlink=True), h5py.HardLink) or not isinstance(file[name], h5py.Dataset):
        raise ValueError(f"its {name} is not in it")
    dataset = file[name]
    dtype, dimensions = (_OWN[name], 1) if name in _OWN else (dataset.dtype, _MEL_DIMENSIONS)
    if dataset.dtype != dtype or dataset.dtype.kind not in "iufS" or dataset.ndim != dimensions:
        raise ValueError(f"its {name} is {dataset.dtype} {dataset.shape}")
    if dataset.is_virtual:
        sources = dataset.virtual_sources()
        for source in sources:
            folder, _, part = source.file_name.partition("/")
            if folder != PARTS_FOLDER or not part or "/" in part or (path.parent / source.file_name).is_symlink():
                raise ValueError(f"its {name} is partly in {source.file_name}")
        if sum(source.vspace.get_select_npoints() for source in sources) != dataset.size:
            raise ValueError(f"its {name} is not in its parts")
    elif dataset.external or dataset.chunks or dataset.id.get_storage_size() != dataset.nbytes:
        raise ValueError(f"its {name} is not all in it")
    elif dataset.nbytes > path.stat().st_size:
        raise ValueError(f"its {name} is longer than it")
    return dataset


@contextmanager
def open_features(path: Path) -> Iterator[h5py.File]:
    """Open a part or a view to read; ArtifactError where it is none, damaged, or leads anywhere else."""
    with reading(path, _ADVICE), h5py.File(path) as file:
        state = lasting_state(path)
        if _known_place(path, state) is None:
            place = _place_of_features(file, path)
            if state is not None:
                _places[path if place.begin == 0 else None, state] = place
        yield file


_places: dict[tuple[Path | None, tuple[int, ...]], PartRows] = {}
"""Where the features are in files that were looked through, which takes milliseconds each: of a part by its state,
whatever its name; of a virtual file, in which they begin at 0, by its path too, since it names the files beside it."""


def _known_place(path: Path, state: tuple[int, ...] | None) -> PartRows | None:
    if state is None:
        return None
    place = _places.get((None, state))
    return replace(place, path=path) if place else _places.get((path, state))


def _place_of_features(file: h5py.File, path: Path) -> PartRows:
    if missing := [name for name in (MEL, *COLUMNS) if file.get(name, getlink=True) is None]:
        raise ArtifactError(f"{path} lacks {', '.join(sorted(missing))}; {_ADVICE}")
    lengths = {name: len(own_dataset(file, name, path)) for name in (MEL, *COLUMNS)}
    if len(set(lengths.values())) > 1:
        raise ArtifactError(f"{path} has columns of different lengths: {lengths}; {_ADVICE}")
    return PartRows(path, file[MEL].id.get_offset() or 0, file[MEL].shape, file[MEL].dtype)


def _place(path: Path) -> PartRows:
    place = _known_place(path, lasting_state(path))
    if place is None:
        with open_features(path) as file:
            place = _place_of_features(file, path)
    return place


@dataclass
class WindowSet:
    """A split for training and clip evaluation: the features of its rows, in memory or on disk, and what they are."""

    mel: Mel
    labels: "torch.Tensor"
    """int64 [rows], class index"""
    roles: "torch.Tensor"
    """int64 [rows], index into ROLES"""
    views: "torch.Tensor"
    """int64 [rows], 0 is the clean view"""
    word_ends: "torch.Tensor"
    """int64 [rows], frame at which the word ends, or NO_WORD"""
    synthetic: "torch.Tensor"
    """bool [rows], whether it is made from text or computed"""

    def __len__(self) -> int:
        return len(self.labels)

    def columns(self) -> "dict[str, torch.Tensor]":
        """Return what rows are, all but their features, by name."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.name != "mel"}

    def in_memory(self) -> "WindowSet":
        """Read features that are on disk."""
        return replace(self, mel=in_memory(self.mel))

    def joined(self, other: "WindowSet") -> "WindowSet":
        """Join these rows and those of another set; DataError when shape or number format differ."""
        import torch

        theirs = other.columns()
        columns = {name: torch.cat([mine, theirs[name]]) for name, mine in self.columns().items()}
        return WindowSet(joined(self.mel, other.mel), **columns)

    def window_ends(self, frames: int, tail_frames: int) -> "torch.Tensor":
        """Choose the last frame [rows] of a window of `frames`: `tail_frames` after the word, or the row's last."""
        import torch

        last = self.mel.shape[2] - 1
        return torch.where(self.word_ends == NO_WORD, last, self.word_ends + tail_frames).clamp(frames - 1, last)


def write_part(
    path: Path, rows: int, blocks: Iterable[npt.NDArray[Any]], columns: Columns, attributes: dict[str, str]
) -> None:
    """Write one part from its blocks [<= rows, n_mels, frames] in order, with the digest of each row.

    `columns` are all others of COLUMNS. Raises ArtifactError when a block holds a NaN or an infinity, or when they are
    not `rows` rows together.
    """
    with replacing(path) as part, h5py.File(part, "w", libver="latest") as file:
        filled, digests = 0, list[str]()
        for block in blocks:
            if MEL not in file:
                file.create_dataset(MEL, (rows, 1, 1, *block.shape[1:]), block.dtype)
            _require_finite(block, columns["recording_ids"][filled : filled + len(block)])
            file[MEL][filled : filled + len(block), 0, 0] = block
            digests += (hashlib.sha256(row).hexdigest() for row in np.ascontiguousarray(block))
            filled += len(block)
        if filled != rows:
            raise ArtifactError(f"{path} got {filled} of {rows} rows of features")
        whole = {**columns, "digests": np.array(digests, COLUMNS["digests"])}
        for name, dtype in COLUMNS.items():
            file.create_dataset(name, data=whole[name].astype(dtype))
        _describe(file, attributes)


def _require_finite(block: npt.NDArray[Any], recording_ids: npt.NDArray[Any]) -> None:
    if not are_finite(block):
        bad = recording_ids[~np.isfinite(block).all(axis=(1, 2))][0].decode()
        raise ArtifactError(f"features of recording {bad} are not finite; the recording or the front end is broken")


def copy_rows(part: Path, rows: Rows, target: npt.NDArray[Any]) -> None:
    """Copy features of a part to the places in `target` [rows, ...] where `rows` [rows] is not negative."""
    wanted = np.flatnonzero(rows >= 0)
    _place(part).read(rows[wanted], target, wanted)


def _describe(file: h5py.File, attributes: dict[str, str]) -> None:
    # text of fixed length: HDF5 keeps the other kind in a heap with uninitialised gaps, so that no two files are equal
    file.attrs.update({name: np.bytes_(text.encode()) for name, text in attributes.items()})


def rows_in_order(parts: Sequence[Path], index: pd.DataFrame) -> Rows:
    """Find the rows of parts, end to end, that belong to the rows of shards that an `index` names, in its order.

    A part is called as its shard.
    """
    runs, first = [], 0
    for part in parts:
        with open_features(part) as file:
            recording_ids = file["recording_ids"][:]
        begins = np.flatnonzero(np.append(True, recording_ids[1:] != recording_ids[:-1])[: len(recording_ids)])
        run = {"recording_id": recording_ids[begins].astype(np.str_), "begin": begins + first}
        runs.append(pd.DataFrame({**run, "rows": np.diff(begins, append=len(recording_ids)), "part": part.stem}))
        first += len(recording_ids)
    names = {name: Path(name).stem for name in index["file"].unique()}
    wanted = index[["recording_id"]].assign(part=index["file"].map(names))
    found = wanted.merge(pd.concat(runs), on=["recording_id", "part"])
    begin, count = found["begin"].to_numpy(np.int64), found["rows"].to_numpy(np.int64)
    return np.repeat(begin - (np.cumsum(count) - count), count) + np.arange(count.sum())


def write_split(path: Path, parts: Sequence[Path], attributes: dict[str, str], order: Rows | None = None) -> None:
    """Join parts (inside the folder of `path`) as virtual datasets, with the rows that count in `order`: else all.

    What it holds is the parts'; its bytes are not reproducible, since HDF5 leaves gaps unwritten.
    """
    shapes = {}
    for part in parts:
        with open_features(part) as file:
            shapes[part] = (file[MEL].shape, file[MEL].dtype)
    rows = sum(shape[0] for shape, _ in shapes.values())
    tail, dtype = next(((shape[1:], dtype) for shape, dtype in shapes.values()), ((1, 1, 0, 0), np.dtype("f2")))
    with replacing(path) as whole, h5py.File(whole, "w", libver="latest") as file:
        for name, column_dtype, column_tail in ((MEL, dtype, tail), *((n, d, ()) for n, d in COLUMNS.items())):
            layout = h5py.VirtualLayout((rows, *column_tail), column_dtype)
            start = 0
            for part, (shape, _) in shapes.items():
                source = h5py.VirtualSource(part.relative_to(path.parent), name, (shape[0], *column_tail), column_dtype)
                layout[start : start + shape[0]] = source
                start += shape[0]
            file.create_virtual_dataset(name, layout)
        file.create_dataset(ROWS, data=np.arange(rows) if order is None else order, dtype=_OWN[ROWS])
        _describe(file, {**attributes, "parts_json": json.dumps([part.name for part in parts])})


class FeatureFile:
    """A split's features: the rows that count, read in their order; validated when opened."""

    def __init__(self, folder: Path) -> None:
        paths = sorted(folder.glob("*.h5"))
        if len(paths) != 1:
            raise ArtifactError(f"{folder} should hold one feature file, but holds {len(paths)}")
        self.path = paths[0]
        with open_features(self.path) as file:
            self.shape: tuple[int, ...] = file[MEL].shape
            dtype, order = file[MEL].dtype, own_dataset(file, ROWS, self.path)[:]
            self.labels = as_type(list[str], parse_json(bytes(file.attrs["labels_json"])))
            self.config = as_type(dict[str, Any], parse_json(bytes(file.attrs["config_json"])))
            names = as_type(list[PathPart], parse_json(bytes(file.attrs["parts_json"])))
        stored = self.shape[0]
        if len(order) and not 0 <= order.min() <= order.max() < stored:
            raise ArtifactError(f"{self.path} names rows that it does not have; {_ADVICE}")
        parts: list[PartRows] = []
        for part in (folder / PARTS_FOLDER / name for name in names):
            # HDF5 reads a missing part of a virtual dataset as zeros, without a word
            if not part.is_file() or not h5py.is_hdf5(part):
                raise ArtifactError(f"{part} is missing or not an HDF5 file; {_ADVICE}")
            place = _place(part)
            if (place.shape[1:], place.dtype) != (self.shape[1:], dtype) or (place.shape[0] and not place.begin):
                raise ArtifactError(f"{part} holds features of another shape than {self.path} says; {_ADVICE}")
            parts.append(place)
        if (rows := sum(place.shape[0] for place in parts)) != stored or not parts:
            raise ArtifactError(f"{self.path} has {stored} rows, but its parts have {rows}; {_ADVICE}")
        self.shape = (len(order), *self.shape[1:])
        self.mel = RowsOnDisk(tuple(parts), order)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def parts(self) -> list[Path]:
        """Return the parts that the rows lie in."""
        return [part.path for part in self.mel.parts]

    @property
    def dead(self) -> int:
        """Count the rows of the parts that do not count any more."""
        return sum(part.shape[0] for part in self.mel.parts) - len(self)

    @property
    def n_mels(self) -> int:
        """Number of mel bands."""
        return self.shape[3]

    @property
    def frames(self) -> int:
        """Number of frames of a row."""
        return self.shape[4]

    def column(self, name: str) -> npt.NDArray[Any]:
        """Read a whole column of COLUMNS: [rows]."""
        with open_features(self.path) as file:
            return file[name][:][self.mel.order]

    def content(self) -> str:
        """Hash what counts: every column of every row, in their order; where the rows lie does not count."""
        total = hashlib.sha256()
        for name in COLUMNS:
            total.update(name.encode())
            total.update(self.column(name).tobytes())
        return total.hexdigest()

    def rows(self, chosen: Sequence[int]) -> npt.NDArray[np.float32]:
        """Read some rows: float32 [len(chosen), n_mels, frames]."""
        return self.mel.read(np.asarray(chosen, np.int64)).astype(np.float32)

    def blocks(self, rows: int) -> Iterator[tuple[int, npt.NDArray[Any], npt.NDArray[np.bool_]]]:
        """Yield (first row, mel [<= rows, n_mels, frames], valid [<= rows, frames]) over the split."""
        first, count = (self.column(name).astype(np.int64)[:, None] for name in ("valid_start", "valid_frames"))
        frame = np.arange(self.frames)
        for start, mel in self.mel.blocks(rows):
            here = slice(start, start + rows)
            yield start, mel, (frame >= first[here]) & (frame < first[here] + count[here])

    def windows(self, *, clean_only: bool = False) -> WindowSet:
        """Return the whole split (or its clean views), whose features stay on disk."""
        import torch

        chosen = self.column("views") == 0 if clean_only else np.ones(len(self), bool)
        labels, roles, views, word_ends = (
            torch.from_numpy(self.column(name)[chosen].astype(np.int64))
            for name in ("labels", "roles", "views", "word_ends")
        )
        synthetic = torch.from_numpy(self.column("synthetic")[chosen] > 0)
        return WindowSet(self.mel.chosen(chosen), labels, roles, views, word_ends, synthetic)


def spread(rows: Rows, count: int) -> list[int]:
    """Choose so many of some rows, or all that there are, evenly spaced."""
    return [int(row) for row in rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int)]]


def spread_windows(folder: Path, count: int) -> npt.NDArray[np.float32]:
    """Read so many clean windows of the split in `folder`, or all that there are, evenly spaced: [n, bands, frames]."""
    file = FeatureFile(folder)
    return file.rows(spread(np.flatnonzero(file.column("views") == 0), count))


def open_windows(folder: Path, *, clean_only: bool = False) -> WindowSet:
    """Open the split in `folder` (or its clean views), whose features stay on disk."""
    return FeatureFile(folder).windows(clean_only=clean_only)


def load_windows(folder: Path, *, clean_only: bool = False) -> WindowSet:
    """Read the split in `folder` (or its clean views) into memory."""
    return open_windows(folder, clean_only=clean_only).in_memory()
