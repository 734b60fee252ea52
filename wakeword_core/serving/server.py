"""The server process: its socket, who may reach it, and how it ends."""

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path

import uvicorn

from wakeword_core.config import tcp_address
from wakeword_core.errors import MissingDependencyError
from wakeword_core.python import install_command
from wakeword_core.serving.app import create_app
from wakeword_core.serving.cascade import Cascade
from wakeword_core.serving.connections import BoundedFrames
from wakeword_core.serving.metrics import ACCESS_LOG
from wakeword_core.serving.network import is_loopback, listening_socket, token_for, url_of
from wakeword_core.serving.page.page_app import http_server
from wakeword_core.serving.service import Service

log = logging.getLogger(__name__)

_KEEP_ALIVE_SECONDS = 30
_MORE_CONNECTIONS = 256
"""Connections besides those in the queue and streams: idle ones, and those that are about to be refused."""
_MESSAGE_MARGIN = 4
"""Stream messages up to this many times their limit are refused with a sentence; larger ones are cut off unread."""


def serve(
    service: Service,
    announce: Callable[[str], None],
    page_cache: Path | None = None,
    beside: Sequence[AbstractAsyncContextManager[object]] = (),
) -> None:
    """Serve until SIGINT or SIGTERM, then finish open requests; `announce` gets what is served where, once it is.

    What is `beside` runs while the service does. Raises ConfigError without a token where other machines can connect
    over HTTP, and for a token that browsers cannot send, MissingDependencyError for Wyoming clients without that
    package, and WakewordError when a port is taken.
    """
    serving = service.settings
    with ExitStack() as sockets:
        told = []
        if serving.wyoming is not None:
            listener = sockets.enter_context(listening_socket(*tcp_address(serving.wyoming), "--wyoming"))
            beside = (*beside, _satellites(service, listener))
            told = [_told(service.cascades, listener, "tcp")]
        if not serving.http:
            announce(*told)
            asyncio.run(_until_stopped(service, _together(beside)))
            return
        listener = sockets.enter_context(listening_socket(serving.host, serving.port))
        server = _http_server(service, listener, page_cache, _together(beside))
        for line in (_told(service.cascades[:1], listener, "http"), *told):
            announce(line)
        server.run(sockets=[listener])


def _told(cascades: Sequence[Cascade], listener: socket.socket, scheme: str) -> str:
    """Say which models are where, such as 'hey robin' (KEY) on http://127.0.0.1:8765."""
    models = ", ".join(f"{one.sentry.model.phrase!r} ({one.sentry.key})" for one in cascades)
    return f"{models} on {url_of(listener, scheme)}"


def _satellites(service: Service, listener: socket.socket) -> AbstractAsyncContextManager[object]:
    try:
        from wakeword_core.serving.wyoming import Satellites
    except ImportError as error:
        raise MissingDependencyError(f"--wyoming needs {error.name}: {install_command('wyoming')}") from error
    if not is_loopback(listener.getsockname()[0]):
        log.warning(
            "the Wyoming protocol has no token: whoever reaches %s can have sound listened to", service.settings.wyoming
        )
    return Satellites(service, listener)


@asynccontextmanager
async def _together(contexts: Sequence[AbstractAsyncContextManager[object]]) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for one in contexts:
            await stack.enter_async_context(one)
        yield


async def _until_stopped(service: Service, beside: AbstractAsyncContextManager[object]) -> None:
    """Answer Wyoming clients alone."""
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    with service:
        async with beside:
            await stopped.wait()


def _http_server(
    service: Service, listener: socket.socket, page_cache: Path | None, beside: AbstractAsyncContextManager[object]
) -> uvicorn.Server:
    serving = service.settings
    token = token_for(listener, serving.token_variable, f"serving.host is {serving.host}, which others can reach")
    loopback = is_loopback(listener.getsockname()[0])
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it warns of each character that is wrong
    if serving.access_log:
        _write_access_log()
    return http_server(
        create_app(service, token, loopback=loopback, page_cache=page_cache, beside=beside),
        serving.queue_length + serving.max_streams + _MORE_CONNECTIONS,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=serving.shutdown_seconds,
        ws=BoundedFrames,
        ws_max_size=_MESSAGE_MARGIN * serving.stream_message_bytes,
        ws_per_message_deflate=False,  # a message could be a bomb
    )


def _write_access_log() -> None:
    lines = logging.StreamHandler(sys.stdout)
    lines.setFormatter(logging.Formatter("%(message)s"))
    ACCESS_LOG.handlers = [lines]
    ACCESS_LOG.setLevel(logging.INFO)
    ACCESS_LOG.propagate = False
