"""Dagster's pages, behind a guard: without one, any web page that somebody reads starts runs on their machine."""

import base64
import binascii
import logging
import socket
from collections.abc import Callable, Sequence
from urllib.parse import parse_qs

import dagster as dg
import uvicorn
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import ModuleTarget
from dagster._utils.log import configure_loggers
from dagster_webserver.app import create_app_from_workspace_process_context
from graphql import GraphQLError, OperationDefinitionNode, OperationType, parse
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wakeword_core.serving.connections import BoundedFrames, PromptConnections
from wakeword_core.serving.network import OriginGuard, is_token
from wakeword_core.serving.refusals import RefusedError

DEFINITIONS = "wakeword_pipeline.orchestration.definitions"
STATE_PATH = "/server_info"
"""The versions, for health checks; nobody has to know the token for it."""
_GRAPH = "/asset-groups"
"""The page with which the pages open."""
_READING = frozenset({"GET", "HEAD"})
_BODIES = frozenset({"application/json", "application/graphql"})
"""Types of bodies that a browser does not send to another origin unasked, as it sends forms and plain text."""
_STATEMENT_TIMEOUT_MS, _RECYCLE_SECONDS, _MORE_CONNECTIONS = 15_000, 3_600, 20
_POLL_MS = 2_000
_SHUTDOWN_SECONDS = 10


class PagesGuard(OriginGuard):
    """Lets in who uses the pages themselves: no page of another origin changes, asks or frames anything.

    Dagster answers every host and origin, and runs mutations of GraphQL in a GET or in a form. Links from elsewhere to
    a page work.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str], token: str = "") -> None:
        super().__init__(app, hosts, named_by="--allow-host")
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with the reason why it is refused; no page may show the answer in a frame."""

        async def send_unframed(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Frame-Options"] = "DENY"
            await send(message)

        await super().__call__(scope, receive, send_unframed)

    def check(self, scope: Scope, headers: Headers) -> None:
        """Raise RefusedError for a request that may not be passed on."""
        super().check(scope, headers)
        self._check_site(scope, headers)
        if self._token and scope["path"] != STATE_PATH and not is_token(_given_token(headers), self._token):
            raise RefusedError(
                401, "unauthorized", "the token is missing or wrong: give it as the password, or in the header "
                "Authorization: Bearer TOKEN", {"WWW-Authenticate": 'Basic realm="wakeword", charset="UTF-8"'},
            )  # fmt: skip
        if scope["type"] == "http" and scope["method"] in _READING:
            _check_query(scope)
        elif scope["type"] == "http":
            kind = headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind not in _BODIES:
                raise RefusedError(415, "unsupported_type", "what changes something is sent as application/json")

    def _check_site(self, scope: Scope, headers: Headers) -> None:
        """Refuse what a browser says that another site asked for, unless somebody followed a link to a page."""
        if headers.get("sec-fetch-site", "none") in ("same-origin", "none"):
            return
        link = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
        if scope["type"] != "http" or scope["method"] not in _READING or not link or _asks(scope):
            raise RefusedError(403, "wrong_site", "pages of other sites may link to this server, and not use it")


def _given_token(headers: Headers) -> str:
    """Return the token in an Authorization header, as itself or as a browser sends a password."""
    scheme, _, given = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return given.strip() if scheme.lower() == "bearer" else ""
    try:
        return base64.b64decode(given, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _asks(scope: Scope) -> bool:
    return "/graphql" in scope["path"]  # wherever: a route also takes a line end after its path


def _check_query(scope: Scope) -> None:
    asked = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True).get("query", [])
    if _asks(scope) and not all(map(_only_reads, asked)):
        raise RefusedError(405, "method_not_allowed", "a GET asks one query of GraphQL; send others by POST")


def _only_reads(document: str) -> bool:
    try:
        operations = [node for node in parse(document).definitions if isinstance(node, OperationDefinitionNode)]
    except (GraphQLError, RecursionError):
        return False
    return all(node.operation is OperationType.QUERY for node in operations)


def serve_pages(
    listener: socket.socket, hosts: Sequence[str], token: str, code: str, on_start: Callable[[uvicorn.Server], None]
) -> None:
    """Serve the pages of the instance that DAGSTER_HOME names, until SIGINT, SIGTERM or the server is told to end.

    `code` is the folder that holds this project's packages; `on_start` is called when the pages can be opened.
    """
    configure_loggers()
    target = ModuleTarget(DEFINITIONS, None, code, None)
    with dg.DagsterInstance.get() as instance:
        instance.optimize_for_webserver(_STATEMENT_TIMEOUT_MS, _RECYCLE_SECONDS, _MORE_CONNECTIONS)
        with WorkspaceProcessContext(instance, target, version=dg.__version__) as context:
            app = create_app_from_workspace_process_context(context, live_data_poll_rate=_POLL_MS)
            app.router.routes.insert(0, Route("/", lambda _: RedirectResponse(_GRAPH)))
            app.add_middleware(PagesGuard, hosts=hosts, token=token)
            server = uvicorn.Server(
                uvicorn.Config(
                    app,
                    http=PromptConnections,  # on h11, which bounds headers
                    log_level=logging.WARNING,
                    server_header=False,
                    ws=BoundedFrames,
                    ws_per_message_deflate=False,  # a message could be a bomb
                    timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
                )
            )
            on_start(server)
            server.run(sockets=[listener])
