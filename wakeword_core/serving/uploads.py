"""Reads uploads: the body of a request, and the samples in it. Every limit is checked before the work it limits."""

import asyncio
import io
from collections.abc import AsyncGenerator
from contextlib import suppress

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from wakeword_core.audio import AudioError, AudioInfo, Samples, decode_audio
from wakeword_core.config import ServingConfig
from wakeword_core.serving.refusals import RefusedError
from wakeword_core.sound_formats import MEDIA, av_version, sound_format

FILE_FIELD = "file"
MULTIPART = "multipart/form-data"
AUDIO_TYPES = (
    "audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave", "audio/flac", "audio/x-flac", "audio/ogg",
    "application/ogg", "audio/mpeg", "audio/mp3", "audio/webm", "video/webm", "audio/mp4", "audio/m4a", "audio/x-m4a",
    "audio/aac", "video/mp4", "application/octet-stream",
)  # fmt: skip
"""Browsers record audio/webm or audio/mp4, and some programs call the same video."""
_UPLOAD, _TOO_LARGE = "an upload", "too_large"
_CLOSE = {"Connection": "close"}
"""The rest of a body that was refused is not read, so the connection cannot be used again."""
_DRAINED_TIMES, _DRAIN_SECONDS = 8, 1.0
"""How much of a body that is too large is read, in times of the limit, so that its client sees the answer."""
_ENVELOPE_BYTES = 16_384
"""How much multipart may add to a file: boundaries and headers."""
_PIECE_BYTES = 65_536
MIN_RATE, MAX_RATE = 4_000, 192_000
"""Sample rates in Hz that are accepted, from below telephones to above studios."""
MAX_CHANNELS = 8
_FORMATS = frozenset({"wav", "flac", "ogg", "mp3", "matroska", "mov", "aac"})
"""What recorders and browsers write: few enough of the many formats that FFmpeg would read for strangers."""
_PLAIN_KINDS, _ALL_KINDS = "a WAV, FLAC, OGG or MP3 file", "a WAV, FLAC, OGG, MP3, WebM, MP4 or AAC file"

REQUEST_BODY = {
    "required": True,
    "description": f"The audio is {_ALL_KINDS}, as it is or as the field `file` of a form.",
    "content": {
        **{media_type: {"schema": {"type": "string", "format": "binary"}} for media_type in AUDIO_TYPES},
        MULTIPART: {
            "schema": {
                "type": "object",
                "properties": {FILE_FIELD: {"type": "string", "format": "binary"}},
                "required": [FILE_FIELD],
                "additionalProperties": False,
            }
        },
    },
}
"""The description of the body for OpenAPI."""


class _InMemory(MultiPartParser):
    """Never writes to a disk, since everything it reads is in memory already."""

    spool_max_size = 2**40


async def read_upload(request: Request, serving: ServingConfig) -> bytes:
    """Return the audio file in a request's body; RefusedError for a type, size or speed that is not allowed."""
    type_ = _media_type(request)
    limit = serving.max_bytes + (_ENVELOPE_BYTES if type_ == MULTIPART else 0)
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        if int(length) <= _DRAINED_TIMES * limit:
            await _drain(request, limit)
        raise _too_large(limit, _UPLOAD)
    try:
        body = await read_body(request, limit, _UPLOAD, serving.body_seconds)
    except RefusedError as error:
        if error.code == _TOO_LARGE:
            await _drain(request, limit)
        raise
    data = await _file_of_form(request, body) if type_ == MULTIPART else body
    if len(data) > serving.max_bytes:
        raise _too_large(serving.max_bytes, _UPLOAD)
    if not data:
        raise RefusedError(422, "empty", f"the upload is empty; send {_PLAIN_KINDS}")
    return data


def _media_type(request: Request) -> str:
    given = request.headers.get("content-type", AUDIO_TYPES[-1])
    type_ = given.partition(";")[0].strip().lower()
    if type_ not in (*AUDIO_TYPES, MULTIPART):
        raise RefusedError(
            415, "unsupported_type", f"the Content-Type is {given[:100]!r}, but must be audio/wav, audio/flac, "
            f"audio/ogg, audio/mpeg, audio/webm, audio/mp4, application/octet-stream or {MULTIPART}", _CLOSE,
        )  # fmt: skip
    return type_


async def read_body(request: Request, limit: int, what: str, seconds: float | None = None) -> bytes:
    """Return a request's body; RefusedError once it has more bytes than the limit, or takes more than `seconds`.

    `what` it is, such as "a review", is in the sentence.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise _too_large(limit, what)
    except TimeoutError:
        raise RefusedError(408, "slow_upload", f"{what} may take {seconds:g} s to come; send less", _CLOSE) from None
    return bytes(body)


async def _drain(request: Request, limit: int) -> None:
    """Read on for a moment: whoever is still sending when a connection is closed may lose the answer."""
    if request.headers.get("expect", "").lower() == "100-continue":
        return  # nothing was sent yet, and nothing will be
    left, more = _DRAINED_TIMES * limit, True
    with suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_SECONDS):
            while more and left > 0:
                message = await request.receive()
                left -= len(message.get("body", b""))
                more = message.get("more_body", False)


def _too_large(limit: int, what: str) -> RefusedError:
    less = "send less audio, or compress it" if what == _UPLOAD else "send less"
    return RefusedError(413, _TOO_LARGE, f"{what} may have {limit:,} bytes; {less}", _CLOSE)


async def _file_of_form(request: Request, body: bytes) -> bytes:
    """Return the one file in a form; its name is ignored."""

    async def pieces() -> AsyncGenerator[bytes, None]:
        for start in range(0, len(body), _PIECE_BYTES):
            yield body[start : start + _PIECE_BYTES]
            await asyncio.sleep(0)  # parsing a form that is made to be slow should not hold up other requests

    try:
        parser = _InMemory(request.headers, pieces(), max_files=1, max_fields=0)
        form = await parser.parse()
    except (MultiPartException, ValueError) as error:  # ValueError: a charset that cannot decode anything
        raise RefusedError(422, "broken_form", f"the form cannot be read: {error}") from error
    file = form.get(FILE_FIELD)
    if not isinstance(file, UploadFile):
        raise RefusedError(422, "broken_form", f"the form must hold one file, in the field {FILE_FIELD!r}")
    return await file.read()


def decode_upload(data: bytes, max_seconds: float, sample_rate: int) -> Samples:
    """Decode an upload as mono float32 [samples] in [-1, 1] at `sample_rate` Hz; RefusedError if it cannot be used."""
    kind = sound_format(io.BytesIO(data))
    if kind not in _FORMATS:
        raise RefusedError(415, "unsupported_audio", f"the audio must be {_ALL_KINDS}, and this is none of them")
    if kind in MEDIA and not av_version():
        raise RefusedError(
            415, "unsupported_audio", f"this server was installed without what reads {kind} files; send {_PLAIN_KINDS}"
        )

    def check(info: AudioInfo) -> None:
        _check_info(info, max_seconds)

    try:
        return decode_audio(data, sample_rate, check)
    except AudioError as error:
        raise RefusedError(422, "broken_audio", str(error)) from error


def check_rate(rate: int) -> None:
    """Raise RefusedError for a sample rate that is not accepted."""
    if not MIN_RATE <= rate <= MAX_RATE:
        raise RefusedError(
            422, "sample_rate", f"the sample rate is {rate:,} Hz, but must be from {MIN_RATE:,} to {MAX_RATE:,} Hz"
        )


def _check_info(info: AudioInfo, max_seconds: float) -> None:
    check_rate(info.sample_rate)
    if info.channels > MAX_CHANNELS:
        raise RefusedError(
            422, "channels", f"the audio has {info.channels} channels, but may have {MAX_CHANNELS} at most"
        )
    if info.seconds > max_seconds:
        raise RefusedError(
            413, "too_long", f"the audio is {info.seconds:,.1f} s long, but {max_seconds:g} s are allowed; send less"
        )
