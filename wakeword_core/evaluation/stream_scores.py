"""Scores of continuous audio, kept per session, and what a detector makes of them at any threshold."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wakeword_core.config import Config
from wakeword_core.errors import DataError
from wakeword_core.evaluation.detector import PreparedScores, event_indices, prepare, wake_scores
from wakeword_core.evaluation.streams import (
    BACKGROUND_ROLES,
    CONFUSABLE_ROLES,
    POSITIVE_ROLES,
    Session,
    SourceSpan,
    Word,
    background_sessions,
    positive_sessions,
)
from wakeword_core.progress import Progress, silent

Scorer = Callable[[NDArray[np.int16]], tuple[NDArray[Any], NDArray[Any]]]
"""int16 [samples] -> (times in seconds [n], scores [n] or [n, classes])."""


@dataclass(frozen=True)
class SessionScores:
    """The scores of one session: of the likeliest wake word [n], which class that is [n], and when [n]."""

    snr_db: float | None
    times: NDArray[np.float64]
    scores: NDArray[np.float64]
    classes: NDArray[np.int64]
    words: tuple[Word, ...]
    sources: tuple[SourceSpan, ...]
    background: bool

    @property
    def seconds(self) -> float:
        """Duration of the recordings in it, pauses left out."""
        return sum(span.end - span.start for span in self.sources)


@dataclass(frozen=True)
class StreamScores:
    """The scores of every session of a split, enough to try any threshold; `labels` in order of class index."""

    sessions: tuple[SessionScores, ...]
    """Words in every noise condition, and background."""
    labels: tuple[str, ...]
    confusables: tuple[SessionScores, ...] = ()
    """Phrases that sound alike: no part of the background's hours."""

    @property
    def background_hours(self) -> float:
        """Hours of recordings without a wake word, pauses left out."""
        return sum(session.seconds for session in self.sessions if session.background) / 3_600

    @property
    def words(self) -> int:
        """Wake words, counted once a noise condition."""
        return sum(len(session.words) for session in self.sessions)


@dataclass(frozen=True)
class FalseAlarm:
    """An event in background audio; `time` in seconds of the recording it happened in."""

    source: str
    id: str
    time: float
    score: float
    label: str


@dataclass(frozen=True)
class Miss:
    """A wake word without an event; `score` is the best one around it."""

    source: str
    id: str
    label: str
    snr_db: float | None
    score: float


def score_streams(scorer: Scorer, shards_folder: Path, config: Config, progress: Progress = silent) -> StreamScores:
    """Score the split's positives in every noise condition, its background and its confusables, a session at a time."""
    evaluation = config.evaluation
    planned = _planned_seconds(shards_folder, len(evaluation.stream_snr_db))
    done = 0.0

    def scored(session: Session, snr_db: float | None = None, *, background: bool = True) -> SessionScores:
        nonlocal done
        times, raw = scorer(session.pcm)
        scores, classes = wake_scores(raw)
        found = SessionScores(
            snr_db,
            np.asarray(times, dtype=np.float64),
            scores,
            classes,
            tuple(session.words),
            tuple(session.sources),
            background,
        )
        done += found.seconds
        progress("stream test (s)", min(round(done), round(planned)), round(planned))
        return found

    sessions = [
        scored(session, snr_db, background=False)
        for snr_db in evaluation.stream_snr_db
        for session in positive_sessions(shards_folder, config, config.seed, snr_db)
    ]
    sessions += [scored(session) for session in background_sessions(shards_folder, config)]
    confusables = [scored(session) for session in background_sessions(shards_folder, config, CONFUSABLE_ROLES)]
    return StreamScores(tuple(sessions), config.labels, tuple(confusables))


@dataclass(frozen=True)
class Found:
    """Events (indices of scores), which words were hit [words], and the latencies of the hits in seconds."""

    events: NDArray[np.int64]
    hits: NDArray[np.bool_]
    latencies: NDArray[np.float64]


class Lane:
    """One session made ready for many thresholds."""

    def __init__(self, session: SessionScores, labels: tuple[str, ...], config: Config) -> None:
        self.session = session
        self.detector = config.evaluation.detector
        self.prepared: PreparedScores = prepare(session.times, session.scores, self.detector)
        words = session.words
        self.codes = np.array([_code(word.label, labels) for word in words], dtype=np.int64)
        self.starts = np.array([word.start for word in words])
        self.ends = np.array([word.end for word in words])
        # One event is one word's: a word's time is over when the next begins.
        following = np.append(np.nextafter(self.starts[1:], -np.inf), np.inf) if words else self.starts
        self.stops = np.minimum(self.ends + config.evaluation.tolerance_seconds, following)
        self.peaks = self._peaks()
        # a recording that goes on from the session before was heard there already, as far as where it goes on
        first = session.sources[0] if session.sources else None
        self.counted_from = first.start if first and session.background and first.offset > 0 else -np.inf

    def found(self, threshold: float) -> Found:
        """What the detector makes of it at a threshold."""
        events = event_indices(self.prepared, threshold, self.detector)
        hits = np.zeros(len(self.starts), dtype=bool)
        late = np.zeros(len(self.starts))
        for code in np.unique(self.codes).tolist():
            times = self.prepared.times[events[self.session.classes[events] == code]]
            first = np.searchsorted(times, self.starts)
            here = (first < np.searchsorted(times, self.stops, side="right")) & (self.codes == code)
            hits |= here
            late[here] = times[first[here]] - self.ends[here]
        return Found(events, hits, late[hits])

    def misses(self, hits: NDArray[np.bool_]) -> list[Miss]:
        """The words not hit."""
        pairs = [(self.session.words[index], self.peaks[index]) for index in np.flatnonzero(~hits)]
        return [
            Miss(word.source, word.id, word.label, self.session.snr_db, max(float(peak), 0.0)) for word, peak in pairs
        ]

    def alarm_events(self, threshold: float) -> NDArray[np.int64]:
        """Events (indices of scores) in background that the session before did not count already."""
        events = event_indices(self.prepared, threshold, self.detector)
        return events[self.prepared.times[events] >= self.counted_from]

    def false_alarms(self, threshold: float, labels: tuple[str, ...]) -> list[FalseAlarm]:
        """Every event, by the recording that sounded last."""
        events = self.alarm_events(threshold)
        starts = [span.start for span in self.session.sources]
        alarms = []
        for event in events.tolist():
            time = float(self.prepared.times[event])
            span = self.session.sources[max(int(np.searchsorted(starts, time, side="right")) - 1, 0)]
            moment = span.offset + min(time, span.end) - span.start
            score, label = float(self.prepared.smoothed[event]), labels[int(self.session.classes[event])]
            alarms.append(FalseAlarm(span.source, span.id, moment, score, label))
        return alarms

    def _peaks(self) -> NDArray[np.float64]:
        """The best smoothed score of the right class in each word's time; -inf where there is none."""
        low = np.searchsorted(self.prepared.times, self.starts)
        high = np.searchsorted(self.prepared.times, self.stops, side="right")
        return np.array(
            [
                self.prepared.smoothed[a:b][self.session.classes[a:b] == code].max(initial=-np.inf)
                for a, b, code in zip(low, high, self.codes, strict=True)
            ],
            dtype=np.float64,
        )


def lanes_of(scores: StreamScores, config: Config) -> list[Lane]:
    """Every session of words and background made ready for many thresholds."""
    return [Lane(session, scores.labels, config) for session in scores.sessions]


def confusables_accepted(scores: StreamScores, threshold: float, config: Config) -> tuple[int, int]:
    """How many of the recordings that sound alike set off a detection, and how many there are."""
    lanes = [Lane(session, scores.labels, config) for session in scores.confusables]
    accepted = {alarm.id for lane in lanes for alarm in lane.false_alarms(threshold, scores.labels)}
    return len(accepted), len({span.id for session in scores.confusables for span in session.sources})


def _code(label: str, labels: tuple[str, ...]) -> int:
    if label not in labels:
        raise DataError(f"the stream test has the word {label!r}, which the model does not know ({', '.join(labels)})")
    return labels.index(label)


def _planned_seconds(shards_folder: Path, conditions: int) -> float:
    """Seconds of recordings that will be scored, from the shards' columns alone."""
    import pyarrow.parquet as pq

    from wakeword_core.shards import shard_paths

    total = 0.0
    for path in shard_paths(shards_folder):
        table = pq.read_table(path, columns=["role", "seconds"])
        for role, seconds in zip(table["role"].to_pylist(), table["seconds"].to_pylist(), strict=True):
            total += seconds * ((role in POSITIVE_ROLES) * conditions + (role in BACKGROUND_ROLES + CONFUSABLE_ROLES))
    return total
