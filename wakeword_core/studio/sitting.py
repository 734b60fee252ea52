"""One sitting of one person: prompts in turn, each said until it came through, in a terminal or on a page."""

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np

from wakeword_core.audio import Pcm
from wakeword_core.errors import ConfigError
from wakeword_core.studio.checks import Heard, Hearing, level_dbfs
from wakeword_core.studio.folder import Consent, RecordingFolder
from wakeword_core.studio.prompts import Prompt, other_prompts, room_prompts, wake_word_prompts
from wakeword_core.text import printable

PRIVATE = "private"
"""The licence of recordings of which nothing else is said."""
_LONGEST_NAME = 60


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a sitting is to record, and where to; ConfigError for a licence that no table can hold."""

    folder: RecordingFolder
    phrase: str
    count: int
    negatives: int
    room_minutes: float
    licence: str
    sample_rate: int
    hearing: Hearing

    def __post_init__(self) -> None:
        if not self.licence.strip() or printable(self.licence) != self.licence:
            raise ConfigError(f"the licence is {self.licence!r}, but must be one line of text, such as CC0-1.0")

    def prompts(self) -> list[Prompt]:
        """Return what is to be said; other things are others when the folder has more in it."""
        others = other_prompts(self.phrase, self.negatives, len(self.folder.rows())) if self.negatives else []
        room = room_prompts(self.room_minutes, datetime.now(UTC)) if self.room_minutes else []
        return [*wake_word_prompts(self.phrase, self.count), *others, *room]

    def consent_to(self, speaker: str) -> str:
        """Return what a speaker has to agree to before anything is recorded."""
        others = " Everybody who can be heard in the room agrees, too." if self.room_minutes else ""
        published = (
            "The recordings are not published."
            if self.licence == PRIVATE
            else f"Others may have them under the licence {self.licence}."
        )
        return (
            f"I am {speaker}, or may speak for {speaker}, and agree that recordings of this voice are kept in this "
            f"folder and used to make and to test wake-word models. {published}{others}"
        )

    def begin(self, speaker: str) -> "Sitting":
        """Begin the sitting of a speaker, who has just agreed."""
        consent = Consent(speaker, self.licence, self.consent_to(speaker), datetime.now(UTC))
        return Sitting(self, consent)


class Kept(NamedTuple):
    """A take that was kept: where in the folder, of which prompt, and what was heard."""

    path: str
    prompt: Prompt
    heard: Heard
    place: int


class Sitting:
    """What one speaker was asked to say, has said, and is asked to say next."""

    def __init__(self, plan: Plan, consent: Consent) -> None:
        self.plan, self.consent = plan, consent
        self.prompts: Sequence[Prompt] = plan.prompts()
        self.kept: list[Kept] = []
        self.place = 0
        """How many prompts are behind."""

    @property
    def prompt(self) -> Prompt | None:
        """What is to be recorded now; None at the end."""
        return self.prompts[self.place] if self.place < len(self.prompts) else None

    def offer(self, pcm: Pcm) -> Heard:
        """Take int16 [samples] of what was said to the present prompt: kept, unless it has a fault."""
        prompt, rate = self.prompt, self.plan.sample_rate
        if prompt is None:
            raise ConfigError("everything was recorded; begin again to record more")
        if prompt.role == "background":
            heard = self.plan.hearing.room(pcm)
        else:
            heard = self.plan.hearing.utterance(pcm, rate, word=prompt.role == "positive")
        if heard.fault is None:
            path = self.plan.folder.add(pcm, rate, prompt, self.consent)
            self.kept.append(Kept(path, prompt, heard, self.place))
            self.place += 1
        return heard

    def skip(self) -> None:
        """Go on without the present prompt."""
        self.place = min(self.place + 1, len(self.prompts))

    def take_back(self) -> bool:
        """Delete the last take that was kept, and ask for it again; tells whether there was one."""
        if not self.kept:
            return False
        last = self.kept[-1]
        self.plan.folder.remove(last.path)
        self.kept.pop()
        self.place = last.place
        return True


class Moment(NamedTuple):
    """What a microphone hears while somebody gets ready, or speaks."""

    recording: bool
    seconds_left: float
    level_dbfs: float


def record(blocks: Iterator[Pcm], sample_rate: int, prompt: Prompt, show: Callable[[Moment], None]) -> Pcm:
    """Return the int16 [samples] that a prompt wants of a microphone's blocks, after the time to get ready.

    `show` is told of each block.
    """
    waiting, wanted = (round(seconds * sample_rate) for seconds in (prompt.ready_seconds, prompt.seconds))
    heard: list[Pcm] = []
    position = 0
    for block in blocks:
        position += len(block)
        left = max(0, wanted + waiting - position)
        show(Moment(left <= wanted, (left if left <= wanted else left - wanted) / sample_rate, level_dbfs(block)))
        heard.append(block[max(0, len(block) - max(0, position - waiting)) :])
        if not left:
            break
    return np.concatenate([np.empty(0, np.int16), *heard])[:wanted]


def speaker_name(text: str) -> str:
    """Return a name as it stands in tables; ConfigError for none, a long one, or one with what cannot be seen."""
    name = unicodedata.normalize("NFC", " ".join(text.split()))
    if not any(map(str.isalnum, name)) or len(name) > _LONGEST_NAME or printable(name) != name:
        raise ConfigError(
            f"the speaker is {name[:_LONGEST_NAME]!r}, but must be a name of up to {_LONGEST_NAME} letters"
        )
    return name
