"""How much memory the record batches of an Arrow file take: a compressed one of a few kB may unpack to gigabytes.

Only what stands before a batch says how large it is once it is read, in the encoding of Arrow's messages
(https://arrow.apache.org/docs/format/Columnar.html). pyarrow reads it as a whole or not at all.
"""

import struct
from typing import BinaryIO

_MOST_METADATA_BYTES = 64 << 20
_CONTINUES = -1
_DICTIONARY, _BATCH = 2, 3
"""What a message may have as its header."""


def require_small_batches(file: BinaryIO, most_bytes: int) -> None:
    """Raise ValueError where a batch of a stream, with its compressed form and all dictionaries, takes more memory.

    The stream begins where the file is. What is broken is a ValueError, too.
    """
    dictionaries = 0
    try:
        while metadata := _metadata(file):
            kind, batch, body_bytes = _header(metadata)
            begin = file.tell()
            taken = dictionaries + body_bytes + (_unpacked_bytes(file, begin, metadata, batch) if batch else 0)
            if taken > most_bytes:
                raise ValueError(
                    f"a record batch of it takes {taken / 1e6:,.0f} MB of memory, and {most_bytes / 1e6:,.0f} MB are "
                    "allowed; write it with fewer rows in a batch"
                )
            dictionaries = taken if kind == _DICTIONARY else dictionaries
            file.seek(begin + body_bytes)
    except struct.error as error:
        raise ValueError(f"a message of it is broken: {error}") from error


def _metadata(file: BinaryIO) -> bytes:
    """Read what stands before the next batch; nothing at the end."""
    size = _number(file.read(4))
    if size == _CONTINUES:  # which versions before 0.15 did not write
        size = _number(file.read(4))
    if size > _MOST_METADATA_BYTES:
        raise ValueError(f"what a message says of itself takes {size:,} bytes")
    return file.read(size) if size > 0 else b""


def _number(data: bytes) -> int:
    return int.from_bytes(data, "little", signed=True) if len(data) == 4 else 0


def _header(metadata: bytes) -> tuple[int, int, int]:
    """Return the kind of a message, where its record batch is described (0: it has none), and the bytes of its body."""
    (message,) = struct.unpack_from("<I", metadata)
    place = _field(metadata, message, 1)
    (kind,) = struct.unpack_from("<B", metadata, place) if place else (0,)
    place = _field(metadata, message, 3)
    (body_bytes,) = struct.unpack_from("<q", metadata, place) if place else (0,)
    if body_bytes < 0:
        raise ValueError(f"a message says that its body has {body_bytes:,} bytes")
    header = _follow(metadata, message, 2)
    if kind == _DICTIONARY and header:
        header = _follow(metadata, header, 1)
    return kind, header if kind in (_DICTIONARY, _BATCH) else 0, body_bytes


def _unpacked_bytes(file: BinaryIO, begin: int, metadata: bytes, batch: int) -> int:
    """Return how many bytes more a batch takes once it is unpacked: each compressed buffer begins with its size."""
    buffers = _follow(metadata, batch, 2)
    if not buffers or not _field(metadata, batch, 3):
        return 0
    (count,) = struct.unpack_from("<I", metadata, buffers)
    unpacked = 0
    for number in range(count):
        offset, length = struct.unpack_from("<qq", metadata, buffers + 4 + 16 * number)
        if length > 0 and offset >= 0:
            file.seek(begin + offset)
            unpacked += max(struct.unpack("<q", file.read(8))[0], 0)
    return unpacked


def _field(metadata: bytes, table: int, number: int) -> int:
    """Return where a field of a table is, 0 where the table has none."""
    (back,) = struct.unpack_from("<i", metadata, table)
    size, *_ = struct.unpack_from("<H", metadata, table - back)
    entry = 4 + 2 * number
    (offset,) = struct.unpack_from("<H", metadata, table - back + entry) if entry < size else (0,)
    return table + offset if offset else 0


def _follow(metadata: bytes, table: int, number: int) -> int:
    """Return where the table or vector is that a field of a table leads to, 0 where it has none."""
    place = _field(metadata, table, number)
    return place + struct.unpack_from("<I", metadata, place)[0] if place else 0
