"""What of a split's streams was recorded of people and places, and what is made from text or computed."""

from dataclasses import dataclass

from wakeword_core.evaluation.streams.build import SourceSpan
from wakeword_core.evaluation.streams.scores import StreamScores, without_background


@dataclass(frozen=True)
class Origins:
    """Recordings of wake words and hours of background in a split's streams, and how many of each are real."""

    words: int
    real_words: int
    background_hours: float
    real_background_hours: float

    @classmethod
    def of(cls, scores: StreamScores) -> "Origins":
        """Count them by the sources that the streams know to be synthetic."""
        words = {word.recording_id: word.source for session in scores.sessions for word in session.words}
        return cls(
            words=len(words),
            real_words=sum(source not in scores.synthetic for source in words.values()),
            background_hours=scores.background_hours,
            real_background_hours=with_real_background(scores).background_hours,
        )


def with_real_background(scores: StreamScores) -> StreamScores:
    """Return the same streams without the background that is synthetic."""

    def synthetic(span: SourceSpan) -> bool:
        return span.source in scores.synthetic

    return without_background(scores, synthetic) if scores.synthetic else scores
