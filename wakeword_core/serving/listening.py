"""Turns the samples of a stream into messages, in a worker thread."""

from typing import Any

import numpy as np

from wakeword_core.audio import StreamResampler, from_pcm16, to_pcm16
from wakeword_core.runtime import Detector, WakewordModel
from wakeword_core.runtime.around import Around
from wakeword_core.runtime.captures import Keeper
from wakeword_core.runtime.detector import Detection
from wakeword_core.runtime.judge import JudgedModel
from wakeword_core.runtime.levels import Watch
from wakeword_core.serving.cascade import Cascade, Pcm
from wakeword_core.serving.metrics import Metrics, Seconds
from wakeword_core.serving.verification import SCORE_DIGITS, event_of

Message = dict[str, Any]


class Listening:
    """Finds scores and events in a stream. A call of the sentry waits for the audio after it, which the judge needs."""

    def __init__(
        self,
        cascade: Cascade,
        sample_rate: int,
        metrics: Metrics,
        *,
        alone: bool = False,
        keeper: Keeper | None = None,
    ) -> None:
        sentry, policy = cascade.sentry, cascade.policy
        self._cascade, self._metrics = cascade, metrics
        self._rate = sentry.model.sample_rate
        self._step = sentry.model.stride_frames * sentry.model.frontend.hop_length / self._rate
        if alone and sentry.alone is not None:
            self._listens: WakewordModel | JudgedModel = sentry.model
            threshold = sentry.alone
        else:
            self._listens, threshold = sentry.listens, sentry.threshold
        self._detector = Detector(self._listens, threshold)
        self._resampler = StreamResampler(sample_rate, self._rate)
        heard = (policy.before_seconds, policy.after_seconds) if cascade.judge else (0.0, 0.0)
        self._around = Around(self._rate, *heard)
        self._kept = keeper and cascade.kept(keeper, self._listens, threshold)
        self._watch = Watch(self._rate)
        self._seconds = Seconds(metrics, self._rate)

    def push(self, pcm: Pcm) -> list[Message]:
        """Take int16 [samples] at the stream's rate, and return the messages about them."""
        return self._process(to_pcm16(self._resampler.push(from_pcm16(pcm))))

    def finish(self) -> list[Message]:
        """End the stream: it is followed by quiet, and calls that still wait are judged by the audio there is."""
        messages = self._process(to_pcm16(self._resampler.finish()))
        quiet = np.zeros(self._listens.quiet_samples, np.int16)
        calls = self._detector.finish()
        for call, heard in (*self._around.push(quiet, calls), *self._around.finish()):
            messages += self._decide(call, heard)
        if self._kept:
            self._kept.push(quiet[:0], self._detector.times, self._detector.scores, calls)
            self._kept.finish()
        return messages + self._hint(self._watch.finish())

    def leave(self) -> None:
        """Keep what still waits to be kept, where the client went without an end; nobody is told of it."""
        if self._kept:
            for call, heard in self._around.finish():
                self._kept.decide(call, self._cascade.decide(call, heard).accepted)
            self._kept.finish()

    def _process(self, pcm: Pcm) -> list[Message]:
        calls = self._detector.process(pcm)
        self._metrics.stream_seconds.inc(len(pcm) / self._rate)
        self._seconds.push(pcm, self._detector.scores[:, 1:])
        messages = self._scores()
        for call, heard in self._around.push(pcm, calls):
            messages += self._decide(call, heard)
        if self._kept:
            self._kept.push(pcm, self._detector.times, self._detector.scores, calls)
        return messages + self._hint(self._watch.push(pcm))

    def _hint(self, hint: str | None) -> list[Message]:
        return [] if hint is None else [{"type": "hint", "detail": hint}]

    def _scores(self) -> list[Message]:
        times, scores = self._detector.times, self._detector.scores
        if not len(times):
            return []
        rows = [[round(float(value), SCORE_DIGITS) for value in row] for row in scores]
        return [{"type": "scores", "start": round(float(times[0]), 4), "step": self._step, "scores": rows}]

    def _decide(self, call: Detection, heard: Pcm) -> list[Message]:
        decision = self._cascade.decide(call, heard)
        if self._kept:
            self._kept.decide(call, decision.accepted)
        self._metrics.events.labels("stream", self._cascade.decided_by, str(decision.accepted).lower()).inc()
        if decision.accepted:
            self._seconds.event()
        return [{"type": "event", **event_of(call, decision).model_dump()}] if decision.accepted else []
