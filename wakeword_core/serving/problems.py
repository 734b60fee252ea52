"""Answers everything that goes wrong in a request with a problem."""

import asyncio
import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wakeword_core.serving.refusals import MEDIA_TYPE, RefusedError

log = logging.getLogger(__name__)

CLIENT_GONE = 499
"""The status under which a request counts whose client went away; nobody receives it."""
_CODES = {404: "not_found", 405: "method_not_allowed"}


class AnsweringToTheEnd:
    """Tells clients whose requests are cut off because the server ends that it is so, and no fault of theirs."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and answer it if it is cancelled before."""
        answered = False

        async def noting(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except asyncio.CancelledError:
            if answered or scope["type"] != "http":
                raise
            problem = RefusedError(503, "ending", "the server ends; ask again once it is back", {"Retry-After": "5"})
            await problem.response()(scope, receive, send)


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the problems of these statuses for OpenAPI."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in statuses
    }


def add_problem_handlers(app: FastAPI) -> None:
    """Answer everything that goes wrong with a problem, in no thread of a pool, which others may hold up."""

    @app.exception_handler(RefusedError)
    async def refused(request: Request, error: RefusedError) -> Response:
        return error.response()

    @app.exception_handler(HTTPException)
    async def of_the_router(request: Request, error: HTTPException) -> Response:
        code = _CODES.get(error.status_code, "refused")
        detail = f"{request.method} {request.url.path[:100]}: {error.detail}"
        if app.openapi_url:
            detail += f"; {app.openapi_url} lists the routes"
        return RefusedError(error.status_code, code, detail, error.headers).response()

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        return RefusedError(422, "invalid_request", f"{where}: {first['msg']}").response()

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=CLIENT_GONE)

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> Response:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        detail = "the server failed on this request, and its log says why; please report it"
        return RefusedError(500, "internal_error", detail).response()
