"""Training rows as an encoder hears them: some of those that the network learns from, cut and augmented just alike."""

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
from wakeword_core.prefetch import prefetch
from wakeword_core.progress import Progress, silent
from wakeword_core.runtime.encoders import Encoder

_BATCH_ROWS = 16
_QUIET_DBFS = (-78.0, -58.0)
"""Level of the hiss under every row: an embedding of digital silence, which no microphone gives, would be a cue."""
_STREAM = 7
_STEPS_APART = 3
"""From one whole window of a row to the next: two at least end where a word has to be told."""


@dataclass(frozen=True)
class EmbeddedRows:
    """Rows as numbers: float16 [rows, steps, numbers], the class of each [rows], and the step at which its word ends.

    `word_steps` [rows] is a fraction of steps, which may lie outside of the row, and not a number where there is no
    word. Of an encoder that takes whole windows they are [rows, places, steps, numbers], the steps that end each of the
    windows, and `places` [places] are the steps of the row that these end with; else a head answers at every step.
    `keys` [rows] tell which rows of the features they are.
    """

    embeddings: Tensor
    labels: Tensor
    word_steps: Tensor
    places: Tensor | None = None
    keys: npt.NDArray[np.uint64] | None = None


def embed_rows(
    shards: Path,
    features: Path,
    config: Config,
    synthetic_sources: Collection[str],
    encoder: Encoder,
    steps_seen: int,
    progress: Progress = silent,
    only: npt.NDArray[np.uint64] | None = None,
) -> EmbeddedRows:
    """Encode the chosen rows of the training split: `features` tells which rows there are, `shards` hold their sound.

    With `only`, they are the rows of these keys. Of a whole window, `steps_seen` steps are kept. DataError where there
    is no row with a wake word, or none without, or rows are shorter than the encoder's window.
    """
    chosen = _choose(FeatureFile(features), config) if only is None else only
    rate = config.data.audio.sample_rate
    materials = materials_for(shards, "train", config.features, rate, config.seed)
    synthetic = Synthetic.of(shards, "train", synthetic_sources, config.features.augment)
    computer = RowComputer(config, "train", materials, torch.device("cpu"), synthetic)
    require_long_rows(config, encoder.window_samples)
    step, steps = encoder.step_samples, encoder.steps_of(computer.row)
    places = _places(encoder, computer.row) if encoder.whole_windows else None
    workers = config.compute.workers or available_cores()
    labels: list[npt.NDArray[np.int64]] = []
    ends: list[npt.NDArray[np.float64]] = []
    keys: list[npt.NDArray[np.uint64]] = []

    def batches() -> Iterator[SoundBatch]:
        for batch in sound_batches(computer, shards, _BATCH_ROWS, progress, "embed rows", chosen):
            labels.append(batch.columns["labels"][batch.rows].astype(np.int64))
            ends.append(_in_steps(batch.columns["word_ends"][batch.rows], computer, steps, step))
            keys.append(batch.shard_rows.draws.key[batch.rows])
            yield batch

    def embed(batch: SoundBatch) -> Tensor:
        sound = sound_with_hiss(batch, computer).numpy()
        if places is None:
            return torch.from_numpy(encoder.encode(sound)).half()
        ends = sound.shape[1] - (steps - 1 - places) * step
        windows = np.stack([sound[:, end - encoder.window_samples : end] for end in ends.tolist()], axis=1)
        encoded = encoder.encode(windows.reshape(-1, encoder.window_samples))[:, -steps_seen:]
        return torch.from_numpy(encoded).half().unflatten(0, (len(sound), len(places)))

    with torch_threads(1):
        embedded = torch.cat(list(prefetch(embed, batches(), workers, 2 * workers)))
    labelled, ended = (torch.from_numpy(np.concatenate(columns)) for columns in (labels, ends))
    where = None if places is None else torch.from_numpy(places)
    return EmbeddedRows(embedded, labelled, ended, where, np.concatenate(keys))


def _places(encoder: Encoder, samples: int) -> npt.NDArray[np.int64]:
    """The steps of a row at which its windows end: not all, since each is encoded by itself, but the last one."""
    before_last = np.arange(0, (samples - encoder.window_samples) // encoder.step_samples + 1, _STEPS_APART)
    return encoder.steps_of(samples) - 1 - before_last[::-1]


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


def _in_steps(frames: npt.NDArray[np.int64], computer: RowComputer, steps: int, step: int) -> npt.NDArray[np.float64]:
    """Frames of the front end as steps of so many samples, the last of which ends with the row."""
    frontend = computer.features.frontend
    before = computer.row - (frames * frontend.hop_length + frontend.n_fft)
    return np.where(frames == NO_WORD, np.nan, steps - 1 - before / step)


@torch.inference_mode()
def sound_with_hiss(batch: SoundBatch, computer: RowComputer) -> Tensor:
    """Return the sound of rows [rows, samples] in [-1, 1] as an embedding is to hear it: nowhere digital silence."""
    keys = batch.shard_rows.draws.key[batch.rows]
    low, high = _QUIET_DBFS
    levels = 10 ** ((low + (high - low) * uniforms(keys, 1, stream=_STREAM)) / 20)
    hiss = np.stack([np.random.default_rng(key).standard_normal(computer.row, np.float32) for key in keys.tolist()])
    sound = computer.sound(batch.shard_rows, batch.rows)[:, -computer.row :]
    return (sound + torch.from_numpy(hiss * levels.astype(np.float32))).clamp_(-1.0, 1.0)
