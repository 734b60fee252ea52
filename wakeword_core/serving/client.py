"""A client of the server: clips to verdicts, streams to events. Needs httpx2 and websockets."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx2
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ValidationError
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from wakeword_core.audio import encode_wav
from wakeword_core.errors import ConfigError, WakewordError
from wakeword_core.serving.answers import ModelAnswer, Problem, Verdict

Answer = TypeVar("Answer", bound=BaseModel)
Pcm = npt.NDArray[np.int16]
_TIMEOUT_SECONDS = 60.0


class JudgeError(WakewordError):
    """The server refused a request, or could not be reached: then `status` is 0. `code` is for programs."""

    def __init__(self, detail: str, code: str, status: int = 0) -> None:
        super().__init__(detail)
        self.code, self.status = code, status


class JudgeClient:
    """Sends requests to a server at `url`, such as http://127.0.0.1:8765, with its token; closes as a context.

    ConfigError for another kind of address. Every method raises JudgeError for a request that the server refuses.
    """

    def __init__(self, url: str, token: str = "", timeout_seconds: float = _TIMEOUT_SECONDS) -> None:
        try:
            known = httpx2.URL(url).scheme in ("http", "https") and bool(httpx2.URL(url).host)
        except httpx2.InvalidURL:
            known = False
        if not known:
            raise ConfigError(f"the address of a server is like http://127.0.0.1:8765, not {url[:100]!r}")
        self.url, self._timeout = url.rstrip("/"), timeout_seconds
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx2.Client(base_url=self.url, headers=self._headers, timeout=timeout_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._http.close()

    def verify(self, audio: Path | bytes) -> Verdict:
        """Ask whether a wake word is in a sound file: WAV, FLAC, OGG, MP3, WebM, MP4 or AAC."""
        data = audio if isinstance(audio, bytes) else audio.read_bytes()
        headers = {"Content-Type": "application/octet-stream"}
        return self._answer(Verdict, "POST", "/v1/verify", content=data, headers=headers)

    def verify_pcm(self, pcm: Pcm, sample_rate: int) -> Verdict:
        """Ask whether a wake word is in int16 [samples] of one channel."""
        return self.verify(encode_wav(pcm, sample_rate))

    def model(self) -> ModelAnswer:
        """Return the description of the server's model."""
        return self._answer(ModelAnswer, "GET", "/v1/model")

    def streaming_model(self) -> bytes:
        """Return the server's model as the bytes of model.streaming.onnx."""
        return self._ask("GET", "/v1/model/streaming.onnx")

    def metrics(self) -> str:
        """Return the server's metrics in the text format of Prometheus."""
        return self._ask("GET", "/metrics").decode()

    @asynccontextmanager
    async def stream(self, sample_rate: int) -> AsyncIterator["JudgeStream"]:
        """Open a stream of int16 samples at a rate."""
        url = self.url.replace("http", "ws", 1) + "/v1/stream"
        try:
            connection = await connect(url, additional_headers=self._headers, open_timeout=self._timeout)
        except InvalidStatus as error:
            raise self._refusal("/v1/stream", error.response.status_code, error.response.body) from error
        except (OSError, WebSocketException) as error:
            raise self._broken(error) from error
        async with connection:
            try:
                await connection.send(json.dumps({"sample_rate": sample_rate}))
                yield JudgeStream(connection)
            except ConnectionClosed as error:
                with suppress(ConnectionClosed):
                    async for _ in JudgeStream(connection):  # raises the error that the server sent before it closed
                        pass
                raise self._broken(error) from error

    def _broken(self, error: Exception) -> JudgeError:
        return JudgeError(f"the stream to {self.url} broke ({error})", "unreachable")

    def _answer(self, kind: type[Answer], method: str, path: str, **given: Any) -> Answer:
        content = self._ask(method, path, **given)
        try:
            return kind.model_validate_json(content)
        except ValidationError as error:
            raise self._stranger(path, HTTPStatus.OK) from error

    def _ask(self, method: str, path: str, **given: Any) -> bytes:
        try:
            response = self._http.request(method, path, **given)
        except httpx2.HTTPError as error:
            raise JudgeError(f"{self.url} cannot be asked ({error})", "unreachable") from error
        if response.is_success:
            return response.content
        raise self._refusal(path, response.status_code, response.content)

    def _refusal(self, path: str, status: int, content: bytes | bytearray) -> JudgeError:
        try:
            problem = Problem.model_validate_json(content)
        except ValidationError:
            return self._stranger(path, status)
        return JudgeError(problem.detail, problem.code, problem.status)

    def _stranger(self, path: str, status: int) -> JudgeError:
        return JudgeError(f"{self.url}{path} answered {status}, and is no server of ours", "unknown", status)


class JudgeStream:
    """An open stream. Iterate over it for the server's messages (docs/serving.md) until its answer to the end."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def send(self, pcm: Pcm) -> None:
        """Send int16 [samples]; waits while the server is slower than they come."""
        await self._connection.send(np.ascontiguousarray(pcm, "<i2").tobytes())

    async def end(self) -> None:
        """Say that there is no more audio: the server answers what is left and closes."""
        await self._connection.send(json.dumps({"type": "end"}))

    async def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        async for text in self._connection:
            message: dict[str, Any] = json.loads(text)
            if message["type"] == "error":
                raise JudgeError(message["detail"], message["code"])
            yield message
