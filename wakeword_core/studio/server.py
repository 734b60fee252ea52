"""The page on which people record themselves: one sitting at a time, on this machine alone."""

import asyncio
import secrets
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from fastapi import FastAPI, Request
from pydantic import BaseModel, Field, ValidationError

from wakeword_core.audio import Pcm
from wakeword_core.errors import WakewordError
from wakeword_core.serving.network import LOOPBACK_NAMES, listening_socket
from wakeword_core.serving.page.page_app import page_app, run_page
from wakeword_core.serving.refusals import RefusedError
from wakeword_core.serving.uploads import read_body
from wakeword_core.studio.prompts import LONGEST_SECONDS
from wakeword_core.studio.sitting import Kept, Plan, Sitting, speaker_name

HOST = "127.0.0.1"
_NAME = "{speaker}"
"""Stands in the text of the consent for who gives it."""
_FILES = {
    "wakeword_core.studio.page": ("index.html", "studio.js"),
    "wakeword_core.serving.page": ("sound.js", "microphone_worklet.js", "style.css"),
}
"""Package -> files in it that the page consists of."""
_SPARE_SECONDS = 1.0
_MOST_CHARACTERS = 10_000
_SITTING_BYTES = 8

Result = TypeVar("Result")


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
    app = page_app(
        "wakeword record",
        _FILES,
        hosts=LOOPBACK_NAMES,
        named_by="the address that was printed",
        permissions="microphone=(self)",
        told=[WakewordError, OSError],
    )

    @app.get("/v1/sitting")
    async def state() -> State:
        return studio.state

    @app.post("/v1/sitting")
    async def begin(request: Request) -> State:
        try:
            agreement = Agreement.model_validate_json(await read_body(request, _MOST_CHARACTERS, "an agreement"))
        except ValidationError as error:
            raise RefusedError(422, "invalid_request", "name a speaker and the consent, as text") from error
        await studio.begin(agreement)
        return studio.state

    @app.post("/v1/sitting/{name}/{place}/take")
    async def take(name: str, place: int, request: Request) -> Verdict:
        pcm = _pcm(await read_body(request, most_bytes, "a take"))
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


def serve_page(plan: Plan, suggested: str, source: str, port: int, announce: Callable[[str], Any]) -> None:
    """Serve the page until SIGINT or SIGTERM; `announce` gets its address. WakewordError when the port is taken."""
    with listening_socket(HOST, port, "--port") as listener:
        run_page(create_app(plan, suggested, source), listener, announce)
