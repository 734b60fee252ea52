"""Rows of features: planned windows cut from a shard's recordings, augmented and transformed, a batch at a time."""

from dataclasses import dataclass, fields
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from wakeword_core.config import Config, Split
from wakeword_core.features.augment import Augmenter, Draws, cut, draw
from wakeword_core.features.feed import Decoded
from wakeword_core.features.frontend import TorchFrontend
from wakeword_core.features.graphs import Recurring
from wakeword_core.features.materials import Materials
from wakeword_core.features.speed import STEPS, source_samples, whole_steps
from wakeword_core.features.store import NO_WORD
from wakeword_core.features.transfer import on_device
from wakeword_core.features.windows import WindowPlan, label_indices, role_indices
from wakeword_core.shards.packed_split import Shard

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Sound:
    """A shard's recordings end to end with silence around, int16 on the device, and where each of them lies."""

    samples: torch.Tensor
    starts: Indices
    lengths: Indices
    copied: tuple[torch.cuda.Event, torch.cuda.Event] | None = None
    """before and after the copy to a GPU"""

    def wait_on(self, stream: torch.cuda.Stream) -> None:
        """Let a stream of the GPU use the samples once they are there."""
        assert self.copied is not None
        stream.wait_event(self.copied[1])
        self.samples.record_stream(stream)

    def copy_seconds(self) -> float:
        """How long the copy took, once it is made."""
        assert self.copied is not None
        return self.copied[0].elapsed_time(self.copied[1]) / 1e3


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
    older: Older | None = None

    def __len__(self) -> int:
        return len(self.plan)


class RowComputer:
    """Turns planned windows of a shard into rows; tables and materials live on the device."""

    def __init__(self, config: Config, split: Split, materials: Materials, device: torch.device) -> None:
        self.config = config
        self.split = split
        self.features = config.features
        self.device = device
        self.row = config.features.row_samples(split)
        self.frames = config.features.row_frames(split)
        self.materials = materials
        self.augmenter = Augmenter(materials.noise.samples, materials.rooms, device)
        front_end = TorchFrontend(config.features.frontend, config.data.sample_rate).to(device)
        self._graphs = Recurring(front_end) if device.type == "cuda" else None
        self.front_end = self._graphs or front_end
        self._copies = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.dtype = torch.float16 if config.features.dtype == "float16" else torch.float32
        self.margin = source_samples(self.row, float(whole_steps(config.features.augment.speed[1])) / STEPS)
        """Samples of silence around the recordings, as many as a row needs at most."""

    def forget_graphs(self) -> None:
        """Free the memory that CUDA graphs hold."""
        if self._graphs is not None:
            self._graphs.forget()

    def draw(self, plan: WindowPlan) -> Draws:
        """What happens to each row of a plan."""
        return draw(plan.key, plan.view == 0, self.features.augment, self.materials)

    def prepare(self, decoded: Decoded, plan: WindowPlan, draws: Draws, older: Older | None = None) -> Work:
        """Put a shard's sound, with `margin` around it, and the noise for its rows on the device."""
        lengths = np.asarray([len(audio) for audio in decoded.shard.audio], np.int64)
        starts = self.margin + np.cumsum(lengths) - lengths
        needed = (draws.noise_piece >= 0) & (True if older is None else older.rows < 0)
        made = self.materials.noise.make(draws.noise_piece[needed])
        if self._copies is None:  # the augmenter has the same memory
            return Work(Sound(torch.from_numpy(decoded.sound), starts, lengths), plan, draws, older)
        with torch.cuda.stream(self._copies):
            self.augmenter.put_noise(self.materials.noise.samples, made)
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            pinned = torch.from_numpy(decoded.sound).pin_memory()
            begin.record()
            sound = pinned.to(self.device, non_blocking=True)
            end.record()
        return Work(Sound(sound, starts, lengths, (begin, end)), plan, draws, older)

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
        audio = cut(sound.samples, on_device(start, self.device), samples)
        end = sound.lengths[recording] - begin
        outside = np.flatnonzero((begin < 0) | (end < samples))
        if len(outside):
            chosen = on_device(outside, self.device)
            place = torch.arange(samples, device=self.device)
            low, high = (on_device(edge[outside], self.device)[:, None] for edge in (-begin, end))
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
            "keys": work.draws.key,
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


def rows_in(part: Path, plan: WindowPlan, draws: Draws) -> Older:
    """Which rows of a whole part, made under the same settings on the same kind of device, a plan's are.

    The key that is drawn stands, with the start, for all that a row's numbers follow from.
    """
    with h5py.File(part) as file:
        there = pd.DataFrame({"key": file["keys"][:], "start": file["starts"][:]})
    there = there.assign(row=np.arange(len(there))).drop_duplicates(["key", "start"])
    wanted = pd.DataFrame({"key": draws.key, "start": plan.start})
    return Older(part, wanted.merge(there, how="left")["row"].fillna(-1).to_numpy(np.int64))
