"""Scores of continuous audio, computed once, and the events that a detector makes of them at any threshold."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wakeword_core.config import Config, DetectorConfig
from wakeword_core.config.evaluation import StreamsConfig
from wakeword_core.errors import DataError
from wakeword_core.evaluation.streams.build import (
    BACKGROUND_ROLES,
    CONFUSABLE_ROLES,
    POSITIVE_ROLES,
    Session,
    SourceSpan,
    Word,
    background_sessions,
    positive_sessions,
    seconds_of,
)
from wakeword_core.evaluation.streams.conditions import Condition, all_conditions
from wakeword_core.evaluation.streams.speech import SpeechMeter
from wakeword_core.progress import Progress, silent
from wakeword_core.runtime.detector import Handicaps, PreparedScores, event_indices, lowered, prepare, wake_scores
from wakeword_core.shards.packed_split import seconds_by_role

StreamScorer = Callable[[NDArray[np.int16]], tuple[NDArray[Any], NDArray[Any]]]
"""int16 [samples] -> (times in seconds [n], scores [n] or [n, classes])."""


@dataclass(frozen=True)
class SessionScores:
    """The scores of one session: of the likeliest wake word [n], which class that is [n], and when [n].

    `condition` is that of its words, None for background.
    """

    condition: Condition | None
    times: NDArray[np.float64]
    scores: NDArray[np.float64]
    classes: NDArray[np.int64]
    words: tuple[Word, ...]
    sources: tuple[SourceSpan, ...]

    @classmethod
    def of(cls, session: Session, condition: Condition | None, score: StreamScorer) -> "SessionScores":
        """Score a session from a fresh start."""
        times, raw = score(session.pcm)
        scores, classes = wake_scores(raw)
        moments = np.asarray(times, dtype=np.float64)
        return cls(condition, moments, scores, classes, tuple(session.words), tuple(session.sources))

    @property
    def background(self) -> bool:
        """Whether it holds no wake word."""
        return self.condition is None

    @property
    def seconds(self) -> float:
        """Duration of its recordings, pauses left out."""
        return seconds_of(self.sources)


EVEN = 0.5
"""Below it a model itself holds a score for no wake word."""


@dataclass(frozen=True)
class StreamScores:
    """The scores of every session of a split, enough to try any threshold; `labels` in order of class index.

    Confusables are phrases that sound alike: no part of the background's hours. `synthetic` are the sources that no
    person was recorded for. No threshold that is chosen without people is below `least`.
    """

    sessions: tuple[SessionScores, ...]
    labels: tuple[str, ...]
    confusables: tuple[SessionScores, ...] = ()
    synthetic: frozenset[str] = frozenset()
    least: float = EVEN

    @property
    def background_hours(self) -> float:
        """Hours of recordings without a wake word, pauses left out."""
        return sum(session.seconds for session in self.sessions if session.background) / 3_600

    @property
    def words(self) -> int:
        """Wake words, counted once a condition."""
        return sum(len(session.words) for session in self.sessions)

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The conditions that words were played in, in order."""
        return tuple(dict.fromkeys(session.condition for session in self.sessions if session.condition is not None))

    def within(self, conditions: Collection[Condition]) -> "StreamScores":
        """Return the same without the words of other conditions; background and confusables stay."""
        kept = tuple(session for session in self.sessions if session.condition in (None, *conditions))
        return replace(self, sessions=kept)

    def lowered(self, handicaps: Handicaps | None) -> "StreamScores":
        """Return the same with the odds of each word's scores divided by its handicap."""
        if handicaps is None:
            return self
        return self._changed(lambda one: replace(one, scores=lowered(one.scores, handicaps[one.classes])))

    def of_word(self, word: str) -> "StreamScores":
        """Return the same as if the model knew one of its words only: no other is said, and none has a score."""
        code = _code(word, self.labels)

        def alone(session: SessionScores) -> SessionScores:
            said = tuple(one for one in session.words if one.label == word)
            return replace(session, words=said, scores=np.where(session.classes == code, session.scores, 0.0))

        return self._changed(alone)

    def _changed(self, change: Callable[[SessionScores], SessionScores]) -> "StreamScores":
        sessions, confusables = (tuple(map(change, listed)) for listed in (self.sessions, self.confusables))
        return replace(self, sessions=sessions, confusables=confusables)


def without_background(scores: StreamScores, left_out: Callable[[SourceSpan], bool]) -> StreamScores:
    """Return the same streams without the background recordings that are `left_out`, and the pause behind each."""
    sessions = (_without(session, left_out) if session.background else session for session in scores.sessions)
    return replace(scores, sessions=tuple(session for session in sessions if session.sources))


def _without(session: SessionScores, left_out: Callable[[SourceSpan], bool]) -> SessionScores:
    spans = session.sources
    quiet = session.scores.copy()
    starts = [*(span.start for span in spans), np.inf]
    for span, following in zip(spans, starts[1:], strict=True):
        if left_out(span):
            quiet[(session.times >= span.start) & (session.times < following)] = 0.0
    return replace(session, scores=quiet, sources=tuple(span for span in spans if not left_out(span)))


def score_streams(
    scorer: StreamScorer,
    shards_folder: Path,
    config: Config,
    progress: Progress = silent,
    conditions: Sequence[Condition] | None = None,
    confusables: bool = True,
    short_phrases: bool = True,
    synthetic: Collection[str] = (),
) -> StreamScores:
    """Score the split's positives in each condition, its background and its confusables, a session at a time.

    For `short_phrases`, the speech in the background is measured. `conditions` are those of the test unless given;
    `synthetic` are the sources that no person was recorded for.
    """
    (scores,) = hear_streams(
        (scorer,), shards_folder, config, progress, conditions, confusables, short_phrases, synthetic
    )
    return scores


def hear_streams(
    scorers: Sequence[StreamScorer],
    shards_folder: Path,
    config: Config,
    progress: Progress = silent,
    conditions: Sequence[Condition] | None = None,
    confusables: bool = True,
    short_phrases: bool = True,
    synthetic: Collection[str] = (),
    minutes: float | None = None,
) -> list[StreamScores]:
    """Do what `score_streams` does with several scorers, all of which hear a session before the next is made.

    With `minutes`, as many sessions of a kind of audio (words in a condition, background, confusables) are heard as
    have at most so many of recordings together, the first in any case.
    """
    tested = all_conditions(config.evaluation.conditions) if conditions is None else tuple(conditions)
    lengths = seconds_by_role(shards_folder)
    kinds = [POSITIVE_ROLES] * len(tested) + [BACKGROUND_ROLES] + [CONFUSABLE_ROLES] * confusables
    most = np.inf if minutes is None else 60 * minutes
    planned = round(sum(min(sum(lengths.get(role, 0.0) for role in roles), most) for roles in kinds))
    done = 0.0

    def heard(sessions: Iterable[Session], condition: Condition | None = None) -> list[tuple[SessionScores, ...]]:
        nonlocal done
        found = []
        for session in _first(sessions, most):
            found.append(tuple(SessionScores.of(session, condition, scorer) for scorer in scorers))
            done += session.seconds
            progress("stream test (s)", min(round(done), planned), planned)
        return found

    sessions = [
        scored
        for condition in tested
        for scored in heard(positive_sessions(shards_folder, config, config.seed, condition), condition)
    ]
    measure = SpeechMeter(config.data.audio.sample_rate, config.data.health.vad_threshold) if short_phrases else None
    sessions += heard(background_sessions(shards_folder, config, measure=measure))
    alike = heard(background_sessions(shards_folder, config, CONFUSABLE_ROLES)) if confusables else []
    if round(done) < planned:  # of sessions that had no room within `minutes`
        progress("stream test (s)", planned, planned)
    return [
        StreamScores(
            tuple(scored[index] for scored in sessions),
            config.labels,
            tuple(scored[index] for scored in alike),
            frozenset(synthetic),
        )
        for index in range(len(scorers))
    ]


def _first(sessions: Iterable[Session], seconds: float) -> Iterator[Session]:
    """Yield sessions while there are at most so many seconds of recordings, the first in any case."""
    total = 0.0
    for session in sessions:
        if total and total + session.seconds > seconds:
            return
        total += session.seconds
        yield session


@dataclass(frozen=True)
class FalseAlarm:
    """An event in background audio; `time` in seconds of the recording it happened in."""

    source: str
    recording_id: str
    time: float
    score: float
    label: str


@dataclass(frozen=True)
class Miss:
    """A wake word without an event, from `start` to `end` in seconds of its recording; `score` is the best around it.

    `condition` is the name of the condition it was missed in.
    """

    source: str
    recording_id: str
    label: str
    condition: str
    score: float
    start: float
    end: float
    speaker: str = ""


@dataclass(frozen=True)
class SessionEvents:
    """The events in one session as `indices` of its scores, which words were hit [words], and how late, in seconds."""

    indices: NDArray[np.int64]
    hits: NDArray[np.bool_]
    latencies: NDArray[np.float64]


class PreparedSession:
    """One session made ready for many thresholds of one detector."""

    def __init__(
        self, scores: SessionScores, labels: tuple[str, ...], streams: StreamsConfig, detector: DetectorConfig
    ) -> None:
        self.scores = scores
        self.detector = detector
        self.prepared: PreparedScores = prepare(scores.times, scores.scores, detector, scores.classes)
        words = scores.words
        self.codes = np.array([_code(word.label, labels) for word in words], dtype=np.int64)
        self.starts = np.array([word.start for word in words])
        self.ends = np.array([word.end for word in words])
        # One event is one word's: a word's time is over when the next begins.
        following = np.append(np.nextafter(self.starts[1:], -np.inf), np.inf) if words else self.starts
        self.stops = np.minimum(self.ends + streams.tolerance_seconds, following)
        self.peaks = self._peaks()
        # a recording that goes on from the session before was scored there up to where it goes on
        first = scores.sources[0] if scores.sources else None
        self.goes_on_with = first.recording_id if first and scores.background and first.offset > 0 else ""
        self.counted_from = first.start if first and self.goes_on_with else -np.inf
        self.counted_until = np.inf

    def detect(self, threshold: float) -> SessionEvents:
        """Run the detector at a threshold."""
        events = event_indices(self.prepared, threshold, self.detector)
        hits = np.zeros(len(self.starts), dtype=bool)
        late = np.zeros(len(self.starts))
        for code in np.unique(self.codes).tolist():
            times = self.prepared.times[events[self.scores.classes[events] == code]]
            first = np.searchsorted(times, self.starts)
            here = (first < np.searchsorted(times, self.stops, side="right")) & (self.codes == code)
            hits |= here
            late[here] = times[first[here]] - self.ends[here]
        return SessionEvents(events, hits, late[hits])

    def misses(self, hits: NDArray[np.bool_]) -> list[Miss]:
        """List the words that were not hit."""
        condition = self.scores.condition
        assert condition is not None
        return [
            Miss(
                source=word.source,
                recording_id=word.recording_id,
                label=word.label,
                condition=condition.name,
                score=max(float(peak), 0.0),
                start=word.start - word.begin,
                end=word.end - word.begin,
                speaker=word.speaker,
            )
            for word, peak, hit in zip(self.scores.words, self.peaks, hits, strict=True)
            if not hit
        ]

    def alarm_events(self, threshold: float) -> NDArray[np.int64]:
        """Return the events in background as indices of scores, without those that a neighbouring session counts."""
        return self.counted(event_indices(self.prepared, threshold, self.detector))

    def counted(self, events: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return events, given as indices of scores, without those that a neighbouring session counts."""
        times = self.prepared.times[events]
        return events[(times >= self.counted_from) & (times <= self.counted_until)]

    def false_alarms(self, threshold: float, labels: tuple[str, ...]) -> list[FalseAlarm]:
        """List the events in background at a threshold."""
        return self.located(self.alarm_events(threshold), labels)

    def located(self, events: NDArray[np.int64], labels: tuple[str, ...]) -> list[FalseAlarm]:
        """List events, given as indices of scores, by the recording that sounded last."""
        starts = [span.start for span in self.scores.sources]
        alarms = []
        for event in events.tolist():
            time = float(self.prepared.times[event])
            span = self.scores.sources[max(int(np.searchsorted(starts, time, side="right")) - 1, 0)]
            moment = span.offset + min(time, span.end) - span.start
            score, label = float(self.prepared.held[event]), labels[int(self.scores.classes[event])]
            alarms.append(FalseAlarm(span.source, span.recording_id, moment, score, label))
        return alarms

    def _peaks(self) -> NDArray[np.float64]:
        """Return the highest threshold that each word reaches with its own class in its time; -inf without a score."""
        low = np.searchsorted(self.prepared.times, self.starts)
        high = np.searchsorted(self.prepared.times, self.stops, side="right")
        return np.array(
            [
                self.prepared.held[a:b][self.scores.classes[a:b] == code].max(initial=-np.inf)
                for a, b, code in zip(low, high, self.codes, strict=True)
            ],
            dtype=np.float64,
        )


def prepare_sessions(scores: StreamScores, streams: StreamsConfig, detector: DetectorConfig) -> list[PreparedSession]:
    """Make every session of words and background ready for many thresholds."""
    sessions = [PreparedSession(session, scores.labels, streams, detector) for session in scores.sessions]
    for session, following in pairwise(sessions):
        last = session.scores.sources[-1]
        if last.recording_id == following.goes_on_with:  # the pause behind the cut is scored again after it
            session.counted_until = last.end
    return sessions


def loudest_of_each(
    sessions: Sequence[SessionScores], labels: tuple[str, ...], streams: StreamsConfig, detector: DetectorConfig
) -> NDArray[np.float64]:
    """Return the highest threshold that each recording of these sessions reaches, rising; 0 without a score."""
    loudest: dict[str, float] = {}
    for session in sessions:
        held = PreparedSession(session, labels, streams, detector).prepared.held
        starts = np.searchsorted(session.times, [span.start for span in session.sources]).tolist()
        for span, (start, end) in zip(session.sources, pairwise([*starts, len(held)]), strict=True):
            peak = float(held[start:end].max(initial=0.0))
            loudest[span.recording_id] = max(peak, loudest.get(span.recording_id, 0.0))
    return np.sort(np.array(list(loudest.values()), dtype=np.float64))


def _code(label: str, labels: tuple[str, ...]) -> int:
    if label not in labels:
        raise DataError(f"the stream test has the word {label!r}, which the model does not know ({', '.join(labels)})")
    return labels.index(label)
