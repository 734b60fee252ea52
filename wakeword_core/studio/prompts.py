"""What people are asked to say, and how: their wake word in many ways, other things, and nothing at all."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import cycle, islice, zip_longest
from typing import Literal

import numpy as np

from wakeword_core.errors import DataError, MissingDependencyError
from wakeword_core.speech.pronunciation.phonetics import PhraseGuard
from wakeword_core.speech.texts.sentences import sentences, vocabulary

_USUALLY = "as you usually say it"
_FAR = "from the other side of the room"
MANNERS = (
    _USUALLY,
    _FAR,
    "quietly",
    "quickly",
    "loudly",
    "with your head turned away",
    "slowly",
    "as if you were tired",
    "as a question",
    "while you move about",
)
"""How a wake word is to be said, in turn."""
_READY_SECONDS, _WALKING_SECONDS = 1.5, 6.0
_LEAST_SECONDS, _SPARE_SECONDS, _SECONDS_A_LETTER = 3.0, 1.8, 0.09
_PIECE_SECONDS = 60.0
LONGEST_SECONDS = _PIECE_SECONDS
"""Of a take; what is said is shorter."""
_PIECES_A_GROUP = 2
"""Of a room: neighbouring minutes sound alike, and groups of them are put into splits."""


@dataclass(frozen=True)
class Prompt:
    """One thing to record: the text to say and in which manner, or a piece of the room where there is no text."""

    role: Literal["positive", "negative", "background"]
    text: str
    manner: str
    seconds: float
    ready_seconds: float = _READY_SECONDS
    """Time before the recording begins, so that one can get to where one should be."""
    group: str = ""
    """What it counts as in the splits; empty: the speaker."""

    @property
    def label(self) -> str:
        """The wake word that is said, or an empty text."""
        return self.text if self.role == "positive" else ""


def wake_word_prompts(phrase: str, count: int) -> list[Prompt]:
    """Return `count` prompts for a wake word, in each manner in turn."""
    return [
        Prompt("positive", phrase, manner, _seconds(phrase), _WALKING_SECONDS if manner == _FAR else _READY_SECONDS)
        for manner in islice(cycle(MANNERS), count)
    ]


def other_prompts(phrase: str, count: int, seed: int) -> list[Prompt]:
    """Return `count` prompts without the phrase in them, single words and sentences in turn.

    So neither the voice nor a word that is said alone tells the wake word. Another seed gives other texts; DataError
    where nothing can be said without the phrase.
    """
    guard = _guard(phrase)
    words = np.random.default_rng([seed, count]).permutation(vocabulary())[:count].tolist()
    alone = [word for word, refused in zip(words, guard.contains(words), strict=True) if not refused]
    in_turn = [text for pair in zip_longest(alone, sentences(count, seed, guard)) for text in pair if text]
    return [Prompt("negative", text, _USUALLY, _seconds(text)) for text in in_turn[:count]]


def room_prompts(minutes: float, begun: datetime) -> list[Prompt]:
    """Return prompts for so many minutes of a room, a minute each; every two of them are a group in the splits.

    It is a second at least.
    """
    seconds = max(1, round(60 * minutes))
    pieces = math.ceil(seconds / _PIECE_SECONDS)
    return [
        Prompt(
            "background",
            "",
            "",
            min(_PIECE_SECONDS, seconds - place * _PIECE_SECONDS),
            group=f"room {begun:%Y-%m-%dT%H-%M-%S} {place // _PIECES_A_GROUP + 1}",
        )
        for place in range(pieces)
    ]


def _seconds(text: str) -> float:
    """How long a take of a text is: time to read it, and some to spare before and after."""
    return min(LONGEST_SECONDS, max(_LEAST_SECONDS, _SPARE_SECONDS + _SECONDS_A_LETTER * len(text)))


def _guard(phrase: str) -> PhraseGuard:
    """What finds the phrase in a text: by sound where espeak-ng can read it, else by letters."""
    try:
        return PhraseGuard([phrase])
    except (MissingDependencyError, DataError):
        return PhraseGuard([phrase], _as_written)


def _as_written(texts: Sequence[str], accent: str) -> list[str]:
    return [text.lower() for text in texts]
