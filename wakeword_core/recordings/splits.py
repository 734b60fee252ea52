"""Which split each speaker group is in, and whether every split has what it needs."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from wakeword_core.config import SPLITS, Split
from wakeword_core.config.recordings import SplitsConfig
from wakeword_core.errors import DataError, reason_of
from wakeword_core.files import as_type, digest, read_json, write_json
from wakeword_core.recordings.forgotten import speaker_hash
from wakeword_core.recordings.row import plain_rows
from wakeword_core.store.locks import exclusive

if TYPE_CHECKING:
    import pandas as pd

_HELD_OUT_FIRST: tuple[Split, ...] = ("test", "val", "train")
_HASH_DIGITS = 13
_KEY_DIGITS = 24
_EXACT_GROUPS = 20
"""Up to so many speaker groups of a label each split gets its share of them to the group."""
_EMPTY: dict[Split, int] = {"train": 4 * 10**9, "val": 2 * 10**9, "test": 10**9}
_ROOMS = "impulse responses"
"""Counted by themselves: their label is that of negatives, which they are not."""
_TOO_FEW_GROUPS = (
    "three splits need three groups of their own: add recordings of other speakers; or, if these are several people, "
    "tell them apart with the source's speaker rule (block:N, or unknown), or make sources of them and hold each with "
    "split"
)
_HELD_ELSEWHERE = "hold some there with a source's split, or fewer elsewhere, or add recordings of other speakers"

_Place = Annotated[float, Field(ge=0, le=1, strict=True)]


def split_of(speaker: str, seed: int, shares: SplitsConfig) -> Split:
    """Return the split of a speaker group by its hash alone: the same on every machine, whatever else there is."""
    return _splitter(shares)(_hash_place(speaker, seed))


def split_recordings(rows: "pd.DataFrame", phrase: str, seed: int, shares: SplitsConfig, folder: Path) -> "pd.Series":
    """Split recordings, given columns speaker, label, role, usable, and fixed: the split one is held in, if any.

    Where each speaker group lies is remembered below `folder`, for this phrase, seed and shares of the splits: groups
    stay where they are for ever, and new ones are put where their labels lack most. See `assign_splits`.
    """
    facts = {"phrase": phrase, "seed": seed, "val": shares.val_fraction, "test": shares.test_fraction}
    path = folder / f"{digest(facts)[:20]}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with exclusive(path.with_suffix(".lock")):
            known = _read_places(path)
            splits, new = assign_splits(rows, seed, shares, known)
            if new:
                write_json(path, {**known, **new})
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}; free some space or choose another --home") from error
    return splits


def assign_splits(
    rows: "pd.DataFrame", seed: int, shares: SplitsConfig, known: Mapping[str, float]
) -> "tuple[pd.Series, dict[str, float]]":
    """Return each recording's split, and the places of the speaker groups that are not among the `known` ones.

    A group's place is a number in [0, 1), which the shares of test, validation and training divide, turned by
    `rotation`. It is the hash of its name, unless some split would then have too few groups of one of its labels
    (`_least`): then new groups move there. A known group never moves. That takes a memory: if the split followed from
    the name alone, some three speakers of a word would all be in one.

    A speaker is on one side only: a recording held in test takes all others of its speaker there; then val, then train.
    """
    fixed: dict[str, Split] = {}
    for split in reversed(_HELD_OUT_FIRST):
        fixed.update(dict.fromkeys(rows.loc[rows["fixed"] == split, "speaker"].unique(), split))
    labels: dict[str, set[str]] = {speaker: set() for speaker in rows["speaker"].unique().tolist()}
    usable = rows.loc[rows["usable"], ["speaker", "label", "role"]].drop_duplicates()
    for speaker, label, role in plain_rows(usable):
        labels[speaker].add(_ROOMS if role == "rir" else label)

    places: dict[str, float] = {}
    new: dict[str, str] = {}
    for speaker in sorted(labels.keys() - fixed.keys()):
        key = speaker_hash(speaker)[:_KEY_DIGITS]  # the memory keeps no names
        places[speaker] = known[key] if key in known else _hash_place(speaker, seed)
        if key not in known and labels[speaker]:  # one without usable recordings lies by its hash until it has some
            new[speaker] = key
    _even_out(places, new, labels, fixed, shares)
    split_at = _splitter(shares)
    splits = {speaker: fixed.get(speaker) or split_at(places[speaker]) for speaker in labels}
    return rows["speaker"].map(splits), {key: places[speaker] for speaker, key in new.items()}


def _even_out(
    places: dict[str, float],
    movable: Collection[str],
    labels: Mapping[str, set[str]],
    fixed: Mapping[str, Split],
    shares: SplitsConfig,
) -> None:
    """Move groups until every split has what it must have of each label, or no single move brings that nearer."""
    split_at = _splitter(shares)
    counts: defaultdict[str, Counter[Split]] = defaultdict(Counter)
    held_splits: defaultdict[str, set[Split]] = defaultdict(set)
    for speaker, own_labels in labels.items():
        for label in own_labels:
            if speaker in fixed:
                held_splits[label].add(fixed[speaker])
            else:
                counts[label][split_at(places[speaker])] += 1
    least = {label: _least(count.total(), held_splits[label], shares) for label, count in counts.items()}

    def lacking(label: str, split: Split, more: int) -> int:
        """How many groups a split lacks; none at all is far worse than too few, most of all in training."""
        count, needed = counts[label][split] + more, least[label][split]
        empty = not count and needed and split not in held_splits[label]
        return max(0, needed - count) + (_EMPTY[split] if empty else 0)

    def helps(speaker: str, before: Split, after: Split) -> bool:
        changes = [
            lacking(label, after, 1) - lacking(label, after, 0) + lacking(label, before, -1) - lacking(label, before, 0)
            for label in labels[speaker]
        ]
        return sum(changes) < 0

    def fill(label: str, split: Split) -> bool:
        """Move groups of a label to a split that has too few, where less is lacking in all then."""
        if counts[label][split] >= least[label][split]:
            return False
        low, high = _bounds(shares)[split]
        moved = False
        for place, speaker in sorted((places[speaker], speaker) for speaker in movable if label in labels[speaker]):
            before = split_at(place)
            if before != split and helps(speaker, before, split):
                for own_label in labels[speaker]:
                    counts[own_label].update({before: -1, split: 1})
                # well inside, so that no rounding puts it on the other side
                places[speaker] = (low + (high - low) * (0.25 + place / 2) - shares.rotation) % 1.0
                moved = True
        return moved

    pairs = [(label, split) for label in sorted(counts) for split in SPLITS]
    while any([fill(label, split) for label, split in pairs]):
        pass


def _least(groups: int, held: Collection[Split], shares: SplitsConfig) -> dict[Split, int]:
    """How many of a label's groups that are free to be anywhere each split must have.

    Each split that holds none gets one first, in the order of `SPLITS`; then all go by their shares. Up to
    `_EXACT_GROUPS` groups this is exact; of more, half is enough, which a hash alone hardly ever misses. One more group
    asks for one more in one split at most, so that a group that comes alone can always give it.
    """
    fractions: dict[Split, float] = {"test": shares.test_fraction, "val": shares.val_fraction}
    fractions["train"] = 1 - sum(fractions.values())
    counts = dict.fromkeys(SPLITS, 0)
    for number in range(1, min(groups, max(_EXACT_GROUPS, -(-groups // 2))) + 1):
        without = [split for split in SPLITS if not counts[split] and split not in held]
        chosen = without[0] if without else max(SPLITS, key=lambda split: fractions[split] * number - counts[split])
        counts[chosen] += 1
    return counts


def _hash_place(speaker: str, seed: int) -> float:
    return int(hashlib.sha256(f"{seed}:{speaker}".encode()).hexdigest()[:_HASH_DIGITS], 16) / 16**_HASH_DIGITS


def _bounds(shares: SplitsConfig) -> dict[Split, tuple[float, float]]:
    """From and up to which place each split lies, before it is turned."""
    held_out = shares.test_fraction + shares.val_fraction
    return {"test": (0.0, shares.test_fraction), "val": (shares.test_fraction, held_out), "train": (held_out, 1.0)}


def _splitter(shares: SplitsConfig) -> Callable[[float], Split]:
    """Return a function that tells in which split a place lies."""
    ends = [(high, split) for split, (_, high) in _bounds(shares).items()]
    rotation = shares.rotation

    def split_at(place: float) -> Split:
        turned = (place + rotation) % 1.0
        return next(split for high, split in ends if turned < high)

    return split_at


def _read_places(path: Path) -> dict[str, float]:
    try:
        return as_type(dict[str, _Place], read_json(path))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}, which remembers the split of each speaker, cannot be read ({reason_of(error)}); restore it from "
            "a backup, or remove it to split all recordings anew"
        ) from error


def check_splits(frame: "pd.DataFrame") -> list[str]:
    """Say which speakers or recordings are in more than one split; empty when all is well."""
    problems = []
    for column, what in (("speaker", "speaker"), ("recording_id", "recording")):
        places = frame[[column, "split"]].drop_duplicates()
        places = places[places.duplicated(column, keep=False)]
        problems += [
            f"{what} {name} is in {' and '.join(sorted(splits, key=SPLITS.index))}; it must be in one split only"
            for name, splits in places.groupby(column)["split"]
        ]
    return problems


def check_classes(frame: "pd.DataFrame", labels: Sequence[str]) -> list[str]:
    """Say which labels a split has no recording of, in a frame with columns label, split and speaker."""
    problems = []
    for label in labels:
        rows = frame[frame["label"] == label]
        groups = rows["speaker"].nunique()
        advice = _TOO_FEW_GROUPS if groups < len(SPLITS) else _HELD_ELSEWHERE
        problems += [
            f"no usable recording of {label!r} in {split}: there are {len(rows)} by {groups} speaker groups in all; "
            f"{advice if len(rows) else 'add recordings'}"
            for split in SPLITS
            if not (rows["split"] == split).any()
        ]
    return problems
