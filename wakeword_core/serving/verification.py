"""Turns an upload into a verdict, in a worker thread."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from wakeword_core.audio import to_pcm16
from wakeword_core.runtime.captures import Keeper
from wakeword_core.runtime.detector import Detection, detect, prepare, wake_scores
from wakeword_core.runtime.levels import Levels
from wakeword_core.serving.answers import Event, Verdict
from wakeword_core.serving.cascade import Cascade, Decision, Pcm
from wakeword_core.serving.metrics import Metrics
from wakeword_core.serving.refusals import RefusedError
from wakeword_core.serving.uploads import decode_upload

TIME_DIGITS, SCORE_DIGITS = 3, 5
"""Decimals of times and scores in answers."""


class AbandonedError(Exception):
    """Nobody waits for the answer any more."""


class Work:
    """A verification in progress: how long its steps took, and whether anybody still waits for it."""

    def __init__(self) -> None:
        self.abandoned = threading.Event()
        self.timings_ms: dict[str, float] = {}
        self._queued = time.perf_counter()

    def begin(self) -> None:
        """Note that a worker has taken it from the queue."""
        self.timings_ms["queue"] = _milliseconds_since(self._queued)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a step; AbandonedError if nobody waits any more."""
        if self.abandoned.is_set():
            raise AbandonedError
        began = time.perf_counter()
        yield
        self.timings_ms[name] = self.timings_ms.get(name, 0.0) + _milliseconds_since(began)


class Verifier:
    """Decodes uploads, scores them, and decides."""

    def __init__(self, cascade: Cascade, max_seconds: float, metrics: Metrics, keeper: Keeper | None = None) -> None:
        self._cascade, self._max_seconds, self._metrics, self._keeper = cascade, max_seconds, metrics, keeper

    def verify(self, data: bytes, work: Work) -> Verdict:
        """Return the verdict on an audio file; RefusedError if it cannot be used, AbandonedError if nobody waits."""
        work.begin()
        sentry, listens = self._cascade.sentry.model, self._cascade.sentry.listens
        with work.step("decode"):
            pcm = to_pcm16(decode_upload(data, self._max_seconds, sentry.sample_rate))
        seconds, least = len(pcm) / sentry.sample_rate, sentry.window_end(sentry.first_end)
        if seconds < least:
            raise RefusedError(422, "too_short", f"the audio must have {least:.3f} s at least; send more")
        levels = Levels(sentry.sample_rate)
        levels.push(pcm)
        heard = np.concatenate([pcm, np.zeros(listens.quiet_samples, np.int16)])  # so that a word at the end is heard
        with work.step("sentry"):
            times, scores = self._cascade.sentry.score_audio(heard)
            wake, best = wake_scores(scores, listens.handicaps)
            peaks = prepare(times, wake, listens.detector, best).held
            labels = [sentry.labels[index] for index in best]
            found = detect(times, wake, self._cascade.sentry.threshold, listens.detector, labels)
        calls = [call._replace(time=min(call.time, seconds)) for call in found]  # in the quiet: at the audio's end
        highest = int(np.argmax(peaks))
        peak = Detection(float(times[highest]), min(1.0, float(peaks[highest])), labels[highest])
        decisions = self._decide(calls, heard, work)
        if self._keeper:
            kept = self._cascade.kept(self._keeper, listens, self._cascade.sentry.threshold)
            for call, decision in decisions:
                kept.decide(call, decision.accepted)
            kept.push(pcm, times, scores, calls)
            kept.finish()
        for step, milliseconds in work.timings_ms.items():
            self._metrics.steps.labels(step).observe(milliseconds / 1e3)
        return self._verdict(peak, decisions, seconds, levels.hint, work)

    def _decide(self, calls: list[Detection], pcm: Pcm, work: Work) -> list[tuple[Detection, Decision]]:
        decided = []
        for call in calls:
            start, stop = self._cascade.span(call.time)
            with work.step(self._cascade.decided_by):
                decision = self._cascade.decide(call, pcm[max(0, start) : stop])
            self._metrics.events.labels("upload", self._cascade.decided_by, str(decision.accepted).lower()).inc()
            decided.append((call, decision))
        return decided

    def _verdict(
        self, peak: Detection, decided: list[tuple[Detection, Decision]], seconds: float, hint: str | None, work: Work
    ) -> Verdict:
        by_judge = self._cascade.judge is not None and bool(decided)
        call, decision = max(
            decided if by_judge else [(peak, Decision(bool(decided), peak.score, None))],
            key=lambda pair: pair[1].confidence,
        )
        decider = self._cascade.decider if by_judge else self._cascade.sentry
        return Verdict(
            prediction=decision.accepted,
            confidence=round(decision.confidence, SCORE_DIGITS),
            label=call.label,
            threshold=decider.threshold,
            decided_by="judge" if by_judge else "sentry",
            sentry_score=round(peak.score, SCORE_DIGITS),
            judge_score=None if decision.judge_score is None else round(decision.judge_score, SCORE_DIGITS),
            events=[event_of(call, decision) for call, decision in decided if decision.accepted],
            hint=hint,
            seconds=round(seconds, TIME_DIGITS),
            timings_ms={name: round(value, TIME_DIGITS) for name, value in work.timings_ms.items()},
            model=decider.key,
        )


def event_of(call: Detection, decision: Decision) -> Event:
    """Return the event of a call that was accepted."""
    score = min(1.0, round(decision.confidence, SCORE_DIGITS))
    return Event(word=call.label, time=round(call.time, TIME_DIGITS), score=score)


def _milliseconds_since(began: float) -> float:
    return 1e3 * (time.perf_counter() - began)
