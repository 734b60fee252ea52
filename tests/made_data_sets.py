"""Data sets that tests make: tables, Arrow files, archives, and the project that names them."""

import hashlib
import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

from wakeword_core.config.loading import load_config
from wakeword_core.graph.project import Project
from wakeword_core.recordings.scan import Listing

RATE = 16_000


def sound(seed: int, kind: str = "WAV") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.random.default_rng(seed).normal(0, 0.1, RATE // 2), RATE, format=kind)
    return file.getvalue()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def table(count: int, start: int = 0, **columns: Any) -> pa.Table:
    """Recordings as `datasets` writes them."""
    audio = [{"bytes": sound(start + index), "path": f"{start + index}.wav"} for index in range(count)]
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    return pa.table({"audio": pa.array(audio, kind), **columns})


def write_parquet(path: Path, rows: pa.Table) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows, path, write_page_checksum=True, compression="none", use_dictionary=False)
    return path


def write_arrow(path: Path, rows: pa.Table, new: Callable[..., Any] = pa.ipc.new_stream) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with new(path, rows.schema) as writer:
        writer.write_table(rows)
    return path


def write_tar(path: Path, *files: tuple[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


class DataSet:
    """A data set in a folder, and the project that names it."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder, self.home = folder, home

    def project(self, path: Path | str, *settings: str, more: str = "", columns: str = "{}") -> Project:
        source = f"{{name: words, path: '{path}', role: negative, columns: {columns}{more}}}"
        return Project(load_config(None, [f"data.sources=[{source}]", *settings]), self.home)

    def listing(self, path: Path | str, *settings: str, **options: str) -> Listing:
        return self.project(path, *settings, **options).listing()

    def problem(self, path: Path | str, *settings: str, **options: str) -> str:
        listing = self.listing(path, *settings, **options)
        assert listing.columns["path"] == []
        return listing.missing["words"]

    def unpacked(self) -> dict[str, Path]:
        (root,) = (self.home.parent / "cache" / "unpacked").glob("*/recordings")
        return {str(path.relative_to(root)): path for path in root.rglob("*") if path.is_file()}


def counts(listing: Listing) -> dict[str, int]:
    return dict(listing.left_out["words"].counts)
