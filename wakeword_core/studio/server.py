"""The page on which people record themselves: one sitting at a time, on this machine alone."""

import asyncio
import logging
import secrets
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import uvicorn
from fastapi import FastAPI, Request
from pydantic import BaseModel, Field, ValidationError
from starlette.middleware import Middleware
from starlette.responses import Response

from wakeword_core.audio import Pcm
from wakeword_core.errors import WakewordError, sentence_of
from wakeword_core.serving import page as shared_page
from wakeword_core.serving.connections import PromptConnections
from wakeword_core.serving.network import LOOPBACK_NAMES, OriginGuard, listening_socket
from wakeword_core.serving.page.page_file import page_file
from wakeword_core.serving.problems import AnsweringToTheEnd, add_problem_handlers
from wakeword_core.serving.refusals import RefusedError
from wakeword_core.serving.uploads import read_body
from wakeword_core.studio import page
from wakeword_core.studio.prompts import LONGEST_SECONDS
from wakeword_core.studio.sitting import Kept, Plan, Sitting, speaker_name

HOST = "127.0.0.1"
_NAME = "{speaker}"
"""Stands in the text of the consent for who gives it."""
_FILES = {
    **dict.fromkeys(("index.html", "studio.js"), page),
    **dict.fromkeys(("sound.js", "microphone_worklet.js", "style.css"), shared_page),
}
_SPARE_SECONDS = 1.0
_MOST_CHARACTERS = 10_000
_CONNECTIONS = 64
_SITTING_BYTES = 8

Result = TypeVar("Result")


class StudioGuard(OriginGuard):
    """Refuses what comes by another name than this machine's, and other pages."""

    allows_hosts = allows_origins = "the address that was printed"


class Agreement(BaseModel):
    """Who begins a sitting, and the text that was agreed to."""

    speaker: str
    consent: str


class Ask(BaseModel):
    """What is to be said now, and how long that is recorded."""

    place: int = Field(description="How many prompts are behind; a take names it.")
    role: str
    text: str
    manner: str
    seconds: float
    ready_seconds: float


class Take(BaseModel):
    """A take that was kept."""

    path: str
    text: str
    manner: str
    speech_seconds: float
    peak_dbfs: float


class State(BaseModel):
    """Where the sitting stands."""

    phrase: str
    folder: str
    sample_rate: int
    consent: str = Field(description=f"What has to be agreed to, with {_NAME} for the speaker.")
    suggested: str = Field(description="Who was named as the speaker when the page was started.")
    speaker: str | None = Field(description="Who is being recorded; null before a sitting has begun.")
    sitting: str = Field(description="Its name, which every change states: no take is kept by another one's consent.")
    total: int
    ask: Ask | None = Field(description="What to say now; null before a sitting, and at its end.")
    kept: list[Take]
    source: str = Field(description="How the configuration names the recordings.")


class Verdict(BaseModel):
    """What became of a take."""

    fault: str | None
    sentence: str
    state: State


class Studio:
    """The sitting of a page, which one request at a time changes."""

    def __init__(self, plan: Plan, suggested: str, source: str) -> None:
        self._plan, self._suggested, self._source = plan, suggested, source
        self._sitting: Sitting | None = None
        self._name = ""
        """Of the sitting; another has another, also of another server on the same port."""
        self._changing = asyncio.Lock()

    @property
    def state(self) -> State:
        """Where the sitting stands."""
        plan, sitting = self._plan, self._sitting
        return State(
            phrase=plan.phrase,
            folder=str(plan.folder.folder),
            sample_rate=plan.sample_rate,
            consent=plan.consent_to(_NAME),
            suggested=self._suggested,
            speaker=sitting.consent.speaker if sitting else None,
            sitting=self._name,
            total=len(sitting.prompts) if sitting else 0,
            ask=_ask(sitting) if sitting else None,
            kept=[_take(one) for one in sitting.kept] if sitting else [],
            source=self._source,
        )

    async def begin(self, agreement: Agreement) -> None:
        """Begin a sitting; RefusedError unless the speaker agreed to the text that will be kept."""
        speaker = speaker_name(agreement.speaker)
        if agreement.consent != self._plan.consent_to(speaker):
            raise RefusedError(422, "other_consent", "the text that was agreed to is not the one of this page")
        async with self._changing:
            self._sitting = await asyncio.to_thread(self._plan.begin, speaker)
            self._name = secrets.token_hex(_SITTING_BYTES)

    async def change(self, name: str, place: int, change: Callable[[Sitting], Result]) -> Result:
        """Change the sitting of a name where it stands at `place`; RefusedError where another window has changed it."""
        async with self._changing:
            if self._sitting is None or (self._name, self._sitting.place) != (name, place):
                raise RefusedError(409, "elsewhere", "the sitting went on in another window; load the page again")
            return await asyncio.to_thread(change, self._sitting)


def create_app(plan: Plan, suggested: str = "", source: str = "") -> FastAPI:
    """Make the application of the page; it answers under this machine's own names, to its own page alone."""
    studio = Studio(plan, suggested, source)
    most_bytes = round(2 * plan.sample_rate * (LONGEST_SECONDS + _SPARE_SECONDS))
    guards = [Middleware(AnsweringToTheEnd), Middleware(StudioGuard, hosts=LOOPBACK_NAMES)]
    app = FastAPI(title="wakeword record", docs_url=None, redoc_url=None, openapi_url=None, middleware=guards)
    add_problem_handlers(app)
    app.add_exception_handler(WakewordError, _refused)
    app.add_exception_handler(OSError, _refused)
    for name, package in _FILES.items():
        file = page_file(package.__name__, name, permissions="microphone=(self)")
        app.add_api_route("/" if name == "index.html" else f"/{name}", file.response, response_model=None)

    @app.get("/v1/sitting")
    async def state() -> State:
        return studio.state

    @app.post("/v1/sitting")
    async def begin(request: Request) -> State:
        try:
            agreement = Agreement.model_validate_json(await read_body(request, _MOST_CHARACTERS))
        except ValidationError as error:
            raise RefusedError(422, "invalid_request", "name a speaker and the consent, as text") from error
        await studio.begin(agreement)
        return studio.state

    @app.post("/v1/sitting/{name}/{place}/take")
    async def take(name: str, place: int, request: Request) -> Verdict:
        pcm = _pcm(await read_body(request, most_bytes))
        heard = await studio.change(name, place, lambda sitting: sitting.offer(pcm))
        return Verdict(fault=heard.fault, sentence=heard.sentence, state=studio.state)

    @app.post("/v1/sitting/{name}/{place}/skip")
    async def skip(name: str, place: int) -> State:
        await studio.change(name, place, Sitting.skip)
        return studio.state

    @app.post("/v1/sitting/{name}/{place}/take-back")
    async def take_back(name: str, place: int) -> State:
        await studio.change(name, place, Sitting.take_back)
        return studio.state

    return app


def _ask(sitting: Sitting) -> Ask | None:
    prompt = sitting.prompt
    if prompt is None:
        return None
    return Ask(
        place=sitting.place,
        role=prompt.role,
        text=prompt.text,
        manner=prompt.manner,
        seconds=prompt.seconds,
        ready_seconds=prompt.ready_seconds,
    )


def _take(kept: Kept) -> Take:
    prompt, heard = kept.prompt, kept.heard
    return Take(
        path=kept.path,
        text=prompt.text,
        manner=prompt.manner,
        speech_seconds=heard.speech_seconds,
        peak_dbfs=heard.peak_dbfs,
    )


def _pcm(data: bytes) -> Pcm:
    if not data or len(data) % 2:
        raise RefusedError(422, "no_samples", "a take is mono 16-bit samples, the low byte first")
    return np.frombuffer(data, "<i2").astype(np.int16)


async def _refused(request: Request, error: Exception) -> Response:
    sentence = str(error) if isinstance(error, WakewordError) else sentence_of(error)
    return RefusedError(422, "refused", sentence).response()


def serve_page(plan: Plan, suggested: str, source: str, port: int, announce: Callable[[str], Any]) -> None:
    """Serve the page until SIGINT or SIGTERM; `announce` gets its address. WakewordError when the port is taken."""
    with listening_socket(HOST, port, "--port") as listener:
        announce(f"http://{HOST}:{listener.getsockname()[1]}")
        config = uvicorn.Config(
            create_app(plan, suggested, source),
            http=PromptConnections,
            ws="none",
            log_config=None,
            log_level=logging.WARNING,
            access_log=False,
            server_header=False,
            limit_concurrency=_CONNECTIONS,
        )
        uvicorn.Server(config).run(sockets=[listener])
