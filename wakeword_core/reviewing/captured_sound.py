"""A folder of captures as its reviewers see it: what was heard, what was said of it, and the trace of the score."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from wakeword_core.errors import ConfigError, DataError, reason_of
from wakeword_core.files import remove_abandoned_parts
from wakeword_core.recordings.captured import LABELLED, Opinion, Review, read_reviews, save_review, sound_of
from wakeword_core.recordings.opinions import LONGEST_TEXT
from wakeword_core.runtime.captures import Capture, captures_in, read_facts
from wakeword_core.runtime.detector import wake_scores
from wakeword_core.runtime.model import AnyModel
from wakeword_core.text import printable

_MOST_SECONDS = 120.0
_MOST_BYTES = 32 * 2**20
"""Of a capture, which as they are kept has at most 40 s and some."""
TRACES = 64
"""That are remembered."""


@dataclass(frozen=True)
class Heard:
    """One capture with what its facts say; None for what they do not."""

    name: str
    """Of its files, without their endings."""
    time: str
    """UTC, ISO 8601."""
    kind: str
    word: str
    score: float | None
    threshold: float | None
    before_seconds: float | None
    """How much of the sound is before the moment that it was kept for."""
    review: Review | None
    revision: str
    """Of the review; empty where there is none."""


@dataclass(frozen=True)
class Trace:
    """The score of the likeliest wake word at each moment of a capture, and what it is compared with."""

    times: list[float]
    """In seconds."""
    scores: list[float]
    threshold: float


class Reviewed(Protocol):
    """Sounds that a page lets people listen to, and say something of; several threads may use it."""

    def listed(self) -> dict[str, Any]:
        """Return what the page is told of the sounds, as JSON."""

    def sound(self, name: str) -> bytes:
        """Return a sound as a FLAC file; DataError where there is none."""

    def trace(self, name: str) -> Trace:
        """Return what the model says of a sound; DataError without a model or such a sound."""

    def say(self, name: str, opinion: Opinion, seen: str) -> dict[str, Any]:
        """Write what somebody says of a sound whose revision they have `seen`, and return it with its own, as JSON."""


class CapturedSound:
    """The captures of one folder, which may change at any time; several threads may use it."""

    def __init__(self, folder: Path, model: AnyModel | None = None) -> None:
        """Look at a folder, and tidy it; ConfigError where there is none, DataError where its labels cannot be read."""
        if not folder.is_dir():
            raise ConfigError(f"there is no folder {folder}; name the one that was given to --keep")
        self.folder, self.model = folder, model
        remove_abandoned_parts(folder)
        self._facts: dict[str, Mapping[str, Any]] = {}
        self._trace = lru_cache(TRACES)(lambda name: trace_of(model, self._path(name)))
        self.captures()

    def listed(self) -> dict[str, Any]:
        """Return the captures and what was said of them, as JSON."""
        heard, gone = self.captures()
        return {
            "title": str(self.folder),
            "corrects": False,
            "scores": self.model is not None,
            "words": self.words(heard),
            "captures": [asdict(one) for one in heard],
            "gone": [asdict(one) for one in gone],
        }

    def say(self, name: str, opinion: Opinion, seen: str) -> dict[str, Any]:
        """Label, set aside or delete a capture."""
        saved = save_review(self.folder, name, opinion, seen)
        return {**asdict(saved), "revision": saved.revision}

    def captures(self) -> tuple[list[Heard], list[Review]]:
        """Return the captures that have sound, oldest first, and what was said of those that are gone."""
        reviews = read_reviews(self.folder)
        found = {capture.sound.stem: capture for capture in self._found()}
        known = self._facts
        facts = {name: known[name] if name in known else read_facts(capture) for name, capture in found.items()}
        self._facts = {name: told for name, told in facts.items() if told}  # what was moved just then is read again
        heard = [self._heard(found[name], facts[name], reviews.get(name)) for name in sorted(found)]
        return heard, [review for name, review in sorted(reviews.items()) if name not in found]

    def words(self, heard: Iterable[Heard]) -> list[str]:
        """Return the wake words that may be said in captures, as far as anything names them."""
        named = {word for one in heard for word in (one.word, one.review.word if one.review else "")}
        return sorted(filter(None, named | set(self.model.labels[1:] if self.model else ())))

    def sound(self, name: str) -> bytes:
        """Return the FLAC file of a capture; DataError where there is none, or it is far larger than what is kept."""
        try:
            return self._path(name).read_bytes()
        except FileNotFoundError:
            raise _no_capture(name) from None

    def _path(self, name: str) -> Path:
        path = sound_of(self.folder, name)
        if path is None:
            raise _no_capture(name)
        if path.stat().st_size > _MOST_BYTES:
            raise DataError(
                f"{path.name} has more than {_MOST_BYTES // 2**20} MB, which no capture has; it is not read"
            )
        return path

    def trace(self, name: str) -> Trace:
        """Return what the model says of a capture; DataError without a model or such a capture."""
        return self._trace(name)

    def _found(self) -> Iterator[Capture]:
        labelled = self.folder / LABELLED
        try:
            for folder in (self.folder, *((labelled,) if labelled.is_dir() else ())):
                for capture in captures_in(folder):
                    if capture.sound.is_file() and not capture.sound.is_symlink():
                        yield capture
        except OSError as error:
            raise DataError(f"{self.folder} cannot be listed ({reason_of(error)}); see that it is there") from error

    def _heard(self, capture: Capture, facts: Mapping[str, Any], review: Review | None) -> Heard:
        word = facts.get("word")
        return Heard(
            capture.sound.stem,
            capture.kept.isoformat(timespec="milliseconds"),
            capture.kind,
            printable(word[:LONGEST_TEXT]) if isinstance(word, str) else "",
            _number(facts.get("score")),
            _number(facts.get("threshold")),
            _number(facts.get("before_seconds")),
            review,
            review.revision if review else "",
        )


def trace_of(model: AnyModel | None, path: Path) -> Trace:
    """Return what a model says of a file; DataError without one, or where the sound is too long to look at."""
    from wakeword_core.audio import read_pcm_blocks
    from wakeword_core.runtime.model import score_blocks

    if model is None:
        raise DataError("there is no model to compute scores with; name one with --model")
    require_short(path)
    times: list[float] = []
    scores: list[float] = []
    for moments, classes in score_blocks(model, read_pcm_blocks(path, model.sample_rate)):
        times += moments.tolist()
        scores += wake_scores(classes, model.handicaps)[0].tolist() if len(moments) else []
    return Trace(times, scores, model.threshold)


def require_short(path: Path) -> None:
    """Raise DataError for sound that is too long to be looked at as a whole."""
    from wakeword_core.audio import probe

    if probe(path).seconds > _MOST_SECONDS:
        raise DataError(f"{path.name} is longer than {_MOST_SECONDS:g} s; it is not reviewed here")


def _no_capture(name: str) -> DataError:
    return DataError(f"there is no capture {printable(name[:LONGEST_TEXT])} any more; load the page again")


def _number(value: object) -> float | None:
    """A number of the facts, which anybody may have written, or None where it is none."""
    return float(value) if isinstance(value, int | float) and 0 <= value <= sys.float_info.max else None
