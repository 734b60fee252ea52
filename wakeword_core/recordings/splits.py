"""On which side of the split each speaker lies, and whether every side has what it needs."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wakeword_core.config import SPLITS, DataConfig, Split
from wakeword_core.errors import DataError
from wakeword_core.files import digest, read_json, write_json
from wakeword_core.recordings.forgotten import speaker_hash
from wakeword_core.store.locks import for_a_moment

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


def split_of(speaker: str, seed: int, config: DataConfig) -> Split:
    """Return the split of a speaker group by its hash alone: the same on every machine, whatever else there is."""
    return _split_at(_hash_place(speaker, seed), config)


def split_recordings(rows: "pd.DataFrame", phrase: str, seed: int, config: DataConfig, folder: Path) -> "pd.Series":
    """Split recordings, given columns speaker, label, role, usable, and fixed: the split one is held in, if any.

    Where each speaker group lies is remembered below `folder`, for this phrase, seed and shares of the splits: groups
    stay where they are for ever, and new ones are put where their labels lack most. See `assign_splits`.
    """
    facts = {"phrase": phrase, "seed": seed, "val": config.splits.val_fraction, "test": config.splits.test_fraction}
    path = folder / f"{digest(facts)[:20]}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with for_a_moment(path.with_suffix(".lock")):
            known = _read_places(path)
            splits, new = assign_splits(rows, seed, config, known)
            if new:
                write_json(path, {**known, **new})
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}; free some space or choose another --home") from error
    return splits


def assign_splits(
    rows: "pd.DataFrame", seed: int, config: DataConfig, known: Mapping[str, float]
) -> "tuple[pd.Series, dict[str, float]]":
    """Return each recording's split, and the places of the speaker groups that are not among the `known` ones.

    A group's place is a number in [0, 1), which the shares of test, validation and training divide, turned by
    `rotation`. It is the hash of its name, unless some split would then have too few groups of one of its labels
    (`_least`): then new groups move there. A known group never moves. That takes a memory: if the split followed from
    the name alone, some three speakers of a word would all be in one.

    A speaker is on one side only: a recording held in test takes all others of its speaker there; then val, then train.
    """
    held: dict[str, Split] = {}
    for split in reversed(_HELD_OUT_FIRST):
        held.update(dict.fromkeys(rows.loc[rows["fixed"] == split, "speaker"], split))
    labels: dict[str, set[str]] = {speaker: set() for speaker in rows["speaker"].unique()}
    usable = rows.loc[rows["usable"], ["speaker", "label", "role"]].drop_duplicates()
    for speaker, label, role in usable.itertuples(index=False):
        labels[speaker].add(_ROOMS if role == "rir" else label)

    placement = _Placement(config)
    new: dict[str, str] = {}
    for speaker in sorted(labels):
        if speaker in held:
            placement.hold(labels[speaker], held[speaker])
            continue
        key = speaker_hash(speaker)[:_KEY_DIGITS]  # the memory keeps no names
        place = known.get(key)
        placement.add(speaker, labels[speaker], _hash_place(speaker, seed) if place is None else place)
        if place is None and labels[speaker]:  # one without usable recordings lies by its hash until it has some
            new[speaker] = key
    placement.even_out(list(new))
    splits = {speaker: held.get(speaker) or placement.split(speaker) for speaker in labels}
    return rows["speaker"].map(splits), {key: placement.places[speaker] for speaker, key in new.items()}


class _Placement:
    """Speaker groups on their places, and how many of each label are in each split."""

    def __init__(self, config: DataConfig) -> None:
        self.places: dict[str, float] = {}
        self._config = config
        self._labels: dict[str, set[str]] = {}
        self._counts: defaultdict[str, Counter[Split]] = defaultdict(Counter)
        self._held: defaultdict[str, set[Split]] = defaultdict(set)
        self._least: dict[str, dict[Split, int]] = {}

    def hold(self, labels: Iterable[str], split: Split) -> None:
        """A group with these labels is in a split whatever else there is."""
        for label in labels:
            self._held[label].add(split)

    def add(self, speaker: str, labels: set[str], place: float) -> None:
        """Put a group on its place."""
        self.places[speaker], self._labels[speaker] = place, labels
        for label in labels:
            self._counts[label][self.split(speaker)] += 1

    def split(self, speaker: str) -> Split:
        """The split of a group by its place."""
        return _split_at(self.places[speaker], self._config)

    def even_out(self, movable: Sequence[str]) -> None:
        """Move groups until every split has what it must have of each label, or no single move brings that nearer."""
        for label, counts in self._counts.items():
            self._least[label] = _least(counts.total(), self._held[label], self._config)
        pairs = [(label, split) for label in sorted(self._counts) for split in SPLITS]
        while any([self._fill(movable, label, split) for label, split in pairs]):
            pass

    def _fill(self, movable: Sequence[str], label: str, split: Split) -> bool:
        """Move groups of a label to a split that has too few, by their places, where less is lacking in all then."""
        if self._counts[label][split] >= self._least[label][split]:
            return False
        low, high = _bounds(split, self._config)
        candidates = [speaker for speaker in movable if label in self._labels[speaker] and self.split(speaker) != split]
        moved = False
        for speaker in sorted(candidates, key=lambda name: (self.places[name], name)):
            if self._change(speaker, split) < 0:
                for other in self._labels[speaker]:
                    self._counts[other][self.split(speaker)] -= 1
                    self._counts[other][split] += 1
                # well inside, so that no rounding puts it on the other side
                place = low + (high - low) * (0.25 + self.places[speaker] / 2)
                self.places[speaker] = (place - self._config.splits.rotation) % 1.0
                moved = True
        return moved

    def _change(self, speaker: str, split: Split) -> int:
        """How much more is lacking when a group moves to a split."""
        before = self.split(speaker)
        return sum(
            self._lacking(label, split, 1) - self._lacking(label, split, 0)
            + self._lacking(label, before, -1) - self._lacking(label, before, 0)
            for label in self._labels[speaker]
        )  # fmt: skip

    def _lacking(self, label: str, split: Split, more: int) -> int:
        """How many groups of a label a split lacks; none at all is far worse than too few, most of all in training."""
        count, least = self._counts[label][split] + more, self._least[label][split]
        empty = not count and least and split not in self._held[label]
        return max(0, least - count) + (_EMPTY[split] if empty else 0)


def _least(groups: int, held: Collection[Split], config: DataConfig) -> dict[Split, int]:
    """How many of a label's groups that are free to be anywhere each split must have.

    Each split that holds none gets one first, in the order of `SPLITS`; then all go by their shares. Up to
    `_EXACT_GROUPS` groups this is exact; of more, half is enough, which a hash alone hardly ever misses. One more group
    asks for one more in one split at most, so that a group that comes alone can always give it.
    """
    shares: dict[Split, float] = {"test": config.splits.test_fraction, "val": config.splits.val_fraction}
    shares["train"] = 1 - sum(shares.values())
    counts = dict.fromkeys(SPLITS, 0)
    for number in range(1, min(groups, max(_EXACT_GROUPS, -(-groups // 2))) + 1):
        without = [split for split in SPLITS if not counts[split] and split not in held]
        chosen = without[0] if without else max(SPLITS, key=lambda split: shares[split] * number - counts[split])
        counts[chosen] += 1
    return counts


def _hash_place(speaker: str, seed: int) -> float:
    return int(hashlib.sha256(f"{seed}:{speaker}".encode()).hexdigest()[:_HASH_DIGITS], 16) / 16**_HASH_DIGITS


def _bounds(split: Split, config: DataConfig) -> tuple[float, float]:
    """From and up to which place a split lies, before it is turned."""
    test, held_out = config.splits.test_fraction, config.splits.test_fraction + config.splits.val_fraction
    return {"test": (0.0, test), "val": (test, held_out), "train": (held_out, 1.0)}[split]


def _split_at(place: float, config: DataConfig) -> Split:
    place = (place + config.splits.rotation) % 1.0
    if place < config.splits.test_fraction:
        return "test"
    return "val" if place < config.splits.test_fraction + config.splits.val_fraction else "train"


def _read_places(path: Path) -> dict[str, float]:
    try:
        return {str(key): float(place) for key, place in read_json(path).items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}, which remembers the split of each speaker, cannot be read ({error}); restore it from a backup, "
            "or remove it to split all recordings anew"
        ) from error


def check_splits(frame: "pd.DataFrame") -> list[str]:
    """Say which speakers or recordings are in more than one split; empty when all is well."""
    problems = []
    for column, what in (("speaker", "speaker"), ("id", "recording")):
        places = frame[[column, "split"]].drop_duplicates()
        places = places[places.duplicated(column, keep=False)]
        problems += [
            f"{what} {name} is in {' and '.join(sorted(found, key=SPLITS.index))}; it must be in one split only"
            for name, found in places.groupby(column)["split"]
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
