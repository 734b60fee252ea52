"""The web application of a review: its page, the captures, their sound and scores, and what is said of them."""

import asyncio
import hashlib
from dataclasses import asdict, dataclass
from typing import Literal

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from wakeword_core.config import FrontendConfig
from wakeword_core.errors import DataError, WakewordError, reason_of
from wakeword_core.files import canonical_json
from wakeword_core.recordings.captured import Opinion, State
from wakeword_core.recordings.opinions import LONGEST_TEXT, ReviewedMeanwhileError
from wakeword_core.reviewing.captured_sound import Reviewed
from wakeword_core.serving.access import BearerToken
from wakeword_core.serving.network import LOOPBACK_NAMES
from wakeword_core.serving.page.page_app import page_app
from wakeword_core.serving.page.page_file import HEADERS
from wakeword_core.serving.refusals import RefusedError
from wakeword_core.serving.uploads import read_body

_FILES = {
    "wakeword_core.reviewing.page": ("index.html", "review.js", "captures.js"),
    "wakeword_core.serving.page": ("pictures.js", "sound.js", "style.css"),
}
"""Package -> files in it that the page consists of."""
_PRIVATE = {**HEADERS, "Cache-Control": "no-store", "Cross-Origin-Resource-Policy": "same-origin"}
_MOST_BODY_BYTES = 16_384
_BODY_SECONDS = 10.0


@dataclass(frozen=True)
class Defaults:
    """What the fields of the page have before somebody changes them."""

    reviewer: str = ""
    speaker: str = ""
    licence: str = ""


class Said(BaseModel):
    """What the page says of a capture."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=LONGEST_TEXT)
    state: State | Literal["left_out"]
    reviewer: str = Field("", max_length=LONGEST_TEXT)
    word: str = Field("", max_length=LONGEST_TEXT)
    speaker: str = Field("", max_length=LONGEST_TEXT)
    licence: str = Field("", max_length=LONGEST_TEXT)
    speech_start: float | None = Field(
        None, ge=0, allow_inf_nan=False, description="Where the word begins, in seconds."
    )
    speech_end: float | None = Field(None, ge=0, allow_inf_nan=False, description="Where the word ends, in seconds.")
    seen: str = Field("", max_length=LONGEST_TEXT, description="Revision of the review that was seen; empty if none.")


def create_app(
    captured: Reviewed, defaults: Defaults | None = None, token: str = "", *, loopback: bool = True
) -> FastAPI:
    """Make the application. With a `token` all but the page requires it; on `loopback` only this machine's names do."""
    hosts = LOOPBACK_NAMES if loopback else ()
    app = page_app("wakeword review", _FILES, hosts=hosts, named_by="--host", told=[WakewordError])
    bearer = [Depends(BearerToken(token))] if token else []
    app.include_router(_routes(captured, defaults or Defaults()), dependencies=bearer)
    return app


def _routes(captured: Reviewed, defaults: Defaults) -> APIRouter:
    router = APIRouter()

    @router.get("/captures", summary="List the captures, and what was said of them.")
    async def captures(request: Request) -> Response:
        content = await asyncio.to_thread(_listed, captured, defaults)
        headers = {**_PRIVATE, "ETag": f'"{hashlib.sha256(content).hexdigest()}"'}
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type="application/json")

    @router.get("/captures/{name}/sound", summary="Return the sound of a capture.", response_class=Response)
    async def sound(name: str) -> Response:
        try:
            content = await asyncio.to_thread(captured.sound, name)
        except DataError as error:
            raise RefusedError(404, "no_capture", str(error)) from error
        return Response(content, headers=_PRIVATE, media_type="audio/flac")

    @router.get("/captures/{name}/scores", summary="Return the trace of the score in a capture.")
    async def scores(name: str) -> Response:
        trace = await asyncio.to_thread(captured.trace, name)
        return JSONResponse(asdict(trace), headers=_PRIVATE)

    @router.post("/reviews", summary="Say what is in a capture, or delete it.")
    async def review(request: Request) -> Response:
        said = await _read_said(request)
        opinion = Opinion(**said.model_dump(exclude={"name", "seen"}))
        try:
            saved = await asyncio.to_thread(captured.say, said.name, opinion, said.seen)
        except ReviewedMeanwhileError as error:
            raise RefusedError(409, "reviewed_meanwhile", str(error)) from error
        return JSONResponse(saved, headers=_PRIVATE)

    return router


def _listed(captured: Reviewed, defaults: Defaults) -> bytes:
    frontend = FrontendConfig().model_dump(mode="json")
    return canonical_json({**captured.listed(), "defaults": asdict(defaults), "frontend": frontend}).encode()


async def _read_said(request: Request) -> Said:
    """Read the body of a request, which no form of another page can send: JSON, small, and prompt."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise RefusedError(415, "unsupported_type", "the Content-Type must be application/json")
    body = await read_body(request, _MOST_BODY_BYTES, "a review", _BODY_SECONDS)
    try:
        return Said.model_validate_json(body)
    except ValidationError as error:
        raise RefusedError(422, "invalid_request", f"this is no review: {reason_of(error)}") from error
