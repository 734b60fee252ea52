"""Frames that are no messages: nobody keeps memory, a connection or everybody's time with them."""

import socket
import struct
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from in_thread import served

from wakeword_core.config import ServingConfig
from wakeword_core.serving.app import create_app
from wakeword_core.serving.connections import BoundedFrames
from wakeword_core.serving.service import Service

pytestmark = pytest.mark.server
CONTINUED, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
FLOOD_SECONDS = 0.7
LIMIT = 12
"""Connections at once."""


def frame(kind: int, data: bytes = b"", last: bool = True) -> bytes:
    """A frame as clients send it, masked with zeros."""
    assert len(data) < 126
    return bytes([last << 7 | kind, 0x80 | len(data), 0, 0, 0, 0]) + data


class Impatient(BoundedFrames):
    linger_seconds = 0.3


@dataclass(frozen=True)
class Address:
    port: int

    def stream(self, method: bytes = b"GET", header: bytes = b"") -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=5)
        connection.sendall(
            method + b" /v1/stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n" + header + b"\r\n"
        )
        return connection

    @contextmanager
    def opened(self) -> Iterator[socket.socket]:
        with self.stream() as connection:
            assert b" 101 " in connection.recv(4_096).partition(b"\r\n")[0]
            yield connection

    def seconds_for_health(self) -> float:
        began = time.monotonic()
        urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=30).close()
        return time.monotonic() - began

    def connections(self) -> int:
        return sum(
            one.laddr.port == self.port and one.status == psutil.CONN_ESTABLISHED
            for one in psutil.Process().net_connections("tcp")
        )


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Address]:
    app = create_app(Service(ServingConfig(max_streams=8), folder))
    options = {"ws_ping_interval": 0.5, "ws_ping_timeout": 0.5, "limit_concurrency": LIMIT}
    with served(app, ws=Impatient, **options) as (port, running):
        yield Address(port)
        running.force_exit = True


def flood(connection: socket.socket, data: bytes) -> int:
    """Send for a while and read nothing; how many bytes were taken."""
    sent, until = 0, time.monotonic() + FLOOD_SECONDS
    connection.settimeout(0.1)
    with suppress(ConnectionError):
        while time.monotonic() < until:
            with suppress(TimeoutError):
                sent += connection.send(data)
    return sent


@pytest.mark.parametrize(
    ("first", "flooded"),
    [
        (b"", frame(PING, b"x" * 125)),
        (b"", frame(PONG, b"x" * 125)),
        (b"", frame(BINARY)),
        (frame(BINARY, last=False), frame(CONTINUED, last=False)),
        (b"", frame(BINARY, last=False) + frame(CONTINUED, last=False) * 50 + frame(CONTINUED)),
        (frame(TEXT, b"nonsense"), frame(BINARY) * 50 + frame(PING)),
    ],
    ids=["pings", "pongs", "empty messages", "pieces", "messages in pieces", "after the close"],
)
def test_who_sends_frames_and_reads_nothing_costs_others_little(
    server: Address, eventually, first: bytes, flooded: bytes
) -> None:
    before = psutil.Process().memory_info().rss
    with server.opened() as one, server.opened() as other:
        floods = [threading.Thread(target=flood, args=(each, flooded * 2_000)) for each in (one, other)]
        for each in (one, other):
            each.sendall(first)
        for thread in floods:
            thread.start()
        waited = [server.seconds_for_health()]
        while any(thread.is_alive() for thread in floods):
            waited.append(server.seconds_for_health())
        for thread in floods:
            thread.join()
        assert sorted(waited)[len(waited) // 2] < 0.2 and max(waited) < 1
        assert psutil.Process().memory_info().rss - before < 12e6
        eventually(lambda: server.connections() == 0, 5)  # cut off, though it does not read


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(TEXT, b"\xff"), 1_007),
        (frame(TEXT, b"\xc3", last=False) + frame(CONTINUED, b"\xff"), 1_007),
        (frame(CLOSE, struct.pack(">H", 1_000) + b"\xff"), 1_007),
        (frame(TEXT, last=False) + frame(CONTINUED, last=False) * 64, 1_008),
        (frame(CONTINUED), 1_002),
        (frame(3), 1_002),
    ],
)
def test_frames_that_are_wrong_are_answered_with_a_code_and_not_with_a_traceback(
    server: Address, caplog: pytest.LogCaptureFixture, sent: bytes, code: int
) -> None:
    with server.opened() as connection:
        connection.sendall(sent)
        answer = b"".join(iter(lambda: connection.recv(4_096), b""))
    assert answer[0] == 0x88 and struct.unpack(">H", answer[2:4]) == (code,)
    assert not caplog.records


@pytest.mark.parametrize(
    ("method", "header"),
    [
        (b"GET", b"Content-Length: 9\r\n"), (b"GET", b"Transfer-Encoding: chunked\r\n"), (b"POST", b""),
        (b"GET", b"X: " + b"x" * 9_000 + b"\r\n"), (b"GET", b"X: x\r\n" * 200),
    ],
    ids=["body", "chunks", "method", "long header", "many headers"],
)  # fmt: skip
def test_a_handshake_that_is_none_is_answered_and_ended(server: Address, method: bytes, header: bytes) -> None:
    with server.stream(method, header) as connection:
        answer = b"".join(iter(lambda: connection.recv(4_096), b""))
    assert answer.startswith(b"HTTP/1.1 4")


def test_a_message_in_some_pieces_with_pings_between_is_one_message(server: Address) -> None:
    text = b'{"type": "end"}'
    pieces = [frame(CONTINUED, text[at : at + 1], last=False) + frame(PING, b"p") for at in range(1, len(text))]
    with server.opened() as connection:
        connection.sendall(frame(TEXT, text[:1], last=False) + b"".join(pieces) + frame(CONTINUED))
        answer = b""
        while not answer.endswith(struct.pack(">BBH", 0x88, 2, 1_000)):
            answer += connection.recv(4_096)
        assert answer.count(b"\x8a\x01p") == len(pieces)
        connection.sendall(frame(CLOSE, struct.pack(">H", 1_000)))
        assert connection.recv(1) == b""


def test_there_are_only_so_many_connections(server: Address, eventually) -> None:
    eventually(lambda: server.connections() == 0, 5)
    held = [server.stream() for _ in range(LIMIT + 3)]
    firsts = [one.recv(4_096).split(b" ")[1] for one in held]
    for one in held:
        one.close()
    assert firsts.count(b"101") == LIMIT and firsts.count(b"503") == 3
    eventually(lambda: server.connections() == 0, 5)
    assert server.seconds_for_health() < 1
