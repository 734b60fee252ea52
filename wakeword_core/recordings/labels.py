"""Which word is said in a recording and who says it, by its path or by its source's table."""

import difflib
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from wakeword_core.config import NEGATIVE_LABEL, SourceConfig, spelling
from wakeword_core.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

_NUMBER = re.compile(r"(\d+)(?!.*\d)")
_SHOWN = 3
_NEARLY = 0.8
"""How alike (1: the same) the letters of a label and of a wake word are from which somebody should look."""
_LONG_WORD = 5
"""Letters from which a wake word within a longer label is no chance."""


def labels_and_roles(
    source: SourceConfig, paths: Sequence[str], stated: "pd.DataFrame | None", words: Collection[str], phrase: str
) -> tuple[list[str], list[str]]:
    """Return the class and the role of each recording of a source.

    A label, from the table or by the source's rule, that is one of `words` in any `spelling` makes a positive of it.
    Without labels all are what the source's role says. DataError when a positive's word is unknown, or when a row's
    role contradicts its label.
    """
    known = words_by_spelling(words)
    default = known.get(source.label or phrase) or known.get(spelling(source.label or phrase)) or source.label or phrase
    named = stated is not None and "label" in stated
    label = default if source.role == "positive" else NEGATIVE_LABEL
    alike = source.labels is None and not named and (stated is None or "role" not in stated)
    if alike and label in (NEGATIVE_LABEL, *words):
        return [label] * len(paths), [source.role] * len(paths)

    stated_roles: Iterable[str] = stated["role"] if stated is not None and "role" in stated else [""] * len(paths)
    meant: list[tuple[str, str]] = []
    problems: list[str] = []
    for path, text, stated_role in zip(paths, stated_labels(source, paths, stated), stated_roles, strict=True):
        role = stated_role or source.role
        word = known.get(text) or known.get(spelling(text)) if text not in ("", NEGATIVE_LABEL) else None
        may_be_default = stated_role == "positive" or not (named or source.labels)
        if not text and may_be_default and role == "positive" and default in known:
            word = default
        if problem := _problem(text, word, stated_role, role):
            problems.append(f"{path} {problem}")
        meant.append((word, "positive") if word else (NEGATIVE_LABEL, role))
    if problems:
        more = f", and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise DataError(
            f"labels of source {source.name!r} do not fit the wake words {', '.join(sorted(words)) or 'none'}: "
            f"{'; '.join(problems[:_SHOWN])}{more}; correct them, add to words, or give the source another role"
        )
    return [label for label, _ in meant], [role for _, role in meant]


def _problem(text: str, word: str | None, stated_role: str, role: str) -> str:
    """What is contradictory about a recording's label and role, or an empty text."""
    if word is not None:
        return "" if stated_role in ("", "positive") else f"is labelled {text!r}, a wake word, but its role is {role}"
    if role != "positive":
        return ""
    return f"is labelled {text!r}, which is no wake word" if text else "has no label, but is to be a positive"


def nearly_wake_words(
    source: SourceConfig, paths: Sequence[str], stated: "pd.DataFrame | None", words: Collection[str]
) -> list[dict[str, Any]]:
    """Name the labels of a source that are almost a wake word and make negatives: {source, label, word, recordings}."""
    if source.labels is None and (stated is None or "label" not in stated):
        return []
    known, near_labels = words_by_spelling(words), []
    letters = {_letters(word): word for word in words}
    for label, count in sorted(Counter(stated_labels(source, paths, stated)).items()):
        text = _letters(label)
        if not text or label == NEGATIVE_LABEL or label in known or spelling(label) in known:
            continue
        near = difflib.get_close_matches(text, letters, 1, _NEARLY)
        near += [word for word in letters if len(word) >= _LONG_WORD and word in text]
        if near:
            near_labels.append({"source": source.name, "label": label, "word": letters[near[0]], "recordings": count})
    return near_labels


def words_by_spelling(words: Collection[str]) -> dict[str, str]:
    """Return each wake word by itself and by its spelling; where two share a spelling, each is meant as it stands."""
    return {spelling(word): word for word in sorted(words, reverse=True)} | {word: word for word in words}


def _letters(text: str) -> str:
    return "".join(character for character in unicodedata.normalize("NFKD", spelling(text)) if character.isalnum())


def stated_labels(source: SourceConfig, paths: Sequence[str], stated: "pd.DataFrame | None") -> Iterator[str]:
    """Yield each recording's label as the table has it, or else as the rule reads it off the path; or an empty text."""
    cells: Iterable[str] = stated["label"] if stated is not None and "label" in stated else [""] * len(paths)
    for path, cell in zip(paths, cells, strict=True):
        yield cell or (value_from_path(source.labels, "label", path) if source.labels else None) or ""


def speaker_groups(
    source: SourceConfig, paths: Sequence[str], recording_ids: Sequence[str], stated: Sequence[str] | None = None
) -> tuple[list[str], list[bool]]:
    """Return each recording's speaker group and whether it is known; an unknown speaker is a group of its own.

    A speaker that is stated counts before the source's rule; an empty text states none. A group depends on the
    recording's own path, bytes and statement only, so that new neighbours never change it.
    """
    namespace = source.speaker_space or source.name
    named = stated if stated is not None else [""] * len(paths)
    groups = [name or _group(source.speaker, path) for name, path in zip(named, paths, strict=True)]
    names = [
        group if group is not None else recording_id[:16]
        for group, recording_id in zip(groups, recording_ids, strict=True)
    ]
    return [f"{namespace}/{name}" for name in names], [group is not None for group in groups]


def value_from_path(rule: str, group: str, path: str) -> str | None:
    """Return what `rule` reads off a relative path, or None when it says nothing about this one.

    Rules: parent (folder name), folder:N (Nth folder from the top, or from the file when negative), and regex:... with
    a group named `group`.
    """
    if rule.startswith("regex:"):
        match = re.search(rule.removeprefix("regex:"), path)
        return (match[group] or None) if match else None
    if rule == "parent":
        return path.rpartition("/")[0].rpartition("/")[2] or None
    if rule.startswith("folder:"):
        folders, place = path.split("/")[:-1], int(rule.removeprefix("folder:"))
        if abs(place) > len(folders):
            return None
        return folders[place - 1 if place > 0 else place]
    return None


def _group(rule: str, path: str) -> str | None:
    """Name of the speaker group by `rule`, or None when the rule says nothing about this path."""
    if rule == "single":
        return "single"
    if rule.startswith("block:"):
        name = path.rpartition("/")[2]
        number = _NUMBER.search(name.rpartition(".")[0] or name)
        if number is None:
            return None
        block = int(number.group()) // int(rule.removeprefix("block:"))
        prefix = path[: len(path) - len(name) + number.start()]
        return f"{prefix}#{block}"
    return value_from_path(rule, "speaker", path)
