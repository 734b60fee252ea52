"""What people said of recordings of the sources after listening: a table that counts before what the sources say.

A recording is known by the hash of its bytes, so that its row is found wherever it lies.

| state | what the manifest makes of the recording |
|---|---|
| yes | a positive of the wake word that the row names |
| no | no wake word: a positive becomes a hard negative, anything else stays what it is |
| unsure | what its source says |
| left_out | nothing: it is quarantined |
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, astuple, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from wakeword_core.config import NEGATIVE_LABEL, spelling
from wakeword_core.errors import DataError
from wakeword_core.files import digest
from wakeword_core.recordings.labels import words_by_spelling
from wakeword_core.recordings.opinions import ReviewedMeanwhileError, one_line, read_rows, write_rows, writing
from wakeword_core.text import printable

if TYPE_CHECKING:
    import pandas as pd

State = Literal["yes", "no", "unsure", "left_out"]

COLUMNS = ("recording_id", "state", "label", "reviewer", "reviewed", "recording")
CORRECTED = "labelled otherwise after listening"
"""What the summary of a manifest calls usable recordings whose source says something else."""
_ID = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Correction:
    """What somebody said of one recording, and when."""

    recording_id: str
    state: State
    label: str
    """The wake word that is said in it, where the state is yes."""
    reviewer: str
    reviewed: str
    """UTC, ISO 8601."""
    recording: str = ""
    """Where it lay then, below the name of its source; for people."""

    @property
    def revision(self) -> str:
        """Return what another correction of the same recording differs in."""
        return digest(asdict(self))[:16]

    def told(self, instead_of: str) -> str:
        """Say who said what of a recording, and what its source says if that is something else."""
        heard = {
            "yes": f"{self.label!r} is said",
            "no": "no wake word is said",
            "unsure": "it may be either, and stays what its source says",
            "left_out": "left out",
        }[self.state]
        source = f", where its source says {instead_of!r}" if instead_of else ""
        who, day = printable(self.reviewer) or "somebody", printable(self.reviewed[:10])
        return f"{who} listened to it on {day}: {heard}{source}"


def read_corrections(path: Path | None) -> dict[str, Correction]:
    """Return what a table says, by recording; nothing without one. DataError where it is gone or is not as written.

    A table that is named and lost is an error: what is mislabelled would come back without a word.
    """
    if path is None:
        return {}
    if not path.exists():
        raise DataError(
            f"there is no {path}, which data.corrections names; `wakeword review --doubtful` makes it, or restore it"
        )
    corrections: dict[str, Correction] = {}
    for line, row in read_rows(path, COLUMNS):
        recording_id, state = row["recording_id"], next((one for one in get_args(State) if one == row["state"]), None)
        wrong = ""
        if not _ID.fullmatch(recording_id):
            wrong = f"the recording {recording_id[:64]!r}, which is no SHA-256"
        elif state is None:
            wrong = f"the state {row['state']!r}, which is none of {', '.join(get_args(State))}"
        elif (state == "yes") != bool(row["label"]):
            wrong = f"the label {row['label']!r} with the state {state}: yes, and nothing else, has the wake word there"
        elif recording_id in corrections:
            wrong = f"the recording {recording_id}, which another line has, too"
        if wrong or state is None:
            raise DataError(f"line {line} of {path} has {wrong}; correct or remove it")
        corrections[recording_id] = Correction(**{**row, "state": state})
    return corrections


def make_table(path: Path) -> None:
    """Make an empty table where there is none; DataError where that cannot be."""
    path = path.resolve()  # a link stays one
    with writing(path.parent, _lock(path), f"the corrections in {path}"):
        if not path.exists():
            write_rows(path, COLUMNS, [])


def save_correction(
    path: Path,
    recording_id: str,
    state: State,
    label: str = "",
    reviewer: str = "",
    *,
    recording: str = "",
    seen: str | None = None,
) -> Correction:
    """Write what somebody says of a recording to a table, and return it.

    `seen` is the revision of what was said before, empty where nothing was: ReviewedMeanwhileError when it is another.
    DataError when a text is too long or not one line, or the table cannot be written.
    """
    texts = one_line("word", label), one_line("reviewer", reviewer)
    if state == "yes" and not texts[0]:
        raise DataError("a recording with a wake word needs the word; fill it in")
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    path = path.resolve()
    said = Correction(recording_id, state, texts[0] if state == "yes" else "", texts[1], now, recording)
    with writing(path.parent, _lock(path), f"the corrections in {path}"):
        corrections = read_corrections(path)
        before = corrections.get(recording_id)
        if before and seen is not None and before.revision != seen:
            raise ReviewedMeanwhileError(before.reviewer, before.state, recording or recording_id)
        _write(path, {**corrections, recording_id: said})
    return said


def forget_corrections(path: Path | None, recording_ids: Collection[str]) -> None:
    """Remove the rows of some recordings from a table, if there is one and it has any: else it may be read-only."""
    if path is None or not path.exists() or read_corrections(path).keys().isdisjoint(recording_ids):
        return
    path = path.resolve()
    with writing(path.parent, _lock(path), f"the corrections in {path}"):
        corrections = read_corrections(path)
        _write(path, {name: one for name, one in corrections.items() if name not in recording_ids})


def correct(rows: "pd.DataFrame", corrections: Mapping[str, Correction], words: Collection[str]) -> None:
    """Give the rows of a source the labels and roles that people corrected; DataError for a word that is none.

    Adds the columns `corrected` (who said what, or nothing), `relabelled` and `left_out`.
    """
    rows["corrected"], rows["relabelled"], rows["left_out"] = "", False, False
    known = words_by_spelling(words)
    for index in rows.index[rows["recording_id"].isin(corrections.keys())]:
        one = corrections[rows.at[index, "recording_id"]]
        label, role = rows.at[index, "label"], rows.at[index, "role"]
        now = (label, role)
        if one.state == "yes":
            word = known.get(one.label) or known.get(spelling(one.label))
            if word is None:
                raise DataError(
                    f"data.corrections says that {one.label!r} is said in {one.recording or one.recording_id}, and the "
                    f"wake words are {', '.join(sorted(words))}; correct or remove that row"
                )
            now = (word, "positive")
        elif one.state == "no" and role == "positive":
            now = (NEGATIVE_LABEL, "hard_negative")
        relabelled = now != (label, role)
        rows.loc[index, ["label", "role", "corrected"]] = [*now, one.told(label if relabelled else "")]
        rows.loc[index, ["relabelled", "left_out"]] = [relabelled, one.state == "left_out"]


def _write(path: Path, corrections: Mapping[str, Correction]) -> None:
    write_rows(path, COLUMNS, [astuple(one) for one in corrections.values()])


def _lock(path: Path) -> str:
    return f".{path.name}.lock"
