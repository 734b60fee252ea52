"""Phrases that are said alone in the test: which recordings hold one, and how many of them set off a detection.

A model that learnt to tell its phrase from sentences and noise may still take any short phrase for it. Hours of
background hold few of these, and their false alarms an hour hide it: so they are counted by recordings, too.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from wakeword_core.evaluation.measure.intervals import Interval, wilson_interval
from wakeword_core.evaluation.streams.beds import SPOKEN_ROLES
from wakeword_core.evaluation.streams.build import SourceSpan
from wakeword_core.evaluation.streams.scores import FalseAlarm, SessionScores, StreamScores

_USUAL = 95
"""Percentile of the wake words' own lengths."""
_LONGER = 1.5
"""Times that length: so much longer a phrase may be and still fill the model's window as the word does."""


@dataclass(frozen=True)
class AcceptedRate:
    """Recordings of one group (a source) and how many of them set off a detection."""

    name: str
    recordings: int
    accepted: int
    share: float
    interval: Interval


@dataclass(frozen=True)
class ShortPhrases:
    """Recordings in which a stranger says something about as short as the wake word, and nothing else.

    `longest_seconds` is the speech that one holds at most; None where no wake word's length is known. `share` is None
    without recordings. `alarms` are the loudest event in each accepted recording, the loudest first.
    """

    longest_seconds: float | None
    recordings: int
    accepted: int
    share: float | None
    interval: Interval
    by_source: list[AcceptedRate]
    alarms: list[FalseAlarm]


def short_phrases(scores: StreamScores, alarms: Iterable[FalseAlarm], level: float) -> ShortPhrases:
    """Count the short phrases, and those in which one of `alarms` is: all events of background and confusables."""
    longest = longest_short_phrase(scores)
    sessions = (*(session for session in scores.sessions if session.background), *scores.confusables)
    sources = {
        span.recording_id: span.source
        for session in sessions
        for span in session.sources
        if longest is not None and span.role in SPOKEN_ROLES and 0 <= span.spoken <= longest
    }
    loudest: dict[str, FalseAlarm] = {}
    for alarm in sorted(alarms, key=lambda alarm: -alarm.score):
        if alarm.recording_id in sources:
            loudest.setdefault(alarm.recording_id, alarm)
    return ShortPhrases(
        longest_seconds=longest,
        recordings=len(sources),
        accepted=len(loudest),
        share=len(loudest) / len(sources) if sources else None,
        interval=wilson_interval(len(loudest), len(sources), level),
        by_source=_by_source(sources, loudest, level),
        alarms=list(loudest.values()),
    )


def longest_short_phrase(scores: StreamScores) -> float | None:
    """Return how many seconds of speech a short phrase holds at most, by the wake words of the streams; None without.

    The words differ in length by speaker: half as long again as all but the longest of them.
    """
    lengths = {span.recording_id: span.spoken for span in _words(scores.sessions) if np.isfinite(span.spoken)}
    return _LONGER * float(np.percentile(list(lengths.values()), _USUAL)) if lengths else None


def _words(sessions: Iterable[SessionScores]) -> Iterable[SourceSpan]:
    return (span for session in sessions if not session.background for span in session.sources)


def _by_source(sources: Mapping[str, str], accepted: Collection[str], level: float) -> list[AcceptedRate]:
    """Return the share of accepted recordings of each source, the highest first."""
    every = Counter(sources.values())
    counts = Counter(sources[recording_id] for recording_id in accepted)
    rates = [
        AcceptedRate(name, total, counts[name], counts[name] / total, wilson_interval(counts[name], total, level))
        for name, total in every.items()
    ]
    return sorted(rates, key=lambda rate: (-rate.share, -rate.recordings, rate.name))
