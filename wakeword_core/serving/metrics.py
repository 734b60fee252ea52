"""Metrics of the server for Prometheus."""

import json
import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import numpy as np
import numpy.typing as npt
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

ACCESS_LOG = logging.getLogger("wakeword_core.serving.access_log")
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_LATENCIES = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
_SCORES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 1.0)
_LEVELS_DBFS = tuple(float(level) for level in range(-84, 1, 6))
_FULL_SCALE, _QUIETEST_DBFS = 32_768, -96.0
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
        self.peaks = Histogram(
            "wakeword_peak_score", "Highest score of each second of a stream.", buckets=_SCORES, registry=registry
        )
        self.levels = Histogram(
            "wakeword_level_dbfs", "Level of each second of a stream (input), and of that before each event (event).",
            ("of",), buckets=_LEVELS_DBFS, registry=registry,
        )  # fmt: skip
        self.thresholds = Gauge("wakeword_threshold", "Threshold of a model.", ("model", "phrase"), registry=registry)
        self.learnt_levels = Gauge(
            "wakeword_learnt_dbfs", "Level of the recordings of wake words that a model learnt from.",
            ("model", "quantile"), registry=registry,
        )  # fmt: skip

    def describe(self, key: str, phrase: str, threshold: float, model_card: Mapping[str, Any] | None) -> None:
        """Tell what is constant of a model: its threshold, and the levels that its card says it learnt from."""
        self.thresholds.labels(key, phrase).set(threshold)
        data = (model_card or {}).get("data")
        levels = data.get("level_dbfs") if isinstance(data, dict) else None
        for quantile, level in levels.items() if isinstance(levels, dict) else ():
            if isinstance(level, int | float):  # a model's card is anybody's text
                self.learnt_levels.labels(key, quantile).set(level)

    def forget_models(self) -> None:
        """Tell no more of the models that were described."""
        self.thresholds.clear()
        self.learnt_levels.clear()

    def expect_events(self, decided_by: str) -> None:
        """Begin to count events at 0, since what comes into being at 1 is no increase to Prometheus."""
        for source in ("stream", "upload"):
            for accepted in ("true", "false"):
                self.events.labels(source, decided_by, accepted)

    def text(self) -> bytes:
        """Write all metrics in Prometheus' text format."""
        return generate_latest(self._registry)


class Seconds:
    """Notes the highest score and the level of each second of one stream, or of each message that is longer."""

    def __init__(self, metrics: Metrics, sample_rate: int) -> None:
        self._metrics, self._rate = metrics, sample_rate
        self._level_dbfs = _QUIETEST_DBFS
        self._samples, self._power, self._peak = 0, 0.0, 0.0

    def push(self, pcm: npt.NDArray[np.int16], scores: npt.NDArray[np.floating]) -> None:
        """Take int16 [samples] and the scores of wake words [..., words] that came with them."""
        self._samples += len(pcm)
        self._power += float(np.square(pcm, dtype=np.float64).sum())
        self._peak = max(self._peak, float(np.max(scores, initial=0.0)))
        if self._samples >= self._rate:
            mean = self._power / self._samples / _FULL_SCALE**2
            self._level_dbfs = max(_QUIETEST_DBFS, float(10 * np.log10(mean))) if mean else _QUIETEST_DBFS
            self._metrics.levels.labels("input").observe(self._level_dbfs)
            self._metrics.peaks.observe(self._peak)
            self._samples, self._power, self._peak = 0, 0.0, 0.0

    def event(self) -> None:
        """Note the level of the last whole second, in which a wake word was."""
        self._metrics.levels.labels("event").observe(self._level_dbfs)


class Counting:
    """Counts HTTP requests by route, method and status, and measures how long they take.

    With a logger, a line of JSON tells each request, and each stream once it is over: never what was sent, nor a query.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, access_log: logging.Logger | None = None) -> None:
        self._app, self._metrics, self._log = app, metrics, access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and count it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        # a request that fails without an answer is answered outside of this
        began, status = time.perf_counter(), int(HTTPStatus.INTERNAL_SERVER_ERROR)

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "websocket.accept":
                status = int(HTTPStatus.SWITCHING_PROTOCOLS)
            elif message["type"] in ("http.response.start", "websocket.http.response.start"):
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            seconds = time.perf_counter() - began
            if scope["type"] == "http":
                route = getattr(scope.get("route"), "path", _OTHER)
                method = scope["method"] if scope["method"] in _METHODS else _OTHER
                self._metrics.requests.labels(route, method, status).inc()
                self._metrics.latency.labels(route).observe(seconds)
            if self._log is not None:
                self._log.info(_line(scope, status, seconds))


def _line(scope: Scope, status: int, seconds: float) -> str:
    facts = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "client": (scope.get("client") or ("",))[0],
        "method": scope.get("method", "WS"),
        "path": scope["path"],
        "status": status,
        "milliseconds": round(1e3 * seconds, 1),
    }
    return json.dumps(facts)
