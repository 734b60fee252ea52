"""Recordings that are probably mislabelled as their reviewers see them: why, what was said, and the score's trace."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args

from wakeword_core.errors import DataError
from wakeword_core.recordings.captured import Opinion
from wakeword_core.recordings.corrections import (
    Correction,
    State,
    forget_corrections,
    make_table,
    read_corrections,
    save_correction,
)
from wakeword_core.recordings.forgotten import Forgotten
from wakeword_core.recordings.opinions import LONGEST_TEXT
from wakeword_core.reviewing.captured_sound import TRACES, Trace, require_short, trace_of
from wakeword_core.runtime.model import AnyModel
from wakeword_core.text import printable

_RATE = 16_000
"""At which the page shows and plays sound."""


@dataclass(frozen=True)
class DoubtfulRecording:
    """A recording of a source that may not be what its label says."""

    recording_id: str
    place: str
    """Below the name of its source."""
    path: Path
    label: str
    why: str
    """Why it is doubtful, for people."""


class DoubtfulSound:
    """Recordings whose labels people correct in a table; several threads, and other processes, may do so at once.

    What the home forgets meanwhile is neither shown nor heard any more, and nothing is said of it.
    """

    def __init__(
        self,
        recordings: Sequence[DoubtfulRecording],
        words: Sequence[str],
        table: Path,
        home: Path,
        model: AnyModel | None = None,
    ) -> None:
        """Make the table where there is none; DataError where that fails, or it cannot be read."""
        self.recordings = {one.recording_id: one for one in recordings}
        self.words, self.table, self.home, self.model = words, table, home, model
        self._trace = lru_cache(TRACES)(lambda name: trace_of(model, self._of(name).path))
        make_table(table)
        read_corrections(table)

    def listed(self) -> dict[str, Any]:
        """Return the recordings in their order, and what was said of them, as JSON."""
        said, forgotten = read_corrections(self.table), self._forgotten()
        return {
            "title": "doubtful recordings",
            "corrects": True,
            "scores": self.model is not None,
            "words": sorted(self.words),
            "captures": [_shown(one, said.get(name)) for name, one in self.recordings.items() if name not in forgotten],
            "gone": [],
        }

    def sound(self, name: str) -> bytes:
        """Return a recording as a FLAC file; DataError where it is gone, or too long."""
        from wakeword_core.audio import encode_flac, read_pcm16

        path = self._of(name).path
        require_short(path)
        return encode_flac(read_pcm16(path, _RATE), _RATE)

    def trace(self, name: str) -> Trace:
        """Return what the model says of a recording; DataError without a model or such a recording."""
        self._of(name)
        return self._trace(name)

    def say(self, name: str, opinion: Opinion, seen: str) -> dict[str, Any]:
        """Correct a recording in the table."""
        one = self._of(name)
        state: State | None = next((state for state in get_args(State) if state == opinion.state), None)
        if state is None:
            raise DataError(f"{opinion.state!r} is none of {', '.join(get_args(State))}")
        if state == "yes" and opinion.word.strip() not in self.words:
            raise DataError(f"the wake words are {' and '.join(sorted(self.words))}; say which of them it is")
        said = save_correction(self.table, name, state, opinion.word, opinion.reviewer, recording=one.place, seen=seen)
        if name in self._forgotten():  # with its correction, just before this one was written
            forget_corrections(self.table, [name])
            self._of(name)
        return _review(said)

    def _forgotten(self) -> frozenset[str]:
        return Forgotten.load(self.home).recordings

    def _of(self, name: str) -> DoubtfulRecording:
        one = self.recordings.get(name)
        if one is None or not one.path.is_file() or name in self._forgotten():
            place = one.place if one else printable(name[:LONGEST_TEXT])
            raise DataError(f"there is no recording {place} any more; start the review again")
        return one


def _shown(one: DoubtfulRecording, said: Correction | None) -> dict[str, Any]:
    review = _review(said) if said else None
    return {
        "name": one.recording_id,
        "place": one.place,
        "word": one.label,
        "why": one.why,
        "score": None,
        "threshold": None,
        "before_seconds": None,
        "review": review,
        "revision": said.revision if said else "",
    }


def _review(said: Correction) -> dict[str, Any]:
    return {
        "name": said.recording_id,
        "state": said.state,
        "reviewer": said.reviewer,
        "reviewed": said.reviewed,
        "word": said.label,
        "revision": said.revision,
    }
