"""Recordings that somebody gives to test models on: read, judged and packed as those of a project are.

They are all a test: nothing is trained on them. Of a table that states splits, the rows of the test count.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any

from wakeword_core.config import Config, Role, Split
from wakeword_core.config.loading import with_settings
from wakeword_core.errors import DataError
from wakeword_core.evaluation.streams.build import BACKGROUND_ROLES, POSITIVE_ROLES
from wakeword_core.graph.project import Project

NO_SPEECH = "a condition with speech under the words needs some; name recordings of it with --speech"
_SPLIT: Split = "test"


@dataclass(frozen=True)
class GivenRecordings:
    """Where recordings are: each a folder, a table or a URL, as the path of a source is.

    `labels` and `speaker` are rules of a source, for those of words; with `labels`, or in a table that has a column
    label, what is labelled otherwise is other speech.
    """

    words: Sequence[str]
    background: Sequence[str] = ()
    speech: Sequence[str] = ()
    """Of people who say something else."""
    labels: str | None = None
    speaker: str = "unknown"


@dataclass(frozen=True)
class PackedRecordings:
    """Recordings that can be heard: a folder of shards, where each lies by its recording_id, and what was left out."""

    shards: Path
    paths: Mapping[str, str]
    synthetic: Sequence[str]
    counts: Mapping[Role, int]
    """How many recordings there are of each role."""
    left_out: Sequence[Mapping[str, str]]
    """{source, path, reason} of each that cannot be used, or that a table states to be of another split."""


def config_for(given: GivenRecordings, words: Sequence[str], settings: Config, changes: Mapping[str, Any]) -> Config:
    """Return `settings` with the given recordings as its sources, and with other `changes`; ConfigError if wrong.

    `words` are the wake words that the recordings may be of, the first where nothing else is said.
    """
    names: set[str] = set()
    sources: list[dict[str, Any]] = []
    for path in given.words:
        about: dict[str, Any] = {"role": "positive", "speaker": given.speaker}
        if given.labels is not None:
            about |= {"labels": given.labels, "words": list(words), "role": "negative"}
        sources.append({"name": _name(path, names), "path": path, "split": _SPLIT, **about})
    for role, paths in (("background", given.background), ("negative", given.speech)):
        sources += [{"name": _name(path, names), "path": path, "split": _SPLIT, "role": role} for path in paths]
    return with_settings(settings, {"phrase": words[0], "data.sources": sources, **changes})


def require_named(given: GivenRecordings, config: Config, *, speech: bool) -> None:
    """Raise DataError, before anything is read, where what is named is not there, or something that is needed lacks.

    `config` is of `config_for`. What is elsewhere, and which labels a table has, is known only once it is read.
    """
    gone = [str(source.path) for source in config.data.sources if not (source.url or source.path.exists())]
    if gone:
        does, it = ("does", "it") if len(gone) == 1 else ("do", "them")
        raise DataError(f"{' and '.join(gone)} {does} not exist; correct {it}")
    if single := next((one.path for one in config.data.sources if one.folder == one.path and one.path.is_file()), None):
        raise DataError(f"{single} is neither a folder nor a table of recordings; name the folder that it lies in")
    labelled = given.labels is not None or any(source.is_table for source in config.data.sources)
    if not (labelled or given.background or given.speech):
        raise DataError(_nothing("of anything else, to count false alarms in,", "--background"))
    if speech and not (labelled or given.speech):
        raise DataError(NO_SPEECH)


def pack(project: Project, words: Sequence[str]) -> PackedRecordings:
    """Read the recordings of a project that `config_for` made, and pack them below its home.

    DataError when none of them is of a wake word, or none of anything else.
    """
    from wakeword_core.recordings.manifest import quarantined, read_manifest, recording_paths

    project.listing()  # which copies and unpacks what lies elsewhere
    project.config = _with_labels_of_tables(project.config, words)
    manifest, _ = project.build("raw_manifest")
    shards, _ = project.build("audio_shards", _SPLIT)
    rows = read_manifest(manifest.path, columns=("source", "path", "role", "split", "status"))
    rows = rows[rows["status"] == "ok"]
    counts = Counter(rows.loc[rows["split"] == _SPLIT, "role"].tolist())
    left_out = quarantined(manifest.path)
    left_out += [
        {"source": source, "path": path, "reason": f"its table says that it is of the split {split}"}
        for source, path, split in rows.loc[rows["split"] != _SPLIT, ["source", "path", "split"]].itertuples(
            index=False
        )
    ]
    _require(counts, POSITIVE_ROLES, f"of the wake word {' or '.join(words)}", "--source", left_out)
    _require(counts, BACKGROUND_ROLES, "of anything else, to count false alarms in,", "--background", left_out)
    return PackedRecordings(
        shards.path, recording_paths(manifest.path), manifest.figures["synthetic"], counts, left_out
    )


def _require(
    counts: Mapping[str, int], roles: Iterable[str], what: str, option: str, left_out: Sequence[Mapping[str, str]]
) -> None:
    if any(counts[role] for role in roles):
        return
    reasons = Counter(entry["reason"].partition(":")[0] for entry in left_out).most_common(3)
    told = ", ".join(f"{count} {reason}" for reason, count in reasons)
    raise DataError(_nothing(what, option, told))


def _nothing(what: str, option: str, told: str = "") -> str:
    return f"no recording {what} can be used{f' (left out: {told})' if told else ''}; name some with {option}"


def _with_labels_of_tables(config: Config, words: Sequence[str]) -> Config:
    """Let the labels in tables tell which of their recordings are of a wake word."""
    from wakeword_core.recordings.tables import read_table

    sources = [
        source.model_copy(update={"role": "negative", "words": tuple(words)})
        if source.role == "positive" and source.is_table and "label" in read_table(source)
        else source
        for source in config.data.sources
    ]
    return config.model_copy(update={"data": config.data.model_copy(update={"sources": tuple(sources)})})


def _name(path: str, taken: set[str]) -> str:
    """Return a name for the source of a path or URL that none of the `taken` ones is, among which it is then."""
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", Path(path.rstrip("/")).stem).strip("-.") or "recordings"
    name = next(one for one in chain([stem], (f"{stem}-{number}" for number in count(2))) if one not in taken)
    taken.add(name)
    return name
