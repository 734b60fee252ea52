"""Which windows of which recordings become rows: aligned on the word for positives, sliding over the rest."""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wakeword_core.config import ROLES, AugmentConfig, Config, FeaturesConfig, Split
from wakeword_core.features.draws import hash_keys, uniforms
from wakeword_core.features.settings import AUGMENTED_SPLIT
from wakeword_core.features.store import COLUMNS, MEL, NO_WORD, FeatureFile, open_features
from wakeword_core.recordings.row import RecordingRow, plain_rows, row_columns
from wakeword_core.shards.packed_split import read_columns

_ROWS_AT_ONCE = 1_024
_ALIGNED_ROLES = ("positive", "hard_negative")
_SKIPPED_ROLES = ("rir",)


@dataclass(frozen=True)
class Synthetic:
    """What of a split's recordings is made from text or computed: their sources, and the wake words that need to know.

    `words` are those with synthetic positives, where the number of views depends on that.
    """

    sources: frozenset[str] = frozenset()
    words: frozenset[str] = frozenset()

    @classmethod
    def of(cls, shards: Path, split: Split, sources: Collection[str], augment: AugmentConfig) -> "Synthetic":
        """Look through a split's shards for positives of the synthetic `sources`, if that matters."""
        words: set[str] = set()
        if sources and split == AUGMENTED_SPLIT and augment.real_views is not None:
            rows = read_columns(shards, ["label", "role", "source"])
            words.update(rows.loc[(rows["role"] == "positive") & rows["source"].isin(list(sources)), "label"])
        return cls(frozenset(sources), frozenset(words))

    def views(self, recording: RecordingRow, augment: AugmentConfig) -> int:
        """Return how many views of each of its windows a recording of the training split gets."""
        if recording.role != "positive":
            return augment.negative_views
        few = recording.label in self.words and recording.source not in self.sources
        return augment.real_views if few and augment.real_views is not None else augment.views

    def rows(self, recordings: Sequence[RecordingRow]) -> npt.NDArray[np.bool_]:
        """Tell which recordings are synthetic: [recordings]."""
        return np.asarray([recording.source in self.sources for recording in recordings], bool)


ALL_REAL = Synthetic()
"""Of recordings none of which is made."""


@dataclass(frozen=True)
class WindowPlan:
    """Rows to compute, in order: each array is [rows]."""

    recording: npt.NDArray[np.int64]
    """index into the shard's recordings"""
    start: npt.NDArray[np.int64]
    """first sample of the row in the recording; negative where the row begins before it"""
    view: npt.NDArray[np.int64]
    """0 is clean"""
    key: npt.NDArray[np.uint64]
    """seed of everything random about the row: a function of (recording, window, view, seed) alone"""
    word_end: npt.NDArray[np.int64]
    """sample of the recording at which the word ends, or NO_WORD"""

    def __len__(self) -> int:
        return len(self.view)


def plan_windows(
    recordings: Sequence[RecordingRow],
    split: Split,
    config: FeaturesConfig,
    sample_rate: int,
    seed: int,
    synthetic: Synthetic = ALL_REAL,
) -> WindowPlan:
    """Plan the rows of a shard's recordings.

    Positives and hard negatives give a window that ends `tail_seconds` after their speech; whatever is not positive
    gives windows every `negative_hop_seconds` as well. Training rows are longer than a window by `context.frames`: they
    end `tail_seconds` + `jitter_seconds` after the speech or later, and every window of a long negative is in one of
    them. Augmented views exist in the training split only, and `synthetic` has a part in how many.
    """
    keys = hash_keys(f"{seed}:{recording.recording_id}".encode() for recording in recordings)
    wanted = [synthetic.views(one, config.augment) if split == AUGMENTED_SPLIT else 1 for one in recordings]
    word_end = _speech_ends(recordings, sample_rate)
    owner, start, jittered = _starts(recordings, word_end, split, config, sample_rate)
    repeats = np.asarray(wanted, np.int64)[owner]
    rec = np.repeat(owner, repeats)
    view = np.arange(repeats.sum()) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    begin = np.repeat(start, repeats)
    key = (
        keys[rec]
        ^ (begin.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))
        ^ (view.astype(np.uint64) << np.uint64(56))
    )
    shift = _shifts(key, np.repeat(jittered, repeats), config, sample_rate)
    begin = np.where(view > 0, begin + np.rint(shift).astype(np.int64), begin)
    positive = np.asarray([recording.role == "positive" for recording in recordings], bool)
    return WindowPlan(rec, begin, view, key, np.where(positive[rec], word_end[rec], NO_WORD))


def _shifts(
    key: npt.NDArray[np.uint64], aligned: npt.NDArray[np.bool_], config: FeaturesConfig, sample_rate: int
) -> npt.NDArray[np.float64]:
    """Samples by which augmented views of training rows move: [rows].

    A row that is aligned on a word ends later by as much as leaves a whole window with the word's end in it; a
    sliding row moves by half a hop either way.
    """
    u = uniforms(key, 1, stream=0)[:, 0]
    context = config.row_samples("train") - config.frontend.window_samples
    after = row_tail(config, sample_rate)
    # without context a row is a window, in which the word ends up to tail + jitter before its end
    word = u * (context - after) if context else u * after - round(config.windows.tail_seconds * sample_rate)
    return np.where(aligned, word, (u - 0.5) * _hop(config, "train", sample_rate))


def aligned_reach(config: FeaturesConfig, sample_rate: int) -> tuple[int, int]:
    """Count the samples before and after the end of a word that training rows aligned on it hold, at its own speed."""
    row, after = config.row_samples("train"), row_tail(config, sample_rate)
    context = row - config.frontend.window_samples
    # without context clean rows end a tail after the word, and others up to as much earlier or a jitter later
    return (row - after, context) if context else (row, after)


def row_tail(config: FeaturesConfig, sample_rate: int) -> int:
    """Count the samples that a training row holds after the end of the word at least."""
    return round((config.windows.tail_seconds + config.context.jitter_seconds) * sample_rate)


def _hop(config: FeaturesConfig, split: Split, sample_rate: int) -> int:
    hop = round(config.rows.negative_hop_seconds * sample_rate)
    context = config.row_samples(split) - config.frontend.window_samples
    return context if context > 0 else hop


def _speech_ends(recordings: Sequence[RecordingRow], sample_rate: int) -> npt.NDArray[np.int64]:
    """Where the speech of each recording ends, in samples; its own end where that is unknown: [recordings]."""
    ends = np.asarray([recording.speech_end for recording in recordings], np.float64)
    unknown = np.isnan(ends)
    ends = np.rint(np.where(unknown, 0, ends) * sample_rate).astype(np.int64)
    return np.where(unknown, _samples(recordings, sample_rate), ends)


def _samples(recordings: Sequence[RecordingRow], sample_rate: int) -> npt.NDArray[np.int64]:
    """Samples of each recording as shards hold it: [recordings]."""
    seconds = np.asarray([recording.seconds for recording in recordings], np.float64)
    return np.rint(seconds * sample_rate).astype(np.int64)


def label_indices(recordings: Sequence[RecordingRow], labels: Sequence[str]) -> npt.NDArray[np.int64]:
    """Look up the class of each recording: [recordings]; what is not positive is class 0.

    So is a positive of a word that is none any more: a shard may hold some, of which no row counts.
    """
    index = {label: position for position, label in enumerate(labels)}
    return np.asarray(
        [index.get(recording.label, 0) if recording.role == "positive" else 0 for recording in recordings], np.int64
    )


def role_indices(recordings: Sequence[RecordingRow]) -> npt.NDArray[np.int64]:
    """Look up the role of each recording as an index into ROLES: [recordings]."""
    return np.asarray([ROLES.index(recording.role) for recording in recordings], np.int64)


def _starts(
    recordings: Sequence[RecordingRow],
    speech_end: npt.NDArray[np.int64],
    split: Split,
    config: FeaturesConfig,
    sample_rate: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Rows in order: whose each is, where it starts, and whether it is aligned on speech: [rows] each.

    Sliding rows start every hop, from where little of the beginning is inside, to the row that ends last. A stream
    passes over beginnings too: without windows of quiet and then speech that is no wake word, a model takes whatever
    follows quiet for one, since that is how recordings of a single word are.
    """
    roles = np.asarray([recording.role for recording in recordings], np.str_)
    row, hop, window = config.row_samples(split), _hop(config, split, sample_rate), config.frontend.window_samples
    tail = row_tail(config, sample_rate) if row > window else round(config.windows.tail_seconds * sample_rate)
    last = _samples(recordings, sample_rate) - row
    first = np.minimum(round(config.windows.edge_seconds * sample_rate) - window, last)
    aligned = np.isin(roles, _ALIGNED_ROLES).astype(np.int64)
    sliding = np.minimum(-((first - last) // hop) + 1, config.rows.max_windows - aligned)
    counts = np.where(np.isin(roles, _SKIPPED_ROLES), 0, aligned + np.where(roles == "positive", 0, sliding))
    owner = np.repeat(np.arange(len(counts)), counts)
    place = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) - aligned[owner]
    slid = np.minimum(first[owner] + place * hop, last[owner])
    return owner, np.where(place < 0, speech_end[owner] + tail - row, slid), place < 0


def verify_features(
    folder: Path,
    shards: Path,
    split: Split,
    config: Config,
    synthetic_sources: Collection[str] = (),
    verified: Collection[str] = (),
) -> list[str]:
    """Compare a split's stored features with its shards and settings; returns what is wrong, as sentences.

    Looks at shapes, finiteness, and the recording, label, view, start and origin of every row. Of the parts whose names
    are among the `verified` ones the features themselves are not read.
    """
    file = FeatureFile(folder)
    problems = []
    expected_shape = (1, 1, config.features.frontend.bands, config.features.row_frames(split))
    if file.shape[1:] != expected_shape:
        problems.append(f"rows of shape {file.shape[1:]} instead of {expected_shape}")
    if tuple(file.labels) != config.labels:
        problems.append(f"labels {file.labels} instead of {list(config.labels)}")
    recordings = [RecordingRow(*facts) for facts in plain_rows(read_columns(shards, row_columns()))]
    synthetic = Synthetic.of(shards, split, synthetic_sources, config.features.augment)
    plan = plan_windows(recordings, split, config.features, config.data.audio.sample_rate, config.seed, synthetic)
    recording_ids = np.asarray([recording.recording_id for recording in recordings], COLUMNS["recording_ids"])
    wanted = {
        "recording_ids": recording_ids[plan.recording],
        "labels": label_indices(recordings, config.labels)[plan.recording],
        "views": plan.view,
        "starts": plan.start,
        "synthetic": synthetic.rows(recordings)[plan.recording],
    }
    if len(file) != len(plan):
        problems.append(f"{len(file)} rows, but the shards give {len(plan)} windows")
    problems += [
        f"{name} differ from the shards'"
        for name, values in wanted.items()
        if not np.array_equal(file.column(name), values)
    ]
    return problems + [problem for part in file.parts if part.name not in verified for problem in _broken_rows(part)]


def _broken_rows(part: Path) -> list[str]:
    """Whether a part has features that are not finite, or not those that were written."""
    with open_features(part) as stored:
        digests = stored["digests"][:].tolist()
        for start in range(0, len(digests), _ROWS_AT_ONCE):
            rows = stored[MEL][start : start + _ROWS_AT_ONCE]
            if not np.isfinite(rows).all():
                return [f"part {part.stem}: values that are not finite"]
            if [hashlib.sha256(row).hexdigest().encode() for row in rows] != digests[start : start + len(rows)]:
                return [f"part {part.stem}: features that are not as they were written"]
    return []
