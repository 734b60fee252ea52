"""The body of a request: how it is sent, and how much and how slowly at most."""

import asyncio
from collections.abc import AsyncGenerator

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from wakeword_core.config import ServingConfig
from wakeword_core.serving.problems import RefusedError

FILE_FIELD = "file"
MULTIPART = "multipart/form-data"
AUDIO_TYPES = (
    "audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave", "audio/flac", "audio/x-flac", "audio/ogg",
    "application/ogg", "application/octet-stream",
)  # fmt: skip
_CLOSE = {"Connection": "close"}
"""What is left of a body that was refused is not read: the connection cannot be used again."""
_ENVELOPE_BYTES = 16_384
"""What multipart may add to a file: boundaries and headers."""
_PIECE_BYTES = 65_536

REQUEST_BODY = {
    "required": True,
    "description": "A WAV, FLAC or OGG file, as it is or as the field `file` of a form.",
    "content": {
        **{one: {"schema": {"type": "string", "format": "binary"}} for one in AUDIO_TYPES},
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
"""What OpenAPI says of it."""


class _InMemory(MultiPartParser):
    """Never writes to a disk: what it reads is in memory already."""

    spool_max_size = 2**40


async def read_upload(request: Request, settings: ServingConfig) -> bytes:
    """The audio file in a request's body; RefusedError for a type, size or pace that is not allowed."""
    type_ = _media_type(request)
    limit = settings.max_bytes + (_ENVELOPE_BYTES if type_ == MULTIPART else 0)
    _check_announced(request.headers.get("content-length"), limit)
    try:
        async with asyncio.timeout(settings.body_seconds):
            body = await _read(request, limit)
    except TimeoutError:
        raise RefusedError(
            408, "slow_upload", f"the upload took more than {settings.body_seconds:g} s; send a smaller file", _CLOSE
        ) from None
    data = await _file_of_form(request, body) if type_ == MULTIPART else body
    if len(data) > settings.max_bytes:
        raise _too_large(settings.max_bytes)
    if not data:
        raise RefusedError(422, "empty", "the upload is empty; send a WAV, FLAC or OGG file")
    return data


def _media_type(request: Request) -> str:
    given = request.headers.get("content-type", AUDIO_TYPES[-1])
    type_ = given.partition(";")[0].strip().lower()
    if type_ not in (*AUDIO_TYPES, MULTIPART):
        raise RefusedError(
            415, "unsupported_type", f"the Content-Type is {given[:100]!r}, but must be audio/wav, audio/flac, "
            f"audio/ogg, application/octet-stream or {MULTIPART}", _CLOSE,
        )  # fmt: skip
    return type_


def _check_announced(length: str | None, limit: int) -> None:
    if length is not None and length.isdecimal() and int(length) > limit:
        raise _too_large(limit)


async def _read(request: Request, limit: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise _too_large(limit)
    return bytes(body)


def _too_large(limit: int) -> RefusedError:
    return RefusedError(
        413, "too_large", f"an upload may have {limit:,} bytes; send less audio, or FLAC or OGG", _CLOSE
    )


async def _file_of_form(request: Request, body: bytes) -> bytes:
    """The one file in a form; its name is never looked at."""

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
