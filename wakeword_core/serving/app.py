"""The web application: its routes and middleware."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from pathlib import Path

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from starlette.middleware import Middleware

from wakeword_core.serving.access import BearerToken
from wakeword_core.serving.answers import ModelAnswer, Problem, State, Verdict
from wakeword_core.serving.metrics import ACCESS_LOG, CONTENT_TYPE, Counting
from wakeword_core.serving.network import LOOPBACK_NAMES
from wakeword_core.serving.page.page_app import page_app
from wakeword_core.serving.page.routes import FILES, runtime_routes
from wakeword_core.serving.problems import problem_responses
from wakeword_core.serving.refusals import RefusedError
from wakeword_core.serving.service import Service
from wakeword_core.serving.stream_route import add_stream
from wakeword_core.serving.uploads import REQUEST_BODY, read_upload

_BINARY = {"schema": {"type": "string", "format": "binary"}}


def create_app(
    service: Service,
    token: str = "",
    *,
    loopback: bool = True,
    page_cache: Path | None = None,
    beside: AbstractAsyncContextManager[object] | None = None,
) -> FastAPI:
    """Make the application of a service, which runs while the application does, and so does what is `beside` it.

    With a `token`, every route but /health, /ready, /openapi.json and the page requires it. On `loopback` only this
    machine's names are answered. The page needs `page_cache`, a folder that keeps the files which browsers need.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with service:
            async with beside or nullcontext():
                yield

    settings = service.settings
    hosts = (*settings.allowed_hosts, *LOOPBACK_NAMES) if loopback else settings.allowed_hosts
    counting = Middleware(Counting, metrics=service.metrics, access_log=ACCESS_LOG if settings.access_log else None)
    app = page_app(
        "wakeword",
        {} if page_cache is None else FILES,
        hosts=hosts,
        origins=settings.allowed_origins,
        permissions="microphone=(self)",
        around=[counting],
        openapi_url="/openapi.json",
        summary=f"Listens for {service.model_answer.phrase!r}.",
        lifespan=lifespan,
        responses=problem_responses(403, 421),
    )
    bearer = BearerToken(token) if token else None
    app.include_router(_open_routes(service))
    app.include_router(
        _routes(service),
        dependencies=[Depends(bearer)] if bearer else [],
        responses=problem_responses(401) if bearer else {},
    )
    add_stream(app, service, bearer)
    if page_cache is not None:
        app.include_router(runtime_routes(page_cache))
    _describe_problem(app)
    return app


def _open_routes(service: Service) -> APIRouter:
    router = APIRouter(tags=["state"])

    @router.get("/health", summary="Tell that the process answers.")
    async def health() -> State:
        return State()

    @router.get("/ready", summary="Tell whether further requests will be taken.", responses=problem_responses(503))
    async def ready() -> State:
        if service.is_full:
            raise RefusedError(503, "queue_full", "all places in the queue are taken")
        return State()

    return router


def _routes(service: Service) -> APIRouter:
    router = APIRouter()

    @router.post(
        "/v1/verify",
        summary="Tell whether a wake word is in an audio file.",
        tags=["verification"],
        openapi_extra={"requestBody": REQUEST_BODY},
        responses=problem_responses(408, 413, 415, 422, 429, 503),
    )
    async def verify(request: Request) -> Verdict:
        with service.admitted():
            data = await read_upload(request, service.settings)
            return await service.verify(data, request)

    @router.get("/v1/model", summary="Describe the model.", tags=["model"])
    async def model() -> ModelAnswer:
        return service.model_answer

    @router.get(
        "/v1/model/streaming.onnx",
        summary="Return the model as a file that streams, to be run where the sound is.",
        tags=["model"],
        response_class=Response,
        responses={200: {"content": {"application/octet-stream": _BINARY}}, **problem_responses(404)},
    )
    async def streaming() -> Response:
        if service.streaming_bytes is None:
            message = "there was no streaming model beside the model; let the server listen, or export again"
            raise RefusedError(404, "no_streaming_model", message)
        return Response(service.streaming_bytes, media_type="application/octet-stream")

    @router.get(
        "/metrics",
        summary="Return the server's metrics for Prometheus.",
        tags=["state"],
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)

    return router


def _describe_problem(app: FastAPI) -> None:
    """Add the schema of problems, which handlers answer, to the OpenAPI description."""
    described = app.openapi

    def openapi() -> dict[str, object]:
        tree = described()
        tree["components"]["schemas"].setdefault("Problem", Problem.model_json_schema())
        return tree

    app.openapi = openapi  # type: ignore[method-assign]
