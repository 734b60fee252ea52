"""Which word is said in a recording, and what that makes it to the model."""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence

import pandas as pd

from wakeword_core.config import NEGATIVE_LABEL, SourceConfig
from wakeword_core.errors import DataError
from wakeword_core.recordings.path_rules import told_by

_SHOWN = 3


def labelled(
    source: SourceConfig, paths: Sequence[str], stated: pd.DataFrame | None, words: Collection[str], phrase: str
) -> tuple[list[str], list[str]]:
    """Class and role of each recording of a source.

    A label, from the table or by the source's rule, that is one of `words` makes a positive of it; upper and lower
    case, underscores and hyphens do not count. Without labels all are what the source's role says. DataError when a
    positive's word is unknown, or when a row's role contradicts its label.
    """
    default = source.label or phrase
    named = stated is not None and "label" in stated
    label = default if source.role == "positive" else NEGATIVE_LABEL
    alike = source.labels is None and not named and (stated is None or "role" not in stated)
    if alike and label in (NEGATIVE_LABEL, *words):
        return [label] * len(paths), [source.role] * len(paths)

    known = {_plain(word): word for word in sorted(words, reverse=True)} | {word: word for word in words}
    meant: list[tuple[str, str]] = []
    problems: list[str] = []
    for path, told, role in zip(paths, _told(source, paths, stated), _stated_roles(paths, stated), strict=True):
        word = known.get(told) or known.get(_plain(told)) if told else None
        if word is None and not told and (role == "positive" or not (named or source.labels)) and default in known:
            word = default if (role or source.role) == "positive" else None
        problem = _problem(told, word, role, source)
        if problem:
            problems.append(f"{path} {problem}")
        meant.append((word, "positive") if word else (NEGATIVE_LABEL, role or source.role))
    if problems:
        more = f", and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise DataError(
            f"labels of source {source.name!r} do not fit the wake words {', '.join(sorted(words)) or 'none'}: "
            f"{'; '.join(problems[:_SHOWN])}{more}; correct them, add to words, or give the source another role"
        )
    return [label for label, _ in meant], [role for _, role in meant]


def _problem(told: str, word: str | None, role: str, source: SourceConfig) -> str:
    """What is contradictory about a recording's label and role, or an empty text."""
    if word is not None:
        return "" if role in ("", "positive") else f"is labelled {told!r}, a wake word, but its role is {role}"
    if (role or source.role) != "positive":
        return ""
    return f"is labelled {told!r}, which is no wake word" if told else "has no label, but is to be a positive"


def _told(source: SourceConfig, paths: Sequence[str], stated: pd.DataFrame | None) -> Iterator[str]:
    """The label of each recording as it is written, or an empty text."""
    cells = stated["label"] if stated is not None and "label" in stated else [""] * len(paths)
    for path, cell in zip(paths, cells, strict=True):
        yield cell or (told_by(source.labels, "label", path) if source.labels else None) or ""


def _stated_roles(paths: Sequence[str], stated: pd.DataFrame | None) -> Iterable[str]:
    return stated["role"] if stated is not None and "role" in stated else [""] * len(paths)


def _plain(text: str) -> str:
    return " ".join(re.split(r"[\s_-]+", text.casefold())).strip()
