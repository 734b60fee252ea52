"""How windows come to a training in the loops that people write: one at a time, by the workers of a DataLoader.

Each gives the windows that a sampler has chosen, batch by batch. What this project holds ready in memory they read
again each time; only the windows of noise, a small part, are held in memory by all.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from wakeword_core.config import Config
from wakeword_core.graph.project import Project

if TYPE_CHECKING:
    import torch

_LEAST_POWER = 1e-12


@dataclass(frozen=True)
class Fed:
    """A batch: its rows int64 [batch], windows [batch, n_mels, frames], and rows of noise [batch] to be mixed in.

    None: noise is in the windows already.
    """

    rows: "torch.Tensor"
    mel: "torch.Tensor"
    noise: "torch.Tensor | None"


Feed = Callable[["torch.Tensor", "torch.Tensor", int], Iterator[Fed]]
"""From rows and rows of noise, both int64 [steps, batch], and a number of workers to the batches."""


def from_hdf5(project: Project, config: Config) -> Feed:
    """Windows from the file that this project trains on; noise is mixed in where this project does it."""
    import h5py
    import torch

    from wakeword_core.features.store import MEL, FeatureFile

    features = FeatureFile(project.require("mel_features", "train").path)

    class Windows(torch.utils.data.Dataset[torch.Tensor]):
        file: Any = None

        def __getitem__(self, row: int) -> torch.Tensor:
            if self.file is None:  # each worker opens it for itself
                self.file = h5py.File(features.path)
            return torch.from_numpy(self.file[MEL][features.mel.order[row], 0, 0])

    def feed(rows: torch.Tensor, noises: torch.Tensor, workers: int) -> Iterator[Fed]:
        loader = _loader(Windows(), rows.tolist(), workers, config)
        return (Fed(*one) for one in zip(rows, loader, noises, strict=True))

    return feed


def from_audio_files(project: Project, config: Config) -> Feed:
    """Windows from the recordings: read, cut, now and then mixed with noise as it is set, and transformed."""
    import torch

    samples = config.features.frontend.window_samples
    paths, starts = _places(project)
    noise_probability, snr_db = config.training.augment.noise_probability, config.training.augment.noise_snr_db
    to_mel = mel_of(config)

    def feed(rows: torch.Tensor, noises: torch.Tensor, workers: int) -> Iterator[Fed]:
        held = {row: cut(paths[row], starts[row], samples) for row in noises.unique().tolist()}

        class Windows(torch.utils.data.Dataset[torch.Tensor]):
            def __getitem__(self, place: tuple[int, int]) -> torch.Tensor:
                row, noise = place
                window = cut(paths[row], starts[row], samples)
                if torch.rand(()) < noise_probability:
                    window = window + held[noise] * _gain(window, held[noise], snr_db)
                return to_mel(window).half()

        places = [list(zip(*one, strict=True)) for one in zip(rows.tolist(), noises.tolist(), strict=True)]
        loader = _loader(Windows(), places, workers, config)
        return (Fed(*one, None) for one in zip(rows, loader, strict=True))

    return feed


def cut(path: str, start: int, samples: int) -> "torch.Tensor":
    """So many samples of a file from a place on, zeros where it has none: float32 [samples]."""
    import soundfile
    import torch

    window = torch.zeros(samples)
    sound, _ = soundfile.read(path, dtype="float32", start=max(start, 0), frames=samples + min(start, 0))
    window[max(-start, 0) :][: len(sound)] = torch.from_numpy(sound)
    return window


def mel_of(config: Config) -> Callable[["torch.Tensor"], "torch.Tensor"]:
    """Log-mels [n_mels, frames] of samples [samples] by torchaudio, with the numbers of this project's front end."""
    import torch
    from torchaudio.transforms import MelSpectrogram

    frontend = config.features.frontend
    mel = MelSpectrogram(
        config.data.audio.sample_rate,
        frontend.n_fft,
        frontend.win_length,
        frontend.hop_length,
        f_min=frontend.f_min,
        f_max=frontend.f_max,
        n_mels=frontend.n_mels,
        center=False,
    )
    return lambda samples: torch.log(mel(samples) + frontend.log_floor)


def _gain(window: "torch.Tensor", noise: "torch.Tensor", snr_db: tuple[float, float]) -> "torch.Tensor":
    import torch

    low, high = snr_db
    ratio = 10.0 ** ((low + (high - low) * torch.rand(())) / 10.0)
    return (window.square().mean() / ratio / noise.square().mean().clamp_min(_LEAST_POWER)).sqrt()


def _places(project: Project) -> tuple[list[str], list[int]]:
    """File and first sample of each row of training."""
    import pandas as pd

    from wakeword_core.features.store import FeatureFile
    from wakeword_core.files import read_json
    from wakeword_core.recordings.manifest import ROOTS, read_manifest

    folder = project.require("raw_manifest").path
    manifest, roots = read_manifest(folder, "train"), read_json(folder / ROOTS)
    files = pd.Series([f"{roots[one.source]}/{one.path}" for one in manifest.itertuples()], manifest["recording_id"])
    rows = FeatureFile(project.require("mel_features", "train").path)
    return files[rows.column("recording_ids").astype(str)].tolist(), np.asarray(rows.column("starts")).tolist()


def _loader(windows: Any, places: list[list[Any]], workers: int, config: Config) -> Iterator["torch.Tensor"]:
    """Batches of the windows at these places; the workers start now, and once."""
    import torch

    pinned = config.compute.device == "cuda"
    return iter(torch.utils.data.DataLoader(windows, batch_sampler=places, num_workers=workers, pin_memory=pinned))
