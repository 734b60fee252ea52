"""Turns the samples of a stream into messages, in a worker thread."""

from typing import Any

import numpy as np

from wakeword_core.audio import StreamResampler, from_pcm16, to_pcm16
from wakeword_core.runtime import Detector
from wakeword_core.runtime.detector import Detection
from wakeword_core.runtime.levels import Watch
from wakeword_core.serving.cascade import Cascade, Pcm
from wakeword_core.serving.metrics import Metrics
from wakeword_core.serving.verification import SCORE_DIGITS, event_of

Message = dict[str, Any]


class Listening:
    """Finds scores and events in a stream. A call of the sentry waits for the audio after it, which the judge needs."""

    def __init__(self, cascade: Cascade, sample_rate: int, metrics: Metrics) -> None:
        sentry = cascade.sentry
        self._cascade, self._metrics = cascade, metrics
        self._rate = sentry.model.sample_rate
        self._step = sentry.model.stride_frames * sentry.model.frontend.hop_length / self._rate
        self._detector = Detector(sentry.model, sentry.threshold)
        self._resampler = StreamResampler(sample_rate, self._rate)
        self._calls: list[Detection] = []
        self._kept: Pcm = np.empty(0, np.int16)
        self._samples = 0
        self._watch = Watch(self._rate)

    def push(self, pcm: Pcm) -> list[Message]:
        """Take int16 [samples] at the stream's rate, and return the messages about them."""
        return self._process(to_pcm16(self._resampler.push(from_pcm16(pcm))))

    def finish(self) -> list[Message]:
        """End the stream: it is followed by quiet, and calls that still wait are judged by the audio there is."""
        messages = self._process(to_pcm16(self._resampler.finish()))
        self._calls += self._detector.finish()
        self._keep(np.zeros(self._cascade.sentry.model.quiet_samples, np.int16))
        while self._calls:
            messages += self._decide(self._calls.pop(0))
        return messages + self._hint(self._watch.finish())

    def _process(self, pcm: Pcm) -> list[Message]:
        self._calls += self._detector.process(pcm)
        self._metrics.stream_seconds.inc(len(pcm) / self._rate)
        self._keep(pcm)
        messages = self._scores()
        while self._calls and self._can_be_judged(self._calls[0]):
            messages += self._decide(self._calls.pop(0))
        self._forget()
        return messages + self._hint(self._watch.push(pcm))

    def _keep(self, pcm: Pcm) -> None:
        self._samples += len(pcm)
        if self._cascade.judge is not None:
            self._kept = np.concatenate([self._kept, pcm])

    def _hint(self, hint: str | None) -> list[Message]:
        return [] if hint is None else [{"type": "hint", "detail": hint}]

    def _scores(self) -> list[Message]:
        times, scores = self._detector.times, self._detector.scores
        if not len(times):
            return []
        rows = [[round(float(value), SCORE_DIGITS) for value in row] for row in scores]
        return [{"type": "scores", "start": round(float(times[0]), 4), "step": self._step, "scores": rows}]

    def _can_be_judged(self, call: Detection) -> bool:
        return self._cascade.judge is None or self._cascade.span(call.time)[1] <= self._samples

    def _decide(self, call: Detection) -> list[Message]:
        first = self._samples - len(self._kept)
        start, stop = (max(0, sample - first) for sample in self._cascade.span(call.time))
        decision = self._cascade.decide(call, self._kept[start:stop])
        self._metrics.events.labels("stream", self._cascade.decided_by, str(decision.accepted).lower()).inc()
        return [{"type": "event", **event_of(call, decision).model_dump()}] if decision.accepted else []

    def _forget(self) -> None:
        """Drop audio that neither a waiting call nor the next one, which is later than all of it, could need."""
        earliest = self._calls[0].time if self._calls else self._samples / self._rate
        needed = self._samples - max(0, self._cascade.span(earliest)[0])
        self._kept = self._kept[max(0, len(self._kept) - needed) :].copy()
