"""Strangers in the benchmark among them: who they are, what is left without them, and how many are let in."""

import elsewhere
import numpy as np
import pytest

from wakeword_core.config import Config
from wakeword_core.evaluation.streams.build import SourceSpan, Word
from wakeword_core.evaluation.streams.conditions import Condition
from wakeword_core.evaluation.streams.scores import SessionScores, StreamScores

CONFIG = Config.model_validate({"evaluation": {"detector": {"smoothing": 1}}})
SPANS = (("jarvis-test", 0.6), ("wake-words-en-test", 3.0), ("commands-en-test", 0.5), ("wake-words-en-test", 0.7))


def session(peaks: list[float], spans: tuple[SourceSpan, ...], words: tuple[Word, ...] = ()) -> SessionScores:
    times = np.arange(750) * 0.08
    scores = np.zeros(750)
    for at in peaks:
        scores[round(at / 0.08)] = 0.9
    return SessionScores(Condition(10.0) if words else None, times, scores, np.ones(750, dtype=int), words, spans)


@pytest.fixture
def scores() -> StreamScores:
    """Everybody sets off an alarm; one stranger talks for too long to be a short phrase."""
    others = tuple(
        SourceSpan(source, f"r{index}", 10.0 * index, 10.0 * index + 5, role="negative", spoken=spoken)
        for index, (source, spoken) in enumerate(SPANS)
    )
    word = Word("hey robin", "w", 5.0, 5.8, "computer-test")
    spoken = (SourceSpan("computer-test", "w", 4.5, 6.3, role="positive", spoken=0.8),)
    background = session([10.0 * index + 1.04 for index in range(4)], others)
    return StreamScores((session([5.6], spoken, (word,)), background), CONFIG.labels)


def test_strangers_are_counted_as_a_report_counts_them(scores: StreamScores) -> None:
    detector = CONFIG.evaluation.detector
    assert elsewhere.strangers_accepted(scores, CONFIG, detector, 0.5) == {"accepted": 2, "of": 2}
    assert elsewhere.strangers_accepted(scores, CONFIG, detector, 0.95) == {"accepted": 0, "of": 2}


def test_without_strangers_the_rest_stays(scores: StreamScores) -> None:
    rest = elsewhere.without_strangers(scores)
    assert rest.words == 1 and rest.background_hours == pytest.approx(5 / 3600)
    assert elsewhere.loudest_sources(rest, CONFIG, CONFIG.evaluation.detector) == {"commands-en-test": 1}
