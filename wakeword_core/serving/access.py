"""The token that a client of the server has to know."""

from fastapi import Request
from fastapi.security import HTTPBearer
from starlette.requests import HTTPConnection

from wakeword_core.serving.network import is_token
from wakeword_core.serving.refusals import RefusedError

SUBPROTOCOL = "bearer"
"""A browser sets no headers on a WebSocket: it offers the subprotocols `bearer` and the token instead."""


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
        if not is_token(given, self._token):
            problem = "is wrong" if given else "is missing: send the header Authorization: Bearer TOKEN"
            raise RefusedError(401, "unauthorized", f"the token {problem}", {"WWW-Authenticate": "Bearer"})
