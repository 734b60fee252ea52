"""The feature store: one HDF5 part a shard, and a virtual file over the parts of a split."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import numpy.typing as npt

from wakeword_core.errors import ArtifactError, DataError
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
}
"""Per-row datasets: class index, index into ROLES, view, first sample in the recording, valid frames, last frame of
the word (or NO_WORD), whether its source is synthetic, recording, and a hash of recording, window, view, seed and what
is mixed in."""
NO_WORD = -1
"""`word_ends` of a row that holds no wake word."""
PARTS_FOLDER = "parts"
_EXPONENTS = {2: (np.uint16, np.uint16(0x7C00)), 4: (np.uint32, np.uint32(0x7F800000))}
"""By bytes of a number: the type that its bits are read as, and which of them are the exponent."""

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
    dtype, dimensions = (COLUMNS[name], 1) if name in COLUMNS else (dataset.dtype, _MEL_DIMENSIONS)
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
        if (path, state) not in _rows:
            rows = _count_rows(file, path)
            if state is not None:
                _rows[path, state] = rows
        yield file


_rows: dict[tuple[Path, tuple[int, ...] | None], int] = {}
"""Rows of files that were looked through, which takes milliseconds each, by their place and state."""


def _count_rows(file: h5py.File, path: Path) -> int:
    if missing := [name for name in (MEL, *COLUMNS) if file.get(name, getlink=True) is None]:
        raise ArtifactError(f"{path} lacks {', '.join(sorted(missing))}; {_ADVICE}")
    lengths = {name: len(own_dataset(file, name, path)) for name in (MEL, *COLUMNS)}
    if len(set(lengths.values())) > 1:
        raise ArtifactError(f"{path} has columns of different lengths: {lengths}; {_ADVICE}")
    return lengths[MEL]


def _rows_of(path: Path) -> int:
    rows = _rows.get((path, lasting_state(path)))
    if rows is None:
        with open_features(path) as file:
            rows = len(file[MEL])
    return rows


@dataclass
class WindowSet:
    """A split as tensors, for training and clip evaluation."""

    mel: "torch.Tensor"
    """float16 or float32 [rows, n_mels, frames]"""
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
    recording_ids: npt.NDArray[np.str_]
    """recording of each row"""

    def __len__(self) -> int:
        return len(self.labels)

    def joined(self, other: "WindowSet") -> "WindowSet":
        """Join these rows and those of another set; DataError when shape or number format differ."""
        import torch

        if self.mel.shape[1:] != other.mel.shape[1:] or self.mel.dtype != other.mel.dtype:
            raise DataError(
                f"windows {list(self.mel.shape[1:])} of {self.mel.dtype} cannot be joined with "
                f"{list(other.mel.shape[1:])} of {other.mel.dtype}; build the features again"
            )
        tensors = {
            name: torch.cat([getattr(self, name), getattr(other, name)])
            for name in ("mel", "labels", "roles", "views", "word_ends", "synthetic")
        }
        return WindowSet(**tensors, recording_ids=np.concatenate([self.recording_ids, other.recording_ids]))

    def window_ends(self, frames: int, tail_frames: int) -> "torch.Tensor":
        """Choose the last frame [rows] of a window of `frames`: `tail_frames` after the word, or the row's last."""
        import torch

        last = self.mel.shape[2] - 1
        return torch.where(self.word_ends == NO_WORD, last, self.word_ends + tail_frames).clamp(frames - 1, last)


def write_part(
    path: Path, rows: int, blocks: Iterable[npt.NDArray[Any]], columns: Columns, attributes: dict[str, str]
) -> None:
    """Write one part from its blocks [<= rows, n_mels, frames] in order.

    Raises ArtifactError when a block holds a NaN or an infinity, or when they are not `rows` rows together.
    """
    with replacing(path) as part, h5py.File(part, "w", libver="latest") as file:
        filled = 0
        for block in blocks:
            if MEL not in file:
                file.create_dataset(MEL, (rows, 1, 1, *block.shape[1:]), block.dtype)
            _require_finite(block, columns["recording_ids"][filled : filled + len(block)])
            file[MEL][filled : filled + len(block), 0, 0] = block
            filled += len(block)
        if filled != rows:
            raise ArtifactError(f"{path} got {filled} of {rows} rows of features")
        for name, dtype in COLUMNS.items():
            file.create_dataset(name, data=columns[name].astype(dtype))
        _describe(file, attributes)


def _require_finite(block: npt.NDArray[Any], recording_ids: npt.NDArray[Any]) -> None:
    bits, exponent = _EXPONENTS[block.dtype.itemsize]
    # an exponent of ones is what infinities and NaN have, and nothing else; isfinite takes three times as long
    if (np.ascontiguousarray(block).view(bits) & exponent).max(initial=0) == exponent:
        bad = recording_ids[~np.isfinite(block).all(axis=(1, 2))][0].decode()
        raise ArtifactError(f"features of recording {bad} are not finite; the recording or the front end is broken")


def copy_rows(part: Path, rows: npt.NDArray[np.int64], target: npt.NDArray[Any]) -> None:
    """Copy features of a part to the places in `target` [rows, ...] where `rows` [rows] is not negative."""
    wanted = np.flatnonzero(rows >= 0)
    if not len(wanted):
        return
    # rows that stand together were together: a few long stretches, read in place
    breaks = np.flatnonzero((np.diff(wanted) != 1) | (np.diff(rows[wanted]) != 1)) + 1
    with open_features(part) as file:
        begin = file[MEL].id.get_offset()
    # not through HDF5, which does one thing at a time for all threads
    with part.open("rb") as file:
        for stretch in np.split(wanted, breaks):
            place = target[stretch[0] : stretch[-1] + 1]
            file.seek(begin + int(rows[stretch[0]]) * target[0].nbytes)
            if file.readinto(place.data) != place.nbytes:
                raise ArtifactError(f"{part} ends too early; delete it, and it is built again")


def count_contents(parts: Sequence[Path]) -> tuple[int, Counter[int]]:
    """Count the recordings of finished parts, none of which has one of another, and their rows by class index."""
    recordings, labels = 0, Counter[int]()
    for part in parts:
        with open_features(part) as file:
            labels.update(file["labels"][:].tolist())
            recordings += len(np.unique(file["recording_ids"][:]))
    return recordings, labels


def _describe(file: h5py.File, attributes: dict[str, str]) -> None:
    # text of fixed length: HDF5 keeps the other kind in a heap with uninitialised gaps, so that no two files are equal
    file.attrs.update({name: np.bytes_(text.encode()) for name, text in attributes.items()})


def write_split(path: Path, parts: Sequence[Path], attributes: dict[str, str]) -> None:
    """Join parts (inside the folder of `path`) as virtual datasets.

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
        _describe(file, {**attributes, "parts_json": json.dumps([part.name for part in parts])})


class FeatureFile:
    """A split's features, read in blocks; validated when opened."""

    def __init__(self, folder: Path) -> None:
        paths = sorted(folder.glob("*.h5"))
        if len(paths) != 1:
            raise ArtifactError(f"{folder} should hold one feature file, but holds {len(paths)}")
        self.path = paths[0]
        with open_features(self.path) as file:
            self.shape: tuple[int, ...] = file[MEL].shape
            self.labels = as_type(list[str], parse_json(bytes(file.attrs["labels_json"])))
            self.config = as_type(dict[str, Any], parse_json(bytes(file.attrs["config_json"])))
            names = as_type(list[PathPart], parse_json(bytes(file.attrs["parts_json"])))
        rows = 0
        for part in (folder / PARTS_FOLDER / name for name in names):
            # HDF5 reads a missing part of a virtual dataset as zeros, without a word
            if not part.is_file() or not h5py.is_hdf5(part):
                raise ArtifactError(f"{part} is missing or not an HDF5 file; {_ADVICE}")
            rows += _rows_of(part)
        if rows != len(self):
            raise ArtifactError(f"{self.path} has {len(self)} rows, but its parts have {rows}; {_ADVICE}")

    def __len__(self) -> int:
        return self.shape[0]

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
            return file[name][:]

    def rows(self, chosen: Sequence[int]) -> npt.NDArray[np.float32]:
        """Read some rows: float32 [len(chosen), n_mels, frames]."""
        with open_features(self.path) as file:
            return np.stack([file[MEL][row, 0, 0].astype(np.float32) for row in chosen])

    def blocks(self, rows: int) -> Iterator[tuple[int, npt.NDArray[Any], npt.NDArray[np.bool_]]]:
        """Yield (first row, mel [<= rows, n_mels, frames], valid [<= rows, frames]) over the split.

        Raises ArtifactError where a value is not finite.
        """
        with open_features(self.path) as file:
            frame = np.arange(self.frames)
            for start in range(0, len(self), rows):
                here = slice(start, start + rows)
                mel = file[MEL][here, 0, 0]
                first = file["valid_start"][here].astype(np.int64)[:, None]
                count = file["valid_frames"][here].astype(np.int64)[:, None]
                if not np.isfinite(mel).all():
                    raise ArtifactError(f"{self.path} holds values that are not finite near row {start}")
                yield start, mel, (frame >= first) & (frame < first + count)

    def load(self, *, clean_only: bool = False) -> WindowSet:
        """Read the whole split (or its clean views) as tensors."""
        import torch

        chosen = self.column("views") == 0 if clean_only else np.ones(len(self), bool)
        dtype = np.float16 if self.config["features.rows"]["dtype"] == "float16" else np.float32
        mel = np.empty((int(chosen.sum()), self.n_mels, self.frames), dtype)
        filled = 0
        for start, block, _ in self.blocks(1024):
            kept = block[chosen[start : start + len(block)]]
            mel[filled : filled + len(kept)] = kept
            filled += len(kept)
        labels, roles, views, word_ends = (
            torch.from_numpy(self.column(name)[chosen].astype(np.int64))
            for name in ("labels", "roles", "views", "word_ends")
        )
        synthetic = torch.from_numpy(self.column("synthetic")[chosen] > 0)
        recording_ids = self.column("recording_ids")[chosen].astype(np.str_)
        return WindowSet(torch.from_numpy(mel), labels, roles, views, word_ends, synthetic, recording_ids)


def spread_windows(folder: Path, count: int) -> npt.NDArray[np.float32]:
    """Read so many clean windows of the split in `folder`, or all that there are, evenly spaced: [n, bands, frames]."""
    windows = load_windows(folder, clean_only=True).mel
    chosen = np.linspace(0, len(windows) - 1, min(count, len(windows))).astype(int)
    read: npt.NDArray[np.float32] = windows[chosen].float().numpy()
    return read


def load_windows(folder: Path, *, clean_only: bool = False) -> WindowSet:
    """Read the split in `folder` (or its clean views) as tensors."""
    return FeatureFile(folder).load(clean_only=clean_only)
