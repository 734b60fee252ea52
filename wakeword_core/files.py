"""Files that appear whole or not at all, and the hashes that name them."""

import csv
import errno
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from wakeword_core.errors import ArtifactError, WakewordError, reason_of

if TYPE_CHECKING:
    from pydantic import TypeAdapter

Value = TypeVar("Value")

_PART_SUFFIX = ".part"
_REPLACED = ".replaced-"
"""How the name of a folder begins in whose place another was put."""
_CHUNK_BYTES = 1 << 20
_TOKEN_BYTES = 6
ORDINARY_FILE = 0o666
"""Permissions of a file that nothing is said of."""
PRIVATE_FOLDER, PRIVATE_FILE = 0o700, 0o600
"""Permissions of what only its owner may read, such as voices."""
_TICK_SECONDS = 0.02
"""A file that changes again so soon may have the same times."""
_MAX_JSON_BYTES = 256 * 2**20
_FORMULAS = ("=", "+", "-", "@", "\t", "\r")
"""How text begins that a spreadsheet takes for a formula."""


def canonical_json(value: Any) -> str:
    """Return JSON text that is equal for equal values: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any) -> str:
    """Return the SHA-256 (hex) of a JSON value."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def hash_file(path: Path) -> str:
    """Return the SHA-256 (hex) of a file's bytes, read in chunks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksum(path: Path) -> int:
    """Return the CRC-32 of a file's bytes: quicker than `hash_file`, and enough against chance."""
    total = 0
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK_BYTES):
            total = zlib.crc32(chunk, total)
    return total


def file_identity(path: Path) -> tuple[int, int]:
    """Return what all names (hard links) of a file have in common: its device and inode."""
    stat = path.lstat()
    return stat.st_dev, stat.st_ino


def lasting_state(path: Path) -> tuple[int, ...] | None:
    """Return what changes whenever a file's bytes do, or None where it is so new that they may change without that."""
    stat = path.stat()
    return None if time.time() - stat.st_ctime < _TICK_SECONDS else file_state(stat)


def file_state(stat: os.stat_result) -> tuple[int, ...]:
    """Return device, inode, size and times of a file's bytes and of its entry: what changes when the bytes do."""
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def content_hash(path: Path) -> str:
    """Return what `hash_file` does, without reading a file again that did not change; nothing where there is none."""
    try:
        state = lasting_state(path)
        return hash_file(path) if state is None else _hash_in_state(path, state)
    except OSError:
        return ""


@lru_cache(maxsize=256)
def _hash_in_state(path: Path, state: tuple[int, ...]) -> str:
    return hash_file(path)


def unfinished_parts(folder: Path) -> list[Path]:
    """List temporary files under `folder` that a killed process left half written."""
    return [path for path in folder.rglob(f".*{_PART_SUFFIX}") if path.is_file()]


def remove_unfinished_parts(folder: Path) -> None:
    """Remove temporary files under `folder` that a killed process left half written; nobody may write there now."""
    for part in unfinished_parts(folder):
        part.unlink(missing_ok=True)


def _part_beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(_TOKEN_BYTES)}{_PART_SUFFIX}")


def remove_abandoned_parts(folder: Path) -> None:
    """Remove temporary files right in `folder` that a kill left, unless somebody writes there now."""
    with suppress(OSError), locked(folder, fcntl.LOCK_EX | fcntl.LOCK_NB):
        pattern = f".*.{'[0-9a-f]' * 2 * _TOKEN_BYTES}{_PART_SUFFIX}*"  # SQLite has files of its own beside one
        for path in folder.glob(pattern):
            if path.is_file():
                path.unlink(missing_ok=True)


def is_abandoned(folder: Path) -> bool:
    """Tell whether nobody who writes into a folder holds it `locked`."""
    try:
        with locked(folder, fcntl.LOCK_EX | fcntl.LOCK_NB):
            return True
    except OSError:
        return False


@contextmanager
def locked(folder: Path, kind: int = fcntl.LOCK_SH) -> Iterator[None]:
    """Hold a lock on a folder, shared unless another `kind` is named; OSError where that cannot be had."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, kind)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def replacing(path: Path, mode: int = ORDINARY_FILE) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is synced and renamed to `path`, else removed.

    It has the permissions `mode`, less those that the process denies its files, from its beginning.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _part_beside(path)
    with ExitStack() as stack:
        with suppress(OSError):  # of a folder that may not be listed, or a file system without locks
            stack.enter_context(locked(path.parent, fcntl.LOCK_SH))
        part.touch(mode, exist_ok=False)
        try:
            yield part
            with part.open("rb") as file:
                os.fsync(file.fileno())
            part.replace(path)
        except OSError as error:
            if error.errno is not None and error.filename is None:  # as of a write that fails
                error.filename = str(path)
            raise
        finally:
            part.unlink(missing_ok=True)


def write_text(path: Path, text: str, mode: int = ORDINARY_FILE) -> None:
    """Write a text file so that it appears whole, with permissions as `replacing` gives them."""
    with replacing(path, mode) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any, mode: int = ORDINARY_FILE) -> None:
    """Write a JSON file for people (indented) so that it appears whole; NaN is refused."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n", mode)


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a table so that it appears whole; what a row does not have is an empty cell.

    Text that a spreadsheet would compute as a formula, which others may have chosen, gets an apostrophe before it.
    """
    with replacing(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        table.writeheader()
        table.writerows({name: _no_formula(value) for name, value in row.items()} for row in rows)


def _no_formula(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULAS) else value


def parse_json(text: str | bytes) -> Any:
    """Return the value of JSON text from anywhere; ValueError for what is no JSON, NaN, or nested 200 deep."""
    from pydantic_core import from_json

    return from_json(text, allow_inf_nan=False)


@cache
def _adapter(kind: Any) -> "TypeAdapter[Any]":
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def as_type(kind: type[Value], value: Any) -> Value:
    """Return a JSON value, which anybody may have written, as a value of a type; ValueError where it is none."""
    checked: Value = _adapter(kind).validate_python(value)  # type: ignore[arg-type]
    return checked


def read_json(path: Path) -> Any:
    """Return the value in a JSON file; OSError or ValueError when it cannot be read, as `parse_json` says."""
    if not path.is_file() and path.exists():
        raise OSError(f"{path} is no ordinary file")
    size = path.stat().st_size
    if size > _MAX_JSON_BYTES:
        raise ValueError(f"{size / 2**20:,.0f} MB of JSON, more than the {_MAX_JSON_BYTES // 2**20} MB allowed")
    return parse_json(path.read_bytes())


@contextmanager
def reading(path: Path, advice: str, state: str = "cannot be read") -> Iterator[None]:
    """Turn whatever readers of Parquet and HDF5 raise at the bytes of a file into an ArtifactError that names it."""
    import pyarrow as pa

    try:
        yield
    except (
        OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, MemoryError, ArithmeticError,
        pa.ArrowException,
    ) as error:  # fmt: skip
        raise ArtifactError(f"{path} {state} ({reason_of(error)}); {advice}") from error


def link_or_copy(source: Path, target: Path) -> None:
    """Give `source` a second name, replacing what has it, without copying its bytes where the file system can."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = _part_beside(target)
    try:
        os.link(source, part)
    except OSError:
        with replacing(target) as part:
            shutil.copyfile(source, part)
        return
    try:
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)  # renaming one link of a file over another leaves both


def put_in_place(folder: Path, final: Path) -> None:
    """Give a complete folder the name under which it counts; another that has it is moved aside."""
    if final.exists():
        final.rename(final.with_name(f"{_REPLACED}{final.name}-{time.time_ns()}"))
    folder.rename(final)
    descriptor = os.open(final.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def restore_replaced(parent: Path, name: str = "*") -> None:
    """Give folders their name back where a kill came after they were moved aside, and before the next one had it."""
    for aside in sorted(parent.glob(f"{_REPLACED}{name}-*"), reverse=True):  # the newest first
        final = parent / aside.name.removeprefix(_REPLACED).rpartition("-")[0]
        if aside.is_dir() and not aside.is_symlink() and not final.exists():
            aside.rename(final)


def clear_folder(folder: Path, *, keep: bool) -> None:
    """Remove what an earlier attempt left, but for the files that are to `keep`; never one with links in it."""
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists() and not (keep and not any(path.is_symlink() for path in folder.rglob("*"))):
        shutil.rmtree(folder)


def contained(root: Path, relative: str, link_roots: Iterable[Path] = ()) -> Path:
    """Return `root / relative` resolved; an error if it leaves `root` (through `..`, an absolute path or a link).

    It may lie in one of `link_roots` instead.
    """
    base = root.resolve()
    path = (base / relative).resolve()
    if not inside(path, [str(folder.resolve()) for folder in (root, *link_roots)]):
        raise WakewordError(f"{relative!r} leads outside {base}; only files inside it are used")
    return path


def inside(path: str | Path, folders: Iterable[str]) -> bool:
    """Tell whether `path`, its links resolved, lies in one of the resolved folders."""
    real = os.path.realpath(path)
    return any(real == folder or real.startswith(folder.rstrip(os.sep) + os.sep) for folder in folders)


def require_writable(folder: Path) -> None:
    """Raise OSError where no file can be made in a folder, or there is no such folder."""
    if not os.access(folder, os.W_OK | os.X_OK):
        problem = errno.EACCES if folder.exists() else errno.ENOENT
        raise OSError(problem, os.strerror(problem), str(folder))


def require_space(folder: Path, needed_bytes: int, what: str) -> None:
    """Refuse to begin `what` when the disk under `folder` has less than `needed_bytes` and a tenth free."""
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if free < needed_bytes * 1.1:
        raise WakewordError(
            f"{what} needs about {needed_bytes / 1e6:,.0f} MB, but only {free / 1e6:,.0f} MB are free on the disk of "
            f"{existing}; free some space or choose another --home"
        )
