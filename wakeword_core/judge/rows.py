"""Embeddings of training rows: some of the rows that the network learns from, cut and augmented just like them."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from wakeword_core.config import Config
from wakeword_core.cores import available_cores, torch_threads
from wakeword_core.errors import DataError
from wakeword_core.features.draws import mix_bits, uniforms
from wakeword_core.features.materials import materials_for
from wakeword_core.features.rows import RowComputer, SoundBatch, sound_batches
from wakeword_core.features.store import NO_WORD, FeatureFile
from wakeword_core.features.windows import Synthetic
from wakeword_core.judge.embedding import STEP_SAMPLES, speech_embedding, steps_of
from wakeword_core.prefetch import prefetch
from wakeword_core.progress import Progress, silent

_BATCH_ROWS = 16
_QUIET_DBFS = (-78.0, -58.0)
"""Level of the hiss under every row: an embedding of digital silence, which no microphone gives, would be a cue."""
_STREAM = 7


@dataclass(frozen=True)
class EmbeddedRows:
    """Rows as embeddings: float16 [rows, steps, 96], the class of each [rows], and the step at which its word ends.

    `word_steps` [rows] is a fraction of steps, which may lie outside of the row, and not a number where there is no
    word.
    """

    embeddings: Tensor
    labels: Tensor
    word_steps: Tensor


def embed_rows(
    shards: Path,
    features: Path,
    config: Config,
    synthetic_sources: Collection[str],
    least_samples: int,
    progress: Progress = silent,
) -> EmbeddedRows:
    """Embed the chosen rows of the training split: `features` tells which rows there are, `shards` hold their sound.

    DataError where there is no row with a wake word, or none without, or rows have fewer than `least_samples`.
    """
    chosen = _choose(FeatureFile(features), config)
    rate = config.data.audio.sample_rate
    materials = materials_for(shards, "train", config.features, rate, config.seed)
    synthetic = Synthetic.of(shards, "train", synthetic_sources, config.features.augment)
    computer = RowComputer(config, "train", materials, torch.device("cpu"), synthetic)
    embedding = speech_embedding()
    require_long_rows(config, least_samples)
    workers = config.compute.workers or available_cores()
    labels: list[npt.NDArray[np.int64]] = []
    ends: list[npt.NDArray[np.float64]] = []

    def batches() -> Iterator[SoundBatch]:
        for batch in sound_batches(computer, shards, _BATCH_ROWS, progress, "embed rows", chosen):
            labels.append(batch.columns["labels"][batch.rows].astype(np.int64))
            ends.append(_in_steps(batch.columns["word_ends"][batch.rows], computer))
            yield batch

    @torch.inference_mode()
    def embed(batch: SoundBatch) -> Tensor:
        return embedding(sound_with_hiss(batch, computer)).half()

    with torch_threads(1):
        embedded = torch.cat(list(prefetch(embed, batches(), workers, 2 * workers)))
    return EmbeddedRows(embedded, torch.from_numpy(np.concatenate(labels)), torch.from_numpy(np.concatenate(ends)))


def require_long_rows(config: Config, least_samples: int) -> None:
    """DataError where training rows are shorter than what a judge hears before it answers."""
    rate, row = config.data.audio.sample_rate, config.features.row_samples("train")
    if row < least_samples:
        raise DataError(
            f"training rows are {row / rate:.2f} s, but the judge hears {least_samples / rate:.2f} s: make "
            f"features.frontend.window_frames larger (or features.context.frames), or set {config.judge_wanted_by} to "
            "false"
        )


def _choose(features: FeatureFile, config: Config) -> npt.NDArray[np.uint64]:
    """The keys of the rows to learn from: of each kind those that come first when keys are mixed anew."""
    keys, positive = features.column("keys").astype(np.uint64), features.column("labels") > 0
    wanted = config.judge.rows
    kinds = (("with", positive, wanted.positives), ("without", ~positive, wanted.negatives))
    chosen = []
    for name, of_kind, most in kinds:
        own = keys[of_kind]
        if not len(own):
            raise DataError(f"the training split has no row {name} a wake word, so that no judge can be trained")
        chosen.append(own[np.argsort(mix_bits(own), kind="stable")[:most]])
    return np.concatenate(chosen)


def _in_steps(frames: npt.NDArray[np.int64], computer: RowComputer) -> npt.NDArray[np.float64]:
    """Frames of the front end as steps of the embedding, the last of which ends with the row."""
    frontend = computer.features.frontend
    before = computer.row - (frames * frontend.hop_length + frontend.n_fft)
    return np.where(frames == NO_WORD, np.nan, steps_of(computer.row) - 1 - before / STEP_SAMPLES)


@torch.inference_mode()
def sound_with_hiss(batch: SoundBatch, computer: RowComputer) -> Tensor:
    """Return the sound of rows [rows, samples] in [-1, 1] as an embedding is to hear it: nowhere digital silence."""
    keys = batch.shard_rows.draws.key[batch.rows]
    low, high = _QUIET_DBFS
    levels = 10 ** ((low + (high - low) * uniforms(keys, 1, stream=_STREAM)) / 20)
    hiss = np.stack([np.random.default_rng(key).standard_normal(computer.row, np.float32) for key in keys.tolist()])
    sound = computer.sound(batch.shard_rows, batch.rows)[:, -computer.row :]
    return (sound + torch.from_numpy(hiss * levels.astype(np.float32))).clamp_(-1.0, 1.0)
