"""What people said of captures: the table of labels in their folder, which is a source as it is.

A capture is what `serve --keep` or `listen --keep` wrote to a folder: NAME.flac and NAME.json. A person says of it:

| state | where it is kept | role | split |
|---|---|---|---|
| yes | a row of `labels.csv`, whose label is the word, and where it is | positive | by its bytes: train or test |
| no | a row of `labels.csv` without a label | hard_negative | by its bytes: train or test |
| unsure | a row of `set_aside.csv` | | |
| deleted | a row of `set_aside.csv`; its files are gone | | |

What is labelled yes or no is moved to the folder `labelled`, where nothing deletes it because of its age: a model may
have learnt from it. Any number of processes may write; each waits for the lock of the folder.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from wakeword_core.audio import probe
from wakeword_core.config import Role, Split
from wakeword_core.config.serving import CAPTURE_FACTS, CAPTURE_SOUND
from wakeword_core.errors import DataError
from wakeword_core.files import PRIVATE_FILE, PRIVATE_FOLDER, digest, hash_file
from wakeword_core.recordings.opinions import (
    LONGEST_TEXT,
    ReviewedMeanwhileError,
    one_line,
    read_rows,
    write_rows,
    writing,
)
from wakeword_core.recordings.tables import SPAN

State = Literal["yes", "no", "unsure", "deleted"]

TABLE, SET_ASIDE, LABELLED = "labels.csv", "set_aside.csv", "labelled"
"""In the folder of captures: the table that is a source, that of all else that was said, and the recordings."""
COLUMNS = ("path", "label", "role", "speaker", "licence", "split", "reviewer", "reviewed", *SPAN)
SET_ASIDE_COLUMNS = ("path", "state", "reviewer", "reviewed")
ROLES: Mapping[State, Role] = {"yes": "positive", "no": "hard_negative"}
"""What a state means to training; the others mean nothing to it."""
TEST_SHARE = 0.25
"""Of labelled captures: they are never trained on, and so tell whether a later model still makes an old mistake."""
_IN_TEST = " (test)"
"""What a speaker is called besides in test: a speaker group is on one side of the splits, whoever is meant."""
_LOCK = ".labels.lock"
_NAME = re.compile(r"[0-9A-Za-z][\w.-]{0,200}", re.ASCII)
_HASH_DIGITS = 8
_ROUNDED_SECONDS = 0.005
"""By so much an end may lie after that of the sound: whoever says where a word is gives hundredths of a second."""


@dataclass(frozen=True)
class Review:
    """What somebody said of one capture, and when."""

    name: str
    """Of the capture's files, without their endings."""
    state: State
    reviewer: str
    reviewed: str
    """UTC, ISO 8601."""
    word: str = ""
    """What is said in it, where the state is yes."""
    speaker: str = ""
    licence: str = ""
    split: Split | Literal[""] = ""
    speech_start: float | None = None
    """Where the word begins in it, in seconds; None where nobody knows."""
    speech_end: float | None = None

    @property
    def revision(self) -> str:
        """Return what another review of the same capture differs in."""
        return digest(asdict(self))[:16]


@dataclass(frozen=True)
class Opinion:
    """What somebody says of one capture now."""

    state: State
    reviewer: str = ""
    word: str = ""
    speaker: str = ""
    licence: str = ""
    speech_start: float | None = None
    speech_end: float | None = None


def split_of_capture(recording_id: str) -> Split:
    """Return the split of a labelled capture, by the SHA-256 of its bytes alone: a quarter is for the test."""
    return "test" if int(recording_id[:_HASH_DIGITS], 16) < TEST_SHARE * 16**_HASH_DIGITS else "train"


def sound_of(folder: Path, name: str) -> Path | None:
    """Return the file of a capture, wherever it is in its folder; None where there is none, or it is a link."""
    if not _NAME.fullmatch(name):
        return None
    places = (folder / LABELLED / f"{name}{CAPTURE_SOUND}", folder / f"{name}{CAPTURE_SOUND}")
    return next((path for path in places if path.is_file() and not path.is_symlink()), None)


def read_reviews(folder: Path) -> dict[str, Review]:
    """Return what was said of the captures of a folder, by their names; DataError where a table is not as written here.

    The table of labels counts where a capture is in both, as after a kill.
    """
    aside = (_set_aside(row) for row in _rows(folder / SET_ASIDE, SET_ASIDE_COLUMNS))
    labelled = (_labelled(row) for row in _rows(folder / TABLE, COLUMNS))
    return {review.name: review for reviews in (aside, labelled) for review in reviews}


def save_review(folder: Path, name: str, opinion: Opinion, seen: str | None = None) -> Review:
    """Write what somebody says of a capture, moving or deleting its files, and return it.

    `seen` is the revision of what was said before, empty where nothing was: ReviewedMeanwhileError when it is another.
    DataError when there is no such capture, a text is too long or not one line, or the folder cannot be written to.
    """
    opinion = _checked(opinion)
    with writing(folder, _LOCK, f"the labels in {folder}"):
        reviews = read_reviews(folder)
        before = reviews.get(name)
        if before and seen is not None and before.revision != seen:
            raise ReviewedMeanwhileError(before.reviewer, before.state, name)
        sound = sound_of(folder, name)
        if sound is None:
            raise DataError(f"there is no capture {name[:LONGEST_TEXT]!r} in {folder} any more")
        review = reviews[name] = _review(name, opinion, sound)
        _write(folder, reviews, sound, review)
    return review


def _checked(opinion: Opinion) -> Opinion:
    fields = ("reviewer", "word", "speaker", "licence")
    texts: dict[str, Any] = {field: one_line(field, getattr(opinion, field)) for field in fields}
    if opinion.state not in get_args(State):
        raise DataError(f"{opinion.state!r} is none of {', '.join(get_args(State))}")
    if opinion.state == "yes" and not texts["word"]:
        raise DataError("a capture with a wake word needs the word; fill it in")
    return replace(opinion, **{**texts, "speaker": texts["speaker"].removesuffix(_IN_TEST)})


def _review(name: str, opinion: Opinion, sound: Path) -> Review:
    """Make the review of a capture, with of an opinion what its state has a use for."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    review = Review(name, opinion.state, opinion.reviewer, now)
    if opinion.state not in ROLES:
        return review
    split = split_of_capture(hash_file(sound))
    review = replace(review, speaker=opinion.speaker, licence=opinion.licence, split=split)
    if opinion.state == "no":
        return review
    start, end = _span(opinion, sound)
    return replace(review, word=opinion.word, speech_start=start, speech_end=end)


def _span(opinion: Opinion, sound: Path) -> tuple[float | None, float | None]:
    """Where the word is said to be, in whole milliseconds; DataError unless that is within the sound."""
    start, end = opinion.speech_start, opinion.speech_end
    if start is None and end is None:
        return None, None
    seconds = probe(sound).seconds
    if start is not None and end is not None and 0 <= start < end <= seconds + _ROUNDED_SECONDS:
        start, end = round(start, 3), min(round(end, 3), math.floor(1_000 * seconds) / 1_000)
    if start is None or end is None or not 0 <= start < end <= seconds:
        raise DataError(
            f"the word has to be from some second to a later one of the {seconds:.1f} s, or both left out; correct them"
        )
    return start, end


def _write(folder: Path, reviews: Mapping[str, Review], sound: Path, review: Review) -> None:
    """Put the files of a capture where its review wants them, and write both tables.

    A kill at any moment leaves what was said before, or now, or a capture that nobody has reviewed: no row without
    sound is left for longer than until the next review, and none with sound that means something else.
    """
    if review.state in ROLES:
        _move(sound, folder / LABELLED)
        _write_labels(folder, reviews.values())
        _write_set_aside(folder, reviews.values())
        return
    _write_set_aside(folder, reviews.values())
    _write_labels(folder, reviews.values())
    if review.state == "deleted":
        sound.unlink()
        for place in (folder, folder / LABELLED):  # a kill while they were moved may have left them in the other one
            (place / f"{review.name}{CAPTURE_FACTS}").unlink(missing_ok=True)
    else:
        _move(sound, folder)


def _move(sound: Path, folder: Path) -> None:
    if sound.parent == folder:
        return
    folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
    facts = sound.with_suffix(CAPTURE_FACTS)
    if facts.is_file():  # the facts first, as they were written
        facts.replace(folder / facts.name)
    sound.replace(folder / sound.name)


def _write_labels(folder: Path, reviews: Iterable[Review]) -> None:
    """Write the table that is a source: a row for each capture of a role whose sound is there."""
    rows = [
        (
            f"{LABELLED}/{one.name}{CAPTURE_SOUND}",
            one.word,
            ROLES[one.state],
            f"{one.speaker}{_IN_TEST}" if one.speaker and one.split == "test" else one.speaker,
            one.licence,
            one.split,
            one.reviewer,
            one.reviewed,
            *("" if at is None else f"{at:g}" for at in (one.speech_start, one.speech_end)),
        )
        for one in reviews
        if one.state in ROLES and (folder / LABELLED / f"{one.name}{CAPTURE_SOUND}").is_file()
    ]
    _write_table(folder / TABLE, COLUMNS, rows)


def _write_set_aside(folder: Path, reviews: Iterable[Review]) -> None:
    rows = [
        (f"{one.name}{CAPTURE_SOUND}", one.state, one.reviewer, one.reviewed)
        for one in reviews
        if one.state == "deleted" or (one.state == "unsure" and sound_of(folder, one.name))
    ]
    _write_table(folder / SET_ASIDE, SET_ASIDE_COLUMNS, rows)


def _write_table(path: Path, columns: Sequence[str], rows: Sequence[tuple[str, ...]]) -> None:
    if rows or path.exists():
        write_rows(path, columns, rows, PRIVATE_FILE)


def _rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a table; those of spans may lack. None without a table."""
    return [row for _, row in read_rows(path, columns, SPAN)] if path.exists() else []


def _labelled(row: Mapping[str, str]) -> Review:
    name = row["path"].removeprefix(f"{LABELLED}/").removesuffix(CAPTURE_SOUND)
    state = next((state for state, role in ROLES.items() if role == row["role"]), None)
    split = next((one for one in get_args(Split) if one == row["split"]), None)
    named = row["path"] == f"{LABELLED}/{name}{CAPTURE_SOUND}" and _NAME.fullmatch(name)
    if not named or state is None or split is None:
        raise DataError(
            f"{TABLE} has a row of {row['path']!r} that is no recording in {LABELLED}/ with the role "
            f"{' or '.join(ROLES.values())} and a split; correct or remove that row"
        )
    speaker = row["speaker"].removesuffix(_IN_TEST) if split == "test" else row["speaker"]
    said = (row["reviewer"], row["reviewed"], row["label"], speaker, row["licence"])
    return Review(name, state, *said, split, *_stated_span(row))


def _stated_span(row: Mapping[str, str]) -> tuple[float | None, float | None]:
    stated = [row.get(column, "") for column in SPAN]
    if not any(stated):
        return None, None
    try:
        start, end = map(float, stated)
    except ValueError:
        start = end = math.nan
    if not 0 <= start < end < math.inf:
        raise DataError(
            f"{TABLE} says of {row['path']!r} that the word is from {' to '.join(map(repr, stated))}, which are no "
            "seconds, the first before the second; correct that row"
        )
    return start, end


def _set_aside(row: Mapping[str, str]) -> Review:
    name = row["path"].removesuffix(CAPTURE_SOUND)
    state = next((state for state in get_args(State) if state == row["state"] and state not in ROLES), None)
    if row["path"] != f"{name}{CAPTURE_SOUND}" or not _NAME.fullmatch(name) or state is None:
        raise DataError(
            f"{SET_ASIDE} has a row of {row['path']!r} that is no capture with the state unsure or deleted; correct or "
            "remove that row"
        )
    return Review(name, state, row["reviewer"], row["reviewed"])
