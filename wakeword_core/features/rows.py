"""Rows of features: planned windows are cut from a shard's recordings, augmented and transformed in batches."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from wakeword_core.config import Config, Split
from wakeword_core.errors import ArtifactError
from wakeword_core.features.augment import STEPS, Augmenter, Draws, Floor, cut, draw, most_heard, samples_heard
from wakeword_core.features.frontend import on_device, row_front_end
from wakeword_core.features.materials import Materials
from wakeword_core.features.settings import AUGMENTED_SPLIT
from wakeword_core.features.store import NO_WORD, Columns, open_features
from wakeword_core.features.windows import (
    ALL_REAL,
    Synthetic,
    WindowPlan,
    label_indices,
    plan_windows,
    role_indices,
)
from wakeword_core.progress import Progress
from wakeword_core.shards.packed_split import iter_batches, read_index
from wakeword_core.shards.shard_file import Recording

Indices = npt.NDArray[np.int64]
_SECONDS_AT_ONCE = 2_000.0
"""Of recordings that are held at once where the sound of rows is wanted."""
_ROW_TYPES = {"key": np.uint64, "start": np.int64, "part": np.int64, "row": np.int64}


@dataclass(frozen=True)
class Decoded:
    """Recordings that lie end to end in `sound` [samples], with silence around; their `audio` are views of it."""

    recordings: list[Recording]
    sound: npt.NDArray[np.int16]


def join_recordings(recordings: Sequence[Recording], margin: int) -> Decoded:
    """Put recordings end to end, with `margin` samples of silence around them."""
    lengths = [len(recording.audio) for recording in recordings]
    sound = np.zeros(margin + sum(lengths) + margin, np.int16)
    inner = sound[margin : len(sound) - margin]
    np.concatenate([sound[:0], *(recording.audio for recording in recordings)], out=inner)
    views = np.split(inner, np.cumsum(lengths)[:-1]) if lengths else []
    joined = [replace(recording, audio=view) for recording, view in zip(recordings, views, strict=True)]
    return Decoded(joined, sound)


@dataclass(frozen=True)
class Sound:
    """A shard's recordings end to end with silence around, int16 on the device, and where each of them lies."""

    samples: torch.Tensor
    starts: Indices
    lengths: Indices


@dataclass(frozen=True)
class ReusedRows:
    """Parts of an earlier build under the same settings, and which row of which part each planned row is."""

    parts: Sequence[Path]
    part: Indices
    """[rows], index into `parts`"""
    rows: Indices
    """[rows], -1 where no part has the row"""


@dataclass(frozen=True)
class ShardRows:
    """The rows of a shard, ready to be computed, but for those that an older part has."""

    sound: Sound
    plan: WindowPlan
    draws: Draws
    reused: ReusedRows | None = None

    def __len__(self) -> int:
        return len(self.plan)

    def to_compute(self) -> int:
        """Count the rows that no older part has."""
        return len(self) if self.reused is None else int((self.reused.rows < 0).sum())


class RowComputer:
    """Turns planned windows of a shard into rows; tables and materials live on the device."""

    def __init__(
        self,
        config: Config,
        split: Split,
        materials: Materials,
        device: torch.device,
        synthetic: Synthetic = ALL_REAL,
    ) -> None:
        self.config = config
        self.synthetic = synthetic
        self.split = split
        self.features = config.features
        self.device = device
        self.row = config.features.row_samples(split)
        self.heard = config.features.heard_samples(split)
        """Samples that a row is computed from: the lead-in of the front end, and then its own."""
        self.frames = config.features.row_frames(split)
        self.materials = materials
        rate = config.data.audio.sample_rate
        plugins = config.features.augment.plugins if split == AUGMENTED_SPLIT else ()
        self.augmenter = Augmenter(materials.noise.samples, materials.rooms, rate, device, plugins)
        # no device hears digital silence, and a front end that adapts to the noise that there is has to hear some
        self.floor = Floor(self.heard, device) if self.heard > self.row else None
        self.front_end = row_front_end(config.features.frontend, rate).to(device)
        self.dtype = torch.float16 if config.features.rows.dtype == "float16" else torch.float32
        self.margin = most_heard(self.heard, config.features.augment, rate)
        """Samples of silence around the recordings, as many as a row needs at most."""

    def draw(self, plan: WindowPlan) -> Draws:
        """Draw the augmentation of each row of a plan."""
        return draw(plan.key, plan.view == 0, self.features.augment, self.materials)

    def prepare(self, decoded: Decoded, plan: WindowPlan, draws: Draws, reused: ReusedRows | None = None) -> ShardRows:
        """Put a shard's sound, with `margin` around it, and the noise for its rows on the device."""
        lengths = np.asarray([len(recording.audio) for recording in decoded.recordings], np.int64)
        starts = self.margin + np.cumsum(lengths) - lengths
        needed = (draws.noise_piece >= 0) & (True if reused is None else reused.rows < 0)
        made = self.materials.noise.make(draws.noise_piece[needed])
        if self.device.type != "cpu":  # there the augmenter has the same memory
            self.augmenter.put_noise(self.materials.noise.samples, made)
        return ShardRows(Sound(on_device(decoded.sound, self.device), starts, lengths), plan, draws, reused)

    def batches(self, shard_rows: ShardRows, first: int, last: int, size: int) -> list[Indices]:
        """Split rows `first` to `last` that no older part has into batches of at most `size`.

        Batches of clean rows come first, then those of augmented ones in the order of their speed.
        """
        rows = np.arange(first, last)
        if shard_rows.reused is not None:
            rows = rows[shard_rows.reused.rows[first:last] < 0]
        clean = shard_rows.plan.view[rows] == 0
        by_speed = rows[~clean][np.argsort(shard_rows.draws.speed[rows[~clean]], kind="stable")]
        groups = (rows[clean], by_speed)
        return [group[start : start + size] for group in groups for start in range(0, len(group), size)]

    @torch.inference_mode()
    def compute(self, shard_rows: ShardRows, rows: Indices) -> torch.Tensor:
        """Compute features of some rows, either all clean or all augmented: [rows, bands, frames] on the device."""
        features: torch.Tensor = self.front_end(self.sound(shard_rows, rows))
        return features.to(self.dtype)

    @torch.inference_mode()
    def sound(self, shard_rows: ShardRows, rows: Indices) -> torch.Tensor:
        """Return the samples that `compute` makes features of: [rows, `heard`] in [-1, 1] on the device."""
        augmented = bool((shard_rows.plan.view[rows] > 0).any())
        samples, draws = self.heard, shard_rows.draws.take(rows)
        if augmented:
            samples = samples_heard(self.heard, draws.speed, draws.pitch, self.config.data.audio.sample_rate)
        audio = self._cut(shard_rows, rows, samples)
        if augmented:
            audio = self.augmenter(audio, draws, self.heard)
        return audio if self.floor is None else self.floor(audio, draws.key)

    def _cut(self, shard_rows: ShardRows, rows: Indices, samples: int) -> torch.Tensor:
        """The sound up to the end of each row, silent where its recording is not: [rows, samples]."""
        sound, recording = shard_rows.sound, shard_rows.plan.recording[rows]
        begin = shard_rows.plan.start[rows] + self.row - samples
        # a row that lies wholly beside its recording may lie beside the sound as well: it is silent anyway
        start = (sound.starts[recording] + begin).clip(0, len(sound.samples) - samples)
        audio = cut(sound.samples, on_device(start, self.device), samples)
        end = sound.lengths[recording] - begin
        outside = np.flatnonzero((begin < 0) | (end < samples))
        if len(outside):
            chosen = on_device(outside, self.device)
            place = torch.arange(samples, device=self.device)
            low, high = (on_device(edge[outside], self.device)[:, None] for edge in (-begin, end))
            audio[chosen] = audio[chosen].masked_fill_((place < low) | (place >= high), 0.0)
        return audio

    def columns(self, recordings: Sequence[Recording], shard_rows: ShardRows) -> Columns:
        """Compute the columns of the store that go with a shard's rows: [rows] each."""
        plan, draws = shard_rows.plan, shard_rows.draws
        valid_start, valid_frames = self._valid(plan, draws, shard_rows.sound.lengths)
        return {
            "labels": label_indices(recordings, self.config.labels)[plan.recording],
            "roles": role_indices(recordings)[plan.recording],
            "views": plan.view,
            "starts": plan.start,
            "valid_start": valid_start,
            "valid_frames": valid_frames,
            "word_ends": self._word_ends(plan, draws),
            "synthetic": self.synthetic.rows(recordings)[plan.recording],
            "recording_ids": np.asarray([recording.recording_id for recording in recordings], "S64")[plan.recording],
            "keys": draws.key,
        }

    def _valid(self, plan: WindowPlan, draws: Draws, lengths: Indices) -> tuple[Indices, Indices]:
        """First valid frame and their number: frames wholly inside the recording, or all where noise fills the rest."""
        frontend, speed = self.features.frontend, draws.speed / STEPS
        end = plan.start + self.row
        length = lengths[plan.recording]
        # speed moves the recording's edges relative to the row's end, which stays in place
        first = self.row - np.floor(end / speed).astype(np.int64)
        last = self.row - np.ceil((end - length) / speed).astype(np.int64)
        hop = frontend.hop_length
        start = np.clip(-(-first // hop), 0, self.frames)
        stop = np.clip((np.minimum(last, self.row) - frontend.n_fft) // hop + 1, start, self.frames)
        noisy = draws.noise_piece >= 0
        start = np.where(noisy, 0, start)
        return start, np.where(noisy, self.frames, stop - start)

    def _word_ends(self, plan: WindowPlan, draws: Draws) -> Indices:
        """Frame whose last sample is nearest to the end of the word, which may lie outside of the row; or NO_WORD."""
        before = (plan.start + self.row - plan.word_end) * STEPS / draws.speed
        frame = self.frames - 1 - np.rint(before / self.features.frontend.hop_length).astype(np.int64)
        return np.where(plan.word_end == NO_WORD, NO_WORD, frame.clip(0, self.frames - 1))


class OlderRows:
    """The rows of parts that were made under the same settings on the same kind of device.

    A row's numbers follow from its drawn key and its start alone.
    """

    def __init__(self, parts: Sequence[Path], is_whole: Callable[[Path], bool]) -> None:
        """`is_whole` reads a part that rows are to be taken from, once."""
        self._parts, self._is_whole = list(parts), cache(is_whole)
        stored = [pd.DataFrame({"key": [], "start": [], "part": [], "row": []}).astype(_ROW_TYPES)]
        for number, part in enumerate(parts):
            with suppress(ArtifactError), open_features(part) as file:
                rows = {"key": file["keys"][:], "start": file["starts"][:], "part": number}
                stored.append(pd.DataFrame({**rows, "row": np.arange(len(rows["key"]))}))
        self._stored = pd.concat(stored, ignore_index=True).drop_duplicates(["key", "start"])

    def find(self, plan: WindowPlan, draws: Draws) -> ReusedRows | None:
        """Find a plan's rows; None where there are none."""
        wanted = pd.DataFrame({"key": draws.key, "start": plan.start})
        found = wanted.merge(self._stored, how="left")[["part", "row"]].fillna(-1).to_numpy(np.int64)
        part, rows = found[:, 0], found[:, 1]
        for number in np.unique(part[part >= 0]).tolist():
            if not self._is_whole(self._parts[number]):
                rows[part == number] = -1
        return ReusedRows(self._parts, part, rows) if (rows >= 0).any() else None


@dataclass(frozen=True)
class SoundBatch:
    """Some rows of a few recordings, whose sound `RowComputer.sound` gives."""

    shard_rows: ShardRows
    columns: Columns
    """of all rows of these recordings"""
    rows: Indices
    """which of them"""
    first: int
    """rows of the split before those of these recordings"""


def sound_batches(
    computer: RowComputer,
    shards: Path,
    size: int,
    progress: Progress,
    what: str,
    keys: npt.NDArray[np.uint64] | None = None,
) -> Iterator[SoundBatch]:
    """Yield the rows of a split, or those with some `keys`, at most `size` of a few recordings at a time."""
    config, done, total, first = computer.config, 0, len(read_index(shards)), 0
    rate = config.data.audio.sample_rate
    for recordings in iter_batches(shards, _SECONDS_AT_ONCE):
        progress(what, done, total)
        done += len(recordings)
        decoded = join_recordings(recordings, computer.margin)
        plan = plan_windows(decoded.recordings, computer.split, config.features, rate, config.seed, computer.synthetic)
        shard_rows = computer.prepare(decoded, plan, computer.draw(plan))
        columns = computer.columns(decoded.recordings, shard_rows)
        wanted = np.ones(len(plan), bool) if keys is None else np.isin(shard_rows.draws.key, keys)
        for batch in computer.batches(shard_rows, 0, len(plan), len(plan) or 1):
            rows = batch[wanted[batch]]
            for start in range(0, len(rows), size):
                yield SoundBatch(shard_rows, columns, rows[start : start + size], first)
        first += len(plan)
    progress(what, total, total)
