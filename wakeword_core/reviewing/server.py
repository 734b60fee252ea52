"""The process that serves a review until it is stopped."""

import logging
from collections.abc import Callable

import uvicorn

from wakeword_core.config import ServingConfig
from wakeword_core.errors import ConfigError
from wakeword_core.reviewing.app import Defaults, create_app
from wakeword_core.reviewing.captured_sound import Reviewed
from wakeword_core.serving.connections import PromptConnections
from wakeword_core.serving.network import is_loopback, listening_socket, read_token

_SHUTDOWN_SECONDS = 5
_MOST_CONNECTIONS = 128


def serve_review(captured: Reviewed, defaults: Defaults, host: str, port: int, announce: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; `announce` gets the address once it is listened to.

    Raises ConfigError without a token where other machines can connect, and WakewordError when the port is taken.
    """
    variable = ServingConfig().token_variable
    token = read_token(variable)
    with listening_socket(host, port) as listener:
        address, port = listener.getsockname()[:2]
        loopback = is_loopback(address)
        if not token and not loopback:
            raise ConfigError(
                f"others can reach {host}, and would hear what was kept: set a token in the environment variable "
                f"{variable}, or use 127.0.0.1"
            )
        server = uvicorn.Server(
            uvicorn.Config(
                create_app(captured, defaults, token, loopback=loopback),
                http=PromptConnections,
                ws="none",
                log_config=None,
                log_level=logging.WARNING,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
                limit_concurrency=_MOST_CONNECTIONS,
            )
        )
        announce(f"http://{f'[{address}]' if ':' in address else address}:{port}")
        server.run(sockets=[listener])
