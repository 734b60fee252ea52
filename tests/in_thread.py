"""Servers in a thread of this process."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import uvicorn
from starlette.types import ASGIApp

from wakeword_core.serving.network import listening_socket

HOST = "127.0.0.1"
_LOOK_SECONDS = 0.02


class Served(NamedTuple):
    """Where an application answers, and the server that can be told to end."""

    port: int
    server: uvicorn.Server

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"


@contextmanager
def served(app: ASGIApp, **options: Any) -> Iterator[Served]:
    """An application that uvicorn runs with these options of its own."""
    config: dict[str, Any] = {"http": "h11", "log_config": None, "log_level": logging.WARNING, **options}
    with listening_socket(HOST, 0) as listener:
        server = uvicorn.Server(uvicorn.Config(app, **config))
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(_LOOK_SECONDS)
        try:
            yield Served(listener.getsockname()[1], server)
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def answering(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    """The address of a server of the standard library, whose requests a handler answers."""
    with ThreadingHTTPServer((HOST, 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(_LOOK_SECONDS,), daemon=True).start()
        yield f"http://{HOST}:{server.server_port}"
        server.shutdown()
