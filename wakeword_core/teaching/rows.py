"""Scores of all rows of the training split by one teacher, who hears their features, or else their sound."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from wakeword_core.audio import resample
from wakeword_core.config import Config
from wakeword_core.cores import available_cores, torch_threads
from wakeword_core.features.frontend import row_front_end
from wakeword_core.features.materials import materials_for
from wakeword_core.features.rows import RowComputer, SoundBatch, sound_batches
from wakeword_core.features.store import FeatureFile
from wakeword_core.features.windows import Synthetic
from wakeword_core.judge.rows import sound_with_hiss
from wakeword_core.prefetch import prefetch
from wakeword_core.progress import Progress, silent
from wakeword_core.teaching.scores import TeacherScores
from wakeword_core.teaching.teachers import Teacher

_FEATURE_ROWS, _SOUND_ROWS = 128, 16
"""Rows that are scored at once."""


@dataclass(frozen=True)
class Source:
    """Where the rows of the training split are: their features, and the shards and settings that those were made of."""

    features: Path
    shards: Path
    synthetic: Collection[str]
    config: Config


def score_rows(teacher: Teacher, source: Source, device: str, progress: Progress = silent) -> TeacherScores:
    """Let a teacher that fits score every row of the training split, as it is stored.

    Steps are `training.teacher.step_frames` apart, and the last one ends with the row.
    """
    config = source.config
    features = FeatureFile(source.features)
    step, last = config.training.teacher.step_frames, features.frames - 1
    hearing = _Features(teacher, config) if teacher.takes_features(config) else _Sound(teacher, source)
    ends = last - step * np.arange(last // step, -1, -1)
    places = hearing.places((last - ends) * config.features.frontend.hop_length)
    places = places[places >= hearing.first]
    steps, said = torch.from_numpy(places), teacher.with_classes(config.labels)
    scores = torch.empty(len(features), 1, len(config.labels), len(places), dtype=torch.float16)
    workers = 1 if device == "cuda" else config.compute.workers or available_cores()

    def score(batch: "_Batch") -> tuple[npt.NDArray[np.int64], Tensor]:
        heard = hearing.hear(batch.heard).to(device)
        return batch.rows, said(heard, steps).half().cpu()

    with torch_threads(1):
        for rows, found in prefetch(score, hearing.batches(features, progress), workers, 2 * workers):
            scores[torch.from_numpy(rows), 0] = found
    return TeacherScores(scores, step, last)


@dataclass(frozen=True)
class _Batch:
    rows: npt.NDArray[np.int64]
    """of the split"""
    heard: npt.NDArray[np.float32] | SoundBatch


class _Features:
    """A teacher whose features are those of the rows."""

    def __init__(self, teacher: Teacher, config: Config) -> None:
        self._hop, self._last = config.features.frontend.hop_length, config.features.row_frames("train") - 1
        self.first = teacher.least - 1

    def places(self, before: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the frame of what is heard that ends so many samples before the row does, for each step."""
        return self._last - before // self._hop

    def batches(self, features: FeatureFile, progress: Progress) -> Iterator[_Batch]:
        """Yield all rows in turn."""
        for start, mel, _ in features.blocks(_FEATURE_ROWS):
            progress("score rows", start, len(features))
            yield _Batch(np.arange(start, start + len(mel)), mel.astype(np.float32))
        progress("score rows", len(features), len(features))

    def hear(self, heard: npt.NDArray[np.float32] | SoundBatch) -> Tensor:
        """Return features [rows, bands, frames]."""
        assert isinstance(heard, np.ndarray)
        return torch.from_numpy(heard)


class _Sound:
    """A teacher with a front end or a sample rate of its own, or that hears sound itself."""

    def __init__(self, teacher: Teacher, source: Source) -> None:
        config, self._teacher = source.config, teacher
        augment, self._rate = config.features.augment, config.data.audio.sample_rate
        materials = materials_for(source.shards, "train", config.features, self._rate, config.seed)
        synthetic = Synthetic.of(source.shards, "train", source.synthetic, augment)
        self._computer = RowComputer(config, "train", materials, torch.device("cpu"), synthetic)
        self._shards, frontend, rate = source.shards, teacher.frontend, teacher.sample_rate
        self._front_end = None if frontend is None else row_front_end(frontend, rate)
        self._lead_in = 0 if frontend is None else frontend.lead_in_samples
        # resampling gives as many samples as this
        samples = len(resample(np.zeros(self._computer.row, np.float32), self._rate, rate))
        if frontend is None:
            self._unit, self._end, self.first = 1, samples, teacher.least
        else:
            self._unit, self._end = frontend.hop_length, (samples - frontend.n_fft) // frontend.hop_length
            self.first = teacher.least - 1

    def places(self, before: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the frame, or the sample, of what is heard that is nearest to the end of each step."""
        own = before * (self._teacher.sample_rate / self._rate)
        return self._end - np.rint(own / self._unit).astype(np.int64)

    def batches(self, features: FeatureFile, progress: Progress) -> Iterator[_Batch]:
        """Yield all rows, shard by shard."""
        for batch in sound_batches(self._computer, self._shards, _SOUND_ROWS, progress, "score rows"):
            yield _Batch(batch.first + batch.rows, batch)

    @torch.inference_mode()
    def hear(self, heard: npt.NDArray[np.float32] | SoundBatch) -> Tensor:
        """Return the sound [rows, samples], or the features [rows, bands, frames], that the teacher goes by."""
        assert isinstance(heard, SoundBatch)
        if self._front_end is None:
            return self._resampled(sound_with_hiss(heard, self._computer))
        sound = self._computer.sound(heard.shard_rows, heard.rows)[:, -self._computer.row - self._lead_in :]
        sound, frontend = self._resampled(sound), self._teacher.frontend
        assert frontend is not None
        # the last frame ends with the row
        whole: Tensor = self._front_end(sound[:, (sound.shape[1] - frontend.n_fft) % frontend.hop_length :])
        return whole

    def _resampled(self, sound: Tensor) -> Tensor:
        rate = self._teacher.sample_rate
        if rate == self._rate:
            return sound
        return torch.from_numpy(np.stack([resample(row, self._rate, rate) for row in sound.numpy()]))
