"""Which windows of which recordings become rows: aligned on the word for positives, sliding over the rest."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wakeword_core.config import ROLES, FeaturesConfig, Split
from wakeword_core.features.draws import uniforms
from wakeword_core.features.settings import AUGMENTED_SPLIT
from wakeword_core.shards import Shard

_ALIGNED_ROLES = ("positive", "hard_negative")
_SKIPPED_ROLES = ("rir",)


@dataclass(frozen=True)
class WindowPlan:
    """Rows to compute, in order: each array is [rows]."""

    recording: npt.NDArray[np.int64]
    """index into the shard"""
    start: npt.NDArray[np.int64]
    """first sample of the window in the recording; negative where the window begins before it"""
    view: npt.NDArray[np.int64]
    """0 is clean"""
    key: npt.NDArray[np.uint64]
    """seed of everything random about the row: a function of (recording, window, view, seed) alone"""

    def __len__(self) -> int:
        return len(self.view)


def recording_keys(ids: Sequence[str], seed: int) -> npt.NDArray[np.uint64]:
    """A 64-bit key for each recording: [recordings]."""
    digests = b"".join(hashlib.sha256(f"{seed}:{one}".encode()).digest()[:8] for one in ids)
    return np.frombuffer(digests, np.uint64).copy()


def plan_windows(shard: Shard, split: Split, config: FeaturesConfig, sample_rate: int, seed: int) -> WindowPlan:
    """The rows of one shard.

    Positives and hard negatives give a window that ends `tail_seconds` after their speech (jittered in augmented
    views); whatever is not positive gives windows every `negative_hop_seconds` as well. Augmented views exist in the
    training split only.
    """
    window = config.frontend.window_samples
    keys = recording_keys(shard.ids, seed)
    recording, start, jittered, views = [], [], [], []
    for index, role in enumerate(shard.roles):
        if role in _SKIPPED_ROLES:
            continue
        starts, aligned = _starts(shard, index, config, sample_rate, window)
        wanted = config.views if role == "positive" else config.negative_views
        recording += [index] * len(starts)
        start += starts
        jittered += aligned
        views += [wanted if split == AUGMENTED_SPLIT else 1] * len(starts)
    repeats = np.asarray(views, np.int64)
    rec = np.repeat(np.asarray(recording, np.int64), repeats)
    view = np.arange(repeats.sum()) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    begin = np.repeat(np.asarray(start, np.int64), repeats)
    key = (
        keys[rec]
        ^ (begin.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))
        ^ (view.astype(np.uint64) << np.uint64(56))
    )
    shift = _shifts(key, np.repeat(np.asarray(jittered, bool), repeats), config) * sample_rate
    begin = np.where(view > 0, begin + np.rint(shift).astype(np.int64), begin)
    return WindowPlan(rec, begin, view, key)


def _shifts(
    key: npt.NDArray[np.uint64], aligned: npt.NDArray[np.bool_], config: FeaturesConfig
) -> npt.NDArray[np.float64]:
    """Seconds by which augmented views move: [rows].

    An aligned word ends within [0, tail + jitter] before the window's end; a sliding window moves by half a hop.
    """
    u = uniforms(key, 1, stream=0)[:, 0]
    word = u * (config.tail_seconds + config.jitter_seconds) - config.tail_seconds
    return np.where(aligned, word, (u - 0.5) * config.negative_hop_seconds)


def label_indices(shard: Shard, labels: Sequence[str]) -> npt.NDArray[np.int64]:
    """Class index of each recording: [recordings]; what is not positive is class 0."""
    index = {label: position for position, label in enumerate(labels)}
    return np.asarray(
        [index[label] if role == "positive" else 0 for role, label in zip(shard.roles, shard.labels, strict=True)],
        np.int64,
    )


def role_indices(shard: Shard) -> npt.NDArray[np.int64]:
    """Index into ROLES of each recording: [recordings]."""
    return np.asarray([ROLES.index(role) for role in shard.roles], np.int64)


def _starts(
    shard: Shard, index: int, config: FeaturesConfig, sample_rate: int, window: int
) -> tuple[list[int], list[bool]]:
    """Window starts of one recording, and whether each is aligned on speech."""
    length = len(shard.audio[index])
    starts: list[int] = []
    if shard.roles[index] in _ALIGNED_ROLES:
        end = shard.speech_end[index]
        seconds = length / sample_rate if np.isnan(end) else float(end)
        starts.append(round((seconds + config.tail_seconds) * sample_rate) - window)
    aligned = [True] * len(starts)
    if shard.roles[index] != "positive":
        hop, edge = (round(seconds * sample_rate) for seconds in (config.negative_hop_seconds, config.edge_seconds))
        slid = _sliding_starts(length, window, hop, edge)
        slid = slid[: config.max_windows - len(starts)]
        starts += slid
        aligned += [False] * len(slid)
    return starts, aligned


def _sliding_starts(length: int, window: int, hop: int, edge: int) -> list[int]:
    """Starts every `hop` samples from where `edge` samples are inside, the last window ending with the recording.

    A stream passes over beginnings too: without windows of quiet and then speech that is no wake word, a model takes
    whatever follows quiet for one, since that is how recordings of a single word are.
    """
    last = length - window
    return [*range(min(edge - window, last), last, hop), last]
