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
from wakeword_core.features.rows import Indices, RowComputer, ShardRows, join_recordings
from wakeword_core.features.store import NO_WORD, FeatureFile
from wakeword_core.features.windows import Synthetic, plan_windows
from wakeword_core.judge.embedding import STEP_SAMPLES, SpeechEmbedding, speech_embedding, steps_of
from wakeword_core.prefetch import prefetch
from wakeword_core.progress import Progress, silent
from wakeword_core.shards.packed_split import iter_batches, read_index

_BATCH_ROWS = 16
_BATCH_SECONDS = 2_000.0
"""Of recordings that are held at once."""
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


@dataclass(frozen=True)
class _Batch:
    shard_rows: ShardRows
    rows: Indices


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

    def batches() -> Iterator[_Batch]:
        done, total = 0, len(read_index(shards))
        for recordings in iter_batches(shards, _BATCH_SECONDS):
            progress("embed rows", done, total)
            done += len(recordings)
            decoded = join_recordings(recordings, computer.margin)
            plan = plan_windows(decoded.recordings, "train", config.features, rate, config.seed, synthetic)
            shard_rows = computer.prepare(decoded, plan, computer.draw(plan))
            columns = computer.columns(decoded.recordings, shard_rows)
            wanted = np.isin(shard_rows.draws.key, chosen)
            for batch in computer.batches(shard_rows, 0, len(plan), len(plan) or 1):
                rows = batch[wanted[batch]]
                for start in range(0, len(rows), _BATCH_ROWS):
                    part = rows[start : start + _BATCH_ROWS]
                    labels.append(columns["labels"][part].astype(np.int64))
                    ends.append(_in_steps(columns["word_ends"][part], computer))
                    yield _Batch(shard_rows, part)
        progress("embed rows", total, total)

    def embed(batch: _Batch) -> Tensor:
        return _embed(batch, computer, embedding)

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
def _embed(batch: _Batch, computer: RowComputer, embedding: SpeechEmbedding) -> Tensor:
    keys = batch.shard_rows.draws.key[batch.rows]
    low, high = _QUIET_DBFS
    levels = 10 ** ((low + (high - low) * uniforms(keys, 1, stream=_STREAM)) / 20)
    hiss = np.stack([np.random.default_rng(key).standard_normal(computer.row, np.float32) for key in keys.tolist()])
    sound = computer.sound(batch.shard_rows, batch.rows)[:, -computer.row :]
    sound = (sound + torch.from_numpy(hiss * levels.astype(np.float32))).clamp_(-1.0, 1.0)
    return embedding(sound).half()
