"""What a file is by its first bytes, whatever it is called, and whether its container says that it is cut."""

import errno
import importlib.metadata
import io
import re
import stat
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, Literal

Source = Path | bytes
"""A file on disk or in memory."""

MEDIA = frozenset({"mov", "matroska", "aac", "asf", "amr", "ape", "wv", "tta", "avi"})
"""Formats that libsndfile does not read and PyAV does; named as FFmpeg's demuxers are, like all formats here."""
INSTALL_MEDIA = "pip install av"
SOUND_ENDINGS = {
    ".wav": "wav", ".flac": "flac", ".ogg": "ogg", ".opus": "ogg", ".mp3": "mp3", ".aiff": "aiff", ".aif": "aiff",
    ".au": "au", ".m4a": "mov", ".mp4": "mov", ".3gp": "mov", ".webm": "matroska", ".aac": "aac", ".wma": "asf",
    ".amr": "amr", ".caf": "caf", ".oga": "ogg", ".wave": "wav", ".aifc": "aiff", ".snd": "au", ".w64": "w64",
}  # fmt: skip
"""Endings of files that are meant to be recordings, whatever is in them, and the format that they promise."""
_HEAD_BYTES = 64
_MAGIC = (
    (0, rb"RIFF....WAVE|RIFX....WAVE|RF64|BW64", "wav"),
    (0, rb"RIFF....AVI ", "avi"),
    (0, rb"riff\x2e\x91\xcf\x11", "w64"),
    (0, rb"FORM....AIF[FC]", "aiff"),
    (0, rb"FORM....(?:8SVX|16SV)", "iff"),
    (0, rb"fLaC", "flac"),
    (0, rb"OggS", "ogg"),
    (0, rb"\.snd\0\0|dns\...\0\0", "au"),
    (0, rb"caff\0\x01", "caf"),
    (0, rb"Creative Voice File", "voc"),
    (0, rb"NIST_1A", "nistsphere"),
    (0, rb"\x64\xa3[\x01-\x04]\0|\0[\x01-\x04]\xa3\x64", "ircam"),
    # a frame of MPEG audio, layer II or III: its version, bit rate and sample rate are none of the reserved ones
    (0, rb"\xff[\xe2-\xe5\xf2-\xf5\xfa-\xfd][\x10-\x1b\x20-\x2b\x30-\x3b\x40-\x4b\x50-\x5b\x60-\x6b\x70-\x7b\x80-\x8b"
        rb"\x90-\x9b\xa0-\xab\xb0-\xbb\xc0-\xcb\xd0-\xdb\xe0-\xeb]", "mp3"),
    (0, rb"\xff[\xf0\xf1\xf8\xf9]", "aac"),
    (4, rb"ftyp(?!heic|heix|heim|heis|hevc|hevx|mif1|msf1|avif|avis|jp2 |crx )", "mov"),  # the others are pictures
    (0, rb"\x1a\x45\xdf\xa3", "matroska"),
    (0, rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"),
    (0, rb"#!AMR", "amr"),
    (0, rb"MAC .\x0f", "ape"),
    (0, rb"wvpk", "wv"),
    (0, rb"TTA1", "tta"),
)  # fmt: skip
_MATCHES = [(place, re.compile(magic, re.DOTALL), name) for place, magic, name in _MAGIC]
_ID3 = re.compile(rb"ID3[\x02-\x04].{2}([\0-\x7f]{4})", re.DOTALL)
_LENGTH_OF_MP3 = re.compile(rb"(?:Xing|Info)\0{3}[\x01\x03\x05\x07\x09\x0b\x0d\x0f](?!\0{4})")
"""The header of an MP3 that says how many frames follow; without it libsndfile guesses from the first frame."""
_LENGTH_WITHIN = 4_096
_ENDLESS = 64
"""How many times longer an MP3 is made to look: more than the ratio of its highest bit rate to its lowest."""
_UNKNOWN_SIZE = 0x7FFF_0000
"""Programs that write a WAV to a pipe do not know its size, and state about 2 or 4 GB."""
_SLOPPY_BYTES = 9
"""Programs count a chunk's own header with it, or the byte that pads it."""
_MOST_CHUNKS = 100
_OGG_HEADER_BYTES = 27
_OGG_PAGE_BYTES = _OGG_HEADER_BYTES + 255 + 255 * 255
_OGG_FLAGS, _OGG_LAST = 5, 4
_FLAC_TAIL_BYTES = 1 << 17
_MOST_STARTS = 16
"""Places at which the last frame may begin, some by chance; a file made of nothing else would take minutes."""


def _shifted(byte: int) -> int:
    crc = byte << 8
    for _ in range(8):
        crc = (crc << 1) ^ (0x8005 if crc & 0x8000 else 0)
    return crc & 0xFFFF


_CRC16 = [_shifted(byte) for byte in range(256)]


@cache
def av_version() -> str:
    """Return the version of PyAV, or nothing where it is not installed."""
    try:
        return importlib.metadata.version("av")
    except importlib.metadata.PackageNotFoundError:
        return ""


def sound_format(file: BinaryIO) -> str | None:
    """Return the format of a sound file by its first bytes, or None when it is none that is known."""
    after_tag = _after_tag(file)
    head = file.read(_HEAD_BYTES)
    kind = next((name for place, magic, name in _MATCHES if magic.match(head, place)), None)
    return kind or ("mp3" if after_tag else None)


def says_how_long(file: BinaryIO, name: str | None) -> bool:
    """Tell whether the file's header states its length, as that of an MP3 from a stream does not."""
    if name != "mp3":
        return True
    _after_tag(file)
    return _LENGTH_OF_MP3.search(file.read(_LENGTH_WITHIN)) is not None


class EndlessMp3(io.RawIOBase):
    """An MP3 that looks so long that no guess of its length, from its first frame, is too short."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._size, self._place = file, file.seek(0, io.SEEK_END), 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place and return it."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size * _ENDLESS}
        self._place = start[whence] + offset
        return self._place

    def tell(self) -> int:
        """Return the place."""
        return self._place

    def readinto(self, buffer: Any) -> int:
        """Read from the place on, and zeros behind the file's own end."""
        if self._place > self._size:  # where a tag may be looked for
            count = len(buffer)
            buffer[:] = bytes(count)
        else:
            self._file.seek(self._place)
            count = self._file.readinto(buffer)  # type: ignore[attr-defined]
        self._place += count
        return int(count)


def missing_end(file: BinaryIO, name: str | None) -> str:
    """Return how one sees that the file is cut, where its container tells and libsndfile does not; else nothing."""
    size = file.seek(0, io.SEEK_END)
    if name == "ogg":
        file.seek(-min(size, _OGG_PAGE_BYTES), io.SEEK_END)
        tail = file.read()
        page = tail[max(tail.rfind(b"OggS"), 0) :]
        lengths = (
            page[_OGG_HEADER_BYTES : _OGG_HEADER_BYTES + page[_OGG_HEADER_BYTES - 1]]
            if len(page) >= _OGG_HEADER_BYTES
            else b""
        )
        whole = _OGG_HEADER_BYTES + len(lengths) + sum(lengths) <= len(page)
        return "" if whole and page[_OGG_FLAGS] & _OGG_LAST else "the page that ends an Ogg stream is missing"
    if name == "flac" and not _ends_with_a_frame(file, size):
        return "its last frame is not whole"
    announced = _announced(file, name)
    if size + _SLOPPY_BYTES < announced < _UNKNOWN_SIZE:
        return f"its header announces {announced:,} bytes, and {size:,} are there"
    return ""


def _ends_with_a_frame(file: BinaryIO, size: int) -> bool:
    """Whether the last frame of a FLAC that states no length is whole, by its checksum; others break off later."""
    file.seek(0)
    head = file.read(26)
    if head[:4] != b"fLaC" or len(head) < 26 or head[21] & 0x0F or any(head[22:26]):
        return True
    file.seek(-min(size, _FLAC_TAIL_BYTES), io.SEEK_END)
    tail = file.read()
    starts = [match.start() for match in re.finditer(rb"\xff[\xf8\xf9]", tail)]
    return any(_crc16(tail[start:]) == 0 for start in reversed(starts[-_MOST_STARTS:]))


def _crc16(data: bytes) -> int:
    """The checksum of a FLAC frame, 0 when it is taken with the frame's own."""
    crc = 0
    for byte in data:
        crc = (crc << 8 & 0xFFFF) ^ _CRC16[crc >> 8 ^ byte]
    return crc


def _announced(file: BinaryIO, name: str | None) -> int:
    """Where the sound of a file ends by its header; 0 where that does not say."""
    file.seek(0)
    head = file.read(24)
    if name == "wav" and head[:4] == b"RIFF":
        return _end_of_chunk(file, b"data", "little")
    if name == "aiff":
        return _end_of_chunk(file, b"SSND", "big")
    if name == "w64":
        return int.from_bytes(head[16:24], "little")
    if name == "au" and head[:4] == b".snd":
        return int.from_bytes(head[4:8], "big") + int.from_bytes(head[8:12], "big")
    return 0


def _end_of_chunk(file: BinaryIO, wanted: bytes, order: Literal["little", "big"]) -> int:
    place = 12
    for _ in range(_MOST_CHUNKS):
        file.seek(place)
        head = file.read(8)
        size = int.from_bytes(head[4:], order)
        if len(head) < 8 or head[:4] == wanted:
            return place + 8 + size if head[:4] == wanted else 0
        place += 8 + size + size % 2
    return 0


def opened(source: Source) -> BinaryIO:
    """Open a file on disk or in memory; OSError also for a pipe, which would be waited for, or a device."""
    if isinstance(source, bytes):
        return io.BytesIO(source)
    mode = source.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "no ordinary file")
    return source.open("rb")


def _after_tag(file: BinaryIO) -> bool:
    """Go to where the sound begins, behind an ID3 tag if there is one; tell whether there is."""
    file.seek(0)
    tag = _ID3.match(file.read(10))
    size = 0
    for byte in tag[1] if tag else b"":
        size = size << 7 | byte
    file.seek(10 + size if tag else 0)
    return tag is not None
