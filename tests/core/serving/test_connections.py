"""Connections that only take up a place are ended, and no others."""

import asyncio
import socket
import time
import urllib.request

import pytest
from fastapi import FastAPI
from fastapi.responses import Response
from in_thread import served

from wakeword_core.serving.connections import PromptConnections

pytestmark = pytest.mark.server


class Impatient(PromptConnections):
    patience_seconds = 0.3


@pytest.fixture(scope="module")
def port():
    app = FastAPI()

    @app.get("/slow")
    async def slow() -> str:
        await asyncio.sleep(1)
        return "done"

    @app.get("/large")
    async def large() -> Response:
        return Response(bytes(10_000_000))

    with served(app, http=Impatient, timeout_graceful_shutdown=1) as (found, _):
        yield found


def is_cut(connection: socket.socket) -> bool:
    connection.settimeout(3)
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


@pytest.mark.parametrize("sent", [b"", b"GET /slow HTTP/1.1\r\nHost: local", b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"])
def test_who_does_not_ask_or_has_asked_and_stays_is_cut_off(port: int, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(sent)
        if sent.endswith(b"\r\n\r\n"):
            answer = b""
            while not answer.endswith(b"}"):  # headers and body may come apart
                answer += connection.recv(1_000)
            assert b"404" in answer
        assert is_cut(connection)


def test_headers_that_trickle_are_cut_off(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection, pytest.raises(ConnectionError):
        for byte in b"GET /slow HTTP/1.1\r\n" + b"a" * 1_000:
            connection.sendall(bytes([byte]))
            time.sleep(0.05)


def test_an_answer_that_nobody_reads_is_cut_off(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(1.2)
        received = 0
        try:
            while data := connection.recv(2**20):
                received += len(data)
        except ConnectionError:
            pass
        assert received < 10_000_000


def test_an_answer_that_takes_long_or_is_read_slowly_comes(port: int) -> None:
    assert urllib.request.urlopen(f"http://127.0.0.1:{port}/slow", timeout=5).read() == b'"done"'
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/large", timeout=5) as answer:
        received = 0
        while data := answer.read(1_000_000):
            received += len(data)
            time.sleep(0.08)
    assert received == 10_000_000
