"""The folder of a person's recordings, with a table that is a source as it is: nothing in it is ever overwritten.

Only the owner can read what is written. A recording counts once the table names it, and file and table appear whole: a
kill loses the recording that is being written, at most.
"""

import csv
import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from wakeword_core.audio import Pcm, encode_flac
from wakeword_core.config import unique_name
from wakeword_core.errors import DataError
from wakeword_core.files import (
    PRIVATE_FILE,
    PRIVATE_FOLDER,
    contained,
    remove_abandoned_parts,
    replacing,
    require_writable,
    write_text,
)
from wakeword_core.store.locks import exclusive
from wakeword_core.studio.prompts import Prompt

TABLE = "recordings.csv"
COLUMNS = (
    "path", "label", "role", "speaker", "licence", "text", "manner", "recorded", "consent", "consented",
)  # fmt: skip
_LOCK = ".lock"
_TIME = "%Y-%m-%dT%H-%M-%S.%f"
_NAMES = {"positive": "word", "negative": "other", "background": "room"}
"""How the name of a file begins, by what it is."""
_MOST_BYTES = 64 << 20


@dataclass(frozen=True)
class Consent:
    """Who agreed to what, and when (UTC)."""

    speaker: str
    licence: str
    text: str
    given: datetime


class RecordingFolder:
    """A folder of recordings and its table; several processes may add to one."""

    def __init__(self, folder: Path) -> None:
        """Make the folder, private where it was not there; DataError if nothing can be kept in it or its table."""
        self.folder = folder
        try:
            folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
            require_writable(folder)
            for place in (folder, *(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())):
                remove_abandoned_parts(place)
        except OSError as error:
            raise DataError(f"nothing can be kept in {folder} ({error.strerror}); name another with --out") from error
        self._text()

    @property
    def table(self) -> Path:
        """The table of its recordings, which is what a source names."""
        return self.folder / TABLE

    def rows(self) -> list[dict[str, str]]:
        """Return the rows of the table, in the order in which they were added."""
        rows = list(csv.DictReader(io.StringIO(self._text()), restval=""))
        if any(None in row for row in rows):
            raise DataError(f"{self.table} has a row with more fields than its header; correct it")
        return rows

    def add(self, pcm: Pcm, sample_rate: int, prompt: Prompt, consent: Consent) -> str:
        """Write int16 [samples] as FLAC and a row that names them; returns the path in the table."""
        with self._alone():
            recorded = datetime.now(UTC)
            person, kind = unique_name(consent.speaker), _NAMES[prompt.role]
            while os.path.lexists(path := contained(self.folder, f"{person}/{kind}_{recorded.strftime(_TIME)}.flac")):
                recorded += timedelta(microseconds=1)
            path.parent.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
            name = path.relative_to(self.folder.resolve()).as_posix()
            text = _with_rows(self._text(), [_row(name, prompt, consent, recorded)])
            # the sound first: a row of what is not there would be a fault of every build
            with replacing(path, PRIVATE_FILE) as part:
                part.write_bytes(encode_flac(pcm, sample_rate))
            try:
                write_text(self.table, text, PRIVATE_FILE)
            except OSError:
                path.unlink()  # which no table names
                raise
        return name

    def remove(self, name: str) -> None:
        """Delete a recording that was added: its row, and then its sound."""
        with self._alone():
            rows, header = self.rows(), _header(self._text())
            kept = [row for row in rows if row["path"] != name]
            write_text(self.table, _with_rows(_line(header), kept), PRIVATE_FILE)
            contained(self.folder, name).unlink(missing_ok=True)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with exclusive(self.folder / _LOCK, f"another process writes to {self.folder}"):
            yield

    def _text(self) -> str:
        """The table as it is, or one without rows; DataError where it is not one that rows can be added to."""
        if not os.path.lexists(self.table):
            return _line(COLUMNS)
        advice = "move it away, or name another folder with --out"
        try:
            if not self.table.is_file() or self.table.stat().st_size > _MOST_BYTES:
                raise DataError(f"{self.table} is no file of at most {_MOST_BYTES >> 20} MB; {advice}")
            text = self.table.read_text(encoding="utf-8-sig")
            header, *_ = [*csv.reader(io.StringIO(text), strict=True), []]  # an open quote would swallow what is added
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{self.table} cannot be read ({error}); {advice}") from error
        missing = [column for column in COLUMNS if column not in header]
        if missing:
            raise DataError(f"{self.table} has no column {missing[0]}, so nothing can be added to it; {advice}")
        return text if text.endswith("\n") else f"{text}\n"


def _row(name: str, prompt: Prompt, consent: Consent, recorded: datetime) -> dict[str, str]:
    return {
        "path": name,
        "label": prompt.label,
        "role": prompt.role,
        "speaker": prompt.group or consent.speaker,
        "licence": consent.licence,
        "text": prompt.text,
        "manner": prompt.manner,
        "recorded": recorded.isoformat(timespec="seconds"),
        "consent": consent.text,
        "consented": consent.given.isoformat(timespec="seconds"),
    }


def _header(text: str) -> list[str]:
    return next(csv.reader(io.StringIO(text)), [])


def _with_rows(text: str, rows: list[dict[str, str]]) -> str:
    """Add rows to a table, whose further columns stay empty in them unless they have them."""
    added = io.StringIO(newline="")
    csv.DictWriter(added, _header(text), restval="", lineterminator="\n").writerows(rows)
    return text + added.getvalue()


def _line(fields: Sequence[str]) -> str:
    line = io.StringIO(newline="")
    csv.writer(line, lineterminator="\n").writerow(fields)
    return line.getvalue()
