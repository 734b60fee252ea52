"""Scores of continuous audio, kept a session: computed once, looked at with any detector and threshold after."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wakeword_core.config import Config
from wakeword_core.evaluation.conditions import Condition, all_conditions
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
from wakeword_core.runtime.detector import wake_scores
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
        """What a scorer makes of a session that it hears from a fresh start."""
        times, raw = score(session.pcm)
        scores, classes = wake_scores(raw)
        moments = np.asarray(times, dtype=np.float64)
        return cls(condition, moments, scores, classes, tuple(session.words), tuple(session.sources))

    @property
    def background(self) -> bool:
        """Whether there is no wake word in it."""
        return self.condition is None

    @property
    def seconds(self) -> float:
        """Duration of the recordings in it, pauses left out."""
        return sum(span.end - span.start for span in self.sources)


@dataclass(frozen=True)
class StreamScores:
    """The scores of every session of a split, enough to try any threshold; `labels` in order of class index."""

    sessions: tuple[SessionScores, ...]
    """Words in every condition, and background."""
    labels: tuple[str, ...]
    confusables: tuple[SessionScores, ...] = ()
    """Phrases that sound alike: no part of the background's hours."""

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
        """The conditions that words were heard in, in order."""
        return tuple(dict.fromkeys(one.condition for one in self.sessions if one.condition is not None))

    def within(self, conditions: Collection[Condition]) -> "StreamScores":
        """The same without the words of other conditions; background and confusables stay."""
        kept = tuple(one for one in self.sessions if one.condition is None or one.condition in conditions)
        return replace(self, sessions=kept)


def score_streams(
    scorer: StreamScorer,
    shards_folder: Path,
    config: Config,
    progress: Progress = silent,
    conditions: Sequence[Condition] | None = None,
    confusables: bool = True,
) -> StreamScores:
    """Score the split's positives in each condition, its background and its confusables, a session at a time.

    `conditions` are those of the test unless given.
    """
    heard_in = all_conditions(config) if conditions is None else tuple(conditions)
    planned = _planned_seconds(shards_folder, len(heard_in), confusables)
    done = 0.0

    def scored(session: Session, condition: Condition | None = None) -> SessionScores:
        nonlocal done
        found = SessionScores.of(session, condition, scorer)
        done += found.seconds
        progress("stream test (s)", min(round(done), round(planned)), round(planned))
        return found

    sessions = [
        scored(session, condition)
        for condition in heard_in
        for session in positive_sessions(shards_folder, config, config.seed, condition)
    ]
    sessions += [scored(session) for session in background_sessions(shards_folder, config)]
    alike = background_sessions(shards_folder, config, CONFUSABLE_ROLES) if confusables else ()
    return StreamScores(tuple(sessions), config.labels, tuple(scored(session) for session in alike))


def _planned_seconds(shards_folder: Path, conditions: int, confusables: bool) -> float:
    """Seconds of recordings that will be scored, from the shards' columns alone."""
    once = BACKGROUND_ROLES + (CONFUSABLE_ROLES if confusables else ())
    return sum(
        seconds * ((role in POSITIVE_ROLES) * conditions + (role in once))
        for role, seconds in seconds_by_role(shards_folder).items()
    )
