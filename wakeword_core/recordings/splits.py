"""Who speaks in a recording, and on which side of the split it lies."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from wakeword_core.config import SPLITS, DataConfig, SourceConfig, Split
from wakeword_core.recordings.path_rules import told_by

if TYPE_CHECKING:
    import pandas as pd

_HELD_OUT_FIRST: tuple[Split, ...] = ("test", "val", "train")
_HASH_DIGITS = 13
_NUMBER = re.compile(r"(\d+)(?!.*\d)")


def speaker_groups(
    source: SourceConfig, paths: Sequence[str], ids: Sequence[str], stated: Sequence[str] | None = None
) -> tuple[list[str], list[bool]]:
    """Speaker group of each recording, and whether it is known; an unknown speaker is a group of its own.

    A speaker that is stated counts before the source's rule; an empty text states none. A group depends on the
    recording's own path, bytes and statement only, so that new neighbours never change it.
    """
    namespace = source.speaker_space or source.name
    named = stated if stated is not None else [""] * len(paths)
    groups = [name or _group(source.speaker, path) for name, path in zip(named, paths, strict=True)]
    names = [group if group is not None else one[:16] for group, one in zip(groups, ids, strict=True)]
    return [f"{namespace}/{name}" for name in names], [group is not None for group in groups]


def split_of(speaker: str, seed: int, config: DataConfig) -> Split:
    """The split a speaker falls in by hash alone: the same on every machine, whatever else there is."""
    share = int(hashlib.sha256(f"{seed}:{speaker}".encode()).hexdigest()[:_HASH_DIGITS], 16) / 16**_HASH_DIGITS
    share = (share + config.split_rotation) % 1.0
    if share < config.test_fraction:
        return "test"
    return "val" if share < config.test_fraction + config.val_fraction else "train"


def assign_splits(speakers: "pd.Series", fixed: "pd.Series", seed: int, config: DataConfig) -> "pd.Series":
    """Split of each recording, given its speaker and the split it is held in (anything else: in none).

    A speaker is on one side only: a recording held in test takes all others of its speaker there; then val, then train.
    """
    splits: dict[str, Split] = {speaker: split_of(speaker, seed, config) for speaker in speakers.unique()}
    for split in reversed(_HELD_OUT_FIRST):
        splits.update(dict.fromkeys(speakers[fixed == split], split))
    return speakers.map(splits)


def check_splits(frame: "pd.DataFrame") -> list[str]:
    """Sentences about speakers or recordings that are in more than one split; empty when all is well."""
    problems = []
    for column, what in (("speaker", "speaker"), ("id", "recording")):
        places = frame[[column, "split"]].drop_duplicates()
        places = places[places.duplicated(column, keep=False)]
        problems += [
            f"{what} {name} is in {' and '.join(sorted(found, key=SPLITS.index))}; it must be in one split only"
            for name, found in places.groupby(column)["split"]
        ]
    return problems


def check_classes(frame: "pd.DataFrame", labels: Sequence[str], advice: Mapping[str, str]) -> list[str]:
    """Sentences about labels that a split has no recording of, in a frame with columns label, split and speaker."""
    problems = []
    for label in labels:
        rows = frame[frame["label"] == label]
        for split in SPLITS:
            if not (rows["split"] == split).any():
                problems.append(
                    f"no usable recording of {label!r} in {split}: there are {len(rows)} by "
                    f"{rows['speaker'].nunique()} speaker groups in all; {advice.get(split, 'add recordings')}"
                )
    return problems


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
    return told_by(rule, "speaker", path)
