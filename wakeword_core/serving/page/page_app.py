"""An application with a page: its files, who may use it, what is told of errors, and how it is served until stopped."""

import logging
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from wakeword_core import __version__
from wakeword_core.errors import WakewordError, sentence_of
from wakeword_core.serving.connections import PromptConnections
from wakeword_core.serving.network import OriginGuard, url_of
from wakeword_core.serving.page.page_file import page_file
from wakeword_core.serving.problems import AnsweringToTheEnd, add_problem_handlers
from wakeword_core.serving.refusals import RefusedError

INDEX = "index.html"
_SHUTDOWN_SECONDS = 5
_MOST_CONNECTIONS = 128


def page_app(
    title: str,
    files: Mapping[str, Sequence[str]],
    *,
    hosts: Sequence[str],
    origins: Sequence[str] = (),
    named_by: str = "",
    permissions: str = "",
    told: Sequence[type[Exception]] = (),
    around: Sequence[Middleware] = (),
    openapi_url: str | None = None,
    **options: Any,
) -> FastAPI:
    """Make an application that answers under the names `hosts`, to its own page and those of `origins` alone.

    `files` are what the page consists of, by package; it has `permissions`. Errors that are `told` are answered with
    what they say. What is `around` sees every request first. An option, `named_by`, may name further hosts.
    """
    cors = Middleware(CORSMiddleware, allow_origins=origins, allow_methods=["*"], allow_headers=["*"])
    app = FastAPI(
        title=title,
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=openapi_url,
        middleware=[
            *around,
            Middleware(AnsweringToTheEnd),
            Middleware(OriginGuard, hosts=hosts, origins=origins, named_by=named_by),
            *([cors] if origins else []),
        ],
        **options,
    )
    add_problem_handlers(app)
    for kind in told:
        app.add_exception_handler(kind, _told)
    for package, names in files.items():
        for name in names:
            path, file = "/" if name == INDEX else f"/{name}", page_file(package, name, permissions)
            app.add_api_route(path, file.response, response_model=None, include_in_schema=False)
    return app


async def _told(request: Request, error: Exception) -> Response:
    sentence = str(error) if isinstance(error, WakewordError) else sentence_of(error)
    return RefusedError(422, "not_done", sentence).response()


def http_server(app: ASGIApp, most_connections: int, **options: Any) -> uvicorn.Server:
    """Make the server of an application, with further `options` of uvicorn."""
    usual: dict[str, Any] = {
        "http": PromptConnections,  # on h11, which bounds headers
        "ws": "none",
        "log_config": None,
        "log_level": logging.WARNING,
        "access_log": False,
        "server_header": False,
        "limit_concurrency": most_connections,
    }
    return uvicorn.Server(uvicorn.Config(app, **{**usual, **options}))


def run_page(app: ASGIApp, listener: socket.socket, announce: Callable[[str], Any]) -> None:
    """Serve a page until SIGINT or SIGTERM; `announce` gets its address."""
    server = http_server(app, _MOST_CONNECTIONS, timeout_graceful_shutdown=_SHUTDOWN_SECONDS)
    announce(url_of(listener))
    server.run(sockets=[listener])
