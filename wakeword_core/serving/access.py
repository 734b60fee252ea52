"""Who may use the server: a token, and guards that keep web pages away from a server on their reader's machine."""

import ipaddress
import secrets
from collections.abc import Sequence
from urllib.parse import urlsplit

from fastapi import Request
from fastapi.security import HTTPBearer
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from wakeword_core.serving.problems import RefusedError

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
SUBPROTOCOL = "bearer"
"""A browser sets no headers on a WebSocket: it offers the subprotocols `bearer` and the token instead."""


def is_loopback(address: str) -> bool:
    """Tell whether only this machine reaches an IP address."""
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


class BearerToken(HTTPBearer):
    """A dependency that requires the token, and says so in the OpenAPI description."""

    def __init__(self, token: str) -> None:
        super().__init__(scheme_name="token", auto_error=False)
        self._token = token

    async def __call__(self, request: Request) -> None:  # type: ignore[override]
        """Raise RefusedError (401) unless the Authorization header holds the token."""
        credentials = await super().__call__(request)
        self._require(credentials.credentials if credentials else "")

    def check_stream(self, connection: HTTPConnection) -> None:
        """Raise RefusedError (401) unless a WebSocket has the token in its header or as its second subprotocol."""
        scheme, _, given = connection.headers.get("authorization", "").partition(" ")
        offered = connection.scope.get("subprotocols", [])
        if scheme.lower() != "bearer":
            given = offered[1] if len(offered) == 2 and offered[0] == SUBPROTOCOL else ""
        self._require(given.strip())

    def _require(self, given: str) -> None:
        if not secrets.compare_digest(given.encode(), self._token.encode()):
            problem = "is wrong" if given else "is missing: send the header Authorization: Bearer TOKEN"
            raise RefusedError(401, "unauthorized", f"the token {problem}", {"WWW-Authenticate": "Bearer"})


class OriginGuard:
    """Refuses requests to other host names (DNS rebinding) and from pages of other origins, WebSockets too.

    Starlette's TrustedHostMiddleware knows no origins and answers in plain text.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str], origins: Sequence[str]) -> None:
        self._app, self._hosts, self._origins = app, {host.lower() for host in hosts}, set(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with the reason why it is refused."""
        if scope["type"] in ("http", "websocket"):
            try:
                self._check(Headers(scope=scope))
            except RefusedError as error:
                await error.response()(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, headers: Headers) -> None:
        host = headers.get("host", "")
        if self._hosts and _name(host) not in self._hosts:
            raise RefusedError(
                421, "wrong_host", f"this server is not {host[:100]!r}; serving.allowed_hosts names what it is"
            )
        origin = headers.get("origin")
        if origin is not None and origin not in self._origins and _authority(origin) != host.lower():
            raise RefusedError(
                403, "wrong_origin", f"pages of {origin[:100]!r} may not use this server; see serving.allowed_origins"
            )


def _name(host: str) -> str:
    """Return the name in a Host header, without its port; empty if there is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _authority(origin: str) -> str | None:
    """Return host and port in an Origin header; None unless it is a web page's."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return None
    return parts.netloc.lower() if parts.scheme in ("http", "https") else None
