"""The server process: its socket, who may reach it, and how it ends."""

import logging
from collections.abc import Callable
from pathlib import Path

import uvicorn

from wakeword_core.errors import ConfigError
from wakeword_core.serving.app import create_app
from wakeword_core.serving.connections import BoundedFrames, PromptConnections
from wakeword_core.serving.network import is_loopback, listening_socket, read_token
from wakeword_core.serving.service import Service

log = logging.getLogger(__name__)

_KEEP_ALIVE_SECONDS = 30
_MORE_CONNECTIONS = 256
"""Connections besides those in the queue and streams: idle ones, and those that are about to be refused."""
_MESSAGE_MARGIN = 4
"""Stream messages up to this many times their limit are refused with a sentence; larger ones are cut off unread."""


def serve(service: Service, announce: Callable[[str], None], page_cache: Path | None = None) -> None:
    """Serve until SIGINT or SIGTERM, then finish open requests; `announce` gets the address once it can be reached.

    Raises ConfigError without a token where other machines can connect, and for a token that browsers cannot send, and
    WakewordError when the port is taken.
    """
    serving = service.settings
    with listening_socket(serving.host, serving.port) as listener:
        address, port = listener.getsockname()[:2]
        token, loopback = read_token(serving.token_variable), is_loopback(address)
        if not token and not loopback:
            raise ConfigError(
                f"serving.host is {serving.host}, which others can reach: set a token in the environment variable "
                f"{serving.token_variable}, or use 127.0.0.1"
            )
        server = uvicorn.Server(
            uvicorn.Config(
                create_app(service, token, loopback=loopback, page_cache=page_cache),
                http=PromptConnections,  # on h11, which bounds headers
                log_config=None,
                log_level=logging.WARNING,
                access_log=False,
                server_header=False,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=serving.shutdown_seconds,
                limit_concurrency=serving.queue_length + serving.max_streams + _MORE_CONNECTIONS,
                ws=BoundedFrames,
                ws_max_size=_MESSAGE_MARGIN * serving.stream_message_bytes,
                ws_per_message_deflate=False,  # a message could be a bomb
            )
        )
        logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it warns of each character that is wrong
        announce(f"http://{f'[{address}]' if ':' in address else address}:{port}")
        server.run(sockets=[listener])
