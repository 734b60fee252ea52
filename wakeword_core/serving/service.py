"""The models and threads behind a server, and how many requests they accept at once."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar
from weakref import WeakSet

import numpy as np
from fastapi import Request
from prometheus_client import Gauge
from starlette.requests import ClientDisconnect

from wakeword_core.audio import encode_wav
from wakeword_core.config import ServingConfig
from wakeword_core.errors import ConfigError
from wakeword_core.runtime import WakewordModel
from wakeword_core.runtime.captures import Keeper
from wakeword_core.runtime.judge import judged
from wakeword_core.serving.answers import Judge, Limits, ModelAnswer, Verdict
from wakeword_core.serving.batching import BatchingScorer
from wakeword_core.serving.cascade import Cascade, ServedModel
from wakeword_core.serving.listening import Listening
from wakeword_core.serving.metrics import Metrics
from wakeword_core.serving.refusals import RefusedError
from wakeword_core.serving.verification import Verifier, Work

Result = TypeVar("Result")
_RETRY = {"Retry-After": "1"}


class _Places:
    def __init__(self, limit: int, gauge: Gauge) -> None:
        self._limit, self._gauge, self._taken = limit, gauge, 0

    @property
    def is_full(self) -> bool:
        return self._taken >= self._limit

    @contextmanager
    def place(self, code: str, sentence: str) -> Iterator[None]:
        if self.is_full:
            raise RefusedError(429, code, sentence.format(self._limit), _RETRY)
        self._taken += 1
        self._gauge.inc()
        try:
            yield
        finally:
            self._taken -= 1
            self._gauge.dec()


@dataclass(frozen=True)
class _Answering:
    """The models that what begins now is heard with, and what is told of the first one, which is the sentry."""

    cascades: list[Cascade]
    verifier: Verifier
    described: ModelAnswer
    streaming_bytes: bytes | None


class Service:
    """Verifies uploads and listens to streams; its threads run while it is open as a context.

    `judge` is the second model of the cascade, if there is one. `others` hear streams of Wyoming clients besides the
    sentry, and the same judge confirms. Raises ArtifactError or ConfigError for models that cannot be used, or not
    together.
    """

    def __init__(
        self,
        settings: ServingConfig,
        sentry: Path | str,
        judge: Path | str | None = None,
        others: Sequence[Path | str] = (),
    ) -> None:
        policy = settings.cascade
        self.settings = settings
        self.metrics = Metrics()
        self._scorers: WeakSet[BatchingScorer] = WeakSet()
        keep = settings.keep
        self._keeper = None if keep.folder is None else Keeper(Path(keep.folder), keep)
        first, *more = [self._sentry(path) for path in (sentry, *others)]
        second = None if judge is None else self._served("judge", judge, policy.judge_threshold)
        self._answering = self._answering_with(
            Cascade(first, second, policy), [Cascade(one, second, policy) for one in more]
        )
        self._tell_models()
        self.metrics.expect_events(self.cascade.decided_by)
        self._queue = _Places(settings.queue_length, self.metrics.queue_depth)
        self._streams = _Places(settings.max_streams, self.metrics.streams)

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        self._stack.callback(self._close_scorers)
        for scorer in self._scorers:
            scorer.start()
        workers = self.settings.workers
        self._uploads = self._stack.enter_context(ThreadPoolExecutor(workers, "wakeword-upload"))
        self._listeners = self._stack.enter_context(ThreadPoolExecutor(workers, "wakeword-stream"))
        for cascade in self.cascades:
            self._warm_up(cascade)
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _close_scorers(self) -> None:
        for scorer in list(self._scorers):  # those of models too that only open streams have still
            scorer.close()

    @property
    def cascades(self) -> list[Cascade]:
        """The models that what begins now is heard with, each with the judge."""
        return self._answering.cascades

    @property
    def cascade(self) -> Cascade:
        """The first of them, which alone answers over HTTP."""
        return self.cascades[0]

    @property
    def model_answer(self) -> ModelAnswer:
        """What clients are told of it."""
        return self._answering.described

    @property
    def streaming_bytes(self) -> bytes | None:
        """It as a file that streams, if there is one beside it."""
        return self._answering.streaming_bytes

    def change_sentry(self, path: Path | str) -> None:
        """Hear what begins from now on with another first model, after it was tried; what goes on keeps the one it has.

        Raises ArtifactError or ConfigError where it cannot be used in the place of the present one, which then stays.
        The service must be open. Only one thread at a time may change it.
        """
        before = self.cascade
        first = self._sentry(path)
        words = before.sentry.model.labels[1:]
        if first.model.labels[1:] != words:
            raise ConfigError(
                f"{first.model.path} hears {', '.join(first.model.labels[1:])}, and this server {', '.join(words)}; "
                "start it again"
            )
        first.score.start()
        cascade = Cascade(first, before.judge, self.settings.cascade)
        self._warm_up(cascade)
        self._answering = self._answering_with(cascade, self.cascades[1:])
        self._tell_models()

    @property
    def is_full(self) -> bool:
        """Whether the next upload would be refused."""
        return self._queue.is_full

    def admitted(self) -> AbstractContextManager[None]:
        """Take a place in the queue from before an upload is read until it is answered; RefusedError (429) if full."""
        return self._queue.place("queue_full", "{} requests are in work or waiting; try again")

    def stream_opened(self) -> AbstractContextManager[None]:
        """Take one of the places for streams; RefusedError (429) if all are taken."""
        return self._streams.place("too_many_streams", "{} streams are open; try again later")

    async def verify(self, data: bytes, request: Request) -> Verdict:
        """Return the verdict on an audio file.

        Raises RefusedError (503) when it takes too long, and ClientDisconnect when the client goes; then what is not
        done yet is dropped.
        """
        work = Work()
        verify = self._answering.verifier.verify
        answer = asyncio.get_running_loop().run_in_executor(self._uploads, verify, data, work)
        gone = asyncio.ensure_future(_gone(request))
        try:
            await asyncio.wait(
                (answer, gone), timeout=self.settings.answer_seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if answer.done():
                return answer.result()
            if gone.done():
                raise ClientDisconnect
            raise RefusedError(
                503, "timeout", f"there was no answer within {self.settings.answer_seconds:g} s; try again", _RETRY
            )
        finally:
            work.abandoned.set()
            answer.cancel()
            gone.cancel()

    async def listen(self, step: Callable[..., Result], *given: object) -> Result:
        """Run one step of a stream in a worker thread."""
        return await asyncio.get_running_loop().run_in_executor(self._listeners, step, *given)

    def listening(self, sample_rate: int, cascade: Cascade | None = None, *, alone: bool = False) -> Listening:
        """Begin a new stream, of one of the `cascades` or the first; `alone` leaves out a judge beside its model."""
        return Listening(cascade or self.cascade, sample_rate, self.metrics, alone=alone, keeper=self._keeper)

    def _sentry(self, path: Path | str) -> ServedModel:
        return self._served("sentry", path, self.settings.cascade.sentry_threshold, self.settings.sensitivity)

    def _served(
        self, part: str, path: Path | str, threshold: float | None, sensitivity: str | None = None
    ) -> ServedModel:
        settings = self.settings
        model = WakewordModel(path, settings.threads, settings.device)
        windows = self.metrics.batch_windows.labels(part)
        requests = self.metrics.batch_requests.labels(part)

        def observe(of_requests: int, of_windows: int) -> None:
            requests.observe(of_requests)
            windows.observe(of_windows)

        scorer = BatchingScorer(model, settings.batch_windows, settings.batch_wait_ms / 1e3, observe)
        self._scorers.add(scorer)
        together = judged(model)
        chosen, alone = (one.threshold_at(sensitivity, threshold) for one in (together or model, model))
        return ServedModel(model, model.key, chosen, scorer, settings.batch_windows, together, alone)

    def _warm_up(self, cascade: Cascade) -> None:
        """Score silence, so that the first request need not wait for imports and plans of the runtime."""
        model = cascade.sentry.model
        silence = np.zeros(model.frontend.window_samples, np.int16)
        Verifier(cascade, np.inf, self.metrics).verify(encode_wav(silence, model.sample_rate), Work())
        Listening(cascade, model.sample_rate, Metrics()).push(silence)  # which nobody said

    def _answering_with(self, cascade: Cascade, others: list[Cascade]) -> _Answering:
        streaming = cascade.sentry.model.streaming
        return _Answering(
            [cascade, *others],
            Verifier(cascade, self.settings.max_seconds, self.metrics, self._keeper),
            self._describe(cascade),
            streaming.file.data if streaming else None,
        )

    def _tell_models(self) -> None:
        """Have the metrics tell of the models that there are now, and of no others."""
        sentries, judge = [cascade.sentry for cascade in self.cascades], self.cascade.judge
        self.metrics.forget_models()
        for one in (*sentries, *([judge] if judge else [])):
            self.metrics.describe(one.key, one.model.phrase, one.threshold, one.model.model_card)

    def _describe(self, cascade: Cascade) -> ModelAnswer:
        sentry, judge = cascade.sentry, cascade.judge
        model, policy = sentry.model, self.settings.cascade
        return ModelAnswer(
            key=sentry.key,
            phrase=model.phrase,
            words=list(model.labels[1:]),
            sample_rate=model.sample_rate,
            threshold=sentry.threshold if sentry.alone is None else sentry.alone,
            hop_length=model.frontend.hop_length,
            stride_frames=model.stride_frames,
            streaming=model.streaming.facts if model.streaming else None,
            judge=judge
            and Judge(
                key=judge.key,
                threshold=judge.threshold,
                combine=policy.combine,
                before_seconds=policy.before_seconds,
                after_seconds=policy.after_seconds,
            ),
            keeps=self.settings.keep.folder is not None,
            limits=Limits.model_validate(self.settings.model_dump(include=set(Limits.model_fields))),
            card=model.card,
            model_card=model.model_card,
        )


async def _gone(request: Request) -> None:
    """Return when the client of a request whose body was read has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
