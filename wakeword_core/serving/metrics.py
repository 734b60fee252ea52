"""Metrics of the server for Prometheus."""

import time
from http import HTTPStatus

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_LATENCIES = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
_METHODS = frozenset({"GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE"})
_OTHER = "other"
"""A label for whatever clients invent, so that they cannot make series without end."""


class Metrics:
    """The counters of one server."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "wakeword_requests", "Requests answered.", ("route", "method", "status"), registry=registry
        )
        self.latency = Histogram(
            "wakeword_request_seconds", "Time to the answer.", ("route",), buckets=_LATENCIES, registry=registry
        )
        self.steps = Histogram(
            "wakeword_step_seconds", "Time of each step of a verification.", ("step",), buckets=_LATENCIES,
            registry=registry,
        )  # fmt: skip
        self.queue_depth = Gauge("wakeword_queue_depth", "Verifications in work or waiting.", registry=registry)
        self.batch_windows = Histogram(
            "wakeword_batch_windows", "Windows in a run of a model.", ("model",), buckets=_BATCHES, registry=registry
        )
        self.batch_requests = Histogram(
            "wakeword_batch_requests", "Requests in a run of a model.", ("model",), buckets=_BATCHES, registry=registry
        )
        self.events = Counter(
            "wakeword_events", "Wake words detected, by the model that decided.", ("source", "decided_by", "accepted"),
            registry=registry,
        )  # fmt: skip
        self.streams = Gauge("wakeword_streams", "Open streams.", registry=registry)
        self.stream_seconds = Counter(
            "wakeword_stream_audio_seconds", "Seconds of audio received in streams.", registry=registry
        )

    def text(self) -> bytes:
        """Write all metrics in Prometheus' text format."""
        return generate_latest(self._registry)


class Counting:
    """Counts HTTP requests by route, method and status, and measures how long they take."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and count it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # a request that fails without an answer is answered outside of this
        began, status = time.perf_counter(), int(HTTPStatus.INTERNAL_SERVER_ERROR)

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            route = getattr(scope.get("route"), "path", _OTHER)
            method = scope["method"] if scope["method"] in _METHODS else _OTHER
            self._metrics.requests.labels(route, method, status).inc()
            self._metrics.latency.labels(route).observe(time.perf_counter() - began)
