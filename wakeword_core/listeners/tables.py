"""Events and scores of listeners as rows of tables, for programs that look for themselves."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from wakeword_core.config.evaluation import StreamsConfig
from wakeword_core.evaluation.streams.scores import FalseAlarm, Miss, PreparedSession, prepare_sessions
from wakeword_core.listeners.hearing import Heard

_RECORDING = ("source", "path", "recording_id")
EVENT_COLUMNS = ("model", "kind", "condition", *_RECORDING, "speaker", "label", "time", "score", "late")
"""Of `events`: `time` in seconds of the recording, of a miss where its word ends; `late` in seconds after that."""
WINDOW_COLUMNS = ("model", "kind", "condition", *_RECORDING, "label", "time", "score", "smoothed")
"""Of `windows`: `smoothed` is what is compared with the threshold."""
_WORDS, _BACKGROUND, _ALIKE = "words", "background", "phrases alike"
_ALARMS = {_BACKGROUND: "false alarm", _ALIKE: "phrase alike"}
"""What an event is called in what is no word."""
_SAME = 1e-6
"""Seconds between moments that are one: a latency is computed from the end of a word, and back."""

Row = dict[str, Any]


def events(heard: Iterable[Heard], streams: StreamsConfig, paths: Mapping[str, str]) -> Iterator[Row]:
    """Yield each hit, miss and false alarm at the threshold that a listener ships with; `paths` by recording_id.

    In streams of words, an event outside of any word is an extra one.
    """
    for one in heard:
        threshold, labels = one.result.threshold, one.scores.labels
        for kind, session in _sessions(one, streams):
            about = {"model": one.listener.name, "condition": _condition(session)}
            if kind == _WORDS:
                found = _of_words(session, threshold, labels)
            else:
                found = (_row(_ALARMS[kind], alarm, alarm.time) for alarm in session.false_alarms(threshold, labels))
            for row in found:
                yield {**about, **row, "path": paths.get(row["recording_id"], "")}


def windows(heard: Iterable[Heard], streams: StreamsConfig, paths: Mapping[str, str]) -> Iterator[Row]:
    """Yield each score while a recording sounds, the pauses left out."""
    for one in heard:
        for kind, session in _sessions(one, streams):
            about = {"model": one.listener.name, "kind": kind, "condition": _condition(session)}
            scores, held = session.scores, session.prepared.held
            for span in scores.sources:
                first, last = np.searchsorted(scores.times, [span.start, span.end + _SAME])
                place = {
                    "source": span.source,
                    "path": paths.get(span.recording_id, ""),
                    "recording_id": span.recording_id,
                }
                for index in range(first, last):
                    yield {
                        **about,
                        **place,
                        "label": one.scores.labels[int(scores.classes[index])],
                        "time": round(float(scores.times[index]) - span.start + span.offset, 4),
                        "score": round(float(scores.scores[index]), 6),
                        "smoothed": round(float(held[index]), 6),
                    }


def _sessions(heard: Heard, streams: StreamsConfig) -> Iterator[tuple[str, PreparedSession]]:
    detector, labels = heard.listener.detector, heard.scores.labels
    for session in prepare_sessions(heard.scores, streams, detector):
        yield _BACKGROUND if session.scores.background else _WORDS, session
    for scores in heard.scores.confusables:
        yield _ALIKE, PreparedSession(scores, labels, streams, detector)


def _of_words(session: PreparedSession, threshold: float, labels: tuple[str, ...]) -> Iterator[Row]:
    found = session.detect(threshold)
    hits = session.ends[found.hits] + found.latencies
    speakers = {word.recording_id: word.speaker for word in session.scores.words}
    times = session.prepared.times[found.indices].tolist()
    for time, event in zip(times, session.located(found.indices, labels), strict=True):
        (which,) = np.nonzero(np.abs(hits - time) < _SAME)
        late = {"late": round(float(found.latencies[which[0]]), 4)} if len(which) else {}
        row = _row("hit" if late else "extra", event, event.time)
        yield {**row, **late, "speaker": speakers.get(event.recording_id, "")}
    for miss in session.misses(found.hits):
        yield {**_row("miss", miss, miss.end), "speaker": miss.speaker}


def _row(kind: str, event: FalseAlarm | Miss, time: float) -> Row:
    return {
        "kind": kind,
        "source": event.source,
        "recording_id": event.recording_id,
        "label": event.label,
        "time": round(time, 4),
        "score": round(event.score, 6),
    }


def _condition(session: PreparedSession) -> str:
    return session.scores.condition.name if session.scores.condition else ""
