"""The process that serves a review until it is stopped."""

from collections.abc import Callable

from wakeword_core.config import ServingConfig
from wakeword_core.reviewing.app import Defaults, create_app
from wakeword_core.reviewing.captured_sound import Reviewed
from wakeword_core.serving.network import is_loopback, listening_socket, token_for
from wakeword_core.serving.page.page_app import run_page


def serve_review(captured: Reviewed, defaults: Defaults, host: str, port: int, announce: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; `announce` gets the address once it is listened to.

    Raises ConfigError without a token where other machines can connect, and WakewordError when the port is taken.
    """
    with listening_socket(host, port) as listener:
        danger = f"others can reach {host}, and would hear what was kept"
        token = token_for(listener, ServingConfig().token_variable, danger)
        loopback = is_loopback(listener.getsockname()[0])
        run_page(create_app(captured, defaults, token, loopback=loopback), listener, announce)
