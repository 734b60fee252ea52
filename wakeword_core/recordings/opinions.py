"""Tables of what people say of sounds: read strictly, and written whole, by one process at a time."""

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from wakeword_core.errors import DataError, reason_of
from wakeword_core.files import ORDINARY_FILE, require_writable, write_text
from wakeword_core.store.locks import exclusive
from wakeword_core.text import printable

LONGEST_TEXT = 200
"""Characters of a word, a speaker, a licence or a reviewer."""
_MOST_BYTES = 64 * 2**20
_ADVICE = "correct it, or rename it and review again"


class ReviewedMeanwhileError(DataError):
    """Somebody else has said something of a sound that whoever reviews it did not see yet."""

    def __init__(self, reviewer: str, state: str, name: str) -> None:
        super().__init__(f"{reviewer or 'somebody'} said {state} of {name} meanwhile")


def one_line(field: str, text: str) -> str:
    """Return a text without spaces around it; DataError where it is too long, or more than one line."""
    text = text.strip()
    if len(text) > LONGEST_TEXT or printable(text) != text:
        raise DataError(f"the {field} must be one line of at most {LONGEST_TEXT} characters; correct it")
    return text


@contextmanager
def writing(folder: Path, lock: str, what: str) -> Iterator[None]:
    """Let this process alone write to the tables of a folder; DataError where `what` cannot be written."""
    try:
        require_writable(folder)
        with exclusive(folder / lock):
            yield
    except OSError as error:
        advice = "let it be written to, or free some space"
        raise DataError(f"{what} cannot be written ({reason_of(error)}); {advice}") from error


def write_rows(path: Path, columns: Sequence[str], rows: Sequence[tuple[str, ...]], mode: int = ORDINARY_FILE) -> None:
    """Write a table in the order of its rows, whole or not at all, with the permissions `mode`."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([columns, *sorted(rows)])
    write_text(path, text.getvalue(), mode)


def read_rows(path: Path, columns: Sequence[str], optional: Sequence[str] = ()) -> list[tuple[int, dict[str, str]]]:
    """Return the rows of a table, each with the line that it ends on; those `optional` columns may lack, together.

    DataError where it is not there, or is not as it is written here.
    """
    try:
        if not path.is_file():
            raise DataError(f"{path} is no ordinary file; {_ADVICE}")
        if path.stat().st_size > _MOST_BYTES:
            raise DataError(f"{path} has more than {_MOST_BYTES / 1e6:,.0f} MB; {_ADVICE}")
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, strict=True)
            header = next(lines, [])
            if header not in (list(columns), [column for column in columns if column not in optional]):
                raise DataError(f"{path} has the columns {', '.join(header)}, not {', '.join(columns)}; {_ADVICE}")
            rows = []
            for fields in filter(None, lines):
                if len(fields) != len(header):
                    raise DataError(f"line {lines.line_num} of {path} has {len(fields)} fields; {_ADVICE}")
                rows.append((lines.line_num, dict(zip(header, fields, strict=True))))
            return rows
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as a table ({reason_of(error)}); {_ADVICE}") from error
