"""Where a server listens and who may ask there: an address, a token, names of hosts and origins of web pages.

Needs Starlette alone, so that Dagster's pages are guarded where `wakeword serve` is not installed.
"""

import ipaddress
import os
import secrets
import socket
import string
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from wakeword_core.errors import ConfigError, WakewordError, reason_of
from wakeword_core.serving.refusals import RefusedError

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
TOKEN_CHARACTERS = frozenset(string.ascii_letters + string.digits + "-._~")
"""Characters that both an Authorization header (RFC 6750) and a WebSocket's subprotocol (RFC 6455) can hold."""
_BACKLOG = 1_024
_DEFAULT_PORTS = {"http": 80, "https": 443}
"""Browsers leave them out of an Origin, and some proxies put them into the Host."""


def is_loopback(address: str) -> bool:
    """Tell whether only this machine reaches an IP address."""
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def listening_socket(host: str, port: int, options: str = "--host and --port") -> socket.socket:
    """Listen on an address, which `options` give; WakewordError when it is not this machine's or the port is taken."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, UnicodeError) as error:  # a name that no DNS can hold, such as .local, is the latter
        raise WakewordError(
            f"cannot listen on {host}, port {port} ({reason_of(error)}); choose others with {options}"
        ) from error
    # connections inherit it; asyncio sets it only where a socket names its protocol, and answers came 40 ms later
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def url_of(listener: socket.socket, scheme: str = "http") -> str:
    """Return the address of who listens, such as http://127.0.0.1:8765."""
    address, port = listener.getsockname()[:2]
    return f"{scheme}://{f'[{address}]' if ':' in address else address}:{port}"


def read_token(variable: str) -> str:
    """Return the token in an environment variable, empty if it is not set.

    Raises ConfigError for blanks, which look like a token and are none, and for what a browser cannot send.
    """
    given = os.environ.get(variable, "")
    token = given.strip()
    if given and not token:
        raise ConfigError(
            f"{variable} holds blanks only, which are no token: unset it, or take one such as of `openssl rand -hex 32`"
        )
    if not set(token) <= TOKEN_CHARACTERS:
        raise ConfigError(
            f"the token in {variable} has a character that a browser cannot send with a WebSocket; "
            "take letters, digits and -._~ only, as of `openssl rand -hex 32`"
        )
    return token


def token_for(listener: socket.socket, variable: str, danger: str) -> str:
    """Return the token as `read_token` does; ConfigError for none where other machines can connect, with the danger."""
    token = read_token(variable)
    if not token and not is_loopback(listener.getsockname()[0]):
        raise ConfigError(f"{danger}: set a token in the environment variable {variable}, or use 127.0.0.1")
    return token


def is_token(given: str, token: str) -> bool:
    """Compare what a client sent with the token, in a time that does not tell how much of it is right."""
    return secrets.compare_digest(given.encode(), token.encode())


class OriginGuard:
    """Refuses requests to other host names (DNS rebinding) and from pages of other origins, WebSockets too.

    Starlette's TrustedHostMiddleware knows no origins and answers in plain text.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str], origins: Sequence[str] = (), named_by: str = "") -> None:
        """`named_by` is the option that names further hosts, where settings do not."""
        self._app, self._hosts, self._origins = app, {host.lower() for host in hosts}, set(origins)
        self._allows_hosts = named_by or "serving.allowed_hosts"
        self._allows_origins = named_by or "serving.allowed_origins"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with the reason why it is refused."""
        if scope["type"] in ("http", "websocket"):
            try:
                self.check(scope, Headers(scope=scope))
            except RefusedError as error:
                await error.response()(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def check(self, scope: Scope, headers: Headers) -> None:
        """Raise RefusedError for a request that may not be passed on."""
        host = headers.get("host", "")
        if self._hosts and _name(host) not in self._hosts:
            raise RefusedError(
                421, "wrong_host", f"this server is not {host[:100]!r}; {self._allows_hosts} names what it is"
            )
        origin = headers.get("origin")
        if origin is not None and origin not in self._origins and host.lower() not in _authorities(origin):
            raise RefusedError(
                403, "wrong_origin", f"pages of {origin[:100]!r} may not use this server; see {self._allows_origins}"
            )


def _name(host: str) -> str:
    """Return the name in a Host header, without its port; empty if there is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _authorities(origin: str) -> tuple[str, ...]:
    """Return host and port in an Origin header, as a Host header may have them; none unless it is a web page's."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return ()
    port = _DEFAULT_PORTS.get(parts.scheme)
    return (parts.netloc.lower(), f"{parts.netloc.lower()}:{port}") if port else ()
