"""The server process: its socket, who may reach it, and how it ends."""

import logging
import os
import socket
import string
from collections.abc import Callable
from pathlib import Path

import uvicorn

from wakeword_core.config import ServingConfig
from wakeword_core.errors import ConfigError, WakewordError
from wakeword_core.serving.access import is_loopback
from wakeword_core.serving.app import create_app
from wakeword_core.serving.service import Service

log = logging.getLogger(__name__)

TOKEN_CHARACTERS = frozenset(string.ascii_letters + string.digits + "-._~")
"""Characters that both an Authorization header (RFC 6750) and a WebSocket's subprotocol (RFC 6455) can hold."""
_BACKLOG = 1_024
_KEEP_ALIVE_SECONDS = 30
_MESSAGE_MARGIN = 4
"""Stream messages up to this many times their limit are refused with a sentence; larger ones are cut off unread."""


def serve(service: Service, announce: Callable[[str], None], page_cache: Path | None = None) -> None:
    """Serve until SIGINT or SIGTERM, then finish open requests; `announce` gets the address once it can be reached.

    Raises ConfigError without a token where other machines can connect, and for a token that browsers cannot send, and
    WakewordError when the port is taken.
    """
    serving = service.settings
    with _listening_socket(serving) as listener:
        address, port = listener.getsockname()[:2]
        token, loopback = os.environ.get(serving.token_variable, "").strip(), is_loopback(address)
        if not token and not loopback:
            raise ConfigError(
                f"serving.host is {serving.host}, which others can reach: set a token in the environment variable "
                f"{serving.token_variable}, or use 127.0.0.1"
            )
        if token and not set(token) <= TOKEN_CHARACTERS:
            raise ConfigError(
                f"the token in {serving.token_variable} has a character that a browser cannot send with a WebSocket; "
                "take letters, digits and -._~ only, as of `openssl rand -hex 32`"
            )
        server = uvicorn.Server(
            uvicorn.Config(
                create_app(service, token, loopback=loopback, page_cache=page_cache),
                http="h11",  # which bounds headers
                log_config=None,
                log_level=logging.WARNING,
                access_log=False,
                server_header=False,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=serving.shutdown_seconds,
                ws="websockets-sansio",
                ws_max_size=_MESSAGE_MARGIN * serving.stream_message_bytes,
                ws_per_message_deflate=False,  # a message could be a bomb
            )
        )
        logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it warns of each character that is wrong
        announce(f"http://{f'[{address}]' if ':' in address else address}:{port}")
        server.run(sockets=[listener])


def _listening_socket(serving: ServingConfig) -> socket.socket:
    host, port = serving.host, serving.port
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise WakewordError(
            f"cannot listen on {host}, port {port} ({error.strerror}); choose others with --host and --port"
        ) from error
