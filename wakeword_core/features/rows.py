"""Rows of features: planned windows cut from a shard's recordings, augmented and transformed, a batch at a time."""

from dataclasses import dataclass, fields
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from wakeword_core.config import Config, Split
from wakeword_core.features.augment import Augmenter, Draws, cut, draw, drawn_keys
from wakeword_core.features.feed import Decoded
from wakeword_core.features.frontend import TorchFrontend
from wakeword_core.features.materials import Materials
from wakeword_core.features.speed import STEPS, source_samples, whole_steps
from wakeword_core.features.store import NO_WORD
from wakeword_core.features.windows import WindowPlan, label_indices, role_indices
from wakeword_core.shards import Shard

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Sound:
    """A shard's recordings end to end with silence around, int16 on the device, and where each of them lies."""

    samples: torch.Tensor
    starts: Indices
    lengths: Indices


@dataclass(frozen=True)
class Older:
    """A part of an earlier build under the same settings, and which of its rows each planned row is: [rows], or -1."""

    part: Path
    rows: Indices


@dataclass(frozen=True)
class Work:
    """A shard that is ready for its rows to be computed, but for those that an older part has."""

    sound: Sound
    plan: WindowPlan
    draws: Draws
    keys: npt.NDArray[np.uint64]
    """what stands for recording, window, view, seed and what is mixed in: [rows]"""
    older: Older | None = None

    def __len__(self) -> int:
        return len(self.plan)


class RowComputer:
    """Turns planned windows of a shard into rows; tables and materials live on the device."""

    def __init__(self, config: Config, split: Split, materials: Materials, device: torch.device) -> None:
        self.config = config
        self.features = config.features
        self.device = device
        self.row = config.features.row_samples(split)
        self.frames = config.features.row_frames(split)
        self.materials = materials
        self.augmenter = Augmenter(materials.noise.samples, materials.rooms, device)
        self.front_end = TorchFrontend(config.features.frontend, config.data.sample_rate).to(device)
        self.dtype = torch.float16 if config.features.dtype == "float16" else torch.float32
        self.margin = source_samples(self.row, float(whole_steps(config.features.augment.speed[1])) / STEPS)
        """Samples of silence around the recordings, as many as a row needs at most."""

    def prepare(self, decoded: Decoded, plan: WindowPlan) -> Work:
        """Put a shard's sound, with `margin` around it, on the device and draw what happens to each of its rows."""
        lengths = np.asarray([len(audio) for audio in decoded.shard.audio], np.int64)
        sound = torch.from_numpy(decoded.sound).to(self.device)
        draws = draw(plan.key, plan.view == 0, self.features.augment, self.materials)
        keys = drawn_keys(plan.key, draws, self.materials)
        return Work(Sound(sound, self.margin + np.cumsum(lengths) - lengths, lengths), plan, draws, keys)

    def make_noise(self, work: Work) -> None:
        """Generate the noise that the rows to be computed need and that is not there yet."""
        wanted = work.draws.noise_piece >= 0
        if work.older is not None:
            wanted &= work.older.rows < 0
        noise = self.materials.noise
        for place in noise.make(work.draws.noise_piece[wanted]):
            if self.device.type != "cpu":  # there the augmenter has the same memory
                self.augmenter.noise[place] = torch.from_numpy(noise.samples[place]).to(self.device)

    def batches(self, work: Work, first: int, last: int, size: int) -> list[Indices]:
        """Rows `first` to `last` that no older part has, in batches of at most `size`: clean ones, others by speed."""
        rows = np.arange(first, last)
        if work.older is not None:
            rows = rows[work.older.rows[first:last] < 0]
        clean = work.plan.view[rows] == 0
        by_speed = rows[~clean][np.argsort(work.draws.speed[rows[~clean]], kind="stable")]
        parts = (rows[clean], by_speed)
        return [part[start : start + size] for part in parts for start in range(0, len(part), size)]

    @torch.inference_mode()
    def compute(self, work: Work, rows: Indices) -> torch.Tensor:
        """Features of some rows, either all clean or all augmented: [rows, bands, frames] on the device."""
        augmented = bool((work.plan.view[rows] > 0).any())
        samples = self.row
        if augmented:
            samples = source_samples(self.row, work.draws.speed[rows].max() / STEPS)
        audio = self._cut(work, rows, samples)
        if augmented:
            audio = self.augmenter(audio, work.draws.take(rows), self.row)
        features: torch.Tensor = self.front_end(audio)
        return features.to(self.dtype)

    def _cut(self, work: Work, rows: Indices, samples: int) -> torch.Tensor:
        """The sound up to the end of each row, silent where its recording is not: [rows, samples]."""
        sound, recording = work.sound, work.plan.recording[rows]
        begin = work.plan.start[rows] + self.row - samples
        # a row that lies wholly beside its recording may lie beside the sound as well: it is silent anyway
        start = (sound.starts[recording] + begin).clip(0, len(sound.samples) - samples)
        audio = cut(sound.samples, torch.from_numpy(start).to(self.device), samples)
        end = sound.lengths[recording] - begin
        outside = np.flatnonzero((begin < 0) | (end < samples))
        if len(outside):
            chosen = torch.from_numpy(outside).to(self.device)
            place = torch.arange(samples, device=self.device)
            low, high = (torch.from_numpy(edge[outside]).to(self.device)[:, None] for edge in (-begin, end))
            audio[chosen] = audio[chosen].masked_fill_((place < low) | (place >= high), 0.0)
        return audio

    def columns(self, shard: Shard, work: Work) -> dict[str, npt.NDArray[np.generic]]:
        """The columns of the store that go with a shard's rows: [rows] each."""
        plan = work.plan
        valid_start, valid_frames = self._valid(plan, work.draws, work.sound.lengths)
        return {
            "labels": label_indices(shard, self.config.labels)[plan.recording],
            "roles": role_indices(shard)[plan.recording],
            "views": plan.view,
            "starts": plan.start,
            "valid_start": valid_start,
            "valid_frames": valid_frames,
            "word_ends": self._word_ends(plan, work.draws),
            "file_ids": np.asarray(shard.ids, "S64")[plan.recording],
            "keys": work.keys,
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


def clean_rows(plan: WindowPlan) -> WindowPlan:
    """The rows of a plan that nothing is done to."""
    chosen = plan.view == 0
    return WindowPlan(**{one.name: getattr(plan, one.name)[chosen] for one in fields(plan)})


def rows_in(part: Path, work: Work) -> Older:
    """Which rows of a whole part, made under the same settings on the same kind of device, those of some work are.

    The key with the start stands for all that a row's numbers follow from.
    """
    with h5py.File(part) as file:
        there = pd.DataFrame({"key": file["keys"][:], "start": file["starts"][:]})
    there = there.assign(row=np.arange(len(there))).drop_duplicates(["key", "start"])
    wanted = pd.DataFrame({"key": work.keys, "start": work.plan.start})
    return Older(part, wanted.merge(there, how="left")["row"].fillna(-1).to_numpy(np.int64))
