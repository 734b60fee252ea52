"""The WebSocket: PCM in, scores and events out. docs/serving.md describes the protocol."""

import asyncio
import time
from collections.abc import Awaitable
from typing import Any, TypeVar

import numpy as np
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from wakeword_core.files import parse_json
from wakeword_core.serving.access import SUBPROTOCOL, BearerToken
from wakeword_core.serving.listening import Listening, Message
from wakeword_core.serving.refusals import RefusedError
from wakeword_core.serving.service import Service
from wakeword_core.serving.uploads import check_rate

Result = TypeVar("Result")
STREAM_PATH = "/v1/stream"
_POLICY, _TOO_LARGE, _TRY_LATER, _DONE = 1008, 1009, 1013, 1000
_CLOSE_CODES = {413: _TOO_LARGE, 429: _TRY_LATER}
_BURST_SECONDS = 2.0
"""Audio that may come at once, however fast."""
_LEAST_SECONDS = 0.001
"""The least that a message counts for, so that tiny ones are slowed down too."""
_SAMPLE_BYTES = 2


def add_stream(app: FastAPI, service: Service, bearer: BearerToken | None) -> None:
    """Add the route of streams."""

    @app.websocket(STREAM_PATH)
    async def stream(websocket: WebSocket, alone: bool = False) -> None:
        if bearer is not None:
            try:
                bearer.check_stream(websocket)
            except RefusedError as error:
                await websocket.send_denial_response(error.response())  # a stream that was opened costs more
                return
        offered = websocket.scope.get("subprotocols", [])
        await websocket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
        try:
            with service.stream_opened():
                await _Conversation(websocket, service, alone).run()
        except RefusedError as error:
            await _refuse(websocket, error)
        except WebSocketDisconnect:
            pass


async def _refuse(websocket: WebSocket, error: RefusedError) -> None:
    """Send the reason and close; a client that has gone meanwhile is no error."""
    try:
        await websocket.send_json({"type": "error", "code": error.code, "detail": error.detail})
        await websocket.close(_CLOSE_CODES.get(error.status, _POLICY), error.code)
    except (WebSocketDisconnect, RuntimeError):
        pass


class Pace:
    """Slows a stream down to `speed` times real time, after a burst."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._ahead, self._last = 0.0, time.monotonic()

    def pause(self, seconds: float) -> float:
        """Return how many seconds to wait before `seconds` more of audio are processed."""
        now = time.monotonic()
        self._ahead = max(0.0, self._ahead - self._speed * (now - self._last)) + max(seconds, _LEAST_SECONDS)
        self._last = now
        return max(0.0, (self._ahead - _BURST_SECONDS) / self._speed)


async def in_time(what: Awaitable[Result], seconds: float, why: str) -> Result:
    """Wait for a client at most so long; RefusedError says `why` it is not waited for any more."""
    try:
        return await asyncio.wait_for(what, seconds)
    except TimeoutError:
        raise RefusedError(408, "idle", f"{why} for {seconds:g} s") from None


class _Conversation:
    def __init__(self, websocket: WebSocket, service: Service, alone: bool) -> None:
        self._websocket, self._service, self._settings = websocket, service, service.settings
        self._alone = alone
        self._cascade = service.cascade
        self._rate = self._cascade.sentry.model.sample_rate
        self._listening: Listening | None = None
        self._pace = Pace(self._settings.stream_speed)
        self._odd = b""

    async def run(self) -> None:
        """Answer until the client has ended or gone; RefusedError for what it may not do."""
        try:
            await self._answer()
        except (RefusedError, WebSocketDisconnect):
            await self._leave()
            raise
        await self._leave()

    async def _answer(self) -> None:
        while True:
            message: Any = await in_time(self._websocket.receive(), self._settings.stream_idle_seconds, "nothing came")
            if message["type"] == "websocket.disconnect":
                return
            text, data = message.get("text"), message.get("bytes")
            size = len(text.encode() if text is not None else data)
            if size > self._settings.stream_message_bytes:
                limit = self._settings.stream_message_bytes
                raise RefusedError(413, "message_too_large", f"a message may have {limit:,} bytes; send smaller ones")
            if text is None:
                await self._hear(data)
            elif await self._is_last(text):
                await self._websocket.close(_DONE)
                return

    async def _hear(self, data: bytes) -> None:
        data = self._odd + data
        whole = len(data) // _SAMPLE_BYTES * _SAMPLE_BYTES
        self._odd = data[whole:]
        pcm = np.frombuffer(data[:whole], "<i2").astype(np.int16)
        await asyncio.sleep(self._pace.pause(len(pcm) / self._rate))
        if len(pcm):
            await self._send(await self._service.listen(self._stream().push, pcm))

    async def _is_last(self, text: str) -> bool:
        """Process a text message; True if it was the last."""
        await asyncio.sleep(self._pace.pause(0.0))
        try:
            message = parse_json(text)
        except ValueError:
            message = None
        if message == {"type": "end"}:
            await self._send(await self._service.listen(self._stream().finish))
            return True
        rate = message["sample_rate"] if isinstance(message, dict) and set(message) == {"sample_rate"} else None
        if type(rate) is not int or self._listening is not None:
            raise RefusedError(
                422, "unknown_message",
                'a text message is {"sample_rate": 16000} before the first audio, or {"type": "end"} after the last',
            )  # fmt: skip
        check_rate(rate)
        self._rate = rate
        return False

    async def _leave(self) -> None:
        if self._listening is not None:
            await self._service.listen(self._listening.leave)

    def _stream(self) -> Listening:
        if self._listening is None:
            self._listening = self._service.listening(self._rate, self._cascade, alone=self._alone)
        return self._listening

    async def _send(self, messages: list[Message]) -> None:
        for message in messages:
            await in_time(self._websocket.send_json(message), self._settings.stream_idle_seconds, "nothing was taken")
